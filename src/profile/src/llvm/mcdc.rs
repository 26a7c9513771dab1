//! MC/DC: decisions of several conditions, and which of their outcomes were
//! seen.
//!
//! A decision is a graph of conditions: each says which one is asked next when
//! it is true and when it is false, or that the decision is made. Every way
//! through the graph is a test vector with one bit in the bitmap of the
//! function. Which bit, is a matter of version:
//! * profiles before version 12 (LLVM 18): bit `sum of 2^id` over the
//!   conditions that were true, from byte `bitmap` of the function;
//! * since then: paths are numbered. Going from the first condition, each node
//!   has as many paths to it as its predecessors together, and the outcome
//!   "true" of a node is numbered behind what reached the next one so far.
//!   Outcomes that make the decision are ordered by falling number of paths,
//!   then as they are found. `bitmap` is the bit behind the last path.
//!
//! The first decision of a function begins at 0 in the old scheme and ends
//! above 0 in the new one, which tells them apart. A condition is covered by
//! two seen vectors that differ in it alone and in the outcome. Source:
//! `TVIdxBuilder`, `MCDCRecordProcessor` and `MCDCDecisionRecorder` in
//! `CoverageMapping.cpp`, LLVM 22.

use std::collections::VecDeque;

use super::counted::{Region, RegionKind};
use super::regions::{Mapped, Mcdc};

/// More vectors of one decision that were seen are not compared.
const MAX_VECTORS: usize = 1 << 13;
/// More conditions than compilers allow by default by far; the limit of the
/// format is 32767.
const MAX_CONDITIONS: u16 = 1 << 12;

/// A decision with what was seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Where it is; the count means nothing.
    pub region: Region,
    /// Its conditions, the first one in front, the others as the compiler
    /// wrote them.
    pub conditions: Vec<Condition>,
    /// What was seen: first the vectors that made it false.
    pub vectors: Vec<Vector>,
}

/// A condition of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Line it starts on.
    pub line: u32,
    /// Column it starts at.
    pub column: u32,
    /// It can have one value only.
    pub folded: bool,
    /// Two vectors, counted from 0, that show that it decides.
    pub pair: Option<(u32, u32)>,
}

/// One way through a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector {
    /// The values of the conditions, in their order; `None`: not asked.
    pub values: Vec<Option<bool>>,
    /// The outcome.
    pub result: bool,
}

/// Why a decision is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The graph is none: conditions are missing, double or in a circle.
    Graph,
    /// It ends behind the function's bitmap.
    Bitmap,
    /// It is too large.
    Size,
}

/// Work that is left, so that hostile input ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Budget(pub(crate) u64);

impl Budget {
    fn take(&mut self, work: u64) -> Result<(), Fault> {
        self.0 = self.0.checked_sub(work).ok_or(Fault::Size)?;
        Ok(())
    }
}

/// Decisions whose conditions are not all found yet.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    decisions: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    decision: Mapped,
    bitmap: u32,
    conditions: u16,
    /// The condition with number 0 in front.
    found: Vec<Mapped>,
    /// By number.
    is_found: Vec<bool>,
    /// Files that expansions within it lead to.
    files: Vec<u32>,
}

impl Open {
    fn holds(&self, region: &Mapped) -> bool {
        let inside = region.file == self.decision.file
            && region.start >= self.decision.start
            && region.end <= self.decision.end;
        inside || self.files.contains(&region.file)
    }
}

impl Pending {
    pub(crate) fn clear(&mut self) {
        self.decisions.clear();
    }

    /// No decision lacks conditions.
    pub(crate) fn is_empty(&self) -> bool {
        self.decisions.is_empty()
    }

    pub(crate) fn decision(&mut self, decision: &Mapped, budget: &mut Budget) -> Result<(), Fault> {
        let Mcdc::Decision { bitmap, conditions } = decision.mcdc else {
            return Ok(());
        };
        if conditions == 0 {
            return Err(Fault::Graph);
        }
        if conditions > MAX_CONDITIONS {
            return Err(Fault::Size);
        }
        budget.take(u64::from(conditions))?;
        self.decisions.push(Open {
            decision: *decision,
            bitmap,
            conditions,
            found: Vec::new(),
            is_found: vec![false; usize::from(conditions)],
            files: Vec::new(),
        });
        Ok(())
    }

    pub(crate) fn expansion(
        &mut self,
        expansion: &Mapped,
        budget: &mut Budget,
    ) -> Result<(), Fault> {
        for open in &mut self.decisions {
            budget.take(1 + open.files.len() as u64)?;
            if open.holds(expansion) {
                open.files.push(expansion.expanded);
                break;
            }
        }
        Ok(())
    }

    /// Gives a condition to the first decision that lacks it. When it was the
    /// last one, the decision is complete.
    pub(crate) fn branch(
        &mut self,
        branch: &Mapped,
        seen: &Seen<'_>,
        budget: &mut Budget,
    ) -> Result<Option<Decision>, Fault> {
        let Mcdc::Branch { id, .. } = branch.mcdc else {
            return Ok(None);
        };
        let mut taker = None;
        for (index, open) in self.decisions.iter().enumerate() {
            budget.take(1 + open.files.len() as u64)?;
            let lacks = usize::try_from(id)
                .ok()
                .and_then(|id| open.is_found.get(id))
                .is_some_and(|found| !found);
            if lacks && open.holds(branch) {
                taker = Some(index);
                break;
            }
        }
        let Some(index) = taker else {
            return Err(Fault::Graph);
        };
        let Some(open) = self.decisions.get_mut(index) else {
            return Ok(None);
        };
        if let Some(found) = usize::try_from(id)
            .ok()
            .and_then(|id| open.is_found.get_mut(id))
        {
            *found = true;
        }
        if id == 0 {
            open.found.insert(0, *branch);
        } else {
            open.found.push(*branch);
        }
        if open.found.len() < usize::from(open.conditions) {
            return Ok(None);
        }
        let open = self.decisions.remove(index);
        evaluate(&open, seen, budget).map(Some)
    }
}

/// What the profile says of a function's decisions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'p> {
    /// `None`: the function is not in the profile.
    pub(crate) bitmap: Option<&'p [u8]>,
    /// Bits are numbered as LLVM 18 did.
    pub(crate) by_values: bool,
}

impl Seen<'_> {
    fn bit(&self, at: u64) -> Result<bool, Fault> {
        let Some(bitmap) = self.bitmap else {
            return Ok(false);
        };
        let byte = usize::try_from(at / 8).ok().and_then(|at| bitmap.get(at));
        let byte = byte.ok_or(Fault::Bitmap)?;
        Ok(byte >> (at % 8) & 1 == 1)
    }
}

/// Whether bits are numbered as LLVM 18 did.
pub(crate) fn by_values(regions: &[Mapped]) -> bool {
    regions
        .iter()
        .any(|region| matches!(region.mcdc, Mcdc::Decision { bitmap: 0, .. }))
}

/// The graph: by number of condition what follows false and true, and the
/// number that the outcome adds to the path's.
struct Graph {
    next: Vec<[Option<usize>; 2]>,
    number: Vec<[u64; 2]>,
    vectors: u64,
}

fn graph(open: &Open) -> Result<Graph, Fault> {
    let size = open.found.len();
    let mut next = vec![[None; 2]; size];
    let mut before = vec![0u32; size];
    for branch in &open.found {
        let Mcdc::Branch {
            id,
            if_true,
            if_false,
        } = branch.mcdc
        else {
            return Err(Fault::Graph);
        };
        let follow = |to: i16| match to {
            -1 => Ok(None),
            // Nothing leads back to the first one.
            0 => Err(Fault::Graph),
            to => match usize::try_from(to) {
                Ok(to) if to < size => Ok(Some(to)),
                _ => Err(Fault::Graph),
            },
        };
        let both = [follow(if_false)?, follow(if_true)?];
        for to in both.into_iter().flatten() {
            if let Some(before) = before.get_mut(to) {
                *before += 1;
            }
        }
        let slot = usize::try_from(id).ok().and_then(|id| next.get_mut(id));
        *slot.ok_or(Fault::Graph)? = both;
    }
    let mut width = vec![0u64; size];
    let mut number = vec![[0u64; 2]; size];
    let mut last = Vec::new();
    let mut ready = VecDeque::from([0usize]);
    if let Some(first) = width.first_mut() {
        *first = 1;
    }
    let mut done = 0;
    while let Some(id) = ready.pop_front() {
        done += 1;
        let (Some(both), Some(here)) = (next.get(id), width.get(id).copied()) else {
            return Err(Fault::Graph);
        };
        for (value, to) in both.iter().enumerate() {
            let Some(to) = *to else {
                last.push((here, id, value));
                continue;
            };
            let (Some(width), Some(before)) = (width.get_mut(to), before.get_mut(to)) else {
                return Err(Fault::Graph);
            };
            set(&mut number, id, value, *width);
            *width = width.saturating_add(here);
            if *width > i32::MAX as u64 {
                return Err(Fault::Size);
            }
            *before -= 1;
            if *before == 0 {
                ready.push_back(to);
            }
        }
    }
    if done != size {
        return Err(Fault::Graph);
    }
    // Stable: those with as many paths stay as they were found.
    last.sort_by_key(|(width, ..)| std::cmp::Reverse(*width));
    let mut vectors = 0u64;
    for (width, id, value) in last {
        set(&mut number, id, value, vectors);
        vectors += width;
        if vectors > i32::MAX as u64 {
            return Err(Fault::Size);
        }
    }
    Ok(Graph {
        next,
        number,
        vectors,
    })
}

fn set(numbers: &mut [[u64; 2]], id: usize, value: usize, number: u64) {
    if let Some(slot) = numbers.get_mut(id).and_then(|both| both.get_mut(value)) {
        *slot = number;
    }
}

/// A vector while paths are walked, by number of condition, 64 a word.
#[derive(Clone)]
struct Path {
    /// In the bitmap, from the decision's first one.
    bit: u64,
    asked: Vec<u64>,
    values: Vec<u64>,
}

impl Path {
    fn set(&mut self, id: usize, value: Option<bool>) {
        let bit = 1u64 << (id % 64);
        for (words, on) in [
            (&mut self.asked, value.is_some()),
            (&mut self.values, value == Some(true)),
        ] {
            if let Some(word) = words.get_mut(id / 64) {
                *word = if on { *word | bit } else { *word & !bit };
            }
        }
    }

    fn get(&self, id: usize) -> Option<bool> {
        let bit = |words: &[u64]| words.get(id / 64).is_some_and(|w| w >> (id % 64) & 1 == 1);
        bit(&self.asked).then(|| bit(&self.values))
    }

    /// The one condition that both asked and answered differently.
    fn differs(&self, other: &Path) -> Option<usize> {
        let mut found = None;
        let words = self.asked.iter().zip(&other.asked);
        let values = self.values.iter().zip(&other.values);
        for (at, ((a, b), (v, w))) in words.zip(values).enumerate() {
            let bits = (v ^ w) & a & b;
            match (bits.count_ones(), found) {
                (0, _) => {}
                (1, None) => found = Some(at * 64 + bits.trailing_zeros() as usize),
                _ => return None,
            }
        }
        found
    }
}

fn evaluate(open: &Open, seen: &Seen<'_>, budget: &mut Budget) -> Result<Decision, Fault> {
    let graph = graph(open)?;
    let size = open.found.len();
    let mut by_result: [Vec<Path>; 2] = [Vec::new(), Vec::new()];
    if seen.bitmap.is_some() {
        let base = if seen.by_values {
            if size > 16 {
                return Err(Fault::Size);
            }
            u64::from(open.bitmap) * 8
        } else {
            u64::from(open.bitmap)
                .checked_sub(graph.vectors)
                .ok_or(Fault::Bitmap)?
        };
        // Each path has a bit of its own, so there are no more of them than
        // the bitmap has bits.
        let end = base
            + if seen.by_values {
                1 << size
            } else {
                graph.vectors
            };
        seen.bit(end - 1)?;
        walk(&graph, base, seen, &mut by_result, budget)?;
    }
    // Vectors are shown in the order of their bits.
    for list in &mut by_result {
        list.sort_by_key(|path| path.bit);
    }
    let [mut vectors, is_true] = by_result;
    let falses = vectors.len();
    vectors.extend(is_true);
    let (words, pairs) = (
        size.div_ceil(64) as u64,
        falses as u64 * (vectors.len() - falses) as u64,
    );
    budget.take(pairs * words)?;
    let mut pair: Vec<Option<(u32, u32)>> = vec![None; size];
    let (is_false, is_true) = vectors.split_at(falses);
    for (at, one) in is_true.iter().enumerate() {
        for (other_at, other) in is_false.iter().enumerate() {
            if let Some(slot) = one.differs(other).and_then(|id| pair.get_mut(id)) {
                slot.get_or_insert((other_at as u32, (falses + at) as u32));
            }
        }
    }
    budget.take(vectors.len() as u64 * size as u64)?;
    let ids: Vec<usize> = open
        .found
        .iter()
        .map(|branch| match branch.mcdc {
            Mcdc::Branch { id, .. } => usize::try_from(id).unwrap_or_default(),
            _ => 0,
        })
        .collect();
    let conditions = open.found.iter().zip(&ids).map(|(branch, id)| Condition {
        line: branch.start.0,
        column: branch.start.1,
        folded: branch.counter.is_zero() || branch.otherwise.is_zero(),
        pair: pair.get(*id).copied().flatten(),
    });
    let vector = |(at, path): (usize, &Path)| Vector {
        values: ids.iter().map(|id| path.get(*id)).collect(),
        result: at >= falses,
    };
    Ok(Decision {
        region: Region {
            start_line: open.decision.start.0,
            start_column: open.decision.start.1,
            end_line: open.decision.end.0,
            end_column: open.decision.end.1,
            count: 0,
            file: open.decision.file,
            expanded: open.decision.expanded,
            kind: RegionKind::Decision,
        },
        conditions: conditions.collect(),
        vectors: vectors.iter().enumerate().map(vector).collect(),
    })
}

/// Walks all paths, false before true, and keeps those that were seen.
fn walk(
    graph: &Graph,
    base: u64,
    seen: &Seen<'_>,
    by_result: &mut [Vec<Path>; 2],
    budget: &mut Budget,
) -> Result<(), Fault> {
    let words = graph.next.len().div_ceil(64);
    let mut path = Path {
        bit: 0,
        asked: vec![0; words],
        values: vec![0; words],
    };
    // A condition, the number of the path to it, and the value to try next.
    let mut stack = vec![(0usize, 0u64, 0usize)];
    while let Some((id, number, value)) = stack.pop() {
        if value == 2 {
            path.set(id, None);
            continue;
        }
        budget.take(1)?;
        stack.push((id, number, value + 1));
        path.set(id, Some(value == 1));
        let at = |both: &[Option<usize>; 2]| both.get(value).copied().flatten();
        let next = graph.next.get(id).and_then(at);
        let added = graph.number.get(id).and_then(|both| both.get(value));
        let number = number + added.copied().unwrap_or_default();
        if let Some(next) = next {
            stack.push((next, number, 0));
            continue;
        }
        let bit = match seen.by_values {
            true => path.values.first().copied().unwrap_or_default(),
            false => number,
        };
        if !seen.bit(base + bit)? {
            continue;
        }
        if let Some(list) = by_result.get_mut(value) {
            if list.len() >= MAX_VECTORS {
                return Err(Fault::Size);
            }
            path.bit = bit;
            list.push(path.clone());
        }
    }
    Ok(())
}
