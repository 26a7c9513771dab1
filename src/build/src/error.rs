use std::path::{Path, PathBuf};

use podcov_process as process;

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// "read", "write", "copy".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A tool could not be started, failed or was interrupted.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// The user asked to stop.
    #[error(transparent)]
    Cancelled(#[from] process::Cancelled),
    /// The sources do not compile.
    #[error("component `{component}`: {tool} failed\n{}", indent(output))]
    Compile {
        /// Its name.
        component: String,
        /// "cargo build", "go build".
        tool: &'static str,
        /// What the compiler said, its last lines.
        output: String,
    },
    /// What `podcov.toml` asks for does not fit what is in the sources.
    #[error("component `{component}`: {what}")]
    Configuration {
        /// Its name.
        component: String,
        /// Expected, found, where and what to do.
        what: String,
    },
    /// The toolchain cannot make what is needed.
    #[error("component `{component}`: {what}")]
    Toolchain {
        /// Its name.
        component: String,
        /// Expected, found and what to do.
        what: String,
    },
    /// The program that was built or given holds no coverage, or not ours.
    #[error("program {}: {what}", path.display())]
    Program {
        /// The file.
        path: PathBuf,
        /// Expected, found and what to do.
        what: String,
    },
    /// A tool said something that podcov does not understand.
    #[error("{tool} answered with something unexpected: {what}")]
    Answer {
        /// The command.
        tool: &'static str,
        /// What was wrong with the answer.
        what: String,
    },
}

fn indent(text: &str) -> String {
    text.lines()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

impl Error {
    pub(crate) fn configuration(component: &str, what: impl Into<String>) -> Self {
        Error::Configuration {
            component: component.to_owned(),
            what: what.into(),
        }
    }

    pub(crate) fn toolchain(component: &str, what: impl Into<String>) -> Self {
        Error::Toolchain {
            component: component.to_owned(),
            what: what.into(),
        }
    }

    /// A tool that is not there is a fault of the toolchain, with a remedy.
    pub(crate) fn tool(component: &str, error: process::Error, remedy: &str) -> Self {
        match error {
            process::Error::Start { program, source }
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                let what = format!("expected `{program}` on PATH, found none; {remedy}");
                Self::toolchain(component, what)
            }
            other => other.into(),
        }
    }

    pub(crate) fn program(path: &Path, what: impl Into<String>) -> Self {
        Error::Program {
            path: path.to_owned(),
            what: what.into(),
        }
    }
}

/// Gives an I/O error the file it is about.
pub(crate) trait AtPath<T> {
    fn at(self, what: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> AtPath<T> for std::io::Result<T> {
    fn at(self, what: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io {
            what,
            path: path.to_owned(),
            source,
        })
    }
}
