//! Reading an indexed profile.

use std::collections::BTreeMap;

use crate::Limits;
use crate::bytes::{Endian, Reader};
use crate::error::{Kind, ParseError};
use crate::llvm::profile::{Counts, FunctionId, MAX_COUNT, Profile, ShapeConflict, Variant};
use crate::llvm::{names, raw};

use super::{MAGIC, OLD_BITMAPS, VERSIONS};

/// What an indexed profile holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexed {
    /// Version of the format.
    pub version: u64,
    /// The counts. Its variant flags are those of the header.
    pub profile: Profile,
    /// Functions that it holds twice, in different shapes. LLVM writes none.
    pub conflicts: Vec<ShapeConflict>,
}

/// Reads an indexed profile: counts, names and build ids. What it holds of
/// values, memory, time and vtables is passed over. Versions before 9 have no
/// build ids.
///
/// # Errors
/// Where the header, the hash table or an entry is not within the file, where
/// entries overlap, where an entry's hash is not that of its name, where another
/// profile follows, and for single-byte coverage and versions that are not known.
///
/// ```
/// use podcov_profile::{Limits, llvm::indexed};
/// # let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rust/plain.profdata");
/// let bytes = std::fs::read(file).unwrap();
/// let read = indexed::read(&bytes, &Limits::default()).unwrap();
/// assert_eq!(read.version, 13);
/// assert!(read.profile.names.values().any(|name| name.ends_with(b"main")));
/// ```
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Indexed, ParseError> {
    if bytes.is_empty() {
        return Err(ParseError::empty("the file is empty"));
    }
    let mut reader = Reader::new(bytes, Endian::Little);
    let header = Header::read(&mut reader)?;
    let mut profile = Profile {
        variants: header.variants,
        ..Profile::default()
    };
    if let Some(at) = header.ids {
        let mut ids = Reader::new(bytes, Endian::Little);
        ids.seek(at, "the list of binary ids")?;
        let size = ids.u64("the size of the binary ids")?;
        let ids_at = ids.at();
        let found = raw::build_ids(ids.take(size, "the binary ids")?, Endian::Little);
        let found = found.map_err(|error| ParseError {
            offset: error.offset + ids_at as u64,
            len: bytes.len() as u64,
            ..error
        })?;
        profile.binary_ids.extend(found);
    }
    let mut functions: Functions = Vec::new();
    let mut names = Vec::new();
    table(reader, &header, limits, &mut |name, hash, found| {
        names.push((name, hash));
        functions.extend(found);
    })?;
    profile.names = names
        .into_iter()
        .map(|(name, hash): (&[u8], u64)| (hash, name.into()))
        .collect::<BTreeMap<_, _>>();
    let has_bitmaps = functions
        .iter()
        .any(|(_, counts)| !counts.bitmap.is_empty());
    profile.has_old_bitmaps = header.version == OLD_BITMAPS && has_bitmaps;
    let conflicts = profile.extend(functions);
    Ok(Indexed {
        version: header.version,
        profile,
        conflicts,
    })
}

struct Header {
    version: u64,
    variants: u64,
    table: u64,
    ids: Option<u64>,
}

impl Header {
    /// Reads header and summaries; the reader is then at the first bucket.
    fn read(reader: &mut Reader<'_>) -> Result<Header, ParseError> {
        let at = reader.clone();
        if reader.take(8, "the magic")? != MAGIC {
            return Err(at.error("expected the magic of an indexed profile, found other bytes"));
        }
        let at = reader.clone();
        let tagged = reader.u64("the version")?;
        let (version, variants) = (tagged & 0xffff_ffff, tagged & Variant::ALL);
        if !VERSIONS.contains(&version) {
            return Err(at.error_of(
                Kind::Unsupported,
                format!(
                    "indexed profile version {version} is not known, {} to {} are: \
                     merge with a toolchain that podcov supports, or use a newer podcov",
                    VERSIONS.start(),
                    VERSIONS.end()
                ),
            ));
        }
        if variants & Variant::BYTE_COVERAGE != 0 {
            return Err(at.error_of(
                Kind::Unsupported,
                "the indexed profile is single-byte coverage, which podcov does not read",
            ));
        }
        reader.u64("an unused field")?;
        let at = reader.clone();
        let kind = reader.u64("the kind of hash")?;
        if kind != 0 {
            let text = format!("the kind of hash is {kind}, only MD5 (0) is known");
            return Err(at.error_of(Kind::Unsupported, text));
        }
        let table = reader.u64("the offset of the table")?;
        let mut field = |since, what| (version >= since).then(|| reader.u64(what)).transpose();
        field(8, "the offset of the memory profile")?;
        let ids = field(9, "the offset of the binary ids")?;
        field(10, "the offset of the temporal profile")?;
        field(12, "the offset of the names of vtables")?;
        let summaries = 1 + u64::from(variants & Variant::CONTEXT != 0);
        for _ in 0..summaries {
            let fields = reader.u64("the number of fields of the summary")?;
            let cutoffs = reader.u64("the number of cutoffs of the summary")?;
            let words = fields.saturating_add(cutoffs.saturating_mul(3));
            reader.take(words.saturating_mul(8), "the summary")?;
        }
        Ok(Header {
            version,
            variants,
            table,
            ids,
        })
    }
}

/// More words than version 14 has for GPUs in an ordinary program's function.
const GPU_WORDS: usize = 3;

type Functions = Vec<(FunctionId, Counts)>;

/// Walks the buckets in the order they stand in the file, so that none can be
/// read twice.
fn table<'a>(
    mut reader: Reader<'a>,
    header: &Header,
    limits: &Limits,
    visit: &mut impl FnMut(&'a [u8], u64, Functions),
) -> Result<(), ParseError> {
    let mut table = reader.clone();
    table.seek(header.table, "the hash table")?;
    let buckets = table.u64("the number of buckets")?;
    let entries = table.u64("the number of entries")?;
    if !buckets.is_power_of_two() {
        return Err(table.error(format!("{buckets} buckets, which is no power of two")));
    }
    table.within(entries, limits.functions, "the number of entries")?;
    let offsets = table.take(buckets.saturating_mul(8), "the offsets of the buckets")?;
    // LLVM's reader passes over the second of two files that were joined.
    let second = table.rest().windows(MAGIC.len()).position(|at| at == MAGIC);
    if let Some(second) = second {
        table.take(second as u64, "what is behind the hash table")?;
        return Err(table.error("another indexed profile is behind the first: give each its file"));
    }
    let offsets = offsets.as_chunks().0.iter().enumerate();
    let mut offsets: Vec<(u64, u64)> = offsets
        .map(|(index, offset)| (u64::from_le_bytes(*offset), index as u64))
        .filter(|(offset, _)| *offset != 0)
        .collect();
    offsets.sort_unstable();
    let mut found = 0u64;
    for (offset, bucket) in offsets {
        if offset < reader.at() as u64 {
            let text = format!("bucket {bucket} is at byte {offset}, within what is before it");
            return Err(reader.error(text));
        }
        reader.seek(offset, "a bucket")?;
        let number = reader.u16("the number of entries of a bucket")?;
        for _ in 0..number {
            let at = reader.clone();
            let hash = reader.u64("the hash of a name")?;
            let name = reader.u64("the size of a name")?;
            let data = reader.u64("the size of a function's data")?;
            let name = reader.take(name, "a name")?;
            if names::hash(name) != hash || hash & (buckets - 1) != bucket {
                let text = format!("the hash {hash:#x} is not that of the name behind it");
                return Err(at.error(text));
            }
            let end = (reader.at() as u64).saturating_add(data);
            let functions = functions(&mut reader, header.version, hash, end)?;
            visit(name, hash, functions);
            found += 1;
        }
    }
    if found != entries {
        let text = format!("{entries} entries are claimed, {found} are there");
        return Err(reader.error(text));
    }
    Ok(())
}

/// The functions of one name, up to `end`.
fn functions(
    reader: &mut Reader<'_>,
    version: u64,
    name: u64,
    end: u64,
) -> Result<Functions, ParseError> {
    if end > reader.len() as u64 {
        let text = format!("a function's data end at byte {end}, past the end");
        return Err(reader.error_of(Kind::Truncated, text));
    }
    let mut functions = Vec::new();
    while (reader.at() as u64) < end {
        let hash = reader.u64("the hash of a function")?;
        let number = reader.u64("the number of counters")?;
        let counters = reader.take(number.saturating_mul(8), "the counters")?;
        let counters = counters.as_chunks().0.iter();
        let mut counts = Counts {
            counters: counters
                .map(|bytes| u64::from_le_bytes(*bytes).min(MAX_COUNT))
                .collect(),
            ..Counts::default()
        };
        if version >= 11 {
            let number = reader.u64("the number of bytes of bitmap")?;
            let bits = reader.take(number.saturating_mul(8), "the bitmap")?;
            counts.bitmap = bits.iter().step_by(8).copied().collect();
        }
        if version >= 14 {
            // Numbers of what only programs for GPUs have.
            for _ in 0..GPU_WORDS {
                if reader.rest().starts_with(&[0; 8]) {
                    reader.take(8, "counters of a GPU")?;
                }
            }
        }
        let at = reader.clone();
        let size = u64::from(reader.u32("the size of values")?);
        let kinds = reader.u32("the number of kinds of values")?;
        if size < 8 || size % 8 != 0 || kinds > 3 {
            return Err(at.error(format!("values of {kinds} kinds in {size} bytes")));
        }
        reader.take(size - 8, "the values")?;
        functions.push((FunctionId { name, hash }, counts));
    }
    if reader.at() as u64 != end {
        let text = format!("a function's data go on past their end at byte {end}");
        return Err(reader.error(text));
    }
    Ok(functions)
}
