//! Tries a command: starts it under the launcher, looks at what is on the disk
//! while it runs, asks it to end, and looks again.

use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use podcov_build::look;
use podcov_cluster::doctor::{Check, Term, term_of_status};
use podcov_profile::bundle::Mode;
use podcov_profile::classify::classify;
use podcov_profile::ledger::Format;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use walkdir::WalkDir;

use super::program;
use crate::args::Doctor;
use crate::command::exec::find;
use crate::config::duration;
use crate::exit::{Exit, Failure, OrExit};
use crate::host;
use crate::ui::human_time;

/// Checks of `podcov doctor -- CMD`.
pub fn checks(args: &Doctor) -> Result<Vec<Check>, Failure> {
    let time = |text: &str| {
        duration(text).ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!("expected a time such as `3s`, found `{text}`"),
            )
        })
    };
    let (time, grace) = (time(&args.time)?, time(&args.grace)?);
    let name = args.command[0].to_string_lossy().into_owned();
    let path = find(Path::new(&args.command[0]))
        .ok_or_else(|| Failure::new(Exit::Usage, format!("there is no program `{name}`")))?;
    let bytes = fs_err::read(&path).or_exit(Exit::Usage)?;
    let mut checks = program::of_bytes(&name, &bytes);
    let is_continuous = look(&bytes).is_ok_and(|looked| looked.mode != Mode::AtExit);
    let scratch = tempfile::tempdir().or_exit(Exit::Fault)?;
    let volume = scratch.path().join("evidence");
    fs_err::create_dir_all(&volume).or_exit(Exit::Fault)?;
    let mut child = start(args, scratch.path(), &volume, is_continuous)?;
    let ended_early = wait(&mut child, time)?;
    if ended_early {
        checks.push(Check::warning(
            &name,
            format!("ended by itself within {}", human_time(time)),
            "give it what it needs to run (arguments, KUBECONFIG) for a look while it runs",
        ));
    } else {
        checks.push(living(&name, &volume));
        checks.extend(end(&name, &mut child, grace)?);
    }
    checks.push(dead(&name, &volume));
    Ok(checks)
}

fn start(args: &Doctor, dir: &Path, volume: &Path, continuous: bool) -> Result<Child, Failure> {
    let launcher = host::write_launcher(&dir.join("bin"))?;
    let pattern = if continuous {
        "%m%c.profraw"
    } else {
        "%p-%m.profraw"
    };
    // stdout is the answer's.
    let stderr = std::io::stderr()
        .as_fd()
        .try_clone_to_owned()
        .or_exit(Exit::Fault)?;
    Command::new(&launcher)
        .args(["--profile-name", pattern, "--"])
        .args(&args.command)
        .envs(host::launcher_env("doctor", volume, "doctor", "doctor"))
        .stdin(Stdio::null())
        .stdout(Stdio::from(stderr))
        .process_group(0)
        .spawn()
        .or_exit(Exit::Fault)
}

/// Whether it ended within the time.
fn wait(child: &mut Child, time: Duration) -> Result<bool, Failure> {
    let begin = Instant::now();
    while begin.elapsed() < time {
        if child.try_wait().or_exit(Exit::Fault)?.is_some() {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(child.try_wait().or_exit(Exit::Fault)?.is_some())
}

fn end(name: &str, child: &mut Child, grace: Duration) -> Result<Vec<Check>, Failure> {
    let mut checks = Vec::new();
    let term = program_of(child.id()).and_then(|status| term_of_status(&status));
    let pid = Pid::from_child(child);
    let begin = Instant::now();
    let _ = kill_process(pid, Signal::TERM);
    if wait(child, grace)? {
        let took = human_time(begin.elapsed());
        checks.push(match term {
            Some(Term::Default) => Check::warning(
                name,
                format!("ended {took} after SIGTERM, which it has no handler for"),
                "counters in a file survive that; others are lost: handle SIGTERM",
            ),
            _ => Check::good(name, format!("ended {took} after SIGTERM")),
        });
    } else {
        let _ = kill_process_group(pid, Signal::KILL);
        child.wait().or_exit(Exit::Fault)?;
        checks.push(Check::warning(
            name,
            format!(
                "did not end within {} after SIGTERM and was killed",
                human_time(grace)
            ),
            "handle SIGTERM, or raise `terminationGracePeriodSeconds`; counters in a file survive",
        ));
    }
    Ok(checks)
}

/// `/proc/PID/status` of what the launcher started.
fn program_of(launcher: u32) -> Option<String> {
    let of = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/status")).ok();
    let parent = format!("PPid:\t{launcher}");
    let entries = std::fs::read_dir("/proc").ok()?;
    entries
        .flatten()
        .filter_map(|entry| of(&entry.file_name().to_string_lossy()))
        .find(|status| status.lines().any(|line| line == parent))
}

/// What is on the disk while it runs.
fn living(name: &str, volume: &Path) -> Check {
    match counted(volume) {
        (0, _) => Check::warning(
            name,
            "while it runs, no counts are on the disk: a kill would lose all",
            "build it with the variables of `podcov env`, which make its counters survive",
        ),
        (files, _) => Check::good(
            name,
            format!(
                "while it runs, counts are on the disk ({})",
                crate::ui::count(files, "file")
            ),
        ),
    }
}

/// What it left.
fn dead(name: &str, volume: &Path) -> Check {
    match counted(volume) {
        (0, None) => Check::bad(
            name,
            "it left no counts",
            "see that it is instrumented and may write; `podcov help doctor` has more",
        ),
        (0, Some(problem)) | (_, Some(problem)) => Check::bad(
            name,
            format!("what it left cannot be counted: {problem}"),
            "`podcov inspect` says more of each file; see that the toolchain's format is known",
        ),
        (files, None) => Check::good(
            name,
            format!("it left counts ({})", crate::ui::count(files, "file")),
        ),
    }
}

/// How many files with counts there are, and the first that cannot be read.
fn counted(volume: &Path) -> (usize, Option<String>) {
    let (mut files, mut problem) = (0, None);
    for entry in WalkDir::new(volume)
        .sort_by_file_name()
        .into_iter()
        .flatten()
    {
        if !entry.file_type().is_file() {
            continue;
        }
        let Ok(bytes) = fs_err::read(entry.path()) else {
            continue;
        };
        let found = classify(&entry.path().to_string_lossy(), &bytes);
        match found.problem {
            None if found.format.holds_counts() => files += 1,
            Some(wrong) if found.format != Format::Unknown && problem.is_none() => {
                let file = entry.file_name().to_string_lossy();
                problem = Some(format!("{file}: {wrong}"));
            }
            _ => {}
        }
    }
    (files, problem)
}
