//! One runner for every child process podcov starts, and the two things long
//! work needs beside it: a way to say how far it is and a way to be stopped.
//!
//! Children run in a process group of their own, so that Ctrl-C on the
//! terminal reaches podcov alone and podcov decides what ends when.
#![forbid(unsafe_code)]

mod cancel;
mod progress;
mod runner;
mod watchdog;

pub use cancel::{Cancel, Cancelled};
pub use progress::{Progress, Silent};
pub use runner::{Error, Finished, Run, find_program, shell_word};
