//! `llvm-cov export -format=text` as a source of lines, branches and functions.
//!
//! Lines follow from segments as [`export::lines`] says. A branch is the array
//! `[line, column, line, column, true, false, file, expanded file, kind]`; it
//! comes once for each instantiation, and their counts add up. Source:
//! `CoverageExporterJson.cpp`, LLVM 22.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use crate::error::{Kind, ParseError};
use crate::llvm::export::{self, Function, Segment, groups};
use crate::model::{Branch, offset_of};
use crate::neutral::{Budget, FileLines, FunctionId, LineCoverage, Parsed, brief};

/// As far as a segment reaches for [`export::lines`].
const MAX_LINES: u32 = 1 << 20;

#[derive(Deserialize)]
struct Document {
    data: Vec<Data>,
    #[serde(rename = "type")]
    kind: String,
    version: String,
}

#[derive(Deserialize)]
struct Data {
    files: Vec<File>,
    #[serde(default)]
    functions: Vec<Function>,
}

#[derive(Deserialize)]
struct File {
    filename: String,
    #[serde(default)]
    segments: Vec<Segment>,
    #[serde(default)]
    branches: Vec<Condition>,
}

struct Condition(Branch);

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Condition;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[line, column, line, column, true, false, file, expanded file, kind]")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Condition, A::Error> {
                let short = |length| serde::de::Error::invalid_length(length, &Array);
                let mut place = [0u32; 4];
                for (index, number) in place.iter_mut().enumerate() {
                    *number = seq.next_element()?.ok_or_else(|| short(index))?;
                }
                let [start_line, start_column, end_line, end_column] = place;
                let taken = seq.next_element()?.ok_or_else(|| short(4))?;
                let not_taken = seq.next_element()?.ok_or_else(|| short(5))?;
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Condition(Branch {
                    start_line,
                    start_column,
                    end_line,
                    end_column,
                    taken,
                    not_taken,
                }))
            }
        }
        deserializer.deserialize_seq(Array)
    }
}

/// Whether bytes begin like such an export.
pub fn is_export(bytes: &[u8]) -> bool {
    let bytes = bytes.trim_ascii_start();
    let near = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.contains("\"llvm.coverage.json.export\"")
    };
    // The type is at the end of the document, where LLVM sorts it.
    let end = bytes.len().saturating_sub(256);
    bytes.starts_with(b"{")
        && (near(bytes.get(..256).unwrap_or(bytes)) || near(bytes.get(end..).unwrap_or(bytes)))
}

/// How many lines segments can be of at most.
fn claimed(segments: &[Segment]) -> u64 {
    let after = segments.iter().skip(1).map(|segment| segment.line);
    let pairs = segments.iter().zip(after);
    pairs.fold(segments.len() as u64 + 1, |sum, (segment, next)| {
        let wrapped = if segment.has_count {
            next.saturating_sub(segment.line)
        } else {
            0
        };
        sum.saturating_add(u64::from(wrapped.min(MAX_LINES)))
    })
}

/// Reads an export with its segments; one of `-summary-only` has no lines and
/// is refused. A function is called as its first instantiation is, mangled.
///
/// ```
/// let json = br#"{"data":[{"files":[{"filename":"a.rs","segments":[
///     [1,1,4,true,true,false],[2,2,0,false,false,false]]}]}],
///     "type":"llvm.coverage.json.export","version":"3.1.0"}"#;
/// let parsed = podcov_profile::llvm_json::parse(json)?;
/// assert_eq!(parsed.coverage.files["a.rs"].lines[&2], 4);
/// # Ok::<(), podcov_profile::ParseError>(())
/// ```
pub fn parse(bytes: &[u8]) -> Result<Parsed, ParseError> {
    if bytes.is_empty() {
        return Err(ParseError::empty("an export is JSON, this has no byte"));
    }
    let fail = |kind, what, offset| ParseError {
        kind,
        what,
        offset,
        len: bytes.len() as u64,
    };
    let document: Document = serde_json::from_slice(bytes).map_err(|error| {
        let kind = if error.is_eof() {
            Kind::Truncated
        } else {
            Kind::Malformed
        };
        let offset = offset_of(bytes, error.line(), error.column());
        fail(
            kind,
            brief(&format!("no export of llvm-cov: {error}")),
            offset,
        )
    })?;
    let known = export::Export {
        data: Vec::new(),
        kind: document.kind,
        version: document.version,
    };
    known
        .check()
        .map_err(|what| fail(Kind::Unsupported, what, 0))?;
    let mut budget = Budget::of(bytes);
    let mut coverage = LineCoverage::default();
    for data in &document.data {
        let mut functions = groups(&data.functions);
        for file in &data.files {
            // The segments that claim lines are small, the lines are not.
            budget.charge(claimed(&file.segments).saturating_mul(Budget::LINE + 24), 0)?;
            let lines = export::lines(&file.segments);
            let branches: Vec<Branch> = file.branches.iter().map(|branch| branch.0).collect();
            let mut read = FileLines::of("", &lines, &[], &branches);
            for group in functions
                .remove(file.filename.as_str())
                .into_iter()
                .flatten()
            {
                let (_, group) = group;
                let id = FunctionId {
                    start: group.start,
                    name: group.names.first().copied().unwrap_or_default().to_owned(),
                };
                read.add_function(id, group.end, group.count);
            }
            coverage
                .files
                .entry(file.filename.clone())
                .or_default()
                .absorb(&read);
        }
    }
    let is_summary = document.data.iter().flat_map(|data| &data.files);
    if !coverage.files.is_empty() && is_summary.clone().all(|file| file.segments.is_empty()) {
        let what = "expected segments: an export of -summary-only has no lines".to_owned();
        return Err(fail(Kind::Unsupported, what, 0));
    }
    Ok(Parsed {
        coverage,
        ..Parsed::default()
    })
}
