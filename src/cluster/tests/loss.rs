//! Every way in which evidence is lost has its word and its sentence, and what
//! was collected once stays collected or is told.

#[path = "collect/scenario.rs"]
#[allow(dead_code, reason = "each test uses another part")]
mod scenario;

use podcov_profile::ledger::Cause;
use podcov_profile::ledger::Fate::{Collected, Empty, Foreign, Merged, Missing, Record, Rejected};
use scenario::{Collected as Done, Scenario, covcounters, covlive, covmeta, profraw, scenario};
use serde_json::json;

fn go() -> Scenario {
    scenario().pod("a").runs("goer").starts()
}

fn rust() -> Scenario {
    scenario().pod("a").runs("rusty").starts()
}

/// The one incarnation is lost for this cause, with this in its reason.
#[track_caller]
fn check(scenario: Scenario, cause: Cause, reason: &str) -> Done {
    let done = scenario.collect();
    assert_eq!(done.ledger.incarnations.len(), 1, "{:#?}", done.ledger);
    assert_eq!(done.ledger.lost().count(), 1, "{:#?}", done.ledger);
    done.expect_cause(0, cause).expect_reason(0, reason)
}

#[test]
fn each_fingerprint_of_loss_has_a_word_and_a_sentence() {
    let (counters, truncated) = (covcounters(1, 5), &profraw()[..300]);
    let mut damaged = counters.clone();
    damaged.1[24] = 9;
    let unknown = |mut bytes: Vec<u8>| {
        bytes[8] = 99;
        bytes
    };
    check(
        go().writes_file(covmeta()).killed("OOMKilled"),
        Cause::MetaWithoutCounters,
        "no counters came with it",
    )
    .expect_reason(0, "OOMKilled, signal 9");
    check(
        rust().writes("x.profraw", b"").killed("Error"),
        Cause::EmptyFile,
        "the file is empty",
    );
    check(rust().launches().exits(1), Cause::NoFile, "left no profile");
    check(
        rust().launches().ends(255, "Unknown"),
        Cause::NoExitRecord,
        "all of the container was killed, or its node stopped",
    );
    let half = (format!("tmp.{}", counters.0), vec![0, 1]);
    check(
        go().writes_file(covmeta())
            .writes_file(half)
            .killed("Error"),
        Cause::Interrupted,
        "stopped while it wrote this file",
    );
    check(
        rust().writes("x.profraw", truncated).exits(0),
        Cause::Truncated,
        "x.profraw: ",
    );
    check(
        go().writes_file(covmeta()).writes_file(damaged).exits(0),
        Cause::Damaged,
        "covcounters",
    );
    check(
        rust().writes("x.profraw", &unknown(profraw())).exits(0),
        Cause::Unsupported,
        "version 99 is not known",
    );
    check(
        rust().launches().by_hand(|dir| {
            std::os::unix::fs::symlink("/", dir.join("x.profraw")).unwrap();
        }),
        Cause::Refused,
        "symbolic link",
    );
    check(
        rust().exits_silently("podcov-launcher: no evidence: cannot create /v: Permission denied"),
        Cause::VolumeNotWritable,
        "cannot create /v: Permission denied",
    );
    let full = "podcov-launcher: no evidence: cannot write start.json: No space left on device";
    check(
        rust().writes_alone("x.profraw", b"").exits(0).says(full),
        Cause::VolumeNotWritable,
        "No space left on device",
    );
    check(
        rust()
            .launches()
            .exits(127)
            .says("podcov-launcher: cannot start /app/x: no such file"),
        Cause::NeverStarted,
        "could not be started: /app/x: no such file",
    );
    check(
        rust().with_image("localhost/rusty:dev").exits_silently(""),
        Cause::OtherImage,
        "the measured one is",
    );
    check(rust().exits_silently(""), Cause::NoLauncher, "the launcher");
}

#[test]
fn counters_of_a_foreign_build_are_told() {
    let text = String::from_utf8(covcounters(1, 5).1).unwrap_or_default();
    assert!(text.is_empty(), "counters are no text");
    let other = "00000000000000000000000000000001";
    let (_, mut meta) = covmeta();
    let (_, mut counters) = covcounters(1, 5);
    // Both hold the hash behind magic and version.
    let hash = |n: usize| u8::from(n == 15);
    let at = meta
        .windows(16)
        .position(|w| w.iter().map(|b| format!("{b:02x}")).collect::<String>() == scenario::GO_HASH)
        .unwrap();
    for n in 0..16 {
        meta[at + n] = hash(n);
        counters[8 + n] = hash(n);
    }
    let one = go()
        .writes(&format!("covcounters.{other}.1.5"), &counters)
        .exits(0);
    check(one, Cause::ForeignBuild, "no bundle of this run has").expect(&[Foreign]);
}

#[test]
fn a_hole_in_the_restart_numbers_is_told_and_known_to_be_of_the_same_build() {
    let done = rust()
        .writes("x.profraw", &profraw())
        .exits(1)
        .starts()
        .unnoticed()
        .starts()
        .writes("x.profraw", &profraw())
        .exits(0)
        .collect()
        .expect(&[Collected, Missing, Collected])
        .expect_cause(1, Cause::UnseenStart)
        .expect_reason(1, "only the restart count tells of this start");
    let rows = &done.ledger.incarnations;
    assert!(rows[0].identity.is_some());
    assert_eq!(rows[1].identity, rows[0].identity);
}

#[test]
fn launcher_and_cluster_are_both_heard_where_they_differ() {
    let ended = |how| rust().writes("x.profraw", &profraw()).records_exit(how);
    // As process 1 the launcher gives 128 and the signal.
    for (how, code) in [
        (json!({"code": 0}), 0),
        (json!({"code": 143}), 143),
        (json!({"signal": 15}), 143),
        (json!({"signal": 9}), 137),
    ] {
        let done = ended(how).ends(code, "Error").collect();
        done.expect(&[Collected]).expect_no_findings();
    }
    ended(json!({"code": 0}))
        .ends(137, "OOMKilled")
        .collect()
        .expect(&[Collected])
        .expect_finding(
            "contradiction",
            "the launcher says that it ended by exit status 0, the cluster by exit status 137 \
             (OOMKilled)",
        );
    ended(json!({"signal": 6}))
        .ends(0, "Completed")
        .collect()
        .expect_finding("contradiction", "by signal 6, the cluster by exit status 0");
    ended(json!({"code": 0})).collect().expect_finding(
        "contradiction",
        "ended by exit status 0, the cluster that it runs",
    );
}

#[test]
fn the_rest_of_a_tickers_interval_is_a_bounded_loss() {
    let ticking = || go().writes_file(covmeta()).snapshots(covcounters(1, 5));
    let record = br#"{"schema":1,"interval_ms":250}"#;
    let done = ticking()
        .writes("live/ticker.json", record)
        .killed("OOMKilled")
        .collect()
        .expect(&[Collected])
        .expect_cause(0, Cause::Ticker)
        .expect_reason(0, "its last 250 ms or less is lost")
        .expect_file("ticker.json", Record);
    assert_eq!(done.ledger.incarnations[0].interval_ms, Some(250));
    assert_eq!(done.ledger.lost().count(), 0);
    // One that ended by itself wrote all.
    let done = ticking()
        .writes_file(covcounters(1, 6))
        .exits(0)
        .collect()
        .expect(&[Collected]);
    assert_eq!(done.ledger.incarnations[0].cause, None);
    // No record: what podcov's builds keep to.
    let done = ticking().killed("Error").collect();
    done.expect_cause(0, Cause::Ticker)
        .expect_reason(0, "1000 ms");
}

#[test]
fn of_two_processes_one_does_not_stand_in_for_the_other() {
    let (name, bytes) = covcounters(2, 5);
    let two = || go().writes_file(covmeta()).snapshots(covcounters(1, 5));
    let half = [format!("live/tmp.{name}"), format!("tmp.{name}")];
    for half in half {
        two()
            .writes(&half, &bytes[..9])
            .killed("Error")
            .collect()
            .expect(&[Rejected])
            .expect_cause(0, Cause::Interrupted)
            .expect_reason(0, &name);
    }
    two()
        .writes(&format!("live/{name}"), &bytes[..50])
        .killed("Error")
        .collect()
        .expect(&[Rejected])
        .expect_cause(0, Cause::Truncated);
    two()
        .writes(&format!("live/tmp.{}", covcounters(1, 6).0), b"x")
        .killed("Error")
        .collect()
        .expect(&[Collected])
        .expect_cause(0, Cause::Ticker);
    // Nor does a process for the one that it replaced (exec), by the same id.
    let (mapped, bytes) = covlive(1, 5);
    go().writes_file(covmeta())
        .writes(&mapped, &bytes[..100])
        .writes_file(covcounters(1, 9))
        .exits(0)
        .collect()
        .expect(&[Rejected])
        .expect_reason(0, &mapped);
}

#[test]
fn what_was_collected_and_is_gone_is_told_once() {
    let ended = || rust().writes("x.profraw", &profraw()).exits(0);
    ended()
        .collected_before(|dir| std::fs::remove_file(dir.join("x.profraw")).unwrap())
        .collect()
        .expect(&[Missing])
        .expect_cause(0, Cause::Removed)
        .expect_file("x.profraw", Missing);
    ended()
        .collected_before(|dir| std::fs::remove_dir_all(dir).unwrap())
        .collect()
        .expect(&[Missing])
        .expect_cause(0, Cause::Removed);
    let done = ended()
        .collected_before(|dir| std::fs::remove_file(dir.join("exit.json")).unwrap())
        .collect()
        .expect(&[Collected])
        .expect_file("exit.json", Missing)
        .expect_file("x.profraw", Merged);
    assert_eq!(done.file("exit.json").cause, Some(Cause::Removed));
    ended()
        .collected_before(|dir| {
            let mut bytes = profraw();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(dir.join("x.profraw"), bytes).unwrap();
        })
        .collect()
        .expect(&[Rejected])
        .expect_cause(0, Cause::Changed)
        .expect_reason(0, "its SHA-256 differs");
}

#[test]
fn what_still_ran_when_it_was_collected_may_go_on() {
    let old = covcounters(1, 5);
    let done = go()
        .writes_file(covmeta())
        .snapshots(old.clone())
        .collected_before(|dir| {
            std::fs::remove_file(dir.join("live").join(&old.0)).unwrap();
            let (name, bytes) = covcounters(1, 9);
            std::fs::write(dir.join(name), bytes).unwrap();
        })
        .collect()
        .expect(&[Collected]);
    assert_eq!(done.ledger.incarnations[0].cause, None);
}

#[test]
fn a_container_without_a_process_is_no_loss() {
    let done = scenario()
        .pod("a")
        .runs("rusty")
        .cannot_start()
        .collect()
        .expect(&[])
        .expect_finding("never-started", "exec: no such file");
    assert_eq!(done.ledger.fates().get(&Empty), None);
}
