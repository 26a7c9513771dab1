//! What was collected is what is reported, or the run is refused.

use std::fs;

use serde_json::Value;

use crate::lab::{Dice, Lab, differences};

/// How often a bit is changed on disk and podcov is run; the 100,000 of the
/// reader that it uses are a test of podcov-profile.
const FLIPS: usize = 25;

const STEPS: [&str; 3] = ["merge", "report", "gate"];

/// The file of the ledger with this path.
fn file<'l>(ledger: &'l Value, path: &str) -> &'l Value {
    let rows = ledger["incarnations"].as_array().unwrap();
    let mut files = rows.iter().flat_map(|row| row["files"].as_array().unwrap());
    files.find(|file| file["path"] == path).unwrap()
}

#[test]
fn a_bit_that_flips_in_a_collected_file_is_noticed() {
    let lab = Lab::new("complete", 0);
    lab.report();
    lab.podcov(&["gate"], 0);
    let whole = lab.made();
    let evidence: Vec<(String, Vec<u8>)> = lab.evidence().into_iter().collect();
    let mut dice = Dice::new(1);
    for number in 0..FLIPS {
        let (path, bytes) = &evidence[dice.roll(evidence.len())];
        let (at, bit) = (dice.roll(bytes.len()), dice.roll(8));
        let mut changed = bytes.clone();
        changed[at] ^= 1 << bit;
        fs::write(lab.evidence_path(path), &changed).unwrap();
        let step = ["report", "gate", "merge"][number % 3];
        let said = lab.podcov(&[step], 4);
        assert!(
            said.contains("evidence is incomplete"),
            "{path} {at}: {said}"
        );
        lab.podcov(&["merge"], 4);
        let ledger = lab.json("ledger.json");
        let file = file(&ledger, path);
        assert_eq!(
            (&file["fate"], &file["cause"]),
            (&"rejected".into(), &"changed".into())
        );
        fs::write(lab.evidence_path(path), bytes).unwrap();
        lab.podcov(&["merge"], 0);
    }
    // What is restored counts again.
    lab.report();
    assert_eq!(differences(&whole, &lab.made()), Vec::<String>::new());
}

#[test]
fn a_bit_that_flips_in_the_account_or_the_sum_is_noticed() {
    let lab = Lab::new("tolerate", 0);
    lab.report();
    let mut dice = Dice::new(2);
    for (name, steps) in [
        ("ledger.json", STEPS.as_slice()),
        ("coverage/coverage.json", &["report", "gate"]),
    ] {
        let path = lab.run_dir().join(name);
        let bytes = fs::read(&path).unwrap();
        for _ in 0..FLIPS / 2 {
            let (at, bit) = (dice.roll(bytes.len()), dice.roll(8));
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            fs::write(&path, &changed).unwrap();
            for step in steps {
                lab.podcov(&[step], 4);
            }
        }
        fs::write(&path, &bytes).unwrap();
    }
    lab.podcov(&["gate"], 0);
    // A new account says that it cannot vouch for the old one.
    let path = lab.run_dir().join("ledger.json");
    let mut bytes = fs::read(&path).unwrap();
    bytes[9] ^= 1;
    fs::write(&path, bytes).unwrap();
    lab.podcov(&["collect"], 0);
    let findings = lab.json("ledger.json")["findings"].to_string();
    assert!(findings.contains("seal-broken"), "{findings}");
}

#[test]
fn without_any_one_of_its_files_a_run_is_refused() {
    let lab = Lab::new("complete", 0);
    lab.report();
    let whole = lab.made();
    let evidence = lab.evidence();
    assert!(evidence.len() >= 14, "{}", evidence.len());
    for (path, bytes) in &evidence {
        let place = lab.evidence_path(path);
        fs::remove_file(&place).unwrap();
        for step in STEPS {
            let said = lab.podcov(&[step], 4);
            assert!(said.contains("evidence is incomplete"), "{path}: {said}");
        }
        // Collecting again does not make it good.
        lab.podcov(&["collect"], 0);
        lab.podcov(&["merge"], 4);
        // Where it is borne it is told.
        lab.set_policy("tolerate");
        lab.podcov(&["merge"], 0);
        lab.podcov(&["report"], 0);
        lab.podcov(&["gate"], 0);
        let summary = lab.json("report/summary.json");
        assert_eq!(summary["complete"], false, "{path}");
        let losses = summary["losses"].as_array().unwrap();
        assert_eq!(losses.len(), 1, "{path}: {losses:?}");
        assert_eq!(losses[0]["cause"], "removed", "{path}");
        let told = losses[0].to_string();
        assert!(told.contains(path.as_str()), "{path}: {told}");
        lab.set_policy("complete");
        fs::write(&place, bytes).unwrap();
        lab.report();
    }
    assert_eq!(differences(&whole, &lab.made()), Vec::<String>::new());
}

#[test]
fn files_that_come_several_times_in_any_order_count_once() {
    let reference = Lab::new("complete", 0);
    reference.report();
    let made = reference.made();
    let evidence: Vec<(String, Vec<u8>)> = reference.evidence().into_iter().collect();
    for seed in 1..=4 {
        let lab = Lab::new("complete", 0);
        fs::remove_dir_all(lab.run_dir().join("evidence")).unwrap();
        let mut dice = Dice::new(seed);
        let mut deliveries = Vec::new();
        for file in &evidence {
            deliveries.extend(vec![file; 1 + dice.roll(5)]);
        }
        dice.shuffle(&mut deliveries);
        let half = deliveries.len() / 2;
        for (number, (path, bytes)) in deliveries.into_iter().enumerate() {
            lab.write_run(&format!("evidence/{path}"), bytes);
            if number == half {
                // Some of it is collected and merged before the rest is there.
                lab.podcov(&["collect"], 0);
            }
        }
        lab.report();
        assert_eq!(
            differences(&made, &lab.made()),
            Vec::<String>::new(),
            "seed {seed}"
        );
    }
}

#[test]
fn paths_that_are_named_several_times_in_any_order_count_once() {
    let lab = Lab::new("complete", 0);
    let evidence: Vec<String> = lab.evidence().into_keys().collect();
    let profiles = |name: &&String| name.ends_with(".profraw") || name.contains("/cov");
    let profiles: Vec<&String> = evidence.iter().filter(profiles).collect();
    let merge = |paths: &[String], out: &str| {
        let mut words = vec!["merge", "--format", "podcov", "-o", out];
        words.extend(paths.iter().map(String::as_str));
        lab.podcov(&words, 0);
        fs::read(lab.root().join(out)).unwrap()
    };
    let path = |name: &&String| lab.evidence_path(name).display().to_string();
    let once: Vec<String> = profiles.iter().map(path).collect();
    let expected = merge(&once, "once.podcov");
    for seed in 1..=4 {
        let mut dice = Dice::new(seed);
        let mut paths = Vec::new();
        for path in &once {
            paths.extend(vec![path.clone(); 1 + dice.roll(5)]);
        }
        dice.shuffle(&mut paths);
        let name = format!("{seed}.podcov");
        assert!(merge(&paths, &name) == expected, "seed {seed}");
    }
}
