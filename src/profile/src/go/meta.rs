//! Go's `covmeta` files, version 1: what could run in a program.
//!
//! Source: `internal/coverage/defs.go`, `encodemeta/encodefile.go` and
//! `encodemeta/encode.go` of Go 1.26. All numbers are little endian. Every
//! claim is checked, because `go tool covdata` panics or hangs on files that
//! do not hold what they claim; nothing is reserved that the bytes there could
//! not fill, and a file that is read takes at most about six times its size.
//!
//! | offset | size | field | checked |
//! |---|---|---|---|
//! | 0 | 4 | magic `00 'c' 'v' 'm'` | equal |
//! | 4 | 4 | version | 1 |
//! | 8 | 8 | length of the file | equal |
//! | 16 | 8 | number of packages `p` | tables fit |
//! | 24 | 16 | hash over the packages, mode and granularity | not computed: the runtime's, `cfile/emit.go`, names the build |
//! | 40, 44 | 4, 4 | offset and length of the string table | behind the tables |
//! | 48 | 1 | mode: 1 set, 2 count, 3 atomic, 4 regonly, 5 testmain | 1 to 3 |
//! | 49 | 1 | granularity: 1 a counter a block, 2 a counter a function | 1, 2 |
//! | 50 | 6 | padding | |
//! | 56 | 8 p | offset of each package | ascending |
//! | 56 + 8 p | 8 p | length of each package | within the file |
//! | | | string table: ULEB count, then ULEB length and bytes each | |
//! | | | packages | |
//!
//! A package:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | length |
//! | 4, 8, 12 | 4 each | name, import path, module: indices of strings |
//! | 16 | 16 | hash of its functions |
//! | 32 | 4 | padding |
//! | 36 | 4 | number of strings |
//! | 40 | 4 | number of functions `f` |
//! | 44 | 4 f | offset of each function, ascending |
//! | | | string table |
//! | | | functions: ULEB units, name, file; five ULEB a unit: first line, first column, last line, last column, statements; ULEB 1 for a literal |
//!
//! ```
//! use podcov_profile::go::meta::read_meta;
//! # let bytes = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/go/",
//! #     "covmeta.365db558e60f45db96600bc1c17ccd6e"));
//! let meta = read_meta(bytes)?;
//! for package in meta.packages() {
//!     for function in package.functions() {
//!         println!("{} {}: {} blocks", package.path(), function.name(), function.units().len());
//!     }
//! }
//! # assert_eq!(meta.packages().len(), 1);
//! # Ok::<(), podcov_profile::ParseError>(())
//! ```

use std::fmt;
use std::ops::Range;

use crate::bytes::{Endian, Reader, hex};
use crate::error::{Kind, ParseError};
use crate::go::VERSION;

pub use crate::go::mode::{Granularity, Mode};

pub(crate) const MAGIC: [u8; 4] = [0, b'c', b'v', b'm'];
const HEADER: u64 = 56;
const PACKAGE_HEADER: u64 = 44;
/// The least bytes a unit takes: one for each of its numbers.
const UNIT: usize = 5;

/// A stretch of code that runs as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit {
    /// Line it starts on.
    pub start_line: u32,
    /// Column it starts at.
    pub start_column: u32,
    /// Line it ends on.
    pub end_line: u32,
    /// Column it ends before.
    pub end_column: u32,
    /// Number of statements in it.
    pub statements: u32,
}

/// A stretch of [`Meta::text`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Text {
    at: u32,
    len: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PackageRow {
    name: Text,
    path: Text,
    module: Text,
    hash: [u8; 16],
    first: u32,
    functions: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FunctionRow {
    name: Text,
    file: Text,
    first: u32,
    units: u32,
    is_literal: bool,
}

/// What could run in a program. Units of all functions are one list, in the
/// order of packages and functions; counters are kept in the same places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Hash of the meta-data, hex. It names the build.
    pub hash: String,
    /// How the counters count.
    pub mode: Mode,
    /// What has a counter.
    pub granularity: Granularity,
    text: String,
    packages: Vec<PackageRow>,
    functions: Vec<FunctionRow>,
    units: Vec<Unit>,
}

/// One instrumented package.
#[derive(Clone, Copy)]
pub struct Package<'m> {
    meta: &'m Meta,
    row: &'m PackageRow,
}

/// One function.
#[derive(Clone, Copy)]
pub struct Function<'m> {
    meta: &'m Meta,
    row: &'m FunctionRow,
}

/// Counters that are not those of a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// They name another build.
    #[error("it belongs to covmeta.{found}, not to covmeta.{expected}")]
    Build {
        /// Hash of the meta-data.
        expected: String,
        /// Hash that the counters name.
        found: String,
    },
    /// Two meta-data files of one hash say different things.
    #[error("two files are called covmeta.{hash} and do not say the same")]
    Meta {
        /// Their hash.
        hash: String,
    },
    /// No package has the index.
    #[error("counters of package {package}, but there are {packages} packages")]
    Package {
        /// The index, from 0.
        package: u32,
        /// How many there are.
        packages: u32,
    },
    /// No function of the package has the index.
    #[error("counters of function {function} of {package}, which has {functions} functions")]
    Function {
        /// Import path of the package.
        package: String,
        /// The index, from 0.
        function: u32,
        /// How many there are.
        functions: u32,
    },
    /// The function has another number of units.
    #[error("function {function} of {package} has {expected} counters, {found} are there")]
    Counters {
        /// Import path of the package.
        package: String,
        /// Name of the function.
        function: String,
        /// Units of the function.
        expected: u32,
        /// Counters that are there.
        found: u64,
    },
}

/// Whether bytes begin like meta-data.
pub fn is_meta(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Reads a `covmeta` file.
///
/// # Errors
/// Where and why `bytes` are not one: [`Kind::Unsupported`] for another version
/// and for the modes `regonly` and `testmain`, which have no counters.
pub fn read_meta(bytes: &[u8]) -> Result<Meta, ParseError> {
    let mut reader = start(bytes, "covmeta", MAGIC)?;
    let length = reader.u64("the length")?;
    if length != bytes.len() as u64 {
        return Err(reader.error(format!("the file says it has {length} bytes")));
    }
    let entries = reader.u64("the number of packages")?;
    let hash = hex(reader.take(16, "the hash")?);
    let strings_at = reader.u32("the offset of the strings")?;
    let strings_len = reader.u32("the length of the strings")?;
    let mode = read_mode(&mut reader)?;
    let granularity = match reader.u8("the granularity")? {
        1 => Granularity::Block,
        2 => Granularity::Function,
        other => return Err(reader.error(format!("granularity {other} is not known"))),
    };
    reader.take(6, "padding")?;
    let tables = reader.take(entries.saturating_mul(16), "the tables of packages")?;
    if HEADER + tables.len() as u64 != u64::from(strings_at) {
        return Err(reader.error(format!("strings are said to be at byte {strings_at}")));
    }
    let strings = reader.take(u64::from(strings_len), "the strings")?;
    skip_strings(&mut Reader::new(strings, Endian::Little)).map_err(|error| ParseError {
        offset: error.offset.saturating_add(u64::from(strings_at)),
        len: bytes.len() as u64,
        ..error
    })?;
    let (offsets, lengths) = tables.split_at(tables.len() / 2);
    let mut offsets = Reader::new(offsets, Endian::Little);
    let mut lengths = Reader::new(lengths, Endian::Little);
    let mut meta = Meta {
        hash,
        mode,
        granularity,
        text: String::new(),
        packages: Vec::with_capacity(offsets.left() / 8),
        functions: Vec::new(),
        units: Vec::new(),
    };
    while offsets.left() > 0 {
        let offset = offsets.u64("the offset of a package")?;
        let length = lengths.u64("the length of a package")?;
        let number = meta.packages.len();
        // Packages follow each other, so that no claim is counted twice.
        if offset < reader.at() as u64 {
            return Err(reader.error(format!("package {number} is said to be at byte {offset}")));
        }
        reader.seek(offset, "a package")?;
        let blob = reader.take(length, "a package")?;
        meta.read_package(blob).map_err(|error| ParseError {
            what: format!("package {number}: {}", error.what),
            offset: error.offset.saturating_add(offset),
            len: bytes.len() as u64,
            ..error
        })?;
    }
    Ok(meta)
}

/// The version is behind the magic in both kinds of files.
pub(crate) fn start<'a>(
    bytes: &'a [u8],
    file: &'static str,
    magic: [u8; 4],
) -> Result<Reader<'a>, ParseError> {
    if bytes.is_empty() {
        return Err(ParseError::empty(
            "the file is empty: the process was stopped before it wrote",
        ));
    }
    let mut reader = Reader::new(bytes, Endian::Little);
    if reader.take(4, "the magic")? != magic {
        return Err(reader.error(format!("no magic of a {file} file")));
    }
    match reader.u32("the version")? {
        VERSION => Ok(reader),
        version => Err(reader.error_of(
            Kind::Unsupported,
            format!(
                "{file} version {version} is not known, {VERSION} is: \
                 build with a Go that podcov supports, or use a newer podcov"
            ),
        )),
    }
}

fn read_mode(reader: &mut Reader<'_>) -> Result<Mode, ParseError> {
    let without = |reader: &Reader<'_>, word| {
        let what = format!("mode {word} has no counters, set, count and atomic have");
        reader.error_of(Kind::Unsupported, what)
    };
    match reader.u8("the mode")? {
        1 => Ok(Mode::Set),
        2 => Ok(Mode::Count),
        3 => Ok(Mode::Atomic),
        4 => Err(without(reader, "regonly")),
        5 => Err(without(reader, "testmain")),
        other => Err(reader.error(format!("mode {other} is not set, count or atomic"))),
    }
}

fn skip_strings(reader: &mut Reader<'_>) -> Result<(), ParseError> {
    let count = reader.uleb("the number of strings")?;
    for _ in 0..count {
        let len = reader.uleb("the length of a string")?;
        reader.take(len, "a string")?;
    }
    Ok(())
}

impl Meta {
    /// Appends the strings to the text; gives where each one ends there.
    fn read_strings(&mut self, reader: &mut Reader<'_>) -> Result<Vec<u32>, ParseError> {
        let count = reader.uleb("the number of strings")?;
        // A string takes a byte at least.
        let most = usize::try_from(count).unwrap_or(usize::MAX);
        let mut ends = Vec::with_capacity(most.min(reader.left()));
        for _ in 0..count {
            let len = reader.uleb("the length of a string")?;
            let bytes = reader.take(len, "a string")?;
            self.text.push_str(&String::from_utf8_lossy(bytes));
            let end = u32::try_from(self.text.len());
            ends.push(
                end.map_err(|_| reader.error_of(Kind::TooLarge, "strings of more than 4 GiB"))?,
            );
        }
        Ok(ends)
    }

    fn read_package(&mut self, bytes: &[u8]) -> Result<(), ParseError> {
        let mut reader = Reader::new(bytes, Endian::Little);
        let length = reader.u32("the length")?;
        if u64::from(length) > bytes.len() as u64 {
            return Err(reader.error(format!("it says it has {length} bytes")));
        }
        let name = reader.u32("the name")?;
        let path = reader.u32("the import path")?;
        let module = reader.u32("the module")?;
        let mut hash = [0; 16];
        hash.copy_from_slice(reader.take(16, "the hash")?);
        reader.take(4, "padding")?;
        reader.u32("the number of files")?;
        let functions = reader.u32("the number of functions")?;
        let offsets = reader.take(u64::from(functions) * 4, "the offsets of functions")?;
        let begin = self.text.len() as u32;
        let ends = self.read_strings(&mut reader)?;
        let string = |index: u32, reader: &Reader<'_>| {
            let index = index as usize;
            let Some(end) = ends.get(index) else {
                let what = format!("string {index} of {} is asked for", ends.len());
                return Err(reader.error(what));
            };
            let at = index.checked_sub(1).and_then(|before| ends.get(before));
            let at = *at.unwrap_or(&begin);
            Ok(Text { at, len: end - at })
        };
        let row = PackageRow {
            name: string(name, &reader)?,
            path: string(path, &reader)?,
            module: string(module, &reader)?,
            hash,
            first: self.functions.len() as u32,
            functions,
        };
        if row.path.len == 0 {
            // Go's tool panics over a package without a name.
            return Err(reader.error("it has no import path"));
        }
        self.units.reserve(count_units(bytes, offsets));
        self.functions.reserve(offsets.len() / 4);
        let mut end = PACKAGE_HEADER + offsets.len() as u64;
        for offset in offsets.chunks_exact(4) {
            let offset = u64::from(u32_le(offset));
            // Functions follow each other, so that no claim is counted twice.
            if offset < end || offset < reader.at() as u64 {
                return Err(reader.error(format!("a function is said to be at byte {offset}")));
            }
            let mut body = Reader::new(bytes, Endian::Little);
            body.seek(offset, "a function")?;
            let function = self.read_function(&mut body, string)?;
            self.functions.push(function);
            end = body.at() as u64;
        }
        self.packages.push(row);
        Ok(())
    }

    fn read_function(
        &mut self,
        body: &mut Reader<'_>,
        string: impl Fn(u32, &Reader<'_>) -> Result<Text, ParseError>,
    ) -> Result<FunctionRow, ParseError> {
        let units = body.uleb32("the number of units")?;
        let name = body.uleb32("the function's name")?;
        let name = string(name, body)?;
        let file = body.uleb32("the function's file")?;
        let file = string(file, body)?;
        if self.granularity == Granularity::Function && units > 1 {
            let what = format!("a function with {units} units, of which each has one");
            return Err(body.error(what));
        }
        let first = u32::try_from(self.units.len())
            .map_err(|_| body.error_of(Kind::TooLarge, "more than 2^32 units"))?;
        for _ in 0..units {
            self.units.push(Unit {
                start_line: body.uleb32("a line")?,
                start_column: body.uleb32("a column")?,
                end_line: body.uleb32("a line")?,
                end_column: body.uleb32("a column")?,
                statements: body.uleb32("a number of statements")?,
            });
        }
        let is_literal = body.uleb("whether it is a literal")? != 0;
        Ok(FunctionRow {
            name,
            file,
            first,
            units,
            is_literal,
        })
    }

    /// The instrumented packages, in the order counters refer to them.
    pub fn packages(&self) -> impl ExactSizeIterator<Item = Package<'_>> + Clone {
        self.packages.iter().map(|row| Package { meta: self, row })
    }

    /// All functions, package by package.
    pub fn functions(&self) -> impl ExactSizeIterator<Item = Function<'_>> + Clone {
        self.functions
            .iter()
            .map(|row| Function { meta: self, row })
    }

    /// All units, function by function.
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// A function by the indices that counters have for it.
    pub fn function(&self, package: u32, function: u32) -> Option<Function<'_>> {
        let package = self.packages.get(package as usize)?;
        self.row(package, function)
            .map(|row| Function { meta: self, row })
    }

    /// A function by its place in [`Meta::functions`].
    pub fn function_at(&self, index: usize) -> Option<Function<'_>> {
        let row = self.functions.get(index)?;
        Some(Function { meta: self, row })
    }

    /// The place of a function in [`Meta::functions`].
    pub(crate) fn index(&self, package: u32, function: u32) -> Option<usize> {
        let package = self.packages.get(package as usize)?;
        (function < package.functions).then(|| package.first as usize + function as usize)
    }

    fn row(&self, package: &PackageRow, function: u32) -> Option<&FunctionRow> {
        if function >= package.functions {
            return None;
        }
        self.functions
            .get(package.first as usize + function as usize)
    }

    /// Where the counters of a function are among all of the program, if it has
    /// as many as are there.
    pub fn place(
        &self,
        package: u32,
        function: u32,
        counters: u64,
    ) -> Result<Range<usize>, Misfit> {
        let Some(of) = self.packages.get(package as usize) else {
            return Err(Misfit::Package {
                package,
                packages: self.packages.len() as u32,
            });
        };
        let Some(row) = self.row(of, function) else {
            return Err(Misfit::Function {
                package: self.text(of.path).to_owned(),
                function,
                functions: of.functions,
            });
        };
        if u64::from(row.units) != counters {
            return Err(Misfit::Counters {
                package: self.text(of.path).to_owned(),
                function: self.text(row.name).to_owned(),
                expected: row.units,
                found: counters,
            });
        }
        Ok(row.place())
    }

    fn text(&self, text: Text) -> &str {
        let (at, len) = (text.at as usize, text.len as usize);
        self.text.get(at..at + len).unwrap_or_default()
    }
}

/// How many units the functions of a package have, as far as its bytes could
/// hold them.
fn count_units(bytes: &[u8], offsets: &[u8]) -> usize {
    let claimed = offsets.chunks_exact(4).map(|offset| {
        let mut reader = Reader::new(bytes, Endian::Little);
        reader
            .seek(u64::from(u32_le(offset)), "a function")
            .and_then(|()| reader.uleb32("the number of units"))
            .map_or(0, u64::from)
    });
    let claimed = claimed.fold(0u64, u64::saturating_add);
    usize::try_from(claimed)
        .unwrap_or(usize::MAX)
        .min(bytes.len() / UNIT)
}

fn u32_le(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_le_bytes)
}

impl FunctionRow {
    fn place(&self) -> Range<usize> {
        let first = self.first as usize;
        first..first + self.units as usize
    }
}

impl<'m> Package<'m> {
    /// Its name in `package …`.
    pub fn name(&self) -> &'m str {
        self.meta.text(self.row.name)
    }

    /// Its import path.
    pub fn path(&self) -> &'m str {
        self.meta.text(self.row.path)
    }

    /// Path of its module; empty for one of the standard library.
    pub fn module(&self) -> &'m str {
        self.meta.text(self.row.module)
    }

    /// Hash of its functions, hex: equal in two programs for a package that
    /// was compiled from the same source.
    pub fn hash(&self) -> String {
        hex(&self.row.hash)
    }

    /// Its functions, in the order counters refer to them.
    pub fn functions(&self) -> impl ExactSizeIterator<Item = Function<'m>> + Clone + use<'m> {
        let meta = self.meta;
        let (first, count) = (self.row.first as usize, self.row.functions as usize);
        let rows = meta.functions.get(first..first + count).unwrap_or_default();
        rows.iter().map(move |row| Function { meta, row })
    }
}

impl<'m> Function<'m> {
    /// Its name; methods as `Type.Name` or `*Type.Name`, literals at package
    /// level as `func.L12.C3`.
    pub fn name(&self) -> &'m str {
        self.meta.text(self.row.name)
    }

    /// Import path of the package and file name, or an absolute path.
    pub fn file(&self) -> &'m str {
        self.meta.text(self.row.file)
    }

    /// A function literal outside of functions. Those inside belong to the
    /// function around them.
    pub fn is_literal(&self) -> bool {
        self.row.is_literal
    }

    /// Its units of code; one counter each.
    pub fn units(&self) -> &'m [Unit] {
        self.meta.units.get(self.row.place()).unwrap_or_default()
    }

    /// Where its counters are among all of the program.
    pub fn place(&self) -> Range<usize> {
        self.row.place()
    }
}

impl fmt::Debug for Package<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Package").field(&self.path()).finish()
    }
}

impl fmt::Debug for Function<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Function").field(&self.name()).finish()
    }
}
