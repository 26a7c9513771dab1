//! Rust components: cargo, with rustc behind podcov's wrapper.

mod cargo;
mod profiles;
mod select;
mod sources;
mod toolchain;

use std::path::PathBuf;

use podcov_process::Cancel;
use podcov_profile::Identity;
use podcov_profile::bundle::{Binary, Bundle, Mode, SCHEMA};
use podcov_profile::names::Language;

pub(crate) use cargo::{FLAGS_VERSION, WRAPPER_EXE, find_wrapper, metadata};
pub(crate) use select::{members_or_named, nearest};
pub(crate) use toolchain::Toolchain;

use crate::keep::Keep;
use crate::program::{self, Program};
use crate::{Component, Context, Error, git};

/// LLVM's major version in the rustc that would build a component, which
/// decides which of LLVM's tools can read its profiles. An error if that rustc
/// cannot build instrumented programs at all.
pub fn llvm_major(component: &Component, cancel: &Cancel) -> Result<Option<u32>, Error> {
    let manifest = manifest_of(component)?;
    let dir = manifest.parent().unwrap_or(&component.root).to_owned();
    Ok(Toolchain::find(component, &dir, cancel)?.llvm_major)
}

/// Builds a component and keeps what a report needs of it.
pub(crate) fn build(component: &Component, ctx: &Context) -> Result<Bundle, Error> {
    let manifest = manifest_of(component)?;
    let dir = manifest.parent().unwrap_or(&component.root).to_owned();
    let toolchain = Toolchain::find(component, &dir, ctx.cancel)?;
    ctx.progress.status("reading the workspace");
    let metadata = metadata(component, &manifest, Some(&toolchain.target), ctx.cancel)?;
    let selection = select::select(component, &metadata)?;
    let built = cargo::build(component, ctx, &metadata, &selection, &toolchain, &manifest)?;

    let program = program::inspect(&built.executable)?;
    let (identity, mode) = check(component, &built.executable, &program, &toolchain)?;
    ctx.progress.status("keeping the sources");
    let keep = Keep::begin(ctx.bundles, &component.name)?;
    let (path, sha256) = keep.binary(&built.executable, &selection.binary)?;
    keep.mapping(&path, &identity)?;
    let snapshot = sources::snapshot(component, &metadata, &selection, &built);
    let sources = snapshot.keep(&keep)?;
    let (commit, dirty) = git::state(metadata.workspace_root.as_std_path(), ctx.cancel);
    let bundle = Bundle {
        schema: SCHEMA,
        component: component.name.clone(),
        language: Language::Rust,
        kind: component.kind,
        binaries: vec![Binary {
            name: selection.binary.clone(),
            identity: Some(identity),
            other_identities: Vec::new(),
            path,
            sha256,
            arch: program.arch,
            mode,
            interval_ms: None,
        }],
        toolchain: toolchain.version,
        llvm_major: toolchain.llvm_major,
        commit,
        dirty,
        image: None,
        sources,
    };
    crate::finish(component, keep, bundle, ctx)
}

fn manifest_of(component: &Component) -> Result<PathBuf, Error> {
    let path = match &component.manifest {
        Some(path) => component.root.join(path),
        None => component.root.join("Cargo.toml"),
    };
    let path = if path.is_dir() {
        path.join("Cargo.toml")
    } else {
        path
    };
    path.canonicalize().map_err(|error| {
        let what = format!(
            "expected a Cargo.toml at {}, found none ({error}); set `manifest` to its path, \
             relative to podcov.toml",
            path.display()
        );
        Error::configuration(&component.name, what)
    })
}

/// What was built is what was asked for.
fn check(
    component: &Component,
    executable: &std::path::Path,
    program: &Program,
    toolchain: &Toolchain,
) -> Result<(Identity, Mode), Error> {
    if !(program.llvm_mapping && program.llvm_counters) {
        let what = format!(
            "expected coverage counters and mapping, found none: no crate among `{}` left code in \
             it; check `crates` of component `{}`",
            component.crates.join("`, `"),
            component.name
        );
        return Err(Error::program(executable, what));
    }
    let wanted = toolchain.target.split('-').next().unwrap_or_default();
    if program.arch != wanted {
        let what = format!(
            "expected a program for {wanted}, found one for {}",
            program.arch
        );
        return Err(Error::program(executable, what));
    }
    let Some(build_id) = &program.build_id else {
        let what = "expected a build id, found none although the linker was asked for one; check \
                    the flags of the linker in `.cargo/config.toml` for `--build-id=none`";
        return Err(Error::program(executable, what));
    };
    let asked = component.mode.unwrap_or(Mode::Continuous);
    let mode = if asked == Mode::AtExit {
        Mode::AtExit
    } else {
        Mode::Continuous
    };
    if mode == Mode::Continuous && program.llvm_relocation == Some(false) {
        let what = "expected counters that can live in a file (symbol \
                    `__llvm_profile_counter_bias`), found none; rebuild without the cache or set \
                    `mode = \"at-exit\"`";
        return Err(Error::program(executable, what));
    }
    Ok((build_id.clone(), mode))
}
