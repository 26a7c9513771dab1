//! The counts of phases: what the recorder wrote down, by file and by whose it
//! is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use podcov_profile::Limits;
use podcov_profile::ledger::{Finding, Incarnation, Ledger};
use podcov_profile::llvm::profile::MAX_PLAUSIBLE;
use podcov_profile::phases::{Counts, Key, Mark, Phases, Shape, mark};

use crate::Error;
use crate::reach::folder;

/// Counts by place.
pub(crate) type Sums = BTreeMap<u32, u64>;

/// What phases counted.
#[derive(Default)]
pub(crate) struct Attributed {
    phases: Phases,
    /// Behind the last mark.
    last: u32,
    /// By path below the folder of evidence.
    files: BTreeMap<String, OfFile>,
    /// Some process was started for a phase.
    has_own: bool,
}

/// What was counted in one file.
pub(crate) struct OfFile {
    pub(crate) shape: Shape,
    pub(crate) places: u32,
    pub(crate) by_key: BTreeMap<Key, Sums>,
    /// All of it.
    pub(crate) total: Sums,
}

impl Attributed {
    /// Reads the marks in `dir`; without the folder there were no phases. What
    /// is wrong with a mark is told, and its counts are the background's.
    pub(crate) fn read(dir: &Path, ledger: &mut Ledger) -> Result<Attributed, Error> {
        let files = files(dir)?;
        let mut all = Attributed {
            has_own: ledger.incarnations.iter().any(|i| i.phase.is_some()),
            ..Attributed::default()
        };
        // Twice, so that the counts of one mark at a time are in memory.
        let mut events = Vec::new();
        for (number, path) in &files {
            match read(path, *number)? {
                Ok(read) => events.push(Mark {
                    files: Vec::new(),
                    ..read
                }),
                Err(why) => tell(ledger, format!("mark {number}: {why}")),
            }
            if *number != all.last + 1 {
                tell(ledger, format!("mark {} is missing", all.last + 1));
            }
            all.last = *number;
        }
        all.phases = Phases::new(&events);
        let folders: BTreeMap<String, &Incarnation> = ledger
            .incarnations
            .iter()
            .filter_map(|incarnation| Some((folder(incarnation)?, incarnation)))
            .collect();
        for (number, path) in &files {
            let Ok(read) = read(path, *number)? else {
                continue;
            };
            for file in read.files {
                let incarnation = file.path.match_indices('/').nth(3);
                let incarnation =
                    incarnation.and_then(|(at, _)| folders.get(&file.path[..at]).copied());
                if let Some(incarnation) = incarnation {
                    all.take(*number, incarnation, file);
                }
            }
        }
        Ok(all)
    }

    fn take(&mut self, number: u32, incarnation: &Incarnation, file: mark::FileDelta) {
        let keys = self.keys(number, incarnation);
        let mark::Delta {
            shape,
            places,
            counts,
        } = file.delta;
        let of_file = self.files.entry(file.path).or_insert_with(|| OfFile {
            shape: shape.clone(),
            places,
            by_key: BTreeMap::new(),
            total: Sums::new(),
        });
        if of_file.shape != shape || of_file.places != places {
            // The file was replaced by one of another program.
            of_file.by_key.clear();
            of_file.total.clear();
            (of_file.shape, of_file.places) = (shape, places);
        }
        for key in keys {
            add(of_file.by_key.entry(key).or_default(), &counts);
        }
        add(&mut of_file.total, &counts);
    }

    /// Whether the run had phases at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.phases.all().is_empty() && !self.has_own
    }

    /// The file's counts, if they are of that many places.
    pub(crate) fn of(&self, path: &str) -> Option<&OfFile> {
        self.files.get(path)
    }

    /// What was counted in the folder of an incarnation.
    pub(crate) fn within<'s>(
        &'s self,
        incarnation: &Incarnation,
    ) -> impl Iterator<Item = &'s OfFile> + use<'s> {
        let below = folder(incarnation).map(|folder| folder + "/");
        let from = below.clone().unwrap_or_default();
        self.files
            .range(from..)
            .take_while(move |(path, _)| below.as_ref().is_some_and(|b| path.starts_with(b)))
            .map(|(_, file)| file)
    }

    fn keys(&self, number: u32, incarnation: &Incarnation) -> Vec<Key> {
        self.phases
            .keys(number, &incarnation.namespace, incarnation.phase.as_deref())
    }

    /// Whose the counts are that no mark tells of: of the time behind the last.
    pub(crate) fn keys_of_rest(&self, incarnation: &Incarnation) -> Vec<Key> {
        self.keys(self.last.saturating_add(1), incarnation)
    }
}

pub(crate) fn add(into: &mut Sums, counts: &[(u32, u64)]) {
    for (place, count) in counts {
        let sum = into.entry(*place).or_default();
        *sum = sum.saturating_add(*count).min(MAX_PLAUSIBLE);
    }
}

/// What is left of a file's counts when those of the marks are taken away.
pub(crate) fn rest(counts: impl Iterator<Item = (u32, u64)>, total: Option<&Sums>) -> Counts {
    let known = |place: &u32| total.and_then(|total| total.get(place)).copied();
    counts
        .map(|(place, count)| (place, count.saturating_sub(known(&place).unwrap_or(0))))
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn tell(ledger: &mut Ledger, text: String) {
    let finding = Finding {
        kind: "phases".to_owned(),
        text: format!("{text}; what it tells of no phase counts as background"),
    };
    if !ledger.findings.contains(&finding) {
        ledger.findings.push(finding);
    }
}

/// The files of marks by number.
fn files(dir: &Path) -> Result<BTreeMap<u32, PathBuf>, Error> {
    let mut files = BTreeMap::new();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(files),
        entries => entries.map_err(Error::io("read", dir))?,
    };
    for entry in entries {
        let path = entry.map_err(Error::io("read", dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = name
            .strip_suffix(".mark")
            .and_then(|number| number.parse().ok());
        if let Some(number) = number {
            files.insert(number, path);
        }
    }
    Ok(files)
}

fn read(path: &Path, number: u32) -> Result<Result<Mark, String>, Error> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let read = Mark::read(&bytes, &Limits::default()).map_err(|error| error.to_string());
    Ok(read.and_then(|mark| match mark.number == number {
        true => Ok(mark),
        false => Err(format!("it says that it is mark {}", mark.number)),
    }))
}
