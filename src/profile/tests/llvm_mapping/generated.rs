//! Mappings from a small generator, in what versions no compiler here writes
//! and with regions in ways that compilers seldom do. llvm-cov-22 reads them by
//! way of its format for tests (`llvmcovmtestdata`, see `loadTestingFormat` in
//! `CoverageMappingReader.cpp`, LLVM 22).

use std::borrow::Cow;

use podcov_profile::Limits;
use podcov_profile::bytes::Endian;
use podcov_profile::llvm::coverage::{Coverage, Evidence, Options};
use podcov_profile::llvm::finding::Finding;
use podcov_profile::llvm::mapping::{Mapping, Paths};
use podcov_profile::llvm::object::Object;
use podcov_profile::llvm::profile::{Counts, FunctionId, Profile};
use podcov_profile::llvm::{indexed, names};

use crate::support::{Build, json, lcov, same};

/// The sections of a program.
#[derive(Clone, Default)]
pub struct Sections {
    pub covmap: Vec<u8>,
    pub covfun: Vec<u8>,
    pub names: Vec<u8>,
}

pub fn uleb(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let more = value > 0x7f;
        out.push((value & 0x7f) as u8 | if more { 0x80 } else { 0 });
        value >>= 7;
        if !more {
            break;
        }
    }
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(8), 0);
}

impl Sections {
    /// Adds a table of file names and gives its hash.
    pub fn files(&mut self, version: u32, files: &[&str]) -> u64 {
        let mut plain = Vec::new();
        for file in files {
            uleb(&mut plain, file.len() as u64);
            plain.extend(file.bytes());
        }
        let mut table = Vec::new();
        uleb(&mut table, files.len() as u64);
        uleb(&mut table, plain.len() as u64);
        uleb(&mut table, 0);
        table.extend(plain);
        for number in [0, table.len() as u32, 0, version - 1] {
            self.covmap.extend(number.to_le_bytes());
        }
        self.covmap.extend(&table);
        pad(&mut self.covmap);
        names::hash(&table)
    }

    /// Adds a function.
    pub fn function(&mut self, name: &str, hash: u64, files: u64, record: &[u8]) {
        uleb(&mut self.names, name.len() as u64);
        uleb(&mut self.names, 0);
        self.names.extend(name.bytes());
        self.covfun
            .extend(names::hash(name.as_bytes()).to_le_bytes());
        self.covfun.extend((record.len() as u32).to_le_bytes());
        self.covfun.extend(hash.to_le_bytes());
        self.covfun.extend(files.to_le_bytes());
        self.covfun.extend(record);
        pad(&mut self.covfun);
    }

    pub fn object(&self) -> Object<'_> {
        Object {
            member: None,
            arch: "x86_64".to_owned(),
            endian: Endian::Little,
            identity: None,
            covmap: Cow::Borrowed(&self.covmap),
            covfun: Cow::Borrowed(&self.covfun),
            names: Cow::Borrowed(&self.names),
        }
    }

    /// As llvm-cov's own tests have it.
    pub fn test_data(&self) -> Vec<u8> {
        let mut out = b"llvmcovm".to_vec();
        out.extend(1u64.to_le_bytes());
        uleb(&mut out, self.names.len() as u64);
        uleb(&mut out, 0);
        out.extend(&self.names);
        uleb(&mut out, self.covmap.len() as u64);
        pad(&mut out);
        out.extend(&self.covmap);
        pad(&mut out);
        out.extend(&self.covfun);
        out
    }
}

pub fn join(sections: &Sections, profile: &Profile) -> Coverage {
    let object = sections.object();
    let mapping = Mapping::read(&object, Paths::default(), &Limits::default()).unwrap();
    let evidence = Evidence {
        mappings: &[&mapping],
        profile,
    };
    Coverage::new(&[evidence], &Options::default()).unwrap()
}

/// Numbers that are the same each time.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }
}

const FILES: [&str; 5] = ["/w", "a.c", "b.h", "/abs/c.h", "sub/../d.h"];

/// A function with regions in one or more files, which may overlap in any way,
/// and its counts. Expressions are never negative.
fn function(random: &mut Random) -> (Vec<u8>, Counts) {
    let files = 1 + random.below(4) * random.below(2);
    let mut record = Vec::new();
    uleb(&mut record, files);
    for _ in 0..files {
        uleb(&mut record, 1 + random.below(FILES.len() as u64 - 1));
    }
    let counters = 1 + random.below(5);
    let counts: Vec<u64> = (0..counters)
        .map(|_| random.below(3) * random.below(9))
        .collect();
    // Expression 2i is a sum, 2i+1 takes one of its parts away again.
    let pairs = random.below(4);
    uleb(&mut record, pairs * 2);
    for pair in 0..pairs {
        let (a, b) = (
            random.below(counters) * 4 + 1,
            random.below(counters) * 4 + 1,
        );
        uleb(&mut record, a);
        uleb(&mut record, b);
        uleb(&mut record, pair * 2 * 4 + 3);
        uleb(&mut record, if random.below(2) == 0 { a } else { b });
    }
    let counter = |random: &mut Random| match random.below(5) {
        0 if pairs > 0 => random.below(pairs) * 2 * 4 + 3,
        1 if pairs > 0 => (random.below(pairs) * 2 + 1) * 4 + 2,
        2 => 0,
        _ => random.below(counters) * 4 + 1,
    };
    // Each file but the first is what one region of an earlier file expands to.
    let parents: Vec<u64> = (1..files).map(|file| random.below(file)).collect();
    for file in 0..files {
        let mut heads: Vec<Vec<u8>> = Vec::new();
        let head = |value: u64| {
            let mut bytes = Vec::new();
            uleb(&mut bytes, value);
            bytes
        };
        let first = counter(random).max(1);
        heads.push(head(first));
        for (child, parent) in (1..).zip(&parents) {
            if *parent == file {
                heads.push(head(child << 3 | 4));
            }
        }
        for _ in 0..random.below(7) {
            heads.push(match random.below(8) {
                0 => head(2 << 3),
                1 | 2 => {
                    let mut bytes = head(4 << 3);
                    uleb(&mut bytes, counter(random));
                    uleb(&mut bytes, counter(random));
                    bytes
                }
                _ => head(counter(random)),
            });
        }
        uleb(&mut record, heads.len() as u64);
        let mut line = 0;
        for head in heads {
            record.extend(&head);
            let delta = random.below(4) + u64::from(line == 0);
            let (lines, column) = (random.below(6), 1 + random.below(12));
            line += delta;
            let mut end = match lines {
                0 => column + random.below(9),
                _ => 1 + random.below(12),
            };
            if random.below(9) == 0 && head.first().is_some_and(|byte| byte & 3 != 0) {
                end |= 1 << 31;
            }
            let whole = random.below(15) == 0;
            for number in [
                delta,
                if whole { 0 } else { column },
                lines,
                if whole { 0 } else { end },
            ] {
                uleb(&mut record, number);
            }
        }
    }
    let counts = Counts {
        counters: counts,
        bitmap: Vec::new(),
    };
    (record, counts)
}

/// A program of some functions, of which some are not in the profile, some are
/// there twice, and some are dummies.
pub fn program(seed: u64, version: u32) -> (Sections, Profile) {
    let mut random = Random(seed);
    let mut sections = Sections::default();
    let mut profile = Profile::default();
    let tables = [
        sections.files(version, &FILES),
        sections.files(version, &["/v", "a.c", "b.h", "/abs/c.h", "x.h"]),
    ];
    for index in 0..40 {
        let name = format!("f{}", random.below(60));
        let (record, counts) = function(&mut random);
        let is_known = profile.names.contains_key(&names::hash(name.as_bytes()));
        let table = tables[random.below(2) as usize];
        if random.below(6) == 0 {
            let dummy = [1, 1 + random.below(4) as u8, 0, 1, 0, 1, 1, 2, 9];
            sections.function(&name, 0, table, &dummy);
            continue;
        }
        // A second record of a name is left out by both.
        let hash = 1000 + index;
        sections.function(&name, hash, table, &record);
        let id = FunctionId {
            name: names::hash(name.as_bytes()),
            hash,
        };
        if !is_known && random.below(5) > 0 {
            profile.names.insert(id.name, name.as_bytes().into());
            profile.add(id, counts).unwrap();
        }
    }
    (sections, profile)
}

#[test]
fn any_regions_are_as_llvm_cov_says() {
    let mut kinds = [0usize; 5];
    for version in 4..=7 {
        for seed in 0..12 {
            let (sections, profile) = program(seed * 100 + u64::from(version), version);
            let build = Build::new(&[]);
            std::fs::write(build.path("m.covmapping"), sections.test_data()).unwrap();
            let indexed = indexed::write(&profile, false).bytes;
            std::fs::write(build.path("m.profdata"), indexed).unwrap();
            let coverage = join(&sections, &profile);
            let what = format!("version {version}, seed {seed}");
            let theirs = build.llvm_cov(&["m.covmapping"], "m.profdata", &[]);
            same(&json(&coverage, &[]), &theirs, &[&what]);
            let theirs = build.llvm_cov(&["m.covmapping"], "m.profdata", &["-format=lcov"]);
            same(&lcov(&coverage, &[]), &theirs, &[&what]);
            for function in coverage.functions() {
                for region in function.regions() {
                    kinds[region.kind as usize] += 1;
                }
                kinds[4] += function.branches().len();
            }
        }
    }
    // Code, expansions, skipped, gaps and branches.
    assert!(kinds.iter().all(|number| *number > 100), "{kinds:?}");
}

fn one_function(record: &[u8], counters: &[u64]) -> Coverage {
    let mut sections = Sections::default();
    let table = sections.files(7, &["/w", "a.c"]);
    sections.function("f", 7, table, record);
    let mut profile = Profile::default();
    let id = FunctionId {
        name: names::hash(b"f"),
        hash: 7,
    };
    let counts = Counts {
        counters: counters.to_vec(),
        bitmap: Vec::new(),
    };
    if !counters.is_empty() {
        profile.add(id, counts).unwrap();
    }
    join(&sections, &profile)
}

#[test]
fn a_negative_count_is_zero_and_told() {
    // Counter 0 minus counter 1.
    let record = [1, 1, 1, 1, 5, 2, 1, 1, 1, 2, 9, 2, 1, 3, 0, 7];
    let coverage = one_function(&record, &[2, 5]);
    let function = coverage.functions().next().unwrap();
    let counts: Vec<u64> = function.regions().iter().map(|r| r.count).collect();
    assert_eq!(counts, [2, 0]);
    let text: Vec<String> = coverage.findings().iter().map(Finding::to_string).collect();
    assert_eq!(text, ["f: a count at 2:3 is negative, taken for 0"]);
}

#[test]
fn counts_over_63_bits_stay_what_they_are() {
    let record = [1, 1, 1, 1, 5, 2, 1, 1, 1, 2, 9, 2, 1, 3, 0, 7];
    let coverage = one_function(&record, &[u64::MAX - 2, 5]);
    let function = coverage.functions().next().unwrap();
    let counts: Vec<u64> = function.regions().iter().map(|r| r.count).collect();
    assert_eq!(counts, [u64::MAX - 2, u64::MAX - 7]);
    assert_eq!(coverage.findings(), []);
}

#[test]
fn an_expression_that_needs_itself_is_told() {
    // Expression 0 is the sum of expression 1 and a counter, and 1 of 0.
    let record = [1, 1, 2, 7, 1, 3, 1, 1, 3, 1, 1, 2, 9];
    let coverage = one_function(&record, &[2, 5]);
    assert_eq!(coverage.functions().count(), 0);
    assert!(matches!(coverage.findings(), [Finding::Circle { .. }]));
}

#[test]
fn a_deep_expression_takes_neither_stack_nor_time() {
    // Each one is the sum of the next one with itself.
    let many = 100_000u64;
    let mut record = vec![1, 1];
    uleb(&mut record, many);
    for index in 1..many {
        uleb(&mut record, index * 4 + 3);
        uleb(&mut record, index * 4 + 3);
    }
    record.extend([1, 1, 1, 3, 1, 1, 2, 9]);
    let coverage = one_function(&record, &[1]);
    let function = coverage.functions().next().unwrap();
    assert_eq!(function.count(), u64::MAX);
}

#[test]
fn too_few_counters_are_told() {
    let record = [1, 1, 0, 2, 1, 1, 1, 2, 9, 0x1d, 1, 3, 0, 7];
    let coverage = one_function(&record, &[2, 5]);
    assert_eq!(coverage.functions().count(), 0);
    let text: Vec<String> = coverage.findings().iter().map(Finding::to_string).collect();
    assert_eq!(
        text,
        ["f (0000000000000007) needs 8 counters, the profile has 2: left out"]
    );
}

#[test]
fn a_function_without_counts_keeps_its_conditions() {
    // llvm-cov makes as many zeros as counters of code need, and drops the
    // function when a condition needs more.
    let record = [1, 1, 0, 2, 1, 1, 1, 2, 9, 0x20, 1, 0x1d, 1, 3, 0, 7];
    let coverage = one_function(&record, &[]);
    assert_eq!(coverage.findings(), []);
    let function = coverage.functions().next().unwrap();
    assert_eq!(
        (function.regions().len(), function.branches().len()),
        (1, 1)
    );
}

#[test]
fn equal_tables_of_file_names_are_one() {
    let mut sections = Sections::default();
    let table = sections.files(7, &["/w", "a.c"]);
    sections.function("f", 7, table, &[1, 1, 0, 1, 1, 1, 1, 2, 9]);
    assert_eq!(sections.files(7, &["/w", "a.c"]), table);
    let coverage = join(&sections, &Profile::default());
    assert_eq!(coverage.functions().count(), 1);
    assert_eq!(coverage.files(), ["/w/a.c"]);
}
