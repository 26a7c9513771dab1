//! Runs a program and kills it at a chosen step of its writing.
//!
//! A step is a system call that changes what is on a disk: the program is
//! killed before it, or, of those that write bytes, when half of the bytes are
//! written. Between two such calls the disk does not change, so that these are
//! all the states that a kill can leave.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What became of a program.
#[derive(Debug, Default)]
pub struct Traced {
    /// Its exit status, unless it was killed.
    pub code: Option<i32>,
    /// How many steps it came to, and so how often each call was one.
    pub steps: usize,
    /// The same by the call's name.
    pub by_call: BTreeMap<&'static str, usize>,
}

/// What a system call is about to do.
enum Call {
    /// Nothing that stays.
    Other,
    /// It changes names or modes, or makes what was written last.
    Change(&'static str),
    /// It writes this many bytes.
    Write(&'static str, u64),
}

fn call(registers: &libc::user_regs_struct) -> Call {
    use libc::{O_CREAT, O_RDWR, O_TRUNC, O_WRONLY};
    let writes = |flags: u64| flags as i32 & (O_CREAT | O_RDWR | O_TRUNC | O_WRONLY) != 0;
    // Talk is no evidence.
    let is_talk = matches!(registers.rdi, 1 | 2);
    match registers.orig_rax as i64 {
        libc::SYS_write if !is_talk => Call::Write("write", registers.rdx),
        libc::SYS_pwrite64 => Call::Write("pwrite64", registers.rdx),
        libc::SYS_writev if !is_talk => Call::Change("writev"),
        libc::SYS_sendfile => Call::Change("sendfile"),
        libc::SYS_copy_file_range => Call::Change("copy_file_range"),
        libc::SYS_openat if writes(registers.rdx) => Call::Change("openat"),
        libc::SYS_open if writes(registers.rsi) => Call::Change("open"),
        libc::SYS_creat => Call::Change("creat"),
        libc::SYS_ftruncate => Call::Change("ftruncate"),
        libc::SYS_fallocate => Call::Change("fallocate"),
        libc::SYS_fsync => Call::Change("fsync"),
        libc::SYS_fdatasync => Call::Change("fdatasync"),
        libc::SYS_rename | libc::SYS_renameat | libc::SYS_renameat2 => Call::Change("rename"),
        libc::SYS_link | libc::SYS_linkat => Call::Change("link"),
        libc::SYS_symlink | libc::SYS_symlinkat => Call::Change("symlink"),
        libc::SYS_unlink | libc::SYS_unlinkat => Call::Change("unlink"),
        libc::SYS_mkdir | libc::SYS_mkdirat => Call::Change("mkdir"),
        libc::SYS_rmdir => Call::Change("rmdir"),
        libc::SYS_chmod | libc::SYS_fchmod | libc::SYS_fchmodat => Call::Change("chmod"),
        _ => Call::Other,
    }
}

/// Runs the command to its end, or kills it at step `at`, counted from 0.
pub fn run(command: &Command, at: Option<usize>) -> Traced {
    // Stopped before it becomes the program, so that no call is missed.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "kill -STOP $$; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .process_group(0);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    #[allow(clippy::zombie_processes, reason = "waitpid below waits for it")]
    let child = shell.spawn().unwrap();
    let main = Pid::from_raw(child.id().cast_signed());
    // Of this thread only: other tests have children, too.
    let own = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    let stopped = waitpid(main, Some(own | WaitPidFlag::WUNTRACED)).unwrap();
    assert!(
        matches!(stopped, WaitStatus::Stopped(_, Signal::SIGSTOP)),
        "{stopped:?}"
    );
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(main, options).unwrap();
    kill(main, Signal::SIGCONT).unwrap();
    let mut traced = Traced::default();
    let mut is_podcov = false;
    // The thread whose write is to be its last.
    let mut torn: Option<Pid> = None;
    loop {
        let status = waitpid(Pid::from_raw(-1), Some(own)).unwrap();
        let (thread, signal) = match status {
            WaitStatus::Exited(pid, code) if pid == main => {
                traced.code = Some(code);
                return traced;
            }
            WaitStatus::Signaled(pid, _, _) if pid == main => return traced,
            WaitStatus::PtraceEvent(pid, _, event) => {
                is_podcov |= event == libc::PTRACE_EVENT_EXEC;
                (pid, None)
            }
            WaitStatus::PtraceSyscall(pid) => {
                if is_podcov && step(&mut traced, pid, at, &mut torn) {
                    let _ = kill(main, Signal::SIGKILL);
                }
                (pid, None)
            }
            WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
            _ => continue,
        };
        // One that was killed in between is told by the next wait.
        let _ = ptrace::syscall(thread, signal);
    }
}

/// Counts a step; says whether it is the one to be killed at.
fn step(traced: &mut Traced, thread: Pid, at: Option<usize>, torn: &mut Option<Pid>) -> bool {
    let Ok(info) = ptrace::syscall_info(thread) else {
        return false;
    };
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return *torn == Some(thread);
    }
    let Ok(mut registers) = ptrace::getregs(thread) else {
        return false;
    };
    let (name, length) = match call(&registers) {
        Call::Other => return false,
        Call::Change(name) => (name, 0),
        Call::Write(name, length) => (name, length),
    };
    let mut count = || {
        *traced.by_call.entry(name).or_default() += 1;
        traced.steps += 1;
        at == Some(traced.steps - 1)
    };
    if count() {
        return true;
    }
    if length > 1 && count() {
        registers.rdx = length / 2;
        ptrace::setregs(thread, registers).unwrap();
        *torn = Some(thread);
    }
    false
}
