//! LLVM raw profiles (`*.profraw`), versions 8 to 11.
//!
//! A raw profile is a dump of the instrumented program's sections behind a
//! header of 64-bit numbers; one file can hold several, one behind the other.
//! [`parts`] takes them apart in place and checks that every claim adds up
//! within the file and within [`Limits`]; [`Part::profile`] gives the counts.
//! LLVM's own tools crash on some of what is refused here.
//!
//! | field (u64 each) | 8 | 9 | 10 | 11 |
//! |---|---|---|---|---|
//! | magic, version, bytes of binary ids, number of records | x | x | x | x |
//! | padding, number of counters, padding | x | x | x | x |
//! | bytes of bitmaps, padding | | x | x | x |
//! | number of uniform counters, padding, their delta | | | | x |
//! | bytes of names, delta of counters | x | x | x | x |
//! | delta of bitmaps | | x | x | x |
//! | delta of names | x | x | x | x |
//! | number of vtables, bytes of their names | | | x | x |
//! | last kind of value | x | x | x | x |
//!
//! The sections follow in that order: binary ids, records, counters, bitmaps,
//! uniform counters, names, vtables, names of vtables, values. Names, vtables
//! and their names are each filled up to 8 bytes.
//!
//! Where a record's counters are: the pointer in it, less the header's delta,
//! plus the record's own offset, in bytes from the start of the counters. The
//! same for bitmaps. The order of records and counters need not be the same.
//!
//! Sources: `INSTR_PROF_RAW_HEADER` and `INSTR_PROF_DATA` in
//! `profile/InstrProfData.inc` and `lprofWriteDataImpl` in
//! `InstrProfilingWriter.c` of LLVM 14, 16, 19, 22 and 23;
//! `llvm/docs/InstrProfileFormat.rst`.

mod header;
mod shape;

use std::ops::Range;

use crate::bytes::{Endian, Reader, hex};
use crate::error::ParseError;
use crate::llvm::names::{self, Known};
use crate::llvm::profile::{Counts, MAX_PLAUSIBLE, Profile, ShapeConflict};
use crate::{Identity, Limits};

use header::{Header, Layout};
pub use shape::Record;
pub(super) use shape::Shape;

/// The versions that are read.
pub const VERSIONS: std::ops::RangeInclusive<u64> = 8..=11;

/// A GNU build id has 20 bytes, a UUID 16; LLVM sets no limit.
const MAX_ID: u64 = 64;

/// Whether bytes begin like a raw profile.
pub fn is_raw(bytes: &[u8]) -> bool {
    magic(bytes).is_some()
}

fn magic(bytes: &[u8]) -> Option<(Endian, bool)> {
    let kind = |byte| match byte {
        b'r' => Some(true),
        b'R' => Some(false),
        _ => None,
    };
    match bytes.get(..8)? {
        [0x81, bits, b'f', b'o', b'r', b'p', b'l', 0xff] => Some((Endian::Little, kind(*bits)?)),
        [0xff, b'l', b'p', b'r', b'o', b'f', bits, 0x81] => Some((Endian::Big, kind(*bits)?)),
        _ => None,
    }
}

/// The profiles of a file, in their order. Each has its sections where its
/// header says, names that claim no more than `limits` and values that end
/// where they say; [`Part::records`] checks each record.
///
/// # Errors
/// The iterator ends behind the first error. A file without a byte is
/// [`Kind::Empty`](crate::error::Kind::Empty), what podcov cannot count [`Kind::Unsupported`](crate::error::Kind::Unsupported).
///
/// ```
/// use podcov_profile::{Limits, llvm::raw};
/// # let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rust/plain.profraw");
/// let bytes = std::fs::read(file).unwrap();
/// let limits = Limits::default();
/// for part in raw::parts(&bytes, &limits) {
///     let (profile, conflicts) = part.unwrap().profile(&limits).unwrap();
///     assert!(conflicts.is_empty());
///     assert!(profile.functions.values().any(|counts| counts.counters[0] > 0));
/// }
/// ```
pub fn parts<'a>(bytes: &'a [u8], limits: &Limits) -> Parts<'a> {
    Parts {
        reader: Reader::new(bytes, Endian::Little),
        limits: *limits,
        first: None,
        is_done: false,
    }
}

/// See [`parts`].
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    reader: Reader<'a>,
    limits: Limits,
    first: Option<(Endian, bool)>,
    is_done: bool,
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<Part<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        if self.first.is_none() && self.reader.left() == 0 {
            self.is_done = true;
            return Some(Err(ParseError::empty(
                "the file is empty: the process was stopped before it wrote its counters",
            )));
        }
        let part = self.part();
        self.is_done = match &part {
            Err(_) => true,
            Ok(_) => {
                // Filled up with zeros: to 8 bytes, or to a page where the
                // file was mapped by a process in continuous mode.
                self.reader.skip_zeros();
                self.reader.left() == 0
            }
        };
        Some(part)
    }
}

impl<'a> Parts<'a> {
    fn part(&mut self) -> Result<Part<'a>, ParseError> {
        if let Some(first) = self.first
            && (magic(self.reader.rest()) != Some(first) || !self.reader.at().is_multiple_of(8))
        {
            return Err(self
                .reader
                .error("bytes behind the profile that belong to nothing"));
        }
        let part = Part::read(&mut self.reader, &self.limits)?;
        self.first = Some((part.endian(), part.is_64_bit()));
        Ok(part)
    }
}

/// One profile of a file, its sections in place.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    pub(super) shape: Shape<'a>,
    pub(super) counters: &'a [u8],
    pub(super) bitmaps: &'a [u8],
    /// Where both are in the file.
    counters_at: usize,
    bitmaps_at: usize,
}

impl<'a> Part<'a> {
    fn read(reader: &mut Reader<'a>, limits: &Limits) -> Result<Part<'a>, ParseError> {
        let start = reader.at();
        let header = Header::read(reader, limits)?;
        let layout = Layout::of(header.version, header.is_64_bit);
        let ids = reader.take(header.ids, "the binary ids")?;
        let ids_at = reader.at() - ids.len();
        let build_ids =
            build_ids(ids, header.endian).map_err(|error| moved(error, ids_at, reader))?;
        let records_at = reader.at();
        let size = header.records.saturating_mul(layout.record as u64);
        let records = reader.take(size, "the records of functions")?;
        reader.take(header.before_counters, "the padding before the counters")?;
        let at = reader.clone();
        let counters_at = reader.at();
        let counters = reader.take(header.counters.saturating_mul(8), "the counters")?;
        check_counts(counters, header.endian, at)?;
        reader.take(header.after_counters, "the padding after the counters")?;
        let bitmaps_at = reader.at();
        let bitmaps = reader.take(header.bitmaps, "the bitmaps")?;
        reader.take(header.after_bitmaps, "the padding after the bitmaps")?;
        let uniform = header.uniform.saturating_mul(8);
        reader.take(uniform, "the uniform counters")?;
        reader.take(
            header.after_uniform,
            "the padding after the uniform counters",
        )?;
        let names_at = reader.at();
        let names = reader.take(header.names, "the names")?;
        names::check(names, limits).map_err(|error| moved(error, names_at, reader))?;
        pad(reader, start)?;
        let vtable = if header.is_64_bit { 24 } else { 16 };
        reader.take(header.vtables.saturating_mul(vtable), "the vtables")?;
        pad(reader, start)?;
        let vtable_names_at = reader.at();
        let vtable_names = reader.take(header.vtable_names, "the vtables' names")?;
        names::check(vtable_names, limits)
            .map_err(|error| moved(error, vtable_names_at, reader))?;
        pad(reader, start)?;
        skip_values(reader, records, &layout)?;
        Ok(Part {
            shape: Shape {
                header,
                layout,
                build_ids: build_ids.into(),
                records: records.into(),
                names: names.into(),
                records_at: records_at as u64,
                names_at: names_at as u64,
                len: reader.len() as u64,
            },
            counters,
            bitmaps,
            counters_at,
            bitmaps_at,
        })
    }

    /// Version of the format.
    pub fn version(&self) -> u64 {
        self.shape.header.version
    }

    /// The variant flags, in their places (bits 32 to 63).
    pub fn variants(&self) -> u64 {
        self.shape.header.variants
    }

    /// Of a 64-bit program.
    pub fn is_64_bit(&self) -> bool {
        self.shape.header.is_64_bit
    }

    /// Of the machine the program ran on.
    pub fn endian(&self) -> Endian {
        self.shape.header.endian
    }

    /// GNU build ids of the objects that the profile is of.
    pub fn build_ids(&self) -> &[Identity] {
        &self.shape.build_ids
    }

    /// Number of records. Several can be of one function.
    pub fn functions(&self) -> usize {
        self.shape.header.records as usize
    }

    /// Number of counters of all functions.
    pub fn counters(&self) -> usize {
        self.counters.len() / 8
    }

    /// Where the counters are in the file, in bytes. They stay there as long as
    /// the file is mapped by a process.
    pub fn counters_place(&self) -> Range<usize> {
        self.counters_at..self.counters_at + self.counters.len()
    }

    /// The records in their order. Each has counters that are there, and all
    /// together have no more of them than there are: records do not share
    /// counters, and so a file cannot ask for more memory than it is large.
    pub fn records(&self) -> impl Iterator<Item = Result<Record, ParseError>> + '_ {
        self.shape.records()
    }

    /// The counts of `range`, an index range of all counters of the part, in
    /// the order the mapping refers to them. None above [`MAX_PLAUSIBLE`].
    pub fn counts(&self, range: Range<usize>) -> impl Iterator<Item = u64> + '_ {
        let bytes = self.counters.get(range.start * 8..range.end * 8);
        let endian = self.shape.header.endian;
        let counts = bytes.unwrap_or_default().as_chunks().0.iter();
        counts.map(move |bytes| endian.u64_of(*bytes))
    }

    /// The counters that are not zero: index among all counters of the part,
    /// ascending, and count.
    pub fn reached(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        counts_in(self.counters, self.endian())
    }

    /// Bytes of `range` of all bitmaps of the part.
    pub fn bitmap(&self, range: Range<usize>) -> &'a [u8] {
        self.bitmaps.get(range).unwrap_or_default()
    }

    /// The counts by function, with the names of those functions. Records of
    /// one function are added; those whose shapes differ are told.
    ///
    /// # Errors
    /// Where a record is damaged, or the names do not inflate to what they
    /// claim.
    pub fn profile(&self, limits: &Limits) -> Result<(Profile, Vec<ShapeConflict>), ParseError> {
        self.shape
            .profile(limits, &mut Known::default(), |record| Counts {
                counters: self.counts(record.counters.clone()).collect(),
                bitmap: self.bitmap(record.bitmap.clone()).to_vec(),
            })
    }
}

/// The same file with other counts: all are 0 but those of `counts`, by their
/// index among all counters of the file. Bitmaps, which count nothing, are
/// cleared.
///
/// # Errors
/// Where the file is none, or a count has no place in it.
pub fn with_counts(
    bytes: &[u8],
    limits: &Limits,
    counts: &[(u32, u64)],
) -> Result<Vec<u8>, ParseError> {
    let mut changed = bytes.to_vec();
    let (mut before, mut counts) = (0u64, counts.iter().peekable());
    for part in parts(bytes, limits) {
        let part = part?;
        let place = part.counters_place();
        let bitmaps = part.bitmaps_at..part.bitmaps_at + part.bitmaps.len();
        for range in [place.clone(), bitmaps] {
            changed.get_mut(range).unwrap_or_default().fill(0);
        }
        let counters = changed.get_mut(place).unwrap_or_default();
        let behind = before + part.counters() as u64;
        while let Some((index, count)) = counts.next_if(|(index, _)| u64::from(*index) < behind) {
            let at = (u64::from(*index).saturating_sub(before) * 8) as usize;
            if let Some(word) = counters.get_mut(at..at + 8) {
                word.copy_from_slice(&part.endian().bytes_of(*count));
            }
        }
        before = behind;
    }
    match counts.next() {
        None => Ok(changed),
        Some((index, _)) => Err(ParseError {
            kind: crate::error::Kind::Malformed,
            what: format!("counter {index} of a profile that has {before}"),
            offset: 0,
            len: bytes.len() as u64,
        }),
    }
}

/// The counts in a section of counters that are not 0, by index, ascending.
/// What is no count (over [`MAX_PLAUSIBLE`]) is left out.
pub fn counts_in(section: &[u8], endian: Endian) -> impl Iterator<Item = (u32, u64)> + '_ {
    let words = section.as_chunks::<8>().0.iter().enumerate();
    // Most are 0, whatever the byte order.
    let some = words.filter(|(_, word)| u64::from_ne_bytes(**word) != 0);
    some.map(move |(index, word)| (index as u32, endian.u64_of(*word)))
        .filter(|(_, count)| *count <= MAX_PLAUSIBLE)
}

/// A process that forks while its counters are mapped leaves counts that it
/// cannot have reached; so does a damaged file.
fn check_counts(counters: &[u8], endian: Endian, mut at: Reader<'_>) -> Result<(), ParseError> {
    let (counts, _) = counters.as_chunks();
    let bits = counts
        .iter()
        .fold(0, |bits, count| bits | u64::from_ne_bytes(*count));
    // Seldom more than one word is looked at.
    if endian.u64_of(bits.to_ne_bytes()) < MAX_PLAUSIBLE {
        return Ok(());
    }
    let counts = counts.iter().map(|count| endian.u64_of(*count));
    let Some((index, count)) = counts.enumerate().find(|(_, count)| *count > MAX_PLAUSIBLE) else {
        return Ok(());
    };
    at.take(8 * index as u64, "the counters")?;
    Err(at.error(format!(
        "counter {index} is {count}, over 2^56: the profile is corrupt"
    )))
}

/// An error in a section, from the start of the file.
fn moved(mut error: ParseError, at: usize, reader: &Reader<'_>) -> ParseError {
    error.offset += at as u64;
    error.len = reader.len() as u64;
    error
}

/// Skips to a multiple of 8 bytes from the start of the profile. A file may
/// end without the last padding.
fn pad(reader: &mut Reader<'_>, start: usize) -> Result<(), ParseError> {
    let over = (reader.at() - start) % 8;
    if over != 0 {
        let missing = (8 - over).min(reader.left());
        reader.take(missing as u64, "padding")?;
    }
    Ok(())
}

/// The GNU build ids of a profile: length and bytes of each, padded to 8.
pub(super) fn build_ids(bytes: &[u8], endian: Endian) -> Result<Vec<Identity>, ParseError> {
    let mut reader = Reader::new(bytes, endian);
    let mut ids = Vec::new();
    while reader.left() > 0 {
        let len = reader.u64("the length of a binary id")?;
        if len == 0 || len > MAX_ID {
            return Err(reader.error(format!("a binary id of {len} bytes, 1 to {MAX_ID} can be")));
        }
        let id = Identity::BuildId(hex(reader.take(len, "a binary id")?));
        reader.take(len.next_multiple_of(8) - len, "the padding of a binary id")?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Values follow for each function that has sites for them: size in bytes
/// (u32, with itself), number of kinds (u32), kinds.
fn skip_values(reader: &mut Reader<'_>, records: &[u8], layout: &Layout) -> Result<(), ParseError> {
    let sites = layout.sites..layout.sites + 2 * layout.kinds;
    for record in records.chunks_exact(layout.record) {
        // Most programs have none, and a process in continuous mode leaves
        // them out: then the file ends here, or the next profile begins.
        let rest = reader.rest();
        if rest.is_empty() || rest.starts_with(&[0; 4]) || is_raw(rest) {
            return Ok(());
        }
        if record[sites.clone()].iter().all(|byte| *byte == 0) {
            continue;
        }
        let at = reader.clone();
        let size = reader.u32("the size of values")?;
        let kinds = reader.u32("the number of kinds of values")?;
        if size < 8 || !size.is_multiple_of(8) || kinds as usize > layout.kinds {
            let text = format!("values of {kinds} kinds in {size} bytes");
            return Err(at.error(text));
        }
        reader.take(u64::from(size - 8), "the values")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_put_where_they_are_read() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/rust/plain.profraw"
        );
        let bytes = std::fs::read(path).unwrap();
        let limits = Limits::default();
        let read = |bytes: &[u8]| -> Vec<(u32, u64)> {
            let part = parts(bytes, &limits).next().unwrap().unwrap();
            let section = &bytes[part.counters_place()];
            let counts = counts_in(section, part.endian()).collect();
            let all = part.counts(0..part.counters()).enumerate();
            let some = all.filter(|(_, count)| *count != 0);
            let some: Vec<_> = some.map(|(at, count)| (at as u32, count)).collect();
            assert_eq!(some, counts);
            counts
        };
        let counts = read(&bytes);
        assert!(!counts.is_empty());
        assert_eq!(with_counts(&bytes, &limits, &counts).unwrap(), bytes);
        let other = [(0, 3), (2, 1 << 40)];
        assert_eq!(read(&with_counts(&bytes, &limits, &other).unwrap()), other);
        let error = with_counts(&bytes, &limits, &[(1 << 20, 1)]).unwrap_err();
        assert!(error.what.contains("counter 1048576"), "{error}");
    }
}
