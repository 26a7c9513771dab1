//! Mappings from a small generator, in what versions no compiler here writes
//! and with regions in ways that compilers seldom do. llvm-cov-22 reads them by
//! way of its format for tests (`llvmcovmtestdata`, see `loadTestingFormat` in
//! `CoverageMappingReader.cpp`, LLVM 22).

use podcov_profile::llvm::coverage::Coverage;
use podcov_profile::llvm::finding::Finding;
use podcov_profile::llvm::profile::{Counts, FunctionId, Profile};
use podcov_profile::llvm::{indexed, names};

use crate::generator::{Sections, join, program, uleb};
use crate::support::{Build, json, lcov, same};

#[test]
fn any_regions_are_as_llvm_cov_says() {
    let mut kinds = [0usize; 5];
    for version in 4..=7 {
        for seed in 0..12 {
            let (sections, profile) = program(seed * 100 + u64::from(version), version, 40);
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
