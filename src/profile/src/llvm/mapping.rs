//! LLVM's coverage mapping of a program: which source each counter counts.
//!
//! Read are versions 4 to 7 (LLVM 11 and later; rustc since 1.53), from the
//! sections `__llvm_covmap` and `__llvm_covfun` of an [`Object`].
//!
//! | `__llvm_covmap`, each on 8 bytes | |
//! |---|---|
//! | u32 | 0 |
//! | u32 | bytes of the table of file names |
//! | u32 | 0 |
//! | u32 | version, less one |
//! | table | ULEB128: names, bytes, compressed bytes (0: they are not); names |
//!
//! | `__llvm_covfun`, each on 8 bytes, packed | |
//! |---|---|
//! | u64 | hash of the name |
//! | u32 | bytes of the record |
//! | u64 | hash of the structure; 0: never compiled |
//! | u64 | hash of the table of file names |
//! | record | see [`regions`](super::regions) |
//!
//! From version 6 the first name is the directory of the compiler, which
//! relative names are joined to. Source: `docs/CoverageMappingFormat.rst` and
//! `ProfileData/Coverage/CoverageMappingReader.cpp`, LLVM 22.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::inflate::inflate;
use super::names;
use super::object::Object;
use super::paths;
use super::regions::is_dummy;
use super::symbols::Symbols;
use crate::Identity;
use crate::bytes::{Endian, Reader};
use crate::error::{Kind, ParseError};
use crate::limits::Limits;

/// The versions as they are stored.
const VERSIONS: std::ops::RangeInclusive<u32> = 3..=6;
/// Since when the first name is a directory, as stored.
const WITH_DIRECTORY: u32 = 5;
/// No file system has longer paths.
const MAX_PATH: usize = 1 << 16;

/// How names of files are to be understood.
#[derive(Clone, Copy, Default)]
pub struct Paths<'o> {
    /// Takes the place of the compiler's directory.
    pub compilation_dir: Option<&'o str>,
    /// What a name becomes.
    pub remap: Option<&'o dyn Fn(&str) -> String>,
}

/// The mapping of one program. What its functions' regions are is decoded when
/// it is asked for.
#[derive(Clone, Debug)]
pub struct Mapping<'a> {
    identity: Option<Identity>,
    symbols: Arc<Symbols>,
    /// Every name once.
    files: Vec<String>,
    /// The tables of file names, one behind the other: indices into `files`.
    tables: Vec<u32>,
    records: Vec<Record>,
    functions: Cow<'a, [u8]>,
    collisions: Vec<Collision>,
}

/// A function as mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) name: u64,
    pub(crate) hash: u64,
    /// Where its name is in the symbols.
    pub(crate) symbol: (u32, u32),
    /// Where its table of files is.
    table: (u32, u32),
    at: usize,
    len: u32,
    pub(crate) is_dummy: bool,
}

/// Two tables of file names with the same hash: LLVM's reader and this one
/// cannot tell which one functions mean, and leave the functions out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// The hash.
    pub reference: u64,
    /// How many functions refer to it.
    pub functions: u64,
}

/// A table of file names, as functions find it.
#[derive(Clone, Copy)]
struct Table {
    start: u32,
    len: u32,
    collides: bool,
}

impl<'a> Mapping<'a> {
    /// Reads the sections of an object.
    ///
    /// # Errors
    /// Anything that is malformed or over the limits, and versions that are
    /// not known. Offsets are from the start of the section that is named.
    pub fn read(
        object: &'a Object<'_>,
        paths: Paths<'_>,
        limits: &Limits,
    ) -> Result<Mapping<'a>, ParseError> {
        let symbols = Symbols::read(&object.names, limits).map_err(|e| within(e, "names"))?;
        let mut tables = Tables::new(&object.covmap, object.endian, paths, limits);
        tables.read().map_err(|e| within(e, "__llvm_covmap"))?;
        let mut mapping = Mapping {
            identity: object.identity.clone(),
            symbols: Arc::new(symbols),
            files: tables.files,
            tables: tables.ids,
            records: Vec::new(),
            functions: Cow::Borrowed(&object.covfun),
            collisions: Vec::new(),
        };
        let found = (&tables.by_hash, object.endian, limits);
        mapping
            .read_records(found)
            .map_err(|e| within(e, "__llvm_covfun"))?;
        Ok(mapping)
    }

    /// Of which build it is.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// How many functions it maps, as compiled.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// It maps no function.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Names of the files, each once, in no order.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// The names of its functions.
    pub fn symbols(&self) -> &Arc<Symbols> {
        &self.symbols
    }

    /// Tables of file names that cannot be told apart.
    pub fn collisions(&self) -> &[Collision] {
        &self.collisions
    }

    /// Bytes that it was read from.
    pub(crate) fn size(&self) -> u64 {
        self.functions.len() as u64
    }

    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    /// The encoded regions of a function.
    pub(crate) fn bytes(&self, record: &Record) -> &[u8] {
        self.functions
            .get(record.at..record.at.saturating_add(record.len as usize))
            .unwrap_or_default()
    }

    /// A function's table of files: indices into [`files`](Mapping::files).
    pub(crate) fn table(&self, record: &Record) -> &[u32] {
        let (start, len) = record.table;
        self.tables
            .get(start as usize..start.saturating_add(len) as usize)
            .unwrap_or_default()
    }

    /// Places an error in a function's record in the section.
    pub(crate) fn place(&self, record: &Record, error: ParseError) -> ParseError {
        let name =
            String::from_utf8_lossy(self.symbols.at(record.symbol.0, record.symbol.1)).into_owned();
        ParseError {
            what: format!("__llvm_covfun: {} (in {name})", error.what),
            offset: error.offset.saturating_add(record.at as u64),
            len: self.functions.len() as u64,
            ..error
        }
    }

    /// Reads the heads of all records. Of several of a name the first counts,
    /// unless it is a dummy and a later one is not.
    fn read_records(
        &mut self,
        (tables, endian, limits): (&HashMap<u64, Table>, Endian, &Limits),
    ) -> Result<(), ParseError> {
        let mut reader = Reader::new(&self.functions, endian);
        let mut known: HashMap<u64, usize> = HashMap::new();
        let mut collisions: HashMap<u64, u64> = HashMap::new();
        let mut number = 0u64;
        while reader.left() > 0 {
            number += 1;
            reader.within(number, limits.functions, "the number of functions")?;
            let start = reader.at();
            if reader.left() < 28 && only_zeros(&self.functions, start) {
                break;
            }
            let name = reader.u64("the name of a function")?;
            let len = reader.u32("the size of a function's record")?;
            let hash = reader.u64("the hash of a function")?;
            let files = reader.u64("the files of a function")?;
            if (name, len, hash, files) == (0, 0, 0, 0) && only_zeros(&self.functions, start) {
                break;
            }
            let at = reader.at();
            let bytes = reader.take(u64::from(len), "a function's record")?;
            align(&mut reader)?;
            let Some(table) = tables.get(&files) else {
                return Err(reader.error(format!(
                    "no table of file names has the hash {files:016x} that a function refers to"
                )));
            };
            if table.collides {
                *collisions.entry(files).or_default() += 1;
                continue;
            }
            let record = Record {
                name,
                hash,
                symbol: (0, 0),
                table: (table.start, table.len),
                at,
                len,
                is_dummy: is_dummy(hash, bytes).map_err(|error| ParseError {
                    offset: error.offset + at as u64,
                    len: self.functions.len() as u64,
                    ..error
                })?,
            };
            match known.entry(name) {
                Entry::Vacant(entry) => {
                    let Some(symbol) = self.symbols.place(name) else {
                        return Err(reader.error(format!(
                            "no name of the program has the hash {name:016x} of a function"
                        )));
                    };
                    entry.insert(self.records.len());
                    self.records.push(Record { symbol, ..record });
                }
                Entry::Occupied(entry) => {
                    if let Some(first) = self.records.get_mut(*entry.get())
                        && first.is_dummy
                        && !record.is_dummy
                    {
                        *first = Record {
                            symbol: first.symbol,
                            ..record
                        };
                    }
                }
            }
        }
        let mut collisions: Vec<_> = collisions
            .into_iter()
            .map(|(reference, functions)| Collision {
                reference,
                functions,
            })
            .collect();
        collisions.sort_by_key(|collision| collision.reference);
        self.collisions = collisions;
        Ok(())
    }
}

/// Names the section an error is in.
fn within(error: ParseError, section: &str) -> ParseError {
    ParseError {
        what: format!("{section}: {}", error.what),
        ..error
    }
}

fn only_zeros(bytes: &[u8], from: usize) -> bool {
    bytes
        .get(from..)
        .is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
}

/// Skips to a multiple of 8 bytes; the last one may lack its padding.
fn align(reader: &mut Reader<'_>) -> Result<(), ParseError> {
    let missing = reader.at().next_multiple_of(8) - reader.at();
    reader.take(missing.min(reader.left()) as u64, "padding")?;
    Ok(())
}

/// The tables of file names while they are read.
struct Tables<'s, 'o> {
    bytes: &'s [u8],
    endian: Endian,
    paths: Paths<'o>,
    limits: &'s Limits,
    files: Vec<String>,
    ids: Vec<u32>,
    by_hash: HashMap<u64, Table>,
    known: HashMap<String, u32>,
    /// Bytes that tables may still inflate to.
    inflation_left: u64,
    /// Bytes that names may still be joined to, double ones included.
    joining_left: u64,
    /// Bytes that distinct names may still take.
    names_left: u64,
}

impl<'s, 'o> Tables<'s, 'o> {
    fn new(bytes: &'s [u8], endian: Endian, paths: Paths<'o>, limits: &'s Limits) -> Self {
        let size = bytes.len() as u64;
        Tables {
            bytes,
            endian,
            paths,
            limits,
            files: Vec::new(),
            ids: Vec::new(),
            by_hash: HashMap::new(),
            known: HashMap::new(),
            inflation_left: limits.filenames.saturating_add(size.saturating_mul(64)),
            joining_left: (64 << 20) + size.saturating_mul(512),
            names_left: limits.filenames.saturating_add(size),
        }
    }

    fn read(&mut self) -> Result<(), ParseError> {
        let mut reader = Reader::new(self.bytes, self.endian);
        while reader.left() > 0 {
            if reader.left() < 16 && only_zeros(self.bytes, reader.at()) {
                break;
            }
            let records = reader.u32("the number of records")?;
            let size = reader.u32("the size of file names")?;
            let mapping = reader.u32("the size of mappings")?;
            let version = reader.u32("the version")?;
            if (records, size, mapping, version) == (0, 0, 0, 0)
                && only_zeros(self.bytes, reader.at())
            {
                break;
            }
            if !VERSIONS.contains(&version) {
                return Err(reader.error_of(
                    Kind::Unsupported,
                    format!(
                        "coverage mapping version {} is not known, 4 to 7 are (LLVM 11 and later)",
                        u64::from(version) + 1
                    ),
                ));
            }
            if (records, mapping) != (0, 0) {
                return Err(reader.error(format!(
                    "{records} records and {mapping} bytes of mappings beside the file names"
                )));
            }
            let at = reader.at();
            let table = reader.take(u64::from(size), "file names")?;
            self.table(table, version).map_err(|error| ParseError {
                offset: error.offset.saturating_add(at as u64),
                len: self.bytes.len() as u64,
                ..error
            })?;
            align(&mut reader)?;
        }
        Ok(())
    }

    fn table(&mut self, bytes: &[u8], version: u32) -> Result<(), ParseError> {
        let mut reader = Reader::new(bytes, Endian::Little);
        let count = reader.uleb("the number of file names")?;
        reader.within(count, reader.left() as u64, "the number of file names")?;
        if count == 0 {
            return Err(reader.error("no file name"));
        }
        let size = reader.uleb("the size of file names")?;
        let packed = reader.uleb("the compressed size of file names")?;
        let start = self.ids.len();
        if packed == 0 {
            self.names(&mut reader, count, version)?;
        } else {
            let at = (reader.at() as u64, bytes.len() as u64);
            let packed = reader.take(packed, "compressed file names")?;
            reader.within(size, self.inflation_left, "all file names together")?;
            self.inflation_left -= size;
            let plain = inflate(packed, size, self.limits.filenames, "file names", at)?;
            self.names(&mut Reader::new(&plain, Endian::Little), count, version)?;
        }
        let table = Table {
            start: u32::try_from(start)
                .map_err(|_| reader.error_of(Kind::TooLarge, "too many file names"))?,
            len: (self.ids.len() - start) as u32,
            collides: false,
        };
        match self.by_hash.entry(names::hash(bytes)) {
            Entry::Vacant(entry) => {
                entry.insert(table);
            }
            Entry::Occupied(mut entry) => {
                let first = *entry.get();
                let same = self
                    .ids
                    .get(first.start as usize..(first.start + first.len) as usize)
                    == self.ids.get(start..);
                self.ids.truncate(start);
                entry.get_mut().collides |= !same;
            }
        }
        Ok(())
    }

    fn names(
        &mut self,
        reader: &mut Reader<'_>,
        count: u64,
        version: u32,
    ) -> Result<(), ParseError> {
        let mut directory = String::new();
        for index in 0..count {
            let size = reader.uleb("the size of a file name")?;
            let name = reader.take(size, "a file name")?;
            let name = String::from_utf8_lossy(name);
            if name.len() > MAX_PATH {
                let what = format!(
                    "a file name of {} bytes, the limit is {MAX_PATH}",
                    name.len()
                );
                return Err(reader.error_of(Kind::TooLarge, what));
            }
            let joined = if version < WITH_DIRECTORY {
                name.into_owned()
            } else if index == 0 {
                let given = self.paths.compilation_dir.map(str::to_owned);
                directory = given.unwrap_or_else(|| name.clone().into_owned());
                // As LLVM has it, the directory keeps its own name as a file.
                name.into_owned()
            } else {
                paths::join(&directory, &name)
            };
            let joined = match self.paths.remap {
                Some(remap) => remap(&joined),
                None => joined,
            };
            let bytes = joined.len() as u64 + 1;
            reader.within(
                bytes,
                self.joining_left,
                "file names with their directories",
            )?;
            self.joining_left -= bytes;
            let next = self.files.len() as u32;
            let id = match self.known.get(&joined) {
                Some(id) => *id,
                None => {
                    reader.within(bytes, self.names_left, "the names of all files")?;
                    self.names_left -= bytes;
                    self.known.insert(joined.clone(), next);
                    self.files.push(joined);
                    next
                }
            };
            self.ids.push(id);
        }
        Ok(())
    }
}
