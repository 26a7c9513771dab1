//! What several sources reached together, and which of them reached what:
//! unit tests and e2e runs, or the runs of several suites.
//!
//! Counts add up, saturating. For each line it is known which sources list it
//! as code and which reached it. Sources are told apart by name; those of one
//! name add up. Joining is commutative and associative.
//!
//! Files are the same when their paths are, after each source's own rules:
//! nothing is guessed. [`union`] refuses sources that share no file, which is
//! what forgotten rules look like.

use std::collections::{BTreeMap, BTreeSet};

use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};

use crate::bundle::PathRule;
use crate::model::Ratio;
use crate::neutral::LineCoverage;

/// Sources are kept in the bits of a number.
pub const MAX_SOURCES: usize = 64;

/// One of the things that are joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// What it is called: `unit`, `e2e`.
    pub name: String,
    /// What it reached.
    pub coverage: LineCoverage,
    /// Rewrites of the beginnings of its paths. The first that fits counts; a
    /// path that none fits stays.
    pub rules: Vec<PathRule>,
}

/// Which sources, as a set of bits in the order of [`Union::sources`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Names(pub u64);

/// What is known of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// How often it ran, over all sources.
    pub count: u64,
    /// The sources that list it as code.
    pub known: Names,
    /// The sources that reached it.
    pub reached: Names,
}

/// Several sources, joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Union {
    sources: Vec<String>,
    all: LineCoverage,
    lines: BTreeMap<String, BTreeMap<u32, Provenance>>,
}

/// How many lines one set of sources reached, and no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// The sources; none for lines that nothing reached.
    pub sources: Vec<String>,
    /// How many lines.
    pub lines: u64,
}

/// Why sources cannot be joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Its paths are not those of the others.
    #[error(
        "expected `{name}` to share files with the other sources, found none: it has {own}, they \
         have {others}{hint}"
    )]
    NoCommonFile {
        /// The source.
        name: String,
        /// Some of its paths.
        own: String,
        /// Some of theirs.
        others: String,
        /// The rule that would help, if there is one.
        hint: String,
    },
    /// More sources than bits.
    #[error("expected at most {MAX_SOURCES} sources, found {0}")]
    TooMany(usize),
}

/// Joins sources. Each must share at least one file with another one, unless
/// it has none at all.
///
/// ```
/// use podcov_profile::union::{Source, union};
/// let source = |name: &str, text: &str| Source {
///     name: name.into(),
///     coverage: podcov_profile::lcov::parse(text.as_bytes()).unwrap().coverage,
///     rules: vec![],
/// };
/// let unit = source("unit", "SF:a.rs\nDA:1,1\nDA:2,0\nend_of_record\n");
/// let e2e = source("e2e", "SF:a.rs\nDA:1,2\nDA:2,5\nend_of_record\n");
/// let both = union(vec![unit, e2e])?;
/// assert_eq!(both.lines().covered, 2);
/// assert_eq!(both.reached_by("a.rs", 2).collect::<Vec<_>>(), ["e2e"]);
/// # Ok::<(), podcov_profile::union::Error>(())
/// ```
pub fn union(sources: Vec<Source>) -> Result<Union, Error> {
    let sources: Vec<Source> = sources.into_iter().map(Source::renamed).collect();
    let mut owners: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in &sources {
        for path in source.coverage.files.keys() {
            owners.entry(path).or_default().insert(&source.name);
        }
    }
    let names: BTreeSet<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    for &name in names.iter().filter(|_| names.len() > 1) {
        let own = || owners.iter().filter(|(_, names)| names.contains(name));
        let others = || owners.iter().filter(|(_, names)| !names.contains(name));
        let shares = own().any(|(_, names)| names.len() > 1);
        if shares || own().next().is_none() || others().next().is_none() {
            continue;
        }
        let own: Vec<&str> = own().map(|(path, _)| *path).collect();
        let others: Vec<&str> = others().map(|(path, _)| *path).collect();
        return Err(Error::NoCommonFile {
            name: name.to_owned(),
            hint: hint(&own, &others),
            own: examples(&own),
            others: examples(&others),
        });
    }
    let mut all = Union::default();
    for source in &sources {
        all = all.join(&Union::of(&source.name, &source.coverage))?;
    }
    Ok(all)
}

impl Source {
    fn renamed(mut self) -> Self {
        if self.rules.is_empty() {
            return self;
        }
        let mut renamed = LineCoverage::default();
        for (path, file) in self.coverage.files {
            let path = self
                .rules
                .iter()
                .find_map(|rule| rule.apply(&path))
                .unwrap_or(path);
            renamed.files.entry(path).or_default().absorb(&file);
        }
        self.coverage = renamed;
        self
    }
}

impl Names {
    /// Whether a source is in it, by its place among the sources.
    pub fn contains(self, index: usize) -> bool {
        index < MAX_SOURCES && self.0 >> index & 1 == 1
    }
}

impl Union {
    /// One source alone.
    pub fn of(name: &str, coverage: &LineCoverage) -> Union {
        let lines = coverage.files.iter().map(|(path, file)| {
            let line = |(&number, &count): (&u32, &u64)| {
                let provenance = Provenance {
                    count,
                    known: Names(1),
                    reached: Names(u64::from(count > 0)),
                };
                (number, provenance)
            };
            (path.clone(), file.lines.iter().map(line).collect())
        });
        Union {
            sources: vec![name.to_owned()],
            lines: lines.collect(),
            all: coverage.clone(),
        }
    }

    /// Both together.
    pub fn join(&self, other: &Union) -> Result<Union, Error> {
        let names: BTreeSet<&String> = self.sources.iter().chain(&other.sources).collect();
        let sources: Vec<String> = names.into_iter().cloned().collect();
        if sources.len() > MAX_SOURCES {
            return Err(Error::TooMany(sources.len()));
        }
        let places = |union: &Union| -> Vec<usize> {
            let place = |name: &String| sources.binary_search(name).unwrap_or_default();
            union.sources.iter().map(place).collect()
        };
        let mut lines: BTreeMap<String, BTreeMap<u32, Provenance>> = BTreeMap::new();
        for union in [self, other] {
            let places = places(union);
            let moved = |names: Names| {
                let bits = places
                    .iter()
                    .enumerate()
                    .filter(|(from, _)| names.contains(*from));
                Names(bits.fold(0, |set, (_, to)| set | 1 << to))
            };
            for (path, file) in &union.lines {
                let into = lines.entry(path.clone()).or_default();
                for (&number, line) in file {
                    let known = into.entry(number).or_default();
                    known.count = known.count.saturating_add(line.count);
                    known.known.0 |= moved(line.known).0;
                    known.reached.0 |= moved(line.reached).0;
                }
            }
        }
        let mut all = self.all.clone();
        all.absorb(&other.all);
        Ok(Union {
            sources,
            all,
            lines,
        })
    }

    /// The names of the sources, in their order.
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// The counts of all sources together, for the writers of formats.
    pub fn coverage(&self) -> &LineCoverage {
        &self.all
    }

    /// What is known of each line of a file.
    pub fn file(&self, path: &str) -> Option<&BTreeMap<u32, Provenance>> {
        self.lines.get(path)
    }

    /// What is known of each line, by file.
    pub fn files(&self) -> impl Iterator<Item = (&str, &BTreeMap<u32, Provenance>)> {
        self.lines
            .iter()
            .map(|(path, lines)| (path.as_str(), lines))
    }

    /// The sources that reached a line.
    pub fn reached_by(&self, path: &str, line: u32) -> impl Iterator<Item = &str> {
        let lines = self.lines.get(path).and_then(|lines| lines.get(&line));
        let reached = lines.map_or(Names(0), |line| line.reached);
        let names = self.sources.iter().enumerate();
        names
            .filter(move |(index, _)| reached.contains(*index))
            .map(|(_, name)| name.as_str())
    }

    /// Lines that any source reached, of those that any lists as code.
    pub fn lines(&self) -> Ratio {
        self.all.lines()
    }

    /// What each source reached of the lines it lists itself, by name.
    pub fn own(&self) -> BTreeMap<&str, Ratio> {
        let mut own: BTreeMap<&str, Ratio> = BTreeMap::new();
        for (index, name) in self.sources.iter().enumerate() {
            let ratio = own.entry(name).or_default();
            let lines = self.lines.values().flat_map(BTreeMap::values);
            for line in lines.filter(|line| line.known.contains(index)) {
                *ratio += Ratio::new(u64::from(line.reached.contains(index)), 1);
            }
        }
        own
    }

    /// How many lines each set of sources reached that no other reached: only
    /// unit, only e2e, both, none. Sets of no line are left out.
    pub fn shares(&self) -> Vec<Share> {
        let mut shares: BTreeMap<Names, u64> = BTreeMap::new();
        for line in self.lines.values().flat_map(BTreeMap::values) {
            *shares.entry(line.reached).or_default() += 1;
        }
        let share = |(set, lines): (Names, u64)| Share {
            sources: self.names(set),
            lines,
        };
        shares.into_iter().map(share).collect()
    }

    fn names(&self, set: Names) -> Vec<String> {
        let names = self.sources.iter().enumerate();
        names
            .filter(|(index, _)| set.contains(*index))
            .map(|(_, name)| name.clone())
            .collect()
    }

    /// The shares as a table for a terminal.
    pub fn to_text(&self) -> String {
        use std::fmt::Write;
        let lines = self.lines();
        let mut text = format!(
            "{} of {} lines reached by {}\n",
            lines.covered,
            lines.total,
            self.sources.join(" or ")
        );
        for share in self.shares() {
            let who = match &share.sources[..] {
                [] => "none".to_owned(),
                [one] => format!("only {one}"),
                several => several.join(" and "),
            };
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {who}: {}", share.lines);
        }
        text
    }
}

/// As JSON: the sources, the shares, and for each file its lines as
/// `[number, count, reached by, known to]`, the last two as sets of bits.
impl Serialize for Union {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Lines<'a>(&'a BTreeMap<u32, Provenance>);
        impl Serialize for Lines<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut lines = serializer.serialize_seq(Some(self.0.len()))?;
                for (number, line) in self.0 {
                    lines.serialize_element(&(number, line.count, line.reached, line.known))?;
                }
                lines.end()
            }
        }
        let files: BTreeMap<&str, Lines<'_>> = self
            .files()
            .map(|(path, lines)| (path, Lines(lines)))
            .collect();
        let mut all = serializer.serialize_struct("Union", 4)?;
        all.serialize_field("sources", &self.sources)?;
        all.serialize_field("lines", &self.lines())?;
        all.serialize_field("shares", &self.shares())?;
        all.serialize_field("files", &files)?;
        all.end()
    }
}

/// The first few paths, and how many more there are.
fn examples(paths: &[&str]) -> String {
    let shown: Vec<String> = paths
        .iter()
        .take(3)
        .map(|path| format!("`{path}`"))
        .collect();
    let more = paths.len() - shown.len();
    let shown = shown.join(", ");
    if more > 0 {
        format!("{shown} and {more} more")
    } else {
        shown
    }
}

/// The rule that makes two paths of equal ends one, if there are any.
fn hint(own: &[&str], others: &[&str]) -> String {
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let mut by_name: BTreeMap<String, &str> = BTreeMap::new();
    for other in others {
        by_name.entry(name(other)).or_insert(other);
    }
    let shared = |one: &str, two: &str| {
        let pairs = one.rsplit('/').zip(two.rsplit('/'));
        pairs
            .take_while(|(a, b)| a == b)
            .map(|(part, _)| part.len() + 1)
            .sum::<usize>()
    };
    let pair = own
        .iter()
        .find_map(|path| Some((*path, *by_name.get(&name(path))?)));
    let Some((path, other)) = pair else {
        return String::new();
    };
    let end = shared(path, other);
    let cut = |path: &str| {
        path.get(..path.len().saturating_sub(end))
            .unwrap_or("")
            .to_owned()
    };
    format!(
        "; a rule from `{}` to `{}` would make `{path}` and `{other}` one",
        cut(path),
        cut(other)
    )
}
