//! The kill matrix: programs that know what they did, in real pods that end in
//! every way. What the report says of each is held against what it did.

#[path = "kill_matrix/ends.rs"]
mod ends;
#[path = "kill_matrix/suite.rs"]
mod suite;
#[path = "kill_matrix/truth.rs"]
mod truth;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use suite::{Container, Suite};
use truth::{Counts, Marks};

use super::numbers::calls;
use super::project::{self, Project};
use super::turn;

/// Containers of each language that are killed at a random instant.
const KILLS: usize = 200;

#[test]
fn whatever_ends_a_pod_its_counts_are_there_or_their_loss_is_told() {
    let _turn = turn();
    let project = Project::of("whole_product/kill_matrix/composition", 'k');
    let programs = concat!(env!("CARGO_MANIFEST_DIR"), "/../build/tests/ground_truth");
    project::copy(Path::new(programs), project.dir.path());
    let mut running = project.start("podcov", &["run"]);
    let suite = running.until("its suite", |_| Suite::begun(&project));
    let acted = catch_unwind(AssertUnwindSafe(|| suite.act(KILLS)));
    project.write("done", "");
    let ended = running.wait();
    let containers = acted.unwrap_or_else(|why| {
        eprintln!("{}", ended.stderr);
        resume_unwind(why)
    });
    eprintln!("{}", ended.stderr);
    ended.expect(0);

    let ledger = project.json("podcov", "ledger.json");
    let rows = ledger["incarnations"].as_array().unwrap();
    let marks = ["rust", "go"].map(|language| (language, Marks::of(&project.path(language))));
    let mut failures = Vec::new();
    let mut sums: [(&str, Counts, u64); 2] = ["rust", "go"].map(|name| (name, Counts::new(), 0));
    let mut lives = 0;
    let mut nothing_done = 0;
    for container in &containers {
        let own =
            |row: &&Value| row["pod"] == *container.pod && row["container"] == *container.name;
        let own: Vec<&Value> = rows.iter().filter(own).collect();
        let of_language =
            |(language, _): &&(&str, Marks)| container.component.starts_with(language);
        let (_, marks) = marks.iter().find(of_language).unwrap();
        let by_hand = container.by_hand(&project);
        let verdict = check(&project, container, &own, marks, &by_hand);
        match verdict {
            Ok(Verdict::Equal { threads }) => {
                if let Some(sum) = sums.iter_mut().find(|sum| sum.0 == container.component) {
                    truth::add(&mut sum.1, &truth::sum(&by_hand));
                    sum.2 += threads;
                }
            }
            Ok(Verdict::NothingDone) => nothing_done += 1,
            Ok(Verdict::LossIsTold) => {}
            Err(why) => failures.push(format!("{}/{}: {why}", container.pod, container.name)),
        }
        lives += own.len();
    }
    assert_eq!(failures, [""; 0], "{failures:#?}");
    assert_eq!(rows.len(), lives, "incarnations that nobody started");
    eprintln!("{lives} incarnations; {nothing_done} were killed before they did anything");
    let random = containers.iter().filter(|one| one.is_random()).count();
    assert_eq!(random, 2 * KILLS);
    assert!(
        nothing_done < KILLS,
        "the kills came too early to show anything"
    );

    // The report as a whole says the same.
    let coverage = project.json("podcov", "coverage/coverage.json");
    for (component, by_hand, threads) in &sums {
        let mut names = vec![("step", *threads)];
        if *component == "go" {
            names.push(("early", 0));
        }
        for (name, threads) in names {
            let (counted, by_hand) = (calls(&coverage, component, name), by_hand[name]);
            eprintln!("{component}: {by_hand} {name} by hand, {counted} counted");
            assert!(
                0 < by_hand && (by_hand..=by_hand + threads).contains(&counted),
                "{component} {name}: {counted} counted, {by_hand} by hand, {threads} threads"
            );
        }
    }
    // What only lost lives can have done is unknown, not uncovered.
    let summary = project.json("podcov", "report/summary.json");
    for component in ["rust-at-exit", "go-at-exit"] {
        let components = summary["components"].as_array().unwrap().iter();
        let own: Vec<_> = components.filter(|one| one["name"] == component).collect();
        assert_eq!(own.len(), 1, "{component}");
        let covered = |metrics: &Value| metrics["lines"]["covered"].as_u64().unwrap();
        let (proven, possible) = (covered(&own[0]["metrics"]), covered(&own[0]["possible"]));
        assert!(
            0 < proven && proven < possible,
            "{component}: {proven}, {possible}"
        );
        assert!(own[0].to_string().contains("\"unknown\":[["), "{component}");
        assert_eq!(own[0]["incarnations"]["lost"], 1, "{component}");
    }
}

/// What a container's evidence is worth.
enum Verdict {
    /// What it did; this many threads were at it when it ended.
    Equal { threads: u64 },
    /// It was killed before it did anything, and that is told.
    NothingDone,
    /// It is lost, and the ledger says so.
    LossIsTold,
}

fn check(
    project: &Project,
    container: &Container,
    rows: &[&Value],
    marks: &Marks,
    by_hand: &[Counts],
) -> Result<Verdict, String> {
    if rows.is_empty() {
        return Err("it is not in the ledger".to_owned());
    }
    if rows.len() * container.processes < by_hand.len() {
        return Err(format!("{} lives, {} processes", rows.len(), by_hand.len()));
    }
    for row in rows {
        let told = told(row);
        if !container.told.is_empty() && told != container.told {
            return Err(format!("ended by {told}, not {}: {row:#}", container.told));
        }
    }
    let lost: Vec<_> = rows
        .iter()
        .filter(|row| row["fate"] != "collected")
        .collect();
    let sum = truth::sum(by_hand);
    if !container.is_random() && sum["step"] + sum["early"] == 0 {
        return Err("it did nothing".to_owned());
    }
    if let Some(row) = lost.first() {
        let is_told = row["cause"].is_string() && row["reason"].as_str() != Some("");
        return match (is_told, container.may_be_lost, sum["step"]) {
            (false, ..) => Err(format!("its loss has no reason: {row:#}")),
            (true, true, _) => Ok(Verdict::LossIsTold),
            (true, false, 0) => Ok(Verdict::NothingDone),
            (true, false, steps) => Err(format!("{steps} steps are lost: {row:#}")),
        };
    }
    if container.may_be_lost {
        return Err("nothing is lost of what was killed before it wrote".to_owned());
    }
    let threads = container.threads * rows.len() as u64;
    // What ended before it could say which its blocks are counts by the run's
    // bundle alone: the sum of all has it.
    if sum["step"] == 0 {
        return Ok(Verdict::Equal { threads });
    }
    let counted = counted(project, container, marks);
    for (name, counted) in &counted {
        let by_hand = sum[name];
        if !(by_hand..=by_hand + threads).contains(counted) {
            return Err(format!("{name}: {counted} counted, {by_hand} by hand"));
        }
    }
    Ok(Verdict::Equal { threads })
}

/// How an incarnation ended, in the ledger's words.
fn told(row: &Value) -> String {
    let ended = &row["ended"];
    match ended["reason"].as_str() {
        Some(reason @ ("OOMKilled" | "Evicted")) => reason.to_owned(),
        _ => match (ended["code"].as_i64(), ended["signal"].as_i64()) {
            (Some(code), _) => format!("code {code}"),
            (_, Some(signal)) => format!("signal {signal}"),
            _ => "nothing".to_owned(),
        },
    }
}

/// What podcov counts in the evidence of one container.
fn counted(project: &Project, container: &Container, marks: &Marks) -> Counts {
    let run = project.run_dir("podcov");
    let pods = std::fs::read_dir(run.join("evidence/truth"))
        .unwrap()
        .flatten();
    let begin = format!("{}_", container.pod);
    let mut pods = pods.filter(|entry| entry.file_name().to_string_lossy().starts_with(&begin));
    let evidence = pods.next().unwrap().path().join(&container.name);
    let mut export = Command::new(env!("CARGO_BIN_EXE_podcov"));
    export.args(["export", "--format", "lcov"]);
    if container.component.starts_with("rust") {
        let bundle = run.join("bundle").join(&container.component);
        export.arg("--object").arg(bundle.join("bin/truth"));
    }
    let output = export.arg(&evidence).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{export:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    marks.in_lcov(&text)
}
