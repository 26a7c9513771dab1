//! Go's text profile, as `go test -coverprofile` and `go tool covdata textfmt`
//! write it: `mode: set|count|atomic`, then one line a block,
//! `FILE:LINE.COLUMN,LINE.COLUMN STATEMENTS COUNT`.
//!
//! Profiles may be concatenated (several `mode:` lines), and a block may occur
//! again: it counts once for mode `set`, and its counts add up otherwise.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write;

use crate::go::files::Mode;

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
    /// Number of statements in it.
    pub statements: u32,
    /// How often it ran; 1 at most for mode `set`.
    pub count: u64,
}

/// A text profile: blocks by file and place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// How it counts.
    pub mode: Mode,
    /// Blocks by file, as the profile calls it.
    pub files: BTreeMap<String, BTreeMap<Span, Block>>,
}

/// Why a text is no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Error {
    /// From 1; 0 for a conflict of two profiles.
    pub line: usize,
    /// What was expected.
    pub what: String,
}

/// Whether bytes begin like a text profile.
pub fn is_text(bytes: &[u8]) -> bool {
    bytes.starts_with(b"mode: ")
}

impl Profile {
    /// A profile of nothing.
    pub fn new(mode: Mode) -> Self {
        Profile {
            mode,
            files: BTreeMap::new(),
        }
    }

    /// Reads a profile.
    pub fn parse(bytes: &[u8]) -> Result<Profile, Error> {
        let mut profile: Option<Profile> = None;
        let text = std::str::from_utf8(bytes).map_err(|error| Error {
            line: bytes[..error.valid_up_to()]
                .iter()
                .filter(|b| **b == b'\n')
                .count()
                + 1,
            what: "expected UTF-8".to_owned(),
        })?;
        // Each line is written with its end, so one without was cut off.
        if !text.ends_with('\n') {
            let line = text.lines().count();
            return Err(Error {
                line,
                what: "it ends in the middle of a line".to_owned(),
            });
        }
        for (number, line) in text.lines().enumerate() {
            let fail = |what: String| Error {
                line: number + 1,
                what,
            };
            if let Some(word) = line.strip_prefix("mode: ") {
                let mode = Mode::from_word(word.trim_end())
                    .ok_or_else(|| fail(format!("mode `{word}` is not set, count or atomic")))?;
                let known = profile.get_or_insert_with(|| Profile::new(mode)).mode;
                if known != mode {
                    let (known, mode) = (known.word(), mode.word());
                    return Err(fail(format!("mode {mode} in a profile of mode {known}")));
                }
                continue;
            }
            let profile = profile
                .as_mut()
                .ok_or_else(|| fail("expected `mode: `".to_owned()))?;
            if line.is_empty() {
                continue;
            }
            let (file, span, block) =
                parse_block(line).ok_or_else(|| fail(format!("`{line}` is no block")))?;
            profile.add(file, span, block).map_err(fail)?;
        }
        profile.ok_or_else(|| Error {
            line: 1,
            what: "expected `mode: `".to_owned(),
        })
    }

    fn add(&mut self, file: &str, span: Span, block: Block) -> Result<(), String> {
        let count = match self.mode {
            Mode::Set => block.count.min(1),
            Mode::Count | Mode::Atomic => block.count,
        };
        if !self.files.contains_key(file) {
            self.files.insert(file.to_owned(), BTreeMap::new());
        }
        let Some(blocks) = self.files.get_mut(file) else {
            return Ok(());
        };
        match blocks.entry(span) {
            Entry::Vacant(place) => {
                place.insert(Block { count, ..block });
            }
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                if known.statements != block.statements {
                    return Err(conflict(file, span));
                }
                known.count = match self.mode {
                    Mode::Set => known.count.max(count),
                    Mode::Count | Mode::Atomic => known.count.saturating_add(count),
                };
            }
        }
        Ok(())
    }

    /// Adds another run of the same program. The two must be of one mode and
    /// agree on the blocks; on an error nothing was added.
    pub fn merge(&mut self, other: &Profile) -> Result<(), Error> {
        let fail = |what| Error { line: 0, what };
        if self.mode != other.mode {
            let (ours, theirs) = (self.mode.word(), other.mode.word());
            return Err(fail(format!(
                "mode {theirs} cannot be added to mode {ours}"
            )));
        }
        for (file, blocks) in &other.files {
            let Some(known) = self.files.get(file) else {
                continue;
            };
            for (span, block) in blocks {
                if known
                    .get(span)
                    .is_some_and(|known| known.statements != block.statements)
                {
                    return Err(fail(conflict(file, *span)));
                }
            }
        }
        for (file, blocks) in &other.files {
            for (span, block) in blocks {
                self.add(file, *span, *block).map_err(fail)?;
            }
        }
        Ok(())
    }

    /// Writes it as Go does: by file and place.
    pub fn to_text(&self) -> String {
        let mut text = format!("mode: {}\n", self.mode.word());
        for (file, blocks) in &self.files {
            for (span, block) in blocks {
                let Block { statements, count } = block;
                let _ = writeln!(text, "{file}:{} {statements} {count}", SpanText(*span));
            }
        }
        text
    }
}

fn conflict(file: &str, span: Span) -> String {
    format!(
        "block {} of {file} has another number of statements elsewhere",
        SpanText(span)
    )
}

struct SpanText(Span);

impl std::fmt::Display for SpanText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Span {
            start_line,
            start_column,
            end_line,
            end_column,
        } = self.0;
        write!(f, "{start_line}.{start_column},{end_line}.{end_column}")
    }
}

/// The file's name may hold spaces and colons; everything behind it may not.
fn parse_block(line: &str) -> Option<(&str, Span, Block)> {
    let (rest, count) = line.trim_end_matches('\r').rsplit_once(' ')?;
    let (rest, statements) = rest.rsplit_once(' ')?;
    let (file, span) = rest.rsplit_once(':')?;
    let (start, end) = span.split_once(',')?;
    let point = |text: &str| {
        let (line, column) = text.split_once('.')?;
        Some((number(line)?, number(column)?))
    };
    let ((start_line, start_column), (end_line, end_column)) = (point(start)?, point(end)?);
    if file.is_empty() || (end_line, end_column) < (start_line, start_column) {
        return None;
    }
    let block = Block {
        statements: number(statements)?,
        // A count above 64 bits is more than enough.
        count: match count.parse() {
            Ok(count) => count,
            Err(_) if count.bytes().all(|b| b.is_ascii_digit()) && !count.is_empty() => u64::MAX,
            Err(_) => return None,
        },
    };
    Some((
        file,
        Span {
            start_line,
            start_column,
            end_line,
            end_column,
        },
        block,
    ))
}

fn number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
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
                "mode: atomic\na.go:1.2,3.4 2 18446744073709551615\n",
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
        let cases = [
            ("", 0),
            ("a.go:1.2,3.4 2 1\n", 1),
            ("mode: fast\n", 1),
            ("mode: set\nmode: count\n", 2),
            ("mode: set\na.go:1.2,3.4 2 -1\n", 2),
            ("mode: set\na.go:3.2,1.4 2 1\n", 2),
            ("mode: set\na.go:1.2,3.4 2 1\na.go:1.2,3.4 3 1\n", 3),
            ("mode: set\na.go:1.2,3.4 2 1", 2),
        ];
        for (text, line) in cases {
            assert_eq!(
                Profile::parse(text.as_bytes()).unwrap_err().line,
                line,
                "{text:?}"
            );
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
