//! The example's counter test: two functions are called a number of times that
//! its suite knows (see its README), over replicas and restarts. The newest
//! report of `cargo xtask coverage-e2e` has to show exactly these.

use std::path::Path;

/// Function and calls.
const EXPECTED: &[(&str, u64)] = &[
    ("webserver::metrics::Metrics::record_synthetic", 16),
    ("website_operator::audit::record_audit", 6),
];

/// Looks into the newest run below `profiles`.
pub fn check(profiles: &Path) -> Result<(), String> {
    let entries =
        std::fs::read_dir(profiles).map_err(|e| format!("{}: {e}", profiles.display()))?;
    let reports = entries
        .flatten()
        .map(|entry| entry.path().join("report/lcov.info"));
    let newest = reports.filter(|path| path.is_file()).max();
    let path = newest.ok_or("there is no report; run `cargo xtask coverage-e2e` first")?;
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
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
