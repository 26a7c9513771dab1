//! The whole product: podcov as a user starts it, on a tiny composition in the
//! embedded cluster. Every number that is checked is known beforehand.
//!
//! Needs root on Linux, Go, and LLVM's tools (`apt-get install llvm-22`). The
//! tests take turns: each has the machine for itself.

#[path = "whole_product/attribution.rs"]
mod attribution;
#[path = "whole_product/existing.rs"]
mod existing;
#[path = "whole_product/kill_matrix.rs"]
mod kill_matrix;
#[path = "whole_product/numbers.rs"]
mod numbers;
#[path = "whole_product/project.rs"]
mod project;
#[path = "phases/reached.rs"]
mod reached;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use numbers::{calls, incarnations, said};
use project::{Project, signal, traces};
use serde_json::Value;

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // Another test that failed is no reason to fail.
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What has to hold for every run of the suite that kills one ticker: 2
/// replicas and 1 restart of 7 ticks, 11 ticks of Go, 13 of Go's older way.
fn assert_counts(project: &Project, config: &str) {
    let run = project.run_dir(config);
    let coverage = project.json(config, "coverage/coverage.json");
    assert_eq!(calls(&coverage, "ticker", "tick"), 21);
    // 0, 3 and 6 of each 7.
    assert_eq!(calls(&coverage, "ticker", "third"), 9);
    assert_eq!(calls(&coverage, "ticker", "never"), 0);
    assert_eq!(calls(&coverage, "gotick", "Tick"), 11);
    assert_eq!(calls(&coverage, "gotick", "Never"), 0);
    assert_eq!(calls(&coverage, "oldtick", "Tick"), 13);

    let lcov = std::fs::read_to_string(run.join("report/lcov.info")).unwrap();
    let expected = [
        "FNDA:21,ticker::count::tick",
        "FNDA:11,Tick",
        "FNDA:13,Tick",
        "FNDA:0,Never",
    ];
    for line in expected {
        assert!(lcov.lines().any(|l| l == line), "{line} is not in\n{lcov}");
    }
    // Both Go programs are built of one source, and a text profile knows
    // nothing else.
    let text = std::fs::read_to_string(run.join("report/coverage.out")).unwrap();
    let block = "example.org/gotick/count/count.go:7.23,9.19 2 24";
    assert!(text.lines().any(|line| line == block), "{text}");

    let ledger = project.json(config, "ledger.json");
    let killed_and_stopped = [
        "start 0: signal 15, collected",
        "start 0: signal 9, collected",
        "start 1: signal 15, collected",
    ];
    assert_eq!(incarnations(&ledger, "ticker"), killed_and_stopped);
    for component in ["gotick", "oldtick"] {
        assert_eq!(
            incarnations(&ledger, component),
            ["start 0: code 0, collected"]
        );
    }
    assert_eq!(ledger["incarnations"].as_array().unwrap().len(), 5);
    assert_eq!(ledger["findings"], serde_json::json!([]), "{ledger:#}");
}

/// The report's totals are those of the tools, run by hand on the evidence.
fn assert_same_as_tools(project: &Project, config: &str) {
    let run = project.run_dir(config);
    let coverage = project.json(config, "coverage/coverage.json");
    let metrics = ["lines", "functions", "regions"];
    let root = project.dir.path().canonicalize().unwrap();
    let theirs = numbers::llvm(&run, "ticker", "ticker", &root, &metrics);
    assert_eq!(numbers::ours(&coverage, "ticker", &metrics), theirs);
    assert_eq!(theirs.len(), 6, "two files of three metrics");

    let dir = numbers::tools_dir(&run, &coverage, "ticker");
    let printed = said(Command::new("sh").arg(dir.join("commands.txt")));
    let total = printed
        .lines()
        .find(|line| line.starts_with("TOTAL"))
        .unwrap();
    let total: Vec<u64> = total.split_whitespace().flat_map(str::parse).collect();
    let sum = |metric: &str| {
        let of_it = theirs.iter().filter(|(key, _)| key.1 == metric);
        of_it.fold((0, 0), |sum, (_, one)| (sum.0 + one.0, sum.1 + one.1))
    };
    let expected = ["regions", "functions", "lines"].map(|metric| {
        let (covered, total) = sum(metric);
        [total, total - covered]
    });
    assert_eq!(total[..6], expected.concat());

    // Go: per file from the text profile, per package from `percent`.
    let scratch = tempfile::tempdir().unwrap();
    let evidence = numbers::below(&run.join("evidence/default"), "json");
    let ended = evidence.iter().map(|file| file.parent().unwrap());
    let mut inputs: Vec<_> = ended
        .filter(|dir| dir.to_string_lossy().contains("/gotick-"))
        .collect();
    inputs.dedup();
    assert_eq!(inputs.len(), 1);
    let input = format!("-i={}", inputs[0].display());
    let profile = scratch.path().join("profile.txt");
    let mut textfmt = Command::new("go");
    said(
        textfmt
            .args(["tool", "covdata", "textfmt", &input, "-o"])
            .arg(&profile),
    );
    let profile = std::fs::read_to_string(profile).unwrap();
    let theirs = numbers::statements(&profile, "example.org/gotick", "gotick");
    assert_eq!(numbers::ours(&coverage, "gotick", &["statements"]), theirs);
    let percent = said(Command::new("go").args(["tool", "covdata", "percent", &input]));
    let dir = numbers::tools_dir(&run, &coverage, "gotick");
    let printed = said(Command::new("sh").arg(dir.join("commands.txt")));
    let packages: Vec<&str> = percent.lines().collect();
    assert_eq!(packages.len(), 2, "{percent}");
    for line in packages {
        assert!(printed.contains(line), "{line} is not in\n{printed}");
        let (name, rest) = line.trim().split_once(char::is_whitespace).unwrap();
        let said: f64 = rest
            .split_once("coverage: ")
            .unwrap()
            .1
            .split_once('%')
            .unwrap()
            .0
            .parse()
            .unwrap();
        let folder = name.replacen("example.org/", "", 1);
        let of_it = theirs.iter().filter(|(key, _)| {
            key.0
                .rsplit_once('/')
                .is_some_and(|(parent, _)| parent == folder)
        });
        let (covered, total) = of_it.fold((0, 0), |sum, (_, n)| (sum.0 + n.0, sum.1 + n.1));
        assert!(
            (covered as f64 * 100.0 / total as f64 - said).abs() < 0.06,
            "{line}"
        );
    }

    // Go's older way leaves a text profile itself.
    let left = numbers::below(&run.join("evidence/default"), "out");
    assert_eq!(left.len(), 1);
    let profile = std::fs::read_to_string(&left[0]).unwrap();
    let theirs = numbers::statements(&profile, "example.org/gotick", "gotick");
    assert_eq!(numbers::ours(&coverage, "oldtick", &["statements"]), theirs);
    let dir = numbers::tools_dir(&run, &coverage, "oldtick");
    said(Command::new("sh").arg(dir.join("commands.txt")));
    let mut cover = Command::new("go");
    cover
        .args(["tool", "cover"])
        .current_dir(project.path("gotick"));
    let printed = said(cover.arg(format!("-func={}", dir.join("profile.txt").display())));
    let (covered, total) = theirs
        .values()
        .fold((0, 0), |sum, n| (sum.0 + n.0, sum.1 + n.1));
    let expected = format!("{:.1}%", covered as f64 * 100.0 / total as f64);
    assert!(
        printed.trim_end().ends_with(&expected),
        "{expected}: {printed}"
    );
}

const COUNT: &str = "\"count\"";
const GATE: &str = "min = 40.0";

type Scenario = (&'static str, fn(&Project));

/// Everything that can share a cluster, in one that is brought up by hand.
#[test]
fn in_one_cluster() {
    let _turn = turn();
    let project = Project::new('a');
    project.podcov("cluster", &["cluster", "up"]).expect(0);
    let scenarios: [Scenario; 10] = [
        ("phases", tests_are_told_apart_in_pods),
        ("counts", counts_are_exact_and_the_tools_agree),
        ("steps", steps_one_by_one_give_the_same),
        ("lost", lost_evidence_is_told_and_judged),
        ("fail", a_failed_suite_is_reported_and_then_gated),
        ("alone", a_second_run_is_told_who_works),
        ("pull", an_image_that_is_not_there),
        ("ready", a_pod_that_never_becomes_ready),
        ("taken", a_manifest_that_sets_gocoverdir),
        (
            "existing",
            existing::the_least_rights_are_enough_and_none_is_too_many,
        ),
    ];
    let mut failed = Vec::new();
    for (name, scenario) in scenarios {
        let begin = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| scenario(&project)));
        eprintln!("{name}: {} s", begin.elapsed().as_secs());
        if result.is_err() {
            failed.push(name);
        }
    }
    let link = project.link();
    project.podcov("cluster", &["cluster", "down"]).expect(0);
    assert_eq!(traces(&project.cluster, Some(&link)), [""; 0]);
    assert_eq!(failed, [""; 0]);
}

fn counts_are_exact_and_the_tools_agree(project: &Project) {
    let says = ["2 passed", "5 incarnations: 5 with evidence, 0 lost"];
    project.podcov("podcov", &["run"]).expect(0).says(&says);
    assert_counts(project, "podcov");
    assert_same_as_tools(project, "podcov");
    assert_eq!(project.json("podcov", "run.json")["exit"], 0);
}

/// What pods count is told apart by tests, while they run and when they are
/// gone, without a restart that the suite did not ask for.
fn tests_are_told_apart_in_pods(project: &Project) {
    let changes = [(COUNT, "\"phases\"")];
    project.part("phases.toml", &["ticker"], &["ticker"], &changes);
    project.podcov("phases", &["run"]).expect(0);
    let coverage = project.json("phases", "coverage/coverage.json");
    let reached = |key: &str, name: &str| numbers::reached(&coverage, "ticker", key, name);
    for (key, tick, grumble) in [
        ("test:TestIdle", false, false),
        ("test:grumpy", true, true),
        ("test:busy", true, false),
        ("test-outside", true, false),
    ] {
        assert_eq!(reached(key, "tick"), tick, "{key}");
        assert_eq!(reached(key, "grumble"), grumble, "{key}");
        assert!(!reached(key, "never"), "{key}");
    }
    let record = project.json("phases", "run.json");
    let phases = record["phases"].as_array().unwrap();
    let told: Vec<_> = phases
        .iter()
        .map(|phase| (&phase["name"], &phase["by"]))
        .collect();
    let expected = [("TestIdle", "output"), ("grumpy", "call"), ("busy", "call")];
    assert_eq!(told.len(), expected.len(), "{record}");
    for ((name, by), (expected, source)) in told.into_iter().zip(expected) {
        assert!(name == expected && by == source, "{record}");
    }
    let summary = project.json("phases", "report/summary.json");
    let grumpy = summary["phases"].as_array().unwrap().iter();
    let grumpy = grumpy
        .into_iter()
        .find(|phase| phase["name"] == "grumpy")
        .unwrap();
    // `grumble` has three lines, and its call two.
    assert!(grumpy["only"].as_u64().unwrap() >= 4, "{grumpy}");
}

fn steps_one_by_one_give_the_same(project: &Project) {
    project.derive("podcov.toml", "steps.toml", &[(GATE, "min = 99.0")]);
    for step in [
        "build", "overlay", "deploy", "test", "stop", "collect", "merge",
    ] {
        project.podcov("steps", &[step]).expect(0);
        if step == "deploy" {
            let looked = project.podcov("steps", &["doctor"]).expect(0).stdout;
            for good in [
                "✓ writes evidence (1 so far)",
                "✓ podcov's launcher starts it",
            ] {
                assert!(looked.contains(good), "{good}: {looked}");
            }
            assert!(!looked.contains('✗'), "{looked}");
        }
    }
    let printed = project
        .podcov("steps", &["report", "--format", "json"])
        .expect(0)
        .stdout;
    assert_counts(project, "steps");
    let printed: Value = serde_json::from_str(&printed).unwrap();
    let whole = project.json("podcov", "report/summary.json");
    for key in ["components", "metrics", "incarnations", "complete"] {
        assert_eq!(printed[key], whole[key], "{key}");
    }
    let gated = project
        .podcov("steps", &["gate"])
        .expect(3)
        .says(&["1 of 1 rules failed"]);
    assert!(
        gated.stdout.contains("composition lines ≥ 99 %"),
        "{}",
        gated.stdout
    );
}

/// Counters that are written at exit die with a killed process.
fn lost_evidence_is_told_and_judged(project: &Project) {
    let at_exit = "manifest = \"ticker/Cargo.toml\"\nmode = \"at-exit\"";
    let changes = [
        ("manifest = \"ticker/Cargo.toml\"", at_exit),
        (COUNT, "\"kill\""),
        ("[stop]", "[evidence]\npolicy = \"complete\"\n\n[stop]"),
        (GATE, "min = 1.0"),
    ];
    project.part(
        "lost.toml",
        &["ticker", "gotick"],
        &["ticker", "gotick"],
        &changes,
    );
    let says = ["evidence is incomplete: 3 ", "signal 9"];
    project.podcov("lost", &["run"]).expect(4).says(&says);
    let ledger = project.json("lost", "ledger.json");
    let lost = [
        "start 0: signal 15, empty",
        "start 0: signal 9, empty",
        "start 1: signal 15, empty",
    ];
    assert_eq!(incarnations(&ledger, "ticker"), lost);
    assert_eq!(
        incarnations(&ledger, "gotick"),
        ["start 0: code 0, collected"]
    );
    let summary = project.json("lost", "report/summary.json");
    assert_eq!(summary["complete"], false);
    let ticker = &summary["components"][0];
    assert_eq!(ticker["metrics"]["lines"]["covered"], 0);
    assert_eq!(
        ticker["possible"]["lines"]["covered"],
        ticker["metrics"]["lines"]["total"]
    );
    let page = project.run_dir("lost").join("report/index.html");
    assert!(page.is_file());

    project.edit("lost.toml", &[("\"complete\"", "\"tolerate\"")]);
    project.podcov("lost", &["gate"]).expect(0);
}

fn a_failed_suite_is_reported_and_then_gated(project: &Project) {
    let changes = [(COUNT, "\"fail\""), (GATE, "min = 99.0")];
    project.part("fail.toml", &["ticker"], &["ticker"], &changes);
    let says = ["the e2e command failed", "1 failed: never_good", "e2e.log"];
    project.podcov("fail", &["run"]).expect(5).says(&says);
    let coverage = project.json("fail", "coverage/coverage.json");
    assert_eq!(calls(&coverage, "ticker", "tick"), 14);
    assert!(project.run_dir("fail").join("report/index.html").is_file());
    assert_eq!(project.json("fail", "run.json")["exit"], 5);
    project.podcov("fail", &["gate"]).expect(3);
}

fn a_second_run_is_told_who_works(project: &Project) {
    let changes = [(COUNT, "\"wait\""), (GATE, "min = 99.0")];
    project.part("alone.toml", &["ticker"], &["ticker"], &changes);
    let mut first = project.start("alone", &["run"]);
    first.until("waiting", |_| {
        project.path("waiting").exists().then_some(())
    });
    let holder = format!("is locked by pid {}, since ", first.id());
    project.podcov("alone", &["run"]).expect(2).says(&[&holder]);
    // Another folder of runs, but the same cluster.
    project.derive("alone.toml", "other.toml", &[]);
    let other = project.podcov("other", &["run"]).expect(2);
    other.says(&[&holder, "give this run a cluster of its own"]);
    project.write("go", "");
    first.wait().expect(3).says(&["1 of 1 rules failed"]);
    let coverage = project.json("alone", "coverage/coverage.json");
    assert_eq!(calls(&coverage, "ticker", "tick"), 14);
}

fn an_image_that_is_not_there(project: &Project) {
    let gone = [
        ("localhost/gotick:dev", "localhost/nowhere:1"),
        ("gotick", "stranger"),
    ];
    project.derive("manifests/gotick.yaml", "manifests/stranger.yaml", &gone);
    project.part("pull.toml", &["ticker"], &["ticker", "stranger"], &[]);
    let ended = project.podcov("pull", &["run"]).expect(6);
    let ended = ended.says(&["localhost/nowhere:1", "pod default/stranger-", "event "]);
    assert!(
        ended.elapsed < Duration::from_secs(120),
        "{:?}",
        ended.elapsed
    );
    // What was there until then is not lost.
    let coverage = project.json("pull", "coverage/coverage.json");
    assert_eq!(calls(&coverage, "ticker", "tick"), 14);
}

fn a_pod_that_never_becomes_ready(project: &Project) {
    let probe = "{name: TICKS, value: \"7\"}, {name: GRUMPY, value: \"1\"}]\n          \
                 readinessProbe: {tcpSocket: {port: 1}, periodSeconds: 1}\n          #";
    let unready = [("{name: TICKS, value: \"7\"}]", probe)];
    project.derive("manifests/ticker.yaml", "manifests/unready.yaml", &unready);
    let timeout = [("[e2e]", "timeout = \"8s\"\n\n[e2e]")];
    project.part("ready.toml", &["ticker"], &["unready"], &timeout);
    let ended = project.podcov("ready", &["run"]).expect(6);
    ended.says(&[
        "0/2 ready",
        "took too long",
        "Readiness probe failed",
        "log    last words",
    ]);
    let coverage = project.json("ready", "coverage/coverage.json");
    assert_eq!(calls(&coverage, "ticker", "grumble"), 2);
}

fn a_manifest_that_sets_gocoverdir(project: &Project) {
    let set = [("env: [", "env: [{name: GOCOVERDIR, value: /tmp}, ")];
    project.derive("manifests/gotick.yaml", "manifests/taken.yaml", &set);
    project.part("taken.toml", &["gotick"], &["taken"], &[]);
    let looked = project.podcov("taken", &["doctor"]).expect(4).stdout;
    assert!(
        looked.contains("✗") && looked.contains("GOCOVERDIR"),
        "{looked}"
    );
    let ended = project.podcov("taken", &["run"]).expect(2);
    ended.says(&["GOCOVERDIR", "Deployment/gotick", "take it out"]);
}

/// The node dies in the middle of the suite: what the pods left until then is
/// on this machine's disk, and counts.
#[test]
fn a_cluster_that_goes_away() {
    let _turn = turn();
    let project = Project::new('b');
    let changes = [(COUNT, "\"wait\"")];
    let both = ["ticker", "gotick"];
    project.part("gone.toml", &both, &both, &changes);
    let mut run = project.start("gone", &["run"]);
    run.until("waiting", |_| {
        project.path("waiting").exists().then_some(())
    });
    // Go's counters reach the disk every second.
    std::thread::sleep(Duration::from_secs(2));
    let link = project.link();
    signal("KILL", project.node());
    run.wait().expect(6).says(&["the cluster went away"]);
    let coverage = project.json("gone", "coverage/coverage.json");
    assert_eq!(calls(&coverage, "ticker", "tick"), 14);
    assert_eq!(calls(&coverage, "gotick", "Tick"), 11);
    assert!(project.run_dir("gone").join("report/index.html").is_file());
    assert_eq!(traces(&project.cluster, Some(&link)), [""; 0]);
}

/// The disk is full before the composition is stopped: it is stopped all the
/// same, and what reached the disk counts when there is room again.
#[test]
fn a_full_disk() {
    let _turn = turn();
    let project = Project::new('d');
    let both = ["ticker", "gotick"];
    project.part("full.toml", &both, &both, &[(COUNT, "\"full\"")]);
    let disk = project.small_disk("profiles-full");
    let ended = project.podcov("full", &["run"]).expect(1);
    ended.says(&[
        "3 pods ended",
        "No space left on device",
        "`podcov collect`",
    ]);
    assert_eq!(traces(&project.cluster, None), [""; 0]);

    std::fs::remove_file(project.run_dir("full").join("filler")).unwrap();
    for step in ["collect", "merge", "report"] {
        project.podcov("full", &[step]).expect(0);
    }
    let coverage = project.json("full", "coverage/coverage.json");
    assert_eq!(calls(&coverage, "ticker", "tick"), 14);
    assert_eq!(calls(&coverage, "gotick", "Tick"), 11);
    drop(disk);
}

/// Ctrl-C at every step: 130, evidence so far is reported, nothing is left,
/// and the next run is none the worse for it.
#[test]
fn interrupted() {
    let _turn = turn();
    let project = Project::new('c');
    let both = ["ticker", "gotick"];
    project.part("again.toml", &both, &both, &[(COUNT, "\"kill\"")]);
    for config in ["at-build", "at-cluster", "at-deploy", "at-e2e"] {
        let suite = [(
            "\"kill\"",
            if config == "at-e2e" {
                "\"wait\""
            } else {
                "\"kill\""
            },
        )];
        project.derive("again.toml", &format!("{config}.toml"), &suite);
    }
    interrupt_at(&project, "at-build", "… build       ticker");
    interrupt_at(&project, "at-cluster", "… cluster     embedded");
    interrupt_at(&project, "at-deploy", "… deploy      applying");

    let mut run = project.start("at-e2e", &["run"]);
    run.until("waiting", |_| {
        project.path("waiting").exists().then_some(())
    });
    let link = project.link();
    run.interrupt();
    run.wait().expect(130);
    let coverage = project.json("at-e2e", "coverage/coverage.json");
    assert_eq!(calls(&coverage, "ticker", "tick"), 14);
    assert_eq!(calls(&coverage, "gotick", "Tick"), 11);
    assert!(
        project
            .run_dir("at-e2e")
            .join("report/index.html")
            .is_file()
    );
    assert_eq!(project.json("at-e2e", "run.json")["exit"], 130);
    assert_eq!(traces(&project.cluster, Some(&link)), [""; 0]);

    interrupted_twice(&project);
    killed_without_warning(&project);

    project.podcov("again", &["run"]).expect(0);
    let coverage = project.json("again", "coverage/coverage.json");
    assert_eq!(calls(&coverage, "ticker", "tick"), 21);
    assert_eq!(traces(&project.cluster, None), [""; 0]);
}

/// kill -9 of podcov itself: what its pods have left can be reported, and the
/// next run is none the worse for what podcov could not take down.
fn killed_without_warning(project: &Project) {
    project.derive("at-e2e.toml", "killed.toml", &[]);
    std::fs::remove_file(project.path("waiting")).unwrap();
    let mut run = project.start("killed", &["run"]);
    run.until("waiting", |_| {
        project.path("waiting").exists().then_some(())
    });
    signal("KILL", run.id());
    assert_eq!(run.wait().status.code(), None);
    // The suite is nobody's now.
    project.write("go", "");
    let status = project.podcov("cluster", &["cluster", "status"]).expect(6);
    assert!(status.stdout.contains("was killed"), "{}", status.stdout);
    for step in ["collect", "merge", "report"] {
        project.podcov("killed", &[step]).expect(0);
    }
    let coverage = project.json("killed", "coverage/coverage.json");
    assert_eq!(calls(&coverage, "ticker", "tick"), 14);
}

/// A second Ctrl-C skips the collecting, which can be done later.
fn interrupted_twice(project: &Project) {
    project.derive("at-e2e.toml", "twice.toml", &[]);
    std::fs::remove_file(project.path("waiting")).unwrap();
    let mut run = project.start("twice", &["run"]);
    run.until("waiting", |_| {
        project.path("waiting").exists().then_some(())
    });
    run.interrupt();
    run.until_says("… stop");
    run.interrupt();
    run.wait().expect(130).says(&["`podcov collect`"]);
    assert_eq!(traces(&project.cluster, None), [""; 0]);
    for step in ["collect", "merge", "report"] {
        project.podcov("twice", &[step]).expect(0);
    }
    let coverage = project.json("twice", "coverage/coverage.json");
    assert_eq!(calls(&coverage, "ticker", "tick"), 14);
}

fn interrupt_at(project: &Project, config: &str, step: &str) {
    let mut run = project.start(config, &["run"]);
    run.until_says(step);
    let asked = Instant::now();
    run.interrupt();
    run.wait().expect(130);
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(30), "{config}: {took:?}");
    assert_eq!(project.json(config, "run.json")["exit"], 130);
    assert_eq!(traces(&project.cluster, None), [""; 0], "{config}");
}
