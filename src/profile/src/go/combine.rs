//! Several builds as one, as `go tool covdata merge -pcombine` makes it.
//!
//! Packages are joined by import path, and their functions by what they are:
//! name, file and units. A function that changed from one build to the other
//! is there once for each of its forms. The result is new meta-data with a
//! hash of its own, byte by byte what Go writes for the same builds in the
//! same order (`cmd/covdata/metamerge.go`, `encodemeta/encode.go`, Go 1.26).
//!
//! Of two modes that clash the greater is kept. Go adds what it reads by the
//! mode it knows until then, so its counts follow from the order of the
//! builds; here builds of mode `set` say 0 or 1 together, and the others add
//! to that, in any order.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::error::ParseError;
use crate::go::counters::Origin;
use crate::go::fnv::Fnv128;
use crate::go::meta::{Function, Granularity, MAGIC, Meta, Mode, Package, read_meta};
use crate::go::sum::{Sum, join_origin};
use crate::go::{VERSION, push_strings, push_uleb};

/// Builds that do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Clash {
    /// A counter a block and a counter a function.
    #[error("a build with counters {} and one with counters {}", .known.word(), .other.word())]
    Granularity {
        /// Of the first build.
        known: Granularity,
        /// Of the one that was refused.
        other: Granularity,
    },
    /// Their counts do not mean the same.
    #[error("a build of mode {} and one of mode {}", .known.word(), .other.word())]
    Mode {
        /// Of the first build.
        known: Mode,
        /// Of the one that was refused.
        other: Mode,
    },
}

/// A function by what it is, not by where it stands.
#[derive(Clone, Copy)]
struct Form<'m>(Function<'m>);

impl<'m> Ord for Form<'m> {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |Form(f): &Form<'m>| (f.name(), f.file(), f.is_literal(), f.units());
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Form<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Form<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Form<'_> {}

struct Joined<'m> {
    package: Package<'m>,
    functions: Vec<Function<'m>>,
    /// Place of the first counter of each form, and its index.
    forms: BTreeMap<Form<'m>, (usize, usize)>,
    /// What builds of mode `set` say.
    ran: Vec<u32>,
    /// The sum of the others.
    counts: Vec<u32>,
}

/// Builds that become one.
#[derive(Default)]
pub struct Combination<'m> {
    packages: Vec<Joined<'m>>,
    by_path: BTreeMap<&'m str, usize>,
    known: Option<(Mode, Granularity)>,
    origin: Option<Origin>,
}

/// Builds that became one.
#[derive(Clone, Debug)]
pub struct Combined {
    /// The `covmeta` file.
    pub covmeta: Vec<u8>,
    /// What it says.
    pub meta: Meta,
    counts: Vec<u32>,
    origin: Origin,
}

impl<'m> Combination<'m> {
    /// Of no builds yet.
    pub fn new() -> Combination<'m> {
        Combination::default()
    }

    /// Adds a build. The order of builds is that of packages and functions in
    /// the result, so give them by hash.
    ///
    /// # Errors
    /// When one of two builds has a counter a block, the other one a function;
    /// nothing was added then.
    pub fn add(&mut self, sum: &Sum<'m>) -> Result<(), Clash> {
        let meta = sum.meta();
        let (mode, granularity) = *self.known.get_or_insert((meta.mode, meta.granularity));
        if granularity != meta.granularity {
            return Err(Clash::Granularity {
                known: granularity,
                other: meta.granularity,
            });
        }
        self.known = Some((mode.max(meta.mode), granularity));
        join_origin(&mut self.origin, &sum.origin());
        for package in meta.packages() {
            let joined = self.joined(package);
            for function in package.functions() {
                let (at, _) = joined.place(function);
                let into = match meta.mode {
                    Mode::Set => &mut joined.ran,
                    Mode::Count | Mode::Atomic => &mut joined.counts,
                };
                let into = into.get_mut(at..).unwrap_or_default();
                for (count, other) in into.iter_mut().zip(sum.counts_of(&function)) {
                    *count = meta.mode.add(*count, *other);
                }
            }
        }
        Ok(())
    }

    fn joined(&mut self, package: Package<'m>) -> &mut Joined<'m> {
        let next = self.packages.len();
        let at = *self.by_path.entry(package.path()).or_insert(next);
        if at == next {
            self.packages.push(Joined {
                package,
                functions: Vec::new(),
                forms: BTreeMap::new(),
                ran: Vec::new(),
                counts: Vec::new(),
            });
        }
        &mut self.packages[at]
    }

    /// The meta-data of all, and their counts.
    ///
    /// # Errors
    /// When no build was added, or when together they do not fit the format.
    pub fn finish(self) -> Result<Combined, ParseError> {
        let Some((mode, granularity)) = self.known else {
            return Err(ParseError::empty("no build to combine"));
        };
        let blobs: Vec<Vec<u8>> = self.packages.iter().map(Joined::encode).collect();
        let covmeta = encode_meta(mode, granularity, &blobs);
        let meta = read_meta(&covmeta)?;
        let counts = self.packages.iter().flat_map(|package| {
            let both = package.ran.iter().zip(&package.counts);
            both.map(|(ran, count)| mode.add(*ran, *count))
        });
        Ok(Combined {
            counts: counts.collect(),
            origin: self.origin.unwrap_or_default(),
            covmeta,
            meta,
        })
    }
}

impl Combined {
    /// The counts of all.
    pub fn sum(&self) -> Sum<'_> {
        Sum::of(&self.meta, &self.counts, &self.origin)
    }
}

impl<'m> Joined<'m> {
    fn place(&mut self, function: Function<'m>) -> (usize, usize) {
        let (at, index) = (self.counts.len(), self.functions.len());
        let place = *self.forms.entry(Form(function)).or_insert((at, index));
        if place.1 == index {
            self.functions.push(function);
            self.counts.resize(at + function.units().len(), 0);
            self.ran.resize(self.counts.len(), 0);
        }
        place
    }

    fn encode(&self) -> Vec<u8> {
        let mut strings = Strings::default();
        let mut hash = Fnv128::new();
        strings.index("");
        let names = [
            self.package.path(),
            self.package.name(),
            self.package.module(),
        ];
        let [path, name, module] = names.map(|text| {
            hash.write(text.as_bytes());
            strings.index(text)
        });
        let (mut offsets, mut bodies) = (Vec::new(), Vec::new());
        for function in &self.functions {
            offsets.push(bodies.len());
            push_function(&mut bodies, function, &mut strings);
            hash_function(&mut hash, function);
        }
        let mut table = Vec::new();
        push_strings(&mut table, strings.all.iter().copied());
        let first = 44 + 4 * offsets.len() + table.len();
        let mut out = Vec::with_capacity(first + bodies.len());
        push_words(&mut out, [first + bodies.len(), name, path, module]);
        out.extend_from_slice(&hash.sum());
        push_words(&mut out, [0, strings.all.len(), offsets.len()]);
        push_words(&mut out, offsets.iter().map(|offset| first + offset));
        out.append(&mut table);
        out.append(&mut bodies);
        out
    }
}

fn push_words(out: &mut Vec<u8>, words: impl IntoIterator<Item = usize>) {
    for word in words {
        out.extend_from_slice(&(word as u32).to_le_bytes());
    }
}

/// Strings in the order they were first asked for.
#[derive(Default)]
struct Strings<'s> {
    all: Vec<&'s str>,
    known: BTreeMap<&'s str, usize>,
}

impl<'s> Strings<'s> {
    fn index(&mut self, text: &'s str) -> usize {
        let next = self.all.len();
        let index = *self.known.entry(text).or_insert(next);
        if index == next {
            self.all.push(text);
        }
        index
    }
}

fn push_function<'m>(out: &mut Vec<u8>, function: &Function<'m>, strings: &mut Strings<'m>) {
    push_uleb(out, function.units().len() as u64);
    push_uleb(out, strings.index(function.name()) as u64);
    push_uleb(out, strings.index(function.file()) as u64);
    for unit in function.units() {
        for number in [
            unit.start_line,
            unit.start_column,
            unit.end_line,
            unit.end_column,
            unit.statements,
        ] {
            push_uleb(out, u64::from(number));
        }
    }
    push_uleb(out, u64::from(function.is_literal()));
}

fn hash_function(hash: &mut Fnv128, function: &Function<'_>) {
    hash.write(function.name().as_bytes());
    hash.write(function.file().as_bytes());
    for unit in function.units() {
        for number in [
            unit.start_line,
            unit.start_column,
            unit.end_line,
            unit.end_column,
            unit.statements,
        ] {
            hash.write(&number.to_le_bytes());
        }
    }
    hash.write(&u32::from(function.is_literal()).to_le_bytes());
}

/// The file around packages. A combination's hash is over the hashes of its
/// packages alone, without the mode (`emitMeta` in `metamerge.go`).
fn encode_meta(mode: Mode, granularity: Granularity, blobs: &[Vec<u8>]) -> Vec<u8> {
    let mut hash = Fnv128::new();
    for blob in blobs {
        let mut own = Fnv128::new();
        own.write(blob);
        hash.write(&own.sum());
    }
    let mut strings = Vec::new();
    push_strings(&mut strings, [""].into_iter());
    let strings_at = 56 + 16 * blobs.len();
    let first = strings_at + strings.len();
    let length = blobs.iter().fold(first, |sum, blob| sum + blob.len());
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(length as u64).to_le_bytes());
    out.extend_from_slice(&(blobs.len() as u64).to_le_bytes());
    out.extend_from_slice(&hash.sum());
    out.extend_from_slice(&(strings_at as u32).to_le_bytes());
    out.extend_from_slice(&(strings.len() as u32).to_le_bytes());
    out.extend_from_slice(&[mode as u8 + 1, granularity as u8 + 1, 0, 0, 0, 0, 0, 0]);
    let mut at = first as u64;
    for blob in blobs {
        out.extend_from_slice(&at.to_le_bytes());
        at += blob.len() as u64;
    }
    for blob in blobs {
        out.extend_from_slice(&(blob.len() as u64).to_le_bytes());
    }
    out.append(&mut strings);
    blobs.iter().for_each(|blob| out.extend_from_slice(blob));
    out
}
