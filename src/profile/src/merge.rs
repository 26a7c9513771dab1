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

use std::collections::BTreeMap;
use std::io::Write;

use crate::evidence::Key;
use crate::go::text;
use crate::llvm::profile::{Counts, FunctionId, Profile, ShapeConflict};
use crate::store::{MetaShape, Named, Program, Shape, Store, TextShape, Vector};
use crate::store::{WriteError, Writer};

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

/// Sums over distinct pieces of evidence, dense, by shape.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    sums: BTreeMap<[u8; 32], Sum>,
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
    /// The sums of a shape, zeros at first, to be added to by its rules.
    pub fn of(&mut self, shape: &Named) -> &mut Sum {
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

    /// Adds sums over further evidence.
    pub fn absorb(&mut self, other: Totals) {
        for (digest, theirs) in other.sums {
            let ours = match self.sums.entry(digest) {
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(theirs);
                    continue;
                }
                std::collections::btree_map::Entry::Occupied(place) => place.into_mut(),
            };
            ours.pieces = ours.pieces.saturating_add(theirs.pieces);
            let mut values = ours.values.iter_mut().zip(&theirs.values);
            for stretch in ours.shape.shape().stretches() {
                let slots = usize::try_from(stretch.slots).unwrap_or(usize::MAX);
                for (sum, count) in values.by_ref().take(slots) {
                    *sum = stretch.rule.sum(*sum, *count);
                }
            }
        }
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// The sums by shape.
    pub fn sums(&self) -> impl Iterator<Item = &Sum> {
        self.sums.values()
    }

    /// What was counted of each program, in the order of programs.
    pub fn finish(self) -> Vec<Counted> {
        let mut programs: BTreeMap<(Program, [u8; 32]), Vec<Sum>> = BTreeMap::new();
        for (digest, sum) in self.sums {
            let program = sum.shape.shape().program();
            // Only shapes of LLVM can be parts of a whole.
            let apart = match &**sum.shape.shape() {
                Shape::Llvm(_) => [0; 32],
                Shape::Go(_) | Shape::GoText(_) => digest,
            };
            programs.entry((program, apart)).or_default().push(sum);
        }
        let programs = programs.into_iter();
        programs
            .map(|((program, _), sums)| counted(program, sums))
            .collect()
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

fn counted(program: Program, sums: Vec<Sum>) -> Counted {
    let pieces = sums
        .iter()
        .fold(0u64, |n, sum| n.saturating_add(sum.pieces));
    let mut shapes: BTreeMap<FunctionId, BTreeMap<(usize, usize), Counts>> = BTreeMap::new();
    let mut profile = Profile::default();
    let mut other = None;
    for sum in sums {
        match &**sum.shape.shape() {
            Shape::Llvm(shape) => {
                let of_shape = shape.profile(&sum.values);
                profile.binary_ids.extend(of_shape.binary_ids);
                profile.names.extend(of_shape.names);
                profile.variants |= of_shape.variants;
                for (id, counts) in of_shape.functions {
                    let by_shape = shapes.entry(id).or_default();
                    match by_shape.get_mut(&counts.shape()) {
                        Some(known) => known.absorb(&counts),
                        None => {
                            by_shape.insert(counts.shape(), counts);
                        }
                    }
                }
            }
            Shape::Go(shape) => {
                other = Some(ProgramCounts::Go(shape.clone(), sum.values));
            }
            Shape::GoText(shape) => {
                other = Some(ProgramCounts::GoText(shape.profile(&sum.values)));
            }
        }
    }
    let mut conflicts = Vec::new();
    for (function, mut by_shape) in shapes {
        let Some((known, counts)) = by_shape.pop_last() else {
            continue;
        };
        profile.functions.insert(function, counts);
        conflicts.extend(by_shape.into_keys().map(|other| ShapeConflict {
            function,
            known,
            other,
        }));
    }
    Counted {
        program,
        pieces,
        counts: other.unwrap_or(ProgramCounts::Llvm(profile)),
        conflicts,
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
