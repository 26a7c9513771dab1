//! The exit status, which is part of podcov's interface.

use std::process::ExitCode;

/// What a run of podcov says to the shell. The numbers never change meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done and the gate, if any, said yes.
    Fine = 0,
    /// A fault of podcov's own.
    Fault = 1,
    /// The command line or `podcov.toml` is wrong.
    Usage = 2,
    /// The gate said no.
    Gate = 3,
    /// Evidence is incomplete where the policy wants it complete, or where a
    /// rule of the gate hangs on what is lost.
    Incomplete = 4,
    /// The e2e command failed.
    E2e = 5,
    /// The cluster could not be had, or went away.
    Cluster = 6,
    /// A component could not be built.
    Build = 7,
    /// There was nothing usable in the input.
    Nothing = 8,
    /// The user stopped it (128 + SIGINT).
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// An error that knows its exit status and what the user can do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What to say to the shell.
    pub exit: Exit,
    /// What was expected, found, and where.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
}

impl Failure {
    /// A failure with nothing to recommend.
    pub fn new(exit: Exit, message: impl std::fmt::Display) -> Self {
        Failure {
            exit,
            message: message.to_string(),
            help: None,
        }
    }

    /// Adds what to do next.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Gives the error of a step its exit status.
pub trait OrExit<T> {
    /// `Err` becomes a [`Failure`] with this status. After an interrupt `main`
    /// gives [`Exit::Interrupted`] instead, whatever broke off.
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: std::error::Error> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(exit, chain(&error)))
    }
}

/// An error and its causes in one text; a cause that its parent's text
/// already ends with is not said twice.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
