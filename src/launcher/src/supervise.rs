//! The process that stands in for the component: whoever signals it, waits for
//! it or reads its status gets what they would get from the component.

use std::io::stdin;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{SigSet, Signal as Numbered};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus, getpgrp, getpid, getrlimit,
    kill_process, kill_process_group, setrlimit, wait,
};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use crate::incarnation::{self, Place};
use crate::options::{Options, Stage};
use crate::{json, say, stage, time};

/// Everything that can be sent to a process to tell it something, and SIGCHLD.
/// Not those that a fault of the process itself raises, which must end it.
const SIGNALS: [Numbered; 22] = [
    Numbered::SIGHUP,
    Numbered::SIGINT,
    Numbered::SIGQUIT,
    Numbered::SIGABRT,
    Numbered::SIGUSR1,
    Numbered::SIGUSR2,
    Numbered::SIGALRM,
    Numbered::SIGTERM,
    Numbered::SIGCHLD,
    Numbered::SIGCONT,
    Numbered::SIGTSTP,
    Numbered::SIGTTIN,
    Numbered::SIGTTOU,
    Numbered::SIGURG,
    Numbered::SIGXCPU,
    Numbered::SIGXFSZ,
    Numbered::SIGVTALRM,
    Numbered::SIGPROF,
    Numbered::SIGWINCH,
    Numbered::SIGIO,
    Numbered::SIGPWR,
    Numbered::SIGSTKFLT,
];

fn signals() -> SigSet {
    SIGNALS.into_iter().collect()
}

/// From here on signals wait until [`run`] takes them.
pub fn block_signals() {
    let _ = signals().thread_block();
}

/// The opposite, for the component: a signal mask outlives exec.
pub fn unblock_signals() {
    let _ = signals().thread_unblock();
}

/// How the component ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Code(i32),
    Signal(i32),
}

/// Runs the component and gives its status; does not come back if it was ended
/// by a signal that can end this process, too.
pub fn run(options: &Options) -> i32 {
    let start = time::now();
    let place = Place::here(stage::component(options).as_deref());
    let folder = place.make(start).map_err(|reason| {
        say::loudly(&format!("no evidence: {reason}"));
    });
    let stage = Stage {
        options: options.clone(),
        folder: folder.ok(),
        start,
        parent: getpid().as_raw_nonzero().get(),
    };
    // The link works wherever the launcher is in the image, even if its own
    // file may not be seen by this user.
    let child = match Command::new("/proc/self/exe")
        .args(stage.arguments())
        .spawn()
    {
        Ok(child) => child,
        Err(error) => {
            say::loudly(&format!(
                "no exit record: cannot start a second process: {error}"
            ));
            return stage::become_component(&stage);
        }
    };
    let pid = Pid::from_child(&child);
    let terminal = Terminal::new();
    let end = attend(pid, &terminal);
    terminal.take_back(pid);
    if let Some(folder) = &stage.folder {
        write_exit(Path::new(folder), start, end);
    }
    match end {
        End::Code(code) => code,
        End::Signal(signal) => end_by(signal),
    }
}

/// Forwards and reaps until the component has ended.
fn attend(component: Pid, terminal: &Terminal) -> End {
    let signals = signals();
    loop {
        match signals.wait() {
            Ok(Numbered::SIGCHLD) => {
                if let Some(end) = reap(component, terminal) {
                    return end;
                }
            }
            // These are about this process' own use of the terminal.
            Ok(Numbered::SIGTTIN | Numbered::SIGTTOU) => {}
            Ok(signal) => {
                if let Some(signal) = Signal::from_named_raw(signal as i32) {
                    let _ = kill_process(component, signal);
                }
            }
            Err(_) => {} // EINTR
        }
    }
}

/// Takes every child that has ended, also those of others that process 1 gets.
fn reap(component: Pid, terminal: &Terminal) -> Option<End> {
    let mut end = None;
    loop {
        match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            Ok(Some((pid, status))) if pid == component => {
                if status.stopped() {
                    terminal.stop_with(component);
                } else {
                    end = Some(end_of(status));
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => return end,
            Err(rustix::io::Errno::INTR) => {}
            // No child is left and none was seen to end: whoever started the
            // launcher lets SIGCHLD be ignored, and the kernel keeps no status.
            Err(_) => return end.or(Some(End::Code(1))),
        }
    }
}

fn end_of(status: WaitStatus) -> End {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => End::Code(code),
        (None, Some(signal)) => End::Signal(signal),
        (None, None) => End::Code(1),
    }
}

fn write_exit(folder: &Path, start: u64, end: End) {
    let (code, signal) = match end {
        End::Code(code) => (Some(code), None),
        End::Signal(signal) => (None, Some(signal)),
    };
    let text = json::object(&[
        ("schema", "1".to_owned()),
        ("code", json::number(code)),
        ("signal", json::number(signal)),
        ("start", json::string(&time::rfc3339(start))),
        ("end", json::string(&time::rfc3339(time::now()))),
    ]);
    if let Err(reason) = incarnation::write(folder, "exit.json", &text) {
        say::loudly(&format!("no exit record: {reason}"));
    }
}

/// Ends by the same signal, so that a parent sees what it would have seen. The
/// kernel does not let process 1 do that; there it is the status that a shell
/// gives, 128 and the number.
fn end_by(signal: i32) -> i32 {
    let status = 128 + signal;
    let Some(named) = Signal::from_named_raw(signal) else {
        return status;
    };
    if getpid() == Pid::INIT {
        return status;
    }
    // The component has left its core; one of the launcher would hide it.
    let limit = Rlimit {
        current: Some(0),
        ..getrlimit(Resource::Core)
    };
    let _ = setrlimit(Resource::Core, limit);
    let _ = SigSet::all().thread_unblock();
    // Twice: Rust's handler for stack overflows takes the first SIGSEGV.
    for _ in 0..2 {
        let _ = kill_process(getpid(), named);
    }
    status
}

/// Job control, where the launcher was started in the foreground of a terminal.
struct Terminal {
    own: Option<Pid>,
}

impl Terminal {
    fn new() -> Self {
        // The stage may have taken the foreground already, so the question is
        // only whether there is a terminal with a foreground.
        let own = tcgetpgrp(stdin()).is_ok().then(getpgrp);
        Terminal { own }
    }

    /// Ctrl-Z stopped the component: the shell that waits for the launcher must
    /// see it stop, too. When the shell continues it, so does the component.
    fn stop_with(&self, component: Pid) {
        if self.own.is_none() || getpid() == Pid::INIT {
            return;
        }
        self.take_back(component);
        let _ = kill_process(getpid(), Signal::STOP);
        if tcgetpgrp(stdin()).ok() == self.own {
            let _ = tcsetpgrp(stdin(), component);
        }
        let _ = kill_process_group(component, Signal::CONT);
    }

    /// Makes the launcher's group the foreground if the component's still is.
    fn take_back(&self, component: Pid) {
        if let Some(own) = self.own
            && tcgetpgrp(stdin()).is_ok_and(|foreground| foreground == component)
        {
            let _ = tcsetpgrp(stdin(), own);
        }
    }
}
