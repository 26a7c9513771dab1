//! Raw profiles of LLVM on their way into a merge, without a map in between.
//!
//! Profiles that one program wrote have the same records and names and differ
//! in their counts alone. So the few that differ from the others of their
//! build id were damaged where no length could tell, and are set aside.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::ScopedJoinHandle;

use super::Totals;
use crate::llvm::names::Known;
use crate::llvm::profile::{FunctionId, Profile, ShapeConflict};
use crate::llvm::raw::{Part, Record};
use crate::llvm::sum::Sum;
use crate::store::{LlvmShape, Named, Shape, Vector};
use crate::{Identity, Limits, ParseError};

/// Of this many files the names are kept, should they have to be told.
const LABELS: usize = 16;

/// Sums of raw profiles by program; names are inflated once, at the end.
#[derive(Clone, Debug, Default)]
pub struct RawTotals {
    by_ids: BTreeMap<Vec<Identity>, Vec<Layout>>,
}

#[derive(Clone, Debug)]
struct Layout {
    sum: Sum,
    pieces: u64,
    /// The first of the files it was met in.
    labels: BTreeSet<String>,
}

/// What of raw profiles was not added up.
#[derive(Clone, Debug)]
pub enum SetAside {
    /// So many profiles, of which some are in these files, differ in their
    /// functions from most profiles of the same build.
    Layout {
        /// Their build.
        ids: Vec<Identity>,
        /// The first of the files.
        labels: BTreeSet<String>,
        /// How many profiles.
        pieces: u64,
        /// How many functions and counters most profiles have.
        known: (usize, usize),
        /// How many these have.
        other: (usize, usize),
        /// Neither is more frequent, so both were added.
        undecided: bool,
    },
    /// The names in so many profiles do not inflate to what they claim.
    Names {
        /// The first of the files.
        labels: BTreeSet<String>,
        /// How many profiles.
        pieces: u64,
        /// What is wrong.
        error: ParseError,
    },
    /// A function that a profile holds in two shapes.
    Function {
        /// The first of the files.
        labels: BTreeSet<String>,
        /// Both shapes.
        conflict: ShapeConflict,
    },
}

impl Layout {
    fn remember(&mut self, label: impl Into<String>) {
        self.labels.insert(label.into());
        while self.labels.len() > LABELS {
            self.labels.pop_last();
        }
    }

    fn shape(&self) -> (usize, usize) {
        let mut shape = (0, 0);
        for record in self.sum.records() {
            shape.0 += 1;
            shape.1 += record.counters.len();
        }
        shape
    }
}

impl RawTotals {
    /// Adds one profile of the raw file called `label`.
    ///
    /// # Errors
    /// Where a record is damaged; nothing was added then.
    pub fn add(&mut self, part: &Part<'_>, label: &str) -> Result<(), ParseError> {
        if let Some(layouts) = self.by_ids.get_mut(part.build_ids()) {
            for layout in layouts.iter_mut() {
                if layout.sum.add(part) {
                    layout.pieces += 1;
                    let is_early = layout.labels.last().is_none_or(|last| label < last);
                    if layout.labels.len() < LABELS || is_early {
                        layout.remember(label);
                    }
                    return Ok(());
                }
            }
        }
        let layout = Layout {
            sum: Sum::new(part)?,
            pieces: 1,
            labels: [label.to_owned()].into(),
        };
        let ids = part.build_ids().to_vec();
        self.by_ids.entry(ids).or_default().push(layout);
        Ok(())
    }

    /// Adds sums over further evidence.
    pub fn absorb(&mut self, other: RawTotals) {
        for (ids, theirs) in other.by_ids {
            let ours = self.by_ids.entry(ids).or_default();
            for layout in theirs {
                absorb(ours, layout);
            }
        }
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.by_ids.is_empty()
    }

    /// Whether a profile is like those that are kept; of a build that nothing
    /// was added of, none is.
    pub fn fits(&self, part: &Part<'_>) -> bool {
        let layouts = self.by_ids.get(part.build_ids());
        layouts.is_some_and(|layouts| layouts.iter().any(|layout| layout.sum.fits(part)))
    }

    /// Sets aside the profiles that differ from most of their build. Programs
    /// without a build id are told apart by their layout alone.
    pub fn settle(&mut self) -> Vec<SetAside> {
        let mut aside = Vec::new();
        for (ids, layouts) in &mut self.by_ids {
            if !ids.is_empty() {
                most(ids, layouts, &mut aside);
            }
        }
        aside
    }

    /// The functions that profiles hold in two shapes, of which a sum, or a
    /// [`Placement`], has the first: what [`finish`](Self::finish) tells of
    /// them, for who takes the profiles apart.
    pub fn conflicts(&self) -> Vec<SetAside> {
        let mut aside = Vec::new();
        for layout in self.by_ids.values().flatten() {
            let mut records: Vec<_> = layout.sum.records().collect();
            records.sort_by_key(|record| record.function);
            for same in records.chunk_by(|one, other| one.function == other.function) {
                let shape = |record: &Record| (record.counters.len(), record.bitmap.len());
                let Some((first, more)) = same.split_first() else {
                    continue;
                };
                let others = more.iter().filter(|other| shape(other) != shape(first));
                aside.extend(others.map(|other| SetAside::Function {
                    labels: layout.labels.clone(),
                    conflict: ShapeConflict {
                        function: first.function,
                        known: shape(first),
                        other: shape(other),
                    },
                }));
            }
        }
        aside
    }

    /// Brings the sums to others, and tells what was set aside. `threads`
    /// programs at a time are decoded; their number changes no result.
    pub fn finish(mut self, limits: &Limits, threads: usize, into: &mut Totals) -> Vec<SetAside> {
        let mut aside = self.settle();
        let layouts = self.by_ids.into_values().flatten().collect();
        for (labels, pieces, decoded) in decode(layouts, limits, threads) {
            match decoded {
                Ok((profile, conflicts)) => {
                    into.add_profile(profile, pieces);
                    aside.extend(conflicts.into_iter().map(|conflict| SetAside::Function {
                        labels: labels.clone(),
                        conflict,
                    }));
                }
                Err(error) => aside.push(SetAside::Names {
                    labels,
                    pieces,
                    error,
                }),
            }
        }
        aside
    }
}

/// What a thread may keep of the names of programs before, in bytes.
const KNOWN_NAMES: usize = 8 << 20;

type Decoded = (
    BTreeSet<String>,
    u64,
    Result<(Profile, Vec<ShapeConflict>), ParseError>,
);

/// The counts of each layout by function, in the same order. Each thread takes
/// programs in a row, which are likely to share names.
fn decode(mut layouts: Vec<Layout>, limits: &Limits, threads: usize) -> Vec<Decoded> {
    let some = layouts.len().div_ceil(threads.max(1)).max(1);
    let work = |layouts: Vec<Layout>| {
        // Of a single program there is nothing to find again.
        let room = if layouts.len() > 1 { KNOWN_NAMES } else { 0 };
        let mut known = Known::with_room(room);
        let decode = |layout: Layout| {
            let decoded = layout.sum.into_profile_knowing(limits, &mut known);
            (layout.labels, layout.pieces, decoded)
        };
        layouts.into_iter().map(decode).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let mut begun = Vec::new();
        while layouts.len() > some {
            let rest = layouts.split_off(some);
            let own = std::mem::replace(&mut layouts, rest);
            begun.push(scope.spawn(move || work(own)));
        }
        // This thread has nothing else to do.
        let last = work(layouts);
        let join = |thread: ScopedJoinHandle<'_, Vec<Decoded>>| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let decoded = begun.into_iter().flat_map(join);
        decoded.chain(last).collect()
    })
}

fn absorb(ours: &mut Vec<Layout>, theirs: Layout) {
    let Layout {
        mut sum,
        pieces,
        labels,
    } = theirs;
    for known in ours.iter_mut() {
        match known.sum.absorb(sum) {
            None => {
                known.pieces += pieces;
                for label in labels {
                    known.remember(label);
                }
                return;
            }
            Some(back) => sum = back,
        }
    }
    ours.push(Layout {
        sum,
        pieces,
        labels,
    });
}

/// Leaves the layout that most profiles of a build have, or all of them where
/// none has the most. The order they came in decides nothing.
fn most(ids: &[Identity], layouts: &mut Vec<Layout>, aside: &mut Vec<SetAside>) {
    layouts.sort_by(|a, b| (b.pieces, &a.labels).cmp(&(a.pieces, &b.labels)));
    let (Some(first), Some(second)) = (layouts.first(), layouts.get(1)) else {
        return;
    };
    let (known, undecided) = (first.shape(), first.pieces == second.pieces);
    for other in layouts.iter().skip(1) {
        aside.push(SetAside::Layout {
            ids: ids.to_vec(),
            labels: other.labels.clone(),
            pieces: other.pieces,
            known,
            other: other.shape(),
            undecided,
        });
    }
    if !undecided {
        layouts.truncate(1);
    }
}

/// Where the counters of a raw profile go in the slots of its shape; made once
/// for all profiles of one program.
#[derive(Clone, Debug)]
pub struct Placement {
    first: Sum,
    shape: Named,
    /// Slots of counters, then of bytes of bitmaps, in the order of the file.
    counters: Vec<u32>,
    bitmaps: Vec<u32>,
}

/// Stands for a counter that no function has.
const NOWHERE: u32 = u32::MAX;

impl Placement {
    /// The placement of this profile and all like it.
    ///
    /// # Errors
    /// Where a record is damaged, or the names do not inflate to what they
    /// claim.
    pub fn new(part: &Part<'_>, limits: &Limits) -> Result<Self, ParseError> {
        let (profile, _) = part.profile(limits)?;
        let (shape, _) = LlvmShape::of(&profile);
        let mut first: BTreeMap<FunctionId, (u32, u32, (u32, u32))> = BTreeMap::new();
        let (mut slot, mut bit) = (0u32, 0u32);
        for (id, (counters, bitmap)) in &shape.functions {
            first.insert(*id, (slot, bit, (*counters, *bitmap)));
            slot = slot.saturating_add(*counters);
            bit = bit.saturating_add(*bitmap);
        }
        let (all_counters, mut counters, mut bitmaps) = (slot, Vec::new(), Vec::new());
        for record in part.records() {
            let record = record?;
            let Some((slot, bit, shape)) = first.get(&record.function) else {
                continue;
            };
            if (record.counters.len(), record.bitmap.len()) != (shape.0 as usize, shape.1 as usize)
            {
                continue;
            }
            place(&mut counters, record.counters, *slot);
            place(
                &mut bitmaps,
                record.bitmap,
                all_counters.saturating_add(*bit),
            );
        }
        Ok(Placement {
            first: Sum::new(part)?,
            shape: Named::new(Shape::Llvm(shape)),
            counters,
            bitmaps,
        })
    }

    /// Whether it is that of this profile.
    pub fn fits(&self, part: &Part<'_>) -> bool {
        self.first.fits(part)
    }

    /// The shape that the slots are of.
    pub fn shape(&self) -> &Named {
        &self.shape
    }

    /// The counts of a profile that [fits](Placement::fits).
    pub fn counts(&self, part: &Part<'_>) -> Vector {
        let mut counts: Vec<(u32, u64)> = Vec::new();
        for (index, count) in part.reached() {
            counts.push((slot(&self.counters, index as usize), count));
        }
        for (index, byte) in part.bitmap(0..self.bitmaps.len()).iter().enumerate() {
            counts.push((slot(&self.bitmaps, index), u64::from(*byte)));
        }
        counts.retain(|(slot, _)| *slot != NOWHERE);
        counts.sort_by_key(|(slot, _)| *slot);
        // Several records can be of one function.
        let first_bit = self.bitmaps.iter().min().copied().unwrap_or(NOWHERE);
        counts.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same && kept.0 >= first_bit {
                kept.1 |= next.1;
            } else if same {
                kept.1 = crate::llvm::profile::add(kept.1, next.1);
            }
            same
        });
        Vector::new(
            counts
                .into_iter()
                .map(|(slot, count)| (u64::from(slot), count)),
        )
    }
}

fn place(places: &mut Vec<u32>, range: std::ops::Range<usize>, first: u32) {
    if places.len() < range.end {
        places.resize(range.end, NOWHERE);
    }
    for (place, slot) in places
        .get_mut(range)
        .unwrap_or_default()
        .iter_mut()
        .zip(first..)
    {
        *place = slot;
    }
}

fn slot(places: &[u32], index: usize) -> u32 {
    places.get(index).copied().unwrap_or(NOWHERE)
}
