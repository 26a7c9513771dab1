//! `podcov exec`: measures a command on this machine.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use podcov_build::{Context, Foreign};
use podcov_cluster::store::{RunDir, run_id};
use podcov_cluster::watch::observed::Observed;
use podcov_process::{Cancel, find_program};
use podcov_profile::bundle::{Bundle, Mode};
use podcov_profile::model::Coverage;
use rustix::process::{Pid, Signal, kill_process};

use crate::args::{Exec, Global};
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit};
use crate::host;
use crate::interrupt::on_interrupt;
use crate::print::To;
use crate::recording::Recording;
use crate::session::{Session, read_bundle};
use crate::steps;

/// Runs the command; its exit status is given back as it is.
pub fn exec(global: &Global, args: &Exec) -> Result<u8, Failure> {
    let session = Session::bare(&folder(global, args.evidence.as_deref())?, global.quiet)?;
    let bundles = bundles(&session, args)?;
    let recording = Recording::start(&session)?;
    let status = run(&session, &bundles, args, recording.variable())?;
    recording.end()?;
    let code = status
        .code()
        .or(status.signal().map(|n| 128 + n))
        .unwrap_or(1);
    // The interrupt that ended a server is not meant for its evidence.
    let after = Cancel::new();
    on_interrupt(&after);
    let mut ledger = steps::collect(&session, &bundles, &Observed::default(), &after)?;
    if bundles.is_empty() {
        session.ui.say(format!(
            "note    the evidence is in {}; name the instrumented programs with `--object` for a report",
            session.run.evidence().display()
        ));
    } else {
        let coverage = steps::merge(&session, &bundles, &mut ledger, args.backend, &after)?;
        steps::report(&session, &bundles, &coverage, &ledger, To::Stderr)?;
        say_what_is_elsewhere(&session, &bundles, &coverage);
    }
    Ok(u8::try_from(code).unwrap_or(1))
}

/// Sources outside of the root do not count, which may be all of a program's.
fn say_what_is_elsewhere(session: &Session, bundles: &[Bundle], coverage: &Coverage) {
    for component in &coverage.components {
        let bundle = bundles.iter().find(|b| b.component == component.name);
        let mut binaries = component.binaries.iter();
        if let (Some(bundle), true) = (bundle, binaries.all(|b| b.files.is_empty())) {
            session.ui.say(format!(
                "note    no source of `{}` is below {}; name their folder with `--source-root`",
                component.name, bundle.sources.root
            ));
        }
    }
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
    // A second program of one name must not take the first one's place.
    let mut names: BTreeMap<&OsStr, u32> = BTreeMap::new();
    for object in &args.object {
        let name = object.file_name().unwrap_or_default();
        let seen = names.entry(name).or_default();
        *seen += 1;
        let own = (*seen > 1).then(|| format!("{}-{seen}", name.display()));
        make(object, own).or_exit(Exit::Build)?;
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

/// The file of a program, by its path or on PATH.
pub fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_path_buf());
    }
    find_program(program.to_str()?)
}

fn run(
    session: &Session,
    bundles: &[Bundle],
    args: &Exec,
    variable: (OsString, OsString),
) -> Result<ExitStatus, Failure> {
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
    let mut command = Command::new(&launcher);
    command
        .args(["--profile-name", pattern, "--"])
        .args(&args.command)
        .envs(env)
        .envs([variable]);
    // On a terminal it takes the foreground, so that it can be talked to.
    // Elsewhere it gets a group of its own: a signal to ours reaches it once,
    // through us.
    if !std::io::stdin().is_terminal() {
        command.process_group(0);
    }
    let cannot = |error: std::io::Error| {
        let what = format!("cannot start `{}`: {error}", launcher.display());
        Failure::new(Exit::Fault, what)
            .help("if it is on a file system that is mounted noexec, give another folder with `--evidence`")
    };
    let mut child = command.spawn().map_err(cannot)?;
    let mut told = false;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().map_err(cannot)? {
            return Ok(status);
        }
        if session.cancel.is_set() && !told {
            let _ = kill_process(Pid::from_child(&child), Signal::TERM);
            told = true;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
