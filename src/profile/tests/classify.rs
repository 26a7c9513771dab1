//! Every format's reader on files of real programs, whole and damaged.

use podcov_profile::error::Kind;
use podcov_profile::go::files::{self, Name, read_counters, read_meta};
use podcov_profile::go::text::Profile;
use podcov_profile::ledger::Format;
use podcov_profile::llvm::raw;
use podcov_profile::{Identity, Limits, ParseError, Problem, classify};

const HASH: &str = "365db558e60f45db96600bc1c17ccd6e";
const BUILD_ID: &str = "build-id:4ad341872dda82a1dabcc1aaa7b3cfc731ac4e03";

const COUNTERS: &str = "covcounters.365db558e60f45db96600bc1c17ccd6e.2384.1795257547508204385";
const MORE_COUNTERS: &str = "covcounters.365db558e60f45db96600bc1c17ccd6e.2388.1795257547510821171";

fn fixture(path: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn real() -> Vec<(String, Vec<u8>)> {
    let meta = format!("covmeta.{HASH}");
    [
        ("rust", "plain.profraw"),
        ("rust", "killed.profraw"),
        ("rust", "plain.profdata"),
        ("go", &meta),
        ("go", COUNTERS),
        ("go", MORE_COUNTERS),
        ("go", "coverage.out"),
    ]
    .map(|(dir, name)| (name.to_owned(), fixture(&format!("{dir}/{name}"))))
    .into()
}

#[test]
fn real_files_are_what_they_are() {
    let found: Vec<String> = real()
        .iter()
        .map(|(name, bytes)| {
            let it = classify(name, bytes);
            assert_eq!(it.problem, None, "{name}");
            let ids: Vec<String> = it.identities.iter().map(Identity::to_string).collect();
            format!("{:?} {}", it.format, ids.join(","))
        })
        .collect();
    let covmeta = format!("covmeta:{HASH}");
    assert_eq!(
        found,
        [
            format!("Profraw {BUILD_ID}"),
            format!("Profraw {BUILD_ID}"),
            format!("Profdata {BUILD_ID}"),
            format!("Covmeta {covmeta}"),
            format!("Covcounters {covmeta}"),
            format!("Covcounters {covmeta}"),
            "Gotext ".to_owned(),
        ]
    );
}

/// A mapped file's name says which process it is of, so it has to be true.
#[test]
fn a_mapped_file_is_known_by_process_and_build() {
    let bytes = fixture("go-live/covlive");
    let name = "e/covlive.31451.1795580612572064326";
    let found = classify(name, &bytes);
    let hash = "8e5521eaa6050ffc4493d96397aa5e35".to_owned();
    assert_eq!(
        (found.format, found.identities, found.problem),
        (Format::Covlive, vec![Identity::Covmeta(hash)], None)
    );
    let cases = [
        (name.replace("31451", "1"), &bytes[..], "does not fit"),
        (name.replace("e/", "e/tmp."), &bytes[..], "while it wrote"),
        (name.to_owned(), &bytes[..100], "claims"),
        (name.to_owned(), b"", "empty"),
    ];
    for (name, bytes, expected) in cases {
        let found = classify(&name, bytes);
        assert_eq!(found.format, Format::Covlive, "{name}");
        let problem = found.problem.unwrap().to_string();
        assert!(problem.contains(expected), "{name}: {problem}");
    }
    let mark = classify("live/ticker.json", b"{}");
    assert_eq!((mark.format, mark.problem), (Format::Record, None));
}

#[test]
fn every_truncation_is_noticed() {
    for (name, bytes) in real() {
        // An indexed profile has no length in its header, and a text profile
        // is whole at each end of a line.
        let (mut whole, format) = (0, classify(&name, &bytes).format);
        for len in 0..bytes.len() {
            let it = classify(&name, &bytes[..len]);
            match it.problem {
                None => whole += 1,
                Some(Problem::Empty) => assert_eq!(len, 0, "{name}"),
                Some(_) => {}
            }
        }
        let allowed = match format {
            Format::Profdata => bytes.len(),
            Format::Gotext => bytes.iter().filter(|b| **b == b'\n').count() - 1,
            // The last bytes may be padding that a writer leaves out.
            Format::Profraw => 7,
            _ => 0,
        };
        assert!(
            whole <= allowed,
            "{name}: {whole} truncations were taken for whole"
        );
    }
}

#[test]
fn no_changed_byte_makes_a_reader_panic() {
    for (name, mut bytes) in real() {
        for at in 0..bytes.len() {
            let kept = bytes[at];
            // Each bit, the extremes and the neighbours.
            let values = (0..8).map(|bit| kept ^ (1 << bit));
            let neighbours = [kept.wrapping_add(1), kept.wrapping_sub(1)];
            for value in values.chain([0, 0x7f, 0xff]).chain(neighbours) {
                bytes[at] = value;
                let _ = classify(&name, &bytes);
            }
            bytes[at] = kept;
        }
    }
}

/// How many profiles and counters a raw profile holds.
fn raw_profile(bytes: &[u8]) -> Result<(usize, usize), ParseError> {
    let parts = raw::parts(bytes, &Limits::default()).collect::<Result<Vec<_>, _>>()?;
    let mut counters = 0;
    for part in &parts {
        let (profile, conflicts) = part.profile(&Limits::default())?;
        assert_eq!(conflicts, []);
        let functions = profile.functions.values();
        counters += functions.map(|counts| counts.counters.len()).sum::<usize>();
    }
    Ok((parts.len(), counters))
}

#[test]
fn sizes_that_crash_other_readers_are_refused() {
    // A size field of the header at a time: sections, counters, names.
    let bytes = fixture("rust/plain.profraw");
    for field in [2, 3, 4, 5, 6, 7, 8, 9, 13, 14] {
        for claim in [u64::MAX, 1 << 40, 8 << 30, 1 << 20] {
            let mut bytes = bytes.clone();
            bytes[field * 8..field * 8 + 8].copy_from_slice(&claim.to_le_bytes());
            let error = raw_profile(&bytes).expect_err("a size past the end");
            assert!(
                matches!(
                    error.kind,
                    Kind::Malformed | Kind::Truncated | Kind::TooLarge
                ),
                "field {field}: {error}"
            );
        }
    }
}

#[test]
fn names_that_inflate_too_far_are_refused() {
    let bytes = fixture("rust/plain.profraw");
    let names = 0x4d;
    let at = bytes.len() - (names as usize).next_multiple_of(8);
    // Uncompressed size 1 TiB, of what is there.
    let mut bomb = bytes.clone();
    bomb[at..at + 6].copy_from_slice(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x20]);
    let error = raw_profile(&bomb).expect_err("a bomb").to_string();
    assert!(
        error.contains("the names claim 1099511627776 bytes, the limit is 50331648"),
        "{error}"
    );
    // One MiB, not compressed.
    let mut lie = bytes;
    lie[at..at + 4].copy_from_slice(&[0x80, 0x80, 0x40, 0]);
    let error = raw_profile(&lie).expect_err("a lie").to_string();
    assert!(error.contains("the names claims 1048576 bytes"), "{error}");
}

#[test]
fn what_a_killed_process_left_is_told_apart() {
    let whole = fixture(&format!("go/covmeta.{HASH}"));
    let damaged = |text: &str| Some(Problem::Damaged(text.to_owned()));
    let cases = [
        ("x.profraw", vec![], Format::Profraw, Some(Problem::Empty)),
        (COUNTERS, vec![], Format::Covcounters, Some(Problem::Empty)),
        (
            "tmp.covmeta.365db558e60f45db96600bc1c17ccd6e123",
            whole.clone(),
            Format::Covmeta,
            Some(Problem::Interrupted),
        ),
        (
            "covmeta.00000000000000000000000000000000",
            whole,
            Format::Covmeta,
            damaged(
                "the file's name does not fit its content, \
                 which is of covmeta:365db558e60f45db96600bc1c17ccd6e",
            ),
        ),
        (
            "x.profraw",
            vec![0; 64],
            Format::Profraw,
            damaged("no profraw file by its content"),
        ),
        ("a/b/start.json", b"{}".to_vec(), Format::Record, None),
        (
            "core",
            vec![1],
            Format::Unknown,
            damaged("no format of coverage that podcov knows"),
        ),
    ];
    for (name, bytes, format, problem) in cases {
        let it = classify(name, &bytes);
        assert_eq!((it.format, it.problem), (format, problem), "{name}");
    }
}

#[test]
fn an_unknown_version_is_named() {
    let mut bytes = fixture("rust/plain.profraw");
    bytes[8] = 12;
    let it = classify("x.profraw", &bytes);
    let Some(Problem::Unsupported(text)) = it.problem else {
        panic!("{it:?}")
    };
    assert!(
        text.starts_with("raw profile version 12 is not known, 8 to 11 are"),
        "{text}"
    );
    let mut bytes = fixture(&format!("go/covmeta.{HASH}"));
    bytes[4] = 2;
    let it = classify(&format!("covmeta.{HASH}"), &bytes);
    assert!(
        matches!(it.problem, Some(Problem::Unsupported(_))),
        "{it:?}"
    );
}

#[test]
fn go_files_say_what_ran() {
    let meta = read_meta(&fixture(&format!("go/covmeta.{HASH}"))).unwrap();
    assert_eq!(meta.mode, files::Mode::Atomic);
    let package = meta.packages().next().unwrap();
    assert_eq!((package.name(), package.path()), ("main", "example.org/op"));
    let functions: Vec<(&str, bool, u32)> = package
        .functions()
        .map(|f| {
            let statements = f.units().iter().map(|u| u.statements).sum();
            (f.name(), f.is_literal(), statements)
        })
        .collect();
    assert!(functions.contains(&("a", false, 3)), "{functions:?}");
    let counters = read_counters(&fixture(&format!("go/{COUNTERS}"))).unwrap();
    meta.check(&counters).unwrap();
    // a() ran ten times, six of them with n > 3.
    let a = package.functions().position(|f| f.name() == "a").unwrap() as u32;
    let a = counters.functions.iter().find(|f| f.function == a).unwrap();
    let mut counts = a.counts.clone();
    counts.sort_unstable();
    assert_eq!(counts, [4, 6, 10]);
    let mut other = counters.clone();
    other.functions[0].counts.push(1);
    assert!(meta.check(&other).is_err());
}

#[test]
fn go_file_names_are_read() {
    assert_eq!(
        Name::parse(COUNTERS),
        Some(Name::Counters {
            hash: HASH.into(),
            pid: 2384,
            nanos: 1795257547508204385
        })
    );
    for name in [
        "covmeta.xyz",
        "covmeta",
        "covcounters.365db558e60f45db96600bc1c17ccd6e.1",
        "a",
    ] {
        assert_eq!(Name::parse(name), None, "{name}");
    }
}

#[test]
fn a_text_profile_is_written_as_it_was_read() {
    let bytes = fixture("go/coverage.out");
    let profile = Profile::parse(&bytes).unwrap();
    assert_eq!(profile.to_text().as_bytes(), bytes);
}
