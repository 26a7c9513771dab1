//! The worker, and images of it as podcov would make them.

use std::path::{Path, PathBuf};

use podcov_process::Run;
use podcov_profile::{Identity, classify};

use archive::archive;

#[path = "archive.rs"]
pub mod archive;

/// The image of the worker with the launcher.
pub const PROFILE: &str = "localhost/worker-profile:dev";
/// What production calls it.
pub const PLAIN: &str = "localhost/worker:dev";

fn host() -> String {
    let version = Run::new("rustc").arg("-vV").run().unwrap().text();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.unwrap().to_owned()
}

/// Builds the worker with coverage, as podcov would.
pub fn worker(folder: &Path) -> PathBuf {
    let program = folder.join("worker");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/collect/worker.rs");
    Run::new("rustc")
        .args([
            "--edition=2024",
            "-Cinstrument-coverage",
            "-Ctarget-feature=+crt-static",
        ])
        .args([
            "-Cllvm-args=-runtime-counter-relocation",
            "-Clink-arg=-Wl,--build-id=sha1",
        ])
        .args(["--target", &host(), "-o", program.to_str().unwrap(), source])
        .run()
        .unwrap();
    program
}

/// Builds `podcov-<name>` as the build crate does it.
pub fn own_program(name: &str, flags: &[&str]) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let host = host();
    let program = format!("podcov-{name}");
    let mut all = vec!["-Ctarget-feature=+crt-static", "-Crelocation-model=static"];
    all.extend(flags);
    Run::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--bins",
            "-p",
            &program,
            "--profile",
            name,
        ])
        .args(["--target", &host, "--target-dir", target.to_str().unwrap()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_ENCODED_RUSTFLAGS", all.join("\u{1f}"))
        .run()
        .unwrap();
    target.join(host).join(name).join(program)
}

fn launcher() -> PathBuf {
    own_program(
        "launcher",
        &["-Clink-arg=-nostartfiles", "-Clink-arg=-nostdlib"],
    )
}

/// What LLVM's runtime writes into profiles of this program.
pub fn identity(program: &Path, folder: &Path) -> Identity {
    let profile = folder.join("probe.profraw");
    let run = Run::new(program)
        .arg("once")
        .env("LLVM_PROFILE_FILE", &profile);
    run.run().unwrap();
    let bytes = std::fs::read(profile).unwrap();
    classify("probe.profraw", &bytes).identities.remove(0)
}

/// The archive of [`PROFILE`].
pub fn profile(folder: &Path, identity: &Identity) -> PathBuf {
    let identity = identity.to_string();
    let worker = folder.join("worker");
    let files = [
        ("app/worker", worker.as_path()),
        ("podcov/launcher", &launcher()),
    ];
    let entrypoint = [
        "/podcov/launcher",
        "--identity",
        &identity,
        "--",
        "/app/worker",
    ];
    archive(folder, PROFILE, &files, &entrypoint)
}
