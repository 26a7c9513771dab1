//! What is counted of a program: which slots its counts have, and what brings
//! them back to functions and blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use sha2::{Digest, Sha256};

use super::vector::{Rule, Stretch, put_uleb};
use crate::bytes::{Endian, Reader, hex};
use crate::error::{Kind, ParseError};
use crate::go::counters::Origin;
use crate::go::meta::{Meta, Mode, read_meta};
use crate::go::sum::Sum;
use crate::go::text::{self, Span};
use crate::llvm::profile::{Counts, FunctionId, MAX_COUNT, Profile};
use crate::{Identity, Limits};

/// A GNU build id has 20 bytes, a UUID 16; LLVM sets no limit.
const MAX_ID: u64 = 64;
/// Fewer bytes than these are not compressed.
const WORTH_IT: usize = 256;

/// Which program evidence comes from. Counts of equal programs add up, those
/// of others never.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    /// By the build ids of the program and the instrumented libraries it
    /// loaded.
    Llvm(BTreeSet<Identity>),
    /// A program linked without a build id: only by the hash of its shape.
    LlvmShape(String),
    /// By the hash of Go's coverage meta-data.
    Go(Identity),
    /// A Go text profile, which says nothing of its program: by the hash of
    /// its blocks.
    GoText(String),
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Program::Llvm(ids) => {
                for (index, id) in ids.iter().enumerate() {
                    let plus = if index > 0 { "+" } else { "" };
                    write!(f, "{plus}{id}")?;
                }
                Ok(())
            }
            Program::LlvmShape(hash) => write!(f, "shape:{hash} (no build id)"),
            Program::Go(identity) => write!(f, "{identity}"),
            Program::GoText(hash) => write!(f, "blocks:{hash} (a text profile has no build id)"),
        }
    }
}

/// The functions of an LLVM profile.
///
/// Slots: the counters of all functions in order, then the bytes of their
/// bitmaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LlvmShape {
    /// Build ids of the program and its instrumented libraries.
    pub binary_ids: BTreeSet<Identity>,
    /// Variant flags, in their places (bits 32 to 63 of the version field).
    pub variants: u64,
    /// See [`Profile::has_old_bitmaps`]; a program's bitmaps are all of one kind.
    pub has_old_bitmaps: bool,
    /// Number of counters and bytes of bitmap by function.
    pub functions: BTreeMap<FunctionId, (u32, u32)>,
    /// PGO names by their MD5, as far as they are known, of these functions.
    pub names: BTreeMap<u64, Box<[u8]>>,
}

/// The blocks of a Go text profile. Slots: the blocks in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextShape {
    /// How it counts.
    pub mode: Mode,
    /// Number of statements by file and place.
    pub blocks: BTreeMap<String, BTreeMap<Span, u32>>,
}

/// Go's meta-data. Slots: the units of all functions in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaShape {
    /// The `covmeta` file.
    pub bytes: Vec<u8>,
    /// What it says.
    pub meta: Meta,
}

/// What is counted of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Of an LLVM profile.
    Llvm(LlvmShape),
    /// Of Go's counters.
    Go(MetaShape),
    /// Of a Go text profile.
    GoText(TextShape),
}

impl Program {
    /// The program that an LLVM profile is of.
    pub fn of(profile: &Profile) -> Program {
        match profile.binary_ids.is_empty() {
            false => Program::Llvm(profile.binary_ids.clone()),
            true => Program::LlvmShape(LlvmShape::of(profile).0.hash()),
        }
    }

    /// The builds that it is made of; none where nothing names them.
    pub fn identities(&self) -> Vec<&Identity> {
        match self {
            Program::Llvm(ids) => ids.iter().collect(),
            Program::Go(id) => vec![id],
            Program::LlvmShape(_) | Program::GoText(_) => vec![],
        }
    }
}

impl LlvmShape {
    /// The shape and the counts of a profile.
    pub fn of(profile: &Profile) -> (LlvmShape, Vec<u64>) {
        let mut shape = LlvmShape {
            binary_ids: profile.binary_ids.clone(),
            variants: profile.variants,
            has_old_bitmaps: profile.has_old_bitmaps,
            ..LlvmShape::default()
        };
        let mut values = Vec::new();
        for (id, counts) in &profile.functions {
            let (counters, bitmap) = counts.shape();
            let size = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
            shape.functions.insert(*id, (size(counters), size(bitmap)));
            if let Some(name) = profile.names.get(&id.name) {
                shape.names.entry(id.name).or_insert_with(|| name.clone());
            }
            values.extend_from_slice(&counts.counters);
        }
        for counts in profile.functions.values() {
            values.extend(counts.bitmap.iter().map(|byte| u64::from(*byte)));
        }
        (shape, values)
    }

    /// The profile that has these counts. Counts that are not there are 0.
    pub fn profile(&self, values: &[u64]) -> Profile {
        let counters: u64 = self.functions.values().map(|(n, _)| u64::from(*n)).sum();
        let split = usize::try_from(counters).unwrap_or(usize::MAX);
        let (mut counters, mut bits) = values.split_at(split.min(values.len()));
        let mut profile = Profile {
            names: self.names.clone(),
            binary_ids: self.binary_ids.clone(),
            variants: self.variants,
            has_old_bitmaps: self.has_old_bitmaps,
            ..Profile::default()
        };
        for (id, (number, bytes)) in &self.functions {
            let of_function = take(&mut counters, *number).to_vec();
            let bitmap = take(&mut bits, *bytes).iter();
            let counts = Counts {
                counters: of_function,
                bitmap: bitmap.map(|byte| *byte as u8).collect(),
            };
            profile.functions.insert(*id, counts);
        }
        profile
    }

    /// What stands for a build id where there is none: the hash of its
    /// functions and how many counters they have.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for (id, (counters, bitmap)) in &self.functions {
            hash.update(id.name.to_le_bytes());
            hash.update(id.hash.to_le_bytes());
            hash.update(counters.to_le_bytes());
            hash.update(bitmap.to_le_bytes());
        }
        short_hex(&hash.finalize().into())
    }

    fn encode(&self, out: &mut Vec<u8>, form: Form) {
        put_uleb(out, self.binary_ids.len() as u64);
        for id in &self.binary_ids {
            let bytes = from_hex(id.hex());
            put_uleb(out, bytes.len() as u64);
            out.extend_from_slice(&bytes);
        }
        put_uleb(out, self.variants >> 32 | u64::from(self.has_old_bitmaps));
        put_uleb(out, self.functions.len() as u64);
        let (mut names, mut last) = (Vec::new(), None);
        for (id, (counters, bitmap)) in &self.functions {
            out.extend_from_slice(&id.name.to_le_bytes());
            out.extend_from_slice(&id.hash.to_le_bytes());
            put_uleb(out, u64::from(*counters));
            put_uleb(out, u64::from(*bitmap));
            if last.replace(id.name) != Some(id.name) {
                let name = self.names.get(&id.name);
                put_uleb(&mut names, name.map_or(0, |name| name.len() as u64 + 1));
                names.extend_from_slice(name.map_or(&[], |name| name));
            }
        }
        pack(out, &names, form);
    }

    fn decode(reader: &mut Reader<'_>, limits: &Limits) -> Result<Self, ParseError> {
        let mut shape = LlvmShape::default();
        for _ in 0..reader.uleb("the number of build ids")? {
            let len = reader.uleb("the length of a build id")?;
            if len == 0 || len > MAX_ID {
                let text = format!("a build id of {len} bytes, 1 to {MAX_ID} can be");
                return Err(reader.error(text));
            }
            let id = Identity::BuildId(hex(reader.take(len, "a build id")?));
            if shape.binary_ids.last().is_some_and(|last| *last >= id) {
                return Err(reader.error("build ids out of order"));
            }
            shape.binary_ids.insert(id);
        }
        // LLVM's flags begin far above bit 32, which says what the bitmaps are.
        let flags = reader.uleb32("the variants")?;
        shape.has_old_bitmaps = flags & 1 == 1;
        shape.variants = u64::from(flags & !1) << 32;
        let number = reader.uleb("the number of functions")?;
        reader.within(number, limits.functions, "the number of functions")?;
        let mut slots = 0u64;
        for _ in 0..number {
            let id = FunctionId {
                name: reader.u64("a function's name")?,
                hash: reader.u64("a function's hash")?,
            };
            if shape
                .functions
                .last_key_value()
                .is_some_and(|(last, _)| *last >= id)
            {
                return Err(reader.error("functions out of order"));
            }
            let counters = reader.uleb32("the number of counters")?;
            let bitmap = reader.uleb32("the bytes of bitmap")?;
            slots = slots.saturating_add(u64::from(counters) + u64::from(bitmap));
            reader.within(slots, limits.counters, "the number of counters")?;
            shape.functions.insert(id, (counters, bitmap));
        }
        let packed = unpack(reader, limits.names, "the names")?;
        let mut names = Reader::new(&packed, Endian::Little);
        let mut last = None;
        for id in shape.functions.keys() {
            if last.replace(id.name) == Some(id.name) {
                continue;
            }
            let len = names.uleb("the length of a name")?;
            if let Some(len) = len.checked_sub(1) {
                let name = names.take(len, "a name")?;
                shape.names.insert(id.name, name.into());
            }
        }
        match names.left() {
            0 => Ok(shape),
            left => Err(reader.error(format!("{left} bytes behind the names"))),
        }
    }
}

impl TextShape {
    /// The shape and the counts of a text profile.
    pub fn of(profile: &text::Profile) -> (TextShape, Vec<u64>) {
        let mut blocks = BTreeMap::new();
        let mut values = Vec::new();
        for (file, of_file) in &profile.files {
            values.extend(of_file.values().map(|block| block.count));
            let statements = of_file
                .iter()
                .map(|(span, block)| (*span, block.statements));
            blocks.insert(file.clone(), statements.collect());
        }
        let mode = profile.mode;
        (TextShape { mode, blocks }, values)
    }

    /// The profile that has these counts.
    pub fn profile(&self, values: &[u64]) -> text::Profile {
        let mut profile = text::Profile::new(self.mode);
        let mut values = values.iter().copied();
        for (file, blocks) in &self.blocks {
            let with_counts = blocks.iter().map(|(span, statements)| {
                let block = text::Block {
                    statements: *statements,
                    count: values.next().unwrap_or(0),
                };
                (*span, block)
            });
            profile.files.insert(file.clone(), with_counts.collect());
        }
        profile
    }

    fn encode(&self, out: &mut Vec<u8>, form: Form) {
        let mut plain = Vec::new();
        put_uleb(&mut plain, self.blocks.len() as u64);
        for (file, blocks) in &self.blocks {
            put_uleb(&mut plain, file.len() as u64);
            plain.extend_from_slice(file.as_bytes());
            put_uleb(&mut plain, blocks.len() as u64);
            for (span, statements) in blocks {
                for number in [
                    span.start_line,
                    span.start_column,
                    span.end_line,
                    span.end_column,
                    *statements,
                ] {
                    put_uleb(&mut plain, u64::from(number));
                }
            }
        }
        out.push(mode_byte(self.mode));
        pack(out, &plain, form);
    }

    fn decode(reader: &mut Reader<'_>, limits: &Limits) -> Result<Self, ParseError> {
        let mode = match reader.u8("the mode")? {
            1 => Mode::Set,
            2 => Mode::Count,
            3 => Mode::Atomic,
            other => return Err(reader.error(format!("mode {other} is not known"))),
        };
        let packed = unpack(reader, limits.names, "the blocks")?;
        let wrong = |error: ParseError| reader.error(format!("the blocks: {}", error.what));
        let blocks = text_blocks(&packed).map_err(wrong)?;
        Ok(TextShape { mode, blocks })
    }
}

type Blocks = BTreeMap<String, BTreeMap<Span, u32>>;

fn text_blocks(bytes: &[u8]) -> Result<Blocks, ParseError> {
    let mut plain = Reader::new(bytes, Endian::Little);
    let mut files = Blocks::new();
    for _ in 0..plain.uleb("the number of files")? {
        let len = plain.uleb("the length of a file's name")?;
        let file = String::from_utf8_lossy(plain.take(len, "a file's name")?).into_owned();
        let mut blocks = BTreeMap::new();
        for _ in 0..plain.uleb("the number of blocks")? {
            let span = Span {
                start_line: plain.uleb32("a line")?,
                start_column: plain.uleb32("a column")?,
                end_line: plain.uleb32("a line")?,
                end_column: plain.uleb32("a column")?,
            };
            if blocks
                .insert(span, plain.uleb32("a number of statements")?)
                .is_some()
            {
                return Err(plain.error("a block occurs twice"));
            }
        }
        if files.insert(file, blocks).is_some() {
            return Err(plain.error("a file occurs twice"));
        }
    }
    match plain.left() {
        0 => Ok(files),
        left => Err(plain.error(format!("{left} bytes behind them"))),
    }
}

fn mode_byte(mode: Mode) -> u8 {
    match mode {
        Mode::Set => 1,
        Mode::Count => 2,
        Mode::Atomic => 3,
    }
}

impl MetaShape {
    /// The shape that a `covmeta` file gives.
    pub fn read(bytes: &[u8]) -> Result<Self, ParseError> {
        Ok(MetaShape {
            meta: read_meta(bytes)?,
            bytes: bytes.to_vec(),
        })
    }

    /// The sums of the program that has these counts.
    pub fn sum(&self, values: &[u64]) -> Sum<'_> {
        let count = |value: &u64| u32::try_from(*value).unwrap_or(u32::MAX);
        let counts: Vec<u32> = values.iter().map(count).collect();
        Sum::of(&self.meta, &counts, &Origin::default())
    }
}

impl Shape {
    /// Which program has this shape.
    pub fn program(&self) -> Program {
        match self {
            Shape::Llvm(shape) if shape.binary_ids.is_empty() => Program::LlvmShape(shape.hash()),
            Shape::Llvm(shape) => Program::Llvm(shape.binary_ids.clone()),
            Shape::Go(shape) => Program::Go(Identity::Covmeta(shape.meta.hash.clone())),
            Shape::GoText(_) => Program::GoText(short_hex(&self.digest())),
        }
    }

    /// Its slots and how their counts are brought together.
    pub fn stretches(&self) -> Vec<Stretch> {
        let go = |slots: u64, mode: Mode, most: u64| {
            let rule = match mode {
                Mode::Set => Rule::Or,
                Mode::Count | Mode::Atomic => Rule::Add(most),
            };
            vec![Stretch { slots, rule }]
        };
        match self {
            Shape::Llvm(shape) => {
                let (counters, bitmaps) =
                    shape.functions.values().fold((0, 0), |(a, b), (n, m)| {
                        (a + u64::from(*n), b + u64::from(*m))
                    });
                let counters = Stretch {
                    slots: counters,
                    rule: Rule::Add(MAX_COUNT),
                };
                let bitmaps = Stretch {
                    slots: bitmaps,
                    rule: Rule::Or,
                };
                vec![counters, bitmaps]
            }
            Shape::Go(shape) => go(
                shape.meta.units().len() as u64,
                shape.meta.mode,
                u64::from(u32::MAX),
            ),
            Shape::GoText(shape) => {
                let slots = shape.blocks.values().map(|blocks| blocks.len() as u64);
                go(slots.sum(), shape.mode, u64::MAX)
            }
        }
    }

    /// How many slots it has.
    pub fn slots(&self) -> u64 {
        self.stretches().iter().map(|stretch| stretch.slots).sum()
    }

    /// What names it within a file: of its form before it is compressed.
    pub(crate) fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.encode(Form::Plain)).into()
    }

    /// Its written form: a byte for its kind, then what the kind has.
    pub(crate) fn encode(&self, form: Form) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Shape::Llvm(shape) => {
                out.push(1);
                shape.encode(&mut out, form);
            }
            Shape::Go(shape) => {
                out.push(2);
                pack(&mut out, &shape.bytes, form);
            }
            Shape::GoText(shape) => {
                out.push(3);
                shape.encode(&mut out, form);
            }
        }
        out
    }

    pub(crate) fn decode(reader: &mut Reader<'_>, limits: &Limits) -> Result<Self, ParseError> {
        match reader.u8("the kind of shape")? {
            1 => LlvmShape::decode(reader, limits).map(Shape::Llvm),
            2 => {
                let at = reader.at() as u64;
                let bytes = unpack(reader, limits.names, "the meta-data")?;
                let shape = MetaShape::read(&bytes).map_err(|error| ParseError {
                    what: format!("the meta-data: {}", error.what),
                    offset: at,
                    ..error
                })?;
                Ok(Shape::Go(shape))
            }
            3 => TextShape::decode(reader, limits).map(Shape::GoText),
            other => {
                let text = format!("kind of shape {other} is not known, 1 to 3 are");
                Err(reader.error_of(Kind::Unsupported, text))
            }
        }
    }
}

/// How a shape is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// To be named by its digest, whatever compresses.
    Plain,
    /// In a file.
    Compressed,
}

/// Splits off the first `number`, or what there is.
fn take<'a>(values: &mut &'a [u64], number: u32) -> &'a [u64] {
    let at = usize::try_from(number).unwrap_or(usize::MAX);
    let (taken, rest) = values.split_at(at.min(values.len()));
    *values = rest;
    taken
}

/// Writes the size of bytes, their size compressed, and them compressed; 0 and
/// as they are where they are too few to compress.
fn pack(out: &mut Vec<u8>, bytes: &[u8], form: Form) {
    put_uleb(out, bytes.len() as u64);
    if form == Form::Plain || bytes.len() < WORTH_IT {
        put_uleb(out, 0);
        out.extend_from_slice(bytes);
        return;
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing into memory cannot fail.
    let _ = encoder.write_all(bytes);
    let packed = encoder.finish().unwrap_or_default();
    put_uleb(out, packed.len() as u64);
    out.extend_from_slice(&packed);
}

/// Reads what [`pack`] wrote, at most `limit` bytes of it.
fn unpack(reader: &mut Reader<'_>, limit: u64, what: &str) -> Result<Vec<u8>, ParseError> {
    let plain = reader.uleb(&format!("the size of {what}"))?;
    reader.within(plain, limit, what)?;
    let packed = reader.uleb(&format!("the compressed size of {what}"))?;
    if packed == 0 {
        return Ok(reader.take(plain, what)?.to_vec());
    }
    let packed = reader.take(packed, what)?;
    let mut bytes = Vec::new();
    let inflated = ZlibDecoder::new(packed)
        .take(plain.saturating_add(1))
        .read_to_end(&mut bytes);
    if let Err(error) = inflated {
        return Err(reader.error(format!("{what} do not inflate: {error}")));
    }
    if bytes.len() as u64 != plain {
        let text = format!("{what} claim {plain} bytes and have another number");
        return Err(reader.error(text));
    }
    Ok(bytes)
}

fn short_hex(digest: &[u8; 32]) -> String {
    hex(digest.get(..8).unwrap_or_default())
}

/// The bytes that hex digits stand for.
fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16).map(|digit| digit as u8))
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect()
}
