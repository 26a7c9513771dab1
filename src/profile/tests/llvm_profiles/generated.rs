//! Profiles of all versions, widths and byte orders, and laws of adding them.

use podcov_profile::bytes::Endian;
use podcov_profile::error::Kind;
use podcov_profile::llvm::profile::{MAX_COUNT, MAX_PLAUSIBLE, Profile, Variant};
use podcov_profile::llvm::sum::Sum;
use podcov_profile::llvm::{indexed, raw, text};
use podcov_profile::{Identity, Limits};
use proptest::prelude::*;

use crate::model::{self, Function, Model};
use crate::tools::{Functions, functions, indexed_profile, llvm, merged, text_profile};

fn function(name: &str, counters: &[u64], bitmap: &[u8]) -> Function {
    Function {
        name: name.to_owned(),
        hash: 0x1234_5678 + name.len() as u64,
        counters: counters.to_vec(),
        bitmap: bitmap.to_vec(),
        sites: [0; 3],
    }
}

fn some() -> Vec<Function> {
    vec![
        function("main", &[1, 0, 3], &[]),
        function("a::b", &[0], &[5, 0, 0x80]),
        function("file.c:c", &[7; 9], &[1]),
        function("a::b", &[4], &[2, 0, 0]),
        function("never", &[0, 0], &[]),
    ]
}

/// Each version, width, byte order and way to write.
fn models() -> Vec<Model> {
    let mut models = Vec::new();
    for version in raw::VERSIONS {
        for bits in 0..32u32 {
            let bit = |at: u32| bits >> at & 1 == 1;
            let mut model = Model::new(version, some());
            model.is_64_bit = bit(0);
            model.is_big = bit(1);
            model.is_turned = bit(2);
            model.are_names_packed = bit(3);
            model.is_paged = bit(4);
            model.variants = if bit(2) {
                Variant::IR | Variant::ENTRY_FIRST
            } else {
                0
            };
            if version >= 11 {
                model.uniform = 3;
            }
            if !model.is_paged {
                model.functions[1].sites = [1, 0, 0];
                model.functions[2].sites = [3, 2, 0];
                model.vtables = 2 * usize::from(version >= 10);
            }
            if !model.is_64_bit {
                model.base = 0x804_0000;
            }
            models.push(model);
        }
    }
    models
}

#[test]
fn all_versions_widths_and_byte_orders_are_read() {
    for model in models() {
        let bytes = model::raw(&model);
        let parts: Vec<_> = raw::parts(&bytes, &Limits::default())
            .collect::<Result<_, _>>()
            .unwrap_or_else(|error| panic!("{model:?}: {error}"));
        let [part] = &parts[..] else {
            panic!("{} parts", parts.len())
        };
        let endian = if model.is_big {
            Endian::Big
        } else {
            Endian::Little
        };
        assert_eq!(
            (
                part.version(),
                part.is_64_bit(),
                part.endian(),
                part.variants()
            ),
            (model.version, model.is_64_bit, endian, model.variants)
        );
        assert_eq!((part.functions(), part.counters()), (5, 16));
        assert_eq!(part.build_ids(), [Identity::BuildId("abcdef".into())]);
        assert_eq!(
            functions(&merged(&[&bytes])),
            model.functions(),
            "{model:?}"
        );
        let twice = [&*bytes, &bytes].concat();
        let sum = model::sum(&[&model, &model]);
        assert_eq!(functions(&merged(&[&twice])), sum, "{model:?}");
    }
}

#[test]
fn llvm_reads_what_the_generator_writes() {
    let dir = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for (index, model) in models().into_iter().enumerate() {
        // This LLVM reads no other version, and no file without values of a
        // function that has sites.
        if model.version != 10 {
            continue;
        }
        let file = dir.path().join(format!("{index}.profraw"));
        std::fs::write(&file, model::raw(&model)).unwrap();
        let said = llvm(
            "profdata",
            &["merge", "-text", "-o", "-", file.to_str().unwrap()],
        );
        assert_eq!(
            functions(&text_profile(&said)),
            model.functions(),
            "{model:?}"
        );
        checked += 1;
    }
    assert_eq!(checked, 32);
}

#[test]
fn all_indexed_versions_are_read_as_llvm_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let ids = [vec![1, 2, 3], vec![4; 20]];
    for version in indexed::VERSIONS {
        for variants in [0, Variant::IR, Variant::IR | Variant::CONTEXT] {
            // Bitmaps are in raw profiles since 9, in indexed ones since 11.
            let raw_version = if version >= 11 { 10 } else { 8 };
            let all = Model::new(raw_version, some()).functions();
            let bytes = model::indexed(version, variants, &all, &ids);
            let read = indexed::read(&bytes, &Limits::default())
                .unwrap_or_else(|error| panic!("{version}: {error}"));
            assert_eq!((read.version, read.profile.variants), (version, variants));
            assert_eq!(functions(&read.profile), all, "{version}");
            let known = read.profile.binary_ids.len();
            assert_eq!(known, if version >= 9 { 2 } else { 0 });
            assert_eq!(read.profile.has_old_bitmaps, version == 11);
            if version > 13 {
                // This LLVM does not read it.
                continue;
            }
            let file = dir.path().join("x.profdata");
            std::fs::write(&file, &bytes).unwrap();
            let said = llvm(
                "profdata",
                &["merge", "-text", "-o", "-", file.to_str().unwrap()],
            );
            assert_eq!(functions(&text_profile(&said)), all, "{version}");
        }
    }
}

fn refusal(model: &Model) -> podcov_profile::ParseError {
    let bytes = model::raw(model);
    let mut parts = raw::parts(&bytes, &Limits::default());
    parts
        .next()
        .unwrap()
        .expect_err("a variant that is not read")
}

#[test]
fn what_is_no_plain_count_is_refused_by_name() {
    let variants = [
        (Variant::BYTE_COVERAGE, "single-byte coverage"),
        (Variant::CORRELATED, "correlation with debug information"),
        (Variant::MEMORY, "a memory profile"),
        (Variant::TEMPORAL, "a temporal profile"),
        (1 << 40, "a variant that is not known"),
    ];
    for (variants, name) in variants {
        let mut model = Model::new(10, some());
        model.variants = variants;
        let error = refusal(&model);
        assert_eq!((error.kind, error.offset), (Kind::Unsupported, 8));
        assert!(error.what.contains(name), "{error}");
    }
    let mut correlated = Model::new(10, vec![]);
    correlated.ids.clear();
    let mut bytes = model::raw(&correlated);
    bytes[5 * 8] = 1;
    bytes.extend([0; 8]);
    let error = raw::parts(&bytes, &Limits::default())
        .next()
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind, Kind::Unsupported);
    assert!(
        error.what.contains("needs correlation with its program"),
        "{error}"
    );
}

#[test]
fn a_count_that_no_program_reaches_is_refused_as_llvm_does() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.profraw");
    let file = file.to_str().unwrap();
    for is_big in [false, true] {
        let mut model = Model::new(10, some());
        model.is_big = is_big;
        model.functions[3].counters = vec![MAX_PLAUSIBLE];
        std::fs::write(file, model::raw(&model)).unwrap();
        llvm("profdata", &["merge", "-text", "-o", "-", file]);
        assert_eq!(
            functions(&merged(&[&model::raw(&model)])),
            model.functions()
        );

        model.functions[3].counters = vec![MAX_PLAUSIBLE + 1];
        let bytes = model::raw(&model);
        std::fs::write(file, &bytes).unwrap();
        let theirs = std::process::Command::new("llvm-profdata-22")
            .args(["merge", "-text", "-o", "-", file])
            .output()
            .unwrap();
        assert!(!theirs.status.success());
        let ours = refusal(&model);
        assert_eq!(ours.kind, Kind::Malformed);
        assert_eq!(
            ours.what,
            "counter 13 is 72057594037927937, over 2^56: the profile is corrupt"
        );
        assert_eq!(ours.offset, 128 + 16 + 5 * 64 + 13 * 8);
    }
}

#[test]
fn bitmaps_of_llvm_18_stay_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.profdata");
    let model = Model::new(9, some());
    let mut profile = merged(&[&model::raw(&model)]);
    assert!(profile.has_old_bitmaps);
    profile.absorb(Profile::default());
    let bytes = indexed::write(&profile, false).bytes;
    assert_eq!(bytes[8], 11);
    assert_eq!(indexed_profile(&bytes), profile);
    std::fs::write(&file, &bytes).unwrap();
    let said = llvm(
        "profdata",
        &["merge", "-text", "-o", "-", file.to_str().unwrap()],
    );
    assert_eq!(functions(&text_profile(&said)), model.functions());

    let new = merged(&[&model::raw(&Model::new(10, some()))]);
    assert!(!new.has_old_bitmaps);
    assert_eq!(indexed::write(&new, false).bytes[8], 12);
}

#[test]
fn a_profile_without_functions_is_an_empty_one() {
    let bytes = model::raw(&Model::new(10, vec![]));
    let both = [&*bytes, &model::raw(&Model::new(10, some()))].concat();
    assert!(merged(&[&bytes]).functions.is_empty());
    assert_eq!(
        functions(&merged(&[&both])),
        Model::new(10, some()).functions()
    );
}

#[test]
fn where_a_program_was_loaded_does_not_matter() {
    let limits = Limits::default();
    for mut model in models() {
        let first = model::raw(&model);
        model.base += 0x1000_0000;
        let other = model::raw(&model);
        let mut other_functions = model.clone();
        other_functions.functions[0].hash += 1;
        let other_functions = model::raw(&other_functions);
        let part = |bytes| raw::parts(bytes, &limits).next().unwrap().unwrap();
        let mut sum = Sum::new(&part(&first)).unwrap();
        assert!(sum.add(&part(&other)), "{model:?}");
        assert!(!sum.add(&part(&other_functions)), "{model:?}");
        let (profile, _) = sum.into_profile(&limits).unwrap();
        assert_eq!(functions(&profile), model::sum(&[&model, &model]));
    }
}

#[test]
fn records_of_one_function_in_two_shapes_are_told() {
    let mut all = some();
    all.push(function("main", &[1], &[]));
    let bytes = model::raw(&Model::new(10, all));
    let limits = Limits::default();
    let part = raw::parts(&bytes, &limits).next().unwrap().unwrap();
    let (profile, conflicts) = part.profile(&limits).unwrap();
    assert_eq!(functions(&profile), Model::new(10, some()).functions());
    let [conflict] = &conflicts[..] else {
        panic!("{conflicts:?}")
    };
    assert_eq!((conflict.known, conflict.other), ((3, 0), (1, 0)));
    assert_eq!(conflict.function.name, model::md5(b"main"));
}

#[test]
fn functions_without_names_are_told_when_written() {
    let bytes = model::raw(&Model::new(10, some()));
    let mut profile = merged(&[&bytes]);
    let main = model::md5(b"main");
    profile.names.remove(&main);
    for unnamed in [
        indexed::write(&profile, false).unnamed,
        text::write(&profile).unnamed,
    ] {
        assert_eq!(unnamed.len(), 1);
        assert_eq!(unnamed[0].name, main);
    }
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..5u64,
        1 => 0..=MAX_PLAUSIBLE,
        1 => Just(MAX_PLAUSIBLE),
    ]
}

/// The functions of a program: number of counters and bytes of bitmap of each.
fn shape() -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::vec((1..150usize, 0..9usize), 1..5)
}

/// Runs of one program.
fn runs() -> impl Strategy<Value = Vec<Model>> {
    let run = |shape: &[(usize, usize)]| {
        let functions: Vec<_> = shape
            .iter()
            .map(|(counters, bitmap)| {
                let counters = prop::collection::vec(count(), *counters);
                (counters, prop::collection::vec(any::<u8>(), *bitmap))
            })
            .collect();
        functions
    };
    let runs = (shape(), 1..5usize).prop_flat_map(move |(shape, number)| {
        (
            (0..number).map(|_| run(&shape)).collect::<Vec<_>>(),
            9..=11u64,
            any::<[bool; 4]>(),
        )
    });
    runs.prop_map(|(runs, version, bits)| {
        let of_run = |run: Vec<(Vec<u64>, Vec<u8>)>| {
            let functions = run.iter().enumerate().map(|(index, (counters, bitmap))| {
                // The third has the name of the first, and another hash.
                let mut function = function(&format!("f{}", index % 2), counters, bitmap);
                function.hash += index as u64 / 2;
                function
            });
            let mut model = Model::new(version, functions.collect());
            [
                model.is_64_bit,
                model.is_big,
                model.is_turned,
                model.is_paged,
            ] = bits;
            model
        };
        runs.into_iter().map(of_run).collect()
    })
}

fn all_of(models: &[Model]) -> Functions {
    model::sum(&models.iter().collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sums_are_those_of_the_account(runs in runs()) {
        let limits = Limits::default();
        let files: Vec<_> = runs.iter().map(model::raw).collect();
        let part = |bytes| raw::parts(bytes, &limits).next().unwrap().unwrap();
        let mut sums: Vec<Sum> = files.iter().map(|bytes| Sum::new(&part(bytes)).unwrap()).collect();
        let mut sum = sums[0].clone();
        for bytes in &files[1..] {
            prop_assert!(sum.add(&part(bytes)));
        }
        let (sum, conflicts) = sum.into_profile(&limits).unwrap();
        prop_assert_eq!(&conflicts, &[]);
        prop_assert_eq!(functions(&sum), all_of(&runs));

        // In any order and grouping, and one by one.
        sums.reverse();
        let mut tree = sums.pop().unwrap();
        for other in sums {
            prop_assert!(tree.absorb(other).is_none());
        }
        prop_assert_eq!(&tree.into_profile(&limits).unwrap().0, &sum);
        let files: Vec<&[u8]> = files.iter().rev().map(Vec::as_slice).collect();
        prop_assert_eq!(&merged(&files), &sum);
    }

    #[test]
    fn sums_stop_at_the_largest_count(runs in runs()) {
        let limits = Limits::default();
        let bytes = model::raw(&runs[0]);
        let part = raw::parts(&bytes, &limits).next().unwrap().unwrap();
        let (mut sum, mut by_hand) = (Sum::new(&part).unwrap(), runs[0].clone());
        let (mut profile, _) = part.profile(&limits).unwrap();
        for _ in 0..9 {
            prop_assert!(sum.absorb(sum.clone()).is_none());
            prop_assert_eq!(profile.absorb(profile.clone()), []);
            for count in by_hand.functions.iter_mut().flat_map(|function| &mut function.counters) {
                *count = count.checked_mul(2).unwrap_or(u64::MAX).min(MAX_COUNT);
            }
        }
        prop_assert_eq!(&sum.into_profile(&limits).unwrap().0, &profile);
        prop_assert_eq!(functions(&profile), by_hand.functions());
    }

    #[test]
    fn adding_is_commutative_and_associative(runs in runs()) {
        let profiles: Vec<Profile> = runs.iter().map(|run| merged(&[&model::raw(run)])).collect();
        let add = |one: &Profile, other: &Profile| {
            let mut sum = one.clone();
            assert_eq!(sum.absorb(other.clone()), []);
            sum
        };
        let (a, b) = (&profiles[0], &profiles[profiles.len() - 1]);
        let c = &profiles[profiles.len() / 2];
        prop_assert_eq!(add(a, b), add(b, a));
        prop_assert_eq!(add(&add(a, b), c), add(a, &add(b, c)));
        prop_assert_eq!(&add(a, &Profile::default()), a);
    }

    #[test]
    fn what_is_written_is_read_again(runs in runs()) {
        let files: Vec<_> = runs.iter().map(model::raw).collect();
        let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
        let profile = merged(&files);
        let written = indexed::write(&profile, false);
        prop_assert_eq!(&written.unnamed, &[]);
        prop_assert_eq!(&indexed_profile(&written.bytes), &profile);
        let mut said = text_profile(&text::write(&profile).bytes);
        // The text has no build ids and no version.
        said.binary_ids.clone_from(&profile.binary_ids);
        said.has_old_bitmaps = profile.has_old_bitmaps;
        prop_assert_eq!(&said, &profile);
        let sparse = indexed_profile(&indexed::write(&profile, true).bytes);
        for (function, counts) in &profile.functions {
            match sparse.functions.get(function) {
                Some(kept) => prop_assert_eq!(kept, counts),
                None => prop_assert!(counts.is_zero()),
            }
        }
    }
}

#[test]
fn many_names_are_written_as_llvm_writes_them() {
    // So many that the table of buckets grows several times.
    let dir = tempfile::tempdir().unwrap();
    for number in [1, 2, 3, 47, 48, 49, 96, 700, 3000] {
        let functions = (0..number).map(|index| {
            let name = format!("{}::f{index}", "module".repeat(index % 7));
            let mut function = function(&name, &[index as u64 * 3 % 11, 1 << (index % 57)], &[]);
            function.hash = model::md5(name.as_bytes());
            function
        });
        let bytes = model::raw(&Model::new(10, functions.collect()));
        let [raw, theirs] = ["x.profraw", "x.profdata"].map(|name| dir.path().join(name));
        std::fs::write(&raw, &bytes).unwrap();
        let args = [
            "merge",
            "-o",
            theirs.to_str().unwrap(),
            raw.to_str().unwrap(),
        ];
        llvm("profdata", &args);
        let mut ours = indexed::write(&merged(&[&bytes]), false).bytes;
        ours[8] = 13;
        assert!(ours == std::fs::read(theirs).unwrap(), "{number} functions");
    }
}
