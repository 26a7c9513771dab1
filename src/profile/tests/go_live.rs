//! Counters of processes that run or were killed.

mod go_common;

use go_common::make::{BUILD_ID, Image, PAGE, Run, covmeta, package_id};
use go_common::{fixture, sum};
use podcov_profile::Identity;
use podcov_profile::error::Kind;
use podcov_profile::go::live::{Live, Seen};
use podcov_profile::go::meta::{Meta, Misfit, Mode, read_meta};
use podcov_profile::go::sum::{Refused, Sum};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

const NEGATIVE: &str = "8e5521eaa6050ffc4493d96397aa5e35";

/// `internal/bytealg` runs before it has an id, and once more after its
/// counters were written.
#[test]
fn packages_of_the_runtime_are_found_by_the_ids_of_the_header() {
    let meta = read_meta(&fixture(&format!("go-live/covmeta.{NEGATIVE}"))).unwrap();
    let bytes = fixture("go-live/covlive");
    let name = format!("go-live/covcounters.{NEGATIVE}.31451.1795580612572064326");
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
        ("no magic of a covlive file", Kind::Malformed, |b| {
            b[..PAGE].fill(0)
        }),
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
    assert_eq!((live.pid, live.mode), (77, Some(Mode::Atomic)));
    assert_eq!(Sum::new(&meta).add_live(&live).unwrap().functions, 1);
}

/// A process that was stopped while its packages were initialised did not say
/// which meta-data are its own; its build id does.
#[test]
fn without_a_second_part_the_build_id_tells() {
    let meta = small();
    // The package whose id only the second part explains did not run.
    let run: Run = vec![(0, 1, vec![5]), (0, 2, vec![1, 0, 9])];
    let image = image(vec![words(&run)]);
    let whole = image.bytes();
    let hash = "07".repeat(16);
    let known = Some(Identity::Covmeta(hash.clone()));
    assert_eq!(Live::parse(&whole).unwrap().identity(), known);
    let second = image.header() + 4;
    // Not there, begun, and all but its last byte.
    for there in [0, 8, 20, 55] {
        let mut bytes = whole.clone();
        bytes[second + there..PAGE].fill(0);
        let live = Live::parse(&bytes).unwrap();
        let id = Sha256::digest(BUILD_ID);
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(live.identity(), Some(Identity::GoBuildId(id)), "{there}");
        assert_eq!((&live.hash, live.mode), (&None, None));
        let refused = Sum::new(&meta).add_live(&live);
        assert!(matches!(refused, Err(Refused::Misfit(_))), "{refused:?}");
        let mut sum = Sum::new(&meta);
        assert_eq!(sum.add_live(&live.of(&hash)).unwrap().functions, 2);
        let mut expected = Sum::new(&meta);
        let of_the_whole = Live::parse(&whole).unwrap().of("of another");
        expected.add_live(&of_the_whole).unwrap();
        assert_eq!(sum.counts(), expected.counts());
    }
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
