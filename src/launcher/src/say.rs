//! What the launcher tells people: stderr, and where Kubernetes looks for the
//! reason of an end.

use std::fs::OpenOptions;
use std::io::Write;

/// For the container's log.
pub fn quietly(text: &str) {
    let _ = writeln!(std::io::stderr(), "podcov-launcher: {text}");
}

/// For the log and for the container's termination message, where the ledger
/// finds it when there is no evidence to read.
pub fn loudly(text: &str) {
    quietly(text);
    let path = std::env::var_os("TERMINATION_LOG").unwrap_or("/dev/termination-log".into());
    // Never created: outside a container it would be a stray file.
    if let Ok(mut file) = OpenOptions::new().append(true).open(path) {
        let _ = writeln!(file, "podcov-launcher: {text}");
    }
}
