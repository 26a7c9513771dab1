//! Phases of a suite: real processes that run while their counters are read,
//! and the lines that each test reached.

#[path = "phases/reached.rs"]
mod reached;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use reached::{Lines, reach};
use serde_json::Value;

const TESTS: u32 = 12;

/// The programs, built once.
struct Programs {
    dir: tempfile::TempDir,
}

fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/phases");
        for name in ["server", "client"] {
            let source = format!("{name}.rs");
            std::fs::copy(sources.join(&source), dir.path().join(&source)).unwrap();
            let mut rustc = Command::new("rustc");
            rustc
                .current_dir(dir.path())
                .args(["--edition", "2024", "-C", "instrument-coverage"])
                .args(["-C", "llvm-args=-runtime-counter-relocation"])
                .args(["-C", "link-arg=-Wl,--build-id"])
                .arg(source);
            assert!(rustc.status().unwrap().success(), "{rustc:?}");
        }
        Programs { dir }
    })
}

impl Programs {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `podcov exec` of the suite with these tests; gives its run's folder.
    fn run(&self, dir: &Path, marks: &str, tests: &[u32]) -> PathBuf {
        let run = dir.join(format!("run-{}", tests.len()));
        let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/phases/suite.sh");
        let mut podcov = Command::new(env!("CARGO_BIN_EXE_podcov"));
        podcov
            .current_dir(dir)
            .arg("exec")
            .arg("--evidence")
            .arg(&run)
            .arg("--source-root")
            .arg(self.dir.path());
        for name in ["server", "client"] {
            podcov.arg("--object").arg(self.path(name));
        }
        podcov
            .arg("--")
            .arg("sh")
            .arg(suite)
            .arg(dir.join("socket"))
            .arg(marks)
            .args(tests.iter().map(u32::to_string))
            .env("SERVER", self.path("server"))
            .env("CLIENT", self.path("client"))
            .env("PODCOV", env!("CARGO_BIN_EXE_podcov"))
            .env("EVIDENCE", &run)
            .env_remove("LLVM_PROFILE_FILE")
            .env_remove("GOCOVERDIR");
        let output = podcov.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{podcov:?}\n{said}");
        std::fs::remove_file(dir.join("socket")).unwrap();
        run
    }
}

/// Lines of a source that hold a text.
fn lines_with(name: &str, text: &str) -> Lines {
    let source = std::fs::read_to_string(programs().path(name)).unwrap();
    let numbered = source.lines().enumerate();
    let found = numbered.filter(|(_, line)| line.contains(text));
    found
        .map(|(at, _)| (name.to_owned(), at as u64 + 1))
        .collect()
}

/// Twelve tests in one go reach what twelve runs of one test each reach, apart
/// from what the background reaches.
#[test]
fn twelve_tests_in_one_go_are_as_twelve_runs() {
    let dir = tempfile::tempdir().unwrap();
    let all: Vec<u32> = (0..TESTS).collect();
    let run = programs().run(dir.path(), "command", &all);
    let together = reach(&run);
    the_report_answers(&run, &together);
    let mut background = together["test-outside"].clone();
    let mut remainder = Lines::new();
    for number in all {
        let alone = tempfile::tempdir().unwrap();
        let alone = reach(&programs().run(alone.path(), "command", &[number]));
        let key = format!("test:test_{number}");
        background.extend(alone["test-outside"].iter().cloned());
        let differ = together[&key].symmetric_difference(&alone[&key]);
        remainder.extend(differ.cloned());

        // And both are what is true.
        let has = |name: &str, text: &str| lines_with(name, text).is_subset(&together[&key]);
        assert!(!has("server.rs", "fn unknown"), "{number}");
        assert_eq!(has("server.rs", "fn third"), number % 3 == 0, "{number}");
        assert_eq!(has("client.rs", "fn low"), number < 6, "{number}");
        assert_eq!(has("client.rs", "fn high"), number >= 6, "{number}");
        assert!(has("server.rs", "fn shared"), "{number}");
    }
    eprintln!("of the background: {remainder:?}");
    assert!(
        remainder.is_subset(&background),
        "{remainder:?}\n{background:?}"
    );
    let of_background = |(name, line): &(String, u64)| {
        let source = std::fs::read_to_string(programs().path(name)).unwrap();
        let begin = source
            .lines()
            .position(|line| line.starts_with("fn background"))
            .unwrap();
        let end = source
            .lines()
            .position(|line| line.starts_with("fn main"))
            .unwrap();
        // With the loop that calls it, at the begin of main.
        name == "server.rs" && (begin as u64 + 1..end as u64 + 9).contains(line)
    };
    assert!(remainder.iter().all(of_background), "{remainder:?}");
    assert_eq!(
        together
            .keys()
            .filter(|key| key.starts_with("test:"))
            .count(),
        TESTS as usize
    );
    assert!(together.keys().all(|key| !key.starts_with("test-shared:")));
}

/// The pages, `summary.json` and `podcov summary --tests` say what was merged.
fn the_report_answers(run: &Path, reach: &BTreeMap<String, Lines>) {
    let summary = std::fs::read_to_string(run.join("report/summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let podcov = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podcov"));
        command.args(["summary", "--tests"]).args(args).arg(run);
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let printed: Value = serde_json::from_str(&podcov(&["--format", "json"])).unwrap();
    assert_eq!(printed, summary["phases"]);
    assert_eq!(printed.as_array().unwrap().len(), TESTS as usize);
    let background = &reach["test-outside"];
    for test in printed.as_array().unwrap() {
        let name = test["name"].as_str().unwrap();
        let own = &reach[&format!("test:{name}")];
        assert_eq!(test["lines"], own.len(), "{name}");
        assert_eq!(
            test["background"],
            own.intersection(background).count(),
            "{name}"
        );
        let others = reach.iter().filter(|(key, _)| key.starts_with("test"));
        let others = others.filter(|(key, _)| **key != format!("test:{name}"));
        let others: Lines = others.flat_map(|(_, lines)| lines.clone()).collect();
        assert_eq!(test["only"], own.difference(&others).count(), "{name}");
    }
    let (_, low) = lines_with("client.rs", "fn low")
        .into_iter()
        .next()
        .unwrap();
    let said = podcov(&["--line", &format!("client.rs:{low}")]);
    let names: Vec<&str> = said
        .lines()
        .skip(1)
        .map(|row| row.split_whitespace().nth(1).unwrap())
        .collect();
    assert_eq!(
        names,
        ["test_0", "test_1", "test_2", "test_3", "test_4", "test_5"]
    );

    let index = std::fs::read_to_string(run.join("report/tests.html")).unwrap();
    assert!(
        index.contains("test_11") && index.contains("t/00012.html"),
        "{index}"
    );
    let pages = std::fs::read_dir(run.join("report/f")).unwrap();
    let pages = pages.map(|page| std::fs::read_to_string(page.unwrap().path()).unwrap());
    let client = pages
        .into_iter()
        .find(|page| page.contains("fn</i> low"))
        .unwrap();
    assert!(
        client.contains("title=\"reached by test_0, test_1, test_2, test_3, test_4 and 1 more\""),
        "{client}"
    );
    assert!(client.contains("<aside class=\"by\" id=\"T1\""), "{client}");
}

/// What a process counts that was started for a phase is that phase's, without
/// any mark.
#[test]
fn a_process_of_a_phase_counts_for_it_alone() {
    let dir = tempfile::tempdir().unwrap();
    let run = programs().run(dir.path(), "variable", &[2, 9]);
    let reach = reach(&run);
    let (low, high) = (
        lines_with("client.rs", "fn low"),
        lines_with("client.rs", "fn high"),
    );
    assert!(low.is_subset(&reach["phase:test_2"]) && high.is_disjoint(&reach["phase:test_2"]));
    assert!(high.is_subset(&reach["phase:test_9"]) && low.is_disjoint(&reach["phase:test_9"]));
}

#[test]
fn without_a_recorder_a_mark_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let podcov = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podcov"));
        let output = command.current_dir(dir.path()).args(args).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, said) = podcov(&["phase", "start", "a"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("there is no run in") && said.contains("podcov test"),
        "{said}"
    );
    std::fs::create_dir_all(dir.path().join("profiles/20260101-000000-aaaa/evidence")).unwrap();
    std::fs::write(
        dir.path().join("profiles/20260101-000000-aaaa/run.json"),
        "{}",
    )
    .unwrap();
    let (code, said) = podcov(&["phase", "end"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is not in its test step"), "{said}");
}

/// What the recorder answers is what `podcov phase` says.
#[test]
fn what_makes_no_sense_is_refused_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let script = "set -u
        $PODCOV phase end 2>&1
        $PODCOV phase start a && $PODCOV phase start a 2>&1
        $PODCOV phase start --namespace n/m b 2>&1
        $PODCOV phase end nobody 2>&1
        $PODCOV phase end a
        PODCOV_PHASE_URL=${PODCOV_PHASE_URL%/*}/wrong $PODCOV phase start c 2>&1
        exit 0";
    let mut podcov = Command::new(env!("CARGO_BIN_EXE_podcov"));
    podcov
        .current_dir(dir.path())
        .args(["exec", "--evidence", "run", "--", "sh", "-c", script])
        .env("PODCOV", env!("CARGO_BIN_EXE_podcov"));
    let output = podcov.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    for text in [
        "no phase is open",
        "the phase `a` is open already",
        "`n/m` is no name of a namespace",
        "no phase `nobody` is open; open: `a`",
        "no phase here: use PODCOV_PHASE_URL as it is",
    ] {
        assert!(said.contains(text), "`{text}` is not in\n{said}");
    }
    let record = std::fs::read_to_string(dir.path().join("run/run.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["phases"].as_array().unwrap().len(), 1, "{record}");
    assert_eq!(record["phases"][0]["name"], "a");
    assert!(!dir.path().join("run/phases/recorder.json").exists());
}

/// Asks the Go server for a word in each test; its counters need up to a
/// second to be on disk where they are written by a ticker.
const GO_SUITE: &str = r#"
set -eu
"$SERVER" "$SOCKET" &
server=$!
trap 'kill -9 $server' EXIT
while ! [ -S "$SOCKET" ]; do sleep 0.05; done
ask() { python3 -c '
import socket, sys
stream = socket.socket(socket.AF_UNIX)
stream.connect(sys.argv[1])
stream.sendall(sys.argv[2].encode() + b"\n")
assert stream.makefile().readline().strip() == sys.argv[2]' "$SOCKET" "$1"; }
sleep 2.5
for word in red green blue green; do
    "$PODCOV" phase start --kind test "$word"
    ask "$word"
    sleep 2.5
    "$PODCOV" phase end
done
"#;

#[test]
fn what_a_go_process_counts_is_told_apart_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("go.mod", "module example.org/goserver\n\ngo 1.24\n");
    write("main.go", include_str!("phases/server.go.txt"));
    let podcov = env!("CARGO_BIN_EXE_podcov");
    let build = "eval \"$(\"$PODCOV\" env --language go)\" && go build -o goserver .";
    let mut shell = Command::new("sh");
    shell
        .current_dir(dir.path())
        .args(["-ec", build])
        .env("PODCOV", podcov)
        .env_remove("GOFLAGS");
    assert!(shell.status().unwrap().success(), "{shell:?}");
    let mut exec = Command::new(podcov);
    exec.current_dir(dir.path())
        .args(["exec", "--evidence", "run", "--source-root", "."])
        .args(["--object", "goserver", "--", "sh", "-c", GO_SUITE])
        .env("SERVER", dir.path().join("goserver"))
        .env("SOCKET", dir.path().join("socket"))
        .env("PODCOV", podcov)
        .env_remove("GOCOVERDIR");
    let output = exec.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let reach = reach(&dir.path().join("run"));
    let source = include_str!("phases/server.go.txt");
    let line = |text: &str| {
        let found = source.lines().position(|line| line.contains(text));
        ("main.go".to_owned(), found.unwrap() as u64 + 1)
    };
    for test in ["red", "green", "blue"] {
        let lines = &reach[&format!("test:{test}")];
        for word in ["red", "green", "blue"] {
            let is_there = lines.contains(&line(&format!("func {word}()")));
            assert_eq!(is_there, word == test, "{test}: {lines:?}");
        }
        assert!(lines.contains(&line("Fprintln")), "{test}: {lines:?}");
        assert!(!lines.contains(&line("net.Listen")), "{test}: {lines:?}");
    }
    let outside = &reach["test-outside"];
    assert!(outside.contains(&line("net.Listen")), "{outside:?}");
    assert!(!outside.contains(&line("func red()")), "{outside:?}");
}
