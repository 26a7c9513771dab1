//! Go's binary coverage files, format version 1, and their names.
//!
//! A program built with `-cover` writes `covmeta.<hash>` when it starts (what
//! could run: packages, functions, their units of code) and
//! `covcounters.<hash>.<pid>.<nanoseconds>` when it ends (how often). The hash
//! is that of the meta-data and so names the build. Both are read to their
//! last byte here, because `go tool covdata` panics or hangs on files that do
//! not hold what they claim.
//!
//! `covmeta`, little endian: magic, version u32, length of the file u64,
//! packages u64, hash 16, offset and length of the string table u32 each, mode
//! u8, granularity u8, padding 6; offset u64 of each package, length u64 of
//! each; string table; packages.
//!
//! `covcounters`: magic, version u32, hash 16, flavour u8, big-endian u8,
//! padding 6; segments; footer of 16 bytes: magic, padding 4, segments u32,
//! padding 4.

use std::sync::Arc;

use crate::Identity;
use crate::bytes::{Endian, Reader, hex};
use crate::error::{Kind, ParseError};

const META_MAGIC: [u8; 4] = [0, b'c', b'v', b'm'];
const COUNTER_MAGIC: [u8; 4] = [0, b'c', b'w', b'm'];
const VERSION: u32 = 1;
const META_HEADER: u64 = 56;
const PACKAGE_HEADER: u64 = 44;
const COUNTER_HEADER: u64 = 32;
const FOOTER: usize = 16;

/// How counters count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Whether it ran.
    Set,
    /// How often; wrong under threads.
    Count,
    /// How often.
    Atomic,
}

impl Mode {
    /// The word a text profile has for it.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Set => "set",
            Mode::Count => "count",
            Mode::Atomic => "atomic",
        }
    }

    /// The mode a text profile calls `word`.
    pub fn from_word(word: &str) -> Option<Mode> {
        [Mode::Set, Mode::Count, Mode::Atomic]
            .into_iter()
            .find(|mode| mode.word() == word)
    }
}

/// What could run in a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Hash of the meta-data, hex.
    pub hash: String,
    /// How the counters count.
    pub mode: Mode,
    /// One counter a function, not one a block.
    pub per_function: bool,
    /// The instrumented packages, in the order counters refer to them.
    pub packages: Vec<Package>,
}

/// One instrumented package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name in `package …`.
    pub name: Arc<str>,
    /// Its import path.
    pub path: Arc<str>,
    /// Path of its module.
    pub module: Arc<str>,
    /// Its functions, in the order counters refer to them.
    pub functions: Vec<Function>,
}

/// One function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name; methods as `Type.Name`.
    pub name: Arc<str>,
    /// Import path of the package and file name, or an absolute path.
    pub file: Arc<str>,
    /// A function literal.
    pub is_literal: bool,
    /// Its units of code; one counter each.
    pub units: Vec<Unit>,
}

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

/// How often the functions of a program ran; those that did not are absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Hash of the meta-data they belong to, hex.
    pub hash: String,
    /// Runs of the program in this file; one, unless files were joined.
    pub segments: u32,
    /// Counters by package and function, in the order of the file.
    pub functions: Vec<FunctionCounters>,
}

/// The counters of one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionCounters {
    /// Index into [`Meta::packages`].
    pub package: u32,
    /// Index into [`Package::functions`].
    pub function: u32,
    /// One for each of its units.
    pub counts: Vec<u32>,
}

/// Whether bytes begin like meta-data.
pub fn is_meta(bytes: &[u8]) -> bool {
    bytes.starts_with(&META_MAGIC)
}

/// Whether bytes begin like counters.
pub fn is_counters(bytes: &[u8]) -> bool {
    bytes.starts_with(&COUNTER_MAGIC)
}

fn start<'a>(
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
                "{file} version {version} is not known, 1 is: \
                 build with a Go that podcov supports, or use a newer podcov"
            ),
        )),
    }
}

/// Reads a `covmeta` file.
pub fn read_meta(bytes: &[u8]) -> Result<Meta, ParseError> {
    let mut reader = start(bytes, "covmeta", META_MAGIC)?;
    let length = reader.u64("the length")?;
    if length != bytes.len() as u64 {
        return Err(reader.error(format!("the file says it has {length} bytes")));
    }
    let entries = reader.u64("the number of packages")?;
    let hash = hex(reader.take(16, "the hash")?);
    let strings_at = reader.u32("the offset of the strings")?;
    let strings_len = reader.u32("the length of the strings")?;
    let mode = match reader.u8("the mode")? {
        1 => Mode::Set,
        2 => Mode::Count,
        3 => Mode::Atomic,
        other => {
            return Err(reader.error(format!("mode {other} is none that counts")));
        }
    };
    let per_function = match reader.u8("the granularity")? {
        1 => false,
        2 => true,
        other => {
            return Err(reader.error(format!("granularity {other} is not known")));
        }
    };
    reader.take(6, "padding")?;
    let tables = entries.saturating_mul(16);
    let tables = reader.take(tables, "the tables of packages")?;
    if META_HEADER + tables.len() as u64 != u64::from(strings_at) {
        return Err(reader.error(format!("strings are said to be at byte {strings_at}")));
    }
    let strings = reader.take(u64::from(strings_len), "the strings")?;
    read_strings(&mut Reader::new(strings, Endian::Little))?;
    let (offsets, lengths) = tables.split_at(tables.len() / 2);
    let mut offsets = Reader::new(offsets, Endian::Little);
    let mut lengths = Reader::new(lengths, Endian::Little);
    let mut packages = Vec::new();
    while offsets.left() > 0 {
        let offset = offsets.u64("the offset of a package")?;
        let length = lengths.u64("the length of a package")?;
        // Packages follow each other, so that no claim is counted twice.
        if offset < reader.at() as u64 {
            let what = format!("package {} is said to be at byte {offset}", packages.len());
            return Err(reader.error(what));
        }
        reader.seek(offset, "a package")?;
        let bytes = reader.take(length, "a package")?;
        let package = read_package(bytes).map_err(|error| ParseError {
            kind: error.kind,
            what: format!("package {}: {}", packages.len(), error.what),
            offset: error.offset + offset,
            len: reader.error("").len,
        })?;
        packages.push(package);
    }
    Ok(Meta {
        hash,
        mode,
        per_function,
        packages,
    })
}

fn read_strings<'a>(reader: &mut Reader<'a>) -> Result<Vec<&'a [u8]>, ParseError> {
    let count = reader.uleb("the number of strings")?;
    let mut strings = Vec::new();
    for _ in 0..count {
        let len = reader.uleb("the length of a string")?;
        strings.push(reader.take(len, "a string")?);
    }
    Ok(strings)
}

fn read_package(bytes: &[u8]) -> Result<Package, ParseError> {
    let mut reader = Reader::new(bytes, Endian::Little);
    let length = reader.u32("the length")?;
    if u64::from(length) > bytes.len() as u64 {
        return Err(reader.error(format!("it says it has {length} bytes")));
    }
    let [name, path, module] = [
        reader.u32("the name")?,
        reader.u32("the import path")?,
        reader.u32("the module")?,
    ];
    reader.take(16 + 4, "the hash")?;
    reader.u32("the number of files")?;
    let functions = reader.u32("the number of functions")?;
    let offsets = reader.take(u64::from(functions) * 4, "the offsets of functions")?;
    let strings = read_strings(&mut reader)?;
    // Shared, or many functions with one long name would cost its square.
    let strings: Vec<Arc<str>> = strings
        .into_iter()
        .map(|text| String::from_utf8_lossy(text).into())
        .collect();
    let string = |index: u32| {
        strings.get(index as usize).cloned().ok_or_else(|| {
            reader.error(format!("string {index} of {} is asked for", strings.len()))
        })
    };
    let mut package = Package {
        name: string(name)?,
        path: string(path)?,
        module: string(module)?,
        functions: Vec::new(),
    };
    if package.path.is_empty() {
        // Go's tool panics over a package without a name.
        return Err(reader.error("it has no import path"));
    }
    let first = PACKAGE_HEADER + offsets.len() as u64;
    let mut end = first;
    let mut offsets = Reader::new(offsets, Endian::Little);
    while offsets.left() > 0 {
        let offset = u64::from(offsets.u32("the offset of a function")?);
        let mut body = Reader::new(bytes, Endian::Little);
        // Functions follow each other, so that no claim is counted twice.
        if offset < end || offset < reader.at() as u64 {
            return Err(reader.error(format!("a function is said to be at byte {offset}")));
        }
        body.seek(offset, "a function")?;
        let units = body.uleb32("the number of units")?;
        let name = string(body.uleb32("the function's name")?)?;
        let file = string(body.uleb32("the function's file")?)?;
        let mut function = Function {
            name,
            file,
            is_literal: false,
            units: Vec::new(),
        };
        for _ in 0..units {
            function.units.push(Unit {
                start_line: body.uleb32("a line")?,
                start_column: body.uleb32("a column")?,
                end_line: body.uleb32("a line")?,
                end_column: body.uleb32("a column")?,
                statements: body.uleb32("a number of statements")?,
            });
        }
        function.is_literal = body.uleb("whether it is a literal")? != 0;
        end = body.at() as u64;
        package.functions.push(function);
    }
    Ok(package)
}

/// Reads a `covcounters` file.
pub fn read_counters(bytes: &[u8]) -> Result<Counters, ParseError> {
    let mut reader = start(bytes, "covcounters", COUNTER_MAGIC)?;
    let hash = hex(reader.take(16, "the hash")?);
    let is_uleb = match reader.u8("the flavour")? {
        1 => false,
        2 => true,
        other => return Err(reader.error(format!("flavour {other} is not known"))),
    };
    let endian = match reader.u8("the byte order")? {
        0 => Endian::Little,
        _ => Endian::Big,
    };
    reader.take(6, "padding")?;
    debug_assert_eq!(reader.at() as u64, COUNTER_HEADER);
    let footer = bytes
        .len()
        .checked_sub(FOOTER)
        .and_then(|at| bytes.get(at..));
    let mut footer = Reader::new(footer.unwrap_or_default(), Endian::Little);
    if footer.take(4, "the footer")? != COUNTER_MAGIC {
        return Err(reader.error("no footer at the end"));
    }
    footer.take(4, "padding")?;
    let segments = footer.u32("the number of segments")?;
    if segments == 0 {
        return Err(reader.error("no segment"));
    }
    let mut functions = Vec::new();
    for segment in 0..segments {
        if segment > 0 {
            // Each write to a file leaves its footer behind its segment.
            reader.take(FOOTER as u64, "the footer between segments")?;
        }
        let count = reader.u64("the number of functions")?;
        let strings_len = reader.u32("the length of the strings")?;
        let args_len = reader.u32("the length of the arguments")?;
        let strings = reader.take(u64::from(strings_len), "the strings")?;
        let strings = read_strings(&mut Reader::new(strings, Endian::Little))?;
        let args = reader.take(u64::from(args_len), "the arguments")?;
        check_arguments(&mut Reader::new(args, Endian::Little), &strings)?;
        let over = reader.at() % 4;
        if over != 0 {
            reader.take(4 - over as u64, "padding")?;
        }
        let mut body = reader.clone();
        let end = (bytes.len() - FOOTER) as u64;
        let number = |body: &mut Reader<'_>, what| {
            if is_uleb {
                body.uleb32(what)
            } else {
                let raw: [u8; 4] = body.take(4, what)?.try_into().unwrap_or_default();
                Ok(match endian {
                    Endian::Little => u32::from_le_bytes(raw),
                    Endian::Big => u32::from_be_bytes(raw),
                })
            }
        };
        for _ in 0..count {
            let len = number(&mut body, "the number of counters")?;
            let package = number(&mut body, "a package")?;
            let function = number(&mut body, "a function")?;
            let mut counts = Vec::new();
            for _ in 0..len {
                counts.push(number(&mut body, "a counter")?);
                if body.at() as u64 > end {
                    return Err(body.error("a counter in the footer"));
                }
            }
            functions.push(FunctionCounters {
                package,
                function,
                counts,
            });
        }
        reader.seek(body.at() as u64, "the next segment")?;
    }
    if reader.at() > bytes.len() - FOOTER {
        return Err(reader.error("functions reach into the footer"));
    }
    Ok(Counters {
        hash,
        segments,
        functions,
    })
}

/// Go believes the number of arguments and all references to strings.
fn check_arguments(args: &mut Reader<'_>, strings: &[&[u8]]) -> Result<(), ParseError> {
    let pairs = args.uleb("the number of arguments")?;
    for _ in 0..pairs {
        let key = args.uleb("the name of an argument")?;
        let value = args.uleb("an argument")?;
        let text = |index: u64| {
            usize::try_from(index)
                .ok()
                .and_then(|index| strings.get(index))
                .copied()
        };
        let (Some(key), Some(value)) = (text(key), text(value)) else {
            return Err(args.error("an argument that is not among the strings"));
        };
        let number = std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse::<u64>().ok());
        if key == b"argc" && number.is_none_or(|count| count > pairs) {
            return Err(args.error("a number of arguments that is not true"));
        }
    }
    Ok(())
}

impl Meta {
    /// Checks that counters fit this meta-data.
    pub fn check(&self, counters: &Counters) -> Result<(), String> {
        if counters.hash != self.hash {
            return Err(format!("it belongs to covmeta.{}", counters.hash));
        }
        for entry in &counters.functions {
            let (package, function) = (entry.package as usize, entry.function as usize);
            let units = self
                .packages
                .get(package)
                .and_then(|package| package.functions.get(function))
                .map(|function| function.units.len())
                .ok_or_else(|| format!("no function {function} in package {package}"))?;
            let expected = if self.per_function {
                units.min(1)
            } else {
                units
            };
            if entry.counts.len() != expected {
                return Err(format!(
                    "function {function} of package {package} has {expected} counters, {} are there",
                    entry.counts.len()
                ));
            }
        }
        Ok(())
    }
}

/// What a file's name says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// `covmeta.<hash>`.
    Meta {
        /// Hash of the meta-data, hex.
        hash: String,
    },
    /// `covcounters.<hash>.<pid>.<nanoseconds>`.
    Counters {
        /// Hash of the meta-data, hex.
        hash: String,
        /// Process id in its container.
        pid: u64,
        /// When it was written, since 1970.
        nanos: u64,
    },
    /// `tmp.cov…`: a process was stopped while it wrote this file.
    Leftover,
}

impl Name {
    /// Reads a file name, without its directory.
    pub fn parse(name: &str) -> Option<Name> {
        let is_hash = |hash: &str| {
            hash.len() == 32
                && hash
                    .bytes()
                    .all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
        };
        let number = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| text.parse().ok())
                .flatten()
        };
        if name.starts_with("tmp.covmeta.") || name.starts_with("tmp.covcounters.") {
            return Some(Name::Leftover);
        }
        let parts: Vec<&str> = name.split('.').collect();
        match *parts.as_slice() {
            ["covmeta", hash] if is_hash(hash) => Some(Name::Meta {
                hash: hash.to_owned(),
            }),
            ["covcounters", hash, pid, nanos] if is_hash(hash) => Some(Name::Counters {
                hash: hash.to_owned(),
                pid: number(pid)?,
                nanos: number(nanos)?,
            }),
            _ => None,
        }
    }

    /// The build it names.
    pub fn identity(&self) -> Option<Identity> {
        match self {
            Name::Meta { hash } | Name::Counters { hash, .. } => {
                Some(Identity::Covmeta(hash.clone()))
            }
            Name::Leftover => None,
        }
    }
}
