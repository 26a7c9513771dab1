//! What each phase reached of a build; as for Rust.

use std::collections::{BTreeMap, BTreeSet};

use podcov_profile::go::sum::Sum;
use podcov_profile::go::text::Profile;
use podcov_profile::phases::{Key, Shape};
use podcov_profile::reach::{BitSet, Reach};

use super::{Counted, Metas, Texts, native};
use crate::phases::{Sums, add, rest};
use crate::{Error, Work};

/// Adds what each phase reached. `lines` makes a set of lines of counts.
pub(super) fn reach(
    work: &Work<'_>,
    metas: &Metas,
    counted: &[Counted<'_>],
    texts: &Texts<'_>,
    lines: impl Fn(&Profile) -> BitSet,
    reach: &mut Reach,
) -> Result<(), Error> {
    if work.phases.is_empty() {
        return Ok(());
    }
    let mut by_key: BTreeMap<Key, BTreeMap<&str, Sums>> = BTreeMap::new();
    let of_counters = counted.iter().map(|one| one.piece.incarnation);
    let of_texts = texts.iter().map(|(piece, _)| piece.incarnation);
    let incarnations: BTreeSet<usize> = of_counters.chain(of_texts).collect();
    for index in incarnations {
        work.cancel.check()?;
        let incarnation = &work.ledger.incarnations[index];
        let own = counted.iter().filter(|one| one.piece.incarnation == index);
        let sums = native::add_up(metas, own)?;
        let mut in_marks = BitSet::new();
        for (hash, sum) in &sums {
            let mut total = Sums::new();
            for known in work.phases.within(incarnation) {
                let is_it = matches!(&known.shape, Shape::Go { hash: other } if other == hash);
                if !is_it || known.places as usize != sum.counts().len() {
                    continue;
                }
                for (key, counts) in &known.by_key {
                    let of_key = by_key.entry(key.clone()).or_default();
                    add(of_key.entry(hash).or_default(), &pairs(counts));
                }
                add(&mut total, &pairs(&known.total));
            }
            let counts = sum.reached().map(|(unit, count)| (unit, u64::from(count)));
            let rest = rest(counts, Some(&total));
            if !rest.is_empty() {
                for key in work.phases.keys_of_rest(incarnation) {
                    let of_key = by_key.entry(key).or_default();
                    add(of_key.entry(hash).or_default(), &rest);
                }
            }
            let has_texts = texts.iter().any(|(piece, _)| piece.incarnation == index);
            if has_texts && !total.is_empty() {
                let profile = profile(metas, &[(*hash, &total)])?;
                in_marks = in_marks.union(&lines(&profile));
            }
        }
        // A text profile has all counts of its process, and no units.
        for (_, text) in texts.iter().filter(|(piece, _)| piece.incarnation == index) {
            let rest = lines(text).difference(&in_marks);
            for key in work.phases.keys_of_rest(incarnation) {
                reach.insert(key.to_string(), rest.clone());
            }
        }
    }
    for (key, of_key) in &by_key {
        let counts: Vec<(&str, &Sums)> = of_key.iter().map(|(hash, sums)| (*hash, sums)).collect();
        reach.insert(key.to_string(), lines(&profile(metas, &counts)?));
    }
    Ok(())
}

fn pairs(sums: &Sums) -> Vec<(u32, u64)> {
    sums.iter().map(|(place, count)| (*place, *count)).collect()
}

fn profile(metas: &Metas, counts: &[(&str, &Sums)]) -> Result<Profile, Error> {
    let mut sums: BTreeMap<&str, Sum<'_>> = BTreeMap::new();
    for (hash, (meta, _)) in metas {
        let mut sum = Sum::new(meta);
        for (_, counts) in counts.iter().filter(|(other, _)| other == hash) {
            sum.add_counts(&pairs(counts));
        }
        sums.insert(hash.as_str(), sum);
    }
    native::profile(&sums)
}
