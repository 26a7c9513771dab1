//! What `cargo xtask differential` found over real programs, made small: what
//! LLVM's tools say is asked of them here, too.

#[allow(dead_code, reason = "made for hostile files")]
#[path = "hostile/forge.rs"]
mod forge;

use std::process::Command;

use podcov_profile::Limits;
use podcov_profile::llvm::coverage::{Coverage, Evidence, Options};
use podcov_profile::llvm::lcov::LcovOptions;
use podcov_profile::llvm::mapping::{Mapping, Paths};
use podcov_profile::llvm::profile::{Counts, FunctionId, Profile};
use podcov_profile::llvm::{indexed, names, object};

/// A program that has `main` as it writes a function that nothing calls: hash
/// 0, and one region that is always zero.
fn unused_main() -> Vec<u8> {
    let table = forge::two_names();
    let mapping = [1, 1, 0, 1, 0, 1, 1, 1, 2];
    forge::elf(&[
        ("__llvm_covmap", forge::covmap(&table)),
        ("__llvm_covfun", forge::covfun(b"main", 0, &table, &mapping)),
        ("__llvm_prf_names", forge::chunk(4, 0, b"main")),
    ])
}

/// Counts of a `main` that another program has and calls.
fn counted(hash: u64) -> Profile {
    let mut profile = Profile::default();
    let name = names::hash(b"main");
    profile.names.insert(name, Box::from(&b"main"[..]));
    let counts = Counts {
        counters: vec![7],
        bitmap: vec![],
    };
    profile.add(FunctionId { name, hash }, counts).unwrap();
    profile
}

fn ours(program: &[u8], profile: &Profile) -> String {
    let limits = Limits::default();
    let objects = object::read(program, "main", None, &limits).unwrap();
    let mapping = Mapping::read(&objects[0], Paths::default(), &limits).unwrap();
    let evidence = [Evidence {
        mappings: &[&mapping],
        profile,
    }];
    let coverage = Coverage::new(&evidence, &Options::default()).unwrap();
    let mut text = Vec::new();
    coverage
        .write_lcov(&LcovOptions::default(), &mut text)
        .unwrap();
    String::from_utf8(text).unwrap()
}

fn theirs(program: &[u8], profile: &Profile) -> String {
    let dir = tempfile::tempdir().unwrap();
    let (binary, profdata) = (dir.path().join("main"), dir.path().join("main.profdata"));
    std::fs::write(&binary, program).unwrap();
    std::fs::write(&profdata, indexed::write(profile, false).bytes).unwrap();
    let mut export = Command::new("llvm-cov-22");
    export.args(["export", "-format=lcov"]).arg(&binary);
    export.arg(format!("-instr-profile={}", profdata.display()));
    let output = export
        .output()
        .expect("llvm-cov-22 is needed: apt-get install llvm-22");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Found in semver's tests: one profile of several test programs, one of which
/// never calls a function that another does. Whether llvm-cov lists it with 0
/// or leaves it out follows from bit 60 of the hash, which means something in
/// clang's profiles and nothing in rustc's.
#[test]
fn a_function_that_one_program_never_calls_is_listed_as_llvm_cov_lists_it() {
    let program = unused_main();
    for (hash, is_listed) in [
        (0x381d_24cf_c8ae_8109, true),
        (0x281d_24cf_c8ae_8109, false),
    ] {
        let profile = counted(hash);
        let (ours, theirs) = (ours(&program, &profile), theirs(&program, &profile));
        assert_eq!(ours, theirs, "{hash:#x}");
        assert_eq!(ours.contains("FNDA:0,main"), is_listed, "{hash:#x}");
    }
}
