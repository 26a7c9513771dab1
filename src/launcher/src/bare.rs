//! What a C library would do: the start of the process, memory, and the end
//! after a fault of the launcher's own.

use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::arch::{asm, global_asm};
use core::cell::Cell;
use core::ffi::{CStr, c_char};
use core::fmt::Write;
use core::panic::PanicInfo;
use core::ptr::null_mut;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use crate::environment::Environment;
use crate::{say, start, system};

// The kernel puts the number of arguments, the arguments and the environment
// on the stack, and jumps here.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {begin}",
    "ud2",
    begin = sym begin,
);
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "b {begin}",
    begin = sym begin,
);

unsafe extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the layout that the kernel's ABI gives: a count, as many pointers
    // and a null, then pointers up to another null. They stay for ever.
    let (arguments, environment) = unsafe {
        let count = *stack;
        let pointers = stack.add(1).cast::<*const c_char>();
        (strings(pointers), strings(pointers.add(count + 1)))
    };
    let env = Environment::new(environment);
    let arguments = arguments.into_iter().skip(1).collect();
    system::exit(start(arguments, &env))
}

/// # Safety
/// A list of strings that ends with null, and that nobody changes.
unsafe fn strings(mut list: *const *const c_char) -> Vec<&'static [u8]> {
    let mut found = Vec::new();
    // SAFETY: not beyond the null, by the loop's condition.
    unsafe {
        while !(*list).is_null() {
            found.push(CStr::from_ptr(*list).to_bytes());
            list = list.add(1);
        }
    }
    found
}

/// Memory is only ever taken: the launcher needs little of it, all of it at the
/// start, and then it waits.
struct Memory {
    next: Cell<usize>,
    end: Cell<usize>,
}

// SAFETY: the launcher has one thread.
unsafe impl Sync for Memory {}

#[global_allocator]
static MEMORY: Memory = Memory {
    next: Cell::new(0),
    end: Cell::new(0),
};

const CHUNK: usize = 256 * 1024;

// SAFETY: every block is of fresh memory, aligned, and given once.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let place = |from: usize| from.next_multiple_of(layout.align());
        let mut begin = place(self.next.get());
        if begin + layout.size() > self.end.get() {
            let size = (layout.size() + layout.align()).next_multiple_of(CHUNK);
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            // SAFETY: at a place that the kernel chooses, so over nothing.
            let mapped = unsafe { mmap_anonymous(null_mut(), size, protection, MapFlags::PRIVATE) };
            let Ok(chunk) = mapped else { return null_mut() };
            self.end.set(chunk as usize + size);
            begin = place(chunk as usize);
        }
        self.next.set(begin + layout.size());
        begin as *mut u8
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    let mut text = alloc::string::String::new();
    let _ = write!(text, "a fault of the launcher's own: {info}");
    say::quietly(&text);
    system::exit(1)
}

// The compiler turns loops and copies into calls of these. They are made of
// instructions, so that it cannot turn them into calls of themselves.

#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: as the caller of memcpy promises.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
    to
}

#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    // SAFETY: as the caller of memset promises.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") value as u8,
            options(nostack, preserves_flags));
    }
    to
}

#[cfg(not(target_arch = "x86_64"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    for at in 0..count {
        // SAFETY: as the caller of memcpy promises.
        unsafe {
            to.add(at).write(from.add(at).read());
            asm!("", options(nostack, preserves_flags)); // keeps it a loop
        }
    }
    to
}

#[cfg(not(target_arch = "x86_64"))]
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    for at in 0..count {
        // SAFETY: as the caller of memset promises.
        unsafe {
            to.add(at).write(value as u8);
            asm!("", options(nostack, preserves_flags)); // keeps it a loop
        }
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= count {
        // SAFETY: forwards, nothing is overwritten before it was read.
        return unsafe { memcpy(to, from, count) };
    }
    for at in (0..count).rev() {
        // SAFETY: as the caller of memmove promises; backwards.
        unsafe {
            to.add(at).write(from.add(at).read());
            asm!("", options(nostack, preserves_flags)); // keeps it a loop
        }
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    for at in 0..count {
        // SAFETY: as the caller of memcmp promises.
        let (a, b) = unsafe { (one.add(at).read(), other.add(at).read()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
        // SAFETY: nothing happens; it keeps this a loop.
        unsafe { asm!("", options(nostack, preserves_flags)) };
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    // SAFETY: the same promise.
    unsafe { memcmp(one, other, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: not beyond the null, which the caller promises.
    unsafe {
        while text.add(length).read() != 0 {
            length += 1;
            asm!("", options(nostack, preserves_flags)); // keeps it a loop
        }
    }
    length
}
