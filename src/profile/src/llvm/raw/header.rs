//! The header of a raw profile, and how its records are laid out.

use crate::Limits;
use crate::bytes::{Endian, Reader};
use crate::error::{Kind, ParseError};
use crate::llvm::profile::Variant;

use super::{VERSIONS, magic};

/// What a header says, as far as it is needed afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub version: u64,
    pub variants: u64,
    pub is_64_bit: bool,
    pub endian: Endian,
    pub ids: u64,
    pub records: u64,
    pub before_counters: u64,
    pub counters: u64,
    pub after_counters: u64,
    pub bitmaps: u64,
    pub after_bitmaps: u64,
    pub uniform: u64,
    pub after_uniform: u64,
    pub names: u64,
    pub counters_delta: u64,
    pub bitmaps_delta: u64,
    pub vtables: u64,
    pub vtable_names: u64,
}

impl Header {
    /// Reads the header at the reader's position.
    pub(super) fn read(reader: &mut Reader<'_>, limits: &Limits) -> Result<Header, ParseError> {
        let (endian, is_64_bit) = magic(reader.rest()).ok_or_else(|| {
            reader.error("expected the magic of a raw profile, found other bytes")
        })?;
        reader.set_endian(endian);
        reader.u64("the magic")?;
        let at = reader.clone();
        let tagged = reader.u64("the version")?;
        let (version, variants) = (tagged & 0xffff_ffff, tagged & Variant::ALL);
        if !VERSIONS.contains(&version) {
            return Err(at.error_of(
                Kind::Unsupported,
                format!(
                    "raw profile version {version} is not known, 8 to 11 are: \
                     build with a toolchain that podcov supports, or use a newer podcov"
                ),
            ));
        }
        refuse(&at, variants)?;
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
        let counters_delta = field(true, "the delta of the counters")?;
        let bitmaps_delta = field(version >= 9, "the delta of the bitmaps")?;
        field(true, "the delta of the names")?;
        let vtables = field(version >= 10, "the number of vtables")?;
        let vtable_names = field(version >= 10, "the size of the vtables' names")?;
        let at = reader.clone();
        let last_kind = reader.u64("the last kind of value")?;
        let kinds = Layout::of(version, is_64_bit).kinds as u64;
        if last_kind != kinds - 1 {
            let text = format!("the last kind of value is {last_kind}, not {}", kinds - 1);
            return Err(at.error(text));
        }
        if records == 0 && counters > 0 {
            return Err(at.error_of(
                Kind::Unsupported,
                format!(
                    "the profile has {counters} counters and no functions: it needs correlation \
                     with its program, which podcov does not do; \
                     build without -profile-correlate"
                ),
            ));
        }
        at.within(records, limits.functions, "the number of functions")?;
        at.within(counters, limits.counters, "the number of counters")?;
        Ok(Header {
            version,
            variants,
            is_64_bit,
            endian,
            ids,
            records,
            before_counters,
            counters,
            after_counters,
            bitmaps,
            after_bitmaps,
            uniform,
            after_uniform,
            names,
            counters_delta,
            bitmaps_delta,
            vtables,
            vtable_names,
        })
    }
}

impl Header {
    /// What has to be equal before counters can be added one by one.
    pub(super) fn comparable(&self) -> impl PartialEq {
        let h = self;
        [
            h.version,
            h.variants,
            u64::from(h.is_64_bit),
            u64::from(h.endian == Endian::Big),
            h.records,
            h.counters,
            h.bitmaps,
            h.counters_delta,
            // Without bitmaps it is the address the program was loaded at.
            if h.bitmaps > 0 { h.bitmaps_delta } else { 0 },
        ]
    }
}

/// The variants whose counters are not plain 64-bit counts.
fn refuse(at: &Reader<'_>, variants: u64) -> Result<(), ParseError> {
    let refused = [
        (Variant::BYTE_COVERAGE, "single-byte coverage"),
        (Variant::CORRELATED, "correlation with debug information"),
        (Variant::MEMORY, "a memory profile"),
        (Variant::TEMPORAL, "a temporal profile"),
        (
            Variant::ALL & !Variant::KNOWN,
            "a variant that is not known",
        ),
    ];
    match refused.iter().find(|(bits, _)| variants & bits != 0) {
        None => Ok(()),
        Some((bits, name)) => Err(at.error_of(
            Kind::Unsupported,
            format!(
                "the raw profile is {name} (flags {:#x}), which podcov does not read: \
                 build with -C instrument-coverage or -fprofile-instr-generate alone",
                variants & bits
            ),
        )),
    }
}

/// Where things are in a record (`__llvm_profile_data`), in bytes.
///
/// | field | 8 | 9, 10 | 11 |
/// |---|---|---|---|
/// | hash of the name, hash of the function (u64) | x | x | x |
/// | pointers: counters | x | x | x |
/// | uniform counters | | | x |
/// | bitmap | | x | x |
/// | function, values | x | x | x |
/// | number of counters (u32) | x | x | x |
/// | numbers of value sites (u16 for each kind) | 2 | 2, 3 | 3 |
/// | wave size (u16) | | | x |
/// | bytes of bitmap (u32) | | x | x |
///
/// Pointers have the size of the program's; the whole is a multiple of 8.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub record: usize,
    pub pointer: usize,
    pub bitmap_pointer: Option<usize>,
    pub counters: usize,
    pub sites: usize,
    pub kinds: usize,
    pub bitmap: Option<usize>,
}

pub(super) const COUNTERS_POINTER: usize = 16;

impl Layout {
    pub(super) fn of(version: u64, is_64_bit: bool) -> Layout {
        let pointer = if is_64_bit { 8 } else { 4 };
        let (pointers, kinds, bitmap_pointer, wave) = match version {
            8 => (3, 2, None, 0),
            9 => (4, 2, Some(1), 0),
            10 => (4, 3, Some(1), 0),
            _ => (5, 3, Some(2), 2),
        };
        let counters = COUNTERS_POINTER + pointers * pointer;
        let sites = counters + 4;
        let end_of_sites = sites + 2 * kinds + wave;
        let bitmap = bitmap_pointer.map(|_| end_of_sites.next_multiple_of(4));
        let end = bitmap.map_or(end_of_sites, |at| at + 4);
        Layout {
            record: end.next_multiple_of(8),
            pointer,
            bitmap_pointer: bitmap_pointer.map(|index| COUNTERS_POINTER + index * pointer),
            counters,
            sites,
            kinds,
            bitmap,
        }
    }

    /// Which bits of a record, word by word, are the same in each process of
    /// a program: not the addresses of functions, values and uniform counters.
    fn fixed(&self) -> Vec<u64> {
        let counters = COUNTERS_POINTER..COUNTERS_POINTER + self.pointer;
        let bitmap = self.bitmap_pointer.map(|at| at..at + self.pointer);
        let byte = |at: usize| {
            let is_address = (COUNTERS_POINTER..self.counters).contains(&at)
                && !counters.contains(&at)
                && !bitmap.as_ref().is_some_and(|bitmap| bitmap.contains(&at));
            if is_address { 0 } else { 0xff }
        };
        let words = (0..self.record).step_by(8);
        let word = |at| u64::from_ne_bytes(std::array::from_fn(|index| byte(at + index)));
        words.map(word).collect()
    }

    /// Whether two sections of records are the same but for addresses.
    pub(super) fn are_same(&self, one: &[u8], other: &[u8]) -> bool {
        let fixed = self.fixed();
        one.len() == other.len()
            && match self.record / 8 {
                5 => are_same::<5>(&fixed, one, other),
                6 => are_same::<6>(&fixed, one, other),
                7 => are_same::<7>(&fixed, one, other),
                8 => are_same::<8>(&fixed, one, other),
                _ => are_same::<9>(&fixed, one, other),
            }
    }
}

/// The same for records of `WORDS` words. The compiler makes vector
/// instructions of it as long as nothing in the loop depends on the data.
fn are_same<const WORDS: usize>(fixed: &[u64], one: &[u8], other: &[u8]) -> bool {
    let Ok(fixed) = <&[u64; WORDS]>::try_from(fixed) else {
        return false;
    };
    let (one, _) = one.as_chunks::<8>();
    let (one, _) = one.as_chunks::<WORDS>();
    let (other, _) = other.as_chunks::<8>();
    let (other, _) = other.as_chunks::<WORDS>();
    let mut differing = [0; WORDS];
    for (one, other) in one.iter().zip(other) {
        for at in 0..WORDS {
            differing[at] |= u64::from_ne_bytes(one[at]) ^ u64::from_ne_bytes(other[at]);
        }
    }
    differing
        .iter()
        .zip(fixed)
        .all(|(differing, fixed)| differing & fixed == 0)
}
