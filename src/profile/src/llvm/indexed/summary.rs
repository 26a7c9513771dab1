//! The summary of an indexed profile, computed as LLVM does.

use std::collections::BTreeMap;

use crate::llvm::profile::Counts;

/// Parts of a million of all counts: for each of them the summary says how
/// many of the highest counters make up that part
/// (`ProfileSummaryBuilder::DefaultCutoffs`, LLVM 22).
const CUTOFFS: [u64; 16] = [
    10_000, 100_000, 200_000, 300_000, 400_000, 500_000, 600_000, 700_000, 800_000, 900_000,
    950_000, 990_000, 999_000, 999_900, 999_990, 999_999,
];

/// Fields of a summary: number of functions, number of counters, highest first
/// counter, highest counter, highest counter but the first, sum of counters.
const FIELDS: u64 = 6;

/// Size of a summary in bytes.
pub(super) const SIZE: usize = 8 * (2 + FIELDS as usize + 3 * CUTOFFS.len());

#[derive(Default)]
pub(super) struct Summary {
    functions: u64,
    counters: u64,
    highest_first: u64,
    highest: u64,
    highest_inner: u64,
    total: u64,
    frequencies: BTreeMap<u64, u64>,
}

impl Summary {
    pub(super) fn add(&mut self, counts: &Counts) {
        let Some((first, inner)) = counts.counters.split_first() else {
            return;
        };
        self.functions += 1;
        self.highest_first = self.highest_first.max(*first);
        for count in &counts.counters {
            self.counters += 1;
            self.highest = self.highest.max(*count);
            self.total = self.total.wrapping_add(*count);
            *self.frequencies.entry(*count).or_default() += 1;
        }
        let inner = inner.iter().copied().max().unwrap_or_default();
        self.highest_inner = self.highest_inner.max(inner);
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let head = [
            FIELDS,
            CUTOFFS.len() as u64,
            self.functions,
            self.counters,
            self.highest_first,
            self.highest,
            self.highest_inner,
            self.total,
        ];
        out.extend(head.iter().flat_map(|field| field.to_le_bytes()));
        let mut from_highest = self.frequencies.iter().rev();
        let (mut sum, mut count, mut seen) = (0u64, 0u64, 0u64);
        for cutoff in CUTOFFS {
            let wanted = u128::from(self.total) * u128::from(cutoff) / 1_000_000;
            while u128::from(sum) < wanted {
                let Some((value, number)) = from_highest.next() else {
                    break;
                };
                count = *value;
                sum = sum.wrapping_add(value.wrapping_mul(*number));
                seen += number;
            }
            let entry = [cutoff, count, seen];
            out.extend(entry.iter().flat_map(|field| field.to_le_bytes()));
        }
    }
}
