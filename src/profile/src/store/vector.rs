//! Counts of one piece of evidence, written sparsely: most of a program is
//! never reached by one process.
//!
//! | field | form | limit |
//! |---|---|---|
//! | number of counts that are not 0 | ULEB128 | slots of the shape |
//! | for each: slots skipped since the one before, then the count | ULEB128 twice | within the shape; the count is not 0 |
//!
//! One list of counts has one form, so equal counts are equal bytes.

use crate::bytes::{Endian, Reader};
use crate::error::ParseError;

/// How the counts of a slot are brought together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Sums stop at this number.
    Add(u64),
    /// Bits, or 1 for "reached".
    Or,
}

impl Rule {
    /// What two processes counted.
    pub fn sum(self, one: u64, other: u64) -> u64 {
        match self {
            Rule::Add(most) => one.saturating_add(other).min(most),
            Rule::Or => one | other,
        }
    }

    /// What `times` processes counted that each counted `count`.
    pub fn repeat(self, count: u64, times: u64) -> u64 {
        match self {
            Rule::Add(most) => count.saturating_mul(times).min(most),
            Rule::Or if times == 0 => 0,
            Rule::Or => count,
        }
    }

    /// What one process counted whose counts were seen twice: the later ones,
    /// since counts only grow.
    pub fn join(self, one: u64, other: u64) -> u64 {
        match self {
            Rule::Add(_) => one.max(other),
            Rule::Or => one | other,
        }
    }
}

/// Slots in a row that have one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// How many.
    pub slots: u64,
    /// Their rule.
    pub rule: Rule,
}

/// The rule of slot number `slot`.
pub(crate) fn rule_of(stretches: &[Stretch], slot: u64) -> Rule {
    let mut end = 0u64;
    for stretch in stretches {
        end = end.saturating_add(stretch.slots);
        if slot < end {
            return stretch.rule;
        }
    }
    Rule::Or
}

/// Counts of a shape's slots in their written form. The bytes were checked
/// when they came in, so reading them again cannot fail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vector(Box<[u8]>);

impl Vector {
    /// Writes the counts that are not 0, given in ascending order of slots.
    pub fn new(counts: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let (mut body, mut number, mut next) = (Vec::new(), 0u64, 0u64);
        for (slot, count) in counts {
            if count == 0 {
                continue;
            }
            put_uleb(&mut body, slot.saturating_sub(next));
            put_uleb(&mut body, count);
            next = slot.saturating_add(1);
            number += 1;
        }
        let mut bytes = Vec::with_capacity(body.len() + 2);
        put_uleb(&mut bytes, number);
        bytes.extend_from_slice(&body);
        Vector(bytes.into_boxed_slice())
    }

    /// Writes dense counts.
    pub fn from_dense(counts: &[u64]) -> Self {
        Vector::new((0u64..).zip(counts.iter().copied()))
    }

    /// Checks written counts of a shape of `slots` slots.
    pub(crate) fn check(reader: &mut Reader<'_>, slots: u64) -> Result<(), ParseError> {
        let number = reader.uleb("the number of counts")?;
        reader.within(number, slots, "the number of counts")?;
        let mut next = 0u64;
        for _ in 0..number {
            let gap = reader.uleb("a gap between counts")?;
            let slot = next.saturating_add(gap);
            if slot >= slots {
                return Err(reader.error(format!("a count of slot {slot}, there are {slots}")));
            }
            if reader.uleb("a count")? == 0 {
                return Err(reader.error("a count of 0"));
            }
            next = slot + 1;
        }
        Ok(())
    }

    pub(crate) fn from_checked(bytes: &[u8]) -> Self {
        Vector(bytes.into())
    }

    /// The written form.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Slots and their counts, ascending; none is 0.
    pub fn iter(&self) -> Counts<'_> {
        counts(&self.0)
    }

    /// Adds these counts `times` times to dense ones.
    pub fn add_to(&self, times: u64, stretches: &[Stretch], into: &mut [u64]) {
        add(&self.0, times, stretches, into);
    }

    /// What is known of one process whose counts were seen in two states.
    pub fn join(&self, other: &Vector, stretches: &[Stretch]) -> Vector {
        let (mut ours, mut theirs) = (self.iter().peekable(), other.iter().peekable());
        Vector::new(std::iter::from_fn(|| {
            match (ours.peek().copied(), theirs.peek().copied()) {
                (Some((a, one)), Some((b, another))) if a == b => {
                    ours.next();
                    theirs.next();
                    Some((a, rule_of(stretches, a).join(one, another)))
                }
                (Some((a, _)), Some((b, _))) if a > b => theirs.next(),
                (Some(_), _) => ours.next(),
                (None, _) => theirs.next(),
            }
        }))
    }
}

/// The counts of a written vector that was checked.
pub(crate) fn counts(bytes: &[u8]) -> Counts<'_> {
    let mut reader = Reader::new(bytes, Endian::Little);
    let left = reader.uleb("").unwrap_or(0);
    Counts {
        reader,
        left,
        next: 0,
    }
}

/// Iterates over slots and their counts.
#[derive(Clone, Debug)]
pub struct Counts<'a> {
    reader: Reader<'a>,
    left: u64,
    next: u64,
}

impl Iterator for Counts<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        self.left = self.left.checked_sub(1)?;
        let slot = self.next.saturating_add(self.reader.uleb("").ok()?);
        self.next = slot.saturating_add(1);
        Some((slot, self.reader.uleb("").ok()?))
    }
}

/// Adds `times` times the written counts to dense ones.
pub(crate) fn add(bytes: &[u8], times: u64, stretches: &[Stretch], into: &mut [u64]) {
    let mut counts = counts(bytes).peekable();
    let (mut start, mut end) = (0u64, 0u64);
    for stretch in stretches {
        end = end.saturating_add(stretch.slots);
        while let Some((slot, count)) = counts.next_if(|(slot, _)| *slot < end) {
            debug_assert!(slot >= start);
            let place = usize::try_from(slot)
                .ok()
                .and_then(|slot| into.get_mut(slot));
            if let Some(sum) = place {
                *sum = stretch.rule.sum(*sum, stretch.rule.repeat(count, times));
            }
        }
        start = end;
    }
}

/// Writes an unsigned LEB128 number.
pub(crate) fn put_uleb(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STRETCHES: [Stretch; 2] = [
        Stretch {
            slots: 4,
            rule: Rule::Add(u64::MAX - 2),
        },
        Stretch {
            slots: 4,
            rule: Rule::Or,
        },
    ];

    fn dense() -> impl Strategy<Value = Vec<u64>> {
        let count = prop_oneof![3 => Just(0), 3 => 1..300u64, 1 => Just(u64::MAX - 2)];
        let bits = prop_oneof![Just(0u64), 0..256u64];
        (
            proptest::collection::vec(count, 4),
            proptest::collection::vec(bits, 4),
        )
            .prop_map(|(counts, bits)| [counts, bits].concat())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(values in dense()) {
            let vector = Vector::from_dense(&values);
            let mut reader = Reader::new(vector.bytes(), Endian::Little);
            prop_assert!(Vector::check(&mut reader, 8).is_ok());
            prop_assert_eq!(reader.left(), 0);
            let mut back = vec![0; 8];
            add(vector.bytes(), 1, &STRETCHES, &mut back);
            prop_assert_eq!(back, values);
        }

        #[test]
        fn joining_is_a_maximum_by_slot(a in dense(), b in dense()) {
            let joined = Vector::from_dense(&a).join(&Vector::from_dense(&b), &STRETCHES);
            let expected: Vec<u64> = a.iter().zip(&b).enumerate().map(|(slot, (a, b))| {
                if slot < 4 { *a.max(b) } else { a | b }
            }).collect();
            prop_assert_eq!(joined, Vector::from_dense(&expected));
        }

        #[test]
        fn adding_many_times_is_adding_one_by_one(values in dense(), times in 0..5u64) {
            let vector = Vector::from_dense(&values);
            let (mut at_once, mut one_by_one) = (vec![7; 8], vec![7; 8]);
            add(vector.bytes(), times, &STRETCHES, &mut at_once);
            for _ in 0..times {
                add(vector.bytes(), 1, &STRETCHES, &mut one_by_one);
            }
            prop_assert_eq!(at_once, one_by_one);
        }
    }

    #[test]
    fn counts_beyond_the_shape_are_refused() {
        let vector = Vector::from_dense(&[0, 0, 3]);
        let mut reader = Reader::new(vector.bytes(), Endian::Little);
        assert!(Vector::check(&mut reader, 2).is_err());
    }
}
