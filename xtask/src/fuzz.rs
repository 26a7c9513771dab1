//! `cargo xtask fuzz`: builds the fuzz targets with the stable compiler and
//! runs them, each for a bounded time.
//!
//! What they learn stays in `target/fuzz/corpus`; what is committed, in
//! `src/profile/fuzz/corpus`, is the small part of it that reaches the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::corpus;

const USAGE: &str = "usage: cargo xtask fuzz [TARGET…] [--seconds N] [--record] [--keep]

  --seconds N  Run each target for N seconds; 60 without it
  --record     Add the executions to the table of docs/fuzzing.md
  --keep       Afterwards, replace the committed corpus by the smallest part of what was learnt
               that reaches the same";
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Inputs over this size teach little for their time.
const MAX_INPUT: &str = "-max_len=8192";
/// Of the committed corpus of one target; the smallest inputs first.
const KEPT_BYTES: u64 = 40 << 10;
const KEPT_FILES: usize = 200;

/// What one target did.
struct Done {
    executed: u64,
    crash: Option<PathBuf>,
}

struct Options {
    targets: Vec<String>,
    seconds: u64,
    record: bool,
    keep: bool,
}

/// Builds and runs, and says how often each target was executed.
pub fn run(args: &[String]) -> Result<(), u8> {
    let options = parse(args).map_err(|error| {
        eprintln!("error: {error}\n\n{USAGE}");
        2
    })?;
    run_all(&options).map_err(|error| {
        eprintln!("error: {error}");
        1
    })
}

/// The bounded run of the tests: every target, for so many seconds.
pub fn smoke(seconds: u64) -> Result<(), String> {
    run_all(&Options {
        targets: Vec::new(),
        seconds,
        record: false,
        keep: false,
    })
}

fn parse(args: &[String]) -> Result<Options, String> {
    let mut options = Options {
        targets: Vec::new(),
        seconds: 60,
        record: false,
        keep: false,
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seconds" => {
                let value = args.next().and_then(|value| value.parse().ok());
                options.seconds = value.ok_or("`--seconds` needs a number")?;
            }
            "--record" => options.record = true,
            "--keep" => options.keep = true,
            name if name.starts_with('-') => return Err(format!("unknown option `{name}`")),
            name => options.targets.push(name.to_owned()),
        }
    }
    Ok(options)
}

fn run_all(options: &Options) -> Result<(), String> {
    let dir = super::root().join("src/profile/fuzz");
    let known = targets(&dir)?;
    if let Some(unknown) = options.targets.iter().find(|name| !known.contains(name)) {
        let known = known.join(", ");
        return Err(format!(
            "no target has the name `{unknown}`; there are {known}"
        ));
    }
    build(&dir)?;
    let chosen = if options.targets.is_empty() {
        &known
    } else {
        &options.targets
    };
    let work = super::root().join("target/fuzz");
    let mut crashes = Vec::new();
    for target in chosen {
        let done = execute(&dir, &work, target, options.seconds)?;
        println!("{target:<14} {:>12} executions", done.executed);
        if options.record {
            record(target, done.executed)?;
        }
        if options.keep && done.crash.is_none() {
            keep(&dir, &work, target)?;
        }
        crashes.extend(done.crash);
    }
    if crashes.is_empty() {
        return Ok(());
    }
    let crashes: Vec<String> = crashes
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    Err(format!(
        "these inputs break their target:\n  {}",
        crashes.join("\n  ")
    ))
}

/// Names of the targets: a file each.
fn targets(dir: &Path) -> Result<Vec<String>, String> {
    let files = corpus::entries(&dir.join("fuzz_targets"))?;
    let stem = |file: &PathBuf| Some(file.file_stem()?.to_str()?.to_owned());
    Ok(files.iter().filter_map(stem).collect())
}

fn build(dir: &Path) -> Result<(), String> {
    // As `cargo fuzz` does it; these need no nightly compiler. `src/profile/fuzz/Cargo.toml` says why.
    const FLAGS: [&str; 5] = [
        "-Cpasses=sancov-module",
        "-Cllvm-args=-sanitizer-coverage-level=4",
        "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
        "-Cllvm-args=-sanitizer-coverage-pc-table",
        "-Cllvm-args=-sanitizer-coverage-trace-compares",
    ];
    let mut build = super::cargo(&[
        "build",
        "--quiet",
        "--locked",
        "--release",
        "--target",
        TRIPLE,
    ]);
    build
        .current_dir(dir)
        .arg("--target-dir")
        .arg(super::root().join("target/fuzz/build"));
    build
        .env("RUSTFLAGS", FLAGS.join(" "))
        .env_remove("CARGO_TARGET_DIR");
    corpus::finish(build)
}

fn program(work: &Path, target: &str) -> PathBuf {
    work.join("build").join(TRIPLE).join("release").join(target)
}

fn execute(dir: &Path, work: &Path, target: &str, seconds: u64) -> Result<Done, String> {
    let learnt = work.join("corpus").join(target);
    let seeds = dir.join("corpus").join(target);
    for dir in [&learnt, &seeds] {
        fs::create_dir_all(dir)
            .map_err(|error| format!("cannot create {}: {error}", dir.display()))?;
    }
    let log = work.join(format!("{target}.log"));
    let file = fs::File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let artifacts = work.join(format!("crash-{target}-"));
    let mut run = corpus::nice(program(work, target));
    run.arg(format!("-max_total_time={seconds}"));
    run.args([
        "-print_final_stats=1",
        "-timeout=10",
        "-rss_limit_mb=1024",
        MAX_INPUT,
    ]);
    run.arg(format!("-artifact_prefix={}", artifacts.display()));
    let fixtures = dir.join("../tests/fixtures");
    run.args([&learnt, &seeds, &fixtures])
        .stdout(Stdio::null())
        .stderr(file);
    let status = run.status().map_err(|error| format!("{run:?}: {error}"))?;
    let said = fs::read(&log).map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&said);
    let executed = executions(&said).ok_or_else(|| {
        format!(
            "{target} did not say how often it ran; {} has what it said",
            log.display()
        )
    })?;
    if status.success() {
        return Ok(Done {
            executed,
            crash: None,
        });
    }
    // A panic is the line that matters, and libFuzzer's is the last.
    let lines = said
        .lines()
        .filter(|line| line.contains("panicked at") || line.contains("ERROR"));
    lines.for_each(|line| eprintln!("{target}: {line}"));
    let prefix = "Test unit written to ";
    let input = said
        .lines()
        .find_map(|line| line.split_once(prefix))
        .map(|(_, path)| path.trim());
    Ok(Done {
        executed,
        crash: Some(PathBuf::from(input.unwrap_or(&log.display().to_string()))),
    })
}

/// What libFuzzer itself says.
fn executions(said: &str) -> Option<u64> {
    let line = said
        .lines()
        .rev()
        .find(|line| line.starts_with("stat::number_of_executed_units"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Adds to the row of the target in the table of docs/fuzzing.md.
fn record(target: &str, executed: u64) -> Result<(), String> {
    let path = super::root().join("docs/fuzzing.md");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let begin = format!("| `{target}` |");
    if !text.lines().any(|line| line.starts_with(&begin)) {
        return Err(format!("{} has no row of `{target}`", path.display()));
    }
    let number = |cell: &str| cell.trim().replace(',', "").parse::<u64>().unwrap_or(0);
    let mut total = 0;
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut cells: Vec<String> = line.split('|').map(str::to_owned).collect();
        if line.starts_with("| **all**") {
            cells[2] = format!(" {} ", grouped(total));
        } else if line.starts_with("| `") && cells.len() > 3 {
            let before = number(&cells[2]);
            let now = before
                + if line.starts_with(&begin) {
                    executed
                } else {
                    0
                };
            total += now;
            cells[2] = format!(" {} ", grouped(now));
        }
        lines.push(cells.join("|"));
    }
    corpus::write(&path, &(lines.join("\n") + "\n"))
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Replaces the committed corpus by the smallest inputs that reach what all
/// learnt ones do, as many as have room.
fn keep(dir: &Path, work: &Path, target: &str) -> Result<(), String> {
    let seeds = dir.join("corpus").join(target);
    let merged = work.join("merged").join(target);
    let _ = fs::remove_dir_all(&merged);
    fs::create_dir_all(&merged).map_err(|error| error.to_string())?;
    let mut merge = corpus::nice(program(work, target));
    merge.args(["-merge=1", MAX_INPUT]).arg(&merged);
    merge.arg(work.join("corpus").join(target)).arg(&seeds);
    merge.stdout(Stdio::null()).stderr(Stdio::null());
    corpus::finish(merge)?;
    let size = |path: &PathBuf| path.metadata().map_or(0, |data| data.len());
    let mut files = corpus::entries(&merged)?;
    files.sort_by_key(size);
    fs::remove_dir_all(&seeds).map_err(|error| error.to_string())?;
    fs::create_dir_all(&seeds).map_err(|error| error.to_string())?;
    let mut room = KEPT_BYTES;
    for file in files.into_iter().take(KEPT_FILES) {
        let Some(left) = room.checked_sub(size(&file)) else {
            break;
        };
        room = left;
        let name = file.file_name().unwrap_or_default();
        fs::copy(&file, seeds.join(name)).map_err(|error| error.to_string())?;
    }
    Ok(())
}
