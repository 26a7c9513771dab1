//! Laws of adding text profiles, against an independent account that knows
//! maps only.

use std::collections::HashMap;

use podcov_profile::go::files::Mode;
use podcov_profile::go::text::{MAX_COUNT, Profile};
use proptest::prelude::*;

/// File, first line, and count of a block; its statements follow from these,
/// as those of one build do.
type Run = Vec<(u8, u8, u64)>;

fn text(mode: Mode, run: &Run) -> String {
    let mut text = format!("mode: {}\n", mode.word());
    for (file, line, count) in run {
        let statements = 1 + (file + line) % 3;
        let line = u32::from(*line) + 1;
        text += &format!("a/{file}.go:{line}.2,{}.9 {statements} {count}\n", line + 2);
    }
    text
}

fn profile(mode: Mode, run: &Run) -> Profile {
    Profile::parse(text(mode, run).as_bytes()).unwrap()
}

fn sum(mode: Mode, runs: &[Run]) -> Profile {
    let mut sum = Profile::new(mode);
    for run in runs {
        sum.merge(&profile(mode, run)).unwrap();
    }
    sum
}

/// The same by hand.
fn account(mode: Mode, runs: &[Run]) -> HashMap<(u8, u8), u64> {
    let mut counts: HashMap<(u8, u8), u64> = HashMap::new();
    for (file, line, count) in runs.iter().flatten() {
        let known = counts.entry((*file, *line)).or_default();
        *known = match mode {
            Mode::Set => u64::from(*known > 0 || *count > 0),
            _ => known.saturating_add(*count).min(MAX_COUNT),
        };
    }
    counts
}

fn runs() -> impl Strategy<Value = Vec<Run>> {
    let count = prop_oneof![0..5u64, Just(u64::MAX), Just(u64::MAX / 2)];
    prop::collection::vec(prop::collection::vec((0..3u8, 0..6u8, count), 0..12), 0..6)
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Set), Just(Mode::Count), Just(Mode::Atomic)]
}

proptest! {
    #[test]
    fn sums_are_those_of_the_account(mode in mode(), runs in runs()) {
        let sum = sum(mode, &runs);
        let account = account(mode, &runs);
        let blocks: usize = sum.files.values().map(|blocks| blocks.len()).sum();
        prop_assert_eq!(blocks, account.len());
        for ((file, line), count) in account {
            let blocks = &sum.files[&format!("a/{file}.go")];
            let (_, block) =
                blocks.iter().find(|(span, _)| span.start_line == u32::from(line) + 1).unwrap();
            prop_assert_eq!(block.count, count);
        }
    }

    #[test]
    fn order_and_grouping_do_not_matter(
        mode in mode(),
        mut runs in runs(),
        cut in any::<prop::sample::Index>(),
    ) {
        let forth = sum(mode, &runs);
        let at = cut.index(runs.len() + 1);
        let mut halves = sum(mode, &runs[..at]);
        halves.merge(&sum(mode, &runs[at..])).unwrap();
        prop_assert_eq!(&halves, &forth);
        runs.reverse();
        let back = sum(mode, &runs);
        prop_assert_eq!(back.to_text(), forth.to_text());
        // Concatenated files say the same as files added one by one.
        let all: String = runs.iter().map(|run| text(mode, run)).collect();
        if !all.is_empty() {
            prop_assert_eq!(Profile::parse(all.as_bytes()).unwrap(), forth);
        }
    }

    #[test]
    fn what_was_written_is_read_as_the_same(mode in mode(), runs in runs()) {
        let sum = sum(mode, &runs);
        prop_assert_eq!(Profile::parse(sum.to_text().as_bytes()).unwrap(), sum);
    }
}
