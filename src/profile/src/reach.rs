//! Which incarnation, phase or test reached which lines of a binary.
//!
//! Counts are kept once, added up over all evidence; this is the dimension
//! beside them: for each key the set of counted lines that it reached. Lines
//! are numbered from 0 through the binary's files and their lines, in their
//! order. A set is kept, in memory and in JSON, as where its runs begin and
//! end, so that its size is that of its runs and never what a number in a file
//! claims.
//!
//! | JSON | shape |
//! |---|---|
//! | set | `[gap, run, gap, run, …]`: how many lines are not in it, then how many are, and so on; only the first gap may be 0 |
//! | reach | `{"sets": [set, …], "keys": {"key": index of its set, …}}`; equal sets are written once |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::Error as _;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A set of numbers below 2³² - 1, made of runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitSet {
    /// Where membership changes, rising: first in, first behind, first in, …
    edges: Vec<u32>,
}

impl BitSet {
    /// The empty set.
    pub fn new() -> Self {
        BitSet::default()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// How many numbers are in it.
    pub fn count(&self) -> u64 {
        self.runs().map(|(from, to)| u64::from(to - from)).sum()
    }

    /// Whether the number is in it. Logarithmic in the number of runs.
    pub fn contains(&self, number: u32) -> bool {
        self.edges.partition_point(|edge| *edge <= number) % 2 == 1
    }

    /// Its runs, rising: the first number of each, and the first behind it.
    pub fn runs(&self) -> impl Iterator<Item = (u32, u32)> {
        self.edges.chunks_exact(2).map(|run| (run[0], run[1]))
    }

    /// Its numbers, rising.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.runs().flat_map(|(from, to)| from..to)
    }

    /// Puts a number in. Cheapest when numbers rise; `u32::MAX` is left out.
    pub fn insert(&mut self, number: u32) {
        let Some(behind) = number.checked_add(1) else {
            return;
        };
        match self.edges.last() {
            None => self.edges.extend([number, behind]),
            Some(last) if *last < number => self.edges.extend([number, behind]),
            Some(last) if *last == number => {
                if let Some(last) = self.edges.last_mut() {
                    *last = behind;
                }
            }
            Some(_) if self.contains(number) => {}
            Some(_) => {
                let one = BitSet {
                    edges: vec![number, behind],
                };
                *self = self.union(&one);
            }
        }
    }

    /// Its numbers from `from` to below `to`, less `from`.
    pub fn within(&self, from: u32, to: u32) -> BitSet {
        if from >= to {
            return BitSet::new();
        }
        let first = self.edges.partition_point(|edge| *edge <= from) / 2 * 2;
        let runs = self.edges.get(first..).unwrap_or_default().chunks_exact(2);
        let mut edges = Vec::new();
        for run in runs.take_while(|run| run[0] < to) {
            edges.extend([run[0].max(from) - from, run[1].min(to) - from]);
        }
        BitSet { edges }
    }

    /// What is in either.
    pub fn union(&self, other: &BitSet) -> BitSet {
        self.combine(other, |one, two| one || two)
    }

    /// What is in both.
    pub fn intersection(&self, other: &BitSet) -> BitSet {
        self.combine(other, |one, two| one && two)
    }

    /// What is in this one only.
    pub fn difference(&self, other: &BitSet) -> BitSet {
        self.combine(other, |one, two| one && !two)
    }

    fn combine(&self, other: &BitSet, keep: impl Fn(bool, bool) -> bool) -> BitSet {
        let (mut left, mut right) = (self.edges.iter().peekable(), other.edges.iter().peekable());
        let (mut in_left, mut in_right, mut inside) = (false, false, false);
        let mut edges = Vec::new();
        loop {
            let at = match (left.peek(), right.peek()) {
                (Some(one), Some(two)) => **one.min(two),
                (Some(one), None) | (None, Some(one)) => **one,
                (None, None) => break,
            };
            if left.next_if(|edge| **edge == at).is_some() {
                in_left = !in_left;
            }
            if right.next_if(|edge| **edge == at).is_some() {
                in_right = !in_right;
            }
            if keep(in_left, in_right) != inside {
                inside = !inside;
                edges.push(at);
            }
        }
        BitSet { edges }
    }
}

impl FromIterator<u32> for BitSet {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut numbers: Vec<u32> = numbers.into_iter().collect();
        numbers.sort_unstable();
        let mut set = BitSet::new();
        numbers.into_iter().for_each(|number| set.insert(number));
        set
    }
}

impl Serialize for BitSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut at = 0;
        serializer.collect_seq(self.edges.iter().map(|edge| {
            let length = edge - at;
            at = *edge;
            length
        }))
    }
}

impl<'de> Deserialize<'de> for BitSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut edges = Vec::<u32>::deserialize(deserializer)?;
        if edges.len() % 2 == 1 {
            return Err(D::Error::custom("expected pairs of gap and run in a set"));
        }
        let mut at = 0u32;
        for (index, edge) in edges.iter_mut().enumerate() {
            if *edge == 0 && index > 0 {
                return Err(D::Error::custom("expected no empty gap or run in a set"));
            }
            at = at
                .checked_add(*edge)
                .ok_or_else(|| D::Error::custom("a set reaches past 32 bits"))?;
            *edge = at;
        }
        Ok(BitSet { edges })
    }
}

/// For each key the lines that it reached; equal sets are one in memory.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    keys: BTreeMap<String, Arc<BitSet>>,
    sets: BTreeSet<Arc<BitSet>>,
}

impl Reach {
    /// Nothing is known.
    pub fn new() -> Self {
        Reach::default()
    }

    /// Whether no key is known.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// How many different sets there are.
    pub fn sets(&self) -> usize {
        self.sets.len()
    }

    /// Adds what a key reached to what it is known to have reached.
    pub fn insert(&mut self, key: impl Into<String>, set: BitSet) {
        let key = key.into();
        let set = match self.keys.remove(&key) {
            None => set,
            Some(known) => {
                let both = known.union(&set);
                // Two hold it: `sets`, and `known` here.
                if Arc::strong_count(&known) == 2 {
                    self.sets.remove(&known);
                }
                both
            }
        };
        let set = match self.sets.get(&set) {
            Some(known) => Arc::clone(known),
            None => {
                let set = Arc::new(set);
                self.sets.insert(Arc::clone(&set));
                set
            }
        };
        self.keys.insert(key, set);
    }

    /// What a key reached.
    pub fn get(&self, key: &str) -> Option<&BitSet> {
        self.keys.get(key).map(Arc::as_ref)
    }

    /// Keys and what each reached, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BitSet)> {
        self.keys
            .iter()
            .map(|(key, set)| (key.as_str(), set.as_ref()))
    }

    /// The keys that reached a line, by key.
    pub fn keys_of(&self, line: u32) -> impl Iterator<Item = &str> {
        self.iter()
            .filter(move |(_, set)| set.contains(line))
            .map(|(key, _)| key)
    }
}

impl PartialEq for Reach {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

impl Eq for Reach {}

impl<K: Into<String>> FromIterator<(K, BitSet)> for Reach {
    fn from_iter<I: IntoIterator<Item = (K, BitSet)>>(all: I) -> Self {
        let mut reach = Reach::new();
        all.into_iter()
            .for_each(|(key, set)| reach.insert(key, set));
        reach
    }
}

impl Serialize for Reach {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sets: Vec<&BitSet> = Vec::new();
        let mut index: BTreeMap<&BitSet, usize> = BTreeMap::new();
        let mut keys: BTreeMap<&str, usize> = BTreeMap::new();
        for (key, set) in self.iter() {
            let index = *index.entry(set).or_insert_with(|| {
                sets.push(set);
                sets.len() - 1
            });
            keys.insert(key, index);
        }
        let mut all = serializer.serialize_struct("Reach", 2)?;
        all.serialize_field("sets", &sets)?;
        all.serialize_field("keys", &keys)?;
        all.end()
    }
}

impl<'de> Deserialize<'de> for Reach {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Written {
            sets: Vec<BitSet>,
            keys: BTreeMap<String, usize>,
        }
        let written = Written::deserialize(deserializer)?;
        let sets: Vec<Arc<BitSet>> = written.sets.into_iter().map(Arc::new).collect();
        let mut reach = Reach::new();
        for (key, index) in written.keys {
            let set = sets.get(index).ok_or_else(|| {
                D::Error::custom(format!("`{key}` has set {index} of {}", sets.len()))
            })?;
            // As it was written, and also when equal sets were written twice.
            let set = match reach.sets.get(set) {
                Some(known) => Arc::clone(known),
                None => {
                    reach.sets.insert(Arc::clone(set));
                    Arc::clone(set)
                }
            };
            reach.keys.insert(key, set);
        }
        Ok(reach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(numbers: &[u32]) -> BitSet {
        numbers.iter().copied().collect()
    }

    #[test]
    fn a_set_is_written_as_its_runs() {
        for (numbers, json) in [
            (&[][..], "[]"),
            (&[0], "[0,1]"),
            (&[3, 4, 5, 9], "[3,3,3,1]"),
            (&[u32::MAX - 1], "[4294967294,1]"),
        ] {
            let set = set(numbers);
            assert_eq!(serde_json::to_string(&set).unwrap(), json);
            assert_eq!(serde_json::from_str::<BitSet>(json).unwrap(), set);
        }
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for json in ["[1]", "[0,0]", "[1,2,0,1]", "[4294967295,1]", "[-1,1]"] {
            assert!(serde_json::from_str::<BitSet>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_claimed_length_costs_nothing() {
        let set: BitSet = serde_json::from_str("[0,4294967295]").unwrap();
        assert_eq!(set.count(), u64::from(u32::MAX));
        assert!(set.contains(u32::MAX - 1) && !set.contains(u32::MAX));
    }

    #[test]
    fn equal_sets_are_shared_and_written_once() {
        let mut reach: Reach = [
            ("b", set(&[1, 2])),
            ("a", set(&[7])),
            ("c", set(&[1, 2])),
            ("d", set(&[])),
        ]
        .into_iter()
        .collect();
        assert_eq!((reach.len(), reach.sets()), (4, 3));
        let json = serde_json::to_string(&reach).unwrap();
        assert_eq!(
            json,
            r#"{"sets":[[7,1],[1,2],[]],"keys":{"a":0,"b":1,"c":1,"d":2}}"#
        );
        assert_eq!(serde_json::from_str::<Reach>(&json).unwrap(), reach);
        assert_eq!(reach.keys_of(2).collect::<Vec<_>>(), ["b", "c"]);

        reach.insert("a", set(&[1]));
        reach.insert("d", set(&[1, 2]));
        assert_eq!(reach.get("a"), Some(&set(&[1, 7])));
        assert_eq!(reach.sets(), 2, "sets that no key has are dropped");
    }

    #[test]
    fn a_key_without_its_set_is_refused() {
        let error = serde_json::from_str::<Reach>(r#"{"sets":[[1,1]],"keys":{"a":1}}"#);
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("`a` has set 1 of 1")
        );
    }

    proptest! {
        #[test]
        fn sets_are_what_a_tree_says(
            one in prop::collection::vec(0..40u32, 0..30),
            two in prop::collection::vec(0..40u32, 0..30),
        ) {
            let tree = |numbers: &[u32]| numbers.iter().copied().collect::<BTreeSet<u32>>();
            let (a, b) = (tree(&one), tree(&two));
            let mut unsorted = BitSet::new();
            one.iter().for_each(|number| unsorted.insert(*number));
            let (one, two) = (set(&one), set(&two));
            prop_assert_eq!(&unsorted, &one);
            prop_assert_eq!(one.iter().collect::<BTreeSet<u32>>(), a.clone());
            prop_assert_eq!(one.count(), a.len() as u64);
            prop_assert!((0..41).all(|n| one.contains(n) == a.contains(&n)));
            prop_assert_eq!(one.union(&two), a.union(&b).copied().collect());
            prop_assert_eq!(one.intersection(&two), a.intersection(&b).copied().collect());
            prop_assert_eq!(one.difference(&two), a.difference(&b).copied().collect());
            for (from, to) in [(0, 40), (5, 17), (9, 9), (30, 50)] {
                let inside = a.iter().filter(|n| (from..to).contains(*n)).map(|n| n - from);
                prop_assert_eq!(one.within(from, to), inside.collect());
            }
            let json = serde_json::to_string(&one).unwrap();
            prop_assert_eq!(serde_json::from_str::<BitSet>(&json).unwrap(), one);
        }
    }
}
