//! Points in time as text, UTC with milliseconds.

use alloc::format;
use alloc::string::String;

use rustix::time::{ClockId, clock_gettime};

/// Now, in milliseconds since 1970.
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000
}

/// `2026-11-21T10:45:50.123Z`
pub fn rfc3339(millis: u64) -> String {
    let (year, month, day) = civil(millis / 86_400_000);
    let (hour, minute, second, milli) = clock(millis);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// `20261121T104550.123Z`: the same for names of files.
pub fn compact(millis: u64) -> String {
    rfc3339(millis).replace(['-', ':'], "")
}

fn clock(millis: u64) -> (u64, u64, u64, u64) {
    let seconds = millis / 1000;
    (
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        millis % 1000,
    )
}

/// Year, month and day of a day since 1970. Counts in years that begin in
/// March, so that the leap day is the last day of a year, and in eras of 400
/// years, which all have the same length.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 0000-03-01
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_257_550_123, "2026-11-21T10:39:10.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(millis), text);
        }
        assert_eq!(compact(951_782_399_999), "20000228T235959.999Z");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let leap =
            |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
        let mut expected = (1970, 1, 1);
        for day in 0..200_000 {
            assert_eq!(civil(day), expected);
            let (y, m, d) = expected;
            let length = match m {
                2 => 28 + u64::from(leap(y)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (m, d) {
                (12, 31) => (y + 1, 1, 1),
                (m, d) if d == length => (y, m + 1, 1),
                (m, d) => (y, m, d + 1),
            };
        }
    }
}
