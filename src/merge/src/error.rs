use std::path::{Path, PathBuf};

use podcov_process::Cancelled;
use podcov_profile::ledger::Broken;

use crate::tools;

/// Why a run could not be merged. A damaged file of evidence is no error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder did not do what it should.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A toolchain's tool is missing.
    #[error(transparent)]
    Tools(#[from] tools::Error),
    /// A tool failed.
    #[error(transparent)]
    Tool(podcov_process::Error),
    /// The user asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// A glob of `[filter]` is none.
    #[error("expected a glob in [filter]")]
    Glob(#[source] globset::Error),
    /// A file of evidence changed while it was merged.
    #[error("{}: {broken}; something writes there while it is merged: merge again", .path.display())]
    Changed {
        /// Which one.
        path: PathBuf,
        /// How.
        broken: Broken,
    },
    /// A tool wrote something that was not expected of it.
    #[error("cannot read what `{tool}` wrote: {what}")]
    Output {
        /// Its name.
        tool: String,
        /// What was expected and found.
        what: String,
    },
    /// A program of a bundle is not as it must be to be reported on.
    #[error("{}: {what}", .path.display())]
    Program {
        /// The program.
        path: PathBuf,
        /// What is missing, and what to do.
        what: String,
    },
    /// The result cannot be written as JSON.
    #[error("cannot write the coverage as JSON")]
    Coverage(#[source] serde_json::Error),
}

impl From<podcov_process::Error> for Error {
    fn from(error: podcov_process::Error) -> Error {
        match error {
            podcov_process::Error::Cancelled(cancelled) => Error::Cancelled(cancelled),
            error => Error::Tool(error),
        }
    }
}

impl Error {
    /// For `map_err`: the error of `action` on `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io {
            action,
            path,
            source,
        }
    }
}
