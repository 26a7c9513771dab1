//! One runner for every child process podcov starts, and what those who use it
//! need beside it: a way to say how far long work is, a way to be stopped, and
//! a way to write a file that is whole or not there.
//!
//! Children run in a process group of their own, so that Ctrl-C on the
//! terminal reaches podcov alone and podcov decides what ends when.
#![forbid(unsafe_code)]

mod cancel;
mod progress;
mod runner;
mod watchdog;
mod write;

pub use cancel::{Cancel, Cancelled};
pub use progress::{Progress, Silent};
pub use runner::{Error, Finished, Run, find_program, shell_word};
pub use write::{folder_of, is_half_written, write_atomic};
