//! The kubectl that the tests of the overlay run.

use std::path::{Path, PathBuf};

use podcov_process::find_program;

/// kubectl from PATH, else the one in podcov's own Kubernetes.
pub fn kubectl() -> PathBuf {
    if let Some(program) = find_program("kubectl") {
        return program;
    }
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or(home.join(".cache"), PathBuf::from);
    let own = cache.join("podcov/build/podcov-kubernetes");
    assert!(
        own.exists(),
        "expected kubectl on PATH or podcov's own Kubernetes at {}; `cargo run -- cluster up` \
         builds it",
        own.display()
    );
    let dir =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kubectl-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let link = dir.join("kubectl");
    if !link.exists() {
        // Another test's thread may have made it in between.
        let _ = std::os::unix::fs::symlink(own, &link);
    }
    link
}
