//! What becomes of evidence, told as stories of pods.

#[path = "collect/scenario.rs"]
#[allow(dead_code, reason = "each test uses another part")]
mod scenario;

use std::os::unix::fs::symlink;

use podcov_cluster::collect::Limits;
use podcov_profile::ledger::Fate::{
    Collected, Duplicate, Empty, Foreign, Merged, Missing, Record, Rejected, Superseded,
};

use scenario::{covcounters, covlive, covmeta, profraw, scenario};

#[test]
fn every_start_of_a_container_is_one_incarnation() {
    let done = scenario()
        .pod("a")
        .runs("rusty")
        .starts()
        .writes("x.profraw", &profraw())
        .killed("OOMKilled")
        .starts()
        .writes("x.profraw", &profraw())
        .exits(0)
        .collect()
        .expect(&[Collected, Collected])
        .expect_no_findings();
    let rows = &done.ledger.incarnations;
    assert_eq!((rows[0].restart, rows[1].restart), (Some(0), Some(1)));
    assert_eq!(rows[0].ended.reason.as_deref(), Some("OOMKilled"));
    assert_eq!((rows[0].ended.code, rows[0].ended.signal), (None, Some(9)));
    assert_eq!((rows[1].ended.code, rows[1].ended.signal), (Some(0), None));
    assert_eq!(rows[0].start.as_deref(), Some("2026-11-21T09:00:10.250Z"));
    assert_eq!(rows[0].end.as_deref(), Some("2026-11-21T09:00:15Z"));
    assert_eq!(rows[0].component, "rusty");
    // The two are byte by byte the same and both count: two processes may
    // have done the same.
    assert_eq!(done.ledger.file_fates()[&Merged], 2);
    assert_eq!(done.ledger.file_fates()[&Record], 3);
}

#[test]
fn a_killed_pod_without_counts_is_empty_and_not_zero_percent() {
    scenario()
        .pod("a")
        .runs("rusty")
        .starts()
        .writes("x.profraw", b"")
        .killed("Error")
        .collect()
        .expect(&[Empty])
        .expect_reason(0, "x.profraw: the file is empty")
        .expect_reason(0, "signal 9")
        .expect_file("x.profraw", Empty);
}

#[test]
fn a_folder_without_a_profile_is_empty() {
    let pod = scenario()
        .pod("a")
        .runs("goer")
        .starts()
        .launches()
        .exits(1);
    pod.collect()
        .expect(&[Empty])
        .expect_reason(0, "left no profile");
}

#[test]
fn meta_data_without_counters_is_empty() {
    let (name, bytes) = covmeta();
    scenario()
        .pod("a")
        .runs("goer")
        .starts()
        .writes(&name, &bytes)
        .killed("Error")
        .collect()
        .expect(&[Empty])
        .expect_reason(0, "no counters came with it")
        .expect_file(&name, Empty);
}

#[test]
fn of_the_snapshots_of_a_killed_process_the_newest_counts() {
    let [old, new] = [covcounters(1, 100), covcounters(1, 200)];
    let other = covcounters(2, 50);
    scenario()
        .pod("a")
        .runs("goer")
        .starts()
        .writes_file(covmeta())
        .snapshots(old.clone())
        .snapshots(new.clone())
        .snapshots(other.clone())
        .snapshots((format!("tmp.{}", new.0), vec![0, 1]))
        .killed("OOMKilled")
        .collect()
        .expect(&[Collected])
        .expect_no_findings()
        .expect_file(&old.0, Superseded)
        .expect_file(&new.0, Merged)
        .expect_file(&other.0, Merged)
        .expect_file(&format!("tmp.{}", new.0), Superseded)
        .expect_file(&covmeta().0, Merged);
}

#[test]
fn counters_written_at_exit_supersede_all_snapshots() {
    let [live, last] = [covcounters(1, 300), covcounters(1, 200)];
    scenario()
        .pod("a")
        .runs("goer")
        .starts()
        .writes_file(covmeta())
        .snapshots(live.clone())
        .writes_file(last.clone())
        .exits(0)
        .collect()
        .expect(&[Collected])
        .expect_file(&live.0, Superseded)
        .expect_file(&last.0, Merged);
}

#[test]
fn a_damaged_last_write_is_a_loss_although_a_snapshot_counts() {
    let (live, mut last) = (covcounters(1, 300), covcounters(1, 400));
    last.1.truncate(60);
    scenario()
        .pod("a")
        .runs("goer")
        .starts()
        .writes_file(covmeta())
        .snapshots(live.clone())
        .writes_file(last.clone())
        .killed("Error")
        .collect()
        .expect(&[Rejected])
        .expect_file(&live.0, Merged)
        .expect_file(&last.0, Rejected)
        .expect_finding("damaged-file", &last.0);
}

#[test]
fn a_damaged_profile_is_set_aside_with_its_reason() {
    let mut bytes = profraw();
    bytes.truncate(100);
    let done = scenario()
        .pod("a")
        .runs("rusty")
        .starts()
        .writes("x.profraw", &bytes)
        .exits(0)
        .collect()
        .expect(&[Rejected])
        .expect_reason(0, "x.profraw: ")
        .expect_finding("damaged-file", "x.profraw");
    let path = &done.file("x.profraw").path;
    assert_eq!(std::fs::read(done.quarantine.join(path)).unwrap(), bytes);
    let reason = done.quarantine.join(format!("{path}.reason.json"));
    let reason: serde_json::Value = podcov_cluster::store::read_json(&reason).unwrap();
    assert_eq!(reason["fate"], "rejected");
    assert_eq!(reason["component"], "rusty");
    assert_eq!(reason["size"], 100);
}

#[test]
fn a_name_without_room_for_more_can_be_set_aside() {
    let name = "x".repeat(255);
    let one = scenario()
        .pod("a")
        .runs("rusty")
        .starts()
        .writes(&name, b"?")
        .exits(0);
    let done = one.collect().expect(&[Rejected]);
    let dir = done.quarantine.join(&done.file(&name).path);
    let kept: Vec<_> = std::fs::read_dir(dir.parent().unwrap()).unwrap().collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
}

#[test]
fn a_profile_of_an_unknown_build_is_foreign() {
    // The same program, built from something else: another build id.
    let mut bytes = profraw();
    let identity = scenario::bundles()[0].binaries[0].identity.clone().unwrap();
    let id: Vec<u8> = (0..identity.hex().len() / 2)
        .map(|n| u8::from_str_radix(&identity.hex()[2 * n..2 * n + 2], 16).unwrap())
        .collect();
    let at = bytes
        .windows(id.len())
        .position(|window| window == id)
        .unwrap();
    bytes[at] ^= 0xff;
    let one = scenario()
        .pod("a")
        .runs("rusty")
        .starts()
        .writes("x.profraw", &bytes)
        .exits(0);
    let done = one.collect();
    let foreign = done.file("x.profraw").identity.clone().unwrap();
    assert_ne!(foreign, identity);
    let done = done
        .expect(&[Foreign])
        .expect_finding("foreign-file", "x.profraw");
    assert!(done.quarantine.join(&done.file("x.profraw").path).exists());
}

#[test]
fn a_start_without_a_folder_is_missing_and_says_why() {
    scenario()
        .pod("a")
        .runs("rusty")
        .starts()
        .exits_silently("podcov-launcher: no evidence: /podcov/profile: Read-only file system")
        .collect()
        .expect(&[Missing])
        .expect_reason(
            0,
            "could not write evidence: /podcov/profile: Read-only file system",
        );
    scenario()
        .pod("a")
        .runs("rusty")
        .starts()
        .collect()
        .expect(&[Missing])
        .expect_reason(0, "the launcher never ran (image without it?)");
    scenario()
        .pod("a")
        .runs("rusty")
        .with_image("localhost/rusty:dev")
        .starts()
        .collect()
        .expect(&[Missing])
        .expect_reason(
            0,
            "the pod has image localhost/rusty:dev, the measured one is",
        );
}

#[test]
fn a_start_that_only_the_restart_count_tells_of_is_accounted_for() {
    scenario()
        .pod("a")
        .runs("rusty")
        .starts()
        .writes("x.profraw", &profraw())
        .exits(1)
        .starts()
        .unnoticed()
        .starts()
        .writes("x.profraw", &profraw())
        .exits(0)
        .collect()
        .expect(&[Collected, Missing, Collected])
        .expect_finding("unseen-start", "start 2 was not seen");
}

#[test]
fn an_unnoticed_start_with_evidence_is_no_loss() {
    let done = scenario()
        .pod("a")
        .runs("rusty")
        .starts()
        .unnoticed()
        .writes("x.profraw", &profraw())
        .starts()
        .writes("x.profraw", &profraw())
        .killed("Error")
        .collect()
        .expect(&[Collected, Collected])
        .expect_finding("unseen-start", "start 1 was not seen");
    assert_eq!(done.ledger.lost().count(), 0);
}

#[test]
fn a_container_that_never_ran_is_no_incarnation() {
    scenario()
        .pod("a")
        .runs("rusty")
        .pod("b")
        .runs("rusty")
        .cannot_start()
        .collect()
        .expect(&[])
        .expect_finding("never-started", "sites/a container main never started")
        .expect_finding(
            "never-started",
            "sites/b container main could not start its program",
        );
}

#[test]
fn a_pod_gone_before_it_was_seen_counts_and_is_told() {
    scenario()
        .unseen_pod("a")
        .runs("rusty")
        .starts()
        .writes("x.profraw", &profraw())
        .exits(0)
        .collect()
        .expect(&[Collected])
        .expect_finding("unseen-pod", "sites/a (uid-a)");
}

#[test]
fn files_of_an_earlier_run_are_told_and_not_counted() {
    scenario()
        .pod("a")
        .runs("rusty")
        .starts()
        .writes("x.profraw", &profraw())
        .exits(0)
        .in_run("20261120-090000-aaaa")
        .unseen_pod("old")
        .runs("rusty")
        .starts()
        .writes("x.profraw", &profraw())
        .collect()
        .expect(&[Collected])
        .expect_finding("stale", "is of run 20261120-090000-aaaa");
}

#[test]
fn a_launcher_stopped_before_its_record_loses_nothing() {
    let done = scenario()
        .pod("a")
        .runs("rusty")
        .starts()
        .writes_alone("x.profraw", &profraw())
        .killed("Error")
        .collect()
        .expect(&[Collected])
        .expect_finding("no-start-record", "has no start.json");
    assert_eq!(done.ledger.incarnations[0].component, "rusty");
    assert!(done.ledger.incarnations[0].identity.is_some());
}

#[test]
fn links_pipes_and_giants_are_refused_and_the_rest_counts() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "secret").unwrap();
    let limits = Limits {
        file_size: 100_000,
        ..Limits::default()
    };
    let done = scenario()
        .with_limits(limits)
        .pod("a")
        .runs("rusty")
        .starts()
        .writes("x.profraw", &profraw())
        .by_hand(|dir| {
            symlink(secret.path(), dir.join("link.profraw")).unwrap();
            symlink("/", dir.join("root")).unwrap();
            let pipe = dir.join("pipe");
            let made = std::process::Command::new("mkfifo")
                .arg(pipe)
                .status()
                .unwrap();
            assert!(made.success());
            let giant = std::fs::File::create(dir.join("giant.profraw")).unwrap();
            giant.set_len(1 << 40).unwrap();
        })
        .exits(0)
        .collect()
        .expect(&[Collected])
        .expect_file("link.profraw", Rejected)
        .expect_file("root", Rejected)
        .expect_file("pipe", Rejected)
        .expect_file("giant.profraw", Rejected);
    assert_eq!(done.file("link.profraw").reason, "it is a symbolic link");
    assert!(
        !done
            .quarantine
            .join(&done.file("link.profraw").path)
            .exists()
    );
}

#[test]
fn a_second_name_of_a_file_is_a_duplicate() {
    scenario()
        .pod("a")
        .runs("rusty")
        .starts()
        .writes("a.profraw", &profraw())
        .by_hand(|dir| std::fs::hard_link(dir.join("a.profraw"), dir.join("b.profraw")).unwrap())
        .exits(0)
        .collect()
        .expect(&[Collected])
        .expect_file("a.profraw", Merged)
        .expect_file("b.profraw", Duplicate);
}

#[test]
fn files_outside_of_any_incarnation_are_told() {
    let one = scenario()
        .pod("a")
        .runs("rusty")
        .starts()
        .writes("x.profraw", &profraw())
        .exits(0);
    std::fs::write(one.evidence().join("default.profraw"), "x").unwrap();
    std::fs::create_dir_all(one.evidence().join("sites/nounderscore/c/i")).unwrap();
    one.collect()
        .expect(&[Collected])
        .expect_finding("stray", "default.profraw is outside")
        .expect_finding("stray", "sites/nounderscore/c/i is no incarnation's");
}

#[test]
fn more_files_than_anybody_can_mean_are_told_once_and_not_read() {
    let mut one = scenario()
        .with_limits(Limits {
            files_per_incarnation: 3,
            ..Limits::default()
        })
        .pod("a")
        .runs("rusty")
        .starts()
        .writes("a.profraw", &profraw());
    for n in 0..20 {
        one = one.writes(&format!("b{n:02}.profraw"), &profraw());
    }
    let done = one
        .collect()
        .expect(&[Collected])
        .expect_finding("too-many-files", "more than 3 files")
        .expect_file("b01.profraw", Merged)
        .expect_file("b02.profraw", Rejected);
    assert_eq!(done.ledger.file_fates()[&Merged], 3);
}

#[test]
fn what_a_pod_was_evicted_for_is_kept() {
    let mut one = scenario()
        .pod("a")
        .runs("rusty")
        .starts()
        .writes("x.profraw", &profraw())
        .killed("Error");
    one.observed.pods[0].reason = Some("Evicted".into());
    let done = one.collect().expect(&[Collected]);
    assert_eq!(
        done.ledger.incarnations[0].ended.reason.as_deref(),
        Some("Evicted")
    );
}

#[test]
fn a_process_that_still_runs_is_told() {
    scenario()
        .pod("a")
        .runs("rusty")
        .starts()
        .writes("x.profraw", &profraw())
        .collect()
        .expect(&[Collected])
        .expect_finding("still-running", "sites/a container main");
}

#[test]
fn a_cluster_that_went_away_costs_no_evidence() {
    let mut one = scenario()
        .pod("a")
        .runs("rusty")
        .starts()
        .writes("x.profraw", &profraw());
    one.observed.lost = Some("no answer from its API".into());
    one.observed.pods[0].gone = true;
    let done = one
        .collect()
        .expect(&[Collected])
        .expect_finding("cluster-lost", "no answer");
    assert!(
        done.ledger
            .findings
            .iter()
            .all(|finding| finding.kind != "still-running")
    );
}

#[test]
fn processes_on_the_host_need_no_watch() {
    let mut one = scenario().unseen_pod("exec").runs("rusty");
    one.observed.pods[0].namespace = "_host".into();
    let one = one.starts().writes("x.profraw", &profraw()).exits(0);
    let done = one.collect().expect(&[Collected]).expect_no_findings();
    assert_eq!(done.ledger.incarnations[0].restart, None);
    assert_eq!(done.ledger.incarnations[0].component, "rusty");
}

#[test]
fn counters_that_are_mapped_to_a_file_are_all_that_a_process_counted() {
    let go = || scenario().pod("a").runs("goer").starts();
    // Killed: nothing is missing, and nothing is to be said.
    go().writes_file(covmeta())
        .writes_file(covlive(1, 5))
        .killed("OOMKilled")
        .collect()
        .expect(&[Collected])
        .expect_no_findings()
        .expect_file("covlive.1.5", Merged);
    // It ended by itself: what it wrote then has the same name and start.
    let done = go()
        .writes_file(covmeta())
        .writes_file(covlive(1, 5))
        .writes_file(covcounters(1, 5))
        .exits(0)
        .collect()
        .expect(&[Collected])
        .expect_no_findings();
    let (name, _) = covcounters(1, 5);
    assert_eq!(done.file(&name).fate, Superseded);
    assert_eq!(done.file(&name).reason, "covlive.1.5 has all its counters");
    // Killed while it wrote that; and before, it had replaced itself, so one
    // process id had two processes.
    let (name, bytes) = covcounters(1, 9);
    let (name, bytes) = (format!("tmp.{name}"), &bytes[..20]);
    go().writes_file(covmeta())
        .writes_file(covlive(1, 5))
        .writes_file(covlive(1, 9))
        .writes(&name, bytes)
        .killed("Error")
        .collect()
        .expect(&[Collected])
        .expect_no_findings()
        .expect_file("covlive.1.5", Merged)
        .expect_file("covlive.1.9", Merged)
        .expect_file(&name, Superseded);
    // The mapped file is damaged: what the process wrote at its end counts.
    let (name, bytes) = covlive(1, 5);
    let (end, _) = covcounters(1, 5);
    go().writes_file(covmeta())
        .writes(&name, &bytes[..100])
        .writes_file(covcounters(1, 5))
        .exits(0)
        .collect()
        .expect(&[Collected])
        .expect_file(&name, Rejected)
        .expect_file(&end, Merged);
    // A name that is not that of the process in the file.
    let (_, bytes) = covlive(1, 5);
    go().writes_file(covmeta())
        .writes("covlive.2.5", &bytes)
        .exits(0)
        .collect()
        .expect(&[Rejected])
        .expect_reason(0, "which is of process 1 of 5");
}
