//! The four things that need unsafe code in any program: a second process, to
//! become a program, and to block and take signals. As system calls, because
//! the launcher has no C library.

use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::ptr;

use rustix::fd::BorrowedFd;
use rustix::io::Errno;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const RT_SIGPROCMASK: usize = 14;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const KILL: usize = 62;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const EXIT_GROUP: usize = 231;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub const EXIT_GROUP: usize = 94;
    pub const KILL: usize = 129;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
}

/// # Safety
/// What the call with this number asks of its arguments.
unsafe fn call(number: usize, arguments: [usize; 5]) -> Result<usize, Errno> {
    let [a, b, c, d, e] = arguments;
    let result: isize;
    // SAFETY: the kernel's calling convention; it keeps all other registers.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            options(nostack),
        );
    }
    match result {
        -4095..0 => Err(Errno::from_raw_os_error(-result as i32)),
        _ => Ok(result as usize),
    }
}

/// A set of signals, as the kernel has it: signal `n` is bit `n - 1`.
#[derive(Clone, Copy)]
pub struct Signals(pub u64);

const SIZE: usize = size_of::<u64>();

/// Signals of the set wait until [`take`].
pub fn block(signals: Signals) {
    change_mask(0, signals);
}

/// The opposite of [`block`].
pub fn unblock(signals: Signals) {
    change_mask(1, signals);
}

fn change_mask(how: usize, signals: Signals) {
    let set = &raw const signals.0;
    // SAFETY: the kernel reads eight bytes at `set`.
    let _ = unsafe { call(number::RT_SIGPROCMASK, [how, set as usize, 0, SIZE, 0]) };
}

/// Waits for a signal of the set; `None` if something else woke it.
pub fn take(signals: Signals) -> Option<i32> {
    let set = &raw const signals.0;
    // SAFETY: the kernel reads eight bytes at `set`, and is asked for no more.
    let signal = unsafe { call(number::RT_SIGTIMEDWAIT, [set as usize, 0, 0, SIZE, 0]) };
    signal.ok().map(|signal| signal as i32)
}

/// Sends any signal, also a real-time one.
pub fn kill(pid: i32, signal: i32) {
    // SAFETY: no memory is involved.
    let _ = unsafe { call(number::KILL, [pid as usize, signal as usize, 0, 0, 0]) };
}

/// Begins a second process: `None` in it, its id in the first.
///
/// Both go on with a copy of all memory. There are no threads whose locks
/// could be held for ever.
pub fn fork() -> Result<Option<i32>, Errno> {
    const SIGCHLD: usize = 17;
    // SAFETY: without CLONE_VM and a stack of its own, it is fork.
    let pid = unsafe { call(number::CLONE, [SIGCHLD, 0, 0, 0, 0]) }?;
    Ok((pid != 0).then_some(pid as i32))
}

/// Becomes a program; comes back only if that fails.
pub fn exec(file: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    let list = |strings: &[CString]| -> Vec<*const u8> {
        strings
            .iter()
            .map(|text| text.as_ptr().cast())
            .chain([ptr::null()])
            .collect()
    };
    let (arguments, environment) = (list(arguments), list(environment));
    let pointers = [arguments.as_ptr() as usize, environment.as_ptr() as usize];
    let words = [file.as_ptr() as usize, pointers[0], pointers[1], 0, 0];
    // SAFETY: a string and two lists of strings that end with null, all alive.
    match unsafe { call(number::EXECVE, words) } {
        Err(error) => error,
        Ok(_) => Errno::NOSYS,
    }
}

/// stdin, stdout or stderr.
pub fn standard(number: i32) -> BorrowedFd<'static> {
    // SAFETY: the launcher closes none of them. If it was started without, the
    // kernel says so at each use.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Ends this process at once.
pub fn exit(status: i32) -> ! {
    loop {
        // SAFETY: no memory is involved.
        let _ = unsafe { call(number::EXIT_GROUP, [status as usize, 0, 0, 0, 0]) };
    }
}
