//! The process that becomes the component.

use std::io::stdin;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::SigSet;
use rustix::process::{Signal, getpgid, getpgrp, getpid, getppid, setpgid};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use crate::incarnation::{self, Place};
use crate::options::{Options, Stage};
use crate::{environment, json, program, say, supervise, time};

/// Becomes the component; comes back with a status only if that fails.
pub fn run(stage: &Stage) -> i32 {
    own_group();
    // Outside a container nothing else would end the component when its
    // launcher is killed. Inside, the end of process 1 does.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let parent = getppid().map(|pid| pid.as_raw_nonzero().get());
    if parent.is_some_and(|parent| parent != stage.parent) {
        return program::NOT_EXECUTABLE; // It was killed before the line above.
    }
    become_component(stage)
}

/// Becomes the component without a supervisor.
pub fn become_component(stage: &Stage) -> i32 {
    let Stage {
        options, folder, ..
    } = stage;
    let dir = folder
        .as_deref()
        .map(Path::new)
        .filter(|dir| match begin(dir, stage) {
            Ok(()) => true,
            Err(reason) => {
                say::loudly(&format!("no evidence: {reason}"));
                false
            }
        });
    let (changes, notes) =
        environment::changes(dir, &options.profile_name, |name| std::env::var_os(name));
    notes.iter().for_each(|note| say::quietly(note));
    let fail = |(status, message): program::Failure| {
        say::loudly(&message);
        status
    };
    let file = match program::find(&options.program, std::env::var_os("PATH")) {
        Ok(file) => file,
        Err(failure) => return fail(failure),
    };
    let mut command = Command::new(&file);
    command.arg0(&options.program);
    command.args(
        options
            .arguments
            .iter()
            .filter_map(|text| environment::argument(text, dir)),
    );
    for (name, value) in changes {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // The standard library gives it the default SIGPIPE, but not an empty mask:
    // a component that inherits ours never hears of SIGTERM.
    let _ = SigSet::empty().thread_set_mask();
    fail(program::failure(&file, &command.exec()))
}

/// A group of its own, so that a signal to the launcher's group reaches the
/// component once, through the launcher, and not a second time by itself: a
/// second SIGTERM makes many operators give up their clean shutdown.
fn own_group() {
    let before = getpgrp();
    if setpgid(None, None).is_err() {
        return;
    }
    // On a terminal it takes over the foreground from the launcher. SIGTTOU is
    // blocked since main(), else asking for it would stop this process.
    if tcgetpgrp(stdin()).is_ok_and(|foreground| foreground == before)
        && let Ok(own) = getpgid(None)
    {
        let _ = tcsetpgrp(stdin(), own);
    }
}

/// Writes `start.json`.
fn begin(dir: &Path, stage: &Stage) -> Result<(), String> {
    let options = &stage.options;
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let component = component(options);
    let place = Place::here(component.as_deref());
    let incarnation = dir.file_name().unwrap_or_default().to_string_lossy();
    let text = json::object(&[
        ("schema", "1".to_owned()),
        ("run", json::string(&variable("PODCOV_RUN"))),
        (
            "component",
            json::string(component.as_deref().unwrap_or(&place.container)),
        ),
        ("namespace", json::string(&place.namespace)),
        ("pod", json::string(&place.pod)),
        ("pod_uid", json::string(&place.uid)),
        ("container", json::string(&place.container)),
        ("incarnation", json::string(&incarnation)),
        ("identity", json::optional(options.identity.as_deref())),
        ("program", json::string(&options.program.to_string_lossy())),
        ("pid", getpid().as_raw_nonzero().to_string()),
        ("start", json::string(&time::rfc3339(stage.start))),
        ("launcher", json::string(env!("CARGO_PKG_VERSION"))),
    ]);
    incarnation::write(dir, "start.json", &text)
}

/// What the image says it holds counts more than what the pod says it runs.
pub fn component(options: &Options) -> Option<String> {
    let variable = || {
        std::env::var("PODCOV_COMPONENT")
            .ok()
            .filter(|name| !name.is_empty())
    };
    options.component.clone().or_else(variable)
}
