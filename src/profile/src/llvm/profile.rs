//! What an LLVM profile says, whatever format it came in: how often each
//! counter of each function ran.

use std::collections::{BTreeMap, BTreeSet};

use crate::Identity;

/// The largest count LLVM keeps: the two values above it are its pseudo counts
/// (`getInstrMaxCountValue` in `ProfileData/InstrProf.h`, LLVM 22).
pub const MAX_COUNT: u64 = u64::MAX - 2;

/// The largest count that a running program can reach: LLVM takes a higher one
/// for a sign of a corrupt profile and refuses it (`MaxCounterValue` in
/// `ProfileData/InstrProfReader.h`, LLVM 22). Sums can be higher.
pub const MAX_PLAUSIBLE: u64 = 1 << 56;

/// Which function counters belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionId {
    /// Low 64 bits of the MD5 of its PGO name.
    pub name: u64,
    /// Hash of its structure; 0 for a dummy that was never compiled.
    pub hash: u64,
}

/// What kind of profile it is: bits 32 to 63 of the version field of raw and
/// indexed profiles (`VARIANT_MASK_*` in `profile/InstrProfData.inc`, LLVM 22).
#[derive(Clone, Copy, Debug)]
pub struct Variant;

#[allow(missing_docs, reason = "the names say it")]
impl Variant {
    pub const ALL: u64 = 0xffff_ffff << 32;
    /// Counters at loop entries.
    pub const LOOP_ENTRIES: u64 = 1 << 55;
    /// Instrumented by LLVM (`-fprofile-generate`), not by the front end.
    pub const IR: u64 = 1 << 56;
    /// With context-sensitive records.
    pub const CONTEXT: u64 = 1 << 57;
    /// The first counter is that of the entry.
    pub const ENTRY_FIRST: u64 = 1 << 58;
    /// Functions and names are in the program's debug information.
    pub const CORRELATED: u64 = 1 << 59;
    /// A byte for a counter, 0 where it was reached.
    pub const BYTE_COVERAGE: u64 = 1 << 60;
    /// One counter for each function.
    pub const ENTRY_ONLY: u64 = 1 << 61;
    /// With a profile of memory.
    pub const MEMORY: u64 = 1 << 62;
    /// The first counter is a time.
    pub const TEMPORAL: u64 = 1 << 63;
    /// Those that have a meaning.
    pub const KNOWN: u64 = 0x1ff << 55;
}

/// The counters of one function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// In the order the mapping refers to them.
    pub counters: Vec<u64>,
    /// Executed test vectors of MC/DC decisions; empty without MC/DC.
    pub bitmap: Vec<u8>,
}

/// Two records of one function that differ in shape; they cannot be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeConflict {
    /// The function.
    pub function: FunctionId,
    /// Number of counters and bytes of bitmap that are kept.
    pub known: (usize, usize),
    /// Those of the record that was not added.
    pub other: (usize, usize),
}

/// The counts of one program, or of several that were merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Counts by function.
    pub functions: BTreeMap<FunctionId, Counts>,
    /// PGO names by their MD5, as far as they are known. They need not be UTF-8.
    pub names: BTreeMap<u64, Box<[u8]>>,
    /// Build ids of the programs.
    pub binary_ids: BTreeSet<Identity>,
    /// Variant flags, in their places (bits 32 to 63 of the version field).
    pub variants: u64,
    /// It has bitmaps as LLVM 18 makes them: a bit for each combination of a
    /// decision's conditions. Since LLVM 19 there is one for each of its test
    /// vectors. Bitmaps of both kinds cannot be joined; no program has both.
    pub has_old_bitmaps: bool,
}

/// Adds counts as LLVM does: they stop at [`MAX_COUNT`].
pub fn add(one: u64, other: u64) -> u64 {
    one.saturating_add(other).min(MAX_COUNT)
}

impl Counts {
    /// Number of counters and bytes of bitmap.
    pub fn shape(&self) -> (usize, usize) {
        (self.counters.len(), self.bitmap.len())
    }

    /// Adds counters, and joins bitmaps, of the same shape.
    pub fn absorb(&mut self, other: &Counts) {
        for (sum, count) in self.counters.iter_mut().zip(&other.counters) {
            *sum = add(*sum, *count);
        }
        for (sum, bits) in self.bitmap.iter_mut().zip(&other.bitmap) {
            *sum |= bits;
        }
    }

    fn add(&mut self, function: FunctionId, other: &Counts) -> Result<(), ShapeConflict> {
        if self.shape() != other.shape() {
            return Err(ShapeConflict {
                function,
                known: self.shape(),
                other: other.shape(),
            });
        }
        self.absorb(other);
        Ok(())
    }

    /// Nothing of it ran.
    pub fn is_zero(&self) -> bool {
        self.counters.iter().all(|count| *count == 0) && self.bitmap.iter().all(|bits| *bits == 0)
    }
}

impl Profile {
    /// Adds the counts of one record of a function.
    pub fn add(&mut self, function: FunctionId, counts: Counts) -> Result<(), ShapeConflict> {
        match self.functions.get_mut(&function) {
            None => {
                self.functions.insert(function, counts);
            }
            Some(known) => known.add(function, &counts)?,
        }
        Ok(())
    }

    /// Adds the counts of many records. The functions that are known in another
    /// shape are told and left out.
    pub fn extend(
        &mut self,
        functions: impl IntoIterator<Item = (FunctionId, Counts)>,
    ) -> Vec<ShapeConflict> {
        let functions = functions.into_iter();
        if !self.functions.is_empty() {
            let added = functions.map(|(function, counts)| self.add(function, counts));
            return added.filter_map(Result::err).collect();
        }
        // A map that is made of sorted pairs at once is smaller and sooner made.
        let mut functions: Vec<_> = functions.collect();
        functions.sort_by_key(|(function, _)| *function);
        let mut conflicts = Vec::new();
        functions.dedup_by(|(function, counts), (known, sum)| {
            if function != known {
                return false;
            }
            conflicts.extend(sum.add(*function, counts).err());
            true
        });
        self.functions = functions.into_iter().collect();
        conflicts
    }

    /// The functions of another profile that are known in another shape, so
    /// that it cannot be added whole.
    pub fn conflicts(&self, other: &Profile) -> Vec<ShapeConflict> {
        let differs = |(function, counts): (&FunctionId, &Counts)| {
            let known = self.functions.get(function)?.shape();
            let other = counts.shape();
            (known != other).then_some(ShapeConflict {
                function: *function,
                known,
                other,
            })
        };
        other.functions.iter().filter_map(differs).collect()
    }

    /// Adds another profile. Saturating, commutative and associative as long as
    /// no shapes differ; the functions that do are told and left out.
    pub fn absorb(&mut self, other: Profile) -> Vec<ShapeConflict> {
        self.binary_ids.extend(other.binary_ids);
        self.names.extend(other.names);
        self.variants |= other.variants;
        self.has_old_bitmaps |= other.has_old_bitmaps;
        self.extend(other.functions)
    }
}
