use std::path::{Path, PathBuf};

use podcov_process::{Cancel, Run};

use crate::{Component, Error};

/// The rustc that cargo uses in the component's folder, and what it is asked
/// to build for.
pub(crate) struct Toolchain {
    /// "rustc 1.95.0 (59807616e 2026-04-14)".
    pub(crate) version: String,
    /// All of `rustc -vV`.
    pub(crate) verbose: String,
    pub(crate) llvm_major: Option<u32>,
    pub(crate) target: String,
    /// The user's RUSTC_WRAPPER, from the environment or cargo's
    /// configuration.
    pub(crate) wrapper: Option<PathBuf>,
    /// Cargo's configuration keeps intermediate files elsewhere than results.
    pub(crate) has_build_dir: bool,
}

impl Toolchain {
    pub(crate) fn find(component: &Component, dir: &Path, cancel: &Cancel) -> Result<Self, Error> {
        let config = cargo_config2::Config::load_with_cwd(dir).map_err(|error| {
            let what = format!(
                "cannot read cargo's configuration for {}: {error}",
                dir.display()
            );
            Error::configuration(&component.name, what)
        })?;
        // Without the wrappers, which may be podcov.
        let rustc = config
            .build
            .rustc
            .clone()
            .unwrap_or_else(|| PathBuf::from("rustc"));
        let ask = |args: &[&str]| {
            let run = Run::new(&rustc).args(args).current_dir(dir).cancel(cancel);
            component.environment(run).run().map(|done| done.text())
        };
        let install = "install Rust (https://rustup.rs)";
        let verbose = ask(&["-vV"]).map_err(|e| Error::tool(&component.name, e, install))?;
        let field = |name: &str| verbose.lines().find_map(|line| line.strip_prefix(name));
        let host = field("host: ").unwrap_or_default().to_owned();
        let configured = config.build.target.as_deref().unwrap_or_default();
        let given = |name: &str| {
            let mut found = component.env.iter().rev().filter(|(key, _)| key == name);
            found.next().map(|(_, value)| value.clone())
        };
        let target = match (given("CARGO_BUILD_TARGET"), configured) {
            (Some(target), _) => target,
            (None, []) => host.clone(),
            (None, [one]) => one.triple().to_owned(),
            (None, several) => {
                let names: Vec<_> = several.iter().map(|target| target.triple()).collect();
                let what = format!(
                    "expected one target to build for, found `build.target` = {}; set \
                     CARGO_BUILD_TARGET to one of them",
                    names.join(", ")
                );
                return Err(Error::configuration(&component.name, what));
            }
        };
        if !target.contains("-linux-") {
            let what = format!("expected a target for Linux containers, found `{target}`");
            return Err(Error::toolchain(&component.name, what));
        }
        let library = ask(&["--print", "target-libdir", "--target", &target])?;
        has_profiler_runtime(component, Path::new(library.trim()), &target)?;
        let llvm = field("LLVM version: ");
        Ok(Toolchain {
            version: verbose.lines().next().unwrap_or_default().to_owned(),
            llvm_major: llvm
                .and_then(|v| v.split('.').next())
                .and_then(|v| v.parse().ok()),
            target,
            wrapper: given("RUSTC_WRAPPER")
                .map(PathBuf::from)
                .or_else(|| config.build.rustc_wrapper.clone()),
            has_build_dir: config.build.build_dir.is_some(),
            verbose,
        })
    }
}

/// Distributions build rustc without it, and rustc's own message is about a
/// crate nobody asked for.
fn has_profiler_runtime(component: &Component, library: &Path, target: &str) -> Result<(), Error> {
    let Ok(entries) = std::fs::read_dir(library) else {
        let what = format!(
            "expected Rust's standard library for {target} in {}, found no such folder; install it \
             with `rustup target add {target}`",
            library.display()
        );
        return Err(Error::toolchain(&component.name, what));
    };
    let found = entries.flatten().any(|entry| {
        entry
            .file_name()
            .to_string_lossy()
            .starts_with("libprofiler_builtins-")
    });
    if found {
        return Ok(());
    }
    let what = format!(
        "expected the profiler runtime (libprofiler_builtins) in {}, found none: this rustc was \
         built without it; use a toolchain of rustup's",
        library.display()
    );
    Err(Error::toolchain(&component.name, what))
}
