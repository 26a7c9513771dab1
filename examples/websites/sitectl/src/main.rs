//! `sitectl`: websites on the command line.
//!
//! Exit status: 0 done; 1 failed; 2 wrong usage; 3 the website is not in the wanted state (yet).

mod cli;
mod commands;
mod connect;
mod table;

use std::process::ExitCode;

use clap::Parser;

/// A wish that is not fulfilled, which is something else than a failure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unmet(String);

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(commands::run(arguments)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sitectl: {error:#}");
            ExitCode::from(if error.is::<Unmet>() { 3 } else { 1 })
        }
    }
}
