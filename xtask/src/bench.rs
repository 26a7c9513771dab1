//! `cargo xtask bench`: podcov and the toolchains' own tools on the same files,
//! in turn (A B A B …), with time, processor time and peak memory of each.
//!
//! A result counts only when both answered, and their answers agree.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::answers::{Answer, agree};
use super::corpus::{self, Runs};

const USAGE: &str = "usage: cargo xtask bench [NAME…] [--rounds N] [--podcov FILE] [--reference-only] [--markdown FILE]

  rust         500 raw profiles of one program, warm and cold
  rust-2000    the same with 2,000
  rust-10000   the same with 10,000: needs 10 GB of disk
  programs     50 raw profiles of 50 programs
  operator     exports and summary of a kube-rs operator
  go           2,000 runs of a Go program in one GOCOVERDIR
  phases       a mark of a phase, with 50 processes that work, and 50 of 1 MB of counters each

Without a name: rust, programs, operator, go and phases. The corpora are made at the first use, in about
15 minutes, and kept in ~/.cache/podcov/bench.";
const DEFAULT: [&str; 5] = ["rust", "programs", "operator", "go", "phases"];

/// What is asked for.
struct Options {
    names: Vec<String>,
    rounds: usize,
    podcov: Option<PathBuf>,
    reference_only: bool,
    markdown: Option<PathBuf>,
}

/// One question to two programs.
struct Case {
    name: String,
    reference: Side,
    ours: Side,
    answer: Answer,
    goal: Goal,
    /// Read from disk: what has to be dropped from the page cache before.
    cold: Option<PathBuf>,
}

/// One program and how it is asked.
struct Side {
    label: &'static str,
    program: PathBuf,
    args: Vec<String>,
    /// Where the answer is; a directory of it is made before each round.
    out: PathBuf,
    /// The answer comes on stdout.
    piped: bool,
}

#[derive(Clone, Copy)]
struct Goal {
    /// At least so many times as fast.
    ratio: f64,
    /// At most so many MiB.
    memory: Option<f64>,
}

#[derive(Clone, Copy)]
struct Measure {
    wall: f64,
    processor: f64,
    mebibytes: f64,
}

/// Makes what is missing, measures, prints.
pub fn run(args: &[String], podcov: impl Fn() -> Result<PathBuf, u8>) -> Result<(), u8> {
    let options = match parse(args) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("error: {error}\n\n{USAGE}");
            return Err(2);
        }
    };
    let program = match &options.podcov {
        Some(program) => program.clone(),
        None if options.reference_only => PathBuf::from("podcov"),
        None => podcov()?,
    };
    measure_all(&options, &program).map_err(|error| {
        eprintln!("error: {error}");
        1
    })
}

fn parse(args: &[String]) -> Result<Options, String> {
    let mut options = Options {
        names: Vec::new(),
        rounds: 7,
        podcov: None,
        reference_only: false,
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
            "--reference-only" => options.reference_only = true,
            name if name.starts_with('-') => return Err(format!("unknown option `{name}`")),
            name => options.names.push(name.to_owned()),
        }
    }
    if options.names.is_empty() {
        options.names = DEFAULT.map(str::to_owned).to_vec();
    }
    options.rounds = options.rounds.max(1);
    Ok(options)
}

fn measure_all(options: &Options, podcov: &Path) -> Result<(), String> {
    let out = corpus::cache()?.join("out");
    fs::create_dir_all(&out).map_err(|error| error.to_string())?;
    let mut cases = Vec::new();
    let is_phases = |name: &String| name == "phases";
    for name in options.names.iter().filter(|name| !is_phases(name)) {
        cases.extend(cases_of(name, podcov, &out)?);
    }
    let mut page = vec![about()?, String::new()];
    page.extend(HEAD.map(str::to_owned));
    println!("{}", page.join("\n"));
    let mut all_met = true;
    for case in &cases {
        let (rows, met) = measure(case, options)?;
        all_met &= met;
        for row in rows {
            println!("{row}");
            page.push(row);
        }
    }
    if options.names.iter().any(is_phases) && !options.reference_only {
        let (row, met) = super::bench_phases::measure(podcov, &out)?;
        println!("\n{row}");
        page.extend([String::new(), row]);
        all_met &= met;
    }
    if let Some(path) = &options.markdown {
        corpus::write(path, &(page.join("\n") + "\n"))?;
    }
    if all_met {
        return Ok(());
    }
    Err("a goal is not met, or an answer is not the same".to_owned())
}

fn cases_of(name: &str, podcov: &Path, out: &Path) -> Result<Vec<Case>, String> {
    match name {
        "rust" => raw_profiles(500, podcov, out),
        "rust-2000" => raw_profiles(2_000, podcov, out),
        "rust-10000" => raw_profiles(10_000, podcov, out),
        "programs" => {
            let runs = corpus::programs()?;
            let name = format!(
                "merge {} raw profiles of as many programs",
                corpus::PROGRAMS
            );
            let goal = Goal {
                ratio: 2.0,
                memory: None,
            };
            Ok(vec![merge_profiles(name, &runs, podcov, out, goal, false)])
        }
        "operator" => operator(podcov, out),
        "go" => go(podcov, out),
        other => Err(format!("no benchmark has the name `{other}`\n\n{USAGE}")),
    }
}

fn raw_profiles(count: usize, podcov: &Path, out: &Path) -> Result<Vec<Case>, String> {
    let runs = corpus::ripgrep(count)?;
    let name = |how: &str| format!("merge {count} raw profiles of one program, {how}");
    let memory = Some(40.0);
    let warm = Goal {
        ratio: 25.0,
        memory,
    };
    let cold = Goal { ratio: 8.0, memory };
    Ok(vec![
        merge_profiles(name("warm"), &runs, podcov, out, warm, false),
        merge_profiles(name("cold"), &runs, podcov, out, cold, true),
    ])
}

fn merge_profiles(
    name: String,
    runs: &Runs,
    podcov: &Path,
    out: &Path,
    goal: Goal,
    is_cold: bool,
) -> Case {
    let (theirs, ours) = (out.join("theirs.profdata"), out.join("ours.profdata"));
    Case {
        name,
        reference: Side {
            label: "llvm-profdata-22 merge -sparse",
            program: "llvm-profdata-22".into(),
            args: words(&["merge", "-sparse", &show(&runs.dir), "-o", &show(&theirs)]),
            out: theirs,
            piped: false,
        },
        ours: Side {
            label: "podcov merge",
            program: podcov.to_owned(),
            args: words(&[
                "merge",
                "--format",
                "profdata",
                "-o",
                &show(&ours),
                &show(&runs.dir),
            ]),
            out: ours,
            piped: false,
        },
        answer: Answer::Profdata,
        goal,
        cold: is_cold.then(|| runs.dir.clone()),
    }
}

fn operator(podcov: &Path, out: &Path) -> Result<Vec<Case>, String> {
    let root = super::root();
    let runs = corpus::operator(&root)?;
    let profile = out.join("operator.profdata");
    let mut merge = Command::new("llvm-profdata-22");
    merge
        .args(["merge", "-sparse"])
        .arg(&runs.dir)
        .arg("-o")
        .arg(&profile);
    corpus::finish(merge)?;
    let object = show(&runs.program);
    let profile = show(&profile);
    let case = |name: &str,
                theirs: (&'static str, &[&str]),
                ours: (&'static str, &[&str]),
                answer,
                goal| {
        let file = out.join(format!("ours.{name}"));
        // A summary is for reading: it goes to stdout.
        let is_piped = ours.1 == ["summary"];
        let mut args = words(ours.1);
        args.extend(words(&["--object", &object]));
        if !is_piped {
            args.extend(words(&["-o", &show(&file)]));
        }
        args.push(profile.clone());
        let mut reference = words(theirs.1);
        reference.extend([format!("-instr-profile={profile}"), object.clone()]);
        Case {
            name: format!("kube-rs operator: {name}"),
            reference: Side {
                label: theirs.0,
                program: "llvm-cov-22".into(),
                args: reference,
                out: out.join(format!("theirs.{name}")),
                piped: true,
            },
            ours: Side {
                label: ours.0,
                program: podcov.to_owned(),
                args,
                out: file,
                piped: is_piped,
            },
            answer,
            goal,
            cold: None,
        }
    };
    let faster = Goal {
        ratio: 1.0,
        memory: None,
    };
    Ok(vec![
        case(
            "json",
            (
                "llvm-cov-22 export -format=text",
                &["export", "-format=text"],
            ),
            (
                "podcov export --format llvm-json",
                &["export", "--format", "llvm-json"],
            ),
            Answer::Json,
            Goal {
                ratio: 3.0,
                memory: Some(150.0),
            },
        ),
        case(
            "lcov",
            (
                "llvm-cov-22 export -format=lcov",
                &["export", "-format=lcov"],
            ),
            (
                "podcov export --format lcov",
                &["export", "--format", "lcov"],
            ),
            Answer::Lcov,
            faster,
        ),
        case(
            "summary",
            ("llvm-cov-22 report", &["report"]),
            ("podcov summary", &["summary"]),
            Answer::Any,
            faster,
        ),
    ])
}

fn go(podcov: &Path, out: &Path) -> Result<Vec<Case>, String> {
    const COUNT: usize = 2_000;
    let runs = corpus::kustomize(COUNT)?;
    let covdata = corpus::covdata()?;
    let goal = Goal {
        ratio: 2.0,
        memory: None,
    };
    let input = format!("-i={}", show(&runs.dir));
    let case = |name: &str, theirs: (&'static str, &str), ours: (&'static str, &[&str]), answer| {
        let (their, our) = (
            out.join(format!("theirs.{name}")),
            out.join(format!("ours.{name}")),
        );
        let mut args = words(ours.1);
        args.extend(words(&["-o", &show(&our), &show(&runs.dir)]));
        Case {
            name: format!("{COUNT} GOCOVERDIR runs of one program: {name}"),
            reference: Side {
                label: theirs.0,
                program: covdata.clone(),
                args: words(&[theirs.1, &input, &format!("-o={}", show(&their))]),
                out: their,
                piped: false,
            },
            ours: Side {
                label: ours.0,
                program: podcov.to_owned(),
                args,
                out: our,
                piped: false,
            },
            answer,
            goal,
            cold: None,
        }
    };
    Ok(vec![
        case(
            "merge",
            ("covdata merge", "merge"),
            ("podcov merge", &["merge", "--format", "covdata"]),
            Answer::Covdata(covdata.clone()),
        ),
        case(
            "text",
            ("covdata textfmt", "textfmt"),
            (
                "podcov export --format go-cover",
                &["export", "--format", "go-cover"],
            ),
            Answer::Lines,
        ),
    ])
}

/// Rows of the table, and whether the goal is met.
fn measure(case: &Case, options: &Options) -> Result<(Vec<String>, bool), String> {
    let sides: &[&Side] = if options.reference_only {
        &[&case.reference]
    } else {
        &[&case.reference, &case.ours]
    };
    let mut measures = vec![Vec::new(); sides.len()];
    // The first round warms up, or is thrown away with what it left in memory.
    for round in 0..=options.rounds {
        for (side, measures) in sides.iter().zip(&mut measures) {
            if let Some(dir) = &case.cold {
                evict(dir)?;
            }
            let measure = once(side)?;
            if round > 0 {
                measures.push(measure);
            }
        }
        if std::io::stderr().is_terminal() {
            eprint!(
                "\r· {}: round {round} of {}\x1b[K",
                case.name, options.rounds
            );
        }
    }
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    let theirs = Spread::of(&measures[0]);
    let row = |name: &str, label: &str, spread: &Spread, end: &str| {
        format!("| {name} | `{label}` | {spread} | {end} |")
    };
    let mut rows = vec![row(&case.name, case.reference.label, &theirs, "| ")];
    let Some(ours) = measures.get(1) else {
        return Ok((rows, true));
    };
    let ours = Spread::of(ours);
    let ratio = theirs.wall[1] / ours.wall[1];
    let fits = case.goal.memory.is_none_or(|most| ours.mebibytes <= most);
    let met = ratio >= case.goal.ratio && fits;
    // On a busy machine processor time is the steadier of the two.
    let processor = theirs.processor / ours.processor.max(0.005);
    let mut end = format!("{ratio:.1}× (processor {processor:.1}×) | ");
    end += if met { "met" } else { "**not met**" };
    end += &format!(": at least {}×", case.goal.ratio);
    if let Some(memory) = case.goal.memory {
        end += &format!(", at most {memory} MiB");
    }
    rows.push(row("", case.ours.label, &ours, &end));
    let difference = agree(&case.answer, &case.reference.out, &case.ours.out)?;
    if let Some(difference) = &difference {
        eprintln!("{}: the answers differ: {difference}", case.name);
    }
    Ok((rows, met && difference.is_none()))
}

const HEAD: [&str; 2] = [
    "| what | program | wall: median (min to max) | processor | peak memory | ratio | goal |",
    "| --- | --- | --- | --- | --- | --- | --- |",
];

/// Smallest, median and largest.
struct Spread {
    wall: [f64; 3],
    processor: f64,
    mebibytes: f64,
}

impl Spread {
    fn of(measures: &[Measure]) -> Self {
        let sorted = |of: fn(&Measure) -> f64| {
            let mut values: Vec<f64> = measures.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let wall = sorted(|measure| measure.wall);
        let last = wall.len() - 1;
        Spread {
            wall: [wall[0], wall[last / 2], wall[last]],
            processor: sorted(|measure| measure.processor)[last / 2],
            // The worst: a limit is a limit.
            mebibytes: sorted(|measure| measure.mebibytes)[last],
        }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [least, median, most] = self.wall;
        write!(f, "{median:.3} s ({least:.3} to {most:.3}) | ")?;
        write!(f, "{:.2} s | {:.0} MiB", self.processor, self.mebibytes)
    }
}

/// One run under `time`, whose own start is in the wall time of both sides.
fn once(side: &Side) -> Result<Measure, String> {
    let _ = fs::remove_dir_all(&side.out);
    let _ = fs::remove_file(&side.out);
    if !side.piped && side.args.first().is_some_and(|word| word == "merge") && is_dir(side) {
        fs::create_dir_all(&side.out).map_err(|error| error.to_string())?;
    }
    let report = side.out.with_extension("time");
    let mut command = Command::new("/usr/bin/time");
    command.args(["-q", "-f", "%U %S %M", "-o"]).arg(&report);
    command
        .arg(&side.program)
        .args(&side.args)
        .stderr(Stdio::piped());
    super::forget_cargo(&mut command);
    if side.label.starts_with("podcov") {
        // No toolchain is to be found: podcov must not need one.
        command.env("PATH", "/nonexistent");
    }
    let stdout = if side.piped {
        let file = fs::File::create(&side.out).map_err(|error| error.to_string())?;
        Stdio::from(file)
    } else {
        Stdio::null()
    };
    command.stdout(stdout);
    let begin = Instant::now();
    let output = command
        .output()
        .map_err(|error| format!("cannot start /usr/bin/time: {error}; apt-get install time"))?;
    let wall = begin.elapsed().as_secs_f64();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{:?} {:?}: {}\n{stderr}",
            side.program, side.args, output.status
        ));
    }
    let text = fs::read_to_string(&report).map_err(|error| error.to_string())?;
    let numbers: Vec<f64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [user, system, kibibytes] = numbers[..] else {
        return Err(format!("/usr/bin/time said {text:?}"));
    };
    Ok(Measure {
        wall,
        processor: user + system,
        mebibytes: kibibytes / 1024.0,
    })
}

/// `covdata merge` wants its directory to be there, as podcov may.
fn is_dir(side: &Side) -> bool {
    side.out.extension().is_some_and(|kind| kind == "merge")
}

/// Drops files from the page cache (`posix_fadvise`), without being root.
fn evict(dir: &Path) -> Result<(), String> {
    let mut shell = Command::new("sh");
    let script = "for f in \"$1\"/*; do dd if=\"$f\" iflag=nocache count=0 status=none; done";
    shell.args(["-c", script, "sh"]).arg(dir);
    corpus::finish(shell)
}

/// The machine and the versions that were measured.
fn about() -> Result<String, String> {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |line: &str| {
        line.split_once(':')
            .map(|(_, value)| value.trim().to_owned())
    };
    let model = info
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(field);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load
        .split_whitespace()
        .next()
        .unwrap_or("unknown")
        .to_owned();
    let llvm = corpus::output(Command::new("llvm-profdata-22").arg("--version"))
        .map_err(|error| format!("{error}: apt-get install --no-install-recommends llvm-22"))?;
    let llvm = llvm
        .lines()
        .find_map(|line| line.trim().split_once("version "))
        .map_or_else(|| "unknown".to_owned(), |(_, version)| version.to_owned());
    Ok(format!(
        "{processors} processors ({}), load {load} at the start; LLVM {llvm}, {}, {}.",
        model.unwrap_or_else(|| "unknown".to_owned()),
        corpus::rustc()?,
        corpus::go()?,
    ))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
