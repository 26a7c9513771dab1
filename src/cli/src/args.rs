//! The command line. Doc comments are the help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const OVERVIEW: &str = "\
The pipeline:
    config -> build -> overlay -> cluster -> deploy -> test -> stop -> collect -> merge -> report -> gate

For a start:
    podcov init                write podcov.toml for the operators in this folder
    podcov run                 the whole pipeline
    podcov exec -- CMD…        measure a command on this machine, without a cluster
    podcov cluster kubectl     look around in the cluster
    podcov report              write the report of a run again

`podcov help COMMAND` explains each.";

const EXIT: &str = "\
Exit status: 0 fine · 1 a fault of podcov's own · 2 usage or configuration · 3 the gate says no ·
4 evidence incomplete · 5 the e2e command failed · 6 cluster · 7 build · 8 nothing usable in the
input · 130 interrupted";

/// Coverage of end-to-end runs of Kubernetes operators
#[derive(Debug, Parser)]
#[command(name = "podcov", version, before_help = OVERVIEW, after_help = EXIT)]
#[command(disable_help_subcommand = false, arg_required_else_help = true)]
pub struct Cli {
    /// What every command knows.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command knows.
#[derive(Debug, Args)]
pub struct Global {
    /// Read this file instead of podcov.toml in this folder or above
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Keep runs below this folder; default: `profiles` beside podcov.toml
    #[arg(long, global = true, value_name = "DIR")]
    pub profiles: Option<PathBuf>,
    /// Work on this run; default: the newest
    #[arg(long, global = true, value_name = "ID")]
    pub run: Option<String>,
    /// Say nothing but results and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write podcov.toml for the operators found in this folder
    Init(Init),
    /// Build, run in a cluster, collect, merge, report and gate
    ///
    /// Leaves everything in `profiles/<run id>/`. When the e2e command fails, evidence is collected
    /// and reported all the same, and the exit status is 5. Ctrl-C stops the suite, collects what
    /// there is, and takes the cluster down; a second Ctrl-C skips the collecting.
    #[command(
        after_help = "Examples:\n  podcov run\n  podcov run --keep-cluster\n  podcov run -- cargo test --test e2e scaling"
    )]
    Run(Run),
    /// Run a command on this machine and report what it covered
    ///
    /// Sets the variables that the runtimes of Rust and Go read, collects what the command's
    /// processes leave and, when their binaries are known, reports on stderr: stdout is the
    /// command's. The exit status is the command's, too, unless podcov fails. An interrupt ends the
    /// command; what it left is collected.
    #[command(
        after_help = "Examples:\n  eval \"$(podcov env --language go)\" && go build -o server ./cmd/server\n  podcov exec -- ./server --port 0\n  podcov exec --evidence /tmp/e --object server -- ./run-tests.sh"
    )]
    Exec(Exec),
    /// Build instrumented programs and images; begins a new run
    Build,
    /// Write the profile overlay of a run
    Overlay,
    /// Create, look at and delete the cluster
    Cluster {
        /// What to do with it.
        #[command(subcommand)]
        command: Cluster,
    },
    /// Load the images, apply the overlay, wait until pods are ready
    Deploy,
    /// Run the e2e command against the deployed composition
    Test(Test),
    /// Stop the composition, operators last, and wait until its pods are gone
    Stop,
    /// File every incarnation's evidence in the ledger
    Collect,
    /// Merge the collected evidence
    Merge(Merge),
    /// Write the report and print the table
    Report(Report),
    /// Check the thresholds
    Gate,
    /// Print the variables that make your own build an instrumented one
    #[command(
        after_help = "Examples:\n  eval \"$(podcov env --language rust)\" && cargo build\n  eval \"$(podcov env --language go --out /tmp/podcov-go)\" && make manager"
    )]
    Env(Env),
    /// Make the bundle of binaries that were built elsewhere
    Bundle(Bundle),
    /// Report on profiles that something else collected, such as `cargo llvm-cov`
    #[command(after_help = "Example:\n  podcov import --object target/debug/server target/")]
    Import(Import),
    /// Print the JSON schema of podcov.toml
    Schema,
    /// Print the completions for a shell
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// `podcov init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Also write an xtask, so that `cargo xtask coverage-e2e` works here
    #[arg(long)]
    pub xtask: bool,
    /// Overwrite files that are there
    #[arg(long)]
    pub force: bool,
    /// The folder to look at
    #[arg(default_value = ".")]
    pub dir: PathBuf,
}

/// `podcov run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Leave the cluster running at the end
    #[arg(long)]
    pub keep_cluster: bool,
    /// What merges
    #[arg(long, value_enum, default_value = "native")]
    pub backend: Backend,
    /// Run this instead of `[e2e] command`
    #[arg(last = true, value_name = "CMD")]
    pub e2e: Vec<OsString>,
}

/// `podcov exec`.
#[derive(Debug, Args)]
pub struct Exec {
    /// What merges
    #[arg(long, value_enum, default_value = "native")]
    pub backend: Backend,
    /// Use this folder instead of a new run below `profiles`; what is in it adds up
    #[arg(long, value_name = "DIR")]
    pub evidence: Option<PathBuf>,
    /// Name of the component
    #[arg(long, value_name = "NAME")]
    pub component: Option<String>,
    /// Report on this instrumented binary, too; default: the command itself
    #[arg(long, value_name = "FILE")]
    pub object: Vec<PathBuf>,
    /// Where the sources are; default: the repository around this folder
    #[arg(long, value_name = "DIR")]
    pub source_root: Option<PathBuf>,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// `podcov cluster …`.
#[derive(Debug, Subcommand)]
pub enum Cluster {
    /// Create the cluster, or make sure that it is up
    Up,
    /// Delete the cluster and everything it left
    Down,
    /// Say what there is
    Status,
    /// Print the variables that make kubectl and others talk to it
    Env,
    /// Run kubectl on it
    Kubectl {
        /// Arguments of kubectl.
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARG"
        )]
        args: Vec<OsString>,
    },
}

/// `podcov test`.
#[derive(Debug, Args)]
pub struct Test {
    /// Run this instead of `[e2e] command`
    #[arg(last = true, value_name = "CMD")]
    pub e2e: Vec<OsString>,
}

/// What merges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// podcov itself; needs no toolchain.
    #[default]
    Native,
    /// LLVM's and Go's own tools, as the reference.
    Tools,
}

/// `podcov merge`.
#[derive(Debug, Args)]
pub struct Merge {
    /// What merges
    #[arg(long, value_enum, default_value = "native")]
    pub backend: Backend,
    /// Also lay profiles and binaries out so that `cargo llvm-cov report` reads them
    #[arg(long, value_name = "DIR")]
    pub cargo_llvm_cov: Option<PathBuf>,
}

/// Formats of `podcov report`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The table, for people.
    Text,
    /// summary.json, for programs.
    Json,
    /// The table in Markdown.
    Markdown,
}

/// `podcov report`.
#[derive(Debug, Args)]
pub struct Report {
    /// What to print on stdout
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

/// Languages of `podcov env`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Language {
    /// LLVM source-based coverage.
    Rust,
    /// Go's coverage of whole programs.
    Go,
}

/// `podcov env`.
#[derive(Debug, Args)]
pub struct Env {
    /// The language of the build
    #[arg(long, value_enum)]
    pub language: Language,
    /// Where files that the build needs are written; default: `.podcov/env`
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Link dynamically, as your build does by default; else a static program comes out
    #[arg(long)]
    pub dynamic: bool,
    /// Rust: count only these crates; default: the members of the workspace
    #[arg(long = "crate", value_name = "NAME")]
    pub crates: Vec<String>,
    /// Go: count these packages; main packages are always counted
    #[arg(long, value_name = "PATTERN")]
    pub coverpkg: Vec<String>,
}

/// `podcov bundle`.
#[derive(Debug, Args)]
pub struct Bundle {
    /// Name of the component; default: the binary's name
    #[arg(long, value_name = "NAME")]
    pub component: Option<String>,
    /// Where its sources are; default: the repository around this folder
    #[arg(long, value_name = "DIR")]
    pub source_root: Option<PathBuf>,
    /// Put the bundle below this folder; default: the newest run's
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The instrumented programs
    #[arg(required = true, value_name = "BINARY")]
    pub binaries: Vec<PathBuf>,
}

/// `podcov import`.
#[derive(Debug, Args)]
pub struct Import {
    /// The instrumented Rust program that the profiles come from
    #[arg(long, value_name = "FILE")]
    pub object: PathBuf,
    /// Name of the component; default: the program's name
    #[arg(long, value_name = "NAME")]
    pub component: Option<String>,
    /// Where its sources are; default: this folder
    #[arg(long, value_name = "DIR")]
    pub source_root: Option<PathBuf>,
    /// Use this folder instead of a new run below `profiles`
    #[arg(long, value_name = "DIR")]
    pub evidence: Option<PathBuf>,
    /// What merges
    #[arg(long, value_enum, default_value = "native")]
    pub backend: Backend,
    /// Raw or merged profiles, or folders of them
    #[arg(required = true, value_name = "PATH")]
    pub profiles: Vec<PathBuf>,
}
