//! What `llvm-cov export -format=text` writes (JSON, versions 2 and 3), as far
//! as a report needs it, and LLVM's way from segments to lines.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use crate::model::{Line, Ratio};

/// No region of a source has more lines; one that claims to is cut.
const MAX_LINES: u32 = 1 << 20;

/// The whole document.
#[derive(Clone, Debug, Deserialize)]
pub struct Export {
    /// One entry for each run of the exporter.
    pub data: Vec<Data>,
    /// `llvm.coverage.json.export`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `3.1.0`.
    pub version: String,
}

/// What was exported.
#[derive(Clone, Debug, Deserialize)]
pub struct Data {
    /// The source files.
    pub files: Vec<File>,
    /// Every instantiation of every function; absent with `-summary-only`.
    #[serde(default)]
    pub functions: Vec<Function>,
}

/// One source file.
#[derive(Clone, Debug, Deserialize)]
pub struct File {
    /// As the coverage mapping calls it.
    pub filename: String,
    /// Places where the count changes; absent with `-summary-only`.
    #[serde(default)]
    pub segments: Vec<Segment>,
    /// The numbers of `llvm-cov report`.
    pub summary: Summary,
}

/// The numbers of one file.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Summary {
    /// Functions as written.
    pub functions: Count,
    /// Functions as compiled.
    pub instantiations: Count,
    /// Lines.
    pub lines: Count,
    /// Code regions.
    pub regions: Count,
}

/// How many there are, and how many were reached.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Count {
    /// All.
    pub count: u64,
    /// Reached.
    pub covered: u64,
}

impl From<Count> for Ratio {
    fn from(count: Count) -> Ratio {
        Ratio::new(count.covered, count.count)
    }
}

/// A place where the count changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
    /// How often what follows ran.
    pub count: u64,
    /// There is code that is counted.
    pub has_count: bool,
    /// A region begins here; otherwise one ended.
    pub is_entry: bool,
    /// Blanks between code, which do not make a line count.
    pub is_gap: bool,
}

impl<'de> Deserialize<'de> for Segment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Segment;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[line, column, count, has count, is entry, is gap]")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Segment, A::Error> {
                let segment = Segment {
                    line: next(&mut seq, 0)?,
                    column: next(&mut seq, 1)?,
                    count: next(&mut seq, 2)?,
                    has_count: next(&mut seq, 3)?,
                    is_entry: next(&mut seq, 4)?,
                    // Absent in version 2.0.0.
                    is_gap: seq.next_element()?.unwrap_or(false),
                };
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(segment)
            }
        }
        deserializer.deserialize_seq(Array)
    }
}

fn next<'de, A, T>(seq: &mut A, index: usize) -> Result<T, A::Error>
where
    A: SeqAccess<'de>,
    T: Deserialize<'de>,
{
    seq.next_element()?
        .ok_or_else(|| serde::de::Error::invalid_length(index, &"a longer array"))
}

/// One instantiation of a function.
#[derive(Clone, Debug, Deserialize)]
pub struct Function {
    /// Mangled.
    pub name: String,
    /// How often it was called.
    pub count: u64,
    /// The files its regions refer to; it is written in the first.
    pub filenames: Vec<String>,
    /// Its regions.
    pub regions: Vec<Region>,
}

/// A region of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Line it starts on.
    pub start_line: u32,
    /// Column it starts at.
    pub start_column: u32,
    /// Line it ends on.
    pub end_line: u32,
    /// Column it ends at.
    pub end_column: u32,
    /// How often it ran.
    pub count: u64,
    /// Index into [`Function::filenames`].
    pub file: u32,
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Region;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[line, column, line, column, count, file, expanded file, kind]")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Region, A::Error> {
                let region = Region {
                    start_line: next(&mut seq, 0)?,
                    start_column: next(&mut seq, 1)?,
                    end_line: next(&mut seq, 2)?,
                    end_column: next(&mut seq, 3)?,
                    count: next(&mut seq, 4)?,
                    file: next(&mut seq, 5)?,
                };
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(region)
            }
        }
        deserializer.deserialize_seq(Array)
    }
}

impl Export {
    /// Whether this reader understands the document.
    pub fn check(&self) -> Result<(), String> {
        let major = self.version.split('.').next().unwrap_or_default();
        if self.kind != "llvm.coverage.json.export" || !["2", "3"].contains(&major) {
            return Err(format!(
                "expected llvm.coverage.json.export of version 2 or 3, found {} of version {}",
                self.kind, self.version
            ));
        }
        Ok(())
    }
}

/// The lines with code of a file, with their counts, by LLVM's rule.
///
/// A line is described by the segments that begin on it and by the last one
/// before it, which wraps into it. It has code when a counted region begins on
/// it, or when a counted region wraps into it and the line does not begin with
/// a region that was skipped. Its count is the largest of the wrapping count
/// and those of the counted regions, gaps apart, that begin on it; a gap
/// counts only by wrapping. This is what `llvm-cov show` and the DA records of
/// `-format=lcov` say; a test holds them against each other.
pub fn lines(segments: &[Segment]) -> Vec<Line> {
    let mut lines = Vec::new();
    each_line(segments, |first, last| {
        let last = last.min(first.number.saturating_add(MAX_LINES));
        lines.extend((first.number..=last).map(|number| Line { number, ..first }));
    });
    lines
}

/// Goes through the lines that [`lines`] gives, those without a segment of
/// their own between two segments at once: the first one and the number of the
/// last.
pub(crate) fn each_line(segments: &[Segment], mut found: impl FnMut(Line, u32)) {
    let mut wrapping: Option<Segment> = None;
    let mut rest = segments;
    while let Some(first) = rest.first() {
        let number = wrapping.map_or(first.line, |last: Segment| first.line.max(last.line + 1));
        if let Some(before) = wrapping.filter(|segment| segment.has_count)
            && before.line.saturating_add(1) < number
        {
            let line = Line {
                number: before.line.saturating_add(1),
                count: before.count,
                partial: false,
            };
            found(line, number - 1);
        }
        let here = rest
            .iter()
            .take_while(|segment| segment.line <= number)
            .count();
        let (on_line, later) = rest.split_at(here);
        if let Some(line) = line(number, on_line, wrapping) {
            found(line, number);
        }
        wrapping = on_line.last().copied().or(wrapping);
        rest = later;
    }
}

fn line(number: u32, on_line: &[Segment], wrapping: Option<Segment>) -> Option<Line> {
    let begins = |s: &&Segment| s.is_entry && s.has_count;
    let starts = || on_line.iter().filter(begins).filter(|s| !s.is_gap);
    let wrapped = wrapping.filter(|segment| segment.has_count);
    let is_skipped = on_line.first().is_some_and(|s| s.is_entry && !s.has_count);
    let has_code = !is_skipped && (wrapped.is_some() || starts().next().is_some())
        || on_line.iter().any(|s| begins(&s));
    if !has_code {
        return None;
    }
    let count = starts()
        .map(|segment| segment.count)
        .chain(wrapping.map(|segment| segment.count))
        .max()
        .unwrap_or(0);
    let unreached = starts().any(|segment| segment.count == 0)
        || wrapped.is_some_and(|segment| segment.count == 0 && !segment.is_gap);
    Some(Line {
        number,
        count,
        partial: count > 0 && unreached,
    })
}

/// A function as written: all of its instantiations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    /// Mangled names, in the order of the export.
    pub names: Vec<&'a str>,
    /// First line.
    pub start: u32,
    /// Last line.
    pub end: u32,
    /// How often it was called.
    pub count: u64,
}

/// The functions of each file by the place they start at, which is what LLVM
/// tells instantiations of one function by.
pub fn groups(functions: &[Function]) -> BTreeMap<&str, BTreeMap<(u32, u32), Group<'_>>> {
    let mut files: BTreeMap<&str, BTreeMap<(u32, u32), Group<'_>>> = BTreeMap::new();
    for function in functions {
        let Some(file) = function.filenames.first() else {
            continue;
        };
        let mut regions = function.regions.iter().filter(|region| region.file == 0);
        let Some(first) = regions.next() else {
            continue;
        };
        let end = regions
            .map(|region| region.end_line)
            .fold(first.end_line, u32::max);
        let group = files
            .entry(file)
            .or_default()
            .entry((first.start_line, first.start_column))
            .or_insert_with(|| Group {
                names: vec![],
                start: first.start_line,
                end,
                count: 0,
            });
        group.names.push(&function.name);
        group.end = group.end.max(end);
        group.count = group.count.saturating_add(function.count);
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(segments: &str, expected: &[(u32, u64, bool)]) {
        let segments: Vec<Segment> = serde_json::from_str(segments).unwrap();
        let found: Vec<_> = lines(&segments)
            .iter()
            .map(|l| (l.number, l.count, l.partial))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn lines_follow_the_rule_of_llvm() {
        // A region over three lines with an unreached one inside.
        check(
            "[[1,1,5,true,true,false],[2,5,0,true,true,false],[2,9,5,true,false,false],\
             [3,2,0,false,false,false]]",
            &[(1, 5, false), (2, 5, true), (3, 5, false)],
        );
        // A gap does not make a count of its own line, but wraps.
        check(
            "[[1,1,2,true,true,false],[1,9,7,true,true,true],[2,1,0,false,false,false]]",
            &[(1, 2, false), (2, 7, false)],
        );
        // Lines between functions have no code.
        check(
            "[[1,1,1,true,true,false],[1,9,0,false,false,false],[9,1,0,true,true,false],\
             [9,9,0,false,false,false]]",
            &[(1, 1, false), (9, 0, false)],
        );
        // Segments of five, as older exporters wrote them.
        check("[[1,1,1,true,true],[1,2,0,false,false]]", &[(1, 1, false)]);
        check("[]", &[]);
    }

    #[test]
    fn a_claimed_line_number_costs_nothing() {
        check(
            "[[1,1,1,true,true,false],[1,2,0,false,false,false],\
             [4294967295,1,1,true,true,false],[4294967295,2,0,false,false,false]]",
            &[(1, 1, false), (4294967295, 1, false)],
        );
        let wraps = "[[1,1,1,true,true,false],[4294967295,2,0,false,false,false]]";
        let segments: Vec<Segment> = serde_json::from_str(wraps).unwrap();
        assert!(lines(&segments).len() <= MAX_LINES as usize + 3);
    }
}
