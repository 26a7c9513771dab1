//! How long a mark of a phase takes: the counters of many processes are read,
//! held against what was known, and what was added is written down.
//!
//! Once with real processes that work all the time, and once with as many as
//! are large: files as their runtimes map them, of which this one changes one
//! counter in a hundred before each mark.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PROCESSES: u64 = 50;
const COUNTERS: u64 = 131_072;
const PER_FUNCTION: u64 = 8;
const RECORD: u64 = 64;
const HEADER: u64 = 128;
const MARKS: u64 = 40;
/// Half of what is called "well under a second".
const GOAL: Duration = Duration::from_millis(500);

/// What each real process does: without an end, other code in turn.
const PROGRAM: &str = "
fn even(beat: u64) { std::hint::black_box(beat); }
fn odd(beat: u64) { std::hint::black_box(beat + 1); }
fn main() {
    for beat in 0u64.. {
        if beat % 2 == 0 { even(beat) } else { odd(beat) }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}
";

/// Starts `$1` as often as `$2` says, each as an incarnation of its own.
const SUITE: &str = "
pids=
trap 'kill $pids; exit' TERM
for number in $(seq \"$2\"); do
    \"$3\" --component \"p$number\" -- \"$1\" &
    pids=\"$pids $!\"
done
wait";

/// Rows of the page, and whether the goal is met.
pub fn measure(podcov: &Path, out: &Path) -> Result<(String, bool), String> {
    let (live, live_met) = live(podcov, out)?;
    let (large, large_met) = large(podcov, out)?;
    Ok((format!("{live}\n\n{large}"), live_met && large_met))
}

/// Real processes in continuous mode.
fn live(podcov: &Path, out: &Path) -> Result<(String, bool), String> {
    let told = |error: std::io::Error| error.to_string();
    let run = out.join("phases");
    let _ = fs::remove_dir_all(&run);
    fs::create_dir_all(&run).map_err(told)?;
    let (source, program) = (out.join("beats.rs"), out.join("beats"));
    fs::write(&source, PROGRAM).map_err(told)?;
    let mut rustc = Command::new("rustc");
    rustc
        .args(["--edition", "2024", "-C", "instrument-coverage", "-C"])
        .args(["llvm-args=-runtime-counter-relocation", "-o"])
        .args([&program, &source]);
    if !rustc.status().map_err(told)?.success() {
        return Err(format!("{rustc:?} failed"));
    }
    let mut command = Command::new(podcov);
    command.args(["exec", "--quiet", "--evidence"]).arg(&run);
    command.args(["--", "sh", "-c", SUITE, "sh"]).arg(&program);
    command.arg(PROCESSES.to_string());
    command.arg(run.join("bin/.podcov-launcher"));
    let mut child = command.stdout(Stdio::null()).spawn().map_err(told)?;
    let measured = live_marks(&run);
    let mut interrupt = Command::new("kill");
    let _ = interrupt.args(["-TERM", &child.id().to_string()]).status();
    child.wait().map_err(told)?;
    let times = measured?;
    fs::remove_dir_all(&run).map_err(told)?;
    let what = format!("A mark of a phase, {PROCESSES} processes that work all the time");
    Ok(row(&what, times))
}

fn live_marks(run: &Path) -> Result<Vec<Duration>, String> {
    let url = url(run)?;
    // Until all of them are there.
    std::thread::sleep(Duration::from_secs(5));
    let mut times = Vec::new();
    for mark in 0..MARKS {
        times.push(post(&url, mark)?);
        std::thread::sleep(Duration::from_millis(50));
    }
    let last = run.join(format!("phases/{MARKS:06}.mark"));
    let last = fs::read(last).map_err(|error| error.to_string())?;
    let told = last.windows(8).filter(|w| w == b".profraw").count() as u64;
    match told {
        PROCESSES => Ok(times),
        _ => Err(format!(
            "a mark tells of {told} processes, not of {PROCESSES}"
        )),
    }
}

/// The row of some marks, and whether the goal is met.
fn row(what: &str, mut times: Vec<Duration>) -> (String, bool) {
    times.sort();
    let at = |index: usize| times[index].as_secs_f64() * 1000.0;
    let (median, longest) = (at(times.len() / 2), at(times.len() - 1));
    let row = format!("{what}: median {median:.0} ms, longest {longest:.0} ms of {MARKS}");
    (row, times[times.len() - 1] < GOAL)
}

/// Files of the size that a large program has.
fn large(podcov: &Path, out: &Path) -> Result<(String, bool), String> {
    let told = |error: std::io::Error| error.to_string();
    let run = out.join("phases");
    let _ = fs::remove_dir_all(&run);
    let mut files = Vec::new();
    for process in 0..PROCESSES {
        let id =
            format!("evidence/bench/pod-{process}_uid-{process}/main/20260101T000000.000Z-0000");
        let dir = run.join(id);
        fs::create_dir_all(&dir).map_err(told)?;
        let path = dir.join("a.profraw");
        fs::write(&path, profile()).map_err(told)?;
        files.push(File::options().write(true).open(path).map_err(told)?);
    }
    let mut podcov = Command::new(podcov);
    podcov.args(["exec", "--quiet", "--evidence"]).arg(&run);
    podcov.args(["--", "sleep", "600"]);
    let mut child = podcov.stdout(Stdio::null()).spawn().map_err(told)?;
    let measured = marks(&run, &files);
    let mut interrupt = Command::new("kill");
    let _ = interrupt.args(["-TERM", &child.id().to_string()]).status();
    child.wait().map_err(told)?;
    let times = measured?;
    let written = fs::metadata(run.join("phases/000002.mark"))
        .map_err(told)?
        .len();
    if written < PROCESSES * COUNTERS / 100 * 2 {
        return Err(format!(
            "a mark of {written} bytes does not hold what was added"
        ));
    }
    fs::remove_dir_all(&run).map_err(told)?;
    let what = format!(
        "A mark of a phase, {PROCESSES} processes of 1 MiB of counters each, 1 % of them \
         changed, {} KiB a mark",
        written / 1024
    );
    Ok(row(&what, times))
}

fn marks(run: &Path, files: &[File]) -> Result<Vec<Duration>, String> {
    let url = url(run)?;
    let mut times = Vec::new();
    for mark in 0..MARKS {
        let place = HEADER + COUNTERS / PER_FUNCTION * RECORD;
        for file in files {
            for counter in (mark..COUNTERS).step_by(100) {
                let count = (mark + 2).to_le_bytes();
                let at = place + counter * 8;
                file.write_all_at(&count, at)
                    .map_err(|error| error.to_string())?;
            }
        }
        times.push(post(&url, mark)?);
    }
    Ok(times)
}

/// What the recorder says where it is.
fn url(run: &Path) -> Result<String, String> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let text = fs::read_to_string(run.join("phases/recorder.json")).unwrap_or_default();
        if let Some((_, rest)) = text.split_once("http://")
            && let Some((url, _)) = rest.split_once('"')
        {
            return Ok(url.to_owned());
        }
        if Instant::now() > end {
            return Err("podcov exec does not say where it records phases".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every second mark ends what the one before it began; how long it took.
fn post(url: &str, mark: u64) -> Result<Duration, String> {
    let (what, name) = (
        if mark.is_multiple_of(2) {
            "start"
        } else {
            "end"
        },
        "a",
    );
    let begin = Instant::now();
    let told = |error: std::io::Error| error.to_string();
    let (host, path) = url.split_once('/').unwrap_or((url, ""));
    let mut stream = TcpStream::connect(host).map_err(told)?;
    let request = format!(
        "POST /{path}/{what} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{name}",
        name.len()
    );
    stream.write_all(request.as_bytes()).map_err(told)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(told)?;
    match answer.starts_with("HTTP/1.1 204 ") {
        true => Ok(begin.elapsed()),
        false => Err(answer),
    }
}

/// A raw profile of version 10 of a 64-bit program, in which every second
/// counter is 1.
fn profile() -> Vec<u8> {
    let functions = COUNTERS / PER_FUNCTION;
    let mut header = [0u64; (HEADER / 8) as usize];
    header[0] = u64::from_le_bytes(*b"\x81rforpl\xff");
    header[1] = 10;
    header[3] = functions;
    header[5] = COUNTERS;
    header[10] = functions * RECORD;
    header[15] = 2;
    let mut file: Vec<u8> = header.iter().flat_map(|n| n.to_le_bytes()).collect();
    for index in 0..functions {
        // Less the delta, plus the record's own offset, the place of its
        // counters among the counters.
        let counters = functions * RECORD + index * PER_FUNCTION * 8 - index * RECORD;
        file.extend((0x1000 + index).to_le_bytes());
        file.extend((0x2000 + index).to_le_bytes());
        file.extend(counters.to_le_bytes());
        file.extend([0; 24]);
        file.extend((PER_FUNCTION as u32).to_le_bytes());
        file.extend([0; 12]);
    }
    file.extend((0..COUNTERS).flat_map(|index| (index % 2).to_le_bytes()));
    file
}
