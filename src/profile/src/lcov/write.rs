//! Writing LCOV so that every reader of it gets the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::neutral::{FileLines, FunctionId, LineCoverage, on_one_line};

/// A whole tracefile, of one test or of none (`""`).
///
/// ```
/// # let text = b"SF:src/a.rs\nDA:1,3\nend_of_record\n";
/// # let coverage = podcov_profile::lcov::parse(text)?.coverage;
/// assert_eq!(
///     podcov_profile::lcov::text(&coverage, ""),
///     "TN:\nSF:src/a.rs\nFNF:0\nFNH:0\nDA:1,3\nLF:1\nLH:1\nend_of_record\n"
/// );
/// # Ok::<(), podcov_profile::ParseError>(())
/// ```
pub fn text(coverage: &LineCoverage, test: &str) -> String {
    let mut out = String::new();
    for (path, file) in &coverage.files {
        record(&mut out, test, path, file);
    }
    out
}

/// Appends the records of one file.
///
/// `LF` and `LH` count the `DA` lines, as lcov itself does. Readers find the
/// calls of a function by its name alone, and some end a name at a comma:
/// commas become `;`, and functions of one name have their line behind it. What
/// would end a line is shown as `␊`. Of a test's name, letters, digits and `_`
/// are left, which is all that lcov takes.
pub fn record(out: &mut String, test: &str, path: &str, file: &FileLines) {
    let test: String = test
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    // Writing to a string does not fail.
    let _ = writeln!(out, "TN:{test}\nSF:{}", on_one_line(path));
    let names = names(file);
    for ((id, _), name) in file.functions.iter().zip(&names) {
        let _ = writeln!(out, "FN:{},{name}", id.start.max(1));
    }
    for (calls, name) in file.functions.values().zip(&names) {
        let _ = writeln!(out, "FNDA:{},{name}", calls.count);
    }
    let functions = file.function_ratio();
    let _ = writeln!(out, "FNF:{}\nFNH:{}", functions.total, functions.covered);
    for (id, taken) in &file.branches {
        let exception = if id.exception { "e" } else { "" };
        let _ = write!(
            out,
            "BRDA:{},{exception}{},{},",
            id.line, id.block, id.branch
        );
        let _ = match taken {
            Some(taken) => writeln!(out, "{taken}"),
            None => writeln!(out, "-"),
        };
    }
    let branches = file.branch_ratio();
    if branches.total > 0 {
        let _ = writeln!(out, "BRF:{}\nBRH:{}", branches.total, branches.covered);
    }
    for (number, count) in &file.lines {
        let _ = writeln!(out, "DA:{number},{count}");
    }
    let lines = file.line_ratio();
    let _ = writeln!(
        out,
        "LF:{}\nLH:{}\nend_of_record",
        lines.total, lines.covered
    );
}

/// What each function is called, each name once.
fn names(file: &FileLines) -> Vec<String> {
    let plain = |id: &FunctionId| {
        let name = on_one_line(&id.name).replace(',', ";");
        if name.is_empty() {
            "?".to_owned()
        } else {
            name
        }
    };
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for id in file.functions.keys() {
        *seen.entry(plain(id)).or_default() += 1;
    }
    let mut taken: BTreeSet<String> = seen
        .iter()
        .filter(|(_, times)| **times == 1)
        .map(|(name, _)| name.clone())
        .collect();
    let mut again: BTreeMap<String, usize> = BTreeMap::new();
    let name = |id: &FunctionId| {
        let name = plain(id);
        if seen.get(&name).is_none_or(|times| *times == 1) {
            return name;
        }
        let base = format!("{name}:{}", id.start);
        let mut name = base.clone();
        while !taken.insert(name.clone()) {
            let times = again.entry(base.clone()).or_insert(1);
            *times += 1;
            name = format!("{base}:{times}");
        }
        name
    };
    file.functions.keys().map(name).collect()
}
