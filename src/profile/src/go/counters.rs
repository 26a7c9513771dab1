//! Go's `covcounters` files, version 1: how often what ran.
//!
//! Source: `internal/coverage/defs.go` and `encodecounter/encode.go` of Go
//! 1.26. Header, tables and footer are little endian.
//!
//! | offset | size | field | checked |
//! |---|---|---|---|
//! | 0 | 4 | magic `00 'c' 'w' 'm'` | equal |
//! | 4 | 4 | version | 1 |
//! | 8 | 16 | hash of the meta-data they belong to | by whoever adds them |
//! | 24 | 1 | flavour: 1 raw, numbers of four bytes; 2 ULEB | 1, 2 |
//! | 25 | 1 | 1 if raw numbers are big endian | 0, 1 |
//! | 26 | 6 | padding | |
//! | 32 | | segments, one a run of the program | |
//! | end - 16 | 16 | footer: magic, padding 4, number of segments u32, padding 4 | |
//!
//! A segment; all but the last have a footer of their own behind them:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | functions |
//! | 8 | 4 | length of the string table |
//! | 12 | 4 | length of the arguments |
//! | 16 | | string table: ULEB count, then ULEB length and bytes each |
//! | | | arguments: ULEB count, then two ULEB indices of strings each |
//! | | | padding to a multiple of four from the start of the segment |
//! | | | each function that ran: number of counters, package, function, counters |
//!
//! In the raw flavour zero words may stand where functions did not run; they
//! are skipped (`supportDeadFunctionsInCounterData` in
//! `decodecounter/decodecounterfile.go`). Go's own tools read the first segment
//! only (`visitPod` in `cmd/internal/cov/readcovdata.go`); here all are read.
//!
//! **Arguments are secrets until proven otherwise**: Go writes the whole
//! command line of the process into its counters. It is counted here, and
//! neither kept nor written again; [`Segment::command_line`] has to be asked.
//!
//! ```
//! use podcov_profile::go::counters::{CounterFile, Item};
//! use podcov_profile::ParseError;
//! # let bytes = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/go/",
//! #     "covcounters.365db558e60f45db96600bc1c17ccd6e.2384.1795257547508204385"));
//! let file = CounterFile::parse(bytes)?;
//! let mut reached = 0;
//! file.visit(|item| {
//!     match item {
//!         Item::Segment(run) => assert_eq!(run.origin.os.as_deref(), Some("linux")),
//!         Item::Function(function) => reached += function.counts.iter().filter(|c| **c > 0).count(),
//!     }
//!     Ok::<(), ParseError>(())
//! })?;
//! assert_eq!(file.hash, "365db558e60f45db96600bc1c17ccd6e");
//! # assert!(reached > 3);
//! # Ok::<(), ParseError>(())
//! ```

use crate::bytes::{Endian, Reader, hex};
use crate::error::{Kind, ParseError};
use crate::go::meta::start;

pub(crate) const MAGIC: [u8; 4] = [0, b'c', b'w', b'm'];
const HEADER: usize = 32;
const FOOTER: usize = 16;

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Four bytes each.
    Raw(Endian),
    /// Unsigned LEB128; what Go's runtime writes.
    Uleb,
}

/// Counters of one function, as they stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'c> {
    /// Index of the package in the meta-data.
    pub package: u32,
    /// Index of the function in its package.
    pub function: u32,
    /// One for each of its units.
    pub counts: &'c [u32],
    /// Where they begin, in bytes from the start of the file.
    pub offset: u64,
}

/// Where counters come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// `GOOS` of the process; none after a merge of several.
    pub os: Option<String>,
    /// `GOARCH` of the process; none after a merge of several.
    pub arch: Option<String>,
    /// Number of its arguments, the program included.
    pub arguments: u64,
}

/// One run of the program.
#[derive(Clone, Debug)]
pub struct Segment<'a> {
    /// Functions that ran.
    pub functions: u64,
    /// Where they ran.
    pub origin: Origin,
    strings: &'a [u8],
    pairs: &'a [u8],
}

/// What a visit comes by.
#[derive(Clone, Copy, Debug)]
pub enum Item<'c> {
    /// A run begins.
    Segment(&'c Segment<'c>),
    /// A function of it.
    Function(Entry<'c>),
}

/// A `covcounters` file whose header and footer are sound. The counters are
/// read, and believed, one function at a time.
#[derive(Clone, Debug)]
pub struct CounterFile<'a> {
    /// Hash of the meta-data they belong to, hex.
    pub hash: String,
    /// How numbers are written.
    pub flavour: Flavour,
    /// Runs of the program in this file; one, unless files were joined.
    pub segments: u32,
    bytes: &'a [u8],
}

/// The first of a function's numbers.
pub(crate) struct Head {
    pub(crate) package: u32,
    pub(crate) function: u32,
    pub(crate) counters: u64,
    pub(crate) offset: u64,
}

/// Takes counters in. The numbers of a function go to the end of the buffer
/// that `begin` gives, when it takes the function.
pub(crate) trait Sink {
    type Error: From<ParseError>;
    fn segment(&mut self, segment: &Segment<'_>) -> Result<(), Self::Error>;
    fn begin(&mut self, head: &Head) -> Result<&mut Vec<u32>, Self::Error>;
    fn end(&mut self, head: &Head) -> Result<(), Self::Error>;
}

/// Whether bytes begin like counters.
pub fn is_counters(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

impl<'a> CounterFile<'a> {
    /// Reads header and footer.
    pub fn parse(bytes: &'a [u8]) -> Result<CounterFile<'a>, ParseError> {
        let mut reader = start(bytes, "covcounters", MAGIC)?;
        let hash = hex(reader.take(16, "the hash")?);
        let flavour = reader.u8("the flavour")?;
        let endian = match reader.u8("the byte order")? {
            0 => Endian::Little,
            1 => Endian::Big,
            other => return Err(reader.error(format!("byte order {other} is not known"))),
        };
        let flavour = match flavour {
            1 => Flavour::Raw(endian),
            2 => Flavour::Uleb,
            other => return Err(reader.error(format!("flavour {other} is not known"))),
        };
        reader.take(6, "padding")?;
        if reader.left() < FOOTER {
            return Err(reader.error_of(Kind::Truncated, "expected the footer"));
        }
        reader.seek((bytes.len() - FOOTER) as u64, "the footer")?;
        let segments = read_footer(&mut reader)?;
        if segments == 0 {
            return Err(reader.error("no segment"));
        }
        Ok(CounterFile {
            hash,
            flavour,
            segments,
            bytes,
        })
    }

    /// Comes by every segment and every function, in the order of the file.
    ///
    /// # Errors
    /// What `visit` says, or where the file does not hold what it claims.
    /// Nothing that was visited before an error is to be believed.
    pub fn visit<E: From<ParseError>>(
        &self,
        visit: impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        struct One<V>(Vec<u32>, V);
        impl<E: From<ParseError>, V: FnMut(Item<'_>) -> Result<(), E>> Sink for One<V> {
            type Error = E;
            fn segment(&mut self, segment: &Segment<'_>) -> Result<(), E> {
                (self.1)(Item::Segment(segment))
            }
            fn begin(&mut self, _: &Head) -> Result<&mut Vec<u32>, E> {
                self.0.clear();
                Ok(&mut self.0)
            }
            fn end(&mut self, head: &Head) -> Result<(), E> {
                (self.1)(Item::Function(Entry {
                    package: head.package,
                    function: head.function,
                    counts: &self.0,
                    offset: head.offset,
                }))
            }
        }
        self.pour(&mut One(Vec::new(), visit))
    }

    /// The same file with every command line blotted out: of the strings only
    /// the names of what they stand for, the number of arguments, the operating
    /// system and the architecture stay; the others keep their length alone.
    ///
    /// # Errors
    /// Where the file does not hold what it claims.
    pub fn without_command_lines(&self) -> Result<Vec<u8>, ParseError> {
        let mut bytes = self.bytes.to_vec();
        self.visit(|item| {
            if let Item::Segment(segment) = item {
                segment.blot_out(self.bytes, &mut bytes)?;
            }
            Ok::<(), ParseError>(())
        })?;
        Ok(bytes)
    }

    /// Gives all counters to `sink`.
    pub(crate) fn pour<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        match self.flavour {
            Flavour::Uleb => self.pour_as(sink, &mut Numbers::<ULEB>::new(self.bytes)),
            Flavour::Raw(Endian::Little) => {
                self.pour_as(sink, &mut Numbers::<LITTLE>::new(self.bytes))
            }
            Flavour::Raw(Endian::Big) => self.pour_as(sink, &mut Numbers::<BIG>::new(self.bytes)),
        }
    }

    fn pour_as<S: Sink, const KIND: u8>(
        &self,
        sink: &mut S,
        numbers: &mut Numbers<'_, KIND>,
    ) -> Result<(), S::Error> {
        for number in 1..=self.segments {
            let at = numbers.at;
            let mut reader = Reader::new(self.bytes, Endian::Little);
            reader.seek(at as u64, "a segment")?;
            let segment = read_segment(&mut reader)?;
            sink.segment(&segment)?;
            numbers.at = reader.at();
            for _ in 0..segment.functions {
                numbers.skip_zeros();
                numbers.pour_function(sink)?;
            }
            numbers.skip_zeros();
            let mut reader = Reader::new(self.bytes, Endian::Little);
            reader.seek(numbers.at as u64, "a footer")?;
            let ended = read_footer(&mut reader)?;
            if ended != number {
                return Err(reader
                    .error(format!("the footer of segment {number} counts {ended}"))
                    .into());
            }
            numbers.at = reader.at();
        }
        if numbers.at != self.bytes.len() {
            return Err(numbers
                .error(Kind::Malformed, "bytes behind the last segment")
                .into());
        }
        Ok(())
    }
}

fn read_footer(reader: &mut Reader<'_>) -> Result<u32, ParseError> {
    if reader.take(4, "the footer")? != MAGIC {
        // Behind the last counters there is nothing else: they were cut off.
        return Err(reader.error_of(Kind::Truncated, "expected a footer"));
    }
    reader.take(4, "padding")?;
    let segments = reader.u32("the number of segments")?;
    reader.take(4, "padding")?;
    Ok(segments)
}

fn read_segment<'a>(reader: &mut Reader<'a>) -> Result<Segment<'a>, ParseError> {
    let at = reader.at();
    let functions = reader.u64("the number of functions")?;
    let strings_len = reader.u32("the length of the strings")?;
    let pairs_len = reader.u32("the length of the arguments")?;
    let strings = reader.take(u64::from(strings_len), "the strings")?;
    let pairs = reader.take(u64::from(pairs_len), "the arguments")?;
    // The writer counts from the segment, Go's reader from the file: they
    // differ behind the first segment only, which Go's tools never read.
    let over = (reader.at() - at) % 4;
    if over != 0 {
        reader.take(4 - over as u64, "padding")?;
    }
    let mut segment = Segment {
        functions,
        origin: Origin::default(),
        strings,
        pairs,
    };
    let inside = |error: ParseError| ParseError {
        offset: error.offset.saturating_add(at as u64 + 16),
        len: reader.error("").len,
        ..error
    };
    segment.origin = segment.read_origin().map_err(inside)?;
    Ok(segment)
}

impl<'a> Segment<'a> {
    /// Go believes the number of arguments and all references to strings.
    fn read_origin(&self) -> Result<Origin, ParseError> {
        let mut origin = Origin::default();
        let (mut count, mut keys) = (None, Vec::new());
        let table = StringTable::read(self.strings)?;
        let pairs = self.each_pair(&table, |name, key, value| {
            let text = || Some(String::from_utf8_lossy(value).into_owned());
            match key {
                b"GOOS" => origin.os = text(),
                b"GOARCH" => origin.arch = text(),
                b"argc" => {
                    count = Some(std::str::from_utf8(value).ok().and_then(|t| t.parse().ok()));
                }
                _ => {}
            }
            keys.push(name as u32);
        })?;
        let wrong = |what: &str| {
            let mut error = Reader::new(self.pairs, Endian::Little).error(what);
            error.offset = self.strings.len() as u64;
            error
        };
        let text = |key: &u32| table.get(u64::from(*key));
        keys.sort_unstable_by(|a, b| text(a).cmp(&text(b)));
        let twice = |pair: &[u32]| pair.first().map(text) == pair.last().map(text);
        if keys.windows(2).any(twice) {
            return Err(wrong("an argument that is there twice"));
        }
        origin.arguments = match count {
            None => 0,
            Some(Some(arguments)) if arguments <= pairs => arguments,
            Some(_) => return Err(wrong("a number of arguments that is not true")),
        };
        Ok(origin)
    }

    /// Gives each pair to `visit`, with the index of its key; and how many
    /// there are.
    fn each_pair(
        &self,
        table: &StringTable<'a>,
        mut visit: impl FnMut(u64, &'a [u8], &'a [u8]),
    ) -> Result<u64, ParseError> {
        let mut pairs = Reader::new(self.pairs, Endian::Little);
        let count = pairs.uleb("the number of arguments")?;
        for _ in 0..count {
            let key = pairs.uleb("the name of an argument")?;
            let value = pairs.uleb("an argument")?;
            let (Some(name), Some(value)) = (table.get(key), table.get(value)) else {
                return Err(pairs.error("an argument that is not among the strings"));
            };
            visit(key, name, value);
        }
        Ok(count)
    }

    /// Overwrites, in a copy of the file, the strings that are neither names
    /// nor known to be harmless.
    fn blot_out(&self, file: &[u8], copy: &mut [u8]) -> Result<(), ParseError> {
        let table = StringTable::read(self.strings)?;
        let mut kept: Vec<*const u8> = Vec::new();
        self.each_pair(&table, |_, key, value| {
            kept.push(key.as_ptr());
            if matches!(key, b"GOOS" | b"GOARCH" | b"argc") {
                kept.push(value.as_ptr());
            }
        })?;
        for index in 0..table.places.len() as u64 {
            let text = table.get(index).unwrap_or_default();
            if !kept.contains(&text.as_ptr()) {
                let at = text.as_ptr() as usize - file.as_ptr() as usize;
                copy[at..at + text.len()].fill(b'x');
            }
        }
        Ok(())
    }

    /// The command line of the process, program first. It may hold passwords.
    pub fn command_line(&self) -> Vec<String> {
        let mut arguments: Vec<(u64, String)> = Vec::new();
        let read = StringTable::read(self.strings).and_then(|table| {
            self.each_pair(&table, |_, key, value| {
                let number = key.strip_prefix(b"argv");
                let number = number.and_then(|number| std::str::from_utf8(number).ok());
                if let Some(Ok(number)) = number.map(str::parse) {
                    arguments.push((number, String::from_utf8_lossy(value).into_owned()));
                }
            })
        });
        debug_assert!(read.is_ok(), "pairs are read when the segment is");
        arguments.sort();
        arguments.into_iter().map(|(_, text)| text).collect()
    }
}

/// Strings by index; four bytes each, of which every one has one at least.
struct StringTable<'a> {
    bytes: &'a [u8],
    places: Vec<u32>,
}

impl<'a> StringTable<'a> {
    fn read(bytes: &'a [u8]) -> Result<StringTable<'a>, ParseError> {
        let mut reader = Reader::new(bytes, Endian::Little);
        let count = reader.uleb("the number of strings")?;
        let most = usize::try_from(count).unwrap_or(usize::MAX);
        let mut places = Vec::with_capacity(most.min(reader.left()));
        for _ in 0..count {
            places.push(reader.at() as u32);
            let len = reader.uleb("the length of a string")?;
            reader.take(len, "a string")?;
        }
        Ok(StringTable { bytes, places })
    }

    fn get(&self, index: u64) -> Option<&'a [u8]> {
        let place = self.places.get(usize::try_from(index).ok()?)?;
        let mut reader = Reader::new(self.bytes, Endian::Little);
        reader.seek(u64::from(*place), "a string").ok()?;
        let len = reader.uleb("the length of a string").ok()?;
        reader.take(len, "a string").ok()
    }
}

const ULEB: u8 = 0;
const LITTLE: u8 = 1;
const BIG: u8 = 2;

/// Numbers of one flavour, up to the footer at the end of the file.
struct Numbers<'a, const KIND: u8> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a, const KIND: u8> Numbers<'a, KIND> {
    fn new(bytes: &'a [u8]) -> Self {
        Numbers {
            bytes,
            at: HEADER,
            end: bytes.len().saturating_sub(FOOTER),
        }
    }

    #[cold]
    fn error(&self, kind: Kind, what: impl Into<String>) -> ParseError {
        ParseError {
            kind,
            what: what.into(),
            offset: self.at as u64,
            len: self.bytes.len() as u64,
        }
    }

    #[inline]
    fn next(&mut self, what: &str) -> Result<u32, ParseError> {
        let rest = self.bytes.get(self.at..self.end).unwrap_or_default();
        if KIND != ULEB {
            let Some(word) = rest.first_chunk() else {
                return Err(self.error(Kind::Truncated, format!("{what} reaches into the footer")));
            };
            self.at += 4;
            return Ok(if KIND == LITTLE {
                u32::from_le_bytes(*word)
            } else {
                u32::from_be_bytes(*word)
            });
        }
        match rest.first() {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u32::from(*byte))
            }
            _ => self.next_long(rest, what),
        }
    }

    /// A number of several bytes. Go writes none longer than its value needs;
    /// one that goes on for ever would keep Go's reader for ever.
    fn next_long(&mut self, rest: &[u8], what: &str) -> Result<u32, ParseError> {
        let mut value = 0u32;
        for (place, byte) in rest.iter().take(5).enumerate() {
            let bits = u32::from(byte & 0x7f);
            if place == 4 && *byte > 0x0f {
                break;
            }
            value |= bits << (7 * place);
            if byte & 0x80 == 0 {
                self.at += place + 1;
                return Ok(value);
            }
        }
        Err(if rest.len() < 5 {
            self.error(Kind::Truncated, format!("{what} reaches into the footer"))
        } else {
            self.error(Kind::Malformed, format!("{what} is longer than 32 bits"))
        })
    }

    /// Skips functions that did not run, which have no place in ULEB.
    fn skip_zeros(&mut self) {
        if KIND != ULEB {
            let rest = self.bytes.get(self.at..self.end).unwrap_or_default();
            let zeros = rest.chunks_exact(4).take_while(|word| *word == [0; 4]);
            self.at += zeros.count() * 4;
        }
    }

    fn pour_function<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        let offset = self.at as u64;
        let counters = self.next("the number of counters")?;
        let package = self.next("a package")?;
        let function = self.next("a function")?;
        let least = if KIND == ULEB { 1 } else { 4 };
        let left = self.end.saturating_sub(self.at) / least;
        if counters as usize > left {
            let what = format!("{counters} counters are claimed, there is room for {left}");
            return Err(self.error(Kind::Truncated, what).into());
        }
        let head = Head {
            package,
            function,
            counters: u64::from(counters),
            offset,
        };
        let buffer = sink.begin(&head)?;
        buffer.reserve(counters as usize);
        for _ in 0..counters {
            buffer.push(self.next("a counter")?);
        }
        sink.end(&head)
    }
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
    /// Index of the package in the meta-data.
    pub package: u32,
    /// Index of the function in its package.
    pub function: u32,
    /// One for each of its units.
    pub counts: Vec<u32>,
}

/// Functions that [`read_counters`] takes of any file.
const FUNCTIONS: usize = 1 << 19;

/// Reads a `covcounters` file as a whole. To add many files up, see
/// [`Sum`](crate::go::sum::Sum).
///
/// # Errors
/// Where and why `bytes` are not one; [`Kind::TooLarge`] for more than half a
/// million functions of less than 16 bytes each, which no program has.
pub fn read_counters(bytes: &[u8]) -> Result<Counters, ParseError> {
    let file = CounterFile::parse(bytes)?;
    let most = FUNCTIONS.max(bytes.len() / 16);
    let mut functions = Vec::new();
    file.visit(|item| {
        let Item::Function(entry) = item else {
            return Ok(());
        };
        if functions.len() == most {
            return Err(ParseError {
                kind: Kind::TooLarge,
                what: format!("more than {most} functions"),
                offset: entry.offset,
                len: bytes.len() as u64,
            });
        }
        functions.push(FunctionCounters {
            package: entry.package,
            function: entry.function,
            counts: entry.counts.to_vec(),
        });
        Ok(())
    })?;
    Ok(Counters {
        hash: file.hash,
        segments: file.segments,
        functions,
    })
}
