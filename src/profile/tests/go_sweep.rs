//! Damaged and hostile files of Go's formats: no reader panics, hangs, or takes
//! memory out of proportion.

mod go_common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use go_common::fixture;
use go_common::make::{Image, Numbers, covcounters, covmeta, covmeta_of, uleb};
use podcov_profile::error::Kind;
use podcov_profile::go::combine::Combination;
use podcov_profile::go::counters::CounterFile;
use podcov_profile::go::files::{Part, read_counters};
use podcov_profile::go::lines::{functions, lines};
use podcov_profile::go::live::Live;
use podcov_profile::go::meta::{Meta, read_meta};
use podcov_profile::go::report::Report;
use podcov_profile::go::sum::Sum;
use podcov_profile::go::text::Profile;

/// Counts what each thread holds, and the most it held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    MOST.set(MOST.get().max(held));
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller says.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` held at most, and how long it took.
fn measure<T>(work: impl FnOnce() -> T) -> (T, usize, Duration) {
    let before = HELD.get();
    MOST.set(before);
    let begin = Instant::now();
    let result = work();
    (result, (MOST.get() - before) as usize, begin.elapsed())
}

const HASH: &str = "365db558e60f45db96600bc1c17ccd6e";

fn fixtures() -> Vec<Vec<u8>> {
    let names = [
        &format!("go/covmeta.{HASH}"),
        &format!("go/covcounters.{HASH}.2384.1795257547508204385"),
        "go/coverage.out",
        "go-live/covlive",
        "go-live/covmeta.8e5521eaa6050ffc4493d96397aa5e35",
        "go-live/covcounters.8e5521eaa6050ffc4493d96397aa5e35.31451.1795580612572064326",
    ];
    let run = vec![(0, 1, vec![3]), (1, 0, vec![1, 300])];
    let made = [
        covmeta(&vec![vec![2, 1], vec![2]], 7, 1),
        covcounters(&[run.clone(), run.clone()], 7, Numbers::Big, 2),
        covcounters(&[run.clone(), run], 7, Numbers::Little, 0),
    ];
    names.map(fixture).into_iter().chain(made).collect()
}

fn metas() -> Vec<Meta> {
    let all = fixtures();
    all.iter()
        .filter_map(|bytes| read_meta(bytes).ok())
        .collect()
}

/// All that is done with bytes of any kind; says whether any reader took them.
fn read_all(bytes: &[u8], metas: &[Meta]) -> bool {
    let mut taken = Part::of(bytes).is_some();
    if let Ok(meta) = read_meta(bytes) {
        taken = true;
        functions(&meta);
        let sum = Sum::new(&meta);
        let report = Report::new([&sum]).unwrap();
        report.write_text(&mut std::io::sink()).unwrap();
        report.functions();
        let mut combination = Combination::new();
        combination.add(&sum).unwrap();
        let combined = combination.finish().unwrap();
        assert_eq!(
            Report::new([&combined.sum()]).unwrap().total(),
            report.total()
        );
    }
    if let Ok(counters) = read_counters(bytes) {
        taken = true;
        for meta in metas {
            let fits = meta.check(&counters).is_ok();
            assert_eq!(Sum::new(meta).add(bytes).is_ok(), fits);
        }
    }
    if let Ok(live) = Live::parse(bytes) {
        taken = true;
        for meta in metas {
            assert_eq!(
                Sum::new(meta).add_live(&live).is_ok(),
                live.hash.as_ref() == Some(&meta.hash)
            );
        }
    }
    if let Ok(profile) = Profile::parse(bytes) {
        taken = true;
        for blocks in profile.files.values() {
            // A block that claims all lines of a file takes its time.
            if blocks.keys().all(|span| span.end_line < 1000) {
                lines(blocks);
            }
        }
    }
    taken
}

#[test]
fn no_truncation_and_no_changed_byte_does_harm() {
    let metas = metas();
    let (mut taken, mut refused) = (0, 0);
    for mut bytes in fixtures() {
        let bound = (64 << 10) + 8 * bytes.len();
        let mut check = |bytes: &[u8]| {
            let (ok, most, took) = measure(|| read_all(bytes, &metas));
            // All of it, with the sums and reports on it.
            assert!(most <= 2 * bound, "{most} bytes for {}", bytes.len());
            assert!(took < Duration::from_secs(5), "{took:?}");
            *if ok { &mut taken } else { &mut refused } += 1;
        };
        for len in 0..bytes.len() {
            check(&bytes[..len]);
        }
        for at in 0..bytes.len() {
            let kept = bytes[at];
            for value in [0, 0x7f, 0xff] {
                bytes[at] = value;
                check(&bytes);
            }
            bytes[at] = kept;
        }
    }
    assert!(
        taken > 1000 && refused > 1000,
        "{taken} taken, {refused} refused"
    );
}

/// A package of 60 bytes, `strings` as they are and `bodies` of functions.
fn package(strings: &[u8], bodies: &[&[u8]]) -> Vec<u8> {
    let first = 44 + 4 * bodies.len() + strings.len();
    let mut out = Vec::new();
    let length = first + bodies.iter().map(|body| body.len()).sum::<usize>();
    for value in [length, 0, 0, 0] {
        out.extend((value as u32).to_le_bytes());
    }
    out.extend([0; 20]);
    for value in [0, bodies.len()] {
        out.extend((value as u32).to_le_bytes());
    }
    let mut at = first;
    for body in bodies {
        out.extend((at as u32).to_le_bytes());
        at += body.len();
    }
    out.extend(strings);
    bodies.iter().for_each(|body| out.extend(*body));
    out
}

const NAME: &[u8] = b"\x01\x01p";
const MANY: usize = 500_000;

/// Files that are all of the smallest parts a format has, so that what is made
/// of each part counts most.
#[test]
fn memory_stays_in_proportion_to_the_file() {
    let mut empty = Vec::new();
    uleb(&mut empty, 1 + MANY as u64 * 4);
    empty.extend(b"\x01p");
    empty.extend(vec![0; MANY * 4]);
    let mut invalid = b"\x02\x01p".to_vec();
    uleb(&mut invalid, MANY as u64 * 4);
    invalid.extend(vec![0xff; MANY * 4]);
    let mut units = Vec::new();
    uleb(&mut units, MANY as u64);
    units.extend([0, 0]);
    units.extend(vec![0; MANY * 5 + 1]);
    let no_units: &[u8] = &[0, 0, 0, 0];
    let one_unit: &[u8] = &[1, 0, 0, 1, 1, 1, 1, 1, 0];
    let metas = [
        covmeta_of(&[package(&empty, &[])], 7, 3),
        covmeta_of(&[package(&invalid, &[])], 7, 3),
        covmeta_of(&[package(NAME, &[&units])], 7, 3),
        covmeta_of(&[package(NAME, &vec![no_units; MANY])], 7, 3),
        covmeta_of(&[package(NAME, &vec![one_unit; MANY])], 7, 3),
        covmeta_of(&vec![package(NAME, &[]); MANY / 10], 7, 3),
    ];
    for (number, bytes) in metas.iter().enumerate() {
        let (meta, most, took) = measure(|| read_meta(bytes));
        meta.unwrap();
        let bound = (1 << 20) + 8 * bytes.len();
        assert!(
            most <= bound,
            "meta {number}: {most} bytes of {}",
            bytes.len()
        );
        assert!(took < Duration::from_secs(20), "meta {number}: {took:?}");
    }
    let meta = read_meta(&covmeta(&vec![vec![0, 1]], 7, 3)).unwrap();
    let runs = [vec![(0, 0, vec![]); MANY], vec![(0, 1, vec![1]); MANY]];
    for run in runs {
        let bytes = covcounters(&[run], 7, Numbers::Uleb, 0);
        let (counters, most, _) = measure(|| read_counters(&bytes));
        counters.unwrap();
        assert!(
            most <= (64 << 20) + 8 * bytes.len(),
            "{most} bytes of {}",
            bytes.len()
        );
        let mut sum = Sum::new(&meta);
        let (added, most, _) = measure(|| sum.add(&bytes));
        assert_eq!(added.unwrap().functions, MANY as u64);
        assert!(
            most <= (1 << 20) + 8 * bytes.len(),
            "{most} bytes of {}",
            bytes.len()
        );
    }
    let blocks: String = (1..MANY).map(|n| format!("a:{n}.1,{n}.1 1 1\n")).collect();
    let files: String = (1..60_000).map(|n| format!("{n}:1.1,1.1 1 1\n")).collect();
    for text in [blocks, files] {
        let text = format!("mode: set\n{text}");
        let (profile, most, _) = measure(|| Profile::parse(text.as_bytes()));
        profile.unwrap();
        assert!(
            most <= (64 << 20) + 8 * text.len(),
            "{most} bytes of {}",
            text.len()
        );
    }
    let ids = Image {
        hash: 7,
        mode: 3,
        is_big: false,
        head: 0,
        blocks: vec![vec![]; 1000],
        packages: MANY,
    };
    let bytes = ids.bytes();
    let (live, most, _) = measure(|| Live::parse(&bytes).map(|live| live.blocks.len()));
    assert_eq!(live.unwrap(), 1000);
    assert!(
        most <= (1 << 20) + 8 * bytes.len(),
        "{most} bytes of {}",
        bytes.len()
    );
}

/// What claims more than there is, is refused before anything is reserved.
#[test]
fn claims_past_the_end_are_refused_at_once() {
    let meta = fixture(&format!("go/covmeta.{HASH}"));
    let counters = fixture(&format!("go/covcounters.{HASH}.2384.1795257547508204385"));
    let mut cases = Vec::new();
    for claim in [u64::MAX, 1 << 60, 1 << 32, 1 << 20] {
        for at in [8, 16] {
            let mut bytes = meta.clone();
            bytes[at..at + 8].copy_from_slice(&claim.to_le_bytes());
            cases.push(bytes);
        }
        let mut bytes = counters.clone();
        bytes[32..40].copy_from_slice(&claim.to_le_bytes());
        cases.push(bytes);
    }
    for at in [40, 44] {
        let mut bytes = counters.clone();
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        cases.push(bytes);
    }
    // Strings, units and counters without end.
    let long = [0xff, 0xff, 0xff, 0xff, 0x0f];
    cases.push(covmeta_of(&[package(&long, &[])], 7, 3));
    cases.push(covmeta_of(
        &[package(NAME, &[&[&long[..], &[0; 9]].concat()])],
        7,
        3,
    ));
    let mut bytes = covcounters(&[vec![(0, 0, vec![1])]], 7, Numbers::Uleb, 0);
    let at = bytes.len() - 20;
    bytes.splice(at..at + 1, long);
    cases.push(bytes);
    let mut bytes = covcounters(&[vec![(0, 0, vec![1])]], 7, Numbers::Little, 0);
    let at = bytes.len() - 32;
    bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    cases.push(bytes);
    for (number, bytes) in cases.iter().enumerate() {
        let (refused, most, took) = measure(|| match read_meta(bytes) {
            Ok(_) => None,
            Err(error) if error.what.contains("no magic") => read_counters(bytes).err(),
            Err(error) => Some(error),
        });
        let refused = refused.unwrap_or_else(|| panic!("case {number} was taken"));
        assert!(
            matches!(refused.kind, Kind::Truncated | Kind::Malformed),
            "case {number}: {refused}"
        );
        assert!(
            most < (64 << 10) + 8 * bytes.len(),
            "case {number}: {most} bytes"
        );
        assert!(took < Duration::from_millis(500), "case {number}: {took:?}");
    }
}

/// Numbers that never end, or are longer than they can be.
#[test]
fn numbers_that_are_too_long_are_refused() {
    let run = vec![(0, 0, vec![1, 2, 3, 4, 5, 6])];
    let good = covcounters(&[run], 7, Numbers::Uleb, 0);
    let at = good.len() - 16 - 6;
    assert_eq!(good[at..at + 6], [1, 2, 3, 4, 5, 6]);
    for long in [[0x80; 6], [0xff; 6], [0x81, 0x80, 0x80, 0x80, 0x80, 0x00]] {
        let mut bytes = good.clone();
        bytes[at..at + 6].copy_from_slice(&long);
        let error = read_counters(&bytes).unwrap_err();
        assert_eq!(error.offset, at as u64, "{error}");
        assert!(error.what.contains("longer than 32 bits"), "{error}");
    }
}

#[test]
fn modes_and_versions_that_are_not_read_are_named() {
    let refuse = |at: usize, value: u8| {
        let mut bytes = covmeta(&vec![vec![1]], 7, 3);
        bytes[at] = value;
        let error = read_meta(&bytes).unwrap_err();
        (error.kind, error.what)
    };
    for (value, word) in [(4, "regonly"), (5, "testmain")] {
        let (kind, what) = refuse(48, value);
        assert_eq!(kind, Kind::Unsupported);
        assert!(
            what.starts_with(&format!("mode {word} has no counters")),
            "{what}"
        );
    }
    assert_eq!(refuse(48, 6).0, Kind::Malformed);
    assert_eq!(refuse(49, 3).0, Kind::Malformed);
    let (kind, what) = refuse(4, 2);
    assert_eq!(kind, Kind::Unsupported);
    assert!(
        what.starts_with("covmeta version 2 is not known, 1 is"),
        "{what}"
    );
    let mut bytes = covcounters(&[vec![]], 7, Numbers::Uleb, 0);
    bytes[4] = 9;
    let error = CounterFile::parse(&bytes).unwrap_err();
    assert_eq!(error.kind, Kind::Unsupported);
    assert!(
        error.what.starts_with("covcounters version 9 is not known"),
        "{error}"
    );
}

/// A counter a function is for functions of one unit.
#[test]
fn counters_of_functions_are_read() {
    let mut bytes = covmeta(&vec![vec![1, 0, 1]], 7, 2);
    bytes[49] = 2;
    let meta = read_meta(&bytes).unwrap();
    assert_eq!(meta.granularity.word(), "perfunc");
    let mut sum = Sum::new(&meta);
    let run = vec![(0, 0, vec![4]), (0, 2, vec![1])];
    sum.add(&covcounters(&[run], 7, Numbers::Uleb, 0)).unwrap();
    assert_eq!(sum.counts(), [4, 1]);
    let mut bytes = covmeta(&vec![vec![2]], 7, 2);
    bytes[49] = 2;
    let error = read_meta(&bytes).unwrap_err();
    assert!(error.what.contains("a function with 2 units"), "{error}");
}
