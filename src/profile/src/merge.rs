//! Merging by identity: evidence of one program adds up, evidence given twice
//! counts once, two builds stay apart.
//!
//! [`Merge`] holds each piece of evidence under its [`Key`]. It is a set with
//! joining: bringing two of them together is commutative, associative and
//! idempotent. Where one key comes with two states of its counts, the larger
//! are taken, because counts of a living process only grow. [`Totals`] are the
//! sums over distinct pieces of evidence; adding is saturating, commutative
//! and associative, and holds no more for many files than for one.
//!
//! [`Totals::finish`] gives what was counted of each [`Program`]. Profiles of
//! one program usually have one shape; where they have several (a sparse
//! profile leaves functions out), they are brought together function by
//! function. A function whose number of counters differs within one program
//! is a [`ShapeConflict`]: the larger shape is kept, the other set aside, and
//! both are told.

mod raw;

use std::collections::BTreeMap;
use std::io::Write;

use crate::evidence::Key;
use crate::go::text;
use crate::llvm::profile::{Counts, FunctionId, Profile, ShapeConflict};
use crate::store::{MetaShape, Named, Program, Shape, Store, TextShape, Vector};
use crate::store::{WriteError, Writer};

pub use raw::{Placement, RawTotals, SetAside};

/// What adding a piece of evidence came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It was not there.
    New,
    /// It was there with the same counts.
    Duplicate,
    /// It was there with others; the larger ones are kept.
    Version,
}

/// Evidence by its key.
#[derive(Clone, Debug, Default)]
pub struct Merge {
    shapes: BTreeMap<[u8; 32], Named>,
    counts: BTreeMap<(Key, [u8; 32]), Vector>,
}

impl Merge {
    /// Adds what one process counted.
    pub fn add(&mut self, key: Key, shape: &Named, vector: Vector) -> Added {
        let digest = shape.digest();
        let known = self.shapes.entry(digest).or_insert_with(|| shape.clone());
        let stretches = known.shape().stretches();
        match self.counts.entry((key, digest)) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(vector);
                Added::New
            }
            std::collections::btree_map::Entry::Occupied(place) if *place.get() == vector => {
                Added::Duplicate
            }
            std::collections::btree_map::Entry::Occupied(mut place) => {
                let joined = place.get().join(&vector, &stretches);
                place.insert(joined);
                Added::Version
            }
        }
    }

    /// Adds all that another one holds.
    pub fn absorb(&mut self, other: Merge) {
        for ((key, digest), vector) in other.counts {
            if let Some(shape) = other.shapes.get(&digest) {
                self.add(key, shape, vector);
            }
        }
    }

    /// Adds all that a podcov file holds.
    pub fn absorb_store(&mut self, store: &Store<'_>) {
        for piece in store.pieces() {
            let shape = store.shapes().get(piece.shape);
            if let (Some(shape), Some(vector)) = (shape, store.vector(piece.vector)) {
                self.add(piece.key, shape, vector);
            }
        }
    }

    /// How many pieces of evidence there are.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The evidence in the order of its keys.
    pub fn pieces(&self) -> impl Iterator<Item = (&Key, &Named, &Vector)> {
        self.counts
            .iter()
            .filter_map(|((key, digest), vector)| Some((key, self.shapes.get(digest)?, vector)))
    }

    /// Writes a podcov file.
    pub fn write<W: Write>(&self, out: W) -> Result<W, WriteError> {
        let mut writer = Writer::new(out)?;
        for (key, shape, vector) in self.pieces() {
            writer.add(key, shape, vector)?;
        }
        Ok(writer.finish()?)
    }

    /// The sums over all evidence.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (_, shape, vector) in self.pieces() {
            totals.add(shape, vector, 1);
        }
        totals
    }
}

/// Sums over distinct pieces of evidence.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Dense, by shape.
    sums: BTreeMap<[u8; 32], Sum>,
    /// Of LLVM, function by function.
    profiles: BTreeMap<Program, Together>,
}

/// The sums of one shape.
#[derive(Clone, Debug)]
pub struct Sum {
    /// What is counted.
    pub shape: Named,
    /// How many pieces of evidence were added.
    pub pieces: u64,
    /// The sums by slot.
    pub values: Vec<u64>,
}

impl Totals {
    fn of(&mut self, shape: &Named) -> &mut Sum {
        self.sums.entry(shape.digest()).or_insert_with(|| Sum {
            shape: shape.clone(),
            pieces: 0,
            values: vec![0; usize::try_from(shape.shape().slots()).unwrap_or(0)],
        })
    }

    /// Adds the counts of one piece of evidence `times` times.
    pub fn add(&mut self, shape: &Named, vector: &Vector, times: u64) {
        let sum = self.of(shape);
        sum.pieces = sum.pieces.saturating_add(times);
        vector.add_to(times, &shape.shape().stretches(), &mut sum.values);
    }

    /// Adds sums by slot over so many pieces of evidence.
    pub fn add_dense(&mut self, shape: &Named, values: &[u64], pieces: u64) {
        let sum = self.of(shape);
        sum.pieces = sum.pieces.saturating_add(pieces);
        let mut pairs = sum.values.iter_mut().zip(values);
        for stretch in shape.shape().stretches() {
            let slots = usize::try_from(stretch.slots).unwrap_or(usize::MAX);
            for (sum, count) in pairs.by_ref().take(slots) {
                *sum = stretch.rule.sum(*sum, *count);
            }
        }
    }

    /// Adds the sums of an LLVM profile over so many pieces of evidence.
    pub fn add_profile(&mut self, profile: Profile, pieces: u64) {
        let program = Program::of(&profile);
        self.profiles
            .entry(program)
            .or_default()
            .add(profile, pieces);
    }

    /// Adds sums over further evidence.
    pub fn absorb(&mut self, other: Totals) {
        for (digest, theirs) in other.sums {
            match self.sums.entry(digest) {
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(theirs);
                }
                std::collections::btree_map::Entry::Occupied(_) => {
                    self.add_dense(&theirs.shape, &theirs.values, theirs.pieces);
                }
            }
        }
        for (program, theirs) in other.profiles {
            match self.profiles.entry(program) {
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(theirs);
                }
                std::collections::btree_map::Entry::Occupied(place) => {
                    place.into_mut().absorb(theirs);
                }
            }
        }
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty() && self.profiles.is_empty()
    }

    /// The dense sums by shape.
    pub fn sums(&self) -> impl Iterator<Item = &Sum> {
        self.sums.values()
    }

    /// What was counted of each program, in the order of programs.
    pub fn finish(self) -> Vec<Counted> {
        let mut llvm = self.profiles;
        let mut counted = Vec::new();
        for (_, sum) in self.sums {
            let program = sum.shape.shape().program();
            let counts = match &**sum.shape.shape() {
                // Only profiles of LLVM can be parts of a whole.
                Shape::Llvm(shape) => {
                    let profile = shape.profile(&sum.values);
                    llvm.entry(program).or_default().add(profile, sum.pieces);
                    continue;
                }
                Shape::Go(shape) => ProgramCounts::Go(shape.clone(), sum.values),
                Shape::GoText(shape) => ProgramCounts::GoText(shape.profile(&sum.values)),
            };
            counted.push(Counted {
                program,
                pieces: sum.pieces,
                counts,
                conflicts: Vec::new(),
            });
        }
        for (program, together) in llvm {
            counted.push(together.finish(program));
        }
        // Stable: meta-data of one hash and two forms stay in the order of theirs.
        counted.sort_by(|a, b| a.program.cmp(&b.program));
        counted
    }
}

/// What was counted of one program.
#[derive(Clone, Debug)]
pub struct Counted {
    /// The program.
    pub program: Program,
    /// How many pieces of evidence were added.
    pub pieces: u64,
    /// The counts.
    pub counts: ProgramCounts,
    /// Functions that came in two shapes; the other one was set aside.
    pub conflicts: Vec<ShapeConflict>,
}

/// The counts of a program, as its language has them.
#[derive(Clone, Debug)]
pub enum ProgramCounts {
    /// Of an LLVM profile.
    Llvm(Profile),
    /// Of Go's counters: meta-data, and counts in the order of its slots.
    Go(MetaShape, Vec<u64>),
    /// Of a Go text profile.
    GoText(text::Profile),
}

/// Profiles of one program, brought together function by function. The order
/// they come in changes nothing: a function that comes in several shapes is
/// added up for each of them before one is chosen.
#[derive(Clone, Debug, Default)]
struct Together {
    whole: Profile,
    others: BTreeMap<FunctionId, BTreeMap<(usize, usize), Counts>>,
    pieces: u64,
}

impl Together {
    fn add(&mut self, profile: Profile, pieces: u64) {
        let is_first = self.pieces == 0;
        self.pieces = self.pieces.saturating_add(pieces);
        if is_first {
            self.whole = profile;
            return;
        }
        self.whole.binary_ids.extend(profile.binary_ids);
        self.whole.names.extend(profile.names);
        self.whole.variants |= profile.variants;
        self.whole.has_old_bitmaps |= profile.has_old_bitmaps;
        for (id, counts) in profile.functions {
            self.add_function(id, counts);
        }
    }

    fn add_function(&mut self, id: FunctionId, counts: Counts) {
        match self.whole.functions.get_mut(&id) {
            Some(known) if known.shape() == counts.shape() => known.absorb(&counts),
            Some(_) => {
                let by_shape = self.others.entry(id).or_default();
                match by_shape.get_mut(&counts.shape()) {
                    Some(known) => known.absorb(&counts),
                    None => {
                        by_shape.insert(counts.shape(), counts);
                    }
                }
            }
            None => {
                self.whole.functions.insert(id, counts);
            }
        }
    }

    fn absorb(&mut self, other: Together) {
        self.add(other.whole, other.pieces);
        for (id, by_shape) in other.others {
            for counts in by_shape.into_values() {
                self.add_function(id, counts);
            }
        }
    }

    fn finish(mut self, program: Program) -> Counted {
        let mut conflicts = Vec::new();
        for (function, mut by_shape) in self.others {
            if let Some(first) = self.whole.functions.remove(&function) {
                by_shape.insert(first.shape(), first);
            }
            let Some((known, counts)) = by_shape.pop_last() else {
                continue;
            };
            self.whole.functions.insert(function, counts);
            conflicts.extend(by_shape.into_keys().map(|other| ShapeConflict {
                function,
                known,
                other,
            }));
        }
        Counted {
            program,
            pieces: self.pieces,
            counts: ProgramCounts::Llvm(self.whole),
            conflicts,
        }
    }
}

/// The shape and the counts of an LLVM profile.
pub fn of_profile(profile: &Profile) -> (Named, Vector) {
    let (shape, values) = crate::store::LlvmShape::of(profile);
    (Named::new(Shape::Llvm(shape)), Vector::from_dense(&values))
}

/// The shape and the counts of a Go text profile.
pub fn of_text(profile: &text::Profile) -> (Named, Vector) {
    let (shape, values) = TextShape::of(profile);
    (
        Named::new(Shape::GoText(shape)),
        Vector::from_dense(&values),
    )
}
