//! Real Go programs, and what Go's own tools say of them by hand.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{TestRun, run};
use podcov_profile::Identity;
use podcov_profile::bundle::PathRule;
use podcov_profile::go::live::Live;
use podcov_profile::ledger::Fate;
use podcov_profile::model::{Binary, Ratio};
use podcov_profile::names::Language;

const MOD: &str = "module example.org/op\n\ngo 1.24\n";

const MAIN: &str = r#"package main

import (
	"fmt"
	"os"
	"runtime/coverage"
	"syscall"

	"example.org/op/queue"
)

func main() {
	var q queue.Queue[int]
	for i := range 5 {
		q.Add(i)
	}
	for _, arg := range os.Args[1:] {
		switch arg {
		case "drain":
			fmt.Println(queue.Sum(&q))
		case "snapshot":
			if err := coverage.WriteCountersDir(os.Getenv("SNAPSHOTS")); err != nil {
				panic(err)
			}
		case "replace":
			panic(syscall.Exec("/proc/self/exe", []string{"op"}, os.Environ()))
		case "die":
			p, _ := os.FindProcess(os.Getpid())
			p.Kill()
			select {}
		}
	}
	func() {
		fmt.Println("done")
	}()
}
"#;

const QUEUE: &str = r#"// Package queue is first in, first out.
package queue

type Queue[T any] struct {
	items []T
}

func (q *Queue[T]) Add(item T) {
	q.items = append(q.items, item)
}

func (q *Queue[T]) Take() (T, bool) {
	if len(q.items) == 0 {
		var none T
		return none, false
	}
	item := q.items[0]
	q.items = q.items[1:]
	return item, true
}

func Sum(q *Queue[int]) int {
	sum := 0
	for {
		item, ok := q.Take()
		if !ok {
			return sum
		}
		sum += item
	}
}

func never() string { return "never" }
"#;

const TEST: &str = r#"package main

import "testing"

func TestMain_(t *testing.T) { main() }
"#;

fn project(test: &TestRun) -> PathBuf {
    let files = [
        ("go.mod", MOD),
        ("main.go", MAIN),
        ("queue/queue.go", QUEUE),
    ];
    test.project("op", &files)
}

fn rules() -> Vec<PathRule> {
    vec![PathRule {
        from: "example.org/op".to_owned(),
        to: String::new(),
    }]
}

fn go(dir: &Path, args: &[&str]) -> String {
    let output = run(Command::new("go")
        .current_dir(dir)
        .env("GOWORK", "off")
        .args(args));
    String::from_utf8(output.stdout).unwrap()
}

fn build(dir: &Path) -> PathBuf {
    go(
        dir,
        &[
            "build",
            "-cover",
            "-covermode=atomic",
            "-coverpkg=./...",
            "-o",
            "program",
            ".",
        ],
    );
    dir.join("program")
}

/// Runs the program once and gives the hash of its meta-data.
fn hash(program: &Path) -> String {
    let dir = tempfile::tempdir().unwrap();
    run(Command::new(program).env("GOCOVERDIR", dir.path()));
    let names = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names
        .iter()
        .find_map(|name| name.strip_prefix("covmeta."))
        .unwrap()
        .to_owned()
}

fn component(test: &mut TestRun, program: &Path) -> String {
    let hash = hash(program);
    let identity = Identity::Covmeta(hash.clone());
    test.component("op", Language::Go, program, Some(identity), rules());
    hash
}

/// Statements by package, from what `covdata percent` prints and rounds.
fn percents(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (package, rest) = line.trim().split_once('\t')?;
        let (_, percent) = rest.split_once("coverage: ")?;
        Some((package.to_owned(), percent.split('%').next()?.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

fn ours(binary: &Binary) -> BTreeMap<String, String> {
    let mut packages: BTreeMap<String, Ratio> = BTreeMap::new();
    for file in &binary.files {
        *packages.entry(file.package.clone()).or_default() += file.metrics.statements;
    }
    let percent = |ratio: Ratio| format!("{:.1}", ratio.percent().unwrap());
    packages
        .into_iter()
        .map(|(name, ratio)| (name, percent(ratio)))
        .collect()
}

fn count(binary: &Binary, name: &str) -> u64 {
    let mut functions = binary.files.iter().flat_map(|file| &file.functions);
    functions
        .find(|f| f.name == name)
        .unwrap_or_else(|| panic!("no {name}"))
        .count
}

#[test]
fn many_lives_add_up_to_what_go_says() {
    let mut test = TestRun::new();
    let dir = project(&test);
    let program = build(&dir);
    let hash = component(&mut test, &program);

    let together = test.path("together");
    fs::create_dir(&together).unwrap();
    for args in [&["drain"][..], &[], &["drain", "drain"]] {
        let life = test.incarnation("op");
        run(Command::new(&program).args(args).env("GOCOVERDIR", &life));
        for entry in fs::read_dir(&life).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), together.join(entry.file_name())).unwrap();
        }
    }
    // Killed before it wrote: meta-data alone.
    let killed = test.incarnation("op");
    let died = common::try_run(Command::new(&program).arg("die").env("GOCOVERDIR", &killed));
    assert!(!died.status.success());
    // A damaged file of counters, and what a kill while writing leaves.
    let damaged = test.incarnation("op");
    run(Command::new(&program).env("GOCOVERDIR", &damaged));
    let counters = fs::read_dir(&damaged)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let counters = counters
        .into_iter()
        .find(|p| p.display().to_string().contains("covcounters"));
    let counters = counters.unwrap();
    let mut bytes = fs::read(&counters).unwrap();
    bytes.truncate(bytes.len() - 20);
    fs::write(&counters, &bytes).unwrap();
    fs::write(killed.join(format!("tmp.covcounters.{hash}.1.2")), b"\0cwm").unwrap();
    test.collect();
    let coverage = test.merge();

    let binary = &coverage.components[0].binaries[0];
    assert_eq!(binary.profiles, 3);
    let dir = together.to_str().unwrap();
    let expected = percents(&go(&together, &["tool", "covdata", "percent", "-i", dir]));
    assert_eq!(expected.len(), 2);
    assert_eq!(ours(binary), expected);
    // And so does what was left for the toolchain's own tools.
    let out = test.path("coverage/op").join(binary.identity.dir_name());
    let merged = go(&out, &["tool", "covdata", "percent", "-i", "merged"]);
    assert_eq!(percents(&merged), expected);

    // Functions are those that covdata lists, called as often as they were.
    let listed = go(&together, &["tool", "covdata", "func", "-i", dir]);
    let listed = listed
        .lines()
        .filter(|line| !line.starts_with("total"))
        .map(|line| {
            let (place, rest) = line.split_once(":\t").unwrap();
            let name = rest.split('\t').find(|word| !word.is_empty()).unwrap();
            let (file, line) = place.rsplit_once(':').unwrap();
            (
                file.replace("example.org/op/", ""),
                line.parse().unwrap(),
                name.to_owned(),
            )
        });
    let mut listed: Vec<(String, u32, String)> = listed.collect();
    listed.sort();
    let mut functions = Vec::new();
    for file in &binary.files {
        for function in &file.functions {
            functions.push((file.path.clone(), function.start, function.name.clone()));
        }
    }
    functions.sort();
    assert_eq!(functions, listed);
    assert_eq!(count(binary, "main"), 3);
    assert_eq!(count(binary, "Sum"), 3);
    assert_eq!(count(binary, "never"), 0);

    // Every line of a block counts, and no line outside of blocks.
    let queue = &binary.files[1];
    assert_eq!(queue.path, "queue/queue.go");
    let never = queue.lines.last().unwrap();
    assert_eq!(
        (never.number, never.count),
        (QUEUE.lines().count() as u32, 0)
    );
    let add = queue.lines.iter().find(|line| line.number == 9).unwrap();
    assert_eq!(add.count, 15);

    let fate = |index: usize| test.ledger.incarnations[index].fate;
    assert_eq!((fate(3), fate(4)), (Fate::Rejected, Fate::Rejected));
    let component = &coverage.components[0];
    assert_eq!(
        (
            component.incarnations_collected,
            component.incarnations_lost
        ),
        (3, 2)
    );
    let kept = test
        .path("quarantine")
        .join(&test.ledger.incarnations[4].files[0].path);
    assert_eq!(fs::read(kept).unwrap(), bytes);

    let before = fs::read(test.path("coverage/coverage.json")).unwrap();
    let ledger = test.ledger.clone();
    test.merge();
    assert_eq!(
        fs::read(test.path("coverage/coverage.json")).unwrap(),
        before
    );
    assert_eq!(test.ledger, ledger);
}

#[test]
fn snapshots_of_one_process_are_not_added_up() {
    let mut test = TestRun::new();
    let dir = project(&test);
    let program = build(&dir);
    component(&mut test, &program);
    let start = |life: &Path, args: &[&str]| {
        let live = life.join("live");
        fs::create_dir_all(&live).unwrap();
        let mut command = Command::new(&program);
        common::try_run(
            command
                .args(args)
                .env("GOCOVERDIR", life)
                .env("SNAPSHOTS", &live),
        )
    };
    // It ended by itself: its last word counts, the snapshots do not.
    let whole = test.incarnation("op");
    assert!(
        start(&whole, &["snapshot", "drain", "snapshot"])
            .status
            .success()
    );
    // It was killed: the newest snapshot counts.
    let killed = test.incarnation("op");
    assert!(
        !start(&killed, &["snapshot", "drain", "snapshot", "die"])
            .status
            .success()
    );
    // It wrote into its own folder on the way, and at its end.
    let own = test.incarnation("op");
    let mut command = Command::new(&program);
    run(command
        .args(["snapshot", "drain"])
        .env("GOCOVERDIR", &own)
        .env("SNAPSHOTS", &own));
    test.collect();
    let coverage = test.merge();
    let binary = &coverage.components[0].binaries[0];
    assert_eq!(binary.profiles, 3);
    assert_eq!(count(binary, "main"), 3);
    assert_eq!(count(binary, "Sum"), 3);
    for index in 0..3 {
        let fates: Vec<Fate> = test
            .fates(index)
            .into_iter()
            .map(|(_, fate)| fate)
            .collect();
        let number = |fate| fates.iter().filter(|f| **f == fate).count();
        let superseded = if index == 0 { 2 } else { 1 };
        // Meta-data and one file of counters count.
        assert_eq!(
            (number(Fate::Merged), number(Fate::Superseded)),
            (2, superseded),
            "{index}"
        );
        assert_eq!(test.ledger.incarnations[index].fate, Fate::Collected);
    }
}

#[test]
fn what_a_program_counted_before_it_replaced_itself_counts() {
    let mut test = TestRun::new();
    let dir = project(&test);
    let program = build(&dir);
    component(&mut test, &program);
    let life = test.incarnation("op");
    let live = life.join("live");
    fs::create_dir_all(&live).unwrap();
    // Two snapshots and no end, because exec writes nothing; then, with the
    // same pid, a program that counts from zero.
    run(Command::new(&program)
        .args(["snapshot", "drain", "snapshot", "replace"])
        .env("GOCOVERDIR", &life)
        .env("SNAPSHOTS", &live));
    test.collect();
    let coverage = test.merge();
    let binary = &coverage.components[0].binaries[0];
    assert_eq!(count(binary, "main"), 2);
    assert_eq!(count(binary, "Sum"), 1);
    assert_eq!(binary.profiles, 2);
    let fates = test.fates(0);
    let number = |fate| fates.iter().filter(|(_, f)| *f == fate).count();
    assert_eq!((number(Fate::Merged), number(Fate::Superseded)), (3, 1));
}

/// A component made by `go test -c`.
fn test_binary(test: &mut TestRun) -> (PathBuf, PathBuf, Identity) {
    let dir = project(test);
    fs::write(dir.join("main_test.go"), TEST).unwrap();
    let flags = "test -c -cover -covermode=count -coverpkg=./... -o t .";
    go(&dir, &flags.split(' ').collect::<Vec<_>>());
    let program = dir.join("t");
    let elf = podcov_profile::elf::read(&fs::read(&program).unwrap()).unwrap();
    let identity = elf.go_build_id.unwrap();
    let known = Some(identity.clone());
    test.component("op", Language::Go, &program, known, rules());
    (dir, program, identity)
}

#[test]
fn a_text_profile_that_cannot_be_of_its_build_is_refused() {
    // The line added to an honest profile; why it is refused by the length of
    // the sources, and why by meta-data. None: it is believed.
    let cases = [
        (
            "example.org/op/queue/queue.go:900.2,901.3 7 1\n",
            Some(
                "block 900.2,901.3 of example.org/op/queue/queue.go lies beyond the end of its source, which has 33 lines",
            ),
            Some(
                "block 900.2,901.3 of example.org/op/queue/queue.go is not in the meta-data of its build",
            ),
        ),
        (
            "example.org/op/queue/queue.go:1.1,2.2 7 1\n",
            None,
            Some(
                "block 1.1,2.2 of example.org/op/queue/queue.go is not in the meta-data of its build",
            ),
        ),
        (
            "example.org/op/other.go:1.1,2.2 7 1\n",
            None,
            Some(
                "it names `example.org/op/other.go`, which the meta-data of its build does not know",
            ),
        ),
        ("", None, None),
    ];
    for with_meta in [false, true] {
        let mut test = TestRun::new();
        let (_, program, identity) = test_binary(&mut test);
        if with_meta {
            let life = tempfile::tempdir().unwrap();
            let mut command = Command::new(&program);
            let out = life.path().join("coverage.out");
            command.arg(format!("-test.coverprofile={}", out.display()));
            command.arg(format!("-test.gocoverdir={}", life.path().display()));
            run(&mut command);
            let names = fs::read_dir(life.path()).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let name = names.into_iter().find(|name| name.starts_with("covmeta."));
            let name = name.unwrap();
            let meta = test.path("bundle/op/meta");
            fs::create_dir_all(&meta).unwrap();
            fs::copy(life.path().join(&name), meta.join(&name)).unwrap();
            let hash = name.strip_prefix("covmeta.").unwrap().to_owned();
            test.components[0].0.binaries[0].other_identities = vec![Identity::Covmeta(hash)];
        }
        for (line, ..) in cases {
            let life = test.incarnation("op");
            test.ledger.incarnations.last_mut().unwrap().identity = Some(identity.clone());
            let text = life.join("coverage.out");
            let flag = format!("-test.coverprofile={}", text.display());
            run(Command::new(&program).arg(flag));
            let honest = fs::read_to_string(&text).unwrap();
            fs::write(&text, honest + line).unwrap();
        }
        // A block that is there, and claims more statements.
        let last = test.ledger.incarnations.last().unwrap();
        let honest = format!(
            "evidence/test/op_{}/main/{}",
            last.pod_uid,
            last.id.as_ref().unwrap()
        );
        let honest = fs::read_to_string(test.path(&honest).join("coverage.out")).unwrap();
        let life = test.incarnation("op");
        test.ledger.incarnations.last_mut().unwrap().identity = Some(identity.clone());
        fs::write(
            life.join("coverage.out"),
            honest.replacen(" 1 1\n", " 9 1\n", 1),
        )
        .unwrap();
        test.collect();
        let coverage = test.merge();
        for (index, (line, by_length, by_meta)) in cases.into_iter().enumerate() {
            let want = if with_meta { by_meta } else { by_length };
            let file = &test.ledger.incarnations[index].files[0];
            let fate = want.map_or(Fate::Merged, |_| Fate::Rejected);
            assert_eq!(
                (file.fate, file.reason.as_str()),
                (fate, want.unwrap_or_default()),
                "{line}"
            );
        }
        let file = &test.ledger.incarnations[cases.len()].files[0];
        assert_eq!(file.fate, Fate::Rejected);
        let reason = if with_meta {
            "has 9 statements in it, and 1 in the meta-data of its build"
        } else {
            "has 9 statements, 1 elsewhere"
        };
        assert!(file.reason.contains(reason), "{}", file.reason);
        let binary = &coverage.components[0].binaries[0];
        let out = test.path("coverage/op").join(binary.identity.dir_name());
        let commands = fs::read_to_string(out.join("commands.txt")).unwrap();
        assert!(!commands.contains("covdata percent"), "{commands}");
        assert!(commands.contains("block by block"), "{commands}");
    }
}

#[test]
fn text_profiles_of_test_binaries_are_added_by_build() {
    let mut test = TestRun::new();
    let (dir, program, identity) = test_binary(&mut test);
    let mut texts = Vec::new();
    for args in [&["drain"][..], &[], &["drain"]] {
        let life = test.incarnation("op");
        test.ledger.incarnations.last_mut().unwrap().identity = Some(identity.clone());
        let text = life.join("coverage.out");
        let flag = format!("-test.coverprofile={}", text.display());
        run(Command::new(&program).arg(flag).args(args));
        texts.push(text);
    }
    // Where nothing says the build, the container's component does.
    test.ledger.incarnations[1].identity = None;
    // What was cut off is refused.
    let cut = test.incarnation("op");
    test.ledger.incarnations.last_mut().unwrap().identity = Some(identity);
    let text = fs::read(&texts[0]).unwrap();
    fs::write(cut.join("coverage.out"), &text[..text.len() - 3]).unwrap();
    test.collect();
    let coverage = test.merge();
    let binary = &coverage.components[0].binaries[0];
    assert_eq!(binary.profiles, 3);
    assert_eq!(test.ledger.incarnations[3].fate, Fate::Rejected);
    assert_eq!(count(binary, "main"), 3);
    assert_eq!(count(binary, "Take"), 12);
    assert_eq!(count(binary, "never"), 0);
    // Go's own tool says the same of what we leave for it.
    let out = test.path("coverage/op").join(binary.identity.dir_name());
    fs::copy(out.join("profile.txt"), dir.join("profile.txt")).unwrap();
    let func = go(&dir, &["tool", "cover", "-func=profile.txt"]);
    let total = func
        .lines()
        .last()
        .unwrap()
        .split('\t')
        .next_back()
        .unwrap()
        .to_owned();
    let mut all = Ratio::default();
    binary
        .files
        .iter()
        .for_each(|file| all += file.metrics.statements);
    assert_eq!(format!("{:.1}%", all.percent().unwrap()), total);
    let of = |name: &str| func.lines().filter(|line| line.contains(name)).count();
    let functions: usize = binary.files.iter().map(|file| file.functions.len()).sum();
    assert_eq!(functions, of(".go:"));
}

#[test]
fn what_never_ran_is_zero_of_all_and_not_absent() {
    let mut test = TestRun::new();
    let dir = project(&test);
    let program = build(&dir);
    let hash = component(&mut test, &program);
    let meta = test.path("bundle/op/meta");
    fs::create_dir_all(&meta).unwrap();
    let life = tempfile::tempdir().unwrap();
    run(Command::new(&program).env("GOCOVERDIR", life.path()));
    let name = format!("covmeta.{hash}");
    fs::copy(life.path().join(&name), meta.join(&name)).unwrap();
    let coverage = test.merge_with(&["queue/**".to_owned()], &[]);
    let binary = &coverage.components[0].binaries[0];
    assert_eq!(binary.files.len(), 1);
    assert_eq!(binary.files[0].package, "example.org/op/queue");
    assert_eq!(binary.files[0].metrics.statements.covered, 0);
    assert_eq!(binary.files[0].metrics.statements.total, 14);
}

#[test]
fn a_program_nobody_could_ask_for_its_hash_is_known_by_its_container() {
    let mut test = TestRun::new();
    let dir = project(&test);
    let program = build(&dir);
    let hash = hash(&program);
    test.component("op", Language::Go, &program, None, rules());
    let life = test.incarnation("op");
    run(Command::new(&program).env("GOCOVERDIR", &life));
    test.collect();
    let coverage = test.merge();
    let binary = &coverage.components[0].binaries[0];
    assert_eq!(binary.identity, Identity::Covmeta(hash));
    assert_eq!(count(binary, "main"), 1);
}

/// What a Go process left whose counters were mapped to a file, from the
/// fixtures: meta-data, the mapped file, and what it wrote at its end.
struct Mapped {
    covmeta: (String, Vec<u8>),
    covlive: Vec<u8>,
    covcounters: Vec<u8>,
}

const TOUR: &str = "8e5521eaa6050ffc4493d96397aa5e35";
const STARTED: u64 = 1_795_580_612_572_064_326;

impl Mapped {
    fn read() -> Self {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profile/tests/fixtures");
        let read = |name: &str| fs::read(fixtures.join("go-live").join(name)).unwrap();
        let covmeta = format!("covmeta.{TOUR}");
        Mapped {
            covlive: read("covlive"),
            covcounters: read(&format!("covcounters.{TOUR}.31451.{STARTED}")),
            covmeta: (covmeta.clone(), read(&covmeta)),
        }
    }

    /// A component that is the program of the fixtures.
    fn component(&self, test: &mut TestRun) {
        let tour = Path::new(env!("CARGO_MANIFEST_DIR"));
        let tour = tour.join("../profile/tests/fixtures/go-tour");
        let main = fs::read_to_string(tour.join("main.go")).unwrap();
        let dir = test.project("op", &[("main.go", &main)]);
        let rules = vec![PathRule {
            from: "example.org/tour".to_owned(),
            to: String::new(),
        }];
        let identity = Some(Identity::Covmeta(TOUR.to_owned()));
        let program = dir.join("main.go");
        test.component("op", Language::Go, &program, identity, rules);
        let meta = test.path("bundle/op/meta");
        fs::create_dir_all(&meta).unwrap();
        fs::write(meta.join(&self.covmeta.0), &self.covmeta.1).unwrap();
        let early = Live::parse(&self.early()).unwrap().identity().unwrap();
        test.components[0].0.binaries[0]
            .other_identities
            .push(early);
    }

    /// The mapped file, of another process.
    fn of(&self, pid: u64, start: u64) -> Vec<u8> {
        let mut bytes = self.covlive.clone();
        bytes[24..32].copy_from_slice(&pid.to_le_bytes());
        bytes[32..40].copy_from_slice(&start.to_le_bytes());
        let length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        let fnv = bytes[..length - 8]
            .iter()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
            });
        bytes[length - 8..length].copy_from_slice(&fnv.to_le_bytes());
        bytes
    }

    /// The mapped file of a process that was stopped while its packages were
    /// initialised.
    fn early(&self) -> Vec<u8> {
        let mut bytes = self.covlive.clone();
        let second = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
        bytes[second..4096].fill(0);
        bytes
    }
}

fn leave(life: &Path, files: &[(&str, &[u8])]) {
    for (name, bytes) in files {
        fs::create_dir_all(life.join(name).parent().unwrap()).unwrap();
        fs::write(life.join(name), bytes).unwrap();
    }
}

#[test]
fn a_mapped_file_says_all_that_its_process_counted() {
    let mapped = Mapped::read();
    let mut test = TestRun::new();
    mapped.component(&mut test);
    let live = format!("covlive.31451.{STARTED}");
    let written = |pid: u64, nanos: u64| format!("covcounters.{TOUR}.{pid}.{nanos}");
    let end = written(31451, STARTED);
    let (covmeta, covlive) = (mapped.covmeta.1.as_slice(), mapped.covlive.as_slice());
    let meta = mapped.covmeta.0.as_str();
    // Ended by itself; killed; killed while its packages were initialised.
    let whole = test.incarnation("op");
    leave(
        &whole,
        &[
            (meta, covmeta),
            (&live, covlive),
            (&end, &mapped.covcounters),
        ],
    );
    leave(
        &test.incarnation("op"),
        &[(meta, covmeta), (&live, covlive)],
    );
    leave(&test.incarnation("op"), &[(&live, &mapped.early())]);
    // It wrote on the way, replaced itself, wrote again, and was killed.
    let (first, second) = (STARTED, STARTED + 1000);
    let replaced = test.incarnation("op");
    let other = format!("covlive.31451.{second}");
    leave(
        &replaced,
        &[
            (meta, covmeta),
            (&live, covlive),
            (&written(31451, first + 1), &mapped.covcounters),
            (&other, &mapped.of(31451, second)),
            (&written(31451, second + 1), &mapped.covcounters),
        ],
    );
    // The mapped file is damaged: what was written at the end counts.
    let damaged = test.incarnation("op");
    leave(
        &damaged,
        &[
            (meta, covmeta),
            (&live, &covlive[..5000]),
            (&end, &mapped.covcounters),
        ],
    );
    // Another process of the same number wrote later, and was not mapped.
    let two = test.incarnation("op");
    let earlier = written(31451, STARTED - 1);
    leave(
        &two,
        &[
            (meta, covmeta),
            (&live, covlive),
            (&earlier, &mapped.covcounters),
        ],
    );
    test.collect();
    let coverage = test.merge();
    let binary = &coverage.components[0].binaries[0];
    assert_eq!(binary.profiles, 8);
    assert_eq!(count(binary, "main"), 8);
    assert_eq!(binary.reach.len(), 6);

    use Fate::{Collected, Merged, Rejected, Superseded};
    let fates = |index: usize| -> Vec<Fate> {
        let fates = test.fates(index).into_iter();
        fates.map(|(_, fate)| fate).collect()
    };
    assert_eq!(fates(0), [Superseded, Merged, Merged]);
    assert_eq!(fates(1), [Merged, Merged]);
    assert_eq!(fates(2), [Merged]);
    assert_eq!(fates(3), [Superseded, Superseded, Merged, Merged, Merged]);
    assert_eq!(fates(4), [Merged, Rejected, Merged]);
    assert_eq!(fates(5), [Merged, Merged, Merged]);
    for incarnation in &test.ledger.incarnations {
        assert_eq!(incarnation.fate, Collected, "{}", incarnation.reason);
    }
    // Go's own tools read what was made of them.
    let out = test.path("coverage/op").join(binary.identity.dir_name());
    let staged = go(
        &out,
        &[
            "tool",
            "covdata",
            "textfmt",
            "-i",
            "covdata",
            "-o",
            "/dev/stdout",
        ],
    );
    let merged = go(
        &out,
        &[
            "tool",
            "covdata",
            "textfmt",
            "-i",
            "merged",
            "-o",
            "/dev/stdout",
        ],
    );
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&staged), sorted(&merged));
    assert!(merged.contains("example.org/tour/main.go"), "{merged}");
}

/// A test binary says at its end, in a text profile, what is in its mapped
/// file already.
#[test]
fn the_text_profile_of_a_mapped_test_binary_is_not_counted_again() {
    let mapped = Mapped::read();
    let mut test = TestRun::new();
    mapped.component(&mut test);
    let live = format!("covlive.31451.{STARTED}");
    leave(&test.incarnation("op"), &[(&live, &mapped.covlive)]);
    test.collect();
    test.merge();
    let build = Identity::Covmeta(TOUR.to_owned()).dir_name();
    let text = fs::read_to_string(test.path("coverage/op").join(build).join("profile.txt"));
    let text = text.unwrap();

    let life = test.incarnation("op");
    leave(
        &life,
        &[(&live, &mapped.covlive), ("coverage.out", text.as_bytes())],
    );
    // One that says more is of a process whose counters are not mapped.
    let more = text.replacen(" 1\n", " 7\n", 1);
    assert_ne!(more, text);
    let life = test.incarnation("op");
    leave(
        &life,
        &[(&live, &mapped.covlive), ("coverage.out", more.as_bytes())],
    );
    for incarnation in &mut test.ledger.incarnations {
        incarnation.identity = Some(Identity::Covmeta(TOUR.to_owned()));
    }
    test.collect();
    let coverage = test.merge();
    assert_eq!(coverage.components[0].binaries[0].profiles, 4);
    let fate = |index: usize| test.ledger.incarnations[index].files[0].fate;
    assert_eq!((fate(1), fate(2)), (Fate::Superseded, Fate::Merged));
}
