//! The example's counter test: two functions are called a number of times that
//! its suite knows (see its README), over replicas and restarts. The newest
//! report of `cargo xtask coverage-e2e` has to show exactly these.

use std::path::{Path, PathBuf};

/// Function and calls.
const EXPECTED: &[(&str, u64)] = &[
    ("webserver::metrics::Metrics::record_synthetic", 16),
    ("website_operator::audit::record_audit", 6),
];

/// The newest report of the example, if there is one.
pub fn newest(profiles: &Path) -> Option<PathBuf> {
    let runs = std::fs::read_dir(profiles)
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    let example = |run: &PathBuf| {
        // Runs of `podcov exec` may be there, too.
        let record = std::fs::read_to_string(run.join("run.json"));
        record.is_ok_and(|text| text.contains("\"websites\""))
    };
    runs.filter(example)
        .map(|run| run.join("report/lcov.info"))
        .filter(|file| file.is_file())
        .max()
}

/// Compares a report with what the suite did.
pub fn check(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    for (function, calls) in EXPECTED {
        let record = format!("FNDA:{calls},{function}");
        if !text.lines().any(|line| line == record) {
            let found = text
                .lines()
                .find(|l| l.starts_with("FNDA:") && l.ends_with(function));
            let found = found.unwrap_or("nothing");
            return Err(format!(
                "{}: expected `{record}`, found {found}",
                path.display()
            ));
        }
    }
    Ok(())
}
