//! Every fixture, cut at every byte and with every byte changed, through every
//! entry point: an answer or an error that says where, within the memory and
//! the time that the crate promises. Nothing panics, hangs or aborts.

#[path = "../fuzz/src/counting.rs"]
mod counting;
#[allow(dead_code, reason = "each user needs another part")]
#[path = "../fuzz/src/entries.rs"]
mod entries;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use podcov_profile::error::Kind;

#[global_allocator]
static COUNTING: counting::Counting = counting::Counting;

/// One reading takes far less; this is a hang.
const HANG: Duration = Duration::from_secs(5);
const CHANGES: [fn(u8) -> u8; 4] = [|_| 0, |_| 0x7f, |_| 0xff, |byte| byte ^ 1];

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
    found.sort();
    assert!(found.len() >= 7, "{} fixtures", found.len());
    found
}

/// What came of readings.
#[derive(Default, Debug)]
struct Tally {
    read: u64,
    refused: u64,
}

impl Tally {
    /// Says whether it could be read.
    fn read(&mut self, entry: (&str, entries::Read), what: &str, bytes: &[u8]) -> bool {
        let begin = Instant::now();
        let (result, peak) = counting::peak_of(|| (entry.1)(bytes));
        let (name, took) = (entry.0, begin.elapsed());
        assert!(took < HANG, "{name} of {what}: it took {took:?}");
        let allowed = counting::allowed(bytes.len());
        assert!(peak <= allowed, "{name} of {what}: {peak} bytes were held");
        let Err(error) = result else {
            self.read += 1;
            return true;
        };
        self.refused += 1;
        let len = bytes.len() as u64;
        assert!(
            error.len == len && error.offset <= len && !error.what.is_empty(),
            "{name} of {what}, {len} bytes: {error:?}"
        );
        assert_eq!(
            error.kind == Kind::Empty,
            len == 0,
            "{name} of {what}: {error}"
        );
        false
    }
}

/// Of a fixture of another format, which is refused at its first bytes, only
/// one place of so many is looked at.
const STRIDE: usize = 16;

/// All fixtures through all entry points: what `change` does at each place.
fn sweep(change: impl Fn(&mut Tally, (&'static str, entries::Read), &str, &[u8], usize) + Sync) {
    let fixtures = fixtures();
    std::thread::scope(|scope| {
        let works: Vec<_> = entries::ENTRIES
            .iter()
            .map(|entry| {
                let (fixtures, change) = (&fixtures, &change);
                scope.spawn(move || {
                    let mut tally = Tally::default();
                    for (name, bytes) in fixtures {
                        let is_own = tally.read(*entry, name, bytes);
                        for at in (0..bytes.len()).step_by(if is_own { 1 } else { STRIDE }) {
                            change(&mut tally, *entry, name, bytes, at);
                        }
                    }
                    (entry.0, tally)
                })
            })
            .collect();
        for work in works {
            let (name, tally) = work
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            assert!(tally.refused > 500, "{name}: {tally:?}");
            assert!(
                tally.read > 0,
                "{name} has no fixture that it can read: {tally:?}"
            );
        }
    });
}

#[test]
fn every_truncation_of_every_fixture_is_read_or_refused() {
    sweep(|tally, entry, name, bytes, at| {
        tally.read(entry, &format!("{name} cut at {at}"), &bytes[..at]);
    });
}

#[test]
fn every_changed_byte_of_every_fixture_is_read_or_refused() {
    sweep(|tally, entry, name, bytes, at| {
        let (mut bytes, kept) = (bytes.to_vec(), bytes[at]);
        for change in CHANGES {
            bytes[at] = change(kept);
            let what = format!("{name}, byte {at} as {:#04x}", bytes[at]);
            tally.read(entry, &what, &bytes);
        }
    });
}
