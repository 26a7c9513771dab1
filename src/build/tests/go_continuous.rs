//! Counters of Go programs that are in a file at every moment: programs that
//! also count by hand are ended in every way, and the two must agree.

mod common;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use common::truth::{self, Counts, Mark, NAMES, Random, kill, until};
use common::{Project, names, need};
use podcov_build::Component;
use podcov_profile::bundle::{Bundle, Mode};
use podcov_profile::go::files::Name;
use podcov_profile::go::live::Live;
use podcov_profile::go::meta::{Meta, read_meta};
use podcov_profile::go::sum::Sum;
use podcov_profile::ledger::Format;
use podcov_profile::names::Language;
use podcov_profile::{Identity, classify};

/// The program of `ground_truth/go`, built to be measured.
struct Truth {
    project: Project,
    bundle: Bundle,
    meta: Meta,
    marks: Vec<Mark>,
}

/// What one process left.
struct Life {
    pid: u64,
    start: u64,
    counts: Counts,
    /// What it wrote at its end.
    written: Option<Counts>,
    is_early: bool,
}

fn built(change: impl FnOnce(&mut Component)) -> Truth {
    need("go", "install Go from https://go.dev/dl");
    let files = ["go.mod", "main.go", "truth/truth.go", "early/early.go"];
    let (project, marks) = truth::project("go", &files);
    assert_eq!(marks.len(), NAMES.len());
    let mut component = project.component("truth", Language::Go);
    change(&mut component);
    let bundle = project.build(&component).unwrap();
    let dir = project.path("bundle/truth/meta");
    let meta = read_meta(&fs::read(dir.join(&names(&dir)[0])).unwrap()).unwrap();
    Truth {
        project,
        bundle,
        meta,
        marks,
    }
}

impl Truth {
    fn command(&self, dir: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(self.project.program(&self.bundle));
        command
            .args(args)
            .env("GOCOVERDIR", dir)
            .env("PODCOV_DIR", dir)
            .env("TRUTH_DIR", truth::hands(dir))
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
    }

    /// Runs it to its end.
    fn end(&self, name: &str, args: &[&str]) -> (PathBuf, ExitStatus) {
        let dir = self.project.evidence(name);
        let output = self.command(&dir, args).output().unwrap();
        (dir, output.status)
    }

    fn counts(&self, sum: &Sum<'_>) -> Counts {
        let count = |mark: &Mark| {
            let file = format!("example.org/truth/{}", mark.file);
            let functions = self.meta.functions().filter(|f| f.file() == file);
            let units = functions.flat_map(|f| f.units().iter().zip(sum.counts_of(&f)));
            let (_, count) = units
                .filter(|(unit, _)| (unit.start_line..=unit.end_line).contains(&mark.line))
                .max_by_key(|(unit, _)| unit.start_line)
                .unwrap();
            (mark.name.clone(), u64::from(*count))
        };
        self.marks.iter().map(count).collect()
    }

    /// The processes that left their counters in `dir`, by their start.
    fn lives(&self, dir: &Path) -> Vec<Life> {
        let mut lives = Vec::new();
        let binary = &self.bundle.binaries[0];
        for name in names(dir) {
            let Some(Name::Live { pid, nanos }) = Name::parse(&name) else {
                continue;
            };
            let bytes = fs::read(dir.join(&name)).unwrap();
            let found = classify(&name, &bytes);
            assert_eq!((found.format, found.problem), (Format::Covlive, None));
            let live = Live::parse(&bytes).unwrap();
            let identity = live.identity().unwrap();
            assert!(
                binary.identity.as_ref() == Some(&identity)
                    || binary.other_identities.contains(&identity),
                "{identity}"
            );
            let is_early = live.hash.is_none();
            let mut sum = Sum::new(&self.meta);
            sum.add_live(&live.of(&self.meta.hash)).unwrap();
            let written = dir.join(format!("covcounters.{}.{pid}.{nanos}", self.meta.hash));
            let written = fs::read(written).ok().map(|bytes| {
                let mut sum = Sum::new(&self.meta);
                sum.add(&bytes).unwrap();
                self.counts(&sum)
            });
            lives.push(Life {
                pid,
                start: nanos,
                counts: self.counts(&sum),
                written,
                is_early,
            });
        }
        lives.sort_by_key(|life| life.start);
        lives
    }

    /// Checks that processes counted what they did; `threads` were at it when
    /// they ended.
    fn check(&self, dir: &Path, threads: u64) -> Vec<Life> {
        let (lives, by_hand) = (self.lives(dir), truth::by_hand(dir));
        for (number, life) in lives.iter().enumerate() {
            let none = NAMES.map(|name| (name.to_owned(), 0)).into();
            let hand = match by_hand.get(number) {
                Some((pid, counts)) => {
                    assert_eq!(*pid, life.pid);
                    counts
                }
                None => &none,
            };
            for (name, count) in &life.counts {
                truth::agree(name, *count, hand[name], threads, dir);
            }
        }
        // Without counters nothing was done.
        assert!(by_hand.len() <= lives.len(), "{}", dir.display());
        lives
    }
}

/// Kills programs, some of them from before the kernel has them; gives how many
/// were initialising packages, and all steps.
fn kill_at_random(truth: &Truth, times: u64) -> (u64, u64) {
    let (dir, _) = truth.end("one", &["clean", "1"]);
    let begin = Instant::now();
    truth.end("two", &["clean", "1"]);
    let whole = begin.elapsed().as_micros() as u64;
    truth.check(&dir, 0);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut early, mut steps) = (0, 0);
    for number in 0..times {
        let threads = 1 + number / 2 % 3;
        let dir = truth.project.evidence(&format!("killed-{number}"));
        let end = match number % 8 {
            0 | 1 => "early",
            _ => "clean",
        };
        let text = threads.to_string();
        let child = truth.command(&dir, &[end, "0", &text]).spawn().unwrap();
        truth::kill_number(number, child, &dir, 2 * whole, &mut random);
        let lives = truth.check(&dir, threads);
        early += lives.iter().filter(|life| life.is_early).count() as u64;
        steps += lives.iter().map(|life| life.counts["step"]).sum::<u64>();
        assert!(lives.len() <= 1 && lives.iter().all(|life| life.written.is_none()));
        assert!(number % 2 == 0 || lives.len() == 1);
    }
    (early, steps)
}

#[test]
fn killed_at_any_moment_nothing_is_missing() {
    let truth = built(|_| {});
    assert_eq!(truth.bundle.binaries[0].mode, Mode::Continuous);
    let (early, steps) = kill_at_random(&truth, 200);
    assert!(early >= 25 && steps > 100_000, "{early} {steps}");
}

#[test]
fn however_a_program_ends_it_has_counted_all_it_did() {
    let truth = built(|_| {});
    let cases: [(&str, i32, bool); 9] = [
        ("clean", 0, true),
        ("exit", 3, true),
        ("fatal", 1, true),
        // Go itself writes nothing then.
        ("panic", 2, false),
        ("kill", -9, false),
        ("exec", 0, true),
        ("spawn", 0, true),
        ("early-exit", 4, false),
        ("early-panic", 2, false),
    ];
    for (end, status, is_written) in cases {
        let (dir, ended) = truth.end(end, &[end, "1001", "3"]);
        let code = ended.code().unwrap_or_else(|| -ended.signal().unwrap());
        assert_eq!(code, status, "{end}");
        let lives = truth.check(&dir, 0);
        let processes = if ["exec", "spawn"].contains(&end) {
            2
        } else {
            1
        };
        assert_eq!(lives.len(), processes, "{end}");
        for life in &lives {
            assert_eq!(life.is_early, end.starts_with("early"), "{end}");
            let expected = if life.is_early {
                ("early", 1001)
            } else {
                ("step", 3003)
            };
            assert_eq!(life.counts[expected.0], expected.1, "{end}");
        }
        // What Go's own tools read is there as ever, and says the same.
        let written: Vec<&Life> = lives.iter().filter(|l| l.written.is_some()).collect();
        assert_eq!(written.len(), usize::from(is_written), "{end}");
        for life in written {
            assert_eq!(life.written.as_ref(), Some(&life.counts), "{end}");
        }
        // The same process id for both lives, and its own for the child.
        if let [first, second] = &lives[..] {
            assert_eq!(first.pid == second.pid, end == "exec");
        }
        let hash = &truth.meta.hash;
        let is_known = names(&dir).contains(&format!("covmeta.{hash}"));
        assert_eq!(is_known, !end.starts_with("early"), "{end}");
        let odd = names(&dir)
            .into_iter()
            .find(|name| !matches!(Name::parse(name), Some(name) if name != Name::Leftover));
        assert_eq!(odd, None, "{end}");
    }
    let dir = truth.project.evidence("term");
    let mut child = truth.command(&dir, &["term", "10"]).spawn().unwrap();
    until("all steps", || {
        truth::by_hand(&dir)
            .iter()
            .any(|(_, counts)| counts["step"] == 10)
    });
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    let lives = truth.check(&dir, 0);
    assert_eq!(lives[0].counts["handler"], 1);
    assert_eq!(lives[0].written.as_ref(), Some(&lives[0].counts));
}

#[test]
fn where_no_file_can_be_mapped_the_program_runs_and_snapshots_are_made() {
    let truth = built(|_| {});
    let dir = truth.project.evidence("full");
    let begin = |wanted: &str, limit: &str| {
        let program = truth.project.program(&truth.bundle);
        let mut command = need("prlimit", "install the package util-linux");
        command.arg(format!("--fsize={limit}")).arg(program);
        command
            .args([wanted, "7"])
            .env("GOCOVERDIR", &dir)
            .env("PODCOV_DIR", &dir);
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    // No room for the file, but for the smaller ones.
    let mut child = begin("term", "4096");
    let live = dir.join("live");
    until("a snapshot", || {
        names(&live)
            .iter()
            .any(|name| name.starts_with("covcounters."))
    });
    let mark = fs::read_to_string(live.join("ticker.json")).unwrap();
    assert!(
        mark.starts_with(r#"{"schema":1,"mode":"ticker","interval_ms":1000,"why":""#),
        "{mark}"
    );
    assert!(mark.contains("errno 28"), "{mark}");
    kill(&mut child);
    assert_eq!(names(&dir).len(), 2, "{:?}", names(&dir));
    // No folder at all, and one that is read-only.
    for dir in ["nowhere", "/proc"] {
        let dir = truth.project.path(dir);
        let output = truth
            .command(&dir, &["clean", "7"])
            .env_remove("TRUTH_DIR")
            .output();
        let output = output.unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout, b"ready\n");
    }
}

#[test]
fn at_exit_maps_nothing() {
    let truth = built(|component| component.mode = Some(Mode::AtExit));
    let (dir, _) = truth.end("clean", &["clean"]);
    let files = names(&dir);
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files[0].starts_with("covcounters.") && files[1].starts_with("covmeta."));
}

fn has_a_ticker(truth: &Truth) {
    let binary = &truth.bundle.binaries[0];
    assert_eq!(
        (binary.mode, binary.interval_ms),
        (Mode::Ticker, Some(1000))
    );
    assert!(matches!(binary.identity, Some(Identity::Covmeta(_))));
    let dir = truth.project.evidence("killed");
    let mut child = truth.command(&dir, &["term", "10"]).spawn().unwrap();
    let live = dir.join("live");
    until("a snapshot", || names(&live).len() == 2);
    kill(&mut child);
    assert!(names(&live).contains(&"ticker.json".to_owned()));
    assert!(truth.lives(&dir).is_empty());
}

/// A package that Go instruments is not read through an overlay.
#[test]
fn where_the_runtime_is_counted_itself_there_is_a_ticker() {
    has_a_ticker(&built(|component| {
        component.coverpkg = vec!["./...".to_owned(), "runtime".to_owned()];
    }));
}

/// Builds with a release that the go command gets from the module proxy.
fn with_release(version: &str) -> Truth {
    let truth = built(|component| {
        let toolchain = ("GOTOOLCHAIN".to_owned(), version.to_owned());
        component.env.push(toolchain);
    });
    let toolchain = &truth.bundle.toolchain;
    assert!(toolchain.contains(version), "{toolchain}");
    truth
}

#[test]
fn a_release_that_is_not_known_gets_a_ticker() {
    has_a_ticker(&with_release("go1.24.9"));
}

#[test]
fn each_known_release_counts_as_well() {
    for version in ["go1.25.8", "go1.27.1"] {
        let truth = with_release(version);
        assert_eq!(truth.bundle.binaries[0].mode, Mode::Continuous, "{version}");
        kill_at_random(&truth, 40);
    }
}
