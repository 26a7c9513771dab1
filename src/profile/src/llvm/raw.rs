//! LLVM raw profiles (`*.profraw`), versions 8 to 11.
//!
//! A raw profile is a dump of the instrumented program's sections behind a
//! header of 64-bit numbers. [`read`] checks that the header's claims add up
//! within the file, that the names do not claim to inflate to more than they
//! can, and gives what tells the program apart: its build ids. It does not
//! give the counts; LLVM's own tools do that, after this has passed. They
//! crash on what is refused here.
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
//! uniform counters, names, vtables, names of vtables, values.

use crate::Identity;
use crate::bytes::{Endian, Reader, hex};
use crate::error::{Kind, ParseError};

/// The versions [`read`] knows.
pub const VERSIONS: std::ops::RangeInclusive<u64> = 8..=11;

/// No program has names of this size; a claim above it is not believed.
const MAX_NAMES: u64 = 256 << 20;
/// Deflate cannot do better than 1032 to 1.
const MAX_INFLATION: u64 = 1032;
/// A GNU build id has 20 bytes, a UUID 16; LLVM sets no limit.
const MAX_ID: u64 = 64;

const BYTE_COVERAGE: u64 = 1 << 60;
const VARIANTS: u64 = 0xffff_ffff_0000_0000;

/// What is known of a raw profile without its counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawProfile {
    /// Version of the format.
    pub version: u64,
    /// The variant flags, in their places (bits 32 to 63).
    pub variants: u64,
    /// Of 64-bit programs.
    pub is_64_bit: bool,
    /// Of the machine the program ran on.
    pub endian: Endian,
    /// GNU build ids of the objects in the process; several when the program
    /// loads instrumented libraries.
    pub build_ids: Vec<Identity>,
    /// Number of functions.
    pub functions: u64,
    /// Number of counters.
    pub counters: u64,
    /// How many profiles the file holds, one behind the other.
    pub profiles: u64,
}

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

/// Reads the header of a raw profile and checks every size in it.
pub fn read(bytes: &[u8]) -> Result<RawProfile, ParseError> {
    if bytes.is_empty() {
        return Err(ParseError::empty(
            "the file is empty: the process was stopped before it wrote its counters",
        ));
    }
    let Some((endian, is_64_bit)) = magic(bytes) else {
        let reader = Reader::new(bytes, Endian::Little);
        return Err(reader.error("no magic of a raw profile"));
    };
    let mut reader = Reader::new(bytes, endian);
    let mut whole = one(&mut reader, bytes, is_64_bit, endian)?;
    // Profiles may be concatenated; each begins on a multiple of 8 bytes.
    while reader.left() > 0 {
        if magic(&bytes[reader.at()..]) != Some((endian, is_64_bit)) {
            return Err(reader.error("bytes behind the profile that belong to nothing"));
        }
        let next = one(&mut reader, bytes, is_64_bit, endian)?;
        whole.profiles += 1;
        whole.functions = whole.functions.saturating_add(next.functions);
        whole.counters = whole.counters.saturating_add(next.counters);
        for id in next.build_ids {
            if !whole.build_ids.contains(&id) {
                whole.build_ids.push(id);
            }
        }
    }
    Ok(whole)
}

/// Size of a record and where in it the number of counters is, the numbers of
/// value sites, and the bytes of bitmap.
struct Layout {
    record: u64,
    counters: usize,
    sites: usize,
    kinds: usize,
    bitmap: Option<usize>,
}

fn layout(version: u64, is_64_bit: bool) -> Layout {
    let pointer = if is_64_bit { 8 } else { 4 };
    let (pointers, kinds, has_bitmap, wave): (usize, usize, bool, usize) = match version {
        8 => (3, 2, false, 0),
        9 => (4, 2, true, 0),
        10 => (4, 3, true, 0),
        _ => (5, 3, true, 2),
    };
    let counters = 16 + pointers * pointer;
    let sites = counters + 4;
    let end_of_sites = sites + 2 * kinds + wave;
    let bitmap = has_bitmap.then_some(end_of_sites.next_multiple_of(4));
    let end = bitmap.map_or(end_of_sites, |at| at + 4);
    Layout {
        record: end.next_multiple_of(8) as u64,
        counters,
        sites,
        kinds,
        bitmap,
    }
}

fn one(
    reader: &mut Reader<'_>,
    bytes: &[u8],
    is_64_bit: bool,
    endian: Endian,
) -> Result<RawProfile, ParseError> {
    let start = reader.at();
    reader.u64("the magic")?;
    let tagged = reader.u64("the version")?;
    let (version, variants) = (tagged & !VARIANTS, tagged & VARIANTS);
    if !VERSIONS.contains(&version) {
        return Err(reader.error_of(
            Kind::Unsupported,
            format!(
                "raw profile version {version} is not known, 8 to 11 are: \
                 build with a toolchain that podcov supports, or use a newer podcov"
            ),
        ));
    }
    let mut field = |known: bool, what| if known { reader.u64(what) } else { Ok(0) };
    let ids = field(true, "the size of the binary ids")?;
    let records = field(true, "the number of functions")?;
    let before_counters = field(true, "the padding before the counters")?;
    let counters = field(true, "the number of counters")?;
    let after_counters = field(true, "the padding after the counters")?;
    let bitmaps = field(version >= 9, "the size of the bitmaps")?;
    let after_bitmaps = field(version >= 9, "the padding after the bitmaps")?;
    let uniform = field(version >= 11, "the number of uniform counters")?;
    let after_uniform = field(version >= 11, "the padding after the uniform counters")?;
    field(version >= 11, "the delta of the uniform counters")?;
    let names = field(true, "the size of the names")?;
    field(true, "the delta of the counters")?;
    field(version >= 9, "the delta of the bitmaps")?;
    field(true, "the delta of the names")?;
    let vtables = field(version >= 10, "the number of vtables")?;
    let vtable_names = field(version >= 10, "the size of the vtables' names")?;
    let last_kind = reader.u64("the last kind of value")?;

    let layout = layout(version, is_64_bit);
    if last_kind != layout.kinds as u64 - 1 {
        return Err(reader.error(format!(
            "the last kind of value is {last_kind}, not {}",
            layout.kinds - 1
        )));
    }
    let counter = if variants & BYTE_COVERAGE != 0 { 1 } else { 8 };
    let ids = reader.take(ids, "the binary ids")?;
    let build_ids = build_ids(ids, endian)?;
    let data = reader.take(
        records.saturating_mul(layout.record),
        "the records of functions",
    )?;
    check_records(data, &layout, endian, counters, bitmaps)?;
    reader.take(before_counters, "the padding before the counters")?;
    reader.take(counters.saturating_mul(counter), "the counters")?;
    reader.take(after_counters, "the padding after the counters")?;
    reader.take(bitmaps, "the bitmaps")?;
    reader.take(after_bitmaps, "the padding after the bitmaps")?;
    reader.take(uniform.saturating_mul(8), "the uniform counters")?;
    reader.take(after_uniform, "the padding after the uniform counters")?;
    check_names(reader.take(names, "the names")?, reader)?;
    pad(reader, start)?;
    let vtable = if is_64_bit { 24 } else { 16 };
    reader.take(vtables.saturating_mul(vtable), "the vtables")?;
    pad(reader, start)?;
    check_names(reader.take(vtable_names, "the vtables' names")?, reader)?;
    pad(reader, start)?;
    skip_values(reader, data, &layout, endian)?;
    debug_assert!(reader.at() <= bytes.len());
    Ok(RawProfile {
        version,
        variants,
        is_64_bit,
        endian,
        build_ids,
        functions: records,
        counters,
        profiles: 1,
    })
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

/// Each record's counters and bitmap bytes are part of what the header says.
fn check_records(
    data: &[u8],
    layout: &Layout,
    endian: Endian,
    counters: u64,
    bitmaps: u64,
) -> Result<(), ParseError> {
    let (mut left, mut bitmap_left) = (counters, bitmaps);
    for (index, record) in data.chunks_exact(layout.record as usize).enumerate() {
        let mut reader = Reader::new(record, endian);
        reader.seek(layout.counters as u64, "the number of counters")?;
        let number = u64::from(reader.u32("the number of counters")?);
        let bitmap = match layout.bitmap {
            Some(at) => {
                reader.seek(at as u64, "the bytes of bitmap")?;
                u64::from(reader.u32("the bytes of bitmap")?)
            }
            None => 0,
        };
        match (left.checked_sub(number), bitmap_left.checked_sub(bitmap)) {
            (Some(rest), Some(bitmap_rest)) => (left, bitmap_left) = (rest, bitmap_rest),
            _ => {
                return Err(reader.error(format!(
                    "function {index} claims {number} counters and {bitmap} bytes of bitmap, \
                     {left} and {bitmap_left} are left"
                )));
            }
        }
    }
    Ok(())
}

/// Names come in chunks: size, size compressed (0 if it is not), bytes; zeros
/// fill up. LLVM's reader believes both sizes.
fn check_names(names: &[u8], outer: &Reader<'_>) -> Result<(), ParseError> {
    let mut reader = Reader::new(names, Endian::Little);
    let mut all = 0u64;
    while names.get(reader.at()).is_some() {
        if names[reader.at()] == 0 {
            reader.u8("padding")?;
            continue;
        }
        let plain = reader.uleb("the size of names")?;
        let packed = reader.uleb("the compressed size of names")?;
        all = all.saturating_add(plain);
        if all > MAX_NAMES || (packed > 0 && plain / MAX_INFLATION > packed) {
            return Err(outer.error(format!("names of {plain} bytes are said to be in {packed}")));
        }
        reader.take(if packed == 0 { plain } else { packed }, "the names")?;
    }
    Ok(())
}

/// Values follow for each function that has sites for them: size, kinds.
fn skip_values(
    reader: &mut Reader<'_>,
    data: &[u8],
    layout: &Layout,
    endian: Endian,
) -> Result<(), ParseError> {
    for record in data.chunks_exact(layout.record as usize) {
        let mut sites = Reader::new(record, endian);
        sites.seek(layout.sites as u64, "the numbers of value sites")?;
        let mut any = false;
        for _ in 0..layout.kinds {
            any |= sites.u16("the number of value sites")? > 0;
        }
        // The runtime leaves them out where it was told to record none.
        if !any || reader.left() == 0 {
            continue;
        }
        let size = u64::from(reader.u32("the size of values")?);
        let rest = size
            .checked_sub(4)
            .filter(|_| size % 8 == 0)
            .ok_or_else(|| reader.error(format!("values of {size} bytes")))?;
        reader.take(rest, "the values")?;
    }
    Ok(())
}
