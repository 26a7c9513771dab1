//! What a composition covered: component, binary, file, function, line.
//!
//! `coverage/coverage.json` is a [`Coverage`]. Every ordered list is in the
//! order of its key, so that equal input gives equal bytes.

use serde::{Deserialize, Serialize};

use crate::Identity;
use crate::names::{Kind, Language};

/// Version of the JSON; readers refuse a newer one.
pub const SCHEMA: u32 = 1;

/// Everything that was counted together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// Name of the composition.
    pub composition: String,
    /// Its components, in the order of `podcov.toml`.
    pub components: Vec<Component>,
}

/// What one component covered, over all its incarnations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its language, which decides the native metrics.
    pub language: Language,
    /// Its part in the composition.
    pub kind: Kind,
    /// The builds that ran; two builds of one source stay apart.
    pub binaries: Vec<Binary>,
    /// How many of its incarnations count.
    pub incarnations_collected: u64,
    /// How many ran and do not count: their coverage is unknown.
    pub incarnations_lost: u64,
}

/// What one build covered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Binary {
    /// File name of the program.
    pub name: String,
    /// The build.
    pub identity: Identity,
    /// How many files of evidence were merged.
    pub profiles: u64,
    /// Its counted source files, by path.
    pub files: Vec<File>,
}

/// What was covered of one source file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct File {
    /// Relative to the root of the bundle's sources.
    pub path: String,
    /// Crate (Rust) or import path of the package (Go).
    pub package: String,
    /// The numbers, as the reference tool counts them.
    pub metrics: Metrics,
    /// The lines that have code, by number.
    pub lines: Vec<Line>,
    /// Its functions, by first line.
    pub functions: Vec<Function>,
}

/// One source line that has code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// From 1.
    pub number: u32,
    /// How often it ran: the largest count of what begins on it or spans it.
    pub count: u64,
    /// Some of it ran and some did not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// One function, as written in the source: instantiations are added up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Demangled.
    pub name: String,
    /// First line.
    pub start: u32,
    /// Last line.
    pub end: u32,
    /// How often it was called; for Go, whose tools do not tell, the count of
    /// its first block.
    pub count: u64,
    /// Its lines that have code.
    pub lines: Ratio,
}

/// Covered out of total. 0 of 0 is possible and is no percentage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ratio {
    /// How many were reached.
    pub covered: u64,
    /// How many there are.
    pub total: u64,
}

/// The numbers of a file, package, component or composition. A metric that a
/// language does not have is 0 of 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    /// Source lines with code.
    pub lines: Ratio,
    /// Functions called at least once.
    pub functions: Ratio,
    /// Rust: LLVM's code regions.
    pub regions: Ratio,
    /// Go: statements.
    pub statements: Ratio,
}

impl Ratio {
    /// A ratio.
    pub fn new(covered: u64, total: u64) -> Self {
        Ratio { covered, total }
    }

    /// 0 to 100, or `None` of nothing.
    pub fn percent(self) -> Option<f64> {
        (self.total > 0).then(|| self.covered as f64 * 100.0 / self.total as f64)
    }
}

impl std::ops::AddAssign for Ratio {
    fn add_assign(&mut self, other: Ratio) {
        self.covered = self.covered.saturating_add(other.covered);
        self.total = self.total.saturating_add(other.total);
    }
}

impl std::ops::AddAssign for Metrics {
    fn add_assign(&mut self, other: Metrics) {
        self.lines += other.lines;
        self.functions += other.functions;
        self.regions += other.regions;
        self.statements += other.statements;
    }
}

impl std::iter::Sum for Metrics {
    fn sum<I: Iterator<Item = Metrics>>(all: I) -> Metrics {
        all.fold(Metrics::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}
