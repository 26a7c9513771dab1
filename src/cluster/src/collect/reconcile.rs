//! Brings together what the cluster said was started and what lies in the
//! evidence folder.

use jiff::{SignedDuration, Timestamp};

use crate::watch::observed::{Container, Start};

/// A start that must have been: seen, or known from the restart count.
#[derive(Clone, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) number: u32,
    pub(crate) seen: Option<&'a Start>,
}

/// Every start of the container in which a process ran, in order.
pub(crate) fn expected(container: &Container) -> Vec<Expected<'_>> {
    let seen = container.starts.iter().filter(|start| start.ran());
    let mut all: Vec<Expected<'_>> = seen
        .map(|start| Expected {
            number: start.number,
            seen: Some(start),
        })
        .collect();
    all.extend(
        container
            .unseen()
            .into_iter()
            .map(|number| Expected { number, seen: None }),
    );
    all.sort_by_key(|expected| expected.number);
    all
}

/// When what wrote a folder began and ended, as far as it says so itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Life {
    pub(crate) start: Option<Timestamp>,
    pub(crate) end: Option<Timestamp>,
}

/// Which start each folder belongs to, by its position in `expected`; folders
/// are given by the time the launcher began, in order.
///
/// As many folders as starts, and no time speaks against it: one each, in
/// order. The same when the times fit nothing at all, because then the clocks
/// are wrong. Otherwise a folder belongs to the start during which it was
/// made, and what is left to the starts that nobody saw. A start may have
/// several folders, when its program runs the launcher more than once.
pub(crate) fn assign(expected: &[Expected<'_>], dirs: &[Life]) -> Vec<Option<usize>> {
    let mut assigned: Vec<Option<usize>> =
        dirs.iter().map(|life| during(expected, *life)).collect();
    if expected.len() == dirs.len() {
        let mut pairs = expected.iter().zip(dirs);
        let is_in_order = pairs.all(|(expected, life)| may_be(expected, *life));
        if is_in_order || assigned.iter().all(Option::is_none) {
            return (0..dirs.len()).map(Some).collect();
        }
    }
    for at in 0..assigned.len() {
        if assigned[at].is_some() {
            continue;
        }
        let after = assigned[..at]
            .iter()
            .rev()
            .find_map(|start| *start)
            .map_or(0, |n| n + 1);
        let before = assigned[at..]
            .iter()
            .find_map(|start| *start)
            .unwrap_or(expected.len());
        let mut open = after..before.max(after);
        assigned[at] = open.find(|n| {
            expected[*n]
                .seen
                .is_none_or(|start| start.started.is_none())
        });
    }
    assigned
}

/// Clocks of other machines may be a little off.
const SLACK: SignedDuration = SignedDuration::from_secs(2);

/// The start during which something lived, or at least began: a record that
/// was left unwritten or is wrong at its end still has its place.
fn during(expected: &[Expected<'_>], life: Life) -> Option<usize> {
    let began = Life { end: None, ..life };
    [life, began].into_iter().find_map(|life| {
        let within = |slack| {
            expected
                .iter()
                .rposition(|expected| fits(expected, life, slack) == Some(true))
        };
        within(SignedDuration::ZERO).or_else(|| within(SLACK))
    })
}

/// Whether no time says that this start is another one's.
fn may_be(expected: &Expected<'_>, life: Life) -> bool {
    fits(expected, life, SLACK) != Some(false)
}

/// Whether something lived within a start; `None` when a time is missing that
/// could tell. The cluster's times are whole seconds, rounded down.
fn fits(expected: &Expected<'_>, life: Life, slack: SignedDuration) -> Option<bool> {
    let start = expected.seen?;
    let begun = parse(start.started.as_deref())?;
    let ended = parse(start.finished.as_deref());
    let first = life.start.or(life.end)?;
    let last = life.end.or(life.start)?;
    let second = SignedDuration::from_secs(1);
    Some(begun <= first + slack && ended.is_none_or(|ended| last <= ended + second + slack))
}

pub(crate) fn parse(time: Option<&str>) -> Option<Timestamp> {
    time?.parse().ok()
}

/// When an incarnation began by the name of its folder,
/// `20261121T090507.123Z-1a2b`.
pub(crate) fn time_of_name(name: &str) -> Option<Timestamp> {
    let (time, _) = name.split_once('-')?;
    let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S%.fZ", time).ok()?;
    Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(number: u32, started: &str, finished: &str) -> Start {
        let time =
            |second: &str| (!second.is_empty()).then(|| format!("2026-11-21T09:00:{second}Z"));
        Start {
            number,
            started: time(started),
            finished: time(finished),
            ..Start::default()
        }
    }

    /// Starts as (started, finished) in seconds, `None` for one that nobody
    /// saw; folders as seconds: of their start, or of start and end.
    fn check(starts: &[Option<(&str, &str)>], dirs: &[&str], want: &[Option<usize>]) {
        let starts: Vec<_> = starts
            .iter()
            .enumerate()
            .map(|(n, times)| times.map(|(from, to)| start(n as u32, from, to)))
            .collect();
        let expected: Vec<_> = starts
            .iter()
            .enumerate()
            .map(|(n, seen)| Expected {
                number: n as u32,
                seen: seen.as_ref(),
            })
            .collect();
        let dirs: Vec<_> = dirs
            .iter()
            .map(|seconds| {
                let (start, end) = seconds.split_once('-').unwrap_or((seconds, ""));
                let time = |second: &str| format!("2026-11-21T09:00:{second}Z").parse().ok();
                Life {
                    start: time(start),
                    end: time(end),
                }
            })
            .collect();
        assert_eq!(assign(&expected, &dirs), want);
    }

    #[test]
    fn as_many_folders_as_starts_go_by_order_if_no_time_says_otherwise() {
        let starts = [Some(("00", "01")), Some(("01", ""))];
        // Both began in the second in which the one start followed the other.
        check(&starts, &["01.2", "01.8"], &[Some(0), Some(1)]);
        // No clock is right.
        check(&starts, &["40.2-41", "50.1"], &[Some(1), Some(1)]);
        let starts = [Some(("10", "11")), None];
        check(&starts, &["50", "59"], &[Some(0), Some(1)]);
        // A folder that does not say when.
        check(&starts, &["", "10.1"], &[Some(0), Some(1)]);
    }

    #[test]
    fn as_many_folders_as_starts_go_by_time_when_order_is_wrong() {
        // The first start left nothing, the second ran the launcher twice.
        let starts = [Some(("00", "01")), Some(("10", "20"))];
        check(&starts, &["10.2", "15"], &[Some(1), Some(1)]);
        // By when it began the folder could be of either.
        let starts = [Some(("10", "11")), Some(("12", "30"))];
        check(&starts, &["13-28", "29-30.5"], &[Some(1), Some(1)]);
        // One that nobody saw has the folder that is nobody else's.
        let starts = [Some(("00", "05")), None, Some(("30", ""))];
        check(&starts, &["12", "30.1", "31"], &[Some(1), Some(2), Some(2)]);
    }

    #[test]
    fn a_start_without_a_folder_is_found_by_time() {
        let starts = [Some(("00", "01")), Some(("01", "03")), Some(("03", ""))];
        check(&starts, &["00.500", "03.400"], &[Some(0), Some(2)]);
        check(&starts, &["01.900", "03.400"], &[Some(1), Some(2)]);
    }

    #[test]
    fn two_folders_of_one_start_stay_with_it() {
        check(&[Some(("10", "20"))], &["10.1", "15"], &[Some(0), Some(0)]);
    }

    #[test]
    fn starts_that_nobody_saw_take_what_is_left_in_order() {
        let starts = [Some(("00", "05")), None, None, Some(("30", ""))];
        check(
            &starts,
            &["00.2", "12", "30.1"],
            &[Some(0), Some(1), Some(3)],
        );
    }

    #[test]
    fn a_folder_from_before_everything_belongs_to_no_start() {
        check(&[Some(("30", "")), Some(("40", ""))], &["10"], &[None]);
    }

    #[test]
    fn the_name_of_a_folder_says_when() {
        let time = time_of_name("20261121T090507.123Z-1a2b").unwrap();
        assert_eq!(time.to_string(), "2026-11-21T09:05:07.123Z");
        assert_eq!(time_of_name("manager"), None);
    }
}
