//! The command line. Doc comments are the help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod cluster;
mod phase;
mod plain;

pub use cluster::{Cluster, Deploy, Inject, Rbac, YamlOrJson};
pub use phase::Phase;
pub use plain::{Color, Diff, Export, ExportFormat, Inspect, Show, Summary, TextOrJson};

const OVERVIEW: &str = "\
The pipeline:
    config -> build -> overlay -> cluster -> deploy -> test -> stop -> collect -> merge -> report -> gate

For a start:
    podcov init                write podcov.toml for the operators in this folder
    podcov run                 the whole pipeline
    podcov exec -- CMD…        measure a command on this machine, without a cluster
    podcov doctor              what would lose evidence, and what to do about it
    podcov cluster kubectl     look around in the cluster
    podcov report              write the report of a run again

On plain files, without a cluster or a toolchain:
    podcov inspect FILE…       what a profile, counter file, program or report is, and what is wrong with it
    podcov merge FILE…         add profiles up
    podcov summary FILE…       what they covered, by file
    podcov show FILE…          the sources with their counts
    podcov export FILE…        the same for other tools
    podcov diff A B            what one covered and the other did not

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
    /// Patch pods that nobody wrote a manifest for, when they are created
    ///
    /// A webhook in the cluster gives pods whose image is one of the composition's what the overlay
    /// gives to workloads of manifests. `podcov run` and `podcov deploy` install it where podcov.toml
    /// asks for it, `podcov run` and `podcov stop` remove it. Pods are never refused: what it cannot
    /// patch, or misses, starts as it would without podcov, and is told in the ledger.
    #[command(
        after_help = "Examples:\n  podcov inject install --namespace operators\n  podcov inject status\n  podcov inject uninstall\n\nExit status of status: 0 it answers · 6 there is none, or it does not answer"
    )]
    Inject {
        /// What to do with it.
        #[command(subcommand)]
        command: Inject,
    },
    /// Load the images, apply the overlay, wait until pods are ready
    ///
    /// With --dry-run it only says what would be changed in the cluster: the objects, field by field,
    /// as the API server itself would take them, what of it is podcov's, the images, and what is
    /// stopped at the end. Nothing in the cluster or the registry is changed.
    #[command(
        after_help = "Examples:\n  podcov deploy\n  podcov build && podcov deploy --dry-run\n\nExit status: 0 fine · 2 usage · 6 the cluster refuses it · 7 nothing was built"
    )]
    Deploy(Deploy),
    /// Print the least rights that podcov needs in the cluster
    ///
    /// An administrator applies them. They are worked out from what podcov does and from the objects of the composition: no `exec`,
    /// and no `*` but where your own roles have one. Without an option they are for the service
    /// account `podcov` in the namespace `podcov`, which the manifest makes. The cluster has to be
    /// up; it is asked which kinds it has.
    #[command(
        after_help = "Examples:\n  podcov rbac > podcov-rights.yaml\n  podcov rbac --service-account ci/runner | kubectl apply -f -\n  podcov rbac --user jane@example.org\n\nExit status: 0 fine · 2 usage · 6 cluster"
    )]
    Rbac(Rbac),
    /// Run the e2e command against the deployed composition
    Test(Test),
    /// Say that a phase of the suite starts or ends
    ///
    /// For the e2e command, or a shell beside it: what the composition's processes count between
    /// start and end is kept apart, and the report says which lines each phase reached. The command
    /// returns when the counters have been read. Suites in other languages POST to
    /// $PODCOV_PHASE_URL/start and /end instead, with the name as the body.
    #[command(
        after_help = "Examples:\n  podcov phase start upgrade\n  podcov phase end\n  podcov phase start --kind test --namespace e2e-7 scale_down\n\nExit status: 0 fine · 2 no run is in its test step, or no such phase is open"
    )]
    Phase {
        /// What happens.
        #[command(subcommand)]
        phase: Phase,
    },
    /// Stop the composition, operators last, and wait until its pods are gone
    Stop,
    /// File every incarnation's evidence in the ledger
    Collect,
    /// Merge the collected evidence of a run, or the profiles that are named
    ///
    /// Without PATH it is the step of the pipeline between `collect` and `report`.
    ///
    /// With PATH it adds up raw, indexed and text profiles of LLVM, counters and text profiles of Go,
    /// and podcov files; a folder stands for all files in it. Profiles of one build add up; two builds
    /// stay apart and are named. The same evidence given twice counts once. A file that is damaged,
    /// empty or of another build is set aside and named; then the exit status is 4, or 8 if nothing
    /// was left.
    #[command(
        after_help = "Examples:\n  podcov merge\n  podcov merge --format profdata -o all.profdata target/*.profraw\n  podcov merge --format podcov -o shard.podcov profiles/20260824T101500Z-3f2a\n  podcov merge --format covdata -o merged/ covdata/1 covdata/2\n\nExit status: 0 all was merged · 2 usage · 4 something was set aside · 8 nothing usable"
    )]
    Merge(Merge),
    /// Write what profiles covered in a format of other tools
    ///
    /// Profiles of LLVM need the programs they come from (--object); counters of Go bring what they
    /// need in the covmeta file beside them. LCOV, Cobertura, `llvm-cov export` JSON and coverage.json
    /// are read, too, and what all of them covered is brought together.
    #[command(
        after_help = "Examples:\n  podcov export --format lcov --object target/debug/server -o lcov.info *.profraw\n  podcov export --format llvm-json --object server merged.profdata > coverage.json\n  podcov export --format go-cover -o coverage.out covdata/\n  podcov export --format cobertura unit.info e2e.info\n\nExit status: 0 fine · 2 usage · 4 something was set aside · 8 nothing usable"
    )]
    Export(Export),
    /// Print sources with the count of every line
    ///
    /// Lines that did not run are marked; with --regions, the parts of lines, too. Sources are looked
    /// for where the profile says, below --source-root, and with --path-map applied.
    #[command(
        after_help = "Examples:\n  podcov show --object target/debug/server *.profraw\n  podcov show --object server --include '**/reconcile.rs' --regions merged.profdata\n  podcov show --source-root . covdata/ | less -R"
    )]
    Show(Show),
    /// Print what profiles covered, a line a file
    #[command(
        after_help = "Examples:\n  podcov summary --object target/debug/server *.profraw\n  podcov summary --format json covdata/ | jq .total.lines\n  podcov summary --tests profiles/20260824T101500Z-3f2a\n  podcov summary --tests --line src/reconcile.rs:120 profiles/20260824T101500Z-3f2a"
    )]
    Summary(Summary),
    /// Say what B covers and A does not, and the other way round
    ///
    /// A and B are podcov files, reports (coverage.json, LCOV, Cobertura), folders of runs or of
    /// profiles. What both have is compared line by line.
    #[command(
        after_help = "Examples:\n  podcov diff profiles/20260824T101500Z-3f2a profiles/20260825T090000Z-77b1\n  podcov diff --object server before.podcov after.podcov"
    )]
    Diff(Diff),
    /// Say what files are, what they hold and what is wrong with them
    ///
    /// Knows profiles, counters and meta-data of LLVM and Go, programs, LCOV, Cobertura, JSON and
    /// podcov files. A damaged file is told as far as it can be read.
    #[command(
        after_help = "Examples:\n  podcov inspect default.profraw\n  podcov inspect --format json covdata/ target/debug/server\n\nExit status: 0 all are sound · 2 usage · 4 some are not · 8 none is"
    )]
    Inspect(Inspect),
    /// Write the report and print the table
    Report(Report),
    /// Check the thresholds
    Gate,
    /// Find what would lose evidence, and say what to do about it
    ///
    /// Without PATH and CMD it looks at the composition of podcov.toml: the toolchains, what was built
    /// last, the manifests with the overlay on top and, where the cluster is up, its pods. It changes
    /// nothing and works while a run goes on.
    ///
    /// With PATH it looks at programs and at images (archives and OCI layouts). With CMD it starts the
    /// command, looks whether counters reach the disk while it runs, asks it to end with SIGTERM, and
    /// says what was left.
    #[command(
        after_help = "Examples:\n  podcov doctor\n  podcov doctor target/debug/operator image.tar\n  podcov doctor --for 5s -- ./server --port 0\n\nExit status: 0 evidence will come · 2 usage · 4 something loses it · 6 cluster · 8 nothing to look at"
    )]
    Doctor(Doctor),
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
    /// Without PATH: what merges
    #[arg(long, value_enum, default_value = "native", conflicts_with = "paths")]
    pub backend: Backend,
    /// Without PATH: also lay profiles and binaries out so that `cargo llvm-cov report` reads them
    #[arg(long, value_name = "DIR", conflicts_with = "paths")]
    pub cargo_llvm_cov: Option<PathBuf>,
    /// With PATH: what to write
    #[arg(long, value_enum, requires = "paths")]
    pub format: Option<MergeFormat>,
    /// With PATH: where to write it; default: stdout. For covdata, a new or empty folder
    #[arg(long, short, value_name = "OUT", requires = "paths")]
    pub out: Option<PathBuf>,
    /// How to read what is named.
    #[command(flatten)]
    pub reading: Reading,
    /// Profiles, counters, podcov files, or folders of them; `-` is stdin
    #[arg(id = "paths", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Formats of `podcov merge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MergeFormat {
    /// LLVM's indexed profile, which `llvm-cov` reads; the programs are added up by function.
    Profdata,
    /// Go's meta-data and counters, which `go tool covdata` reads.
    Covdata,
    /// podcov's own: what each process counted, each build apart; can be merged again.
    Podcov,
}

/// How plain files are read.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Reading")]
pub struct Reading {
    /// Count only what this instrumented program, or library, left; needed for lines of LLVM's profiles
    #[arg(long = "object", value_name = "BIN")]
    pub objects: Vec<PathBuf>,
    /// Exit with 0 although files were set aside; they are told all the same
    ///
    /// As `--failure-mode=all` of llvm-profdata. Nothing usable is an error all the same.
    #[arg(long)]
    pub tolerate: bool,
    /// Name the machine or shard that the files come from
    ///
    /// A plain file is recognised as the same evidence by its place. Where two machines have files at
    /// the same place, this tells them apart in podcov files.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub origin: String,
    /// Read with this many threads; default: as many as there are processors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
}

/// Which sources are told, and what they are called.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Sources")]
pub struct Selection {
    /// Only sources whose path fits this glob; `*` stays within a folder, `**` does not
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// No sources whose path fits this glob
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// What a path that begins with FROM begins with instead; the first that fits counts
    #[arg(long, value_name = "FROM=TO", value_parser = path_map)]
    pub path_map: Vec<(String, String)>,
    /// The folder that paths are relative to; default: paths are as the profile has them
    #[arg(long, value_name = "DIR")]
    pub source_root: Option<PathBuf>,
}

fn path_map(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((from, to)) if !from.is_empty() => Ok((from.to_owned(), to.to_owned())),
        _ => Err(format!("expected FROM=TO, found `{text}`")),
    }
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

/// `podcov doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    pub format: TextOrJson,
    /// How long CMD runs before it is asked to end
    #[arg(
        long = "for",
        value_name = "TIME",
        default_value = "3s",
        requires = "command"
    )]
    pub time: String,
    /// How long CMD may take to end, as `terminationGracePeriodSeconds` of a pod
    #[arg(long, value_name = "TIME", default_value = "30s", requires = "command")]
    pub grace: String,
    /// Programs, image archives, folders with an OCI layout
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// A command to try
    #[arg(last = true, value_name = "CMD", conflicts_with = "paths")]
    pub command: Vec<OsString>,
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
    /// Write counters only when the program ends by itself; else a kill loses none
    #[arg(long)]
    pub at_exit: bool,
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
