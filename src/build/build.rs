//! Builds the launcher, which podcov carries inside itself and puts into every
//! image: for another target (static), under a profile of its own (small), so
//! by a cargo of its own.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let manifest = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .join("../launcher/Cargo.toml");
    let dir = manifest.parent().expect("it was just joined");
    for path in [dir.join("src"), dir.join("build.rs"), manifest.clone()] {
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    println!("cargo::rerun-if-changed=build.rs");

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let target = env::var("TARGET").expect("cargo sets it");
    let target_dir = out.join("launcher");
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets it"));
    cargo
        .args([
            "build",
            "--quiet",
            "--profile",
            "launcher",
            "--manifest-path",
        ])
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
    for (name, _) in env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let flags = name.starts_with("CARGO_TARGET_") && name.ends_with("_RUSTFLAGS");
        let disturbs = name.starts_with("CARGO")
            || name.starts_with("RUSTC_")
            || ["RUSTFLAGS", "RUSTDOCFLAGS", "LLVM_PROFILE_FILE"].contains(&name);
        let needed = kept
            .iter()
            .chain(&ours)
            .any(|start| name.starts_with(start));
        if flags || name == "CARGO_TARGET_DIR" || (disturbs && !needed) {
            cargo.env_remove(name);
        }
    }
    // Without a C library, so without its start files.
    let flags = [
        "-Ctarget-feature=+crt-static",
        "-Crelocation-model=static",
        "-Clink-arg=-nostartfiles",
        "-Clink-arg=-nostdlib",
    ];
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    let output = cargo
        .output()
        .expect("cargo starts: this build script was started by it");
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        panic!("cannot build the launcher in {}:\n{said}", dir.display());
    }
    let built = target_dir.join(&target).join("launcher/podcov-launcher");
    std::fs::copy(&built, out.join("podcov-launcher"))
        .unwrap_or_else(|error| panic!("cannot copy {}: {error}", built.display()));
}
