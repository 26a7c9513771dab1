//! The laws of merging, against an oracle that is nothing but maps.

use std::collections::BTreeMap;

use podcov_profile::error::Kind;
use podcov_profile::evidence::Key;
use podcov_profile::go::text;
use podcov_profile::llvm::profile::{Counts, FunctionId, MAX_COUNT, Profile};
use podcov_profile::llvm::raw;
use podcov_profile::merge::{Added, Merge, ProgramCounts, RawTotals, Totals, of_profile, of_text};
use podcov_profile::store::{Program, Store};
use podcov_profile::{Identity, Limits};
use proptest::prelude::*;

/// What one process counted of one of two builds.
#[derive(Clone, Debug)]
struct Evidence {
    pod: u8,
    build: u8,
    counts: [u64; 3],
    bits: u8,
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let count = prop_oneof![
        3 => Just(0u64),
        3 => 1..9u64,
        1 => Just(MAX_COUNT),
        1 => Just(MAX_COUNT / 2 + 1)
    ];
    (
        0..6u8,
        0..2u8,
        [count.clone(), count.clone(), count],
        0..8u8,
    )
        .prop_map(|(pod, build, counts, bits)| Evidence {
            pod,
            build,
            counts,
            bits,
        })
}

fn id(name: u64) -> FunctionId {
    FunctionId { name, hash: 7 }
}

impl Evidence {
    fn key(&self) -> Key {
        Key::of_process("run", format!("ns/{}/main/1", self.pod), "a.profraw")
    }

    fn profile(&self) -> Profile {
        let mut profile = Profile::default();
        let build = Identity::BuildId(format!("0{}", self.build));
        profile.binary_ids.insert(build);
        profile.names.insert(1, b"one".as_slice().into());
        let [a, b, c] = self.counts;
        let one = Counts {
            counters: vec![a, b],
            bitmap: vec![self.bits],
        };
        let two = Counts {
            counters: vec![c],
            bitmap: vec![],
        };
        profile.add(id(1), one).unwrap();
        profile.add(id(2), two).unwrap();
        profile
    }
}

fn merge(all: &[Evidence]) -> Merge {
    let mut merge = Merge::default();
    for one in all {
        let (shape, vector) = of_profile(&one.profile());
        merge.add(one.key(), &shape, vector);
    }
    merge
}

fn bytes(merge: &Merge) -> Vec<u8> {
    merge.write(Vec::new()).unwrap()
}

/// Counts by build and slot: the largest of each pod, summed over pods.
type Oracle = BTreeMap<u8, (u64, [u128; 3], u8)>;

fn oracle(all: &[Evidence]) -> Oracle {
    let mut pods: BTreeMap<(u8, u8), ([u64; 3], u8)> = BTreeMap::new();
    for one in all {
        let (counts, bits) = pods.entry((one.build, one.pod)).or_default();
        for (largest, count) in counts.iter_mut().zip(one.counts) {
            *largest = count.max(*largest);
        }
        *bits |= one.bits;
    }
    let mut sums = Oracle::new();
    for ((build, _), (counts, bits)) in pods {
        let (pieces, sum, all_bits) = sums.entry(build).or_default();
        *pieces += 1;
        for (sum, count) in sum.iter_mut().zip(counts) {
            *sum += u128::from(count);
        }
        *all_bits |= bits;
    }
    sums
}

fn check(merge: &Merge, expected: &Oracle) {
    let counted = merge.totals().finish();
    assert_eq!(counted.len(), expected.len());
    for (counted, (build, (pieces, sums, bits))) in counted.iter().zip(expected) {
        let ids = [Identity::BuildId(format!("0{build}"))];
        assert_eq!(counted.program, Program::Llvm(ids.into()));
        assert_eq!(counted.pieces, *pieces);
        assert!(counted.conflicts.is_empty());
        let ProgramCounts::Llvm(profile) = &counted.counts else {
            panic!("{counted:?}");
        };
        let capped = sums.map(|sum| sum.min(u128::from(MAX_COUNT)) as u64);
        assert_eq!(profile.functions[&id(1)].counters, capped[..2]);
        assert_eq!(profile.functions[&id(1)].bitmap, [*bits]);
        assert_eq!(profile.functions[&id(2)].counters, capped[2..]);
        assert_eq!(&*profile.names[&1], b"one");
    }
}

proptest! {
    #[test]
    fn sums_are_those_of_the_oracle(all in proptest::collection::vec(evidence(), 0..12)) {
        check(&merge(&all), &oracle(&all));
    }

    #[test]
    fn order_and_grouping_change_no_byte(
        all in proptest::collection::vec(evidence(), 0..12),
        cut in 0..12usize,
        other_cut in 0..12usize,
    ) {
        let whole = bytes(&merge(&all));
        let mut backwards = all.clone();
        backwards.reverse();
        prop_assert_eq!(&whole, &bytes(&merge(&backwards)));
        let (a, rest) = all.split_at(cut.min(all.len()));
        let (b, c) = rest.split_at(other_cut.min(rest.len()));
        // a + (b + c), and (c + a) + b.
        let mut right = merge(b);
        right.absorb(merge(c));
        let mut one = merge(a);
        one.absorb(right);
        let mut two = merge(c);
        two.absorb(merge(a));
        two.absorb(merge(b));
        prop_assert_eq!(&whole, &bytes(&one));
        prop_assert_eq!(&whole, &bytes(&two));
    }

    #[test]
    fn evidence_given_again_changes_no_byte(all in proptest::collection::vec(evidence(), 0..8)) {
        let mut merged = merge(&all);
        let whole = bytes(&merged);
        merged.absorb(merge(&all));
        prop_assert_eq!(&whole, &bytes(&merged));
    }

    #[test]
    fn a_file_holds_all_that_was_merged(all in proptest::collection::vec(evidence(), 0..12)) {
        let whole = bytes(&merge(&all));
        let store = Store::read(&whole, &Limits::default()).unwrap();
        let mut back = Merge::default();
        back.absorb_store(&store);
        check(&back, &oracle(&all));
        prop_assert_eq!(&whole, &bytes(&back));
        // The same sums, from how often each list of counts is there.
        let mut times = vec![0; store.vectors()];
        for piece in store.pieces() {
            times[piece.vector] += 1;
        }
        for (index, named) in store.shapes().iter().enumerate() {
            let totals = back.totals();
            let expected = totals.sums().find(|sum| sum.shape.digest() == named.digest()).unwrap();
            let sums = store.sum(index, |vector| times[vector]);
            prop_assert_eq!(&expected.values, &sums);
        }
    }

    #[test]
    fn totals_of_parts_are_the_totals_of_the_whole(
        all in proptest::collection::vec(evidence(), 0..12), cut in 0..12usize,
    ) {
        // Distinct evidence only: that is what totals are of.
        let distinct: BTreeMap<_, _> = all.into_iter().map(|e| ((e.pod, e.build), e)).collect();
        let all: Vec<Evidence> = distinct.into_values().collect();
        let (a, b) = all.split_at(cut.min(all.len()));
        let mut left = merge(a).totals();
        left.absorb(merge(b).totals());
        let whole = merge(&all).totals();
        let values = |totals: &podcov_profile::merge::Totals| -> Vec<(u64, Vec<u64>)> {
            totals.sums().map(|sum| (sum.pieces, sum.values.clone())).collect()
        };
        prop_assert_eq!(values(&left), values(&whole));
    }
}

#[test]
fn replicas_with_equal_bytes_both_count_and_a_delivery_again_does_not() {
    let one = Evidence {
        pod: 1,
        build: 0,
        counts: [1, 0, 2],
        bits: 1,
    };
    let replica = Evidence {
        pod: 2,
        ..one.clone()
    };
    let (shape, vector) = of_profile(&one.profile());
    let mut merge = Merge::default();
    assert_eq!(merge.add(one.key(), &shape, vector.clone()), Added::New);
    assert_eq!(
        merge.add(one.key(), &shape, vector.clone()),
        Added::Duplicate
    );
    assert_eq!(merge.add(replica.key(), &shape, vector), Added::New);
    check(&merge, &oracle(&[one, replica]));
    let whole = bytes(&merge);
    let store = Store::read(&whole, &Limits::default()).unwrap();
    // Equal counts are there once.
    assert_eq!((store.len(), store.vectors()), (2, 1));
}

#[test]
fn a_function_in_two_shapes_is_told_and_the_larger_kept() {
    let mut small = Profile::default();
    small.binary_ids.insert(Identity::BuildId("01".to_owned()));
    let mut large = small.clone();
    let counts = |counters: &[u64]| Counts {
        counters: counters.to_vec(),
        bitmap: vec![],
    };
    small.add(id(1), counts(&[5])).unwrap();
    large.add(id(1), counts(&[1, 2])).unwrap();
    for order in [[&small, &large], [&large, &small]] {
        let mut merge = Merge::default();
        for (index, profile) in order.into_iter().enumerate() {
            let (shape, vector) = of_profile(profile);
            merge.add(Key::of_file("", format!("/{index}")), &shape, vector);
        }
        let counted = merge.totals().finish();
        assert_eq!(counted.len(), 1);
        let ProgramCounts::Llvm(profile) = &counted[0].counts else {
            panic!();
        };
        assert_eq!(profile.functions[&id(1)], counts(&[1, 2]));
        let conflict = &counted[0].conflicts[0];
        assert_eq!((conflict.known, conflict.other), ((2, 0), (1, 0)));
    }
}

#[test]
fn bitmaps_of_llvm_18_are_still_those_of_llvm_18_in_a_podcov_file() {
    for has_old_bitmaps in [false, true] {
        let mut profile = Profile {
            has_old_bitmaps,
            variants: 1 << 56,
            ..Profile::default()
        };
        let counts = Counts {
            counters: vec![1],
            bitmap: vec![6],
        };
        profile.add(id(1), counts).unwrap();
        let mut merge = Merge::default();
        let (shape, vector) = of_profile(&profile);
        merge.add(Key::of_file("", "/a"), &shape, vector);
        let bytes = bytes(&merge);
        let mut again = Merge::default();
        again.absorb_store(&Store::read(&bytes, &Limits::default()).unwrap());
        let counted = again.totals().finish();
        let ProgramCounts::Llvm(read) = &counted[0].counts else {
            panic!();
        };
        assert_eq!(*read, profile);
    }
}

#[test]
fn a_function_that_a_raw_profile_has_in_two_shapes_is_told_before_it_is_decoded() {
    // Two functions with one and two counters, of which the second is called
    // like the first.
    let mut bytes = include_bytes!("fixtures/programs/branches.profraw").to_vec();
    let parts = |bytes: &[u8]| {
        let parts: Vec<_> = raw::parts(bytes, &Limits::default()).collect();
        let records: Vec<_> = parts[0].as_ref().unwrap().records().collect();
        let records: Vec<_> = records.into_iter().map(Result::unwrap).collect();
        (records[0].clone(), records[1].clone())
    };
    let (first, second) = parts(&bytes);
    assert_ne!(first.counters.len(), second.counters.len());
    let find = |id: FunctionId| {
        let name = [id.name.to_le_bytes(), id.hash.to_le_bytes()].concat();
        move |window: &[u8]| window == name
    };
    let at = bytes.windows(16).position(find(second.function)).unwrap();
    let name = [
        first.function.name.to_le_bytes(),
        first.function.hash.to_le_bytes(),
    ];
    bytes[at..at + 16].copy_from_slice(&name.concat());
    let part = raw::parts(&bytes, &Limits::default()).next().unwrap();
    let part = part.unwrap();
    let mut totals = RawTotals::default();
    totals.add(&part, "a.profraw").unwrap();
    let early = format!("{:?}", totals.conflicts());
    assert!(early.contains("a.profraw"), "{early}");
    let mut into = Totals::default();
    let late = totals.finish(&Limits::default(), 1, &mut into);
    assert_eq!(early, format!("{late:?}"));
}

#[test]
fn programs_without_a_build_id_are_told_apart_by_their_shape() {
    let mut one = Profile::default();
    let counts = Counts {
        counters: vec![1],
        bitmap: vec![],
    };
    one.add(id(1), counts.clone()).unwrap();
    let mut two = one.clone();
    two.add(id(2), counts).unwrap();
    let mut merge = Merge::default();
    for (index, profile) in [&one, &two, &one].into_iter().enumerate() {
        let (shape, vector) = of_profile(profile);
        merge.add(Key::of_file("", format!("/{index}")), &shape, vector);
    }
    let counted = merge.totals().finish();
    let pieces: Vec<u64> = counted.iter().map(|counted| counted.pieces).collect();
    assert_eq!(pieces.iter().sum::<u64>(), 3);
    assert_eq!(counted.len(), 2);
    assert!(counted[0].program.to_string().contains("no build id"));
}

fn whole_file() -> Vec<u8> {
    let text = text::Profile::parse(b"mode: count\na.go:1.1,2.2 3 4\nb.go:1.1,2.2 1 0\n").unwrap();
    let mut merge = merge(&[
        Evidence {
            pod: 1,
            build: 0,
            counts: [1, 0, 200],
            bits: 3,
        },
        Evidence {
            pod: 2,
            build: 1,
            counts: [1, 0, MAX_COUNT],
            bits: 0,
        },
    ]);
    let (shape, vector) = of_text(&text);
    merge.add(Key::of_file("shard", "/tmp/c.out").part(3), &shape, vector);
    bytes(&merge)
}

#[test]
fn a_text_profile_comes_back_as_it_was() {
    let whole = whole_file();
    let store = Store::read(&whole, &Limits::default()).unwrap();
    let mut merge = Merge::default();
    merge.absorb_store(&store);
    let counted = merge.totals().finish();
    let text = counted.iter().find_map(|counted| match &counted.counts {
        ProgramCounts::GoText(profile) => Some(profile.to_text()),
        _ => None,
    });
    let expected = "mode: count\na.go:1.1,2.2 3 4\nb.go:1.1,2.2 1 0\n";
    assert_eq!(text.as_deref(), Some(expected));
    let last = store.pieces().last().unwrap().key;
    assert_eq!(last.to_string(), "shard/tmp/c.out#3");
}

/// Every cut and every changed byte is noticed; nothing panics.
#[test]
fn a_file_cut_or_changed_anywhere_is_refused() {
    let whole = whole_file();
    let limits = Limits::default();
    for end in 0..whole.len() {
        let error = Store::read(&whole[..end], &limits).unwrap_err();
        assert_eq!(error.kind == Kind::Empty, end == 0, "{end}: {error}");
    }
    for at in 0..whole.len() {
        for byte in [0, 0x7f, 0xff, whole[at] ^ 1] {
            if byte != whole[at] {
                let mut changed = whole.clone();
                changed[at] = byte;
                assert!(Store::read(&changed, &limits).is_err(), "{at} {byte}");
            }
        }
    }
}

/// The same, where whoever changed the file made its digest fit: nothing
/// panics, and what is accepted has its shape.
#[test]
fn a_forged_file_is_read_within_its_claims() {
    use sha2::{Digest, Sha256};
    let whole = whole_file();
    let limits = Limits {
        counters: 1 << 10,
        functions: 1 << 10,
        names: 1 << 10,
        ..Limits::default()
    };
    let end = whole.len() - 32;
    let mut accepted = 0;
    for at in 16..end {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let mut forged = whole[..end].to_vec();
            forged[at] = byte;
            forged.extend_from_slice(&Sha256::digest(&forged));
            if let Ok(store) = Store::read(&forged, &limits) {
                accepted += 1;
                for index in 0..store.shapes().len() {
                    let sums = store.sum(index, |_| 1);
                    assert!(sums.len() <= 1 << 10);
                }
                assert_eq!(store.pieces().count() as u64, store.len());
            }
        }
    }
    assert!(accepted > 0);
}
