//! The programs of `ground_truth`, which count by hand what they do. See the
//! README there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use super::{Project, names};

/// Counts by name, of what the sources mark with `// truth: NAME`.
pub type Counts = BTreeMap<String, u64>;

/// As in the file that the programs map.
pub const NAMES: [&str; 5] = ["early", "step", "even", "odd", "handler"];

/// A line whose count is kept by hand.
pub struct Mark {
    pub name: String,
    pub file: String,
    pub line: u32,
}

/// A project of the `files` below `ground_truth/<language>`, and their marks.
pub fn project(language: &str, files: &[&str]) -> (Project, Vec<Mark>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ground_truth");
    let read = |file: &&str| fs::read_to_string(root.join(language).join(file)).unwrap();
    let texts: Vec<String> = files.iter().map(read).collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .zip(&texts)
        .map(|(file, text)| (*file, text.as_str()))
        .collect();
    let mut marks = Vec::new();
    for (file, text) in &files {
        for (number, line) in text.lines().enumerate() {
            if let Some((_, name)) = line.split_once("// truth: ") {
                marks.push(Mark {
                    name: name.to_owned(),
                    file: (*file).to_owned(),
                    line: number as u32 + 1,
                });
            }
        }
    }
    (Project::new(&files), marks)
}

/// Where a program that leaves its evidence in `dir` counts by hand.
pub fn hands(dir: &Path) -> PathBuf {
    let hands = dir.with_extension("by-hand");
    fs::create_dir_all(&hands).unwrap();
    hands
}

/// What the processes that left their evidence in `dir` counted by hand, with
/// their process ids, by their start.
pub fn by_hand(dir: &Path) -> Vec<(u64, Counts)> {
    let hands = hands(dir);
    let mut all = Vec::new();
    for name in names(&hands) {
        let bytes = fs::read(hands.join(&name)).unwrap();
        let parts: Vec<u64> = name.split('.').skip(1).flat_map(str::parse).collect();
        let count = |place: usize| {
            // One that was killed before it mapped the file counted nothing.
            let word = bytes.get(8 * place..).and_then(<[u8]>::first_chunk);
            u64::from_le_bytes(word.copied().unwrap_or_default())
        };
        let numbered = NAMES.iter().enumerate();
        let counts = numbered.map(|(at, name)| ((*name).to_owned(), count(at + 1)));
        all.push((parts[1], parts[0], counts.collect()));
    }
    all.sort_by_key(|(start, ..)| *start);
    all.into_iter()
        .map(|(_, pid, counts)| (pid, counts))
        .collect()
}

/// In a block the instrumentation counts first, and the program by hand right
/// after it; `threads` were at it when they were ended.
#[track_caller]
pub fn agree(name: &str, counted: u64, by_hand: u64, threads: u64, dir: &Path) {
    assert!(
        (by_hand..=by_hand + threads).contains(&counted),
        "{name}: {counted} counted, {by_hand} by hand; {}",
        dir.display()
    );
}

/// Waits.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Kills half of the programs so many microseconds after they were started,
/// at most `longest`, and half of them at a number of steps: so that no one is
/// killed after nothing on a slow machine, and some are killed in anything.
pub fn kill_number(number: u64, mut child: Child, dir: &Path, longest: u64, random: &mut Random) {
    if number.is_multiple_of(2) {
        std::thread::sleep(Duration::from_micros(random.below(longest)));
    } else {
        let at = random.below(20_000);
        until("steps", || {
            let mut by_hand = by_hand(dir).into_iter();
            by_hand.any(|(_, counts)| counts["step"] + counts["early"] > at)
        });
    }
    kill(&mut child);
}

/// By SIGKILL.
pub fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Any numbers, the same each time.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
