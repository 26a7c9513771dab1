//! Starts a component in its container, keeps the record of its start and its
//! end on the profile volume, and ends the way the component ended.
//!
//! Whatever goes wrong with the evidence, the component runs. The launcher
//! needs nothing from the image: no shell, no libraries, no writable folder,
//! no particular user.
//!
//! It is two processes from one program. The supervisor (process 1 in a
//! container) forwards signals, reaps and writes `exit.json`. It starts the
//! program again as the stage, which writes `start.json` with its own process
//! id, and then becomes the component by exec. That way all that must happen
//! between fork and exec is ordinary safe code.
#![forbid(unsafe_code)]

mod environment;
mod incarnation;
mod json;
mod options;
mod program;
mod say;
mod stage;
mod supervise;
mod time;

use std::process::exit;

use options::{Command, Options};

fn main() {
    // Before all else: for process 1 a signal that is neither handled nor
    // blocked does not exist, and the SIGTERM of a pod deleted at once is lost.
    supervise::block_signals();
    let status = match Options::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(options)) => supervise::run(&options),
        Ok(Command::Stage(stage)) => stage::run(&stage),
        Ok(Command::Print(text)) => {
            print!("{text}");
            0
        }
        Err(wrong) => {
            say::loudly(&wrong);
            2
        }
    };
    exit(status);
}
