//! Go's text profile, as `go test -coverprofile` and `go tool covdata textfmt`
//! write it: `mode: set|count|atomic`, then one line a block,
//! `FILE:LINE.COLUMN,LINE.COLUMN STATEMENTS COUNT`
//! (`golang.org/x/tools/cover/profile.go` and `internal/coverage/cformat/format.go`,
//! Go 1.26).
//!
//! Profiles may be concatenated (several `mode:` lines), and a block may occur
//! again, next to the first or not: it counts once for mode `set`, and its
//! counts add up otherwise. Lines may end as on Windows and may be empty. A
//! file's name may hold spaces, colons and a drive's letter; numbers are read
//! from the end of the line. Counts stop at the largest that Go's tools read,
//! [`MAX_COUNT`].
//!
//! ```
//! use podcov_profile::go::text::Profile;
//!
//! let mut all = Profile::parse(b"mode: count\nexample.org/x.go:3.2,5.4 2 1\n")?;
//! all.merge(&Profile::parse(b"mode: count\nexample.org/x.go:3.2,5.4 2 4\n")?)?;
//! assert_eq!(all.to_string(), "mode: count\nexample.org/x.go:3.2,5.4 2 5\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use crate::error::{Kind, ParseError};
use crate::go::meta::{Mode, Unit};

/// The largest count that `go tool cover` reads on a 64-bit machine.
pub const MAX_COUNT: u64 = i64::MAX as u64;
/// Files that a profile of any size may name; a larger one has 64 bytes of
/// lines for each.
const FILES: usize = 1 << 16;

/// Where a block of code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Line it starts on.
    pub start_line: u32,
    /// Column it starts at.
    pub start_column: u32,
    /// Line it ends on.
    pub end_line: u32,
    /// Column it ends before.
    pub end_column: u32,
}

/// What is known of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Number of statements in it; there may be none.
    pub statements: u32,
    /// How often it ran; 1 at most for mode `set`.
    pub count: u64,
}

/// A text profile: blocks by file and place. Its [`Display`](fmt::Display) is
/// the profile as Go writes it, by file and place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// How it counts.
    pub mode: Mode,
    /// Blocks by file, as the profile calls it.
    pub files: BTreeMap<String, BTreeMap<Span, Block>>,
}

/// Why two profiles cannot be added, or a block to a profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Their counts do not mean the same.
    #[error("mode {} cannot be added to mode {}", .other.word(), .known.word())]
    Mode {
        /// Of the profile.
        known: Mode,
        /// Of what was not added.
        other: Mode,
    },
    /// The source was another one.
    #[error("block {span} of {file} has {other} statements, {known} elsewhere")]
    Statements {
        /// As the profile calls it.
        file: String,
        /// Place of the block.
        span: Span,
        /// Statements in the profile.
        known: u32,
        /// Statements of what was not added.
        other: u32,
    },
}

/// Whether bytes begin like a text profile.
pub fn is_text(bytes: &[u8]) -> bool {
    bytes.starts_with(b"mode: ")
}

/// Where in a text we are, for errors.
struct Place {
    offset: usize,
    line: usize,
    len: usize,
}

impl Place {
    fn error(&self, kind: Kind, what: impl fmt::Display) -> ParseError {
        ParseError {
            kind,
            what: format!("line {}: {what}", self.line),
            offset: self.offset as u64,
            len: self.len as u64,
        }
    }
}

impl Profile {
    /// A profile of nothing.
    pub fn new(mode: Mode) -> Self {
        Profile {
            mode,
            files: BTreeMap::new(),
        }
    }

    /// Reads a profile. Of any number of lines it keeps the blocks alone.
    ///
    /// # Errors
    /// Says on which line and at which byte it is no profile.
    pub fn parse(bytes: &[u8]) -> Result<Profile, ParseError> {
        let mut place = Place {
            offset: 0,
            line: 1,
            len: bytes.len(),
        };
        if bytes.is_empty() {
            return Err(ParseError::empty(
                "the file is empty: the process was stopped before it wrote",
            ));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            place.offset = error.valid_up_to();
            let before = bytes.get(..place.offset).unwrap_or_default();
            place.line += before.iter().filter(|byte| **byte == b'\n').count();
            place.error(Kind::Malformed, "expected UTF-8")
        })?;
        let mut builder: Option<Builder<'_>> = None;
        let most = FILES.max(bytes.len() / 64);
        for line in text.split_inclusive('\n') {
            // Each line is written with its end, so one without was cut off.
            let Some(content) = line.strip_suffix('\n') else {
                return Err(place.error(Kind::Truncated, "it ends in the middle of a line"));
            };
            let content = content.strip_suffix('\r').unwrap_or(content);
            match (content.strip_prefix("mode: "), &mut builder) {
                (Some(word), known) => read_mode(word, known, &place)?,
                (None, None) => return Err(place.error(Kind::Malformed, "expected `mode: `")),
                (None, Some(_)) if content.is_empty() => {}
                (None, Some(builder)) => {
                    let (file, span, block) = parse_block(content).ok_or_else(|| {
                        let shown: String = content.chars().take(120).collect();
                        place.error(Kind::Malformed, format!("`{shown}` is no block"))
                    })?;
                    builder
                        .add(file, span, block)
                        .map_err(|conflict| place.error(Kind::Malformed, conflict))?;
                    if builder.files() > most {
                        let what = format!("more than {most} files");
                        return Err(place.error(Kind::TooLarge, what));
                    }
                }
            }
            place.offset += line.len();
            place.line += 1;
        }
        builder
            .map(Builder::finish)
            .ok_or_else(|| place.error(Kind::Malformed, "expected `mode: `"))
    }

    /// Adds a block. Of a file and a place there is one.
    ///
    /// # Errors
    /// When another one of the same place has another number of statements.
    pub fn add(&mut self, file: &str, span: Span, block: Block) -> Result<(), Conflict> {
        if !self.files.contains_key(file) {
            self.files.insert(file.to_owned(), BTreeMap::new());
        }
        let Some(blocks) = self.files.get_mut(file) else {
            return Ok(());
        };
        add_block(self.mode, file, blocks, span, block)
    }

    /// Whether no block of `other` ran more often than here.
    pub fn includes(&self, other: &Profile) -> bool {
        other.files.iter().all(|(file, blocks)| {
            let known = self.files.get(file);
            blocks.iter().all(|(span, block)| {
                let known = known.and_then(|known| known.get(span));
                block.count <= known.map_or(0, |known| known.count)
            })
        })
    }

    /// Adds another run of the same program. The two must be of one mode and
    /// agree on the blocks; on an error nothing was added.
    pub fn merge(&mut self, other: &Profile) -> Result<(), Conflict> {
        if self.mode != other.mode {
            return Err(Conflict::Mode {
                known: self.mode,
                other: other.mode,
            });
        }
        for (file, blocks) in &other.files {
            let Some(known) = self.files.get(file) else {
                continue;
            };
            for (span, block) in blocks {
                if let Some(known) = known.get(span) {
                    same_statements(file, *span, known, block)?;
                }
            }
        }
        for (file, blocks) in &other.files {
            for (span, block) in blocks {
                self.add(file, *span, *block)?;
            }
        }
        Ok(())
    }

    /// Writes it as Go does: by file and place.
    pub fn to_text(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "mode: {}", self.mode.word())?;
        for (file, blocks) in &self.files {
            for (span, Block { statements, count }) in blocks {
                let count = count.min(&MAX_COUNT);
                writeln!(f, "{file}:{span} {statements} {count}")?;
            }
        }
        Ok(())
    }
}

/// A profile that is read. Blocks of one file mostly follow each other, so the
/// file of the last one is at hand.
struct Builder<'t> {
    profile: Profile,
    file: &'t str,
    blocks: BTreeMap<Span, Block>,
}

impl<'t> Builder<'t> {
    fn add(&mut self, file: &'t str, span: Span, block: Block) -> Result<(), Conflict> {
        if file != self.file {
            self.put_back();
            self.file = file;
            if let Some(blocks) = self.profile.files.get_mut(file) {
                self.blocks = std::mem::take(blocks);
            }
        }
        add_block(self.profile.mode, file, &mut self.blocks, span, block)
    }

    fn put_back(&mut self) {
        let blocks = std::mem::take(&mut self.blocks);
        if let Some(known) = self.profile.files.get_mut(self.file) {
            *known = blocks;
        } else if !blocks.is_empty() {
            self.profile.files.insert(self.file.to_owned(), blocks);
        }
    }

    fn files(&self) -> usize {
        self.profile.files.len()
    }

    fn finish(mut self) -> Profile {
        self.put_back();
        self.profile
    }
}

fn read_mode(word: &str, known: &mut Option<Builder<'_>>, place: &Place) -> Result<(), ParseError> {
    let mode = Mode::from_word(word.trim_end()).ok_or_else(|| {
        let shown: String = word.chars().take(40).collect();
        let what = format!("mode `{shown}` is not set, count or atomic");
        place.error(Kind::Malformed, what)
    })?;
    let builder = known.get_or_insert_with(|| Builder {
        profile: Profile::new(mode),
        file: "",
        blocks: BTreeMap::new(),
    });
    if builder.profile.mode != mode {
        let (known, mode) = (builder.profile.mode.word(), mode.word());
        let what = format!("mode {mode} in a profile of mode {known}");
        return Err(place.error(Kind::Malformed, what));
    }
    Ok(())
}

fn add_block(
    mode: Mode,
    file: &str,
    blocks: &mut BTreeMap<Span, Block>,
    span: Span,
    block: Block,
) -> Result<(), Conflict> {
    let count = match mode {
        Mode::Set => block.count.min(1),
        Mode::Count | Mode::Atomic => block.count.min(MAX_COUNT),
    };
    match blocks.entry(span) {
        Entry::Vacant(place) => {
            place.insert(Block { count, ..block });
        }
        Entry::Occupied(mut known) => {
            let known = known.get_mut();
            same_statements(file, span, known, &block)?;
            known.count = match mode {
                Mode::Set => known.count.max(count),
                Mode::Count | Mode::Atomic => known.count.saturating_add(count).min(MAX_COUNT),
            };
        }
    }
    Ok(())
}

fn same_statements(file: &str, span: Span, known: &Block, other: &Block) -> Result<(), Conflict> {
    if known.statements == other.statements {
        return Ok(());
    }
    Err(Conflict::Statements {
        file: file.to_owned(),
        span,
        known: known.statements,
        other: other.statements,
    })
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Span {
            start_line,
            start_column,
            end_line,
            end_column,
        } = self;
        write!(f, "{start_line}.{start_column},{end_line}.{end_column}")
    }
}

impl From<Unit> for Span {
    fn from(unit: Unit) -> Span {
        Span {
            start_line: unit.start_line,
            start_column: unit.start_column,
            end_line: unit.end_line,
            end_column: unit.end_column,
        }
    }
}

/// The file's name may hold spaces and colons; everything behind it may not.
fn parse_block(line: &str) -> Option<(&str, Span, Block)> {
    let (rest, count) = line.rsplit_once(' ')?;
    let (rest, statements) = rest.rsplit_once(' ')?;
    let (file, span) = rest.rsplit_once(':')?;
    let (start, end) = span.split_once(',')?;
    let point = |text: &str| {
        let (line, column) = text.split_once('.')?;
        Some((number(line)?, number(column)?))
    };
    let ((start_line, start_column), (end_line, end_column)) = (point(start)?, point(end)?);
    // A block may end above its start: `//line` can make it so.
    if file.is_empty() {
        return None;
    }
    let is_number = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    let block = Block {
        statements: number(statements)?,
        count: is_number.then(|| count.parse().unwrap_or(MAX_COUNT).min(MAX_COUNT))?,
    };
    let span = Span {
        start_line,
        start_column,
        end_line,
        end_column,
    };
    Some((file, span, block))
}

fn number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(text: &str) -> String {
        Profile::parse(text.as_bytes()).unwrap().to_text()
    }

    #[test]
    fn blocks_are_merged_by_the_rule_of_the_mode() {
        let cases = [
            (
                "mode: set\na.go:1.2,3.4 2 1\na.go:1.2,3.4 2 0\n",
                "mode: set\na.go:1.2,3.4 2 1\n",
            ),
            (
                "mode: set\na.go:1.2,3.4 2 7\n",
                "mode: set\na.go:1.2,3.4 2 1\n",
            ),
            (
                "mode: count\na.go:1.2,3.4 2 3\nmode: count\na.go:1.2,3.4 2 4\n",
                "mode: count\na.go:1.2,3.4 2 7\n",
            ),
            (
                "mode: atomic\na.go:1.2,3.4 2 18446744073709551615\na.go:1.2,3.4 2 1\n",
                "mode: atomic\na.go:1.2,3.4 2 9223372036854775807\n",
            ),
            (
                "mode: count\r\na.go:1.2,3.4 2 3\r\n\r\nmode: count\r\n\na.go:5.2,6.4 0 4\r\n",
                "mode: count\na.go:1.2,3.4 2 3\na.go:5.2,6.4 0 4\n",
            ),
            // Files whose blocks are not together, and blocks of one place.
            (
                "mode: count\na.go:1.2,3.4 2 3\nb.go:1.2,3.4 1 1\na.go:1.2,3.4 2 4\na.go:7.2,7.4 1 0\nb.go:1.2,3.4 1 5\n",
                "mode: count\na.go:1.2,3.4 2 7\na.go:7.2,7.4 1 0\nb.go:1.2,3.4 1 6\n",
            ),
            (
                "mode: count\nC:/x y/a:b.go:10.2,10.4 1 3\nC:/x y/a:b.go:9.2,9.4 1 3\n",
                "mode: count\nC:/x y/a:b.go:9.2,9.4 1 3\nC:/x y/a:b.go:10.2,10.4 1 3\n",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(merged(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_profile_is_refused_with_its_line() {
        let cases: [(&[u8], &str); 10] = [
            (
                b"",
                "the file is empty: the process was stopped before it wrote at byte 0 of 0",
            ),
            (
                b"a.go:1.2,3.4 2 1\n",
                "line 1: expected `mode: ` at byte 0 of 17",
            ),
            (
                b"mode: fast\n",
                "line 1: mode `fast` is not set, count or atomic at byte 0 of 11",
            ),
            (
                b"mode: set\nmode: count\n",
                "line 2: mode count in a profile of mode set at byte 10 of 22",
            ),
            (
                b"mode: set\na.go:1.2,3.4 2 -1\n",
                "line 2: `a.go:1.2,3.4 2 -1` is no block at byte 10 of 28",
            ),
            (
                b"mode: set\n\na.go:3.2,1.4 2,1\n",
                "line 3: `a.go:3.2,1.4 2,1` is no block at byte 11 of 28",
            ),
            (
                b"mode: set\n:3.2,4.4 2 1\n",
                "line 2: `:3.2,4.4 2 1` is no block at byte 10 of 23",
            ),
            (
                b"mode: set\na.go:1.2,3.4 2 1\na.go:1.2,3.4 3 1\n",
                "line 3: block 1.2,3.4 of a.go has 3 statements, 2 elsewhere at byte 27 of 44",
            ),
            (
                b"mode: set\na.go:1.2,3.4 2 1",
                "line 2: it ends in the middle of a line at byte 10 of 26",
            ),
            (
                b"mode: set\na\xff\n",
                "line 2: expected UTF-8 at byte 11 of 13",
            ),
        ];
        for (text, expected) in cases {
            let error = Profile::parse(text).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn profiles_of_two_modes_are_not_added() {
        let mut set = Profile::parse(b"mode: set\na.go:1.2,3.4 2 1\n").unwrap();
        let before = set.clone();
        let count = Profile::parse(b"mode: count\na.go:1.2,3.4 2 1\n").unwrap();
        assert!(set.merge(&count).is_err());
        assert_eq!(set, before);
    }
}
