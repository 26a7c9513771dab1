//! Real profiles of all versions of LLVM, against what LLVM says of them.

use podcov_profile::llvm::profile::Profile;
use podcov_profile::llvm::raw;
use podcov_profile::llvm::sum::Sum;
use podcov_profile::llvm::{indexed, text};
use podcov_profile::{Identity, Limits};

use crate::tools::{
    fixture, fixtures, fixtures_of, functions, indexed_profile, llvm, merged, merged_by_llvm,
    text_profile,
};

const VERSIONS: [u32; 4] = [14, 16, 19, 22];

fn raws(version: u32, program: &str) -> [Vec<u8>; 2] {
    [0, 2].map(|args| fixture(&format!("llvm/{version}/{program}{args}.profraw")))
}

/// Raw profiles of all fixtures that this LLVM reads, with what it and we make
/// of the two runs of a program.
fn programs_of_22() -> Vec<(String, Profile, Profile)> {
    let mut all = Vec::new();
    for version in [19, 22] {
        for program in ["front", "ir", "narrow"] {
            let [one, other] = raws(version, program);
            let name = format!("llvm/{version}/{program}");
            let files = [0, 2].map(|args| fixtures().join(format!("{name}{args}.profraw")));
            let theirs = merged_by_llvm(&files.each_ref().map(|file| &**file));
            all.push((name, merged(&[&one, &other]), theirs));
        }
    }
    all
}

#[test]
fn sums_of_raw_profiles_are_those_of_the_llvm_that_made_them() {
    for version in VERSIONS {
        for program in ["front", "ir", "narrow"] {
            let [one, other] = raws(version, program);
            let ours = merged(&[&one, &other]);
            let theirs = text_profile(&fixture(&format!("llvm/{version}/{program}.proftext")));
            assert_eq!(functions(&ours), functions(&theirs), "{version} {program}");
            assert_eq!(ours.variants, theirs.variants, "{version} {program}");
            assert!(ours.functions.len() >= 3);
        }
    }
}

#[test]
fn sums_of_raw_profiles_are_those_of_this_llvm() {
    for (name, ours, theirs) in programs_of_22() {
        assert_eq!(functions(&ours), functions(&theirs), "{name}");
    }
}

#[test]
fn profiles_of_one_program_add_up_without_a_look_at_names() {
    let limits = Limits::default();
    for version in VERSIONS {
        for program in ["front", "ir", "narrow"] {
            let [one, other] = raws(version, program);
            let part = |bytes| raw::parts(bytes, &limits).next().unwrap().unwrap();
            let mut sum = Sum::new(&part(&one)).unwrap();
            assert!(sum.fits(&part(&other)), "{version} {program}");
            assert!(sum.add(&part(&other)));
            let reached: usize = part(&one).reached().count();
            let (all, conflicts) = sum.into_profile(&limits).unwrap();
            assert_eq!(conflicts, []);
            assert_eq!(all, merged(&[&one, &other]), "{version} {program}");
            assert!(reached > 3);
        }
    }
}

#[test]
fn a_profile_of_another_program_does_not_fit() {
    let limits = Limits::default();
    let all = fixtures_of(".profraw");
    let part = |bytes| raw::parts(bytes, &limits).next().unwrap().unwrap();
    // Of one version, one compiler makes the same program for two runs only.
    let program = |name: &str| {
        name.trim_end_matches(".profraw")
            .trim_end_matches(['0', '2'])
            .to_owned()
    };
    for (name, bytes) in &all {
        let sum = Sum::new(&part(bytes)).unwrap();
        for (other_name, other) in &all {
            let is_same = program(name) == program(other_name)
                || [name, other_name]
                    .iter()
                    .all(|name| name.starts_with("rust/"));
            assert_eq!(sum.fits(&part(other)), is_same, "{name} and {other_name}");
            let mut absorbing = sum.clone();
            let rest = absorbing.absorb(Sum::new(&part(other)).unwrap());
            assert_eq!(rest.is_none(), is_same, "{name} and {other_name}");
        }
    }
}

#[test]
fn counters_that_were_reached_are_those_of_the_functions() {
    let limits = Limits::default();
    for (name, bytes) in fixtures_of(".profraw") {
        let part = raw::parts(&bytes, &limits).next().unwrap().unwrap();
        let sum = Sum::new(&part).unwrap();
        let mut left: std::collections::BTreeMap<u32, u64> = part.reached().collect();
        for record in sum.records() {
            for (index, count) in record.counters.clone().zip(part.counts(record.counters)) {
                assert_eq!(left.remove(&(index as u32)).unwrap_or(0), count, "{name}");
            }
        }
        assert!(left.is_empty(), "{name}: {left:?}");
    }
}

#[test]
fn a_mapped_file_holds_what_an_ordinary_one_does() {
    for version in VERSIONS {
        let mapped = fixture(&format!("llvm/{version}/continuous.profraw"));
        let [ordinary, _] = raws(version, "front");
        let (mapped, ordinary) = (merged(&[&mapped]), merged(&[&ordinary]));
        if version < 19 {
            assert_eq!(functions(&mapped), functions(&ordinary), "{version}");
        } else {
            // It was made without MC/DC, which adds bitmaps.
            let names: Vec<_> = functions(&mapped)
                .into_keys()
                .map(|(name, _)| name)
                .collect();
            let all: Vec<_> = functions(&ordinary)
                .into_keys()
                .map(|(name, _)| name)
                .collect();
            assert_eq!(names, all);
        }
    }
}

#[test]
fn profiles_behind_one_another_are_all_read() {
    let [one, other] = raws(22, "front");
    let both = [&*one, &[0; 16], &*other].concat();
    assert_eq!(merged(&[&both]), merged(&[&one, &other]));
    let [narrow, _] = raws(22, "narrow");
    let mixed = [one, narrow].concat();
    let mut parts = raw::parts(&mixed, &Limits::default());
    assert!(parts.next().unwrap().is_ok());
    let error = parts.next().unwrap().unwrap_err();
    assert_eq!(
        error.what,
        "bytes behind the profile that belong to nothing"
    );
    assert!(parts.next().is_none());
}

#[test]
fn indexed_profiles_of_all_versions_say_what_the_text_says() {
    let mut versions = Vec::new();
    for (name, bytes) in fixtures_of(".profdata") {
        if name.starts_with("rust/") {
            continue;
        }
        let read = indexed::read(&bytes, &Limits::default()).unwrap();
        let said = text_profile(&fixture(&name.replace(".profdata", ".proftext")));
        assert_eq!(functions(&read.profile), functions(&said), "{name}");
        assert_eq!(read.profile.variants, said.variants, "{name}");
        let llvm = name.split('/').nth(1).unwrap();
        let program = if name.ends_with("ir.profdata") { 2 } else { 1 };
        let id = format!("00112233445566778899aabbccddeeff0000{llvm}0{program}");
        // LLVM 18's is made of 19's profiles, 15's of 14's.
        if read.version >= 9 && llvm != "18" {
            assert_eq!(
                read.profile.binary_ids,
                [Identity::BuildId(id)].into(),
                "{name}"
            );
        }
        versions.push(read.version);
    }
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions, [7, 8, 9, 11, 12, 13]);
}

#[test]
fn text_is_written_as_llvm_writes_it() {
    for (name, bytes) in fixtures_of(".proftext") {
        let profile = text_profile(&bytes);
        let written = text::write(&profile);
        assert_eq!(written.unnamed, []);
        assert_eq!(text_profile(&written.bytes), profile, "{name}");
        // Values, which instrumentation by LLVM has, are not kept.
        let said = String::from_utf8(bytes).unwrap();
        if !said.contains("# Num Value Kinds") {
            assert_eq!(String::from_utf8(written.bytes).unwrap(), said, "{name}");
        }
    }
}

/// The version field of a file as this LLVM writes it.
fn as_version_13(mut bytes: Vec<u8>) -> Vec<u8> {
    assert_eq!(bytes[8], indexed::WRITTEN as u8);
    bytes[8] = 13;
    bytes
}

#[test]
fn indexed_profiles_are_written_byte_for_byte_as_llvm_writes_them() {
    let dir = tempfile::tempdir().unwrap();
    for (name, ours, _) in programs_of_22() {
        for sparse in [false, true] {
            let written = indexed::write(&ours, sparse);
            assert_eq!(written.unnamed, []);
            let files = [0, 2].map(|args| fixtures().join(format!("{name}{args}.profraw")));
            let theirs = dir.path().join("theirs.profdata");
            let mut args = vec!["merge", "-o", theirs.to_str().unwrap()];
            args.extend(files.iter().map(|file| file.to_str().unwrap()));
            args.extend(sparse.then_some("-sparse"));
            llvm("profdata", &args);
            let theirs = std::fs::read(theirs).unwrap();
            if has_values(&name) {
                assert_eq!(
                    indexed_profile(&theirs),
                    indexed_profile(&written.bytes),
                    "{name}"
                );
            } else {
                assert!(theirs == as_version_13(written.bytes), "{name} {sparse}");
            }
        }
    }
}

/// Values are not kept; whether a program has some its text tells.
fn has_values(name: &str) -> bool {
    let text = fixture(&format!("{name}.proftext"));
    String::from_utf8(text)
        .unwrap()
        .contains("# Num Value Kinds")
}

#[test]
fn llvm_shows_our_indexed_profile_as_it_shows_its_own() {
    let dir = tempfile::tempdir().unwrap();
    for (name, ours, _) in programs_of_22() {
        let [own, theirs] = ["ours.profdata", "theirs.profdata"].map(|name| dir.path().join(name));
        std::fs::write(&own, indexed::write(&ours, false).bytes).unwrap();
        std::fs::write(
            &theirs,
            fixture(&format!("{name}.profdata").replace("narrow", "front")),
        )
        .unwrap();
        if name.ends_with("narrow") {
            let files = [0, 2].map(|args| fixtures().join(format!("{name}{args}.profraw")));
            let mut args = vec!["merge", "-o", theirs.to_str().unwrap()];
            args.extend(files.iter().map(|file| file.to_str().unwrap()));
            llvm("profdata", &args);
        }
        let show = |path: &std::path::Path| {
            let path = path.to_str().unwrap();
            let args = [
                "show",
                "--all-functions",
                "--counts",
                "--detailed-summary",
                path,
            ];
            let shown = String::from_utf8(llvm("profdata", &args)).unwrap();
            // Of the version alone it says something else.
            let lines = shown.lines().map(str::to_owned);
            lines.collect::<Vec<_>>()
        };
        assert_eq!(show(&own), show(&theirs), "{name}");
    }
}

#[test]
fn llvm_cov_reports_the_same_from_our_profile() {
    // The program first: of a profile that is older LLVM warns.
    let dir = tempfile::tempdir().unwrap();
    let [program, ours, theirs] = ["program", "ours", "theirs"].map(|name| dir.path().join(name));
    std::fs::write(&program, fixture("llvm/22/front")).unwrap();
    let [one, other] = raws(22, "front");
    std::fs::write(&ours, indexed::write(&merged(&[&one, &other]), true).bytes).unwrap();
    std::fs::write(&theirs, fixture("llvm/22/front.profdata")).unwrap();
    let export = |profile: &std::path::Path| {
        let profile = format!("-instr-profile={}", profile.display());
        let args = [
            "export",
            "-show-mcdc-summary",
            &profile,
            program.to_str().unwrap(),
        ];
        String::from_utf8(llvm("cov", &args)).unwrap()
    };
    let export = [export(&ours), export(&theirs)];
    assert_eq!(export[0], export[1]);
    assert!(export[0].contains("\"mcdc_records\":[["), "{}", export[0]);
}
