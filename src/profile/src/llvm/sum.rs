//! The sum of many profiles of one program.
//!
//! Profiles of one program differ in their counts and in the addresses its
//! code was loaded at, and in nothing else. So the first one is kept as it is,
//! of each further one it is seen to that it has the same functions at the same
//! places, and then its counters are added in the order they stand in the
//! file. Names are inflated and hashed once, at the end.

use crate::bytes::Endian;
use crate::error::ParseError;
use crate::llvm::names::Known;
use crate::llvm::profile::{Counts, Profile, ShapeConflict, add};
use crate::llvm::raw::{Part, Record, Shape};
use crate::{Identity, Limits};

/// The sum of profiles of one program. Holds one copy of their common parts
/// and one of the counters, whatever their number.
///
/// ```
/// use podcov_profile::{Limits, llvm::{raw, sum::Sum}};
/// # let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rust/plain.profraw");
/// let bytes = std::fs::read(file).unwrap();
/// let limits = Limits::default();
/// let part = raw::parts(&bytes, &limits).next().unwrap().unwrap();
/// let mut sum = Sum::new(&part).unwrap();
/// assert!(sum.add(&part));
/// let (twice, _) = sum.into_profile(&limits).unwrap();
/// let (once, _) = part.profile(&limits).unwrap();
/// let first = |profile: &podcov_profile::llvm::profile::Profile| {
///     profile.functions.values().map(|counts| counts.counters[0]).sum::<u64>()
/// };
/// assert_eq!(first(&twice), 2 * first(&once));
/// ```
#[derive(Clone, Debug)]
pub struct Sum {
    shape: Shape<'static>,
    counters: Vec<u64>,
    bitmaps: Vec<u8>,
}

impl Sum {
    /// A sum of this profile alone.
    ///
    /// # Errors
    /// Where a record is damaged. What is added later has the same records, and
    /// needs no check of its own.
    pub fn new(part: &Part<'_>) -> Result<Sum, ParseError> {
        for record in part.records() {
            record?;
        }
        Ok(Sum {
            shape: part.shape.clone().into_owned(),
            counters: part.counts(0..part.counters()).collect(),
            bitmaps: part.bitmaps.to_vec(),
        })
    }

    /// GNU build ids of the objects that the profiles are of.
    pub fn build_ids(&self) -> &[Identity] {
        self.shape.build_ids()
    }

    /// Which function has which counters: index ranges into the counters that
    /// [`Part::reached`] tells of each profile.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.shape.records().filter_map(Result::ok)
    }

    /// Whether a profile has the same functions at the same places as those
    /// that were added, and so can be added.
    pub fn fits(&self, part: &Part<'_>) -> bool {
        self.shape.is_same(&part.shape)
    }

    /// Adds a profile, unless it does not fit; says whether it did.
    #[must_use = "a profile that does not fit was not added"]
    pub fn add(&mut self, part: &Part<'_>) -> bool {
        let fits = self.fits(part);
        if fits {
            let (counters, _) = part.counters.as_chunks();
            match part.endian() {
                Endian::Little => add_all(&mut self.counters, counters, u64::from_le_bytes),
                Endian::Big => add_all(&mut self.counters, counters, u64::from_be_bytes),
            }
            join(&mut self.bitmaps, part.bitmaps);
        }
        fits
    }

    /// Adds another sum; what does not fit is given back.
    #[must_use = "a sum that does not fit was not added"]
    pub fn absorb(&mut self, other: Sum) -> Option<Sum> {
        if !self.shape.is_same(&other.shape) {
            return Some(other);
        }
        add_all(&mut self.counters, &other.counters, |count| count);
        join(&mut self.bitmaps, &other.bitmaps);
        None
    }

    /// The counts by function, with the names of those functions. Records of
    /// one function are added; those whose shapes differ are told.
    ///
    /// # Errors
    /// Where the names do not inflate to what they claim.
    pub fn into_profile(
        self,
        limits: &Limits,
    ) -> Result<(Profile, Vec<ShapeConflict>), ParseError> {
        self.into_profile_knowing(limits, &mut Known::default())
    }

    /// As [`Sum::into_profile`], with the names that are known of programs
    /// before.
    pub(crate) fn into_profile_knowing(
        self,
        limits: &Limits,
        known: &mut Known,
    ) -> Result<(Profile, Vec<ShapeConflict>), ParseError> {
        self.shape.profile(limits, known, |record| Counts {
            counters: self.counters[record.counters.clone()].to_vec(),
            bitmap: self.bitmaps[record.bitmap.clone()].to_vec(),
        })
    }
}

/// Adds counts, which stop at [`MAX_COUNT`](crate::llvm::profile::MAX_COUNT).
fn add_all<T: Copy>(sums: &mut [u64], counts: &[T], count: impl Fn(T) -> u64) {
    const STEP: usize = 64;
    let (sums, last_sums) = sums.as_chunks_mut::<STEP>();
    let (counts, last_counts) = counts.as_chunks::<STEP>();
    for (sums, counts) in sums.iter_mut().zip(counts) {
        // Saturating additions of 64 bits have no vector instruction on most
        // machines. Numbers below 2^62 need none, and are all there are.
        let mut bits = 0;
        for at in 0..STEP {
            bits |= sums[at] | count(counts[at]);
        }
        if bits >> 62 == 0 {
            for at in 0..STEP {
                sums[at] = sums[at].wrapping_add(count(counts[at]));
            }
        } else {
            for at in 0..STEP {
                sums[at] = add(sums[at], count(counts[at]));
            }
        }
    }
    for (sum, value) in last_sums.iter_mut().zip(last_counts) {
        *sum = add(*sum, count(*value));
    }
}

fn join(all: &mut [u8], bits: &[u8]) {
    for (all, bits) in all.iter_mut().zip(bits) {
        *all |= bits;
    }
}
