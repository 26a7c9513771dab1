//! A byte that changed is noticed, wherever it is.

use podcov_profile::Identity;
use podcov_profile::ledger::{
    Cause, Ended, Fate, File, Finding, Format, Incarnation, Ledger, LedgerError, SCHEMA, Seal,
};

/// How many flips are tried over all files.
const FLIPS: usize = 100_000;

fn fixture(path: &str) -> Vec<u8> {
    let dir = env!("CARGO_MANIFEST_DIR");
    std::fs::read(format!("{dir}/tests/fixtures/{path}")).unwrap()
}

fn file(path: &str, bytes: &[u8]) -> File {
    let Seal { size, sha256 } = Seal::of(bytes);
    File {
        path: path.to_owned(),
        format: Format::Unknown,
        size,
        sha256,
        identity: None,
        fate: Fate::Merged,
        cause: None,
        reason: String::new(),
    }
}

fn ledger() -> Ledger {
    let files = vec![
        file("n/p_u/c/i/covmeta.1", b"meta"),
        File {
            fate: Fate::Rejected,
            cause: Some(Cause::Truncated),
            reason: "it ends at \"byte\" 4".to_owned(),
            identity: Some("covmeta:00ff".parse::<Identity>().unwrap()),
            ..file("n/p_u/c/i/covcounters.1.2.3", b"0123")
        },
    ];
    let incarnation = Incarnation {
        component: "op".to_owned(),
        namespace: "n".to_owned(),
        pod: "p".to_owned(),
        pod_uid: "u".to_owned(),
        container: "c".to_owned(),
        id: Some("i".to_owned()),
        restart: Some(0),
        phase: None,
        identity: None,
        start: None,
        end: Some("2026-11-21T09:00:00Z".to_owned()),
        ended: Ended::default(),
        interval_ms: None,
        fate: Fate::Rejected,
        cause: Some(Cause::Truncated),
        reason: String::new(),
        files,
    };
    Ledger {
        schema: SCHEMA,
        run: "run".to_owned(),
        incarnations: vec![incarnation],
        findings: vec![Finding {
            kind: "stale".to_owned(),
            text: "one".to_owned(),
        }],
        coverage: Some(Seal::of(b"coverage")),
    }
}

/// Below `sides`.
fn roll(state: &mut u64, sides: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state % sides as u64) as usize
}

#[test]
fn no_flipped_bit_of_a_collected_file_is_accepted() {
    let names = [
        "go/covcounters.365db558e60f45db96600bc1c17ccd6e.2384.1795257547508204385",
        "go/covcounters.365db558e60f45db96600bc1c17ccd6e.2388.1795257547510821171",
        "go/covmeta.365db558e60f45db96600bc1c17ccd6e",
        "go/coverage.out",
        "rust/plain.profraw",
        "rust/killed.profraw",
        "rust/plain.proftext",
    ];
    let mut all: Vec<(File, Vec<u8>)> = names
        .iter()
        .map(|name| (file(name, &fixture(name)), fixture(name)))
        .collect();
    let mut dice = 0x9e37_79b9_7f4a_7c15;
    for flip in 0..FLIPS {
        let (sealed, bytes) = &mut all[flip % names.len()];
        let (at, bit) = (roll(&mut dice, bytes.len()), roll(&mut dice, 8));
        bytes[at] ^= 1 << bit;
        assert!(sealed.check(bytes).is_err(), "{} {at} {bit}", sealed.path);
        bytes[at] ^= 1 << bit;
    }
    for (sealed, bytes) in &mut all {
        sealed.check(bytes).unwrap();
        bytes.pop();
        assert!(sealed.check(bytes).is_err(), "{} is shorter", sealed.path);
    }
}

#[test]
fn no_flipped_bit_and_no_cut_of_the_ledger_is_accepted() {
    let ledger = ledger();
    let mut bytes = ledger.to_json();
    assert_eq!(Ledger::from_json(&bytes).unwrap(), ledger);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            let read = Ledger::from_json(&bytes);
            assert!(
                matches!(read, Err(LedgerError::Broken | LedgerError::Unsealed)),
                "{at} {bit}"
            );
            bytes[at] ^= 1 << bit;
        }
        assert!(Ledger::from_json(&bytes[..at]).is_err(), "cut at {at}");
    }
    let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(json["seal"].as_str().unwrap().len(), 64);
    assert_eq!(json["incarnations"][0]["files"][1]["cause"], "truncated");
}

#[test]
fn a_later_ledger_and_one_without_a_seal_are_refused() {
    let later = Ledger {
        schema: SCHEMA + 1,
        ..ledger()
    };
    let read = Ledger::from_json(&later.to_json());
    assert!(matches!(read, Err(LedgerError::Newer(_))), "{read:?}");
    let plain = serde_json::to_vec_pretty(&ledger()).unwrap();
    let read = Ledger::from_json(&plain);
    assert!(matches!(read, Err(LedgerError::Unsealed)), "{read:?}");
}

#[test]
fn words_of_causes_are_those_of_the_json() {
    for cause in [
        Cause::MetaWithoutCounters,
        Cause::EmptyFile,
        Cause::NoFile,
        Cause::NoExitRecord,
        Cause::Interrupted,
        Cause::Truncated,
        Cause::Damaged,
        Cause::Unsupported,
        Cause::ForeignBuild,
        Cause::Refused,
        Cause::UnseenStart,
        Cause::VolumeNotWritable,
        Cause::NeverStarted,
        Cause::OtherImage,
        Cause::NoLauncher,
        Cause::Ticker,
        Cause::Removed,
        Cause::Changed,
    ] {
        assert_eq!(serde_json::to_value(cause).unwrap(), cause.word());
    }
}
