//! The words of a composition that every step shares.

use serde::{Deserialize, Serialize};

/// The language a component is written in; decides its format of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// LLVM source-based coverage.
    Rust,
    /// Go's coverage of whole programs.
    Go,
}

/// What part a component plays in its composition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Reconciles resources; runs until it is stopped.
    Operator,
    /// Drives operators, from a Job or from the e2e suite.
    Client,
    /// Is created by an operator.
    Workload,
}

impl std::fmt::Display for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Language::Rust => "rust",
            Language::Go => "go",
        })
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Operator => "operator",
            Kind::Client => "client",
            Kind::Workload => "workload",
        })
    }
}
