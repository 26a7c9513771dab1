//! The project's own tasks. `cargo xtask` lists them.
//!
//! Depends on nothing, so that it compiles in a second; whatever it does, it
//! does by running `cargo`, `go` and podcov itself.

mod answers;
mod backends;
mod bench;
mod bench_phases;
mod corpus;
mod counts;
mod differential;
mod fuzz;
mod licences;
mod overhead;
mod tidy;
mod tools;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

type Task = (&'static str, &'static str, fn(&[String]) -> Result<(), u8>);

const TASKS: &[Task] = &[
    (
        "bench",
        "Measure podcov and the toolchains' own tools on the same files",
        |args| bench::run(args, podcov_release),
    ),
    (
        "coverage-e2e",
        "Build podcov and measure examples/websites in a real Kubernetes",
        coverage_e2e,
    ),
    (
        "differential",
        "Compare with the toolchains' own tools over crates and Go modules",
        |args| differential::run(args, podcov_release),
    ),
    (
        "fuzz",
        "Run the fuzz targets of the readers, each for a bounded time",
        fuzz::run,
    ),
    (
        "kill",
        "Kill podcov at every step of its writing and start it again",
        kill,
    ),
    (
        "overhead",
        "Measure what counting costs a program, in Rust and in Go",
        |args| overhead::run(args, podcov_release),
    ),
    (
        "test",
        "Every test of the project: style, units, differential, whole product",
        test,
    ),
    (
        "test-fast",
        "What needs no cluster: style and units",
        test_fast,
    ),
    (
        "tidy",
        "The house rules that no other tool checks, and licences",
        |_| tidy(),
    ),
];

/// For each target in `cargo xtask test`; `cargo xtask fuzz` takes longer.
const FUZZ_SECONDS: u64 = 3;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(task) = args
        .first()
        .and_then(|name| TASKS.iter().find(|task| task.0 == name))
    else {
        eprintln!("usage: cargo xtask TASK [ARG…]\n");
        for (name, about, _) in TASKS {
            eprintln!("  {name:<14} {about}");
        }
        return ExitCode::from(2);
    };
    match (task.2)(&args[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => ExitCode::from(code),
    }
}

/// The checkout.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Builds podcov, and becomes it on the example composition: its exit status
/// is ours.
fn coverage_e2e(args: &[String]) -> Result<(), u8> {
    let mut podcov = coverage_e2e_command(args)?;
    // In our place, not below us: an interrupt or a `kill` has to reach podcov,
    // and the prompt must not come back before it has taken its cluster down.
    let error = podcov.exec();
    eprintln!(
        "error: cannot start `{}`: {error}",
        podcov.get_program().display()
    );
    Err(1)
}

fn coverage_e2e_command(args: &[String]) -> Result<Command, u8> {
    // Where it is put must be known, whatever the user's configuration says.
    let mut build = cargo(&["build", "--package", "podcov", "--target-dir", "target"]);
    build.env_remove("CARGO_BUILD_TARGET");
    step("build podcov", build)?;
    let mut podcov = Command::new(root().join("target/debug/podcov"));
    podcov
        .current_dir(root())
        .args(["run", "--config", "examples/websites/podcov.toml"]);
    podcov.args(["--profiles", "profiles"]).args(args);
    forget_cargo(&mut podcov);
    Ok(podcov)
}

/// podcov as it is released.
fn podcov_release() -> Result<PathBuf, u8> {
    let mut build = cargo(&["build", "--release", "--package", "podcov"]);
    build
        .args(["--target-dir", "target"])
        .env_remove("CARGO_BUILD_TARGET");
    step("build podcov", build)?;
    Ok(root().join("target/release/podcov"))
}

fn test(args: &[String]) -> Result<(), u8> {
    tools::ensure()?;
    checks()?;
    step(
        "rust tests",
        cargo(&["test", "--workspace", "--quiet"]).tap(args),
    )?;
    // Not the program that is all of Kubernetes: vet would look at its 2,800
    // packages for facts, and each run of the tests builds it anyway.
    step(
        "go vet: kubernetes",
        go("src/kubernetes", &["vet", "./node", "./pause"]),
    )?;
    step(
        "go tests: kubernetes",
        go("src/kubernetes", &["test", "-count=1", "./node"]),
    )?;
    step_of("fuzz targets", || fuzz::smoke(FUZZ_SECONDS))?;
    examples()?;
    let report = || counts::newest(&root().join("profiles"));
    if report().is_none() {
        step("cargo xtask coverage-e2e", coverage_e2e_command(&[])?)?;
    }
    let report = report().ok_or(1_u8)?;
    step_of("example counts", || counts::check(&report))
}

/// Every step of a run with so many damaged files that there are well over
/// 2,000; `cargo xtask test` tries some of a smaller one.
fn kill(args: &[String]) -> Result<(), u8> {
    let mut all = cargo(&["test", "--package", "podcov", "--test", "evidence"]);
    all.args(["killed", "--", "--nocapture"])
        .args(args)
        .env("PODCOV_TEST_KILLS", usize::MAX.to_string())
        .env("PODCOV_TEST_DAMAGED", "70");
    step("killed at every step", all)
}

fn test_fast(args: &[String]) -> Result<(), u8> {
    checks()?;
    step(
        "rust unit tests",
        cargo(&["test", "--workspace", "--quiet", "--lib", "--bins"]).tap(args),
    )
}

fn checks() -> Result<(), u8> {
    tidy()?;
    step("rustfmt", cargo(&["fmt", "--all", "--check"]))?;
    step(
        "clippy",
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    step("rustdoc", doc)
}

fn examples() -> Result<(), u8> {
    let mut rust = cargo(&["test", "--quiet", "--workspace", "--lib", "--bins"]);
    rust.current_dir(root().join("examples/websites"));
    step("example tests: rust", rust)?;
    let dir = "examples/websites/certificate-operator";
    step("example tests: go vet", go(dir, &["vet", "./..."]))?;
    step("example tests: go", go(dir, &["test", "./..."]))
}

fn tidy() -> Result<(), u8> {
    let begin = Instant::now();
    let mut complaints = tidy::check(&root());
    match licences::check(cargo(&[])) {
        Ok(more) => complaints.extend(more),
        Err(error) => complaints.push(error),
    }
    for complaint in &complaints {
        eprintln!("tidy: {complaint}");
    }
    say("tidy", begin, complaints.is_empty());
    if complaints.is_empty() {
        Ok(())
    } else {
        Err(1)
    }
}

fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    forget_cargo(&mut command);
    command
}

fn go(dir: &str, args: &[&str]) -> Command {
    let mut command = Command::new("go");
    command.current_dir(root().join(dir)).args(args);
    command
}

/// `cargo xtask` runs us with cargo's own variables set; builds that podcov
/// starts must not see those of this package.
fn forget_cargo(command: &mut Command) {
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("CARGO_PKG_") || key == "CARGO_MANIFEST_DIR" {
            command.env_remove(key);
        }
    }
}

trait Tap {
    fn tap(self, args: &[String]) -> Self;
}

impl Tap for Command {
    fn tap(mut self, args: &[String]) -> Self {
        self.args(args);
        self
    }
}

fn step(name: &str, command: Command) -> Result<(), u8> {
    let begin = Instant::now();
    let result = status(command);
    say(name, begin, result.is_ok());
    result
}

fn step_of(name: &str, work: impl FnOnce() -> Result<(), String>) -> Result<(), u8> {
    let begin = Instant::now();
    let result = work();
    if let Err(error) = &result {
        eprintln!("{name}: {error}");
    }
    say(name, begin, result.is_ok());
    result.map_err(|_| 1)
}

fn say(name: &str, begin: Instant, good: bool) {
    let sign = if good { "✔" } else { "✘" };
    eprintln!("{sign} {name}  {:.1}s", begin.elapsed().as_secs_f64());
}

fn status(mut command: Command) -> Result<(), u8> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(1)),
        Err(error) => {
            eprintln!(
                "error: cannot start `{}`: {error}",
                command.get_program().display()
            );
            Err(1)
        }
    }
}
