//! `podcov bundle`: the bundle of programs that podcov did not build.

use std::ffi::OsStr;
use std::path::Path;

use podcov_build::{Context, Foreign};

use crate::args::{Bundle, Global};
use crate::exit::{Exit, Failure, OrExit};
use crate::interrupt::on_interrupt;
use crate::print;
use crate::session::{Session, Which};
use crate::ui::Ui;

/// Runs the command.
pub fn bundle(global: &Global, args: &Bundle) -> Result<Exit, Failure> {
    for binary in &args.binaries {
        there(binary, std::env::var_os("CARGO_TARGET_DIR").as_deref())?;
    }
    // Held to the end: it has the lock of the run that is added to.
    let session = match &args.out {
        Some(_) => None,
        None => Some(Session::open(global, Which::Any)?),
    };
    let bundles = match (&args.out, &session) {
        (Some(out), _) => std::path::absolute(out).or_exit(Exit::Usage)?,
        (None, Some(session)) => session.run.bundle(),
        (None, None) => return Err(Failure::new(Exit::Fault, "expected a run or a folder")),
    };
    let cancel = podcov_process::Cancel::new();
    on_interrupt(&cancel);
    let ui = Ui::new(global.quiet);
    let step = ui.step("bundle", "");
    let foreign = Foreign {
        component: args.component.clone(),
        source_root: args.source_root.clone(),
        ..Foreign::default()
    };
    let cache = bundles.join(".cache");
    let context = Context {
        cache: &cache,
        bundles: &bundles,
        progress: &step,
        cancel: &cancel,
    };
    let made = podcov_build::bundle(&args.binaries, &foreign, &context);
    step.end_with(&made, |bundle| {
        format!("{} ({})", bundle.component, bundle.language)
    });
    let made = made.or_exit(Exit::Build)?;
    print::out(format_args!(
        "{}\n",
        bundles.join(&made.component).display()
    ))?;
    Ok(Exit::Fine)
}

/// Whether the program is there. With the variables of `podcov env`, cargo
/// builds into another folder than the one a Makefile may name.
fn there(binary: &Path, target: Option<&OsStr>) -> Result<(), Failure> {
    if binary.exists() {
        return Ok(());
    }
    let message = format!("there is no program `{}`", binary.display());
    let failure = Failure::new(Exit::Build, message);
    let (Some(target), Some(name)) = (target.map(Path::new), binary.file_name()) else {
        return Err(failure);
    };
    let profile = binary
        .parent()
        .and_then(Path::file_name)
        .unwrap_or_default();
    let mut folders = vec![target.to_path_buf()];
    let below = fs_err::read_dir(target).into_iter().flatten().flatten();
    folders.extend(below.map(|entry| entry.path()));
    let mut places = folders.iter().map(|folder| folder.join(profile).join(name));
    Err(match places.find(|place| place.is_file()) {
        Some(place) => failure.help(format!("cargo built `{}`", place.display())),
        None => failure.help(format!("cargo builds into `{}` here", target.display())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_in_cargos_other_folder_is_pointed_at() {
        let dir = tempfile::tempdir().unwrap();
        let built = dir.path().join("x86_64-unknown-linux-gnu/release/op");
        fs_err::create_dir_all(built.parent().unwrap()).unwrap();
        fs_err::write(&built, "").unwrap();
        let target = Some(dir.path().as_os_str());
        let failure = there(Path::new("nowhere/release/op"), target).unwrap_err();
        assert!(failure.help.unwrap().contains(&*built.to_string_lossy()));
        let failure = there(Path::new("nowhere/debug/op"), target).unwrap_err();
        assert!(!failure.help.unwrap().contains("release"));
        there(&built, None).unwrap();
    }
}
