//! What the programs counted by hand, and where they counted it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Counts by name, of what the sources mark with `// truth: NAME`.
pub type Counts = BTreeMap<String, u64>;

/// As in the file that the program maps; see `ground_truth/README.md`.
const NAMES: [&str; 5] = ["early", "step", "even", "odd", "handler"];

/// What the processes counted that have a file in this folder.
pub fn by_hand(dir: &Path) -> Vec<Counts> {
    let files = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let counts = |path: PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        let count = |place: usize| {
            // One that was killed before it mapped the file counted nothing.
            let word = bytes.get(8 * place..).and_then(<[u8]>::first_chunk);
            u64::from_le_bytes(word.copied().unwrap_or_default())
        };
        let numbered = NAMES.iter().enumerate();
        numbered
            .map(|(at, name)| ((*name).to_owned(), count(at + 1)))
            .collect()
    };
    files.map(counts).collect()
}

/// Of all of them.
pub fn sum(all: &[Counts]) -> Counts {
    let mut sum: Counts = NAMES.map(|name| (name.to_owned(), 0)).into();
    all.iter().for_each(|one| add(&mut sum, one));
    sum
}

/// Adds one to the other.
pub fn add(sum: &mut Counts, one: &Counts) {
    for (name, count) in one {
        *sum.entry(name.clone()).or_default() += count;
    }
}

/// Name, end of the source's path, line.
pub struct Marks(Vec<(String, String, String)>);

impl Marks {
    /// Of the sources of a program.
    pub fn of(root: &Path) -> Marks {
        let mut marks = Vec::new();
        for entry in walk(root) {
            let Ok(text) = std::fs::read_to_string(&entry) else {
                continue;
            };
            let file = entry.file_name().unwrap().to_string_lossy().into_owned();
            for (number, line) in (1..).zip(text.lines()) {
                if let Some((_, name)) = line.split_once("// truth: ") {
                    marks.push((name.to_owned(), format!("/{file}"), number.to_string()));
                }
            }
        }
        assert!(marks.len() >= 4, "{}", root.display());
        Marks(marks)
    }

    /// The counts of the marked lines.
    pub fn in_lcov(&self, text: &str) -> Counts {
        let mut counts = Counts::new();
        let mut file = "";
        for line in text.lines() {
            if let Some(path) = line.strip_prefix("SF:") {
                file = path;
            }
            let Some((number, count)) = line.strip_prefix("DA:").and_then(|d| d.split_once(','))
            else {
                continue;
            };
            let here = self
                .0
                .iter()
                .find(|(_, end, at)| file.ends_with(end) && at == number);
            if let Some((name, ..)) = here {
                counts.insert(name.clone(), count.parse().unwrap());
            }
        }
        assert_eq!(counts.len(), self.0.len(), "{counts:?}");
        counts
    }
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true if path.ends_with("target") => {}
            true => found.extend(walk(&path)),
            false => found.push(path),
        }
    }
    found
}
