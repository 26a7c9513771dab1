//! What is the same in every profile of one program.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::Kind;
use crate::llvm::names::{self, Known};
use crate::llvm::profile::{Counts, FunctionId, Profile, ShapeConflict};
use crate::{Identity, Limits, ParseError};

use super::header::{COUNTERS_POINTER, Header, Layout};

/// What one function has in a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub function: FunctionId,
    /// Its counters, as indices into all counters of the profile.
    pub counters: Range<usize>,
    /// Its bytes of all bitmaps of the profile.
    pub bitmap: Range<usize>,
}

/// Everything in a profile but its counts: header, build ids, records, names.
/// Two profiles of one shape can be added counter by counter, without a look
/// at names or functions.
#[derive(Clone, Debug)]
pub(in crate::llvm) struct Shape<'a> {
    pub(super) header: Header,
    pub(super) layout: Layout,
    pub(super) build_ids: Cow<'a, [Identity]>,
    pub(super) records: Cow<'a, [u8]>,
    pub(super) names: Cow<'a, [u8]>,
    /// Where the sections are in the file, and how large it is.
    pub(super) records_at: u64,
    pub(super) names_at: u64,
    pub(super) len: u64,
}

impl Shape<'_> {
    pub(in crate::llvm) fn build_ids(&self) -> &[Identity] {
        &self.build_ids
    }

    pub(in crate::llvm) fn into_owned(self) -> Shape<'static> {
        Shape {
            build_ids: self.build_ids.into_owned().into(),
            records: self.records.into_owned().into(),
            names: self.names.into_owned().into(),
            ..self
        }
    }

    /// Whether another profile is of this shape. Addresses, which differ from
    /// process to process, and paddings are not looked at.
    pub(in crate::llvm) fn is_same(&self, other: &Shape<'_>) -> bool {
        self.header.comparable() == other.header.comparable()
            && self.build_ids == other.build_ids
            && self.names == other.names
            && self.layout.are_same(&self.records, &other.records)
    }

    pub(in crate::llvm) fn records(&self) -> impl Iterator<Item = Result<Record, ParseError>> + '_ {
        let mut left = (self.header.counters as usize, self.header.bitmaps as usize);
        let records = self.records.chunks_exact(self.layout.record).enumerate();
        records.map(move |(index, bytes)| self.record(index, bytes, &mut left))
    }

    /// The counts by function, `counts` of each record, and the names.
    pub(in crate::llvm) fn profile(
        &self,
        limits: &Limits,
        known: &mut Known,
        counts: impl Fn(&Record) -> Counts,
    ) -> Result<(Profile, Vec<ShapeConflict>), ParseError> {
        // No more than bytes of the file.
        let mut records = Vec::with_capacity(self.header.records as usize);
        for record in self.records() {
            records.push(record?);
        }
        records.sort_by_key(|record| record.function);
        let mut wanted: Vec<u64> = records.iter().map(|record| record.function.name).collect();
        wanted.dedup();
        let names =
            names::wanted(&self.names, limits, &wanted, known).map_err(|error| ParseError {
                offset: error.offset + self.names_at,
                len: self.len,
                ..error
            })?;
        let mut profile = Profile {
            names,
            binary_ids: self.build_ids.iter().cloned().collect(),
            variants: self.header.variants,
            has_old_bitmaps: self.header.version == 9 && self.header.bitmaps > 0,
            ..Profile::default()
        };
        let functions = records
            .iter()
            .map(|record| (record.function, counts(record)));
        let conflicts = profile.extend(functions);
        Ok((profile, conflicts))
    }

    fn record(
        &self,
        index: usize,
        bytes: &[u8],
        left: &mut (usize, usize),
    ) -> Result<Record, ParseError> {
        let layout = &self.layout;
        let error = |at: usize, what: String| ParseError {
            kind: Kind::Malformed,
            what: format!("function {index}: {what}"),
            offset: self.records_at + (index * layout.record + at) as u64,
            len: self.len,
        };
        let u32 = |at| self.header.endian.u32(bytes, at) as usize;
        let number = u32(layout.counters);
        let bitmap = layout.bitmap.map_or(0, u32);
        match (left.0.checked_sub(number), left.1.checked_sub(bitmap)) {
            _ if number == 0 => return Err(error(layout.counters, "no counters".to_owned())),
            (Some(counters), Some(bitmaps)) => *left = (counters, bitmaps),
            (None, _) => {
                let text = format!("{number} counters are claimed, {} are left", left.0);
                return Err(error(layout.counters, text));
            }
            (_, None) => {
                let text = format!("{bitmap} bytes of bitmap are claimed, {} are left", left.1);
                return Err(error(layout.bitmap.unwrap_or_default(), text));
            }
        }
        let place = |at: usize, delta: u64, size: usize, all: u64| {
            let own = (index * layout.record) as u64;
            // The difference wraps as the program's own addresses do.
            let offset = if self.header.is_64_bit {
                let pointer = self.header.endian.u64(bytes, at);
                pointer.wrapping_sub(delta.wrapping_sub(own))
            } else {
                let pointer = self.header.endian.u32(bytes, at);
                u64::from(pointer.wrapping_sub((delta as u32).wrapping_sub(own as u32)))
            };
            let fits = offset <= all && size as u64 <= all - offset;
            fits.then_some(offset as usize).ok_or(offset)
        };
        let at = place(
            COUNTERS_POINTER,
            self.header.counters_delta,
            number * 8,
            self.header.counters * 8,
        );
        let first = match at {
            Ok(offset) if offset % 8 == 0 => offset / 8,
            other => {
                let offset = other.map_or_else(|offset| offset, |offset| offset as u64);
                let text = format!(
                    "{number} counters at byte {offset} of {} bytes of counters",
                    self.header.counters * 8
                );
                return Err(error(COUNTERS_POINTER, text));
            }
        };
        let bits = match layout.bitmap_pointer {
            Some(at) if bitmap > 0 => {
                place(at, self.header.bitmaps_delta, bitmap, self.header.bitmaps).map_err(
                    |offset| {
                        let all = self.header.bitmaps;
                        error(
                            at,
                            format!("{bitmap} bytes of bitmap at byte {offset} of {all}"),
                        )
                    },
                )?
            }
            _ => 0,
        };
        Ok(Record {
            function: FunctionId {
                name: self.header.endian.u64(bytes, 0),
                hash: self.header.endian.u64(bytes, 8),
            },
            counters: first..first + number,
            bitmap: bits..bits + bitmap,
        })
    }
}
