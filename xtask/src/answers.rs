//! Whether two programs gave the same answer to one question.

use std::collections::BTreeMap;
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
    let parts = |text: &str, end: &str| -> Vec<String> {
        let parts = text.split(end).map(|part| part.trim().to_owned());
        parts.filter(|part| !part.is_empty()).collect()
    };
    let (theirs, ours) = match answer {
        Answer::Profdata => (functions(theirs)?, functions(ours)?),
        Answer::Covdata(covdata) => (text_of(covdata, theirs)?, text_of(covdata, ours)?),
        Answer::Lines => (parts(&read(theirs)?, "\n"), parts(&read(ours)?, "\n")),
        Answer::Lcov => (
            parts(&read(theirs)?, "end_of_record\n"),
            parts(&read(ours)?, "end_of_record\n"),
        ),
        Answer::Json => (pieces(&read(theirs)?), pieces(&read(ours)?)),
        Answer::Any => {
            let is_there = !read(theirs)?.is_empty() && !read(ours)?.is_empty();
            return Ok((!is_there).then(|| "one of them is empty".to_owned()));
        }
    };
    Ok(difference(&theirs, &ours))
}

/// What one has and the other has not, or not as often: a record told twice is
/// a wrong answer, too.
fn difference(theirs: &[String], ours: &[String]) -> Option<String> {
    if theirs.is_empty() && ours.is_empty() {
        return Some("both are empty, so nothing was compared".to_owned());
    }
    let mut surplus: BTreeMap<&str, i64> = BTreeMap::new();
    theirs
        .iter()
        .for_each(|part| *surplus.entry(part).or_default() += 1);
    ours.iter()
        .for_each(|part| *surplus.entry(part).or_default() -= 1);
    let (mut missing, mut added) = (Vec::new(), Vec::new());
    for (part, surplus) in surplus {
        match surplus {
            0 => {}
            1.. => missing.push(part),
            _ => added.push(part),
        }
    }
    if missing.is_empty() && added.is_empty() {
        return None;
    }
    let first = |parts: &[&str]| -> String {
        let part = parts.first().copied().unwrap_or_default();
        part.chars().take(400).collect()
    };
    Some(format!(
        "of {} parts {} are missing and {} are new\ntheirs: {}\nours:   {}",
        theirs.len(),
        missing.len(),
        added.len(),
        first(&missing),
        first(&added),
    ))
}

/// Records of an indexed profile, as LLVM's own tool reads them, without the
/// functions that never ran: `-sparse` leaves them out.
fn functions(profile: &Path) -> Result<Vec<String>, String> {
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

fn text_of(covdata: &Path, dir: &Path) -> Result<Vec<String>, String> {
    let mut textfmt = Command::new(covdata);
    textfmt
        .arg("textfmt")
        .arg(format!("-i={}", dir.display()))
        .arg("-o=/dev/stdout");
    Ok(output(&mut textfmt)?.lines().map(str::to_owned).collect())
}

/// A JSON text cut at what separates its objects, so that the order of files
/// and functions does not matter.
fn pieces(text: &str) -> Vec<String> {
    let cut = text.replace("},{", "}\n{").replace("],\"", "]\n\"");
    cut.lines()
        .map(|piece| piece.trim_matches([',', '[', ']', '{', '}']).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_told_twice_or_no_part_at_all_is_a_difference() {
        let parts = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(difference(&parts("a b b"), &parts("b a b")), None);
        assert!(difference(&parts("a b"), &parts("a b b")).is_some());
        assert!(difference(&parts("a a b"), &parts("a b b")).is_some());
        assert!(difference(&[], &[]).is_some());
    }
}
