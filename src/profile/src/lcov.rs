//! LCOV tracefiles, as geninfo, llvm-cov, grcov, cargo-llvm-cov, tarpaulin and
//! others write them.
//!
//! Records are lines; a file's records are between `SF` and `end_of_record`.
//! The same file may come again, for another test: its counts add up.
//!
//! | record | fields |
//! |---|---|
//! | `TN` | name of the test |
//! | `SF` | path of the source file |
//! | `VER` | version of the source file |
//! | `FN` | first line, last line (lcov 2, optional), name |
//! | `FNDA` | count, name |
//! | `FNL` | index, first line, last line (optional); lcov 2.2 |
//! | `FNA` | index, count, name; lcov 2.2 |
//! | `BRDA` | line, `e` for an exception (lcov 2), block, number or expression of the branch, count or `-` |
//! | `MCDC` | line, size, sense, count, index, expression; lcov 2.2; read over |
//! | `DA` | line, count, checksum (optional) |
//! | `FNF`, `FNH`, `BRF`, `BRH`, `MCF`, `MCH`, `LF`, `LH` | totals; what they say follows from the others |
//!
//! Sources: geninfo(1), section FILES, of lcov 1.16 and 2.3; for what
//! tolerant readers accept, `read_info_file` of lcov 1.16.

use std::collections::BTreeMap;

use crate::error::{Kind, ParseError};
use crate::neutral::{
    BranchId, Budget, FileLines, Findings, FunctionId, LineCoverage, Parsed, count, number, shown,
    whole,
};

mod write;

pub use write::{record, text};

/// Whether bytes begin like a tracefile.
pub fn is_lcov(bytes: &[u8]) -> bool {
    let begin = |line: &&[u8]| !line.is_empty() && !line.starts_with(b"#");
    let bytes = bytes.get(..4096).unwrap_or(bytes);
    let mut lines = without_mark(bytes).split(|byte| *byte == b'\n');
    let first = lines.find(|line| begin(&line.trim_ascii_end()));
    first.is_some_and(|line| line.starts_with(b"TN:") || line.starts_with(b"SF:"))
}

/// Reads a tracefile.
///
/// What tolerant tools accept is accepted and told in
/// [`Parsed::findings`]: negative counts (a bug of gcov; they count as 0),
/// counts written as `1e+20`, records nobody knows, line 0, a missing
/// `end_of_record`, bytes that are no UTF-8. A known record of another shape, or outside
/// of a file, and a last line that was cut off are errors.
///
/// ```
/// let text = b"TN:\nSF:src/a.rs\nDA:1,3\nDA:2,0\nLF:2\nLH:1\nend_of_record\n";
/// let parsed = podcov_profile::lcov::parse(text)?;
/// assert_eq!(parsed.coverage.files["src/a.rs"].lines[&1], 3);
/// assert!(parsed.findings.is_empty());
/// # Ok::<(), podcov_profile::ParseError>(())
/// ```
pub fn parse(bytes: &[u8]) -> Result<Parsed, ParseError> {
    if bytes.is_empty() {
        return Err(ParseError::empty(
            "a tracefile has records, this has no byte",
        ));
    }
    let mut reader = Reader {
        bytes,
        at: bytes.len() - without_mark(bytes).len(),
        budget: Budget::of(bytes),
        findings: Findings::default(),
        files: BTreeMap::new(),
        open: None,
    };
    reader.read()?;
    Ok(Parsed {
        coverage: LineCoverage {
            files: reader.files,
        },
        roots: Vec::new(),
        findings: reader.findings.0,
    })
}

/// Without the mark of UTF-8 that some editors put in front.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

struct Reader<'a> {
    bytes: &'a [u8],
    /// Where the line begins that is read.
    at: usize,
    budget: Budget,
    findings: Findings,
    files: BTreeMap<String, FileLines>,
    open: Option<Open<'a>>,
}

/// A file whose records are read.
struct Open<'a> {
    path: String,
    file: FileLines,
    /// Functions and their calls meet by name, at the end of the record.
    places: Vec<(&'a [u8], u32, u32)>,
    calls: Vec<(&'a [u8], u64)>,
    /// `FNL` by index.
    leaders: BTreeMap<u64, (u32, u32)>,
    /// Numbers of branches that are written as expressions.
    expressions: BTreeMap<(u32, u32, &'a [u8]), u32>,
    /// The next such number, by line and block.
    next: BTreeMap<(u32, u32), u32>,
}

impl<'a> Reader<'a> {
    fn read(&mut self) -> Result<(), ParseError> {
        while self.at < self.bytes.len() {
            let bytes = self.bytes;
            let rest = &bytes[self.at..];
            let end = rest.iter().position(|byte| *byte == b'\n');
            let line = &rest[..end.unwrap_or(rest.len())];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if end.is_none() && self.open.is_some() && line.trim_ascii() != b"end_of_record" {
                let what = "its last line was cut off";
                return Err(self.error_of(Kind::Truncated, what));
            }
            self.line(line)?;
            self.at += end.map_or(rest.len(), |end| end + 1);
        }
        if self.open.is_some() {
            self.unfinished();
            self.close()?;
        }
        if self.files.is_empty() {
            return Err(self.error("expected `SF:` and the records of a file, found none"));
        }
        Ok(())
    }

    fn line(&mut self, line: &'a [u8]) -> Result<(), ParseError> {
        if line.trim_ascii().is_empty() || line.starts_with(b"#") {
            return Ok(());
        }
        if line.trim_ascii() == b"end_of_record" {
            return self.close();
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (word, rest) = match colon {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        match word {
            b"TN" | b"VER" => Ok(()),
            // KF is what lcov calls a file of the kernel.
            b"SF" | b"KF" => self.open(rest),
            b"DA" | b"FN" | b"FNDA" | b"FNL" | b"FNA" | b"BRDA" => self.data(word, rest),
            b"FNF" | b"FNH" | b"BRF" | b"BRH" | b"LF" | b"LH" | b"MCF" | b"MCH" => Ok(()),
            b"MCDC" => {
                let text = || "MC/DC records are read over".to_owned();
                self.findings.note("mcdc-left-out", self.at as u64, text);
                Ok(())
            }
            _ => {
                let text = || format!("`{}` is no record of LCOV", shown(word));
                self.findings.note("unknown-record", self.at as u64, text);
                Ok(())
            }
        }
    }

    fn open(&mut self, path: &'a [u8]) -> Result<(), ParseError> {
        if self.open.is_some() {
            self.unfinished();
            self.close()?;
        }
        let path = self.text(path);
        if path.trim().is_empty() {
            return Err(self.error("expected a path behind `SF:`"));
        }
        let file = match self.files.remove(&path) {
            Some(file) => file,
            None => {
                let cost = Budget::FILE + path.len() as u64;
                self.budget.charge(cost, self.at as u64)?;
                FileLines::default()
            }
        };
        self.open = Some(Open {
            path,
            file,
            places: Vec::new(),
            calls: Vec::new(),
            leaders: BTreeMap::new(),
            expressions: BTreeMap::new(),
            next: BTreeMap::new(),
        });
        Ok(())
    }

    fn data(&mut self, word: &[u8], rest: &'a [u8]) -> Result<(), ParseError> {
        let Some(mut open) = self.open.take() else {
            let word = shown(word);
            return Err(self.error(format!("expected `SF:` before `{word}:`")));
        };
        let done = match word {
            b"DA" => self.da(&mut open, rest)?,
            b"FN" => self.function(&mut open, rest)?,
            b"FNDA" => self.calls(&mut open, rest)?,
            b"FNL" => self.leader(&mut open, rest)?,
            b"FNA" => self.alias(&mut open, rest)?,
            _ => self.branch(&mut open, rest)?,
        };
        self.open = Some(open);
        match done {
            Some(()) => Ok(()),
            None => {
                let (word, rest) = (shown(word), shown(rest));
                Err(self.error(format!("`{word}:{rest}` is no {word} record")))
            }
        }
    }

    fn da(&mut self, open: &mut Open<'a>, rest: &[u8]) -> Result<Option<()>, ParseError> {
        let mut fields = rest.split(|byte| *byte == b',');
        let (Some(line), Some(count)) = (fields.next(), fields.next()) else {
            return Ok(None);
        };
        let (Some(line), Some(count)) = (number(line), self.count(count)) else {
            return Ok(None);
        };
        if line == 0 {
            let text = || "line 0 is no line".to_owned();
            self.findings.note("line-zero", self.at as u64, text);
        } else if open.file.add_line(line, count) {
            self.budget.charge(Budget::LINE, self.at as u64)?;
        }
        Ok(Some(()))
    }

    fn function(&mut self, open: &mut Open<'a>, rest: &'a [u8]) -> Result<Option<()>, ParseError> {
        let Some((Some(start), name)) = split(rest).map(|(start, rest)| (number(start), rest))
        else {
            return Ok(None);
        };
        let (end, name) = match split(name).map(|(end, name)| (number(end), name)) {
            Some((Some(end), name)) if !name.is_empty() => (end, name),
            _ => (0, name),
        };
        if name.is_empty() {
            return Ok(None);
        }
        // The list doubles when it is full.
        self.budget.charge(64, self.at as u64)?;
        open.places.push((name, start, end));
        Ok(Some(()))
    }

    fn calls(&mut self, open: &mut Open<'a>, rest: &'a [u8]) -> Result<Option<()>, ParseError> {
        let Some((count, name)) = split(rest) else {
            return Ok(None);
        };
        let (Some(count), false) = (self.count(count), name.is_empty()) else {
            return Ok(None);
        };
        self.budget.charge(48, self.at as u64)?;
        open.calls.push((name, count));
        Ok(Some(()))
    }

    fn leader(&mut self, open: &mut Open<'a>, rest: &[u8]) -> Result<Option<()>, ParseError> {
        let mut fields = rest.split(|byte| *byte == b',');
        let index = fields.next().and_then(whole);
        let start = fields.next().and_then(number);
        let end = fields.next().map_or(Some(0), number);
        let (Some(index), Some(start), Some(end)) = (index, start, end) else {
            return Ok(None);
        };
        self.budget.charge(48, self.at as u64)?;
        open.leaders.insert(index, (start, end));
        Ok(Some(()))
    }

    fn alias(&mut self, open: &mut Open<'a>, rest: &[u8]) -> Result<Option<()>, ParseError> {
        let Some((index, rest)) = split(rest) else {
            return Ok(None);
        };
        let Some((count, name)) = split(rest) else {
            return Ok(None);
        };
        let place = whole(index).and_then(|index| open.leaders.get(&index));
        let (Some(&(start, end)), Some(count), false) = (place, self.count(count), name.is_empty())
        else {
            return Ok(None);
        };
        self.add(open, name, (start, end), count)?;
        Ok(Some(()))
    }

    fn branch(&mut self, open: &mut Open<'a>, rest: &'a [u8]) -> Result<Option<()>, ParseError> {
        let Some((Some(line), rest)) = split(rest).map(|(line, rest)| (number(line), rest)) else {
            return Ok(None);
        };
        let plain = rest.strip_prefix(b"e");
        let Some((Some(block), rest)) =
            split(plain.unwrap_or(rest)).map(|(block, rest)| (number(block), rest))
        else {
            return Ok(None);
        };
        // An expression may hold commas, a count does not.
        let Some(comma) = rest.iter().rposition(|byte| *byte == b',') else {
            return Ok(None);
        };
        let (branch, taken) = (&rest[..comma], &rest[comma + 1..]);
        let taken = match taken {
            b"-" => None,
            taken => match self.count(taken) {
                Some(count) => Some(count),
                None => return Ok(None),
            },
        };
        let branch = match number(branch) {
            Some(branch) => branch,
            None if branch.is_empty() => return Ok(None),
            None => match open.expressions.get(&(line, block, branch)) {
                Some(known) => *known,
                None => {
                    self.budget.charge(2 * Budget::BRANCH, self.at as u64)?;
                    let next = open.next.entry((line, block)).or_default();
                    open.expressions.insert((line, block, branch), *next);
                    *next += 1;
                    *next - 1
                }
            },
        };
        let id = BranchId {
            line,
            block,
            branch,
            exception: plain.is_some(),
        };
        if open.file.add_branch(id, taken) {
            self.budget.charge(Budget::BRANCH, self.at as u64)?;
        }
        Ok(Some(()))
    }

    /// Ends the records of a file.
    fn close(&mut self) -> Result<(), ParseError> {
        let Some(mut open) = self.open.take() else {
            let text = || "`end_of_record` without `SF:`".to_owned();
            self.findings.note("unknown-record", self.at as u64, text);
            return Ok(());
        };
        let mut places = std::mem::take(&mut open.places);
        let mut calls = std::mem::take(&mut open.calls);
        // Stable: of functions of one name, the first place has the first count.
        places.sort_by_key(|(name, ..)| *name);
        calls.sort_by_key(|(name, _)| *name);
        let mut rest = calls.into_iter().peekable();
        let mut previous: Option<(&[u8], u32, u32)> = None;
        for (name, start, end) in places {
            while let Some((other, count)) = rest.next_if(|(other, _)| *other < name) {
                self.stray(&mut open, other, count, previous)?;
            }
            let count = rest.next_if(|(other, _)| *other == name);
            self.add(&mut open, name, (start, end), count.map_or(0, |(_, n)| n))?;
            previous = Some((name, start, end));
        }
        for (name, count) in rest {
            self.stray(&mut open, name, count, previous)?;
        }
        self.files.insert(open.path, open.file);
        Ok(())
    }

    /// Calls beyond the places of that name: they are of the last one, as they
    /// are where a tool sums by name, or of a function without a place.
    fn stray(
        &mut self,
        open: &mut Open<'a>,
        name: &[u8],
        count: u64,
        previous: Option<(&[u8], u32, u32)>,
    ) -> Result<(), ParseError> {
        let place = match previous {
            Some((known, start, end)) if known == name => (start, end),
            _ => {
                let text = || format!("no FN record says where `{}` is", shown(name));
                self.findings
                    .note("function-without-place", self.at as u64, text);
                (0, 0)
            }
        };
        self.add(open, name, place, count)
    }

    fn add(
        &mut self,
        open: &mut Open<'a>,
        name: &[u8],
        (start, end): (u32, u32),
        count: u64,
    ) -> Result<(), ParseError> {
        let name = self.text(name);
        let cost = Budget::FUNCTION + name.len() as u64;
        let id = FunctionId { start, name };
        if !open.file.functions.contains_key(&id) {
            self.budget.charge(cost, self.at as u64)?;
        }
        open.file.add_function(id, end, count);
        Ok(())
    }

    fn unfinished(&mut self) {
        let text = || "expected `end_of_record`".to_owned();
        self.findings
            .note("unfinished-record", self.at as u64, text);
    }

    fn text(&mut self, bytes: &[u8]) -> String {
        match String::from_utf8_lossy(bytes) {
            std::borrow::Cow::Borrowed(text) => text.to_owned(),
            std::borrow::Cow::Owned(text) => {
                let what = || format!("`{text}` is no UTF-8 in the file");
                self.findings.note("not-utf-8", self.at as u64, what);
                text
            }
        }
    }

    fn count(&mut self, text: &[u8]) -> Option<u64> {
        count(text, self.at as u64, &mut self.findings)
    }

    fn error(&self, what: impl Into<String>) -> ParseError {
        self.error_of(Kind::Malformed, what)
    }

    fn error_of(&self, kind: Kind, what: impl Into<String>) -> ParseError {
        ParseError {
            kind,
            what: what.into(),
            offset: self.at as u64,
            len: self.bytes.len() as u64,
        }
    }
}

/// What is before and behind the first comma.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let comma = text.iter().position(|byte| *byte == b',')?;
    Some((&text[..comma], &text[comma + 1..]))
}
