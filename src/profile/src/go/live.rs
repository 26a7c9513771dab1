//! The counters of a Go process that runs, or was killed: a file of this
//! project, which the process maps over its counters.
//!
//! Go keeps all counters of a program in one block (`runtime.covctrs`, one for
//! each module of it) and writes them when it ends. A program that podcov
//! builds maps the pages of that block to a file instead, so that the counts
//! are in the file at every moment, and stay there after SIGKILL. The file is
//! called `covlive.<pid>.<nanoseconds>` and can be read while it grows. Its
//! writer makes it in this order:
//!
//! 1. as soon as the program starts: header of zeros, behind it the pages, and
//!    the mapping; this is before the packages of the program are there, which
//!    give the hash and the package ids;
//! 2. when all packages are there (where Go writes `covmeta`): the header, by
//!    one write. A file whose header is still zeros is of a process that was
//!    stopped before; nothing of it can be told apart.
//!
//! The header is little endian, whatever the machine:
//!
//! | offset | size | field | checked |
//! |---|---|---|---|
//! | 0 | 8 | magic `00 "pcvlive"` | equal |
//! | 8 | 4 | version | 1 |
//! | 12 | 4 | length of the header, up to the end of its checksum | within the file |
//! | 16 | 16 | hash of the meta-data | by whoever adds them |
//! | 32 | 1 | byte order of counters: 0 little, 1 big | 0, 1 |
//! | 33 | 1 | mode: 1 set, 2 count, 3 atomic | 1 to 3 |
//! | 34 | 2 | zero | |
//! | 36 | 4 | size of a page | a power of two, 4 KiB to 16 MiB |
//! | 40 | 8 | process id, in its container | |
//! | 48 | 8 | start of the process, in nanoseconds since 1970; with the process id it names the process | |
//! | 56 | 4 | number of blocks `b` | fits |
//! | 60 | 4 | number of package ids `i` | fits |
//! | 64 | 4 | length of the Go version `v` | fits |
//! | 68 | 4 | zero | |
//! | 72 | 24 b | each block: address u64, words of four bytes u64, offset of its first page in this file u64 | pages within the file, not over the header or each other |
//! | | 8 i | each package id: the id i32, below zero, and the index of the package u32 | |
//! | | v | Go version, such as `go1.26.8` | UTF-8 |
//! | | 8 | FNV-1a of all bytes before, 64 bits | equal |
//!
//! A block begins at its address modulo the size of a page behind its offset;
//! what the first and the last page hold beside it is no business of ours. In
//! the block, in the byte order of the machine, for each function: number of
//! counters, package id, function, counters, four bytes each; all of them zero
//! until the function first runs (`internal/coverage/defs.go`, Go 1.26). A
//! package id above zero is the index of the package plus one. Packages that
//! run before they are initialised (`runtime` and what it needs, see
//! `internal/coverage/pkid.go`) have ids below zero, known only to the process,
//! which is why the header lists them (`rtcov.Meta.PkgMap`).
//!
//! A function that first runs while its words are read can be seen half
//! written. Such a place is told by the meta-data: no function has that index,
//! package and number of counters, or it was there before. It is passed over
//! and counted in [`Seen::torn`]: of a process that runs, read the file again.
//! What a process left that is gone is torn where it was stopped in the first
//! steps of a function, whose counters are zeros then.
//!
//! ```
//! use podcov_profile::go::{live::Live, meta::read_meta, sum::Sum};
//! # macro_rules! file { ($name:literal) => {
//! #     include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/go-live/", $name))
//! # } }
//! # let covmeta = file!("covmeta.8e5521eaa6050ffc4493d96397aa5e35");
//! # let bytes = file!("covlive");
//! let meta = read_meta(covmeta)?;
//! let live = Live::parse(bytes)?;
//! println!("process {} of {}", live.pid, live.go_version);
//! let added = Sum::new(&meta).add_live(&live)?;
//! assert_eq!(added.torn, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::bytes::{Endian, Reader, hex};
use crate::error::{Kind, ParseError};
use crate::go::counters::{Entry, Head, Sink};
use crate::go::fnv::fnv64;
use crate::go::meta::{Meta, Misfit, Mode};

const MAGIC: [u8; 8] = *b"\0pcvlive";
const VERSION: u32 = 1;
const CHECKSUM: usize = 8;
const BLOCK: u64 = 24;
const ID: u64 = 8;
const WORD: usize = 4;

/// A file of a process that runs or was killed, whose header is sound.
#[derive(Clone, Debug)]
pub struct Live<'a> {
    /// Hash of the meta-data, hex.
    pub hash: String,
    /// How the counters count.
    pub mode: Mode,
    /// Byte order of the machine.
    pub endian: Endian,
    /// Process id in its container.
    pub pid: u64,
    /// When the process started, in nanoseconds since 1970.
    pub started: u64,
    /// The Go that the program was built with, such as `go1.26.8`.
    pub go_version: &'a str,
    /// Where counters are.
    pub blocks: Vec<Block<'a>>,
    /// Package ids below zero, ascending, and the indices of their packages.
    ids: Vec<(i32, u32)>,
}

/// Counters of one module of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// Where it is in the process.
    pub address: u64,
    /// Where it is in the file, in bytes.
    pub offset: u64,
    bytes: &'a [u8],
}

/// What a visit came by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Functions that ran.
    pub functions: u64,
    /// Places that were being written, or make no sense; a stretch counts once.
    pub torn: u64,
}

/// Whether bytes begin like counters of a process that runs.
pub fn is_live(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

impl<'a> Live<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Kind::Truncated`] where the process was stopped before it wrote one,
    /// or writes it right now; else what the bytes are not.
    pub fn parse(bytes: &'a [u8]) -> Result<Live<'a>, ParseError> {
        if bytes.is_empty() {
            return Err(ParseError::empty(
                "the file is empty: the process was stopped before it wrote",
            ));
        }
        let mut reader = Reader::new(bytes, Endian::Little);
        let magic = reader.take(8, "the magic")?;
        if magic == [0; 8] {
            let what = "no header yet: the process was stopped before its packages were there";
            return Err(reader.error_of(Kind::Truncated, what));
        }
        if magic != MAGIC {
            return Err(reader.error("no magic of a covlive file"));
        }
        let version = reader.u32("the version")?;
        if version != VERSION {
            let what = format!("covlive version {version} is not known, {VERSION} is");
            return Err(reader.error_of(Kind::Unsupported, what));
        }
        let length = u64::from(reader.u32("the length of the header")?);
        let mut whole = Reader::new(bytes, Endian::Little);
        let header = whole.take(length, "the header")?;
        let Some((header, sum)) = header.split_last_chunk::<CHECKSUM>() else {
            return Err(whole.error("a header without a checksum"));
        };
        if fnv64(header) != u64::from_le_bytes(*sum) {
            let what = "the header does not fit its checksum, or is being written";
            return Err(whole.error(what));
        }
        let mut reader = Reader::new(header, Endian::Little);
        reader.take(16, "the start")?;
        let live = Self::read_header(bytes, &mut reader).map_err(|error| ParseError {
            len: bytes.len() as u64,
            ..error
        })?;
        if reader.left() > 0 {
            return Err(reader.error("bytes behind the Go version"));
        }
        live.check_blocks(length, &whole)?;
        Ok(live)
    }

    fn read_header(bytes: &'a [u8], reader: &mut Reader<'a>) -> Result<Live<'a>, ParseError> {
        let hash = hex(reader.take(16, "the hash")?);
        let endian = match reader.u8("the byte order")? {
            0 => Endian::Little,
            1 => Endian::Big,
            other => return Err(reader.error(format!("byte order {other} is not known"))),
        };
        let mode = match reader.u8("the mode")? {
            1 => Mode::Set,
            2 => Mode::Count,
            3 => Mode::Atomic,
            other => return Err(reader.error(format!("mode {other} is not set, count or atomic"))),
        };
        reader.take(2, "padding")?;
        let page = u64::from(reader.u32("the size of a page")?);
        if !page.is_power_of_two() || !(1 << 12..=1 << 24).contains(&page) {
            return Err(reader.error(format!("pages of {page} bytes")));
        }
        let pid = reader.u64("the process id")?;
        let started = reader.u64("the start of the process")?;
        let blocks = u64::from(reader.u32("the number of blocks")?);
        let ids = u64::from(reader.u32("the number of package ids")?);
        let version = u64::from(reader.u32("the length of the Go version")?);
        reader.take(4, "padding")?;
        let blocks = reader.take(blocks * BLOCK, "the blocks")?;
        let ids = reader.take(ids * ID, "the package ids")?;
        let go_version = std::str::from_utf8(reader.take(version, "the Go version")?)
            .map_err(|_| reader.error("a Go version that is not UTF-8"))?;
        let mut live = Live {
            hash,
            mode,
            endian,
            pid,
            started,
            go_version,
            blocks: Vec::with_capacity(blocks.len() / BLOCK as usize),
            ids: Vec::with_capacity(ids.len() / ID as usize),
        };
        let mut blocks = Reader::new(blocks, Endian::Little);
        while blocks.left() > 0 {
            let address = blocks.u64("an address")?;
            let words = blocks.u64("the size of a block")?;
            let first_page = blocks.u64("the offset of a block")?;
            live.blocks
                .push(read_block(bytes, page, address, words, first_page)?);
        }
        let mut ids = Reader::new(ids, Endian::Little);
        while ids.left() > 0 {
            let id = ids.u32("a package id")? as i32;
            let index = ids.u32("the index of a package")?;
            if id >= 0 {
                return Err(
                    reader.error(format!("package id {id}, only those below zero are listed"))
                );
            }
            live.ids.push((id, index));
        }
        live.ids.sort_unstable();
        Ok(live)
    }

    fn check_blocks(&self, header: u64, reader: &Reader<'_>) -> Result<(), ParseError> {
        let mut places: Vec<(u64, u64)> = self
            .blocks
            .iter()
            .map(|block| (block.offset, block.offset + block.bytes.len() as u64))
            .collect();
        places.sort_unstable();
        let mut end = header;
        for (from, to) in places {
            if from < end {
                return Err(reader.error(format!("a block at byte {from}, in what ends at {end}")));
            }
            end = to;
        }
        Ok(())
    }

    /// Comes by every function that ran, with the indices that `meta` has for
    /// it.
    ///
    /// # Errors
    /// When `meta` is of another build, before anything is visited; and what
    /// `visit` says.
    pub fn visit<E: From<Misfit>>(
        &self,
        meta: &Meta,
        mut visit: impl FnMut(Entry<'_>) -> Result<(), E>,
    ) -> Result<Seen, E> {
        if meta.hash != self.hash {
            return Err(E::from(Misfit::Build {
                expected: meta.hash.clone(),
                found: self.hash.clone(),
            }));
        }
        let mut counts = Vec::new();
        self.walk(meta, |block, at, head| {
            counts.clear();
            block.read(self.endian, at, head.counters, &mut counts);
            visit(Entry {
                package: head.package,
                function: head.function,
                counts: &counts,
                offset: head.offset,
            })
        })
    }

    pub(crate) fn pour<S: Sink>(&self, meta: &Meta, sink: &mut S) -> Result<Seen, S::Error> {
        self.walk(meta, |block, at, head| {
            block.read(self.endian, at, head.counters, sink.begin(head)?);
            sink.end(head)
        })
    }

    fn walk<E>(
        &self,
        meta: &Meta,
        mut visit: impl FnMut(&Block<'a>, usize, &Head) -> Result<(), E>,
    ) -> Result<Seen, E> {
        let mut seen = Seen::default();
        let mut known = vec![false; meta.functions().len()];
        for block in &self.blocks {
            let (mut at, mut is_lost) = (0, false);
            while let Some(counters) = block.word(self.endian, at) {
                if counters == 0 {
                    at += 1;
                    continue;
                }
                let head = self.head(meta, block, at);
                let Some((head, index)) =
                    head.filter(|_| !is_lost || self.leads_on(meta, block, at))
                else {
                    seen.torn += u64::from(!is_lost);
                    is_lost = true;
                    at += 1;
                    continue;
                };
                is_lost = false;
                let first = at + 3;
                at = first + head.counters as usize;
                if known
                    .get_mut(index)
                    .is_none_or(|known| std::mem::replace(known, true))
                {
                    seen.torn += 1;
                    continue;
                }
                // Counters that were cleared are those of no run.
                if block.is_any(first, at) {
                    seen.functions += 1;
                    visit(block, first, &head)?;
                }
            }
        }
        Ok(seen)
    }

    /// The function whose words begin at `at`, if that is one; and its index
    /// among all.
    fn head(&self, meta: &Meta, block: &Block<'a>, at: usize) -> Option<(Head, usize)> {
        let counters = block.word(self.endian, at)?;
        let package = self.package(block.word(self.endian, at + 1)?)?;
        let function = block.word(self.endian, at + 2)?;
        block.word(self.endian, (at + 2).checked_add(counters as usize)?)?;
        meta.place(package, function, u64::from(counters)).ok()?;
        let head = Head {
            package,
            function,
            counters: u64::from(counters),
            offset: block.offset + (at * WORD) as u64,
        };
        Some((head, meta.index(package, function)?))
    }

    /// Whether behind the function at `at` another one begins, or the block
    /// ends. Behind a torn place counters can look like a function; that they
    /// look like two is not to be expected.
    fn leads_on(&self, meta: &Meta, block: &Block<'a>, at: usize) -> bool {
        let counters = block.word(self.endian, at).unwrap_or(0);
        let mut next = at + 3 + counters as usize;
        while block.word(self.endian, next) == Some(0) {
            next += 1;
        }
        next >= block.words() || self.head(meta, block, next).is_some()
    }

    fn package(&self, id: u32) -> Option<u32> {
        let signed = id as i32;
        if signed >= 0 {
            return id.checked_sub(1);
        }
        let at = self.ids.binary_search_by_key(&signed, |(id, _)| *id);
        self.ids.get(at.ok()?).map(|(_, index)| *index)
    }
}

fn read_block(
    bytes: &[u8],
    page: u64,
    address: u64,
    words: u64,
    first_page: u64,
) -> Result<Block<'_>, ParseError> {
    let mut reader = Reader::new(bytes, Endian::Little);
    if !first_page.is_multiple_of(page) || !address.is_multiple_of(WORD as u64) {
        let what = format!("a block of address {address:#x} at byte {first_page}");
        return Err(reader.error(what));
    }
    let offset = first_page.saturating_add(address % page);
    reader.seek(offset, "a block")?;
    let bytes = reader.take(words.saturating_mul(WORD as u64), "a block")?;
    Ok(Block {
        address,
        offset,
        bytes,
    })
}

impl Block<'_> {
    /// How many words it has, of four bytes each.
    pub fn words(&self) -> usize {
        self.bytes.len() / WORD
    }

    fn word(&self, endian: Endian, at: usize) -> Option<u32> {
        let word = self.bytes.get(at.checked_mul(WORD)?..)?.first_chunk()?;
        Some(match endian {
            Endian::Little => u32::from_le_bytes(*word),
            Endian::Big => u32::from_be_bytes(*word),
        })
    }

    fn is_any(&self, from: usize, to: usize) -> bool {
        let bytes = self.bytes.get(from * WORD..to * WORD).unwrap_or_default();
        bytes.iter().any(|byte| *byte != 0)
    }

    fn read(&self, endian: Endian, at: usize, count: u64, into: &mut Vec<u32>) {
        into.reserve(count as usize);
        let places = at..at + count as usize;
        into.extend(places.map(|at| self.word(endian, at).unwrap_or(0)));
    }
}
