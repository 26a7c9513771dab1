//! Codecov's custom coverage format: for each file its lines, by number, with
//! a count, or with `"1/2"` where only some of a line ran.
//!
//! Source: docs.codecov.com, "Codecov Custom Coverage Format".

use std::collections::BTreeMap;

use serde::Serialize;

use crate::neutral::{FileLines, LineCoverage};

#[derive(Serialize)]
struct Document<'a> {
    coverage: BTreeMap<&'a str, BTreeMap<u32, Hits>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Hits {
    Count(u64),
    Partial(String),
}

/// The coverage as JSON. A line with branches of which some were not taken says
/// how many were; one that ran in part without branches is half covered.
///
/// ```
/// # use podcov_profile::{codecov, lcov};
/// let parsed = lcov::parse(b"SF:src/a.rs\nDA:1,3\nDA:2,0\nend_of_record\n")?;
/// let json = codecov::text(&parsed.coverage);
/// assert_eq!(json, "{\"coverage\":{\"src/a.rs\":{\"1\":3,\"2\":0}}}\n");
/// # Ok::<(), podcov_profile::ParseError>(())
/// ```
pub fn text(coverage: &LineCoverage) -> String {
    let files = coverage.files.iter();
    let document = Document {
        coverage: files
            .map(|(path, file)| (path.as_str(), lines(file)))
            .collect(),
    };
    // Keys are strings and numbers, and nothing is a NaN: nothing can fail.
    let mut json = serde_json::to_string(&document).unwrap_or_default();
    json.push('\n');
    json
}

fn lines(file: &FileLines) -> BTreeMap<u32, Hits> {
    let branches = file.branches_by_line();
    let hits = |(&number, &count): (&u32, &u64)| {
        let missed = branches
            .get(&number)
            .filter(|ratio| ratio.covered < ratio.total);
        let hits = match missed {
            _ if count == 0 => Hits::Count(0),
            Some(ratio) => Hits::Partial(format!("{}/{}", ratio.covered, ratio.total)),
            None if file.partial.contains(&number) => Hits::Partial("1/2".to_owned()),
            None => Hits::Count(count),
        };
        (number, hits)
    };
    file.lines.iter().map(hits).collect()
}
