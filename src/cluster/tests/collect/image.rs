//! The worker, and images of it as podcov would make them.

use std::path::{Path, PathBuf};

use podcov_process::Run;
use podcov_profile::{Identity, classify};
use serde_json::json;
use sha2::{Digest, Sha256};

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

/// The archive of an image that holds these files and starts this.
pub fn archive(
    folder: &Path,
    reference: &str,
    files: &[(&str, &Path)],
    entrypoint: &[&str],
) -> PathBuf {
    let hex = |bytes: &[u8]| -> String {
        Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    let tar_of = |files: &[(&str, &[u8])]| {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o755);
            tar.append_data(&mut header, name, *bytes).unwrap();
        }
        tar.into_inner().unwrap()
    };
    let contents: Vec<(&str, Vec<u8>)> = files
        .iter()
        .map(|(name, path)| (*name, std::fs::read(path).unwrap()))
        .collect();
    let contents: Vec<(&str, &[u8])> = contents.iter().map(|(n, b)| (*n, &b[..])).collect();
    let layer = tar_of(&contents);
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Entrypoint": entrypoint, "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&layer))]},
    });
    let manifest =
        json!([{"Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]);
    let archive = tar_of(&[
        ("config.json", config.to_string().as_bytes()),
        ("layer.tar", &layer),
        ("manifest.json", manifest.to_string().as_bytes()),
    ]);
    let path = folder.join(format!("{}.tar", hex(reference.as_bytes())));
    std::fs::write(&path, archive).unwrap();
    path
}
