//! Fixtures, LLVM's tools, and what a profile says in a form to compare.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use podcov_profile::Limits;
use podcov_profile::llvm::profile::{Counts, Profile};
use podcov_profile::llvm::{indexed, raw, text};

pub const LLVM: &str = "22";

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

pub fn fixture(path: &str) -> Vec<u8> {
    let path = fixtures().join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All fixtures whose names end so, with their names.
pub fn fixtures_of(ending: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for dir in [
        "rust", "llvm/14", "llvm/15", "llvm/16", "llvm/18", "llvm/19", "llvm/22",
    ] {
        for entry in std::fs::read_dir(fixtures().join(dir)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name.ends_with(ending) {
                found.push((format!("{dir}/{name}"), std::fs::read(path).unwrap()));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

/// Runs one of LLVM's tools and gives what it prints.
pub fn llvm(tool: &str, args: &[&str]) -> Vec<u8> {
    let name = format!("llvm-{tool}-{LLVM}");
    let output = Command::new(&name)
        .args(args)
        .output()
        .unwrap_or_else(|error| {
            panic!("{name}: {error}: apt-get install --no-install-recommends llvm-{LLVM}")
        });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {args:?}: {said}");
    assert!(!said.contains("warning"), "{name} {args:?}: {said}");
    output.stdout
}

/// What `llvm-profdata merge -text` says of files.
pub fn merged_by_llvm(files: &[&Path]) -> Profile {
    let mut args = vec!["merge", "-text", "-o", "-"];
    args.extend(files.iter().map(|file| file.to_str().unwrap()));
    text_profile(&llvm("profdata", &args))
}

pub fn text_profile(bytes: &[u8]) -> Profile {
    let (profile, conflicts) = text::read(bytes, &Limits::default())
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)));
    assert_eq!(conflicts, []);
    profile
}

/// The sum of all profiles of raw files, one by one.
pub fn merged(files: &[&[u8]]) -> Profile {
    let limits = Limits::default();
    let mut all = Profile::default();
    for part in files.iter().flat_map(|bytes| raw::parts(bytes, &limits)) {
        let (profile, conflicts) = part.unwrap().profile(&limits).unwrap();
        assert_eq!(conflicts, []);
        assert_eq!(all.absorb(profile), []);
    }
    all
}

pub fn indexed_profile(bytes: &[u8]) -> Profile {
    let read = indexed::read(bytes, &Limits::default()).unwrap();
    assert_eq!(read.conflicts, []);
    read.profile
}

/// Counts by name and hash.
pub type Functions = BTreeMap<(String, u64), Counts>;

pub fn functions(profile: &Profile) -> Functions {
    let functions = profile.functions.iter();
    functions
        .map(|(function, counts)| {
            let name = &profile.names[&function.name];
            let name = String::from_utf8_lossy(name).into_owned();
            ((name, function.hash), counts.clone())
        })
        .collect()
}
