//! Whether two programs gave the same answer to one question.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::corpus::output;

/// What an answer is, and so how two are compared.
pub enum Answer {
    /// Indexed profiles: the counters of every function that ran.
    Profdata,
    /// Directories of Go coverage, with the `covdata` that reads them.
    Covdata(PathBuf),
    /// Texts whose lines may come in another order.
    Lines,
    /// LCOV: the same records of the same files.
    Lcov,
    /// `llvm-cov export`: the same numbers, in another order.
    Json,
    /// Made for people; that there is one is all.
    Any,
}

/// The first difference, if there is one.
pub fn agree(answer: &Answer, theirs: &Path, ours: &Path) -> Result<Option<String>, String> {
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let set = |text: &str, end: &str| -> BTreeSet<String> {
        text.split(end).map(|part| part.trim().to_owned()).collect()
    };
    let (theirs, ours) = match answer {
        Answer::Profdata => (functions(theirs)?, functions(ours)?),
        Answer::Covdata(covdata) => (text_of(covdata, theirs)?, text_of(covdata, ours)?),
        Answer::Lines => (set(&read(theirs)?, "\n"), set(&read(ours)?, "\n")),
        Answer::Lcov => (
            set(&read(theirs)?, "end_of_record\n"),
            set(&read(ours)?, "end_of_record\n"),
        ),
        Answer::Json => (pieces(&read(theirs)?), pieces(&read(ours)?)),
        Answer::Any => {
            let is_there = !read(theirs)?.is_empty() && !read(ours)?.is_empty();
            return Ok((!is_there).then(|| "one of them is empty".to_owned()));
        }
    };
    Ok(difference(&theirs, &ours))
}

fn difference(theirs: &BTreeSet<String>, ours: &BTreeSet<String>) -> Option<String> {
    let missing = theirs.difference(ours).count();
    let added = ours.difference(theirs).count();
    if missing + added == 0 {
        return None;
    }
    let first = |mut parts: std::collections::btree_set::Difference<'_, String>| {
        let part = parts.next().cloned().unwrap_or_default();
        part.chars().take(400).collect::<String>()
    };
    Some(format!(
        "of {} parts {missing} are missing and {added} are new\ntheirs: {}\nours:   {}",
        theirs.len(),
        first(theirs.difference(ours)),
        first(ours.difference(theirs)),
    ))
}

/// Records of an indexed profile, as LLVM's own tool reads them, without the
/// functions that never ran: `-sparse` leaves them out.
fn functions(profile: &Path) -> Result<BTreeSet<String>, String> {
    let mut merge = Command::new("llvm-profdata-22");
    merge.args(["merge", "-text", "-o", "-"]).arg(profile);
    let text = output(&mut merge)?;
    let ran = |record: &&str| {
        let counters = record
            .lines()
            .skip_while(|line| !line.starts_with("# Counter Values"));
        counters
            .skip(1)
            .any(|line| line != "0" && line.parse::<u64>().is_ok())
    };
    let records = text.split("\n\n").filter(ran);
    Ok(records.map(|record| record.trim().to_owned()).collect())
}

fn text_of(covdata: &Path, dir: &Path) -> Result<BTreeSet<String>, String> {
    let mut textfmt = Command::new(covdata);
    textfmt
        .arg("textfmt")
        .arg(format!("-i={}", dir.display()))
        .arg("-o=/dev/stdout");
    Ok(output(&mut textfmt)?.lines().map(str::to_owned).collect())
}

/// A JSON text cut at what separates its objects, so that the order of files
/// and functions does not matter.
fn pieces(text: &str) -> BTreeSet<String> {
    let cut = text.replace("},{", "}\n{").replace("],\"", "]\n\"");
    cut.lines()
        .map(|piece| piece.trim_matches([',', '[', ']', '{', '}']).to_owned())
        .collect()
}
