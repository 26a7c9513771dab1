//! The registry's program, as tests of several crates run it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Builds it; go does so only once.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../cluster/tests/registry");
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("registry");
        let built = Command::new("go")
            .args(["build", "-ldflags=-s -w", "-o"])
            .arg(&program)
            .arg("github.com/distribution/distribution/v3/cmd/registry")
            .current_dir(folder)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-mod=readonly")
            .output()
            .expect("go is on PATH (https://go.dev/doc/install)");
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{said}");
        program
    })
}
