//! Arguments of `podcov phase`.

use clap::{Subcommand, ValueEnum};

/// `podcov phase …`.
#[derive(Debug, Subcommand)]
pub enum Phase {
    /// A phase starts
    Start {
        /// Its name
        name: String,
        /// A test, or a step beside the tests
        #[arg(long, value_enum, default_value = "phase")]
        kind: PhaseKind,
        /// This namespace is its own: no other phase gets what its pods count
        #[arg(long, value_name = "NAME")]
        namespace: Option<String>,
    },
    /// A phase ends
    End {
        /// Its name; default: the last one that was started
        name: Option<String>,
    },
}

/// Kinds of phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PhaseKind {
    /// One of the suite's tests.
    Test,
    /// A step beside them.
    Phase,
}

impl PhaseKind {
    /// As the recorder reads it.
    pub fn word(self) -> &'static str {
        match self {
            PhaseKind::Test => "test",
            PhaseKind::Phase => "phase",
        }
    }
}
