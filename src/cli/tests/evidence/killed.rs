//! podcov is killed at every step of its writing and started again.
//!
//! `cargo xtask kill` does all steps of a larger run; here are some of a small
//! one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use crate::lab::{Dice, Lab, copy, differences};
use crate::trace;

const STEPS: [&str; 3] = ["collect", "merge", "report"];

/// How many kills are tried when nobody asks for more.
const SAMPLE: usize = 60;

/// All of a run's three commands from the state that each began in.
struct Whole {
    lab: Lab,
    /// How often podcov can be killed in each command.
    steps: [usize; 3],
}

impl Whole {
    fn new(damaged: usize) -> (Whole, BTreeMap<&'static str, usize>) {
        let lab = Lab::new("tolerate", damaged);
        let mut steps = [0; 3];
        let mut by_call = BTreeMap::new();
        for (number, step) in STEPS.iter().enumerate() {
            copy(&lab.run_dir(), &lab.root().join(format!("before-{step}")));
            let traced = trace::run(&lab.command(&[step]), None);
            assert_eq!(traced.code, Some(0), "{step}");
            steps[number] = traced.steps;
            for (call, times) in traced.by_call {
                *by_call.entry(call).or_default() += times;
            }
        }
        (Whole { lab, steps }, by_call)
    }

    /// A project of its own to kill in, in the state before a command.
    fn at(&self, step: &str, damaged: usize) -> Lab {
        let lab = Lab::new("tolerate", damaged);
        copy(
            &self.lab.root().join(format!("before-{step}")),
            &lab.run_dir(),
        );
        lab
    }
}

/// The number in this variable: `PODCOV_TEST_KILLS`, `PODCOV_TEST_DAMAGED`.
fn asked(name: &str, default: usize) -> usize {
    let asked = std::env::var(name).ok();
    asked.map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn killed_at_any_step_and_started_again_it_gives_the_same() {
    let kills = asked("PODCOV_TEST_KILLS", SAMPLE);
    let damaged = asked("PODCOV_TEST_DAMAGED", 2);
    let (whole, by_call) = Whole::new(damaged);
    let expected = whole.lab.made();
    let evidence = whole.lab.evidence();
    let mut points: Vec<(usize, usize)> = Vec::new();
    for (number, steps) in whole.steps.iter().enumerate() {
        points.extend((0..*steps).map(|at| (number, at)));
    }
    let all = points.len();
    Dice::new(kills as u64).shuffle(&mut points);
    points.truncate(kills);
    let chosen = points.len();
    let points = Mutex::new(points);
    let killed = Mutex::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let lab = whole.at("collect", damaged);
                loop {
                    let Some((number, at)) = points.lock().unwrap().pop() else {
                        return;
                    };
                    let step = STEPS[number];
                    copy(
                        &whole.lab.root().join(format!("before-{step}")),
                        &lab.run_dir(),
                    );
                    let traced = trace::run(&lab.command(&[step]), Some(at));
                    // Threads do not always come to the same number of steps.
                    *killed.lock().unwrap() += usize::from(traced.code.is_none());
                    assert_eq!(evidence, lab.evidence(), "{step} {at} changed the evidence");
                    // From where it was killed, or from the beginning.
                    let first = if at % 2 == 0 { number } else { 0 };
                    for step in &STEPS[first..] {
                        lab.podcov(&[step], 0);
                    }
                    let differ = differences(&expected, &lab.made());
                    assert!(differ.is_empty(), "killed in {step} at {at}: {differ:?}");
                    assert!(no_more_than_before(&lab, &whole.lab), "{step} {at}");
                }
            });
        }
    });
    let killed = killed.into_inner().unwrap();
    println!(
        "killed {killed} times at {chosen} of {all} steps: {:?}; the steps: {by_call:?}",
        whole.steps
    );
    assert!(killed * 100 >= chosen * 95, "{killed} of {chosen}");
    // With many damaged files `cargo xtask kill` promises this many.
    let least = if damaged < 70 { 100 } else { 2000 };
    assert!(all >= least, "{all} steps");
}

/// Nothing half written is left beside the run either.
fn no_more_than_before(lab: &Lab, whole: &Lab) -> bool {
    let names = |root: &Path| {
        let entries = fs::read_dir(root.join("profiles")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    names(lab.root()) == names(whole.root())
}
