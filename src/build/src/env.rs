//! The variables of an instrumented build that podcov does not run itself.

use std::fs;
use std::path::{Path, PathBuf};

use podcov_process::{Cancel, Progress};
use podcov_profile::bundle::Mode;
use podcov_profile::names::Language;

use crate::error::AtPath;
use crate::go::list::{Go, GoEnv, join_flags, split_flags};
use crate::go::overlay::{Counting, Overlay};
use crate::{Component, Error, rust, wrapper};

/// What `podcov env` is asked for.
#[derive(Clone, Debug)]
pub struct EnvOptions {
    /// The folder of the sources: of `Cargo.toml` or `go.mod`, or below it.
    pub dir: PathBuf,
    /// Rust: packages to count; default: the members of the workspace.
    pub crates: Vec<String>,
    /// Go: packages to count; default: those of the module.
    pub coverpkg: Vec<String>,
    /// [`Mode::AtExit`] leaves out what makes counters survive a kill.
    pub mode: Option<Mode>,
    /// Link everything into the program. For Rust it means a build with
    /// `--target`, whose output is in a folder of the target's name.
    pub statically: bool,
    /// Rust: the program that acts as RUSTC_WRAPPER; default: this one.
    pub wrapper: Option<PathBuf>,
}

/// The variables, in an order that is always the same, for a build whose
/// files go to `out`. They are values, not shell words: who prints them has to
/// quote.
///
/// They mean what cargo-llvm-cov's `show-env` means by them, so
/// `cargo llvm-cov report` works in the same shell.
pub fn env(
    language: Language,
    out: &Path,
    options: &EnvOptions,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Vec<(String, String)>, Error> {
    fs::create_dir_all(out).at("create", out)?;
    let out = out.canonicalize().at("find", out)?;
    let mut component = Component::new("env", language, &options.dir);
    component.statically = options.statically;
    component.crates = options.crates.clone();
    component.coverpkg = options.coverpkg.clone();
    component.mode = options.mode;
    if let Some(wrapper) = &options.wrapper {
        component
            .env
            .push((rust::WRAPPER_EXE.to_owned(), text(wrapper)));
    }
    match language {
        Language::Rust => rust_env(&component, &out, cancel),
        Language::Go => go_env(&component, &out, progress, cancel),
    }
}

type Variables = Vec<(String, String)>;

fn set(variables: &mut Variables, key: &str, value: impl Into<String>) {
    variables.push((key.to_owned(), value.into()));
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn rust_env(component: &Component, out: &Path, cancel: &Cancel) -> Result<Variables, Error> {
    let manifest = nearest_file(&component.root, "Cargo.toml").ok_or_else(|| {
        let what = format!(
            "expected a Cargo.toml in {} or above",
            component.root.display()
        );
        Error::configuration(&component.name, what)
    })?;
    let dir = manifest.parent().unwrap_or(&component.root);
    let toolchain = rust::Toolchain::find(component, dir, cancel)?;
    let metadata = rust::metadata(component, &manifest, None, cancel)?;
    let crates = rust::members_or_named(&component.crates, &metadata)?;
    let exe = rust::find_wrapper(&component.env)?;
    let target = out.join("target");
    let at_exit = component.mode == Some(Mode::AtExit);
    let flags = format!(
        "{}\n{}\n{}\n{at_exit} {}\n",
        rust::FLAGS_VERSION,
        toolchain.verbose,
        crates.join(","),
        component.statically
    );
    begin_again_if_changed(&target, &flags)?;

    let mut v = Variables::new();
    set(&mut v, "RUSTC_WRAPPER", text(&exe));
    set(&mut v, wrapper::ENABLED, "1");
    set(&mut v, wrapper::CRATES, crates.join(","));
    set(
        &mut v,
        wrapper::MODE,
        if at_exit { "at-exit" } else { "continuous" },
    );
    set(
        &mut v,
        wrapper::STATIC,
        if component.statically { "1" } else { "0" },
    );
    // In a shell where this was evaluated before, the wrapper is ourselves.
    let next = toolchain
        .wrapper
        .filter(|next| *next != exe)
        .map(|next| text(&next));
    set(&mut v, wrapper::NEXT, next.unwrap_or_default());
    if component.statically {
        set(&mut v, "CARGO_BUILD_TARGET", toolchain.target);
    }
    set(&mut v, "CARGO_TARGET_DIR", text(&target));
    let name = metadata
        .workspace_root
        .file_name()
        .unwrap_or("podcov")
        .to_owned();
    let pattern = if at_exit { "%p-%m" } else { "%p-%m%c" };
    set(
        &mut v,
        "LLVM_PROFILE_FILE",
        text(&target.join(format!("{name}-{pattern}.profraw"))),
    );
    set(&mut v, "CARGO_LLVM_COV", "1");
    set(&mut v, "CARGO_LLVM_COV_SHOW_ENV", "1");
    set(&mut v, "CARGO_LLVM_COV_TARGET_DIR", text(&target));
    set(&mut v, "CARGO_LLVM_COV_BUILD_DIR", text(&target));
    Ok(v)
}

fn nearest_file(dir: &Path, name: &str) -> Option<PathBuf> {
    let dir = dir.canonicalize().ok()?;
    dir.ancestors()
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// Cargo does not see the wrapper's flags; with other flags its outputs would
/// be taken for new ones.
fn begin_again_if_changed(target: &Path, flags: &str) -> Result<(), Error> {
    let stamp = target.join(".podcov-flags");
    if fs::read_to_string(&stamp).is_ok_and(|old| old == flags) {
        return Ok(());
    }
    match fs::remove_dir_all(target) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).at("remove", target);
        }
        _ => {}
    }
    fs::create_dir_all(target).at("create", target)?;
    fs::write(&stamp, flags).at("write", &stamp)
}

/// Puts podcov's files into the overlay, the best that fit the release of Go.
fn cover(
    overlay: &mut Overlay,
    component: &Component,
    env: &GoEnv,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let mut last = String::new();
    for how in Counting::wanted(component.mode) {
        let Err(reason) = overlay.coverage(&env.goroot, &env.goversion, *how) else {
            return Ok(());
        };
        if *how == Counting::Continuous {
            progress.note(&how.refused("this module", &env.goversion, &reason));
        }
        last = reason;
    }
    let what = format!("podcov's additions do not fit {}: {last}", env.goversion);
    Err(Error::toolchain(&component.name, what))
}

fn go_env(
    component: &Component,
    out: &Path,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Variables, Error> {
    let dir = component.root.canonicalize().at("find", &component.root)?;
    let mut go = Go {
        component,
        dir,
        tags: Vec::new(),
        cancel,
        goroot: None,
    };
    let env = go.settle(out)?;
    if let Some(module) = env.gomod.parent() {
        go.dir = module.to_owned();
    }
    // `./...` would mean something else in each folder a build runs in.
    let patterns = match &component.coverpkg[..] {
        [] => vec![format!("{}/...", go.module_path()?)],
        asked => go.absolute_patterns(asked)?,
    };
    let mains: Vec<_> = go
        .mains()?
        .into_iter()
        .map(|package| package.import_path)
        .collect();
    // What main is called in `go build -o x cmd/main.go`, as scaffolds write it.
    let mut counted = vec!["command-line-arguments".to_owned()];
    counted.extend(mains);
    counted.extend(patterns);
    counted.dedup();

    let mut overlay = Overlay::default();
    let mut flags = split_flags(&env.goflags);
    let ours = |flag: &String, name: &str| {
        let flag = flag.trim_start_matches('-');
        flag == name
            || flag
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('='))
    };
    let file = out.join("go-overlay");
    for flag in flags.iter().filter(|flag| ours(flag, "overlay")) {
        let theirs = flag.split_once('=').map_or("", |(_, file)| file);
        let theirs = go.dir.join(theirs);
        if !theirs.starts_with(&file) {
            overlay.include(&theirs)?;
        }
    }
    flags.retain(|flag| {
        !["overlay", "cover", "covermode", "coverpkg"]
            .iter()
            .any(|name| ours(flag, name))
    });
    flags.extend(["-cover".to_owned(), "-covermode=atomic".to_owned()]);
    flags.push(format!("-coverpkg={}", counted.join(",")));
    cover(&mut overlay, component, &env, progress)?;
    flags.push(format!("-overlay={}", text(&overlay.write(&file)?)));
    let evidence = out.join("cover");
    fs::create_dir_all(&evidence).at("create", &evidence)?;

    let mut v = Variables::new();
    if let Some(goroot) = &go.goroot {
        let path = std::env::var("PATH").unwrap_or_default();
        set(
            &mut v,
            "PATH",
            format!("{}:{path}", text(&goroot.join("bin"))),
        );
        set(&mut v, "GOROOT", text(goroot));
        set(&mut v, "GOTOOLCHAIN", "local");
    }
    set(&mut v, "GOFLAGS", join_flags(&flags));
    if component.statically {
        set(&mut v, "CGO_ENABLED", "0");
    }
    set(&mut v, "GOCOVERDIR", text(&evidence));
    Ok(v)
}
