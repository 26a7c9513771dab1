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
//! | record | files, expressions and regions; their table is in `regions.rs` |
//!
//! From version 6 the first name is the directory of the compiler, which
//! relative names are joined to. Source: `docs/CoverageMappingFormat.rst` and
//! `ProfileData/Coverage/CoverageMappingReader.cpp`, LLVM 22.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::names;
use super::object::Object;
use super::regions::is_dummy;
use super::symbols::Symbols;
use super::tables::{Table, Tables};
use crate::Identity;
use crate::bytes::{Endian, Reader};
use crate::error::ParseError;
use crate::limits::Limits;

/// No function has a longer record; a whole one is in memory at once.
const MAX_RECORD: u64 = 4 << 20;

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
    /// Hashes of the names.
    hashes: Vec<u64>,
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
        Mapping::read_by(object, paths, limits, names::hash)
    }

    /// With the hash that tables of file names have.
    fn read_by(
        object: &'a Object<'_>,
        paths: Paths<'_>,
        limits: &Limits,
        hash: fn(&[u8]) -> u64,
    ) -> Result<Mapping<'a>, ParseError> {
        let symbols = Symbols::read(&object.names, limits).map_err(|e| within(e, "names"))?;
        let mut tables = Tables::new(&object.covmap, object.endian, paths, limits);
        tables.hash = hash;
        tables.read().map_err(|e| within(e, "__llvm_covmap"))?;
        let mut mapping = Mapping {
            identity: object.identity.clone(),
            symbols: Arc::new(symbols),
            hashes: tables.files.iter().map(hash_of).collect(),
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

    /// A hash of the names of some files of a table.
    pub(crate) fn hash_files(&self, table: &[u32], files: &[u32]) -> u64 {
        let mut hasher = DefaultHasher::new();
        for file in files {
            let id = table.get(*file as usize).copied().unwrap_or_default();
            self.hashes.get(id as usize).hash(&mut hasher);
        }
        hasher.finish()
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
            reader.within(u64::from(len), MAX_RECORD, "a function's record")?;
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

fn hash_of(name: &String) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// Names the section an error is in.
fn within(error: ParseError, section: &str) -> ParseError {
    ParseError {
        what: format!("{section}: {}", error.what),
        ..error
    }
}

pub(super) fn only_zeros(bytes: &[u8], from: usize) -> bool {
    bytes
        .get(from..)
        .is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
}

/// Skips to a multiple of 8 bytes; the last one may lack its padding.
pub(super) fn align(reader: &mut Reader<'_>) -> Result<(), ParseError> {
    let missing = reader.at().next_multiple_of(8) - reader.at();
    reader.take(missing.min(reader.left()) as u64, "padding")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    /// Tables of one name each, and functions that refer to them.
    fn object(tables: &[&[u8]], references: &[u64]) -> Object<'static> {
        let mut covmap = Vec::new();
        for names in tables {
            let table = [&[1, names.len() as u8, 0][..], names].concat();
            for number in [0, table.len() as u32, 0, 3] {
                covmap.extend(number.to_le_bytes());
            }
            covmap.extend(table);
            covmap.resize(covmap.len().next_multiple_of(8), 0);
        }
        let mut covfun = Vec::new();
        for (name, reference) in [b"f", b"g"].into_iter().zip(references) {
            let record = [1, 0, 0, 1, 1, 1, 1, 2, 9];
            covfun.extend(names::hash(name).to_le_bytes());
            covfun.extend((record.len() as u32).to_le_bytes());
            covfun.extend(1u64.to_le_bytes());
            covfun.extend(reference.to_le_bytes());
            covfun.extend(record);
            covfun.resize(covfun.len().next_multiple_of(8), 0);
        }
        Object {
            member: None,
            arch: String::new(),
            endian: Endian::Little,
            identity: None,
            covmap: covmap.into(),
            covfun: covfun.into(),
            names: (&b"\x03\0f\x01g"[..]).into(),
        }
    }

    #[test]
    fn functions_of_tables_that_collide_are_left_out() {
        // MD5 does not collide at will; a worse hash does.
        let length = |bytes: &[u8]| bytes.len() as u64;
        let tables: [&[u8]; 4] = [b"\x01a", b"\x01b", b"\x01a", b"\x02cc"];
        let object = object(&tables, &[5, 6]);
        let limits = Limits::default();
        let mapping = Mapping::read_by(&object, Paths::default(), &limits, length).unwrap();
        assert_eq!(
            mapping.collisions(),
            [Collision {
                reference: 5,
                functions: 1
            }]
        );
        let left: Vec<u64> = mapping.records().iter().map(|record| record.name).collect();
        assert_eq!(left, [names::hash(b"g")]);
    }

    #[test]
    fn a_table_that_is_not_there_is_told() {
        let object = object(&[b"\x01a"], &[5]);
        let error = Mapping::read(&object, Paths::default(), &Limits::default()).unwrap_err();
        assert_eq!(
            error.what,
            "__llvm_covfun: no table of file names has the hash 0000000000000005 that a function \
             refers to"
        );
    }

    #[test]
    fn other_versions_are_named() {
        let mut object = object(&[b"\x01a"], &[]);
        for (stored, version) in [(2, "3"), (7, "8"), (u32::MAX, "4294967296")] {
            object.covmap.to_mut()[12..16].copy_from_slice(&stored.to_le_bytes());
            let error = Mapping::read(&object, Paths::default(), &Limits::default()).unwrap_err();
            assert_eq!(error.kind, Kind::Unsupported);
            assert!(
                error.what.contains(&format!("version {version} is not")),
                "{error}"
            );
        }
    }
}
