use std::time::Duration;

/// A duration that could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected a duration such as `1h30m`, found `{0}`")]
pub struct DurationError(String);

/// Reads durations in the way Kubernetes writes them: `90s`, `1h30m`, `720h`.
///
/// # Errors
/// When a unit is missing or unknown, or the sum is too large for a `u64` of seconds.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let wrong = || DurationError(text.to_owned());
    let mut seconds: u64 = 0;
    let mut number: Option<u64> = None;
    for c in text.chars() {
        if let Some(digit) = c.to_digit(10) {
            let so_far = number.unwrap_or(0);
            let next = so_far
                .checked_mul(10)
                .and_then(|n| n.checked_add(u64::from(digit)));
            number = Some(next.ok_or_else(wrong)?);
            continue;
        }
        let unit = match c {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return Err(wrong()),
        };
        let amount = number.take().ok_or_else(wrong)?.checked_mul(unit);
        seconds = amount
            .and_then(|a| seconds.checked_add(a))
            .ok_or_else(wrong)?;
    }
    if number.is_some() || text.is_empty() {
        return Err(wrong());
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, seconds: Option<u64>) {
        assert_eq!(
            parse_duration(text).ok(),
            seconds.map(Duration::from_secs),
            "{text}"
        );
    }

    #[test]
    fn durations_of_kubernetes_are_read_and_others_refused() {
        check("90s", Some(90));
        check("1h30m", Some(5400));
        check("720h", Some(2_592_000));
        check("", None);
        check("5", None);
        check("h", None);
        check("1d", None);
        check("99999999999999999999s", None);
        check("9999999999999999999h", None);
    }
}
