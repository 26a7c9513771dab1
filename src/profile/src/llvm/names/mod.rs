//! The names of functions as LLVM's programs and profiles hold them.
//!
//! A blob of names is a row of chunks, one for each object file that was
//! linked; zeros fill up between them. LLVM's own reader believes both sizes of
//! a chunk; here a chunk inflates to what it claims and not a byte more, and
//! all chunks together to no more than [`Limits::names`]. Names are no more than
//! 2^19 and one for each 8 bytes of the blob: compressed, those of real programs
//! take about 10 each. So what claims too much is refused at once, and what
//! claims no more than the limits and does not hold it costs no more than to
//! inflate 48 MiB and to hash those names.
//!
//! | part of a chunk | |
//! |---|---|
//! | size of the names | unsigned LEB128 |
//! | size compressed | unsigned LEB128; 0 where the names are not compressed |
//! | names | joined with a byte 0x01, in zlib's format if compressed |
//!
//! Source: `collectGlobalObjectNameStrings` in LLVM 22's
//! `ProfileData/InstrProf.h`; `llvm/docs/InstrProfileFormat.rst`.

mod known;
mod md5;

use std::collections::BTreeMap;
use std::io::BufRead;

use ::md5::{Digest, Md5};
use flate2::{Decompress, FlushDecompress, Status};

use crate::Limits;
use crate::bytes::{Endian, Reader};
use crate::error::{Kind, ParseError};

pub(crate) use known::Known;

/// Deflate cannot do better than 1032 to 1.
const MAX_INFLATION: u64 = 1032;
const SEPARATOR: u8 = 1;
/// Names of a blob, besides one for every 8 bytes of it.
const NAMES: usize = 1 << 19;

/// What a profile calls a function: the low 64 bits of the MD5 of its PGO name
/// (`IndexedInstrProf::ComputeHash`, LLVM 22).
pub fn hash(name: &[u8]) -> u64 {
    hash_of(Md5::digest(name).into())
}

fn hash_of([a, b, c, d, e, f, g, h, ..]: [u8; 16]) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// One chunk as it stands in the blob.
struct Chunk<'a> {
    plain: u64,
    is_packed: bool,
    bytes: &'a [u8],
    at: usize,
}

/// The next chunk, if its claims fit what is there and `left`, the bytes that
/// may still come.
fn chunk<'a>(
    reader: &mut Reader<'a>,
    left: u64,
    limits: &Limits,
) -> Result<Option<Chunk<'a>>, ParseError> {
    reader.skip_zeros();
    if reader.left() == 0 {
        return Ok(None);
    }
    let at = reader.at();
    let plain = reader.uleb("the size of names")?;
    let packed = reader.uleb("the compressed size of names")?;
    if plain > left {
        let all = (limits.names - left).saturating_add(plain);
        return Err(ParseError {
            offset: at as u64,
            ..reader.error_of(
                Kind::TooLarge,
                format!("the names claim {all} bytes, the limit is {}", limits.names),
            )
        });
    }
    if packed > 0 && plain / MAX_INFLATION > packed {
        return Err(reader.error_of(
            Kind::TooLarge,
            format!(
                "names of {plain} bytes are said to be in {packed}, \
                 the limit of deflate is {MAX_INFLATION} times as much"
            ),
        ));
    }
    let bytes = reader.take(if packed == 0 { plain } else { packed }, "the names")?;
    Ok(Some(Chunk {
        plain,
        is_packed: packed > 0,
        bytes,
        at,
    }))
}

/// Checks what a blob of names claims, without inflating it: sizes within
/// the blob, what deflate can do and `limits`.
///
/// # Errors
/// With the position from the start of the blob.
pub fn check(blob: &[u8], limits: &Limits) -> Result<(), ParseError> {
    claims(blob, limits).map(|_| ())
}

/// Bytes that all names claim, and the number of chunks.
fn claims(blob: &[u8], limits: &Limits) -> Result<(u64, usize), ParseError> {
    let mut reader = Reader::new(blob, Endian::Little);
    let (mut left, mut chunks) = (limits.names, 0);
    while let Some(chunk) = chunk(&mut reader, left, limits)? {
        left -= chunk.plain;
        chunks += 1;
    }
    Ok((limits.names - left, chunks))
}

/// Names of a blob that there may still be.
struct Number {
    most: usize,
    left: usize,
}

impl Number {
    fn of(blob: &[u8]) -> Number {
        let most = NAMES + blob.len() / 8;
        Number { most, left: most }
    }

    /// An error, once there are too many.
    fn take(&mut self, reader: &Reader<'_>) -> Result<(), ParseError> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                let (most, len) = (self.most, reader.len());
                let text = format!("more than {most} names, the limit for {len} bytes");
                Err(reader.error_of(Kind::TooLarge, text))
            }
        }
    }
}

/// Calls `visit` with each name of a blob, in the order of the file.
///
/// # Errors
/// As [`check`], and where a chunk does not inflate to the size it claims.
///
/// ```
/// use podcov_profile::{Limits, llvm::names};
/// let mut found = Vec::new();
/// let blob = [7, 0, b'm', b'a', b'i', b'n', 1, b'f', b'o', 0];
/// names::each(&blob, &Limits::default(), |name| found.push(name.to_vec())).unwrap();
/// assert_eq!(found, [b"main".to_vec(), b"fo".to_vec()]);
/// ```
pub fn each(blob: &[u8], limits: &Limits, mut visit: impl FnMut(&[u8])) -> Result<(), ParseError> {
    let mut reader = Reader::new(blob, Endian::Little);
    let mut left = limits.names;
    let mut number = Number::of(blob);
    let mut inflater = Inflater::default();
    while let Some(chunk) = chunk(&mut reader, left, limits)? {
        left -= chunk.plain;
        for name in split(inflater.plain(&chunk, blob.len())?) {
            number.take(&reader)?;
            visit(name);
        }
    }
    Ok(())
}

/// Makes chunks plain, one after the other in one buffer.
#[derive(Default)]
struct Inflater {
    inflater: Option<Decompress>,
    plain: Vec<u8>,
}

impl Inflater {
    /// The names of a chunk of a blob of `len` bytes.
    fn plain<'a>(&'a mut self, chunk: &Chunk<'a>, len: usize) -> Result<&'a [u8], ParseError> {
        if !chunk.is_packed {
            return Ok(chunk.bytes);
        }
        // `chunk` has seen to it that the size is within the limits and what
        // deflate can make of the bytes that are there.
        let size = chunk.plain as usize;
        if self.plain.len() < size {
            self.plain.resize(size, 0);
        }
        let inflater = self.inflater.get_or_insert_with(|| Decompress::new(true));
        inflate(inflater, chunk, &mut self.plain[..size], len)?;
        Ok(&self.plain[..size])
    }
}

/// All names of a blob with a [`SEPARATOR`] behind those of each chunk, and how
/// many there are. They are inflated to where they stay.
pub(super) fn joined(blob: &[u8], limits: &Limits) -> Result<(Vec<u8>, usize), ParseError> {
    let (claimed, chunks) = claims(blob, limits)?;
    let mut all = Vec::with_capacity(claimed as usize + chunks);
    let mut reader = Reader::new(blob, Endian::Little);
    let mut number = Number::of(blob);
    let mut inflater = Decompress::new(true);
    while let Some(chunk) = chunk(&mut reader, limits.names, limits)? {
        let start = all.len();
        if chunk.is_packed {
            all.resize(start + chunk.plain as usize, 0);
            inflate(&mut inflater, &chunk, &mut all[start..], blob.len())?;
        } else {
            all.extend_from_slice(chunk.bytes);
        }
        for _ in split(&all[start..]) {
            number.take(&reader)?;
        }
        all.push(SEPARATOR);
    }
    Ok((all, number.most - number.left))
}

/// Inflates a chunk to `plain`, which is as long as it claims.
fn inflate(
    inflater: &mut Decompress,
    chunk: &Chunk<'_>,
    plain: &mut [u8],
    len: usize,
) -> Result<(), ParseError> {
    inflater.reset(true);
    let done = inflater.decompress(chunk.bytes, plain, FlushDecompress::Finish);
    let found = inflater.total_out();
    if matches!(done, Ok(Status::StreamEnd)) && found == chunk.plain {
        return Ok(());
    }
    let found = match done {
        Ok(Status::StreamEnd) => format!("{found} bytes"),
        Ok(_) => "more, or no end".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(ParseError {
        kind: Kind::Malformed,
        what: format!(
            "names do not inflate to the {} bytes they claim: {found}",
            chunk.plain
        ),
        offset: chunk.at as u64,
        len: len as u64,
    })
}

/// The names between separators, but for those without a byte.
fn split(mut plain: &[u8]) -> impl Iterator<Item = &[u8]> {
    let names = std::iter::from_fn(move || {
        let all = plain;
        // The only search for a byte in std that uses vector instructions.
        let len = plain.skip_until(SEPARATOR).unwrap_or(all.len());
        let name = &all[..len.min(all.len())];
        (!name.is_empty()).then(|| name.strip_suffix(&[SEPARATOR]).unwrap_or(name))
    });
    names.filter(|name| !name.is_empty())
}

/// Calls `visit` with each name of a blob and its [`hash`], in any order.
///
/// # Errors
/// As [`each`].
pub fn each_hashed(
    blob: &[u8],
    limits: &Limits,
    mut visit: impl FnMut(u64, &[u8]),
) -> Result<(), ParseError> {
    let mut batches = md5::Batches::new();
    let mut visit = |hash, name: &[u8], _| visit(hash, name);
    each(blob, limits, |name| batches.push(name, 0, &mut visit))?;
    batches.finish(&mut visit);
    Ok(())
}

/// Calls `visit` with the hash, place and size of each of [`joined`] names, in
/// any order.
pub(super) fn places(joined: &[u8], mut visit: impl FnMut(u64, u32, u32)) {
    let mut batches = md5::Batches::new();
    let mut visit = |hash, name: &[u8], place| visit(hash, place, name.len() as u32);
    for name in split(joined) {
        // They are within `Limits::names`.
        let place = name.as_ptr() as usize - joined.as_ptr() as usize;
        batches.push(name, place as u32, &mut visit);
    }
    batches.finish(&mut visit);
}

/// The names of a blob whose hashes are `wanted`, sorted and each once. A program
/// names functions that it has no counters for; they are left out. Chunks that
/// are `known` are not looked into again.
pub(crate) fn wanted(
    blob: &[u8],
    limits: &Limits,
    wanted: &[u64],
    known: &mut Known,
) -> Result<BTreeMap<u64, Box<[u8]>>, ParseError> {
    // Where the hashes that begin with the same bits are, so that only a few
    // are left to search. Whoever makes up hashes gets a slower search, not a
    // slow one, which a table of hashes would give him.
    let bits = usize::BITS - wanted.len().leading_zeros();
    let prefix = |hash: u64| hash.checked_shr(64 - bits).unwrap_or_default() as usize;
    let mut starts = vec![0; (1 << bits) + 1];
    for hash in wanted {
        starts[prefix(*hash) + 1] += 1;
    }
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    let mut names: Vec<Option<Box<[u8]>>> = vec![None; wanted.len()];
    known.each_hashed(blob, limits, |hash, name| {
        let prefix = prefix(hash);
        let near = &wanted[starts[prefix]..starts[prefix + 1]];
        if let Ok(at) = near.binary_search(&hash) {
            names[starts[prefix] + at].get_or_insert_with(|| name.into());
        }
    })?;
    // In order, which makes a map soon.
    let names = wanted.iter().zip(names);
    Ok(names
        .filter_map(|(hash, name)| Some((*hash, name?)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn uleb(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    fn packed(claimed: u64, plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(vec![], flate2::Compression::best());
        encoder.write_all(plain).unwrap();
        let bytes = encoder.finish().unwrap();
        let mut out = Vec::new();
        uleb(&mut out, claimed);
        uleb(&mut out, bytes.len() as u64);
        out.extend(bytes);
        out
    }

    fn names(blob: &[u8]) -> Result<Vec<String>, ParseError> {
        let mut found = Vec::new();
        each(blob, &Limits::default(), |name| {
            found.push(String::from_utf8_lossy(name).into_owned());
        })?;
        Ok(found)
    }

    #[test]
    fn hash_is_that_of_the_profile() {
        // `main` in the fixtures of real programs.
        assert_eq!(hash(b"main"), 0xdb95_6436_e78d_d5fa);
    }

    #[test]
    fn plain_and_packed_chunks_are_read_with_zeros_between() {
        let mut blob = vec![0, 0, 3, 0, b'a', 1, b'b', 0, 0];
        blob.extend(packed(6, b"main\x01c"));
        blob.extend([0; 5]);
        assert_eq!(names(&blob).unwrap(), ["a", "b", "main", "c"]);
        assert_eq!(check(&blob, &Limits::default()), Ok(()));
    }

    #[test]
    fn a_chunk_that_inflates_to_another_size_is_refused() {
        for claimed in [3, 5, 100] {
            let error = names(&packed(claimed, b"main")).unwrap_err();
            assert_eq!((error.kind, error.offset), (Kind::Malformed, 0));
            assert!(error.what.starts_with("names do not inflate to the "));
        }
    }

    #[test]
    fn all_chunks_together_stay_within_the_limit() {
        let limits = Limits {
            names: 10,
            ..Limits::default()
        };
        let blob = packed(6, b"main\x01c").repeat(2);
        let error = each(&blob, &limits, |_| {}).unwrap_err();
        assert_eq!(error.kind, Kind::TooLarge);
        assert_eq!(error.what, "the names claim 12 bytes, the limit is 10");
        assert_eq!(check(&blob, &limits).unwrap_err(), error);
    }

    #[test]
    fn a_true_bomb_is_refused_before_it_inflates() {
        let blob = packed(1 << 30, &vec![b'a'; 1 << 20]);
        let error = names(&blob).unwrap_err();
        assert_eq!(error.kind, Kind::TooLarge);
    }
}
