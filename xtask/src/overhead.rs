//! `cargo xtask overhead`: what counting costs a program. The same program
//! without counters, with counters that are written at its end, and with
//! counters that live in a file, in turn (A B C A B C …), for Rust and Go,
//! for work of the processor and for requests over loopback.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::corpus::{self, finish};

const USAGE: &str = "usage: cargo xtask overhead [--rounds N] [--podcov FILE] [--markdown FILE]";
/// Work that takes about a second without counters.
const WORK: [(&str, &str, &str, &str); 4] = [
    ("rust", "cpu", "40000000", "processor"),
    ("rust", "io", "60000", "requests over loopback"),
    ("go", "cpu", "40000000", "processor"),
    ("go", "io", "60000", "requests over loopback"),
];

/// One way to build the programs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Build {
    Plain,
    AtExit,
    Continuous,
}

const BUILDS: [Build; 3] = [Build::Plain, Build::AtExit, Build::Continuous];

impl Build {
    fn name(self) -> &'static str {
        match self {
            Build::Plain => "not instrumented",
            Build::AtExit => "counters written at exit",
            Build::Continuous => "counters in a file",
        }
    }
}

struct Options {
    rounds: usize,
    podcov: Option<PathBuf>,
    markdown: Option<PathBuf>,
}

/// Builds, measures, prints.
pub fn run(args: &[String], podcov: impl Fn() -> Result<PathBuf, u8>) -> Result<(), u8> {
    let options = parse(args).map_err(|error| {
        eprintln!("error: {error}\n\n{USAGE}");
        2
    })?;
    let program = match &options.podcov {
        Some(program) => std::path::absolute(program).map_err(|_| 2)?,
        None => podcov()?,
    };
    measure(&options, &program).map_err(|error| {
        eprintln!("error: {error}");
        1
    })
}

fn parse(args: &[String]) -> Result<Options, String> {
    let mut options = Options {
        rounds: 9,
        podcov: None,
        markdown: None,
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("`{arg}` needs a value"));
        match arg.as_str() {
            "--rounds" => {
                options.rounds = value()?.parse().map_err(|_| "`--rounds` needs a number")?;
            }
            "--podcov" => options.podcov = Some(value()?.into()),
            "--markdown" => options.markdown = Some(value()?.into()),
            other => return Err(format!("`{other}` is not known")),
        }
    }
    options.rounds = options.rounds.max(1);
    Ok(options)
}

fn measure(options: &Options, podcov: &Path) -> Result<(), String> {
    let home = corpus::cache()?.join("overhead");
    let mut programs = BTreeMap::new();
    for language in ["rust", "go"] {
        for build in BUILDS {
            programs.insert(
                (language, build.name()),
                built(language, build, &home, podcov)?,
            );
        }
    }
    let mut page = vec![
        "| program | build | wall: median (min to max) | processor | to the one above | to the first |"
            .to_owned(),
        "| --- | --- | --- | --- | --- | --- |".to_owned(),
    ];
    for (language, what, count, about) in WORK {
        let mut measures = vec![Vec::new(); BUILDS.len()];
        let mut answers = Vec::new();
        // The first round warms up.
        for round in 0..=options.rounds {
            for (build, measures) in BUILDS.iter().zip(&mut measures) {
                let program = &programs[&(language, build.name())];
                let evidence = home.join("evidence");
                let (measure, answer) = once(program, &[what, count], *build, language, &evidence)?;
                answers.push(answer);
                if round > 0 {
                    measures.push(measure);
                }
            }
        }
        answers.dedup();
        if answers.len() != 1 {
            return Err(format!(
                "{language} {what}: the answers differ: {answers:?}"
            ));
        }
        let medians: Vec<[f64; 4]> = measures.iter().map(|all| spread(all)).collect();
        for (at, build) in BUILDS.iter().enumerate() {
            let [least, median, most, processor] = medians[at];
            let name = if at == 0 {
                format!("{language}, {about}")
            } else {
                String::new()
            };
            // On a busy machine processor time is the steadier of the two.
            let to = |other: usize| {
                let [_, wall, _, time] = medians[other];
                format!(
                    "{:.2}× (processor {:.2}×)",
                    median / wall,
                    processor / time.max(0.005)
                )
            };
            let (above, first) = match at {
                0 => (String::new(), String::new()),
                at => (to(at - 1), to(0)),
            };
            let build = build.name();
            page.push(format!(
                "| {name} | {build} | {median:.3} s ({least:.3} to {most:.3}) | {processor:.2} s | {above} | {first} |"
            ));
        }
    }
    println!("{}", page.join("\n"));
    match &options.markdown {
        Some(path) => corpus::write(path, &(page.join("\n") + "\n")),
        None => Ok(()),
    }
}

/// Builds the program of a language in one of the ways; the optimised one, as
/// released programs are.
fn built(language: &str, build: Build, home: &Path, podcov: &Path) -> Result<PathBuf, String> {
    let sources = super::root().join("xtask/programs/overhead").join(language);
    let dir = home.join(format!("{language}-{}", build.name().replace(' ', "-")));
    fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let program = dir.join("overhead");
    let mut command = if language == "rust" {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--quiet", "--release"]);
        cargo
    } else {
        let mut go = Command::new("go");
        go.args(["build", "-o"]).arg(&program);
        go
    };
    command
        .current_dir(&sources)
        .env_remove("RUSTFLAGS")
        .env_remove("GOFLAGS");
    super::forget_cargo(&mut command);
    let mut target = dir.join("target");
    match (language, build) {
        ("rust", Build::AtExit) => {
            command.env("RUSTFLAGS", "-C instrument-coverage");
        }
        ("go", Build::AtExit) => {
            command.args(["-cover", "-covermode=atomic", "-coverpkg=./..."]);
        }
        (_, Build::Continuous) => {
            for (key, value) in podcov_env(podcov, language, &sources, &dir.join("env"))? {
                if key == "CARGO_TARGET_DIR" {
                    target = value.clone().into();
                }
                command.env(key, value);
            }
        }
        _ => {}
    }
    if language == "rust" {
        command.env("CARGO_TARGET_DIR", &target);
    }
    // Profiles of the build itself are nobody's.
    command.env("LLVM_PROFILE_FILE", "/dev/null");
    finish(command)?;
    if language == "rust" {
        let made = newest(&target, "overhead")?;
        fs::copy(&made, &program).map_err(|error| format!("{}: {error}", made.display()))?;
    }
    Ok(program)
}

/// The program that cargo made last below its folder.
fn newest(target: &Path, name: &str) -> Result<PathBuf, String> {
    let triples = fs::read_dir(target).map_err(|error| format!("{}: {error}", target.display()))?;
    let folders = triples.flatten().map(|entry| entry.path().join("release"));
    let places = folders
        .chain([target.join("release")])
        .map(|dir| dir.join(name));
    let found = places.filter(|file| file.is_file());
    let by_time = found.max_by_key(|file| fs::metadata(file).and_then(|meta| meta.modified()).ok());
    by_time.ok_or_else(|| format!("cargo left no `{name}` in {}", target.display()))
}

/// The variables that `podcov env` prints, as a shell understands them.
fn podcov_env(
    podcov: &Path,
    language: &str,
    sources: &Path,
    out: &Path,
) -> Result<Vec<(String, String)>, String> {
    let mut env = Command::new(podcov);
    env.current_dir(sources)
        .args(["env", "--language", language, "--dynamic", "--out"])
        .arg(out);
    super::forget_cargo(&mut env);
    let script = corpus::output(&mut env)?;
    let names: Vec<&str> = script
        .lines()
        .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
        .map(|(name, _)| name)
        .collect();
    let mut shell = Command::new("sh");
    let print = names
        .iter()
        .map(|name| format!("printf '%s\\0' \"${name}\"\n"));
    shell
        .arg("-ec")
        .arg(format!("{script}\n{}", print.collect::<String>()));
    let values = corpus::output(&mut shell)?;
    let values = values.split('\0').map(str::to_owned);
    Ok(names.into_iter().map(str::to_owned).zip(values).collect())
}

#[derive(Clone, Copy)]
struct Measure {
    wall: f64,
    processor: f64,
}

/// Least, median and most of the wall time, and the median processor time.
fn spread(measures: &[Measure]) -> [f64; 4] {
    let sorted = |of: fn(&Measure) -> f64| {
        let mut values: Vec<f64> = measures.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let wall = sorted(|measure| measure.wall);
    let processor = sorted(|measure| measure.processor);
    let last = wall.len() - 1;
    [wall[0], wall[last / 2], wall[last], processor[last / 2]]
}

/// One run, with its answer. A counted one has to leave evidence.
fn once(
    program: &Path,
    args: &[&str],
    build: Build,
    language: &str,
    evidence: &Path,
) -> Result<(Measure, String), String> {
    let _ = fs::remove_dir_all(evidence);
    fs::create_dir_all(evidence).map_err(|error| error.to_string())?;
    let report = evidence.with_extension("time");
    let mut command = Command::new("/usr/bin/time");
    command
        .args(["-q", "-f", "%U %S", "-o"])
        .arg(&report)
        .arg(program)
        .args(args);
    let pattern = if build == Build::Continuous {
        "%m%c.profraw"
    } else {
        "%m.profraw"
    };
    command
        .env("LLVM_PROFILE_FILE", evidence.join(pattern))
        .env("GOCOVERDIR", evidence)
        .env("PODCOV_DIR", evidence)
        .stderr(Stdio::inherit());
    let begin = Instant::now();
    let answer = corpus::output(&mut command)
        .map_err(|error| format!("{error}; /usr/bin/time is in Debian's package time"))?;
    let wall = begin.elapsed().as_secs_f64();
    let left = fs::read_dir(evidence)
        .map_err(|error| error.to_string())?
        .count();
    if (left > 0) != (build != Build::Plain) {
        return Err(format!(
            "{language}, {}: it left {left} files",
            build.name()
        ));
    }
    let text = fs::read_to_string(&report).map_err(|error| error.to_string())?;
    let numbers = text
        .split_whitespace()
        .filter_map(|word| word.parse::<f64>().ok());
    Ok((
        Measure {
            wall,
            processor: numbers.sum(),
        },
        answer.trim().to_owned(),
    ))
}
