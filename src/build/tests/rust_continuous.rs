//! Counters of Rust programs that are in a file at every moment: programs that
//! also count by hand are ended in every way, and the two must agree.

mod common;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use common::truth::{self, Counts, Mark, NAMES, Random};
use common::{Project, names, need};
use podcov_profile::bundle::Mode;
use podcov_profile::names::Language;

/// The program of `ground_truth/rust`, built to be measured.
struct Truth {
    project: Project,
    program: PathBuf,
    marks: Vec<Mark>,
}

fn built() -> Truth {
    let files = ["Cargo.toml", "src/main.rs", "src/truth.rs"];
    let (project, marks) = truth::project("rust", &files);
    // No package is initialised.
    assert_eq!(marks.len(), NAMES.len() - 1);
    let bundle = project
        .build(&project.component("truth", Language::Rust))
        .unwrap();
    assert_eq!(bundle.binaries[0].mode, Mode::Continuous);
    let program = project.program(&bundle);
    Truth {
        project,
        program,
        marks,
    }
}

impl Truth {
    fn command(&self, dir: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("LLVM_PROFILE_FILE", dir.join("%m%c.profraw"))
            .env("TRUTH_DIR", truth::hands(dir))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Runs it to its end.
    fn end(&self, name: &str, args: &[&str]) -> (PathBuf, ExitStatus) {
        let dir = self.project.evidence(name);
        let status = self.command(&dir, args).status().unwrap();
        (dir, status)
    }

    /// What LLVM's tools say of the one profile in `dir`; zeros without one.
    fn counts(&self, dir: &Path) -> Counts {
        let none = |mark: &Mark| (mark.name.clone(), 0);
        let files = names(dir);
        let profile = match &files[..] {
            [] => return self.marks.iter().map(none).collect(),
            [one] => dir.join(one),
            several => panic!("{several:?}"),
        };
        if fs::metadata(&profile).unwrap().len() == 0 {
            return self.marks.iter().map(none).collect();
        }
        let how = "apt-get install --no-install-recommends llvm-22";
        let merged = dir.with_extension("profdata");
        let merge = need("llvm-profdata-22", how)
            .arg("merge")
            .arg(&profile)
            .arg("-o")
            .arg(&merged)
            .output()
            .unwrap();
        if !merge.status.success() {
            // Killed while the runtime laid the file out: then nothing was
            // counted by hand either, or the check fails.
            return self.marks.iter().map(none).collect();
        }
        let export = need("llvm-cov-22", how)
            .args(["export", "--format=lcov", "--instr-profile"])
            .arg(&merged)
            .arg(&self.program)
            .output()
            .unwrap();
        assert!(export.status.success(), "{export:?}");
        let lcov = String::from_utf8(export.stdout).unwrap();
        let count = |mark: &Mark| {
            let file = format!("{}\n", mark.file);
            let mut records = lcov.split("end_of_record");
            let of_file = records.find(|text| text.lines().any(|l| l.ends_with(file.trim())));
            let line = format!("DA:{},", mark.line);
            let count = of_file.unwrap().lines().find_map(|l| l.strip_prefix(&line));
            (mark.name.clone(), count.unwrap().parse().unwrap())
        };
        self.marks.iter().map(count).collect()
    }

    /// Checks that all processes together counted what they did; `threads`
    /// were at it when they ended.
    fn check(&self, dir: &Path, threads: u64) -> Counts {
        let counts = self.counts(dir);
        let by_hand = truth::by_hand(dir);
        for (name, count) in &counts {
            let by_hand = by_hand.iter().map(|(_, counts)| counts[name]).sum();
            truth::agree(name, *count, by_hand, threads, dir);
        }
        counts
    }
}

#[test]
fn killed_at_any_moment_nothing_is_missing() {
    let truth = built();
    truth.end("one", &["clean", "1"]);
    let begin = Instant::now();
    truth.end("two", &["clean", "1"]);
    let whole = begin.elapsed().as_micros() as u64;
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut steps = 0;
    for number in 0..200 {
        let threads = 1 + number / 2 % 3;
        let dir = truth.project.evidence(&format!("killed-{number}"));
        let text = threads.to_string();
        let child = truth.command(&dir, &["clean", "0", &text]).spawn();
        truth::kill_number(number, child.unwrap(), &dir, 2 * whole, &mut random);
        steps += truth.check(&dir, threads)["step"];
    }
    assert!(steps > 100_000, "{steps}");
}

#[test]
fn however_a_program_ends_it_has_counted_all_it_did() {
    let truth = built();
    // How it ends, by which status or signal, and how many processes did it.
    let cases = [
        ("clean", 0, 1),
        ("exit", 3, 1),
        ("panic", 101, 1),
        ("abort", -6, 1),
        ("kill", -9, 1),
        ("exec", 0, 2),
        ("spawn", 0, 2),
    ];
    for (end, status, processes) in cases {
        let (dir, ended) = truth.end(end, &[end, "1001", "3"]);
        let code = ended.code().unwrap_or_else(|| -ended.signal().unwrap());
        assert_eq!(code, status, "{end}");
        assert_eq!(truth.check(&dir, 0)["step"], processes * 3003, "{end}");
    }
    let dir = truth.project.evidence("term");
    let mut child = truth.command(&dir, &["term", "10"]).spawn().unwrap();
    truth::until("all steps", || {
        let mut by_hand = truth::by_hand(&dir).into_iter();
        by_hand.any(|(_, counts)| counts["step"] == 10)
    });
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(truth.check(&dir, 0)["handler"], 1);
}
