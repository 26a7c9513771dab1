//! `podcov exec`: measures a command on this machine.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use podcov_build::{Context, Foreign};
use podcov_cluster::store::{RunDir, run_id};
use podcov_cluster::watch::observed::Observed;
use podcov_process::find_program;
use podcov_profile::bundle::{Bundle, Mode};

use crate::args::{Exec, Global};
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit};
use crate::host;
use crate::session::{Session, read_bundle};
use crate::steps;

/// Runs the command; its exit status is given back as it is.
pub fn exec(global: &Global, args: &Exec) -> Result<u8, Failure> {
    let session = Session::bare(&folder(global, args.evidence.as_deref())?, global.quiet)?;
    let bundles = bundles(&session, args)?;
    let status = run(&session, &bundles, args)?;
    let code = status
        .code()
        .or(status.signal().map(|n| 128 + n))
        .unwrap_or(1);
    let mut ledger = steps::collect(&session, &bundles, &Observed::default(), &session.cancel)?;
    if bundles.is_empty() {
        session.ui.say(format!(
            "note    the evidence is in {}; name the instrumented programs with `--object` for a report",
            session.run.evidence().display()
        ));
    } else {
        let coverage = steps::merge(&session, &bundles, &mut ledger, &session.cancel)?;
        steps::report(&session, &bundles, &coverage, &ledger)?;
    }
    Ok(u8::try_from(code).unwrap_or(1))
}

/// The run's folder: the one that was named, or a new one.
pub fn folder(global: &Global, named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(dir) = named {
        return Ok(dir.to_path_buf());
    }
    let here = std::env::current_dir().or_exit(Exit::Usage)?;
    let root = Config::find(&here).and_then(|file| Some(file.parent()?.to_path_buf()));
    let profiles = match &global.profiles {
        Some(dir) => dir.clone(),
        None => root.unwrap_or(here).join("profiles"),
    };
    Ok(RunDir::create(&profiles, &run_id())
        .or_exit(Exit::Usage)?
        .path)
}

/// The bundles of the named programs, of the command itself if it is an
/// instrumented program, and those that an earlier command left here.
fn bundles(session: &Session, args: &Exec) -> Result<Vec<Bundle>, Failure> {
    let dir = session.run.bundle();
    let step = session.ui.step("bundle", "");
    let context = Context {
        cache: &session.cache(),
        bundles: &dir,
        progress: &step,
        cancel: &session.cancel,
    };
    let mut made = 0;
    let mut make = |program: &Path, name: Option<String>| {
        let foreign = Foreign {
            component: name,
            source_root: args.source_root.clone(),
            ..Foreign::default()
        };
        let bundle = podcov_build::bundle(&[program.to_path_buf()], &foreign, &context);
        made += usize::from(bundle.is_ok());
        bundle
    };
    for object in &args.object {
        make(object, None).or_exit(Exit::Build)?;
    }
    if args.object.is_empty()
        && let Some(program) = args.command.first()
        && let Some(path) = find(Path::new(program))
        && let Err(error) = make(&path, args.component.clone())
    {
        step.warn(format!(
            "`{}` is not measured itself: {error}",
            path.display()
        ));
    } else {
        step.done(crate::ui::count(made, "program"));
    }
    let mut all = Vec::new();
    for entry in fs_err::read_dir(&dir).into_iter().flatten().flatten() {
        if entry.path().join("bundle.json").is_file() {
            all.push(read_bundle(&entry.path())?);
        }
    }
    all.sort_by(|a, b| a.component.cmp(&b.component));
    Ok(all)
}

fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_path_buf());
    }
    find_program(program.to_str()?)
}

fn run(session: &Session, bundles: &[Bundle], args: &Exec) -> Result<ExitStatus, Failure> {
    let launcher = host::write_launcher(&session.run.path.join("bin"))?;
    let component = match (&args.component, bundles) {
        (Some(name), _) => name.clone(),
        (None, [one]) => one.component.clone(),
        _ => "exec".to_owned(),
    };
    let binaries = || bundles.iter().flat_map(|bundle| &bundle.binaries);
    // Continuous mode loses everything in a program that was not built for
    // it, so it is used only where that is known of all.
    let continuous = binaries().count() > 0 && binaries().all(|b| b.mode != Mode::AtExit);
    let pattern = if continuous {
        "%m%c.profraw"
    } else {
        "%p-%m.profraw"
    };
    let env = host::launcher_env(
        &session.run.id(),
        &session.run.evidence(),
        &component,
        "exec",
    );
    // In the foreground of the terminal, so that it can be talked to.
    Command::new(&launcher)
        .args(["--profile-name", pattern, "--"])
        .args(&args.command)
        .envs(env)
        .status()
        .map_err(|error| Failure::new(Exit::Fault, format!("cannot start the launcher: {error}")))
}
