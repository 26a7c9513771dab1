//! Every fixture, cut at every byte and with every byte changed, through every
//! entry point: an answer or an error that says where, within the memory and
//! the time that the crate promises. Nothing panics, hangs or aborts.

#[path = "../fuzz/src/counting.rs"]
mod counting;
#[allow(dead_code, reason = "each user needs another part")]
#[path = "../fuzz/src/entries.rs"]
mod entries;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use podcov_profile::error::Kind;
use podcov_profile::phases::{Delta, FileDelta, Mark, Shape};

#[global_allocator]
static COUNTING: counting::Counting = counting::Counting;

/// One reading takes far less; this is a hang.
const HANG: Duration = Duration::from_secs(5);
const CHANGES: [fn(u8) -> u8; 4] = [|_| 0, |_| 0x7f, |_| 0xff, |byte| byte ^ 1];

type Entry = (&'static str, entries::Read);

/// Evidence and programs; sources are beside them.
fn fixtures() -> Vec<(String, Vec<u8>)> {
    const SOURCES: [&str; 8] = ["rs", "go", "mod", "sum", "md", "toml", "c", "snap"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut dirs: Vec<PathBuf> = vec![root.join("tests/fixtures")];
    let mut found = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let kind = path
                .extension()
                .and_then(|kind| kind.to_str())
                .unwrap_or_default();
            if path.is_dir() {
                dirs.push(path);
            } else if !SOURCES.contains(&kind) {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    found.push(("a mark of phases".to_owned(), mark().to_bytes()));
    found.sort();
    assert!(found.len() >= 7, "{} fixtures", found.len());
    found
}

/// A mark while a Rust and a Go process count.
fn mark() -> Mark {
    let file = |path: &str, shape| FileDelta {
        path: path.to_owned(),
        delta: Delta {
            shape,
            places: 400,
            counts: vec![(0, 1), (3, 300), (399, 70_000)],
        },
    };
    let hash = "8e5521eaa6050ffc4493d96397aa5e35".to_owned();
    Mark {
        number: 1,
        at: 1_795_600_000_000,
        files: vec![
            file("shop/a_1/main/0/1_0.profraw", Shape::Llvm),
            file("shop/b_2/main/0/covlive.7.1", Shape::Go { hash }),
        ],
        ..Mark::default()
    }
}

/// What came of readings.
#[derive(Default, Debug)]
struct Tally {
    read: u64,
    refused: u64,
}

impl Tally {
    /// Reads bytes; `what` they are is asked for only where something is wrong.
    fn read(&mut self, entry: Entry, what: impl Fn() -> String, bytes: &[u8]) {
        let begin = Instant::now();
        let (result, peak) = counting::peak_of(|| (entry.1)(bytes));
        let (name, took) = (entry.0, begin.elapsed());
        assert!(took < HANG, "{name} of {}: it took {took:?}", what());
        let allowed = counting::allowed(bytes.len());
        assert!(
            peak <= allowed,
            "{name} of {}: {peak} bytes were held",
            what()
        );
        let Err(error) = result else {
            self.read += 1;
            return;
        };
        self.refused += 1;
        let len = bytes.len() as u64;
        assert!(
            error.len == len && error.offset <= len && !error.what.is_empty(),
            "{name} of {}, {len} bytes: {error:?}",
            what()
        );
        assert_eq!(
            error.kind == Kind::Empty,
            len == 0,
            "{name} of {}: {error}",
            what()
        );
    }
}

/// All fixtures through all entry points: what `change` does at each place.
/// The bytes it is given are those of the fixture, and have to be again when it
/// returns.
fn sweep(change: impl Fn(&mut Tally, Entry, &str, &mut Vec<u8>, usize) + Sync) {
    let mut fixtures = fixtures();
    // The largest first, so that no thread has to wait long for another.
    fixtures.sort_by_key(|(_, bytes)| std::cmp::Reverse(bytes.len()));
    let works: Vec<(&(String, Vec<u8>), Entry)> = fixtures
        .iter()
        .flat_map(|fixture| entries::ENTRIES.iter().map(move |entry| (fixture, *entry)))
        .collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
        while let Some(((name, bytes), entry)) = works.get(next.fetch_add(1, Ordering::Relaxed)) {
            let tally = tallies.entry(entry.0).or_default();
            tally.read(*entry, || name.clone(), bytes);
            let mut bytes = bytes.clone();
            for at in 0..bytes.len() {
                change(tally, *entry, name, &mut bytes, at);
            }
        }
        tallies
    };
    let mut all: BTreeMap<&str, Tally> = BTreeMap::new();
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            let tallies = thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            for (name, tally) in tallies {
                let whole = all.entry(name).or_default();
                whole.read += tally.read;
                whole.refused += tally.refused;
            }
        }
    });
    let places: usize = fixtures.iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(all.len(), entries::ENTRIES.len());
    for (name, tally) in all {
        assert!(
            tally.read + tally.refused > places as u64,
            "{name} did not see every place: {tally:?}"
        );
        assert!(
            tally.read > 0 && tally.refused > 500,
            "{name} has no fixture that it can read, or refuses none: {tally:?}"
        );
    }
}

#[test]
fn every_truncation_of_every_fixture_is_read_or_refused() {
    sweep(|tally, entry, name, bytes, at| {
        tally.read(entry, || format!("{name} cut at {at}"), &bytes[..at]);
    });
}

#[test]
fn every_changed_byte_of_every_fixture_is_read_or_refused() {
    sweep(|tally, entry, name, bytes, at| {
        let kept = bytes[at];
        for change in CHANGES {
            bytes[at] = change(kept);
            let now = bytes[at];
            tally.read(entry, || format!("{name}, byte {at} as {now:#04x}"), bytes);
        }
        bytes[at] = kept;
    });
}
