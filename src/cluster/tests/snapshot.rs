//! What is read of processes while they run, from files that a Go process left.

use std::path::{Path, PathBuf};

use podcov_cluster::collect::snapshot::Snapshots;
use podcov_profile::go::live::Live;
use podcov_profile::go::meta::{Misfit, read_meta};
use podcov_profile::phases::{FileDelta, Shape};

const META: &str = "covmeta.8e5521eaa6050ffc4493d96397aa5e35";
const FIRST: &str = "covlive.31451.1795580612000000000";

fn fixture(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profile/tests/fixtures/go-live");
    std::fs::read(dir.join(name)).unwrap()
}

struct Evidence {
    dir: tempfile::TempDir,
    snapshots: Snapshots,
}

impl Evidence {
    fn new() -> Evidence {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::new(dir.path()).unwrap();
        let evidence = Evidence { dir, snapshots };
        std::fs::create_dir_all(evidence.incarnation()).unwrap();
        evidence
    }

    fn incarnation(&self) -> PathBuf {
        let place = "default/op-1_uid-1/main/20260101T000000.000Z-0000";
        self.dir.path().join(place)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.incarnation().join(name), bytes).unwrap();
    }

    /// Of each file that counted its name, and the sum of its counts.
    fn look(&mut self) -> Vec<(String, u64)> {
        let sum = |file: FileDelta| {
            assert!(matches!(file.delta.shape, Shape::Go { hash } if META.ends_with(&hash)));
            let name = file.path.rsplit('/').next().unwrap().to_owned();
            (name, file.delta.counts.iter().map(|(_, count)| count).sum())
        };
        self.snapshots
            .take()
            .unwrap()
            .into_iter()
            .map(sum)
            .collect()
    }
}

/// The counters of a process a little later: one function ran `more` times.
fn later(more: u32) -> Vec<u8> {
    let mut bytes = fixture("covlive");
    let meta = read_meta(&fixture(META)).unwrap();
    let mut place = None;
    let live = Live::parse(&bytes).unwrap();
    let seen = live.visit(&meta, |entry| {
        // Behind number of counters, package and function.
        place.get_or_insert(entry.offset as usize + 12);
        Ok::<(), Misfit>(())
    });
    seen.unwrap();
    let word = &mut bytes[place.unwrap()..][..4];
    let count = u32::from_le_bytes(word.try_into().unwrap()) + more;
    word.copy_from_slice(&count.to_le_bytes());
    bytes
}

#[test]
fn counters_of_a_go_process_are_read_while_it_runs() {
    let mut evidence = Evidence::new();
    evidence.put(FIRST, &fixture("covlive"));
    assert_eq!(evidence.look(), [], "nothing says yet what is counted");
    evidence.put(META, &fixture(META));
    let all = evidence.look();
    assert!(
        all.len() == 1 && all[0].0 == FIRST && all[0].1 > 50,
        "{all:?}"
    );
    assert_eq!(evidence.look(), []);
    evidence.put(FIRST, &later(7));
    assert_eq!(evidence.look(), [(FIRST.to_owned(), 7)]);

    // What it writes at its end, and what it had written before, is the same.
    let written = "covcounters.8e5521eaa6050ffc4493d96397aa5e35.31451.1795580612572064326";
    evidence.put(written, &fixture(written));
    assert_eq!(evidence.look(), []);

    // It replaced itself and counts from zero, more than before.
    let second = "covlive.31451.1795580613000000000";
    evidence.put(second, &later(9));
    assert_eq!(evidence.look(), [(second.to_owned(), all[0].1 + 9)]);
}

#[test]
fn a_folder_is_done_when_its_process_has_ended_and_nothing_counts() {
    let mut evidence = Evidence::new();
    evidence.put(META, &fixture(META));
    evidence.put(FIRST, &fixture("covlive"));
    evidence.put("exit.json", b"{}");
    assert_eq!(evidence.look().len(), 1);
    // A child may outlive it.
    evidence.put(FIRST, &later(1));
    assert_eq!(evidence.look(), [(FIRST.to_owned(), 1)]);
    assert_eq!(evidence.look(), []);
    evidence.put(FIRST, &later(2));
    assert_eq!(evidence.look(), [], "nobody looks there again");
}

#[test]
fn what_is_half_written_comes_with_a_later_look() {
    let mut evidence = Evidence::new();
    evidence.put(META, &fixture(META));
    let whole = fixture("covlive");
    evidence.put(FIRST, &whole[..whole.len() / 2]);
    assert_eq!(evidence.look(), []);
    evidence.put(FIRST, &whole);
    assert_eq!(evidence.look().len(), 1);
}
