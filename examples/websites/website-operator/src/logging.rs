//! One JSON object a line on standard output.

use anyhow::Context;
use tracing::level_filters::LevelFilter;

/// Installs the logger for the whole process.
///
/// # Errors
/// When `level` is not one of off, error, warn, info, debug and trace, or when called twice.
pub fn install(level: &str) -> anyhow::Result<()> {
    let level: LevelFilter = level
        .parse()
        .with_context(|| format!("LOG_LEVEL must be a level such as `info`, found `{level}`"))?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_max_level(level)
        .try_init()
        .map_err(|error| anyhow::anyhow!("could not install the logger: {error}"))
}
