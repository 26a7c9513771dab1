//! podcov's own format (`*.podcov`): what each process counted, kept apart.
//!
//! Other formats hold sums, in which nobody can find the same evidence again.
//! This one holds, for each program, what is counted of it (its [`Shape`]) and,
//! for each piece of evidence, its [`Key`] and its counts, sparsely and equal
//! ones once. Files of it can be merged in any order, also when they overlap;
//! the sums and what each incarnation reached come from it.
//!
//! | offset | bytes | field | limit |
//! |---|---|---|---|
//! | 0 | 8 | magic: `89 'PODCOV' 0a` | |
//! | 8 | 4 | version, little endian: 1 | |
//! | 12 | 4 | zeros | |
//! | 16 | | records: a byte for the kind, ULEB128 size, that many bytes | what is there |
//! | end - 32 | 32 | SHA-256 of everything before it | |
//!
//! | record | kind | content |
//! |---|---|---|
//! | shape | `S` | the kind (1 LLVM, 2 Go meta-data, 3 Go text), then what the kind has; shapes are numbered from 0 |
//! | evidence | `E` | key, ULEB128 shape, ULEB128 vector: 0 for a new one, which follows, else the number of an earlier one of that shape, from 1 |
//! | end | `Z` | ULEB128 numbers of shapes, vectors and pieces of evidence |
//!
//! | part of a key | form |
//! |---|---|
//! | run, process, file | ULEB128 bytes shared with the evidence before, ULEB128 further bytes, these bytes |
//! | part and place | ULEB128 of twice the part, plus 1 if there is a place, of which the 16 bytes follow |
//!
//! | shape of LLVM | form |
//! |---|---|
//! | build ids | ULEB128 number; each ULEB128 length, bytes; ascending |
//! | variants | ULEB128 of bits 32 to 63 of the version field of a profile; the lowest, which LLVM does not use, says that bitmaps are [old](crate::llvm::profile::Profile::has_old_bitmaps) |
//! | functions | ULEB128 number; each 8 bytes name, 8 bytes hash, ULEB128 counters, ULEB128 bytes of bitmap; ascending |
//! | names | compressed; for each name in the order of functions ULEB128 length and 1, bytes; 0 for one not known |
//!
//! Compressed is: ULEB128 size, ULEB128 compressed size, zlib; where the second
//! is 0, the bytes are as they are. Meta-data of Go is the `covmeta` file,
//! compressed; a text profile is the mode (1 set, 2 count, 3 atomic) and,
//! compressed, its files, blocks and statements.
//!
//! Evidence is ordered by key, and by the digest of its shape where a key has
//! several; a shape comes right before the first evidence of it. So the same
//! evidence gives the same bytes, whatever it was merged from and in which
//! order. A file that was cut off or changed anywhere is refused by its digest.

mod shape;
mod vector;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::Limits;
use crate::bytes::{Endian, Reader};
use crate::error::{Kind, ParseError};
use crate::evidence::Key;

pub use shape::{LlvmShape, MetaShape, Program, Shape, TextShape};
pub use vector::{Counts, Rule, Stretch, Vector};

use shape::Form;
use vector::put_uleb;

const MAGIC: [u8; 8] = [0x89, b'P', b'O', b'D', b'C', b'O', b'V', b'\n'];
/// The version that is written, and the only one there is.
pub const VERSION: u32 = 1;
const HEADER: usize = 16;
const DIGEST: usize = 32;
/// A path has at most 4096 bytes; so has each part of a key.
const MAX_TEXT: u64 = 4096;

/// Whether bytes begin like a podcov file.
pub fn is_store(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// A shape with the digest that orders and names it; made once for each shape.
#[derive(Clone, Debug)]
pub struct Named {
    shape: Arc<Shape>,
    digest: [u8; 32],
}

impl Named {
    /// Computes the digest.
    pub fn new(shape: Shape) -> Self {
        Named {
            digest: shape.digest(),
            shape: Arc::new(shape),
        }
    }

    /// The shape.
    pub fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    /// SHA-256 of its written form.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

/// Why evidence was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file could not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Evidence must come in ascending order of key and shape.
    #[error("evidence `{0}` is out of order")]
    Order(Key),
}

/// Writes a podcov file piece by piece. It holds the keys of one piece, and
/// digests of the shapes and of the counts it has seen.
pub struct Writer<W> {
    out: W,
    hash: Sha256,
    shapes: BTreeMap<[u8; 32], u64>,
    vectors: BTreeMap<(u64, [u8; 16]), u64>,
    last: Option<(Key, [u8; 32])>,
    pieces: u64,
    record: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub fn new(out: W) -> io::Result<Self> {
        let mut writer = Writer {
            out,
            hash: Sha256::new(),
            shapes: BTreeMap::new(),
            vectors: BTreeMap::new(),
            last: None,
            pieces: 0,
            record: Vec::new(),
        };
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&[0; 4]);
        writer.put(&header)?;
        Ok(writer)
    }

    /// Adds what one process counted. Keys ascend; a key comes again only with
    /// another shape of a higher digest.
    pub fn add(&mut self, key: &Key, shape: &Named, vector: &Vector) -> Result<(), WriteError> {
        let last = self.last.as_ref();
        if last.is_some_and(|(k, digest)| (k, digest) >= (key, &shape.digest)) {
            return Err(WriteError::Order(key.clone()));
        }
        let known = self.shapes.get(&shape.digest).copied();
        let number = match known {
            Some(number) => number,
            None => {
                let number = self.shapes.len() as u64;
                let encoded = shape.shape.encode(Form::Compressed);
                self.put_record(b'S', &encoded)?;
                self.shapes.insert(shape.digest, number);
                number
            }
        };
        let mut record = std::mem::take(&mut self.record);
        record.clear();
        put_key(&mut record, key, self.last.as_ref().map(|(key, _)| key));
        put_uleb(&mut record, number);
        let digest = Sha256::digest(vector.bytes());
        let mut short = [0; 16];
        short
            .iter_mut()
            .zip(digest)
            .for_each(|(to, from)| *to = from);
        let next = self.vectors.len() as u64 + 1;
        match self.vectors.get(&(number, short)) {
            Some(earlier) => put_uleb(&mut record, *earlier),
            None => {
                self.vectors.insert((number, short), next);
                put_uleb(&mut record, 0);
                record.extend_from_slice(vector.bytes());
            }
        }
        self.put_record(b'E', &record)?;
        self.record = record;
        self.last = Some((key.clone(), shape.digest));
        self.pieces += 1;
        Ok(())
    }

    /// Ends the file and gives what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        let mut end = Vec::new();
        put_uleb(&mut end, self.shapes.len() as u64);
        put_uleb(&mut end, self.vectors.len() as u64);
        put_uleb(&mut end, self.pieces);
        self.put_record(b'Z', &end)?;
        let digest = self.hash.finalize();
        self.out.write_all(&digest)?;
        Ok(self.out)
    }

    fn put_record(&mut self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        let mut head = vec![kind];
        put_uleb(&mut head, bytes.len() as u64);
        self.put(&head)?;
        self.put(bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }
}

fn put_key(out: &mut Vec<u8>, key: &Key, before: Option<&Key>) {
    let none = Key::default();
    let before = before.unwrap_or(&none);
    let texts = [
        (&key.run, &before.run),
        (&key.process, &before.process),
        (&key.file, &before.file),
    ];
    for (text, before) in texts {
        let pairs = text.bytes().zip(before.bytes());
        let shared = pairs.take_while(|(a, b)| a == b).count();
        let rest = text.as_bytes().get(shared..).unwrap_or_default();
        put_uleb(out, shared as u64);
        put_uleb(out, rest.len() as u64);
        out.extend_from_slice(rest);
    }
    let has_place = key.place != [0; 16];
    put_uleb(out, u64::from(key.part) * 2 + u64::from(has_place));
    if has_place {
        out.extend_from_slice(&key.place);
    }
}

fn take_key(reader: &mut Reader<'_>, before: &Key) -> Result<Key, ParseError> {
    let mut text = |before: &str, what: &str| {
        let shared = reader.uleb(what)?;
        let shared = usize::try_from(shared)
            .ok()
            .and_then(|shared| before.as_bytes().get(..shared))
            .ok_or_else(|| reader.error(format!("{what} shares {shared} bytes")))?;
        let len = reader.uleb(what)?;
        reader.within(shared.len() as u64 + len.min(1 << 32), MAX_TEXT, what)?;
        let mut bytes = shared.to_vec();
        bytes.extend_from_slice(reader.take(len, what)?);
        String::from_utf8(bytes).map_err(|_| reader.error(format!("{what} is no UTF-8")))
    };
    let mut key = Key {
        run: text(&before.run, "the run")?,
        process: text(&before.process, "the process")?,
        file: text(&before.file, "the file")?,
        ..Key::default()
    };
    let part = reader.uleb("the part")?;
    key.part = u32::try_from(part / 2)
        .map_err(|_| reader.error(format!("part {part} is over 32 bits")))?;
    if part % 2 == 1 {
        for byte in &mut key.place {
            *byte = reader.u8("the place")?;
        }
    }
    Ok(key)
}

/// A podcov file that was read and found whole. It borrows the file's bytes;
/// beside the shapes it holds 24 bytes for each distinct list of counts.
#[derive(Clone, Debug)]
pub struct Store<'a> {
    bytes: &'a [u8],
    shapes: Vec<Named>,
    vectors: Vec<(u32, &'a [u8])>,
    pieces: u64,
}

/// One piece of evidence of a [`Store`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Who produced it.
    pub key: Key,
    /// Index into [`Store::shapes`].
    pub shape: usize,
    /// Index of its counts, for [`Store::vector`].
    pub vector: usize,
}

impl<'a> Store<'a> {
    /// Reads a file and checks all of it.
    pub fn read(bytes: &'a [u8], limits: &Limits) -> Result<Self, ParseError> {
        if bytes.is_empty() {
            return Err(ParseError::empty("the file is empty"));
        }
        let mut reader = Reader::new(bytes, Endian::Little);
        if reader.take(8, "the magic")? != MAGIC {
            return Err(reader.error("no magic of a podcov file"));
        }
        let version = reader.u32("the version")?;
        if version != VERSION {
            let text = format!(
                "podcov file version {version} is not known, {VERSION} is: use a newer podcov"
            );
            return Err(reader.error_of(Kind::Unsupported, text));
        }
        if reader.u32("zeros")? != 0 {
            return Err(reader.error("bytes that are not zero in the header"));
        }
        let end = bytes.len().saturating_sub(DIGEST);
        let (whole, digest) = bytes.split_at(end);
        if end < HEADER || Sha256::digest(whole)[..] != *digest {
            reader.seek(end as u64, "the digest")?;
            let text = "the digest does not fit: it was cut off or changed after it was written";
            return Err(reader.error_of(Kind::Truncated, text));
        }
        Store::records(whole, limits)
    }

    fn records(whole: &'a [u8], limits: &Limits) -> Result<Self, ParseError> {
        let mut store = Store {
            bytes: whole,
            shapes: Vec::new(),
            vectors: Vec::new(),
            pieces: 0,
        };
        let mut slots: Vec<u64> = Vec::new();
        let (mut last, mut last_shape) = (Key::default(), None);
        let mut claims = Claims::default();
        let mut reader = Reader::new(whole, Endian::Little);
        reader.seek(HEADER as u64, "the records")?;
        loop {
            let (kind, mut record) = next_record(&mut reader)?;
            match kind {
                b'S' => {
                    let shape = Shape::decode(&mut record, limits)?;
                    claims.add(&shape, limits, &record)?;
                    slots.push(shape.slots());
                    store.shapes.push(Named::new(shape));
                }
                b'E' => {
                    let key = take_key(&mut record, &last)?;
                    let (shape, vector) = take_reference(&mut record)?;
                    let (Some(named), Some(slots)) = (store.shapes.get(shape), slots.get(shape))
                    else {
                        return Err(record.error(format!("shape {shape} is not there")));
                    };
                    let this = Some(named.digest);
                    if store.pieces > 0 && (&key, &this) <= (&last, &last_shape) {
                        return Err(record.error("evidence out of order"));
                    }
                    match vector {
                        None => {
                            let start = record.at();
                            Vector::check(&mut record, *slots)?;
                            let body = whole.get(start..record.at()).unwrap_or_default();
                            let shape = u32::try_from(shape).unwrap_or(u32::MAX);
                            store.vectors.push((shape, body));
                        }
                        Some(index) => {
                            let of = store.vectors.get(index).map(|(of, _)| *of as usize);
                            if of != Some(shape) {
                                let text = format!("counts {index} are not of shape {shape}");
                                return Err(record.error(text));
                            }
                        }
                    }
                    (last, last_shape) = (key, this);
                    store.pieces += 1;
                }
                b'Z' => {
                    let found = [
                        store.shapes.len() as u64,
                        store.vectors.len() as u64,
                        store.pieces,
                    ];
                    for (found, what) in found.into_iter().zip(["shapes", "counts", "evidence"]) {
                        if record.uleb(what)? != found {
                            return Err(record.error(format!("{what} are missing")));
                        }
                    }
                    done(&record)?;
                    return match reader.left() {
                        0 => Ok(store),
                        left => Err(reader.error(format!("{left} bytes behind the end"))),
                    };
                }
                other => {
                    let text = format!("a record of kind {other:#04x} is not known");
                    return Err(record.error_of(Kind::Unsupported, text));
                }
            }
            done(&record)?;
        }
    }

    /// The shapes, in the order of their first evidence.
    pub fn shapes(&self) -> &[Named] {
        &self.shapes
    }

    /// How many pieces of evidence there are.
    pub fn len(&self) -> u64 {
        self.pieces
    }

    /// Whether there is no evidence.
    pub fn is_empty(&self) -> bool {
        self.pieces == 0
    }

    /// How many distinct lists of counts there are.
    pub fn vectors(&self) -> usize {
        self.vectors.len()
    }

    /// The pieces of evidence, in the order of their keys.
    pub fn pieces(&self) -> Pieces<'a> {
        let mut reader = Reader::new(self.bytes, Endian::Little);
        // It was read before, so it is there.
        let _ = reader.seek(HEADER as u64, "the records");
        Pieces {
            reader,
            last: Key::default(),
            vectors: 0,
        }
    }

    /// The counts with this index.
    pub fn vector(&self, index: usize) -> Option<Vector> {
        let (_, bytes) = self.vectors.get(index)?;
        Some(Vector::from_checked(bytes))
    }

    /// The counts of one shape that `times` tells how often to count each of:
    /// dense sums.
    pub fn sum(&self, shape: usize, times: impl Fn(usize) -> u64) -> Vec<u64> {
        let Some(named) = self.shapes.get(shape) else {
            return Vec::new();
        };
        let stretches = named.shape.stretches();
        let slots = usize::try_from(named.shape.slots()).unwrap_or(0);
        let mut sums = vec![0; slots];
        for (index, (of, bytes)) in self.vectors.iter().enumerate() {
            let times = times(index);
            if *of as usize == shape && times > 0 {
                vector::add(bytes, times, &stretches, &mut sums);
            }
        }
        sums
    }
}

/// Shapes are the only part that takes more memory than the file: compressed
/// names and slots. All of a file's together stay within the limits of one.
#[derive(Default)]
struct Claims {
    names: u64,
    slots: u64,
    digests: BTreeSet<[u8; 32]>,
}

impl Claims {
    fn add(
        &mut self,
        shape: &Shape,
        limits: &Limits,
        record: &Reader<'_>,
    ) -> Result<(), ParseError> {
        let names = match shape {
            Shape::Llvm(shape) => shape
                .names
                .values()
                .map(|name| name.len() as u64 + 32)
                .sum(),
            Shape::Go(shape) => shape.bytes.len() as u64,
            Shape::GoText(shape) => shape.blocks.keys().map(|name| name.len() as u64 + 32).sum(),
        };
        self.names = self.names.saturating_add(names);
        self.slots = self.slots.saturating_add(shape.slots());
        record.within(self.names, limits.names.saturating_mul(2), "all names")?;
        record.within(self.slots, limits.counters, "the counters of all shapes")?;
        if !self.digests.insert(shape.digest()) {
            return Err(record.error("a shape occurs twice"));
        }
        Ok(())
    }
}

fn next_record<'a>(reader: &mut Reader<'a>) -> Result<(u8, Reader<'a>), ParseError> {
    let kind = reader.u8("the kind of a record")?;
    let size = reader.uleb("the size of a record")?;
    let start = reader.at();
    reader.take(size, "a record")?;
    Ok((kind, reader.between(start, reader.at())))
}

fn take_reference(record: &mut Reader<'_>) -> Result<(usize, Option<usize>), ParseError> {
    let shape = record.uleb("the shape")?;
    let vector = record.uleb("the counts")?;
    let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Ok((index(shape), vector.checked_sub(1).map(index)))
}

fn done(record: &Reader<'_>) -> Result<(), ParseError> {
    match record.left() {
        0 => Ok(()),
        left => Err(record.error(format!("{left} bytes behind the end of a record"))),
    }
}

/// Iterates over the evidence of a [`Store`].
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    reader: Reader<'a>,
    last: Key,
    vectors: usize,
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    // All of it was checked when the file was read.
    fn next(&mut self) -> Option<Piece> {
        loop {
            let (kind, mut record) = next_record(&mut self.reader).ok()?;
            if kind != b'E' {
                continue;
            }
            let key = take_key(&mut record, &self.last).ok()?;
            let (shape, vector) = take_reference(&mut record).ok()?;
            let vector = vector.unwrap_or_else(|| {
                self.vectors += 1;
                self.vectors - 1
            });
            self.last = key.clone();
            return Some(Piece { key, shape, vector });
        }
    }
}
