//! Damaged and hostile files: each is read, or refused by name and soon.

use std::time::{Duration, Instant};

use podcov_profile::error::{Kind, ParseError};
use podcov_profile::llvm::sum::Sum;
use podcov_profile::llvm::{indexed, raw, text};
use podcov_profile::{Limits, classify};

use crate::model::{self, Function, Model, packed, uleb};
use crate::tools::{fixture, fixtures_of};

/// Reads all that can be read of a raw profile, in both ways.
fn read_raw(bytes: &[u8]) -> Result<(), ParseError> {
    let limits = Limits::default();
    for part in raw::parts(bytes, &limits) {
        let part = part?;
        let sum = Sum::new(&part);
        let (profile, _) = part.profile(&limits)?;
        let mut sum = sum?;
        assert!(sum.add(&part));
        let (twice, _) = sum.into_profile(&limits)?;
        assert!(twice.functions.keys().eq(profile.functions.keys()));
        assert!(part.reached().count() <= part.counters());
    }
    Ok(())
}

fn read_indexed(bytes: &[u8]) -> Result<(), ParseError> {
    let read = indexed::read(bytes, &Limits::default())?;
    // What was read can be written, and is read again.
    let written = indexed::write(&read.profile, false);
    let again = indexed::read(&written.bytes, &Limits::default()).unwrap();
    assert_eq!(again.profile.functions, read.profile.functions);
    Ok(())
}

fn read_text(bytes: &[u8]) -> Result<(), ParseError> {
    let (profile, _) = text::read(bytes, &Limits::default())?;
    let written = text::write(&profile);
    if written.unnamed.is_empty()
        && profile
            .names
            .values()
            .all(|name| !name.is_ascii_digit_all())
    {
        let (again, _) = text::read(&written.bytes, &Limits::default()).unwrap();
        assert_eq!(again.functions, profile.functions);
    }
    Ok(())
}

trait AllDigits {
    fn is_ascii_digit_all(&self) -> bool;
}

impl AllDigits for [u8] {
    fn is_ascii_digit_all(&self) -> bool {
        self.iter().all(u8::is_ascii_digit)
    }
}

type Read = fn(&[u8]) -> Result<(), ParseError>;

const KINDS: [(&str, Read); 3] = [
    (".profraw", read_raw),
    (".profdata", read_indexed),
    (".proftext", read_text),
];

fn all(kinds: &[(&str, Read)]) -> Vec<(String, Vec<u8>, Read)> {
    let mut all = Vec::new();
    for (ending, read) in kinds {
        for (name, bytes) in fixtures_of(ending) {
            all.push((name, bytes, *read));
        }
    }
    all
}

#[test]
fn every_truncation_is_read_or_refused_where_it_ends() {
    for (name, bytes, read) in all(&KINDS) {
        for len in 0..bytes.len() {
            let _ = classify(&name, &bytes[..len]);
            if let Err(error) = read(&bytes[..len]) {
                assert_eq!(error.len, len as u64, "{name} {len}: {error}");
                assert!(error.offset <= error.len, "{name} {len}: {error}");
            } else if name.ends_with(".profraw") {
                // The last padding, or all values: a process that was told to
                // write none writes no more than this.
                let values =
                    name.contains("/ir") || name.contains("/front") || name.contains("/narrow");
                assert!(values || bytes.len() - len < 8, "{name} {len}");
            }
        }
    }
}

#[test]
fn every_changed_byte_of_a_raw_profile_is_read_or_refused() {
    change_every_byte(&KINDS[..1]);
}

#[test]
fn every_changed_byte_of_a_merged_profile_is_read_or_refused() {
    change_every_byte(&KINDS[1..]);
}

fn change_every_byte(kinds: &[(&str, Read)]) {
    for (name, mut bytes, read) in all(kinds) {
        for at in 0..bytes.len() {
            let kept = bytes[at];
            for value in [0, 0x7f, 0xff, kept.wrapping_add(1), kept.wrapping_sub(1)] {
                bytes[at] = value;
                if value == 0xff {
                    let _ = classify(&name, &bytes);
                }
                if let Err(error) = read(&bytes) {
                    assert_eq!(error.len, bytes.len() as u64, "{name} {at}: {error}");
                    assert!(error.offset <= error.len, "{name} {at}: {error}");
                }
            }
            bytes[at] = kept;
        }
    }
}

fn one() -> Model {
    let function = Function {
        name: "main".to_owned(),
        hash: 24,
        counters: vec![1, 2],
        bitmap: vec![],
        sites: [0; 3],
    };
    Model::new(10, vec![function])
}

/// A raw profile with other names.
fn with_names(names: &[u8]) -> Vec<u8> {
    let model = Model {
        are_names_packed: false,
        ids: vec![],
        ..one()
    };
    let mut bytes = model::raw(&model);
    let at = bytes.len() - 8;
    bytes.truncate(at);
    bytes.extend(names);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes[9 * 8..10 * 8].copy_from_slice(&(names.len() as u64).to_le_bytes());
    bytes
}

fn chunk(plain: u64, packed: u64, bytes: &[u8]) -> Vec<u8> {
    let mut chunk = Vec::new();
    uleb(&mut chunk, plain);
    uleb(&mut chunk, packed);
    chunk.extend(bytes);
    chunk
}

#[test]
fn names_that_crash_other_readers_are_refused_at_once() {
    assert_eq!(
        read_raw(&with_names(&[4, 0, b'm', b'a', b'i', b'n'])),
        Ok(())
    );
    let small = packed(&vec![b'a'; 1 << 20]);
    let bomb = bomb(64);
    let cases = [
        (
            "declares 8 GiB",
            with_names(&chunk(8 << 30, small.len() as u64, &small)),
            Kind::TooLarge,
            "the names claim 8589934592 bytes, the limit is 50331648",
        ),
        (
            "is a bomb",
            with_names(&chunk(64 << 20, bomb.len() as u64, &bomb)),
            Kind::TooLarge,
            "the names claim 67108864 bytes, the limit is 50331648",
        ),
        (
            "is a bomb that declares what is allowed",
            with_names(&chunk(48 << 20, bomb.len() as u64, &bomb)),
            Kind::Malformed,
            "names do not inflate to the 50331648 bytes they claim: more, or no end",
        ),
        (
            "declares 1 MiB, not compressed, in 3 bytes",
            with_names(&chunk(1 << 20, 0, b"abc")),
            Kind::Truncated,
            "the names claims 1048576 bytes, 3 are left",
        ),
        (
            "declares 1 TiB, not compressed, in 3 bytes",
            with_names(&chunk(1 << 40, 0, b"abc")),
            Kind::TooLarge,
            "the names claim 1099511627776 bytes, the limit is 50331648",
        ),
        (
            "declares more than deflate can do",
            with_names(&chunk(1 << 20, 100, &[0; 100])),
            Kind::TooLarge,
            "names of 1048576 bytes are said to be in 100, \
             the limit of deflate is 1032 times as much",
        ),
    ];
    for (case, bytes, kind, what) in cases {
        let start = Instant::now();
        let error = read_raw(&bytes).expect_err(case);
        let taken = start.elapsed();
        assert_eq!((error.kind, &*error.what), (kind, what), "{case}");
        assert!(error.offset >= 200 && error.offset < 240, "{case}: {error}");
        // What the limit allows to inflate is inflated: 48 MiB.
        let most = if kind == Kind::Malformed { 5000 } else { 50 };
        assert!(taken < Duration::from_millis(most), "{case}: {taken:?}");
    }
}

/// As many MiB of zeros, compressed as far as deflate can.
fn bomb(mebibytes: usize) -> Vec<u8> {
    let mut block = Vec::with_capacity(4096);
    let mut compress = flate2::Compress::new(flate2::Compression::best(), false);
    let flush = flate2::FlushCompress::Full;
    compress
        .compress_vec(&vec![0; 1 << 20], &mut block, flush)
        .unwrap();
    assert_eq!(compress.total_in(), 1 << 20);
    let mut bytes = vec![0x78, 0xda];
    bytes.extend(block.repeat(mebibytes));
    // An empty last block, and the checksum of that many zeros.
    bytes.extend([3, 0]);
    let sum = ((mebibytes << 20) % 65521) << 16 | 1;
    bytes.extend((sum as u32).to_be_bytes());
    bytes
}

#[test]
fn a_true_gibibyte_of_names_is_refused_at_once() {
    let bomb = bomb(1 << 10);
    let bytes = with_names(&chunk(1 << 30, bomb.len() as u64, &bomb));
    assert!(
        (1_000_000..1_100_000).contains(&bytes.len()),
        "{}",
        bytes.len()
    );
    let start = Instant::now();
    let error = read_raw(&bytes).unwrap_err();
    assert!(start.elapsed() < Duration::from_millis(50));
    assert_eq!(error.kind, Kind::TooLarge);
    assert_eq!(
        error.what,
        "the names claim 1073741824 bytes, the limit is 50331648"
    );
}

#[test]
fn a_huge_number_of_bitmap_bytes_is_refused_at_once() {
    let bytes = model::raw(&one());
    let field = |index: usize, value: u64| {
        let mut bytes = bytes.clone();
        bytes[index * 8..index * 8 + 8].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    // Of the header, and of the one record behind header and build id.
    let mut record = bytes.clone();
    record[128 + 16 + 60..128 + 16 + 64].copy_from_slice(&u32::MAX.to_le_bytes());
    let cases = [
        (
            field(7, 4 << 30),
            Kind::Truncated,
            "the bitmaps claims 4294967296 bytes, 16 are left",
            224,
        ),
        (
            record,
            Kind::Malformed,
            "function 0: 4294967295 bytes of bitmap are claimed, 0 are left",
            204,
        ),
        (
            field(3, 1 << 60),
            Kind::TooLarge,
            "the number of functions claims 1152921504606846976, the limit is 16777216",
            120,
        ),
        (
            field(5, 1 << 61),
            Kind::TooLarge,
            "the number of counters claims 2305843009213693952, the limit is 268435456",
            120,
        ),
    ];
    for (bytes, kind, what, offset) in cases {
        let start = Instant::now();
        let error = read_raw(&bytes).expect_err(what);
        assert!(start.elapsed() < Duration::from_millis(50));
        assert_eq!(
            (error.kind, &*error.what, error.offset),
            (kind, what, offset)
        );
    }
}

#[test]
fn records_that_share_counters_are_refused() {
    // A thousand records of the same thousand counters would take a gigabyte.
    let mut model = one();
    model.functions = (0..100)
        .map(|index| Function {
            name: format!("f{index}"),
            counters: vec![1],
            ..model.functions[0].clone()
        })
        .collect();
    let mut bytes = model::raw(&model);
    for index in 0..100 {
        let at = 128 + 16 + index * 64 + 48;
        bytes[at..at + 4].copy_from_slice(&50u32.to_le_bytes());
    }
    let error = read_raw(&bytes).unwrap_err();
    assert_eq!(error.kind, Kind::Malformed);
    assert_eq!(
        error.what,
        "function 2: 50 counters are claimed, 0 are left"
    );
}

#[test]
fn counters_that_are_not_where_a_record_says_are_refused() {
    let bytes = model::raw(&one());
    for shift in [-8i64, -1, 1, 8, 16, i64::MAX, i64::MIN] {
        let mut bytes = bytes.clone();
        let at = 128 + 16 + 16;
        let pointer = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let moved = pointer.wrapping_add(shift as u64);
        bytes[at..at + 8].copy_from_slice(&moved.to_le_bytes());
        let error = read_raw(&bytes).unwrap_err();
        assert_eq!((error.kind, error.offset), (Kind::Malformed, at as u64));
        assert!(error.what.contains("of 16 bytes of counters"), "{error}");
    }
}

#[test]
fn buckets_that_overlap_are_refused() {
    // Each bucket of a large table is said to be the one large bucket.
    let functions = (0..2000).map(|index| Function {
        name: format!("f{index}"),
        ..one().functions[0].clone()
    });
    let all = Model::new(10, functions.collect()).functions();
    let bytes = model::indexed(12, 0, &all, &[]);
    let table = u64::from_le_bytes(bytes[32..40].try_into().unwrap()) as usize;
    let first = bytes[table + 16..table + 24].to_vec();
    let mut overlapping = bytes.clone();
    overlapping[table + 24..table + 32].copy_from_slice(&first);
    let start = Instant::now();
    let error = read_indexed(&overlapping).unwrap_err();
    assert_eq!(error.kind, Kind::Malformed);
    let mut many = bytes[..table].to_vec();
    many.extend((1u64 << 20).to_le_bytes());
    many.extend(2000u64.to_le_bytes());
    many.extend(first.repeat(1 << 20));
    let error = read_indexed(&many).unwrap_err();
    assert_eq!(error.kind, Kind::Malformed);
    assert!(start.elapsed() < Duration::from_secs(5));
}

/// LLVM's own reader says nothing, and counts the first.
#[test]
fn a_second_merged_profile_behind_the_first_is_not_passed_over() {
    for version in ["14", "16", "18", "19", "22"] {
        let one = fixture(&format!("llvm/{version}/front.profdata"));
        let error = read_indexed(&one.repeat(2)).unwrap_err();
        assert_eq!(error.offset, one.len() as u64, "{error}");
        assert!(error.what.starts_with("another indexed profile"), "{error}");
    }
}

#[test]
fn a_text_of_many_small_functions_is_bounded() {
    let text = (0..600_000).map(|index| format!("a\n{index}\n1\n0\n"));
    let error = read_text(text.collect::<String>().as_bytes()).unwrap_err();
    assert_eq!(error.kind, Kind::TooLarge);
    let claims = [
        "a\n1\n18446744073709551615\n1\n",
        "a\n1\n1\n1\n$18446744073709551615\n0\n",
    ];
    for claim in claims {
        assert_eq!(
            read_text(claim.as_bytes()).unwrap_err().kind,
            Kind::Truncated
        );
    }
}

#[test]
fn an_empty_file_says_why() {
    let error = read_raw(&[]).unwrap_err();
    assert_eq!(error.kind, Kind::Empty);
    assert!(error.what.contains("stopped before it wrote"));
    let found = classify("x.proftext", &fixture("llvm/22/front.proftext"));
    assert_eq!(
        (found.format, found.problem),
        (podcov_profile::ledger::Format::Profdata, None)
    );
}
