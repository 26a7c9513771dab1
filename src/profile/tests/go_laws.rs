//! Laws of adding counters, against an independent account that knows maps
//! only.

mod go_common;

use std::collections::HashMap;

use go_common::make::{Numbers, Run, Shape, covcounters, covmeta, unit};
use podcov_profile::go::combine::Combination;
use podcov_profile::go::counters::{CounterFile, Item};
use podcov_profile::go::files::read_counters;
use podcov_profile::go::meta::{Meta, Misfit, Mode, read_meta};
use podcov_profile::go::report::Report;
use podcov_profile::go::sum::{Refused, Sum};
use podcov_profile::model::Ratio;
use proptest::prelude::*;

type Account = HashMap<(usize, usize, usize), u32>;

/// What the runs say together, unit by unit.
fn account(mode: u8, runs: &[Run]) -> Account {
    let mut all = Account::new();
    for (package, function, counts) in runs.iter().flatten() {
        for (at, count) in counts.iter().enumerate() {
            let known = all.entry((*package, *function, at)).or_default();
            *known = if mode == 1 {
                u32::from(*known + (*count).min(1) > 0)
            } else {
                u32::try_from(u64::from(*known) + u64::from(*count)).unwrap_or(u32::MAX)
            };
        }
    }
    all
}

fn counts(sum: &Sum<'_>) -> Account {
    let mut all = Account::new();
    for (number, package) in sum.meta().packages().enumerate() {
        for (index, function) in package.functions().enumerate() {
            for (at, count) in sum.counts_of(&function).iter().enumerate() {
                if *count > 0 {
                    all.insert((number, index, at), *count);
                }
            }
        }
    }
    all
}

fn without_zeros(account: Account) -> Account {
    account
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn sum<'m>(meta: &'m Meta, runs: &[Run]) -> Sum<'m> {
    let mut sum = Sum::new(meta);
    for run in runs {
        let one = std::slice::from_ref(run);
        sum.add(&covcounters(one, 7, Numbers::Uleb, 0)).unwrap();
    }
    sum
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![0..3u32, Just(u32::MAX), Just(u32::MAX / 2 + 1), 100..300u32]
}

fn run(shape: &Shape) -> impl Strategy<Value = Run> + use<> {
    let all: Vec<(usize, usize, usize)> = shape
        .iter()
        .enumerate()
        .flat_map(|(p, fs)| fs.iter().enumerate().map(move |(f, units)| (p, f, *units)))
        .collect();
    let one = move |at: prop::sample::Index, counts: Vec<u32>| {
        let (package, function, units) = *at.get(&all);
        (package, function, counts[..units].to_vec())
    };
    let any = (
        any::<prop::sample::Index>(),
        prop::collection::vec(count(), 5),
    );
    prop::collection::vec(any.prop_map(move |(at, counts)| one(at, counts)), 0..6)
}

fn shape() -> impl Strategy<Value = Shape> {
    prop::collection::vec(prop::collection::vec(0..5usize, 1..4), 1..4)
}

fn runs() -> impl Strategy<Value = (Shape, Vec<Run>)> {
    shape().prop_flat_map(|shape| {
        let runs = prop::collection::vec(run(&shape), 0..6);
        (Just(shape), runs)
    })
}

proptest! {
    #[test]
    fn sums_are_those_of_the_account((shape, runs) in runs(), mode in 1..=3u8) {
        let meta = read_meta(&covmeta(&shape, 7, mode)).unwrap();
        let sum = sum(&meta, &runs);
        let expected = without_zeros(account(mode, &runs));
        prop_assert_eq!(counts(&sum), expected.clone());
        prop_assert_eq!(sum.reached().count(), expected.len());
        prop_assert_eq!((sum.files(), sum.segments()), (runs.len() as u64, runs.len() as u64));
        let exact = |(package, function, at): &(usize, usize, usize)| -> u64 {
            let same = runs.iter().flatten().filter(|one| (one.0, one.1) == (*package, *function));
            same.map(|one| u64::from(one.2[*at])).sum()
        };
        let over = mode != 1 && expected.keys().any(|key| exact(key) > u64::from(u32::MAX));
        prop_assert_eq!(sum.is_saturated(), over);
    }

    #[test]
    fn order_and_grouping_do_not_matter(
        (shape, mut runs) in runs(),
        mode in 1..=3u8,
        cut in any::<prop::sample::Index>(),
    ) {
        let meta = read_meta(&covmeta(&shape, 7, mode)).unwrap();
        let forth = sum(&meta, &runs);
        let at = cut.index(runs.len() + 1);
        let (mut left, right) = (sum(&meta, &runs[..at]), sum(&meta, &runs[at..]));
        let mut swapped = right.clone();
        swapped.absorb(&left).unwrap();
        left.absorb(&right).unwrap();
        prop_assert_eq!(left.to_counters(), forth.to_counters());
        prop_assert_eq!(swapped.to_counters(), forth.to_counters());
        prop_assert_eq!(left.is_saturated(), forth.is_saturated());
        runs.reverse();
        prop_assert_eq!(sum(&meta, &runs).to_counters(), forth.to_counters());
        // One file with all runs as its segments says the same.
        if !runs.is_empty() {
            let mut joined = Sum::new(&meta);
            joined.add(&covcounters(&runs, 7, Numbers::Uleb, 0)).unwrap();
            prop_assert_eq!(joined.counts(), forth.counts());
            prop_assert_eq!(joined.segments(), forth.segments());
        }
    }

    #[test]
    fn all_flavours_say_the_same((shape, runs) in runs(), dead in 0..4usize) {
        prop_assume!(!runs.is_empty());
        // Without counters a function of the raw flavour looks like a dead one.
        let some = |run: &Run| run.iter().all(|(_, _, counts)| !counts.is_empty());
        prop_assume!(runs.iter().all(some));
        let meta = read_meta(&covmeta(&shape, 7, 2)).unwrap();
        let expected = sum(&meta, &runs);
        for numbers in [Numbers::Uleb, Numbers::Little, Numbers::Big] {
            let bytes = covcounters(&runs, 7, numbers, dead);
            let file = CounterFile::parse(&bytes).unwrap();
            prop_assert_eq!(file.segments as usize, runs.len());
            let mut visited = Vec::new();
            file.visit(|item| {
                match item {
                    Item::Segment(segment) => {
                        assert_eq!(segment.origin.os.as_deref(), Some("plan9"));
                        assert_eq!(segment.command_line(), ["./x"]);
                        visited.push(Run::new());
                    }
                    Item::Function(one) => visited.last_mut().unwrap().push((
                        one.package as usize,
                        one.function as usize,
                        one.counts.to_vec(),
                    )),
                }
                Ok::<(), Refused>(())
            }).unwrap();
            prop_assert_eq!(&visited, &runs);
            let mut sum = Sum::new(&meta);
            sum.add(&bytes).unwrap();
            prop_assert_eq!(sum.counts(), expected.counts());
            meta.check(&read_counters(&bytes).unwrap()).unwrap();
        }
    }

    #[test]
    fn what_was_written_is_read_as_the_same((shape, runs) in runs(), mode in 1..=3u8) {
        let meta = read_meta(&covmeta(&shape, 7, mode)).unwrap();
        let first = sum(&meta, &runs);
        let bytes = first.to_counters();
        let mut again = Sum::new(&meta);
        again.add(&bytes).unwrap();
        prop_assert_eq!(again.counts(), first.counts());
        prop_assert_eq!(again.to_counters(), bytes);
        prop_assert_eq!(again.origin().os, first.origin().os);
    }

    /// The same function of two builds is one; statements do not change.
    #[test]
    fn builds_combine_in_any_order(
        (shape, runs) in runs(),
        modes in (1..=3u8, 1..=3u8),
        cut in any::<prop::sample::Index>(),
    ) {
        let at = cut.index(runs.len() + 1);
        let metas = [(3, modes.0), (9, modes.1)]
            .map(|(hash, mode)| read_meta(&covmeta(&shape, hash, mode)).unwrap());
        let add = |meta, hash, runs: &[Run]| {
            let mut sum = Sum::new(meta);
            for run in runs {
                sum.add(&covcounters(std::slice::from_ref(run), hash, Numbers::Uleb, 0)).unwrap();
            }
            sum
        };
        let sums = [add(&metas[0], 3, &runs[..at]), add(&metas[1], 9, &runs[at..])];
        let combine = |order: [usize; 2]| {
            let mut combination = Combination::new();
            order.iter().for_each(|at| combination.add(&sums[*at]).unwrap());
            combination.finish().unwrap()
        };
        let (forth, back) = (combine([0, 1]), combine([1, 0]));
        prop_assert_eq!(&forth.covmeta, &back.covmeta);
        prop_assert_eq!(forth.sum().to_counters(), back.sum().to_counters());
        // Functions of a package that are alike in all of it are one; here none are.
        let mut expected = without_zeros(account(modes.0, &runs[..at]));
        for (key, count) in without_zeros(account(modes.1, &runs[at..])) {
            let known = expected.entry(key).or_default();
            *known = if modes == (1, 1) { 1 } else { known.saturating_add(count) };
        }
        prop_assert_eq!(counts(&forth.sum()), expected);
        let (all, one) = (Report::new(&sums).unwrap(), Report::new([&sums[0]]).unwrap());
        prop_assert_eq!(all.total().total, one.total().total);
        prop_assert_eq!(Report::new([&forth.sum()]).unwrap().total(), all.total());
    }

    #[test]
    fn reports_are_those_of_the_account((shape, runs) in runs(), mode in 1..=3u8) {
        let meta = read_meta(&covmeta(&shape, 7, mode)).unwrap();
        let sum = sum(&meta, &runs);
        let account = account(mode, &runs);
        let mut total = Ratio::default();
        for (package, functions) in shape.iter().enumerate() {
            for (function, units) in functions.iter().enumerate() {
                for at in 0..*units {
                    let statements = unit(function, at)[4];
                    let ran = account.get(&(package, function, at)).is_some_and(|count| *count > 0);
                    total += Ratio::new(if ran { statements } else { 0 }, statements);
                }
            }
        }
        let report = Report::new([&sum]).unwrap();
        prop_assert_eq!(report.total(), total);
        let functions = report.functions();
        let with_units = shape.iter().flatten().filter(|units| **units > 0).count();
        prop_assert_eq!(functions.len(), with_units);
        let mut of_functions = Ratio::default();
        functions.iter().for_each(|line| of_functions += line.statements);
        prop_assert_eq!(of_functions, total);
        let profile = report.to_profile().unwrap();
        let mut text = Vec::new();
        report.write_text(&mut text).unwrap();
        let lines = text.iter().filter(|byte| **byte == b'\n').count();
        prop_assert_eq!(lines - 1, meta.units().len());
        let read = podcov_profile::go::text::Profile::parse(&text).unwrap();
        prop_assert_eq!(read, profile);
    }

    /// Whatever does not fit, the sum stays as it was.
    #[test]
    fn what_does_not_fit_is_named_and_changes_nothing((shape, runs) in runs(), what in 0..4u8) {
        let meta = read_meta(&covmeta(&shape, 7, 3)).unwrap();
        let mut sum = sum(&meta, &runs);
        let before = sum.clone();
        let units = shape[0][0];
        let (hash, wrong) = match what {
            0 => (8, (0, 0, vec![1; units])),
            1 => (7, (shape.len(), 0, vec![])),
            2 => (7, (0, shape[0].len(), vec![1])),
            _ => (7, (0, 0, vec![1; units + 1])),
        };
        let run = runs.first().cloned().unwrap_or_default();
        let run = [run, vec![wrong]].concat();
        let refused = sum.add(&covcounters(&[run], hash, Numbers::Uleb, 0)).unwrap_err();
        let Refused::Misfit(misfit) = refused else { panic!("{refused}") };
        let expected = match what {
            0 => Misfit::Build { expected: "07".repeat(16), found: "08".repeat(16) },
            1 => Misfit::Package { package: shape.len() as u32, packages: shape.len() as u32 },
            2 => Misfit::Function {
                package: "example.org/p0".to_owned(),
                function: shape[0].len() as u32,
                functions: shape[0].len() as u32,
            },
            _ => Misfit::Counters {
                package: "example.org/p0".to_owned(),
                function: "f0".to_owned(),
                expected: units as u32,
                found: units as u64 + 1,
            },
        };
        prop_assert_eq!(misfit, expected);
        prop_assert_eq!(sum.counts(), before.counts());
        prop_assert_eq!((sum.files(), sum.segments()), (before.files(), before.segments()));
        prop_assert_eq!(sum.to_counters(), before.to_counters());
    }
}

#[test]
fn sums_of_two_builds_are_not_added() {
    let one = read_meta(&covmeta(&vec![vec![1]], 7, 2)).unwrap();
    let other = read_meta(&covmeta(&vec![vec![1]], 8, 2)).unwrap();
    let same_hash = read_meta(&covmeta(&vec![vec![2]], 7, 2)).unwrap();
    let refused = Sum::new(&one).absorb(&Sum::new(&other)).unwrap_err();
    assert!(matches!(refused, Misfit::Build { .. }), "{refused}");
    let refused = Sum::new(&one).absorb(&Sum::new(&same_hash)).unwrap_err();
    assert!(matches!(refused, Misfit::Meta { .. }), "{refused}");
    let again = read_meta(&covmeta(&vec![vec![1]], 7, 2)).unwrap();
    assert_eq!(Sum::new(&one).absorb(&Sum::new(&again)), Ok(()));
    assert_eq!(again.mode, Mode::Count);
}
