//! The counters of a Go process that runs, or was killed: a file of this
//! project, which the process maps over its counters.
//!
//! Go keeps all counters of a program in one block (`runtime.covctrs`, one for
//! each module of it) and writes them when it ends. A program that podcov
//! builds maps the pages of that block to a file instead, so that the counts
//! are in the file at every moment, and stay there after SIGKILL. The file is
//! called `covlive.<pid>.<nanoseconds>`, of the start of the process, and can
//! be read while it grows. Its writer makes it in this order:
//!
//! 1. before anything of the program runs: header and pages, by one call, under
//!    a name that begins with `tmp.`; then its name, then the mapping. Go's
//!    build id tells the build: the meta-data are known only later;
//! 2. when all packages are there (where Go writes `covmeta`): the second part,
//!    at its own place. A file without one is of a process that was stopped, or
//!    ended, while its packages were initialised.
//!
//! Both are little endian, whatever the machine:
//!
//! | offset | size | field | checked |
//! |---|---|---|---|
//! | 0 | 8 | magic `00 "pcvlive"` | equal |
//! | 8 | 4 | version | 1 |
//! | 12 | 4 | length of the header, up to the end of its checksum | within the file |
//! | 16 | 4 | offset of the second part | behind the header, within the file |
//! | 20 | 4 | size of a page | a power of two, 4 KiB to 16 MiB |
//! | 24 | 8 | process id, in its container | |
//! | 32 | 8 | start of the process, in nanoseconds since 1970; with the process id it names the process | |
//! | 40 | 4 | byte order of counters: 0 little, 1 big | 0, 1 |
//! | 44 | 4 | number of blocks `b` | fits |
//! | 48 | 4 | length of the Go version `v` | fits |
//! | 52 | 4 | length of the build id `i` | fits |
//! | 56 | 8 | zero | |
//! | 64 | 24 b | each block: address u64, words of four bytes u64, offset of its first page in this file u64 | pages within the file, not over the header or each other |
//! | | v | Go version, such as `go1.26.8` | UTF-8 |
//! | | i | Go's build id, as in the note of the ELF file | |
//! | | 8 | FNV-1a of all bytes before, 64 bits | equal |
//!
//! The second part:
//!
//! | offset | size | field | checked |
//! |---|---|---|---|
//! | 0 | 8 | magic `00 "pcvmeta"` | equal, or there is none |
//! | 8 | 4 | its length, up to the end of its checksum | before the first page |
//! | 12 | 4 | number of package ids `n` | fits |
//! | 16 | 16 | hash of the meta-data | by whoever adds them |
//! | 32 | 8 | mode: 1 set, 2 count, 3 atomic | 1 to 3 |
//! | 40 | 8 n | each package id: the id i32, below zero, and the index of the package u32 | |
//! | | 8 | FNV-1a of all its bytes before, 64 bits | equal, or it counts as none |
//!
//! A block begins at its address modulo the size of a page behind its offset;
//! what the first and the last page hold beside it is no business of ours. In
//! the block, in the byte order of the machine, for each function: number of
//! counters, package id, function, counters, four bytes each; all of them zero
//! until the function first runs (`internal/coverage/defs.go`, Go 1.26). A
//! package id above zero is the index of the package plus one. Packages that
//! run before they are initialised (`runtime` and what it needs, see
//! `internal/coverage/pkid.go`) have ids below zero, known only to the process,
//! which is why the second part lists them (`rtcov.Meta.PkgMap`).
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

use sha2::{Digest, Sha256};

use crate::Identity;
use crate::bytes::{Endian, Reader, hex};
use crate::error::{Kind, ParseError};
use crate::go::counters::{Entry, Head, Sink};
use crate::go::fnv::fnv64;
use crate::go::meta::{Meta, Misfit, Mode};

const MAGIC: [u8; 8] = *b"\0pcvlive";
const VERSION: u32 = 1;
const CHECKSUM: usize = 8;
const SECOND: [u8; 8] = *b"\0pcvmeta";
const BLOCK: u64 = 24;
const ID: u64 = 8;
const WORD: usize = 4;

/// A file of a process that runs or was killed, whose header is sound.
#[derive(Clone, Debug)]
pub struct Live<'a> {
    /// Hash of the meta-data, hex. `None` where the process was stopped while
    /// its packages were initialised; see [`Live::of`].
    pub hash: Option<String>,
    /// How the counters count; known with the hash.
    pub mode: Option<Mode>,
    /// Go's build id; empty if the program was linked without one.
    pub build_id: &'a [u8],
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
    first_page: u64,
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
    /// What the bytes are not.
    pub fn parse(bytes: &'a [u8]) -> Result<Live<'a>, ParseError> {
        if bytes.is_empty() {
            return Err(ParseError::empty(
                "the file is empty: the process was stopped before it wrote",
            ));
        }
        let mut reader = Reader::new(bytes, Endian::Little);
        if reader.take(8, "the magic")? != MAGIC {
            return Err(reader.error("no magic of a covlive file"));
        }
        let version = reader.u32("the version")?;
        if version != VERSION {
            let what = format!("covlive version {version} is not known, {VERSION} is");
            return Err(reader.error_of(Kind::Unsupported, what));
        }
        let length = u64::from(reader.u32("the length of the header")?);
        let mut whole = Reader::new(bytes, Endian::Little);
        let header = sealed(whole.take(length, "the header")?)
            .ok_or_else(|| whole.error("the header does not fit its checksum"))?;
        let mut reader = Reader::new(header, Endian::Little);
        reader.take(16, "the start")?;
        let (mut live, second) = Self::read_header(bytes, &mut reader).map_err(|error| {
            let len = bytes.len() as u64;
            ParseError { len, ..error }
        })?;
        if reader.left() > 0 {
            return Err(reader.error("bytes behind the build id"));
        }
        let pages = live.check_blocks(length, &whole)?;
        whole.seek(second, "the second part")?;
        if second < length || second > pages {
            return Err(whole.error("a second part that is in the header, or in pages"));
        }
        let second = whole.take(pages - second, "the second part")?;
        // What is not whole is being written, or the process was stopped there.
        if let Ok(Some(second)) = Second::parse(second) {
            live.hash = Some(second.hash);
            live.mode = Some(second.mode);
            live.ids = second.ids;
        }
        Ok(live)
    }

    fn read_header(
        bytes: &'a [u8],
        reader: &mut Reader<'a>,
    ) -> Result<(Live<'a>, u64), ParseError> {
        let second = u64::from(reader.u32("the offset of the second part")?);
        let page = u64::from(reader.u32("the size of a page")?);
        if !page.is_power_of_two() || !(1 << 12..=1 << 24).contains(&page) {
            return Err(reader.error(format!("pages of {page} bytes")));
        }
        let pid = reader.u64("the process id")?;
        let started = reader.u64("the start of the process")?;
        let endian = match reader.u32("the byte order")? {
            0 => Endian::Little,
            1 => Endian::Big,
            other => return Err(reader.error(format!("byte order {other} is not known"))),
        };
        let blocks = u64::from(reader.u32("the number of blocks")?);
        let version = u64::from(reader.u32("the length of the Go version")?);
        let build_id = u64::from(reader.u32("the length of the build id")?);
        reader.take(8, "padding")?;
        let blocks = reader.take(blocks * BLOCK, "the blocks")?;
        let go_version = std::str::from_utf8(reader.take(version, "the Go version")?)
            .map_err(|_| reader.error("a Go version that is not UTF-8"))?;
        let mut live = Live {
            hash: None,
            mode: None,
            build_id: reader.take(build_id, "the build id")?,
            endian,
            pid,
            started,
            go_version,
            blocks: Vec::with_capacity(blocks.len() / BLOCK as usize),
            ids: Vec::new(),
        };
        let mut blocks = Reader::new(blocks, Endian::Little);
        while blocks.left() > 0 {
            let address = blocks.u64("an address")?;
            let words = blocks.u64("the size of a block")?;
            let first_page = blocks.u64("the offset of a block")?;
            live.blocks
                .push(read_block(bytes, page, address, words, first_page)?);
        }
        Ok((live, second))
    }

    /// What tells the build: the hash of the meta-data, or the build id where
    /// the process was stopped before there was one.
    pub fn identity(&self) -> Option<Identity> {
        match &self.hash {
            Some(hash) => Some(Identity::Covmeta(hash.clone())),
            None if self.build_id.is_empty() => None,
            None => Some(Identity::GoBuildId(hex(&Sha256::digest(self.build_id)))),
        }
    }

    /// Says the meta-data of a process that was stopped before it could, known
    /// from its build id. Of one that said it itself nothing changes.
    #[must_use]
    pub fn of(mut self, hash: &str) -> Live<'a> {
        self.hash.get_or_insert_with(|| hash.to_owned());
        self
    }

    /// Gives where the first page begins.
    fn check_blocks(&self, header: u64, reader: &Reader<'_>) -> Result<u64, ParseError> {
        let mut places: Vec<(u64, u64)> = self
            .blocks
            .iter()
            .map(|block| (block.offset, block.offset + block.bytes.len() as u64))
            .collect();
        places.sort_unstable();
        let first = self.blocks.iter().map(|block| block.first_page).min();
        let mut end = header;
        for (from, to) in places {
            if from < end {
                return Err(reader.error(format!("a block at byte {from}, in what ends at {end}")));
            }
            end = to;
        }
        first
            .filter(|first| *first >= header)
            .ok_or_else(|| reader.error("no pages behind the header"))
    }

    pub(crate) fn fits(&self, meta: &Meta) -> Result<(), Misfit> {
        if self.hash.as_ref() == Some(&meta.hash) {
            return Ok(());
        }
        Err(Misfit::Build {
            expected: meta.hash.clone(),
            found: self.hash.clone().unwrap_or_else(|| "none yet".to_owned()),
        })
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
        self.fits(meta)?;
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

/// What the process knows when all packages are there.
struct Second {
    hash: String,
    mode: Mode,
    ids: Vec<(i32, u32)>,
}

impl Second {
    fn parse(bytes: &[u8]) -> Result<Option<Second>, ParseError> {
        let mut reader = Reader::new(bytes, Endian::Little);
        if reader.take(8, "the magic")? != SECOND {
            return Ok(None);
        }
        let length = u64::from(reader.u32("the length")?);
        let mut whole = Reader::new(bytes, Endian::Little);
        let Some(part) = sealed(whole.take(length, "the second part")?) else {
            return Ok(None);
        };
        let mut reader = Reader::new(part, Endian::Little);
        reader.take(12, "the start")?;
        let ids = u64::from(reader.u32("the number of package ids")?);
        let hash = hex(reader.take(16, "the hash")?);
        let mode = match reader.u64("the mode")? {
            1 => Mode::Set,
            2 => Mode::Count,
            3 => Mode::Atomic,
            other => return Err(reader.error(format!("mode {other} is not set, count or atomic"))),
        };
        let mut words = Reader::new(reader.take(ids * ID, "the package ids")?, Endian::Little);
        let mut ids = Vec::with_capacity(words.left() / ID as usize);
        while words.left() > 0 {
            let id = words.u32("a package id")? as i32;
            ids.push((id, words.u32("the index of a package")?));
        }
        ids.sort_unstable();
        Ok(Some(Second { hash, mode, ids }))
    }
}

/// What a checksum at the end seals.
fn sealed(bytes: &[u8]) -> Option<&[u8]> {
    let (sealed, sum) = bytes.split_last_chunk::<CHECKSUM>()?;
    (fnv64(sealed) == u64::from_le_bytes(*sum)).then_some(sealed)
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
        first_page,
        bytes,
    })
}

impl Block<'_> {
    /// How many words it has, of four bytes each.
    pub fn words(&self) -> usize {
        self.bytes.len() / WORD
    }

    /// How many words are not zero: counters that ran, and three words of each
    /// function that ran.
    pub fn words_in_use(&self) -> usize {
        let (words, _) = self.bytes.as_chunks::<WORD>();
        words.iter().filter(|word| **word != [0; WORD]).count()
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
