//! Which phase or test of the suite reached which lines.

use std::collections::{BTreeMap, BTreeSet};

use podcov_profile::combine::Combined;
use podcov_profile::model::Component;
use podcov_profile::phases::{Key, Kind, is_part};
use podcov_profile::reach::BitSet;
use serde::{Deserialize, Serialize};

/// A test or phase, and what it reached of each file.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseLines {
    /// Its numbers.
    pub numbers: PhaseNumbers,
    /// Its kind.
    pub kind: Kind,
    /// By index of the file in the report's.
    pub files: BTreeMap<usize, Reached>,
}

/// The numbers of a test or phase. Lines are counted once a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseNumbers {
    /// `test` or `phase`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Lines that it reached, those that are shared included.
    pub lines: u64,
    /// Lines that it or another reached that was open at the same time.
    pub shared: u64,
    /// Of `lines`, those that were also reached while none of its kind was
    /// open: what operators do anyway.
    pub background: u64,
    /// Lines that nothing else reached: none of its kind, and not the
    /// background. What is part of it, and what it is part of, does not count.
    pub only: u64,
}

/// What one of them reached of a file, as numbers of lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Lines that it reached, those that are shared included.
    pub lines: BitSet,
    /// Those of them that another may have reached instead.
    pub shared: BitSet,
    /// Those of them that nothing else reached.
    pub only: BitSet,
}

/// What was reached of a file, by kind, while none of the kind was open.
pub type Background = BTreeMap<(Kind, usize), BitSet>;

/// What is known so far.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    phases: BTreeMap<(Kind, String), BTreeMap<usize, Reached>>,
    background: Background,
}

impl Gathered {
    /// Adds what a component's builds know of its files; `index` gives a
    /// combined file's place in the report, if it is in there.
    pub(crate) fn add(
        &mut self,
        component: &Component,
        combined: &[Combined],
        index: impl Fn(&Combined) -> Option<usize>,
    ) {
        let places: BTreeMap<(usize, &str), &Combined> = combined
            .iter()
            .flat_map(|one| one.builds.iter().map(move |build| (*build, one)))
            .map(|(build, one)| ((build, one.file.path.as_str()), one))
            .collect();
        for (build, binary) in component.binaries.iter().enumerate() {
            let keys = binary.reach.iter().map(|(key, set)| (Key::parse(key), set));
            let mut keys = keys
                .filter(|(key, _)| !matches!(key, Key::Incarnation(_)))
                .peekable();
            if keys.peek().is_none() {
                continue;
            }
            // Where the lines of each of its files begin, and which it is.
            let mut starts = Vec::new();
            let mut before = 0;
            for file in &binary.files {
                let place = places.get(&(build, file.path.as_str()));
                starts.push((before, place.and_then(|one| index(one)), file));
                before += file.lines.len() as u32;
            }
            for (key, set) in keys {
                for (first, place, file) in &starts {
                    let bits = set.within(*first, *first + file.lines.len() as u32);
                    let Some(place) = place.filter(|_| !bits.is_empty()) else {
                        continue;
                    };
                    let numbers = bits.iter().map(|bit| file.lines[bit as usize].number);
                    self.put(&key, place, numbers.collect());
                }
            }
        }
    }

    fn put(&mut self, key: &Key, file: usize, lines: BitSet) {
        match key {
            Key::Incarnation(_) => {}
            Key::Outside(kind) => {
                let known = self.background.entry((*kind, file)).or_default();
                *known = known.union(&lines);
            }
            Key::In { kind, name, shared } => {
                let phase = self.phases.entry((*kind, name.clone())).or_default();
                let reached = phase.entry(file).or_default();
                // For a moment `only` holds what is its own for sure.
                if *shared {
                    reached.shared = reached.shared.union(&lines);
                } else {
                    reached.only = reached.only.union(&lines);
                }
            }
        }
    }

    /// The phases by kind and name, and the background.
    pub(crate) fn finish(mut self) -> (Vec<PhaseLines>, Background) {
        for reached in self.phases.values_mut().flat_map(BTreeMap::values_mut) {
            reached.lines = reached.only.union(&reached.shared);
            reached.shared = reached.shared.difference(&reached.only);
            reached.only = BitSet::new();
        }
        // How many of a kind reached a line.
        let mut often: BTreeMap<(Kind, usize), BTreeMap<u32, u32>> = BTreeMap::new();
        for ((kind, _), files) in &self.phases {
            for (file, reached) in files {
                let of_file = often.entry((*kind, *file)).or_default();
                for line in reached.lines.iter() {
                    *of_file.entry(line).or_default() += 1;
                }
            }
        }
        let names: BTreeSet<(Kind, String)> = self.phases.keys().cloned().collect();
        let none = BitSet::new();
        let mut all = Vec::new();
        for ((kind, name), files) in &self.phases {
            let relatives: Vec<&BTreeMap<usize, Reached>> = relatives(&names, *kind, name)
                .into_iter()
                .filter_map(|name| self.phases.get(&(*kind, name)))
                .collect();
            let mut files = files.clone();
            let mut numbers = PhaseNumbers {
                kind: kind.word().to_owned(),
                name: name.clone(),
                ..PhaseNumbers::default()
            };
            for (file, reached) in &mut files {
                let background = self.background.get(&(*kind, *file)).unwrap_or(&none);
                let is_only = |line: &u32| {
                    let own = relatives.iter().filter_map(|files| files.get(file));
                    let own = own.filter(|reached| reached.lines.contains(*line)).count();
                    let all = often.get(&(*kind, *file)).and_then(|lines| lines.get(line));
                    all.copied().unwrap_or(0) as usize == own + 1 && !background.contains(*line)
                };
                reached.only = reached.lines.iter().filter(is_only).collect();
                numbers.lines += reached.lines.count();
                numbers.shared += reached.shared.count();
                numbers.only += reached.only.count();
                numbers.background += reached.lines.intersection(background).count();
            }
            all.push(PhaseLines {
                numbers,
                kind: *kind,
                files,
            });
        }
        (all, self.background)
    }
}

/// The names that are part of one, and those it is part of.
fn relatives(names: &BTreeSet<(Kind, String)>, kind: Kind, name: &str) -> Vec<String> {
    let outer = name.match_indices('/').map(|(at, _)| name[..at].to_owned());
    let outer = outer.filter(|outer| names.contains(&(kind, outer.clone())));
    let first = (kind, format!("{name}/"));
    let inner = names.range(first..);
    let inner = inner.take_while(|(other, inner)| *other == kind && is_part(inner, name));
    let inner = inner.map(|(_, inner)| inner.clone());
    outer.chain(inner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(sets: &[(&str, &[u32])]) -> (Vec<PhaseLines>, Background) {
        let mut gathered = Gathered::default();
        for (key, lines) in sets {
            let lines = lines.iter().copied().collect();
            gathered.put(&Key::parse(key), 0, lines);
        }
        gathered.finish()
    }

    fn check(sets: &[(&str, &[u32])], expected: &[(&str, [u64; 4])]) {
        let (phases, _) = gathered(sets);
        let found: Vec<(&str, [u64; 4])> = phases
            .iter()
            .map(|phase| {
                let of = &phase.numbers;
                (&*of.name, [of.lines, of.shared, of.background, of.only])
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn only_is_what_no_other_test_and_no_background_reaches() {
        check(
            &[
                ("test:a", &[1, 2, 3, 4]),
                ("test:b", &[2, 9]),
                ("test-outside", &[3]),
                ("phase:p", &[1]),
            ],
            &[
                ("a", [4, 0, 1, 2]),
                ("b", [2, 0, 0, 1]),
                ("p", [1, 0, 0, 1]),
            ],
        );
    }

    #[test]
    fn what_is_shared_is_both_s_and_nobody_s_alone() {
        check(
            &[
                ("test:a", &[1]),
                ("test-shared:a", &[1, 5]),
                ("test-shared:b", &[1, 5]),
            ],
            &[("a", [2, 1, 0, 0]), ("b", [2, 2, 0, 0])],
        );
    }

    #[test]
    fn a_test_and_its_subtests_do_not_take_from_each_other() {
        check(
            &[
                ("test:a", &[1, 2, 3]),
                ("test:a-b", &[3]),
                ("test:a/x", &[1, 2]),
                ("test:a/y", &[2]),
            ],
            &[
                ("a", [3, 0, 0, 2]),
                ("a-b", [1, 0, 0, 0]),
                ("a/x", [2, 0, 0, 1]),
                ("a/y", [1, 0, 0, 0]),
            ],
        );
    }
}
