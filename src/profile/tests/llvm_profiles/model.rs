//! Writers of raw profiles of any version, width and byte order, and of indexed
//! ones of any version, from a description. They share nothing with the readers
//! but the description of the formats.

use std::collections::BTreeMap;
use std::io::Write;

use md5::{Digest, Md5};
use podcov_profile::llvm::profile::{Counts, MAX_COUNT};

use crate::tools::Functions;

#[derive(Clone, Debug)]
pub struct Function {
    pub name: String,
    pub hash: u64,
    pub counters: Vec<u64>,
    pub bitmap: Vec<u8>,
    /// Numbers of value sites of each kind.
    pub sites: [u16; 3],
}

/// A raw profile.
#[derive(Clone, Debug)]
pub struct Model {
    pub version: u64,
    pub is_64_bit: bool,
    pub is_big: bool,
    pub variants: u64,
    pub ids: Vec<Vec<u8>>,
    pub functions: Vec<Function>,
    /// Counters of the last function first.
    pub is_turned: bool,
    pub are_names_packed: bool,
    /// Fills sections up to pages, as a process in continuous mode does.
    pub is_paged: bool,
    pub uniform: usize,
    pub vtables: usize,
    /// Where the program was loaded.
    pub base: u64,
}

impl Model {
    pub fn new(version: u64, functions: Vec<Function>) -> Model {
        Model {
            version,
            is_64_bit: true,
            is_big: false,
            variants: 0,
            ids: vec![vec![0xab, 0xcd, 0xef]],
            functions,
            is_turned: false,
            are_names_packed: true,
            is_paged: false,
            uniform: 0,
            vtables: 0,
            base: 0x5555_0000_0000,
        }
    }

    pub fn functions(&self) -> Functions {
        sum(&[self])
    }
}

/// What profiles hold together, by hand.
pub fn sum(models: &[&Model]) -> Functions {
    let mut all: Functions = BTreeMap::new();
    for model in models {
        for function in &model.functions {
            let bitmap = match model.version {
                8 => vec![],
                _ => function.bitmap.clone(),
            };
            let sum = all
                .entry((function.name.clone(), function.hash))
                .or_insert_with(|| Counts {
                    counters: vec![0; function.counters.len()],
                    bitmap: vec![0; bitmap.len()],
                });
            for (sum, count) in sum.counters.iter_mut().zip(&function.counters) {
                *sum = sum.checked_add(*count).unwrap_or(u64::MAX).min(MAX_COUNT);
            }
            for (sum, bits) in sum.bitmap.iter_mut().zip(bitmap) {
                *sum |= bits;
            }
        }
    }
    all
}

pub fn md5(text: &[u8]) -> u64 {
    let digest: [u8; 16] = Md5::digest(text).into();
    u64::from_le_bytes(digest[..8].try_into().unwrap())
}

pub struct Out {
    pub bytes: Vec<u8>,
    is_big: bool,
}

impl Out {
    pub fn new(is_big: bool) -> Out {
        Out {
            bytes: vec![],
            is_big,
        }
    }

    pub fn int(&mut self, value: u64, size: usize) {
        let bytes = value.to_le_bytes();
        let bytes = &bytes[..size];
        match self.is_big {
            false => self.bytes.extend(bytes),
            true => self.bytes.extend(bytes.iter().rev()),
        }
    }

    pub fn words(&mut self, words: &[u64]) {
        words.iter().for_each(|word| self.int(*word, 8));
    }

    pub fn fill(&mut self, multiple: usize) -> usize {
        let before = self.bytes.len();
        self.bytes.resize(before.next_multiple_of(multiple), 0);
        self.bytes.len() - before
    }
}

pub fn uleb(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn packed(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(vec![], flate2::Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn names(functions: &[Function], is_packed: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for half in functions.chunks(functions.len().div_ceil(2).max(1)) {
        let names: Vec<&str> = half.iter().map(|function| &*function.name).collect();
        let plain = names.join("\x01");
        let bytes = packed(plain.as_bytes());
        uleb(&mut out, plain.len() as u64);
        uleb(&mut out, if is_packed { bytes.len() as u64 } else { 0 });
        out.extend(if is_packed { &bytes } else { plain.as_bytes() });
        out.push(0);
    }
    out
}

/// Values of one site of each kind that has some: size, number of kinds, and
/// for each kind its number, its sites, their numbers of values, the values.
fn values(out: &mut Out, sites: &[u16]) {
    if sites.iter().all(|sites| *sites == 0) {
        return;
    }
    let mut kinds = Out::new(out.is_big);
    let mut number = 0;
    for (kind, sites) in sites.iter().enumerate().filter(|(_, sites)| **sites > 0) {
        number += 1;
        kinds.int(kind as u64, 4);
        kinds.int(u64::from(*sites), 4);
        kinds.bytes.push(1);
        kinds
            .bytes
            .extend(std::iter::repeat_n(0, usize::from(*sites) - 1));
        kinds.fill(8);
        kinds.words(&[8, 1]);
    }
    out.int(8 + kinds.bytes.len() as u64, 4);
    out.int(number, 4);
    out.bytes.extend(kinds.bytes);
}

/// The file.
pub fn raw(model: &Model) -> Vec<u8> {
    let version = model.version;
    let pointer = if model.is_64_bit { 8 } else { 4 };
    let kinds = if version >= 10 { 3 } else { 2 };
    let page = if model.is_paged { 4096 } else { 1 };
    let has_bitmaps = version >= 9;

    // Which function has its counters where.
    let mut order: Vec<usize> = (0..model.functions.len()).collect();
    if model.is_turned {
        order.reverse();
    }
    let (mut counters, mut bitmaps) = (Out::new(model.is_big), Vec::<u8>::new());
    let mut places = vec![(0, 0); order.len()];
    for index in order {
        places[index] = (counters.bytes.len() as u64, bitmaps.len() as u64);
        counters.words(&model.functions[index].counters);
        if has_bitmaps {
            bitmaps.extend(&model.functions[index].bitmap);
        }
    }

    // Records, as they lie in memory at `data`, counters and bitmaps elsewhere.
    let data = model.base + 0x4000;
    let (counters_at, bitmaps_at) = (model.base + 0x1000, model.base + 0x9000);
    let mut records = Out::new(model.is_big);
    for (function, (counter, bitmap)) in model.functions.iter().zip(&places) {
        let own = data + records.bytes.len() as u64;
        records.words(&[md5(function.name.as_bytes()), function.hash]);
        records.int((counters_at + counter).wrapping_sub(own), pointer);
        if version >= 11 {
            records.int(0, pointer);
        }
        if has_bitmaps {
            records.int((bitmaps_at + bitmap).wrapping_sub(own), pointer);
        }
        records.int(model.base + 0x77_0000, pointer);
        records.int(model.base + 0x88_0000, pointer);
        records.int(function.counters.len() as u64, 4);
        for sites in &function.sites[..kinds] {
            records.int(u64::from(*sites), 2);
        }
        if version >= 11 {
            records.int(0, 2);
        }
        if has_bitmaps {
            records.fill(4);
            records.int(function.bitmap.len() as u64, 4);
        }
        records.fill(8);
    }

    let mut ids = Out::new(model.is_big);
    for id in &model.ids {
        ids.int(id.len() as u64, 8);
        ids.bytes.extend(id);
        ids.fill(8);
    }
    let names = match model.functions.is_empty() {
        true => vec![],
        false => names(&model.functions, model.are_names_packed),
    };
    let vtable_names = match model.vtables {
        0 => vec![],
        _ => vec![4, 0, b'_', b'Z', b'T', b'V'],
    };

    let letter = if model.is_64_bit { b'r' } else { b'R' };
    let magic = u64::from_be_bytes([0xff, b'l', b'p', b'r', b'o', b'f', letter, 0x81]);
    let header_size = 8 * match version {
        8 => 11,
        9 => 14,
        10 => 16,
        _ => 19,
    };
    let fill = |len: usize| len.next_multiple_of(page) - len;
    let before_counters = fill(header_size + ids.bytes.len() + records.bytes.len());
    let after_counters = fill(counters.bytes.len());
    let after_bitmaps = match model.is_paged {
        true => fill(bitmaps.len()),
        false => bitmaps.len().next_multiple_of(8) - bitmaps.len(),
    };
    let mask = if model.is_64_bit {
        u64::MAX
    } else {
        u64::from(u32::MAX)
    };

    let mut out = Out::new(model.is_big);
    out.words(&[
        magic,
        version | model.variants,
        ids.bytes.len() as u64,
        model.functions.len() as u64,
        before_counters as u64,
        counters.bytes.len() as u64 / 8,
        after_counters as u64,
    ]);
    if has_bitmaps {
        out.words(&[bitmaps.len() as u64, after_bitmaps as u64]);
    }
    if version >= 11 {
        out.words(&[model.uniform as u64, 0, 0x1234]);
    }
    out.words(&[names.len() as u64, counters_at.wrapping_sub(data) & mask]);
    if has_bitmaps {
        out.words(&[bitmaps_at.wrapping_sub(data) & mask]);
    }
    out.words(&[model.base]);
    if version >= 10 {
        out.words(&[model.vtables as u64, vtable_names.len() as u64]);
    }
    out.words(&[kinds as u64 - 1]);
    assert_eq!(out.bytes.len(), header_size);

    out.bytes.extend(&ids.bytes);
    out.bytes.extend(records.bytes);
    let zeros = |count: usize| std::iter::repeat_n(0u8, count);
    out.bytes.extend(zeros(before_counters));
    out.bytes.extend(counters.bytes);
    out.bytes.extend(zeros(after_counters));
    out.bytes.extend(bitmaps);
    out.bytes
        .extend(zeros(if has_bitmaps { after_bitmaps } else { 0 }));
    if version >= 11 {
        out.words(&vec![77; model.uniform]);
    }
    out.bytes.extend(names);
    out.fill(if model.is_paged { 4096 } else { 8 });
    if version >= 10 {
        for _ in 0..model.vtables {
            out.words(&[md5(b"_ZTV")]);
            out.int(model.base, pointer);
            out.int(16, 4);
            out.fill(8);
        }
        out.bytes.extend(vtable_names);
        out.fill(8);
    }
    // A process in continuous mode does not write values.
    if !model.is_paged {
        for function in &model.functions {
            values(&mut out, &function.sites[..kinds]);
        }
    }
    out.bytes
}

/// An indexed profile of any version, in the least number of buckets.
pub fn indexed(version: u64, variants: u64, functions: &Functions, ids: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Out::new(false);
    let magic = u64::from_le_bytes([0xff, b'l', b'p', b'r', b'o', b'f', b'i', 0x81]);
    out.words(&[magic, version | variants, 0, 0, 0]);
    let optional = [8, 9, 10, 12]
        .iter()
        .filter(|since| version >= **since)
        .count();
    out.words(&vec![0; optional]);
    // A summary of no field and one cutoff is skipped like any other.
    let summaries = 1 + usize::from(variants & 1 << 57 != 0);
    for _ in 0..summaries {
        out.words(&[6, 1]);
        out.words(&[0; 9]);
    }
    let mut by_name: BTreeMap<&str, Vec<(u64, &Counts)>> = BTreeMap::new();
    for ((name, hash), counts) in functions {
        by_name.entry(name).or_default().push((*hash, counts));
    }
    let buckets = 2;
    let mut offsets = vec![0; buckets];
    for (bucket, offset) in offsets.iter_mut().enumerate() {
        let is_here = |name: &str| md5(name.as_bytes()) % buckets as u64 == bucket as u64;
        let here: Vec<_> = by_name.iter().filter(|(name, _)| is_here(name)).collect();
        if here.is_empty() {
            continue;
        }
        *offset = out.bytes.len() as u64;
        out.int(here.len() as u64, 2);
        for (name, functions) in here {
            let mut data = Out::new(false);
            for (hash, counts) in functions {
                data.words(&[*hash, counts.counters.len() as u64]);
                data.words(&counts.counters);
                if version >= 11 {
                    data.words(&[counts.bitmap.len() as u64]);
                    let bits: Vec<u64> =
                        counts.bitmap.iter().map(|bits| u64::from(*bits)).collect();
                    data.words(&bits);
                }
                if version >= 14 {
                    data.words(&[0]);
                }
                // Values of one kind at two sites, one value.
                values(&mut data, &[0, 2, 0]);
            }
            out.words(&[
                md5(name.as_bytes()),
                name.len() as u64,
                data.bytes.len() as u64,
            ]);
            out.bytes.extend(name.as_bytes());
            out.bytes.extend(data.bytes);
        }
    }
    out.fill(8);
    let table = out.bytes.len() as u64;
    out.words(&[buckets as u64, by_name.len() as u64]);
    out.words(&offsets);
    let ids_at = out.bytes.len() as u64;
    let mut list = Out::new(false);
    for id in ids {
        list.int(id.len() as u64, 8);
        list.bytes.extend(id);
        list.fill(8);
    }
    out.words(&[list.bytes.len() as u64]);
    out.bytes.extend(list.bytes);
    let vtables_at = out.bytes.len() as u64;
    out.words(&[0]);
    let mut set =
        |at: usize, value: u64| out.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    set(32, table);
    if version >= 9 {
        set(48, ids_at);
    }
    if version >= 12 {
        set(64, vtables_at);
    }
    out.bytes
}
