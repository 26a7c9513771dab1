//! What each phase reached of a build: the counts of all its processes while
//! the phase was open, made into lines by what makes all lines.

use std::collections::BTreeMap;

use podcov_profile::ledger::Format;
use podcov_profile::llvm::profile::Profile;
use podcov_profile::llvm::raw::{self, Part};
use podcov_profile::llvm::sum::Sum;
use podcov_profile::phases::{Key, Shape};
use podcov_profile::reach::{BitSet, Reach};
use podcov_profile::{Limits, ParseError};

use super::native::Total;
use crate::evidence::Piece;
use crate::phases::{Sums, add, rest};
use crate::{Error, Work};

/// Profiles whose counters can be added one by one: those of one program.
struct Alike {
    /// One of them.
    bytes: Vec<u8>,
    parts: Vec<Sum>,
    by_key: BTreeMap<Key, Sums>,
}

/// Adds what each phase reached. `lines` makes a set of lines of counts.
pub(super) fn reach(
    work: &Work<'_>,
    good: &[&Piece],
    lines: impl Fn(&Profile) -> Result<BitSet, Error>,
    reach: &mut Reach,
) -> Result<(), Error> {
    if work.phases.is_empty() {
        return Ok(());
    }
    let limits = Limits::default();
    let mut all: Vec<Alike> = Vec::new();
    for piece in good {
        work.cancel.check()?;
        if piece.format == Format::Profraw {
            take(work, piece, &limits, &mut all)?;
        }
    }
    let mut keys: Vec<&Key> = all.iter().flat_map(|alike| alike.by_key.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        work.cancel.check()?;
        let mut total = Total::default();
        for alike in &all {
            let Some(counts) = alike.by_key.get(key) else {
                continue;
            };
            let counts: Vec<(u32, u64)> = counts.iter().map(|(p, count)| (*p, *count)).collect();
            let bytes = raw::with_counts(&alike.bytes, &limits, &counts);
            // It was read before, and the counts are of its counters.
            if let Ok(bytes) = bytes {
                let _ = total.add(&bytes, Format::Profraw, &limits);
            }
        }
        if let Ok(profile) = total.finish(&limits) {
            reach.insert(key.to_string(), lines(&profile)?);
        }
    }
    Ok(())
}

fn take(
    work: &Work<'_>,
    piece: &Piece,
    limits: &Limits,
    all: &mut Vec<Alike>,
) -> Result<(), Error> {
    let bytes = piece.read()?;
    let parts = raw::parts(&bytes, limits).collect::<Result<Vec<Part<'_>>, ParseError>>();
    // It was read before.
    let Ok(parts) = parts else {
        return Ok(());
    };
    let places: usize = parts.iter().map(Part::counters).sum();
    let incarnation = &work.ledger.incarnations[piece.incarnation];
    let fits = |shape: &Shape, own: u32| *shape == Shape::Llvm && own as usize == places;
    let known = work.phases.of(&incarnation.files[piece.file].path);
    let known = known.filter(|known| fits(&known.shape, known.places));
    let mut before = 0;
    let mut counts = Vec::new();
    for part in &parts {
        counts.extend(part.reached().map(|(place, count)| (before + place, count)));
        before += part.counters() as u32;
    }
    let rest = rest(counts.into_iter(), known.map(|known| &known.total));
    let index = match all.iter().position(|alike| is_alike(alike, &parts)) {
        Some(index) => index,
        None => {
            let Ok(parts) = parts.iter().map(Sum::new).collect::<Result<_, _>>() else {
                return Ok(());
            };
            all.push(Alike {
                bytes: bytes.clone(),
                parts,
                by_key: BTreeMap::new(),
            });
            all.len() - 1
        }
    };
    let by_key = &mut all[index].by_key;
    for (key, counts) in known.iter().flat_map(|known| &known.by_key) {
        let counts: Vec<_> = counts.iter().map(|(p, count)| (*p, *count)).collect();
        add(by_key.entry(key.clone()).or_default(), &counts);
    }
    if !rest.is_empty() {
        for key in work.phases.keys_of_rest(incarnation) {
            add(by_key.entry(key).or_default(), &rest);
        }
    }
    Ok(())
}

fn is_alike(alike: &Alike, parts: &[Part<'_>]) -> bool {
    let mut pairs = alike.parts.iter().zip(parts);
    alike.parts.len() == parts.len() && pairs.all(|(sum, part)| sum.fits(part))
}
