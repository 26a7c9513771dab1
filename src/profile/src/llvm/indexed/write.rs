//! Writing an indexed profile.

use std::collections::BTreeMap;

use crate::Identity;
use crate::llvm::profile::{Counts, FunctionId, Profile, Variant};

use super::summary::{self, Summary};
use super::{MAGIC, OLD_BITMAPS, WRITTEN};

/// A bit of a function's hash that LLVM takes for a context-sensitive record
/// (`NamedInstrProfRecord::CS_FLAG_IN_FUNC_HASH`, LLVM 22).
const CONTEXT_HASH: u64 = 1 << 60;

/// An indexed profile, and what could not be written into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file.
    pub bytes: Vec<u8>,
    /// Functions whose names are not known. The format has no place for them.
    pub unnamed: Vec<FunctionId>,
}

/// Writes an indexed profile of version [`WRITTEN`], which `llvm-profdata` and
/// `llvm-cov` of LLVM 19 and later read. Where `sparse`, names whose functions
/// all have no count are left out; coverage is the same without them.
///
/// The bytes follow from the profile alone, and are those that
/// `llvm-profdata merge` writes but for the version, as long as no name has
/// functions of several hashes. So the summary has LLVM's quirk: a function
/// with bit 60 in its hash counts as context-sensitive and is not summed up,
/// which hits one in two of rustc's.
pub fn write(profile: &Profile, sparse: bool) -> Written {
    let mut unnamed = Vec::new();
    let mut by_name: BTreeMap<&[u8], Entry<'_>> = BTreeMap::new();
    for (function, counts) in &profile.functions {
        let Some(name) = profile.names.get(&function.name) else {
            unnamed.push(*function);
            continue;
        };
        let entry = by_name.entry(name).or_insert(Entry {
            name,
            hash: function.name,
            functions: vec![],
        });
        entry.functions.push((function.hash, counts));
    }
    let is_zero = |entry: &Entry<'_>| entry.functions.iter().all(|(_, counts)| counts.is_zero());
    let entries: Vec<Entry<'_>> = by_name
        .into_values()
        .filter(|entry| !(sparse && is_zero(entry)))
        .collect();
    let variants = profile.variants & !(Variant::MEMORY | Variant::TEMPORAL);
    let has_context = variants & Variant::CONTEXT != 0;

    let version = match profile.has_old_bitmaps {
        true => OLD_BITMAPS,
        false => WRITTEN,
    };

    let mut out = Vec::new();
    out.extend(MAGIC);
    word(&mut out, version | variants);
    word(&mut out, 0);
    word(&mut out, 0);
    let offsets = out.len();
    // Of table, memory, build ids, time, and vtables, which version 11 has not.
    let offsets_len = if version >= 12 { 5 } else { 4 };
    out.resize(offsets + offsets_len * 8, 0);
    let summaries = out.len();
    out.resize(
        summaries + summary::SIZE * (1 + usize::from(has_context)),
        0,
    );

    let mut summary = [Summary::default(), Summary::default()];
    let table = table(&mut out, &entries, &mut summary);
    let ids = out.len() as u64;
    write_ids(&mut out, profile);
    let vtables = out.len() as u64;
    if version >= 12 {
        word(&mut out, 0);
    }

    let known = [(0, table), (2, ids), (4, vtables)];
    for (at, offset) in known.into_iter().filter(|(at, _)| *at < offsets_len) {
        let at = offsets + at * 8;
        out[at..at + 8].copy_from_slice(&offset.to_le_bytes());
    }
    let mut bytes = Vec::new();
    for summary in summary.iter().take(1 + usize::from(has_context)) {
        summary.write(&mut bytes);
    }
    out[summaries..summaries + bytes.len()].copy_from_slice(&bytes);
    Written {
        bytes: out,
        unnamed,
    }
}

struct Entry<'a> {
    name: &'a [u8],
    hash: u64,
    functions: Vec<(u64, &'a Counts)>,
}

fn word(out: &mut Vec<u8>, value: u64) {
    out.extend(value.to_le_bytes());
}

/// Writes the buckets and the table; gives the table's offset.
fn table(out: &mut Vec<u8>, entries: &[Entry<'_>], summary: &mut [Summary; 2]) -> u64 {
    let buckets = buckets(entries);
    let mut offsets = Vec::with_capacity(buckets.len());
    for bucket in &buckets {
        // A bucket is never at 0, where the header is.
        offsets.push(if bucket.is_empty() {
            0
        } else {
            out.len() as u64
        });
        if bucket.is_empty() {
            continue;
        }
        out.extend((bucket.len() as u16).to_le_bytes());
        for index in bucket {
            write_entry(out, &entries[*index], summary);
        }
    }
    out.resize(out.len().next_multiple_of(8), 0);
    let table = out.len() as u64;
    word(out, buckets.len() as u64);
    word(out, entries.len() as u64);
    offsets.iter().for_each(|offset| word(out, *offset));
    table
}

/// Which entry is in which bucket and in which order, as LLVM's generator has
/// it: an entry goes to the front of its bucket; the table grows as it fills,
/// bucket by bucket, which turns their order round.
/// (`OnDiskChainedHashTableGenerator` in `Support/OnDiskHashTable.h`, LLVM 22.)
fn buckets(entries: &[Entry<'_>]) -> Vec<Vec<usize>> {
    // Front of the bucket last.
    let mut buckets: Vec<Vec<usize>> = vec![vec![]; 64];
    let place = |index: usize, size: usize| entries[index].hash as usize & (size - 1);
    let resize = |buckets: &mut Vec<Vec<usize>>, size: usize| {
        let mut resized = vec![vec![]; size];
        for bucket in buckets.iter() {
            for index in bucket.iter().rev() {
                resized[place(*index, size)].push(*index);
            }
        }
        *buckets = resized;
    };
    for index in 0..entries.len() {
        if 4 * (index + 1) >= 3 * buckets.len() {
            let size = buckets.len() * 2;
            resize(&mut buckets, size);
        }
        let at = place(index, buckets.len());
        buckets[at].push(index);
    }
    let size = match entries.len() {
        0..=2 => 1,
        number => (number * 4 / 3 + 1).next_power_of_two(),
    };
    if size != buckets.len() {
        resize(&mut buckets, size);
    }
    buckets.iter_mut().for_each(|bucket| bucket.reverse());
    buckets
}

fn write_entry(out: &mut Vec<u8>, entry: &Entry<'_>, summary: &mut [Summary; 2]) {
    // Hash, two numbers, and values of no kind.
    let size = |counts: &Counts| 8 * (4 + counts.counters.len() + counts.bitmap.len()) as u64;
    word(out, entry.hash);
    word(out, entry.name.len() as u64);
    word(
        out,
        entry.functions.iter().map(|(_, counts)| size(counts)).sum(),
    );
    out.extend(entry.name);
    for (hash, counts) in &entry.functions {
        summary[usize::from(hash & CONTEXT_HASH != 0)].add(counts);
        word(out, *hash);
        word(out, counts.counters.len() as u64);
        counts.counters.iter().for_each(|count| word(out, *count));
        word(out, counts.bitmap.len() as u64);
        counts
            .bitmap
            .iter()
            .for_each(|bits| word(out, u64::from(*bits)));
        out.extend(8u32.to_le_bytes());
        out.extend(0u32.to_le_bytes());
    }
}

fn write_ids(out: &mut Vec<u8>, profile: &Profile) {
    let mut ids: Vec<Vec<u8>> = profile
        .binary_ids
        .iter()
        .filter_map(|id| match id {
            Identity::BuildId(hex) => bytes_of(hex),
            _ => None,
        })
        .collect();
    ids.sort_unstable();
    let size = |id: &Vec<u8>| 8 + id.len().next_multiple_of(8) as u64;
    word(out, ids.iter().map(size).sum());
    for id in &ids {
        word(out, id.len() as u64);
        out.extend(id);
        out.resize(out.len() + id.len().next_multiple_of(8) - id.len(), 0);
    }
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().as_chunks::<2>().0.iter();
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
