//! Builds the two programs that podcov carries inside itself: the launcher,
//! which it puts into every image, and the agent, which runs in the cluster.
//! Both are static and small, so each is built under a profile of its own by a
//! cargo of its own.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    embed(
        "launcher",
        // Without a C library, so without its start files.
        &[
            "-Ctarget-feature=+crt-static",
            "-Crelocation-model=static",
            "-Clink-arg=-nostartfiles",
            "-Clink-arg=-nostdlib",
        ],
    );
    embed(
        "agent",
        &["-Ctarget-feature=+crt-static", "-Crelocation-model=static"],
    );
}

/// Builds the crate `podcov-<name>` in `src/<name>` under the profile `<name>`
/// and leaves its program in `OUT_DIR`.
fn embed(name: &str, flags: &[&str]) {
    let manifest = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .join("..")
        .join(name)
        .join("Cargo.toml");
    let dir = manifest.parent().expect("it was just joined");
    // The agent patches pods by the overlay's code.
    let overlay = dir.join("../overlay");
    for path in [
        dir.join("src"),
        dir.join("build.rs"),
        manifest.clone(),
        overlay.join("src"),
        overlay.join("Cargo.toml"),
    ] {
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let target = env::var("TARGET").expect("cargo sets it");
    let target_dir = out.join(name);
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets it"));
    cargo
        .args(["build", "--quiet", "--profile", name, "--bins"])
        .arg("--manifest-path")
        .arg(&manifest);
    cargo
        .args(["--target", &target, "--target-dir"])
        .arg(&target_dir);
    // What the outer cargo, clippy or a coverage tool set for the outer build
    // must not reach the inner one; where to find and fetch crates must.
    let kept = [
        "CARGO_HOME",
        "CARGO_NET_",
        "CARGO_HTTP_",
        "CARGO_REGISTR",
        "CARGO_BUILD_JOBS",
    ];
    let ours = ["CARGO_TARGET_"]; // linkers and runners of targets
    for (variable, _) in env::vars_os() {
        let Some(variable) = variable.to_str() else {
            continue;
        };
        let flags = variable.starts_with("CARGO_TARGET_") && variable.ends_with("_RUSTFLAGS");
        let disturbs = variable.starts_with("CARGO")
            || variable.starts_with("RUSTC_")
            || ["RUSTFLAGS", "RUSTDOCFLAGS", "LLVM_PROFILE_FILE"].contains(&variable);
        let needed = kept
            .iter()
            .chain(&ours)
            .any(|start| variable.starts_with(start));
        if flags || variable == "CARGO_TARGET_DIR" || (disturbs && !needed) {
            cargo.env_remove(variable);
        }
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    let output = cargo
        .output()
        .expect("cargo starts: this build script was started by it");
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        panic!("cannot build the {name} in {}:\n{said}", dir.display());
    }
    let program = format!("podcov-{name}");
    let built = target_dir.join(&target).join(name).join(&program);
    std::fs::copy(&built, out.join(&program))
        .unwrap_or_else(|error| panic!("cannot copy {}: {error}", built.display()));
}
