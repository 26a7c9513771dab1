//! Arguments of the commands that read plain files.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Reading, Selection};

/// `podcov export`.
#[derive(Debug, Args)]
pub struct Export {
    /// What to write
    #[arg(long, value_enum)]
    pub format: ExportFormat,
    /// Where to write it; default: stdout
    #[arg(long, short, value_name = "OUT")]
    pub out: Option<PathBuf>,
    /// How to read what is named.
    #[command(flatten)]
    pub reading: Reading,
    /// Which sources.
    #[command(flatten)]
    pub selection: Selection,
    /// Profiles, counters, reports, podcov files, or folders of them; `-` is stdin
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Formats of `podcov export`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// LCOV: lines, functions and branches.
    Lcov,
    /// The JSON of `llvm-cov export`.
    LlvmJson,
    /// Go's text profile, for `go tool cover`.
    GoCover,
    /// Cobertura XML.
    Cobertura,
    /// JSON for Codecov.
    Codecov,
    /// podcov's coverage.json.
    Json,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// `podcov show`.
#[derive(Debug, Args)]
pub struct Show {
    /// Mark what did not run within lines that did
    #[arg(long)]
    pub regions: bool,
    /// Only files with lines that did not run
    #[arg(long)]
    pub missed: bool,
    /// When to colour
    #[arg(long, value_enum, default_value = "auto")]
    pub color: Color,
    /// How to read what is named.
    #[command(flatten)]
    pub reading: Reading,
    /// Which sources.
    #[command(flatten)]
    pub selection: Selection,
    /// Profiles, counters, reports, podcov files, or folders of them; `-` is stdin
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TextOrJson {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// `podcov summary`.
#[derive(Debug, Args)]
pub struct Summary {
    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    pub format: TextOrJson,
    /// Also a line for each function
    #[arg(long)]
    pub functions: bool,
    /// Instead, a line for each test and phase of runs: what it reached, and what nothing else did
    #[arg(long, conflicts_with = "functions")]
    pub tests: bool,
    /// With --tests: only those that reached this line, as FILE:NUMBER
    #[arg(long, value_name = "LINE", requires = "tests", value_parser = file_and_line)]
    pub line: Option<(String, u32)>,
    /// How to read what is named.
    #[command(flatten)]
    pub reading: Reading,
    /// Which sources.
    #[command(flatten)]
    pub selection: Selection,
    /// Profiles, counters, reports, podcov files, or folders of them; `-` is stdin
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

fn file_and_line(text: &str) -> Result<(String, u32), String> {
    let parts = text.rsplit_once(':');
    let parsed = parts.and_then(|(file, line)| Some((file.to_owned(), line.parse().ok()?)));
    parsed.ok_or_else(|| format!("expected FILE:NUMBER, found `{text}`"))
}

/// `podcov diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    pub format: TextOrJson,
    /// How to read what is named.
    #[command(flatten)]
    pub reading: Reading,
    /// Which sources.
    #[command(flatten)]
    pub selection: Selection,
    /// Before
    #[arg(value_name = "A")]
    pub before: PathBuf,
    /// After
    #[arg(value_name = "B")]
    pub after: PathBuf,
}

/// `podcov inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    pub format: TextOrJson,
    /// Files, or folders of them; `-` is stdin
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}
