//! Counters of processes that run or were killed.

mod go_common;

use std::fs;
use std::process::Command;

use go_common::make::{Image, PAGE, Run, covmeta, package_id};
use go_common::{Tour, fixture, go_text, sum};
use podcov_profile::error::Kind;
use podcov_profile::go::live::{Live, Seen, is_live};
use podcov_profile::go::meta::{Meta, Misfit, Mode, read_meta};
use podcov_profile::go::sum::{Refused, Sum};
use proptest::prelude::*;

const NEGATIVE: &str = "8e5521eaa6050ffc4493d96397aa5e35";

/// A program whose counters an overlay writes as a mapped file would have them.
#[test]
fn a_real_block_says_what_go_writes() {
    let tour = Tour::new();
    let root = go_text(&tour.path("."), &["env", "GOROOT"]);
    let into = format!("{}/src/internal/coverage/cfile/covlive.go", root.trim());
    let from = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/go-live/covlive.go"
    );
    let overlay = serde_json::json!({"Replace": {into: from}});
    fs::write(tour.path("overlay.json"), overlay.to_string()).unwrap();
    let overlay = tour.text("overlay.json");
    for mode in ["set", "count", "atomic"] {
        let mode = format!("-covermode={mode}");
        let flags = ["-overlay", &overlay, &mode, "-coverpkg=./..."];
        let program = tour.build("src", "program", &flags);
        let out = tour.path(&mode);
        fs::create_dir_all(&out).unwrap();
        let done = Command::new(program)
            .args(["queue", "shape", "lines", "7"])
            .env("GOCOVERDIR", &out)
            .env("COVLIVE", out.join("covlive.1.2"))
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        let (meta, counters) = tour.read_one(&mode);
        let bytes = fs::read(out.join("covlive.1.2")).unwrap();
        assert!(is_live(&bytes));
        let live = Live::parse(&bytes).unwrap();
        assert_eq!((live.mode, live.blocks.len()), (meta.mode, 1));
        assert!(live.go_version.starts_with("go1."), "{}", live.go_version);
        let mut mapped = Sum::new(&meta);
        let added = mapped.add_live(&live).unwrap();
        let written = sum(&meta, &counters);
        assert_eq!(mapped.counts(), written.counts(), "{mode}");
        assert_eq!((added.segments, added.torn), (1, 0));
        assert!(added.functions > 10, "{added:?}");
    }
}

/// `internal/bytealg` runs before it has an id, and once more after its
/// counters were written.
#[test]
fn packages_of_the_runtime_are_found_by_the_ids_of_the_header() {
    let meta = read_meta(&fixture(&format!("go-live/covmeta.{NEGATIVE}"))).unwrap();
    let bytes = fixture("go-live/covlive");
    let name = format!("go-live/covcounters.{NEGATIVE}.31118.1795570067286180062");
    let written = sum(&meta, &[fixture(&name)]);
    let live = Live::parse(&bytes).unwrap();
    let mut mapped = Sum::new(&meta);
    assert_eq!(mapped.add_live(&live).unwrap().torn, 0);
    let mut own = 0;
    for package in meta.packages() {
        for function in package.functions() {
            let (mapped, written) = (mapped.counts_of(&function), written.counts_of(&function));
            if package.path() == "example.org/tour" {
                own += mapped.iter().filter(|count| **count > 0).count();
                assert_eq!(mapped, written, "{}", function.name());
            } else {
                assert!(
                    mapped.iter().zip(written).all(|(m, w)| m >= w),
                    "{}",
                    function.name()
                );
            }
        }
    }
    let runtime: u32 = mapped.counts().iter().sum();
    assert!(own > 10 && runtime > 50, "{own} {runtime}");
}

/// Two packages, the second with an id below zero.
fn small() -> Meta {
    let shape = vec![vec![2, 1, 3], vec![1, 4]];
    read_meta(&covmeta(&shape, 7, 3)).unwrap()
}

fn image(blocks: Vec<Vec<u32>>) -> Image {
    Image {
        hash: 7,
        mode: 3,
        is_big: false,
        head: 1004,
        blocks,
        packages: 2,
    }
}

fn words(run: &Run) -> Vec<u32> {
    let mut words = Vec::new();
    for (package, function, counts) in run {
        words.extend([counts.len() as u32, package_id(*package), *function as u32]);
        words.extend(counts);
    }
    words
}

fn seen(meta: &Meta, bytes: &[u8]) -> (Seen, Run) {
    let mut run = Run::new();
    let live = Live::parse(bytes).unwrap();
    let seen = live.visit(meta, |entry| {
        run.push((
            entry.package as usize,
            entry.function as usize,
            entry.counts.to_vec(),
        ));
        Ok::<(), Misfit>(())
    });
    (seen.unwrap(), run)
}

#[test]
fn what_is_half_written_is_passed_over_and_counted() {
    let meta = small();
    let good: Run = vec![(0, 2, vec![1, 0, 9]), (1, 1, vec![0, 4, 0, 1])];
    // The number of counters is there, and not yet the package.
    let torn = vec![2, 0, 0, 0, 0];
    let all = [words(&good[..1].to_vec()), torn, words(&good[1..].to_vec())].concat();
    let found = seen(&meta, &image(vec![all]).bytes());
    let expected = Seen {
        functions: 2,
        torn: 1,
    };
    assert_eq!(found, (expected, good.clone()));
    // A package id that nobody has, a function too many, a function twice.
    let cases = [
        vec![2, 9, 0, 0, 0],
        vec![2, (-5i32) as u32, 0, 0, 0],
        vec![2, 1, 0x7000_0000, 0, 0],
        vec![0x7fff_ffff, 1, 0],
    ];
    for wrong in cases {
        let all = [words(&good), wrong.clone()].concat();
        let (found, run) = seen(&meta, &image(vec![all]).bytes());
        assert_eq!(run, good, "{wrong:?}");
        assert!(found.torn > 0, "{wrong:?}");
    }
    let twice = [words(&good), words(&good)].concat();
    assert_eq!(seen(&meta, &image(vec![twice]).bytes()).1, good);
    // Read over the start of a function: its counters are no functions, though
    // the first look like one.
    let start = words(&good[..1].to_vec());
    let lost = [&[0], &start[1..3], &[1, 2, 0, 5, 9, 9], &words(&good)[..]].concat();
    let (found, run) = seen(&meta, &image(vec![lost]).bytes());
    assert_eq!((found.torn, run), (1, good.clone()));
    // Counters that were cleared say nothing.
    let cleared = words(&vec![(0, 0, vec![0, 0]), good[0].clone()]);
    let (found, run) = seen(&meta, &image(vec![cleared]).bytes());
    assert_eq!((found.torn, run), (0, good[..1].to_vec()));
}

type Change = fn(&mut Vec<u8>);

#[test]
fn what_is_no_mapped_file_is_refused_by_name() {
    let meta = small();
    let bytes = image(vec![words(&vec![(0, 1, vec![5])])]).bytes();
    let cases: [(&str, Kind, Change); 8] = [
        ("the file is empty", Kind::Empty, |b| b.clear()),
        ("no header yet", Kind::Truncated, |b| b[..PAGE].fill(0)),
        ("no magic of a covlive file", Kind::Malformed, |b| b[1] = 0),
        ("covlive version 2", Kind::Unsupported, |b| b[8] = 2),
        ("does not fit its checksum", Kind::Malformed, |b| b[41] ^= 1),
        ("the header claims", Kind::Truncated, |b| b[14] = 0xff),
        ("a block claims", Kind::Truncated, |b| {
            b.truncate(PAGE + 1004 + 8)
        }),
        ("the magic claims 8 bytes", Kind::Truncated, |b| {
            b.truncate(7)
        }),
    ];
    for (what, kind, change) in cases {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        let error = Live::parse(&bytes).unwrap_err();
        assert!(error.what.contains(what), "{error}, expected: {what}");
        assert_eq!(error.kind, kind, "{what}");
    }
    let other = read_meta(&covmeta(&vec![vec![1]], 8, 3)).unwrap();
    let live = Live::parse(&bytes).unwrap();
    let refused = Sum::new(&other).add_live(&live);
    assert!(matches!(
        refused,
        Err(Refused::Misfit(Misfit::Build { .. }))
    ));
    assert_eq!((live.pid, live.mode), (77, Mode::Atomic));
    assert_eq!(Sum::new(&meta).add_live(&live).unwrap().functions, 1);
}

proptest! {
    /// Any functions in any order, with gaps where functions did not run, in
    /// one block or two, at any place of a page, in both byte orders.
    #[test]
    fn any_block_gives_its_counts(
        counts in prop::collection::vec(prop::option::of(any::<[u32; 4]>()), 5),
        order in Just(vec![(0, 0, 2), (0, 1, 1), (0, 2, 3), (1, 0, 1), (1, 1, 4)]).prop_shuffle(),
        cut in 0..=5usize,
        head in 0..1024usize,
        is_big in any::<bool>(),
    ) {
        let meta = small();
        let mut blocks = vec![Vec::new(), Vec::new()];
        let mut expected = Sum::new(&meta);
        let mut run = Run::new();
        for (at, ((package, function, units), counts)) in order.iter().zip(&counts).enumerate() {
            let block: &mut Vec<u32> = &mut blocks[usize::from(at >= cut)];
            match counts {
                None => block.extend(vec![0; 3 + units]),
                Some(counts) => {
                    let one = (*package, *function, counts[..*units].to_vec());
                    block.extend(words(&vec![one.clone()]));
                    run.push(one);
                }
            }
        }
        let image = Image { head: head * 4, is_big, ..image(blocks) };
        let bytes = image.bytes();
        let live = Live::parse(&bytes).unwrap();
        let mut sum = Sum::new(&meta);
        prop_assert_eq!(sum.add_live(&live).unwrap().torn, 0);
        let file = go_common::make::covcounters(&[run], 7, go_common::make::Numbers::Uleb, 0);
        expected.add(&file).unwrap();
        prop_assert_eq!(sum.counts(), expected.counts());
    }
}
