//! The tables of file names that a mapping has, one for each unit that was
//! compiled. See [`mapping`](super::mapping).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::inflate::inflate;
use super::mapping::{Paths, align, only_zeros};
use super::names;
use super::paths::Directory;
use crate::bytes::{Endian, Reader};
use crate::error::{Kind, ParseError};
use crate::limits::Limits;

/// The versions as they are stored.
const VERSIONS: std::ops::RangeInclusive<u32> = 3..=6;
/// Since when the first name is a directory, as stored.
const WITH_DIRECTORY: u32 = 5;
/// Linux has no longer paths.
const MAX_PATH: usize = 1 << 12;
/// Distinct files, beside one for every 32 bytes of mapping.
const FILES: u64 = 1 << 16;

/// A table of file names, as functions find it.
#[derive(Clone, Copy)]
pub(super) struct Table {
    pub(super) start: u32,
    pub(super) len: u32,
    /// Another table has its hash.
    pub(super) collides: bool,
}

/// The tables of file names while they are read.
pub(super) struct Tables<'s, 'o> {
    bytes: &'s [u8],
    endian: Endian,
    paths: Paths<'o>,
    limits: &'s Limits,
    /// What tables are told by.
    pub(super) hash: fn(&[u8]) -> u64,
    pub(super) files: Vec<String>,
    /// The tables, one behind the other.
    pub(super) ids: Vec<u32>,
    pub(super) by_hash: HashMap<u64, Table>,
    known: HashMap<String, u32>,
    /// How many distinct files there may be.
    most: u64,
    /// Bytes that tables may still inflate to.
    inflation_left: u64,
    /// Bytes that names may still be joined to, double ones included.
    joining_left: u64,
    /// Bytes that distinct names may still take.
    names_left: u64,
}

impl<'s, 'o> Tables<'s, 'o> {
    pub(super) fn new(
        bytes: &'s [u8],
        endian: Endian,
        paths: Paths<'o>,
        limits: &'s Limits,
    ) -> Self {
        let size = bytes.len() as u64;
        Tables {
            bytes,
            endian,
            paths,
            limits,
            hash: names::hash,
            files: Vec::new(),
            ids: Vec::new(),
            by_hash: HashMap::new(),
            known: HashMap::new(),
            most: FILES + size / 32,
            inflation_left: limits.filenames.saturating_add(size.saturating_mul(64)),
            joining_left: (64 << 20) + size.saturating_mul(512),
            names_left: limits.filenames.saturating_add(size),
        }
    }

    pub(super) fn read(&mut self) -> Result<(), ParseError> {
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
        match self.by_hash.entry((self.hash)(bytes)) {
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
        let mut directory = Directory::new("");
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
                directory = Directory::new(self.paths.compilation_dir.unwrap_or(&name));
                // As LLVM has it, the directory keeps its own name as a file.
                name.into_owned()
            } else {
                directory.join(&name)
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
                    let number = self.files.len() as u64 + 1;
                    reader.within(number, self.most, "the number of files")?;
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
