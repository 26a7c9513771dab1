//! Starts a component in its container, keeps the record of its start and its
//! end on the profile volume, and ends the way the component ended.
//!
//! Whatever goes wrong with the evidence, the component runs. The launcher
//! needs nothing from the image: no shell, no libraries, no writable folder,
//! no particular user.
//!
//! It is in every image and starts in every container, so it is built without
//! the standard library and without a C library, which together are a megabyte
//! that it does not need. That form is the one with `panic = "abort"`, which
//! only the profile `launcher` has, with the linker arguments that `podcov-build`
//! gives; with `panic = "unwind"` it is an ordinary program for tests and tools.
//! All unsafe code is in `system.rs` and `bare.rs`.
#![cfg_attr(all(panic = "abort", not(test)), no_std, no_main)]
#![deny(unsafe_code)]

extern crate alloc;

#[cfg(all(panic = "abort", not(test)))]
#[allow(unsafe_code, reason = "what a C library would do")]
mod bare;

mod environment;
mod incarnation;
mod json;
mod options;
mod program;
mod say;
mod second;
mod supervise;
#[allow(unsafe_code, reason = "system calls that no safe crate has")]
mod system;
mod time;

use alloc::vec::Vec;

use environment::Environment;
use options::{Command, Options};

/// The launcher, given its arguments (without its name) and its environment.
fn start(arguments: Vec<&'static [u8]>, env: &Environment) -> i32 {
    // Before all else: for process 1 a signal that is neither handled nor
    // blocked does not exist, and the SIGTERM of a pod deleted at once is lost.
    supervise::block_signals();
    match Options::parse(arguments) {
        Ok(Command::Run(options)) => supervise::run(&options, env),
        Ok(Command::Print(text)) => {
            say::out(&text);
            0
        }
        Err(wrong) => {
            say::loudly(env, &wrong);
            2
        }
    }
}

#[cfg(not(all(panic = "abort", not(test))))]
fn main() {
    use std::os::unix::ffi::OsStringExt;
    let leak = |bytes: Vec<u8>| -> &'static [u8] { bytes.leak() };
    let arguments = std::env::args_os()
        .skip(1)
        .map(|text| leak(text.into_vec()))
        .collect();
    let variable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        leak([name.into_vec(), b"=".to_vec(), value.into_vec()].concat())
    };
    let env = Environment::new(std::env::vars_os().map(variable).collect());
    std::process::exit(start(arguments, &env));
}
