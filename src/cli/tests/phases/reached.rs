//! What `coverage.json` says of who reached what.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

/// Path and number of lines.
pub type Lines = BTreeSet<(String, u64)>;

/// The lines of each key of a run's reach.
pub fn reach(run: &Path) -> BTreeMap<String, Lines> {
    let text = std::fs::read_to_string(run.join("coverage/coverage.json")).unwrap();
    let coverage: Value = serde_json::from_str(&text).unwrap();
    let mut all: BTreeMap<String, Lines> = BTreeMap::new();
    for component in coverage["components"].as_array().unwrap() {
        for binary in component["binaries"].as_array().unwrap() {
            let mut lines = Vec::new();
            for file in binary["files"].as_array().unwrap() {
                let path = file["path"].as_str().unwrap();
                for line in file["lines"].as_array().unwrap() {
                    lines.push((path.to_owned(), line["number"].as_u64().unwrap()));
                }
            }
            let Some(keys) = binary["reach"]["keys"].as_object() else {
                continue;
            };
            for (key, index) in keys {
                let set = &binary["reach"]["sets"][index.as_u64().unwrap() as usize];
                let edges: Vec<u64> = set
                    .as_array()
                    .unwrap()
                    .iter()
                    .flat_map(Value::as_u64)
                    .collect();
                let of_key = all.entry(key.clone()).or_default();
                let mut at = 0;
                for pair in edges.chunks(2) {
                    at += pair[0] as usize;
                    of_key.extend(lines[at..at + pair[1] as usize].iter().cloned());
                    at += pair[1] as usize;
                }
            }
        }
    }
    all
}
