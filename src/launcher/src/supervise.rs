//! The process that stands in for the component: whoever signals it, waits for
//! it or reads its status gets what they would get from the component.

use alloc::format;

use rustix::process::{
    Pid, Resource, Rlimit, WaitOptions, WaitStatus, getpgrp, getpid, getrlimit, kill_process_group,
    setrlimit, wait,
};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use crate::environment::Environment;
use crate::incarnation::{self, Place};
use crate::options::Options;
use crate::second::{self, Start};
use crate::system::{self, Signals};
use crate::{json, say, time};

const SIGPIPE: i32 = 13;
const SIGCHLD: i32 = 17;
const SIGSTOP: i32 = 19;
const SIGTTIN: i32 = 21;
const SIGTTOU: i32 = 22;

/// Everything that can be sent to a process to tell it something, real-time
/// signals included. Not SIGKILL and SIGSTOP, which nobody can hold, and not
/// those that a fault of the process itself raises (ILL, TRAP, BUS, FPE, SEGV,
/// SYS), which must end it.
const SIGNALS: Signals = {
    let not = [9, SIGSTOP, 4, 5, 7, 8, 11, 31];
    let mut set = u64::MAX;
    let mut at = 0;
    while at < not.len() {
        set &= !(1 << (not[at] - 1));
        at += 1;
    }
    Signals(set)
};

/// From here on signals wait until [`run`] takes them.
pub fn block_signals() {
    system::block(SIGNALS);
}

/// The opposite.
pub fn unblock_signals() {
    system::unblock(SIGNALS);
}

/// How the component ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Code(i32),
    Signal(i32),
}

/// Runs the component and gives its status; does not come back if it was ended
/// by a signal that can end this process, too.
pub fn run(options: &Options, env: &Environment) -> i32 {
    let time = time::now();
    let place = Place::here(env, second::component(options, env).as_deref());
    let folder = match place.make(time) {
        Ok(folder) => Some(folder),
        Err(reason) => {
            say::loudly(env, &format!("no evidence: {reason}"));
            None
        }
    };
    let start = Start {
        options,
        env,
        place: &place,
        folder,
        time,
    };
    let own = getpid().as_raw_nonzero().get();
    let component = match system::fork() {
        Ok(None) => system::exit(start.second(own)),
        Ok(Some(pid)) => pid,
        Err(error) => {
            let reason = say::reason(error);
            say::loudly(
                env,
                &format!("no exit record: cannot start a second process: {reason}"),
            );
            return start.become_component();
        }
    };
    let terminal = Terminal::new();
    let end = attend(component, &terminal);
    terminal.take_back(component);
    if let Some(folder) = &start.folder {
        write_exit(env, folder, time, end);
    }
    match end {
        End::Code(code) => code,
        End::Signal(signal) => end_by(signal),
    }
}

/// Forwards and reaps until the component has ended.
fn attend(component: i32, terminal: &Terminal) -> End {
    loop {
        match system::take(SIGNALS) {
            Some(SIGCHLD) => {
                if let Some(end) = reap(component, terminal) {
                    return end;
                }
            }
            // These are about this process' own use of terminal and stderr.
            Some(SIGTTIN | SIGTTOU | SIGPIPE) | None => {}
            Some(signal) => system::kill(component, signal),
        }
    }
}

/// Takes every child that has ended, also those of others that process 1 gets.
fn reap(component: i32, terminal: &Terminal) -> Option<End> {
    let mut end = None;
    loop {
        match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == component => {
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

fn write_exit(env: &Environment, folder: &str, start: u64, end: End) {
    let (code, signal) = match end {
        End::Code(code) => (Some(code), None),
        End::Signal(signal) => (None, Some(signal)),
    };
    let text = json::object(&[
        ("schema", "1".into()),
        ("code", json::number(code)),
        ("signal", json::number(signal)),
        ("start", json::string(&time::rfc3339(start))),
        ("end", json::string(&time::rfc3339(time::now()))),
    ]);
    if let Err(reason) = incarnation::write(folder, "exit.json", &text) {
        say::loudly(env, &format!("no exit record: {reason}"));
    }
}

/// Ends by the same signal, so that a parent sees what it would have seen. The
/// kernel does not let process 1 do that; there it is the status that a shell
/// gives, 128 and the number.
fn end_by(signal: i32) -> i32 {
    if getpid() != Pid::INIT {
        // The component has left its core; one of the launcher would hide it.
        let limit = Rlimit {
            current: Some(0),
            ..getrlimit(Resource::Core)
        };
        let _ = setrlimit(Resource::Core, limit);
        unblock_signals();
        system::kill(getpid().as_raw_nonzero().get(), signal);
    }
    128 + signal
}

/// Job control, where the launcher was started from a terminal.
struct Terminal {
    own: Option<Pid>,
}

impl Terminal {
    fn new() -> Self {
        Terminal {
            own: foreground().map(|_| getpgrp()),
        }
    }

    /// Ctrl-Z stopped the component: the shell that waits for the launcher must
    /// see it stop, too. When the shell continues it, so does the component.
    fn stop_with(&self, component: i32) {
        let Some(group) = Pid::from_raw(component) else {
            return;
        };
        if self.own.is_none() || getpid() == Pid::INIT {
            return;
        }
        self.take_back(component);
        system::kill(getpid().as_raw_nonzero().get(), SIGSTOP);
        if foreground() == self.own {
            let _ = tcsetpgrp(system::standard(0), group);
        }
        let _ = kill_process_group(group, rustix::process::Signal::CONT);
    }

    /// Makes the launcher's group the foreground if the component's still is.
    fn take_back(&self, component: i32) {
        if let Some(own) = self.own
            && foreground() == Pid::from_raw(component)
        {
            let _ = tcsetpgrp(system::standard(0), own);
        }
    }
}

fn foreground() -> Option<Pid> {
    tcgetpgrp(system::standard(0)).ok()
}
