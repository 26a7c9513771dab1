//! Reading the numbers of a run, and what the tools say of the same evidence.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Number of calls of every function of a component, by the end of its name.
pub fn calls(coverage: &Value, component: &str, function: &str) -> u64 {
    let mut found = Vec::new();
    for file in files(coverage, component) {
        for one in file["functions"].as_array().unwrap() {
            let name = one["name"].as_str().unwrap();
            if name.rsplit("::").next() == Some(function) {
                found.push(one["count"].as_u64().unwrap());
            }
        }
    }
    assert_eq!(found.len(), 1, "{component} {function}");
    found[0]
}

/// The one build of a component.
pub fn build<'a>(coverage: &'a Value, component: &str) -> &'a Value {
    let components = coverage["components"].as_array().unwrap();
    let found = components.iter().find(|c| c["name"] == component).unwrap();
    let builds = found["binaries"].as_array().unwrap();
    assert_eq!(builds.len(), 1, "{component}");
    &builds[0]
}

fn files<'a>(coverage: &'a Value, component: &str) -> &'a [Value] {
    build(coverage, component)["files"].as_array().unwrap()
}

/// Where the tools' files of the one build of a component are.
pub fn tools_dir(run: &Path, coverage: &Value, component: &str) -> PathBuf {
    let identity = build(coverage, component)["identity"].as_str().unwrap();
    let dir = run
        .join("coverage")
        .join(component)
        .join(identity.replace(':', "-"));
    assert!(dir.is_dir(), "{}", dir.display());
    dir
}

/// Covered and total by file and metric, as coverage.json has them.
pub fn ours(coverage: &Value, component: &str, metrics: &[&str]) -> Numbers {
    let mut numbers = Numbers::new();
    for file in files(coverage, component) {
        for metric in metrics {
            let key = (
                file["path"].as_str().unwrap().to_owned(),
                (*metric).to_owned(),
            );
            numbers.insert(key, pair(&file["metrics"][metric], "covered", "total"));
        }
    }
    numbers
}

/// Covered and total by file and metric.
pub type Numbers = BTreeMap<(String, String), (u64, u64)>;

fn pair(value: &Value, covered: &str, total: &str) -> (u64, u64) {
    let number = |key: &str| value[key].as_u64().unwrap();
    (number(covered), number(total))
}

/// The same from LLVM: merges the evidence's profiles and asks for the
/// summary of every file, as anybody would by hand.
pub fn llvm(run: &Path, component: &str, program: &str, root: &Path, metrics: &[&str]) -> Numbers {
    let scratch = tempfile::tempdir().unwrap();
    let merged = scratch.path().join("all.profdata");
    let profiles = below(&run.join("evidence"), "profraw");
    let mut merge = Command::new("llvm-profdata-22");
    said(merge.arg("merge").arg("-o").arg(&merged).args(profiles));
    let mut export = Command::new("llvm-cov-22");
    let binary = run.join("bundle").join(component).join("bin").join(program);
    export.args(["export", "--summary-only", "--instr-profile"]);
    let text = said(export.arg(&merged).arg(binary));
    let exported: Value = serde_json::from_str(&text).unwrap();
    let mut numbers = Numbers::new();
    for file in exported["data"][0]["files"].as_array().unwrap() {
        let name = Path::new(file["filename"].as_str().unwrap());
        // The standard library's inlined code is nobody's to cover.
        let Ok(name) = name.strip_prefix(root) else {
            continue;
        };
        for metric in metrics {
            let key = (name.display().to_string(), (*metric).to_owned());
            numbers.insert(key, pair(&file["summary"][metric], "covered", "count"));
        }
    }
    numbers
}

/// Statements by file from a Go text profile.
pub fn statements(profile: &str, module: &str, dir: &str) -> Numbers {
    let mut numbers = Numbers::new();
    for line in profile.lines().skip(1) {
        let (file, rest) = line.rsplit_once(':').unwrap();
        let words: Vec<&str> = rest.split(' ').collect();
        let (number, count): (u64, u64) = (words[1].parse().unwrap(), words[2].parse().unwrap());
        let file = file.strip_prefix(module).unwrap();
        let key = (format!("{dir}{file}"), "statements".to_owned());
        let entry = numbers.entry(key).or_insert((0, 0));
        entry.0 += if count > 0 { number } else { 0 };
        entry.1 += number;
    }
    numbers
}

/// Runs a program that must succeed and gives its stdout.
#[track_caller]
pub fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; apt-get install llvm-22, and Go on PATH, are needed")
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Files below a folder by the end of their name.
pub fn below(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(below(&path, extension));
        } else if path.extension().is_some_and(|end| end == extension) {
            found.push(path);
        }
    }
    found
}

/// `restart: signal or code, fate` of each incarnation of a component.
pub fn incarnations(ledger: &Value, component: &str) -> Vec<String> {
    let all = ledger["incarnations"].as_array().unwrap().iter();
    let of_it = all.filter(|one| one["component"] == component);
    let mut lines: Vec<String> = of_it
        .map(|one| {
            let end = match (&one["ended"]["code"], &one["ended"]["signal"]) {
                (Value::Number(code), Value::Null) => format!("code {code}"),
                (Value::Null, Value::Number(signal)) => format!("signal {signal}"),
                other => format!("{other:?}"),
            };
            format!(
                "start {}: {end}, {}",
                one["restart"],
                one["fate"].as_str().unwrap()
            )
        })
        .collect();
    lines.sort();
    lines
}

/// Whether a key of a component's reach has the first line of a function.
pub fn reached(coverage: &Value, component: &str, key: &str, function: &str) -> bool {
    let components = coverage["components"].as_array().unwrap().iter();
    let component = components.into_iter().find(|one| one["name"] == component);
    let mut all = component.unwrap()["binaries"].as_array().unwrap().iter();
    all.any(|binary| {
        let index = binary["reach"]["keys"][key].as_u64();
        let set = &binary["reach"]["sets"][index.unwrap_or(u64::MAX) as usize];
        let mut bit = 0;
        let mut wanted = None;
        for file in binary["files"].as_array().unwrap() {
            let functions = file["functions"].as_array().unwrap().iter();
            let ours = |f: &&Value| {
                let name = f["name"].as_str().unwrap();
                name.rsplit("::").next() == Some(function)
            };
            let start = functions.into_iter().find(ours).map(|f| f["start"].clone());
            for line in file["lines"].as_array().unwrap() {
                if start.as_ref() == Some(&line["number"]) {
                    wanted = Some(bit);
                }
                bit += 1;
            }
        }
        let wanted: u64 = wanted.unwrap_or_else(|| panic!("there is no {function}"));
        let edges = set.as_array().map_or(&[][..], Vec::as_slice);
        let mut at = 0;
        edges.chunks(2).any(|pair| {
            let from = at + pair[0].as_u64().unwrap();
            at = from + pair[1].as_u64().unwrap();
            (from..at).contains(&wanted)
        })
    })
}
