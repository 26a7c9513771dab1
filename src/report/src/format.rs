//! How numbers and foreign names look, wherever they are shown.

use podcov_profile::ledger::{Ended, Fate};
use podcov_profile::model::Ratio;

/// `81.4 %`, cut and never rounded up: what is shown as 80.0 passes a gate of
/// 80, and only what is whole is shown as 100.0. `–` of nothing.
pub(crate) fn percent(ratio: Ratio) -> String {
    match tenths(ratio) {
        Some(tenths) => format!("{}.{} %", tenths / 10, tenths % 10),
        None => "–".to_owned(),
    }
}

/// Tenths of a percent, rounded down; `None` of nothing.
pub(crate) fn tenths(ratio: Ratio) -> Option<u64> {
    ratio.tenths()
}

/// `1,204`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1,204/1,479`.
pub(crate) fn fraction(ratio: Ratio) -> String {
    format!("{}/{}", thousands(ratio.covered), thousands(ratio.total))
}

/// A count short enough for a gutter: exact up to 99,999, then `1.2M`.
pub(crate) fn short_count(count: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1_000_000_000_000_000, "P"),
        (1_000_000_000_000, "T"),
        (1_000_000_000, "G"),
        (1_000_000, "M"),
    ];
    if count < 100_000 {
        return thousands(count);
    }
    let (size, unit) = UNITS
        .into_iter()
        .find(|(size, _)| count >= *size)
        .unwrap_or((1_000, "k"));
    let tenths = count / (size / 10);
    if tenths >= 1000 || tenths.is_multiple_of(10) {
        format!("{}{unit}", thousands(tenths / 10))
    } else {
        format!("{}.{}{unit}", tenths / 10, tenths % 10)
    }
}

/// `1 line`, `2 lines`.
pub(crate) fn plural(number: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        thousands(number),
        if number == 1 { one } else { many }
    )
}

/// The text with everything a terminal or a browser would act on made visible:
/// control characters become their pictures, characters that turn the
/// direction of text or have no width become `<U+202E>`.
pub(crate) fn visible(text: &str) -> String {
    let mut seen = String::with_capacity(text.len());
    for c in text.chars() {
        push_visible(&mut seen, c);
    }
    seen
}

/// As [`visible`], but tabs stay.
pub(crate) fn visible_source(text: &str) -> String {
    let mut seen = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\t' {
            seen.push(c)
        } else {
            push_visible(&mut seen, c)
        }
    }
    seen
}

fn push_visible(seen: &mut String, c: char) {
    match c {
        '\0'..='\u{1f}' => seen.push(char::from_u32(0x2400 + c as u32).unwrap_or('\u{2426}')),
        '\u{7f}' => seen.push('\u{2421}'),
        '\u{80}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' => seen.push_str(&format!("<U+{:04X}>", c as u32)),
        _ => seen.push(c),
    }
}

/// How a process ended: `exit 0`, `SIGKILL (OOMKilled)`, `unknown`.
pub(crate) fn ended(ended: &Ended) -> String {
    let how = match (ended.code, ended.signal) {
        (_, Some(signal)) => signal_name(signal),
        (Some(code), None) => format!("exit {code}"),
        (None, None) => match &ended.reason {
            Some(reason) => return visible(reason),
            None => return "unknown".to_owned(),
        },
    };
    match &ended.reason {
        // What Kubernetes says of every clean and every unclean exit.
        Some(reason) if reason != "Completed" && reason != "Error" => {
            format!("{how} ({})", visible(reason))
        }
        _ => how,
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

/// The word for a fate.
pub(crate) fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Collected => "collected",
        Fate::Merged => "merged",
        Fate::Duplicate => "duplicate",
        Fate::Superseded => "superseded",
        Fate::Empty => "empty",
        Fate::Rejected => "rejected",
        Fate::Foreign => "foreign",
        Fate::Missing => "missing",
        Fate::Record => "record",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_cut_and_nothing_is_no_percentage() {
        let cases = [
            ((0, 0), "–"),
            ((0, 7), "0.0 %"),
            ((7, 7), "100.0 %"),
            ((99_999, 100_000), "99.9 %"),
            ((79_996, 100_000), "79.9 %"),
            ((1, 3), "33.3 %"),
            ((u64::MAX - 1, u64::MAX), "99.9 %"),
        ];
        for ((covered, total), expected) in cases {
            assert_eq!(percent(Ratio::new(covered, total)), expected);
        }
    }

    #[test]
    fn counts_stay_short() {
        let cases = [
            (0, "0"),
            (1204, "1,204"),
            (99_999, "99,999"),
            (100_000, "100k"),
            (123_456, "123k"),
            (1_250_000, "1.2M"),
            (45_000_000_000, "45G"),
            (u64::MAX, "18,446P"),
        ];
        for (count, expected) in cases {
            assert_eq!(short_count(count), expected);
        }
    }

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_act_on() {
        assert_eq!(
            visible("a\x1b[31m\n\u{202e}\u{9b}"),
            "a␛[31m␊<U+202E><U+009B>"
        );
        assert_eq!(visible_source("\ta\u{7f}"), "\ta␡");
    }

    #[test]
    fn endings_name_the_signal_and_the_reason() {
        let oom = Ended {
            code: Some(137),
            signal: Some(9),
            reason: Some("OOMKilled".into()),
        };
        assert_eq!(ended(&oom), "SIGKILL (OOMKilled)");
        let fine = Ended {
            code: Some(0),
            signal: None,
            reason: Some("Completed".into()),
        };
        assert_eq!(ended(&fine), "exit 0");
        assert_eq!(ended(&Ended::default()), "unknown");
    }
}
