//! What the writers of text share: numbers and strings into a buffer, which
//! goes out in large pieces.

use std::io::{self, Write};

/// How much is gathered before it goes out.
const PIECE: usize = 1 << 16;

/// A buffered output.
pub(crate) struct Text<W> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> Text<W> {
    pub(crate) fn new(out: W) -> Self {
        Text {
            out,
            buffer: Vec::with_capacity(PIECE + (1 << 12)),
        }
    }

    #[inline]
    pub(crate) fn raw(&mut self, text: &[u8]) -> &mut Self {
        self.buffer.extend_from_slice(text);
        self
    }

    #[inline]
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.raw(text.as_bytes())
    }

    pub(crate) fn number(&mut self, mut number: u64) -> &mut Self {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            at -= 1;
            if number == 0 {
                break;
            }
        }
        self.raw(digits.get(at..).unwrap_or_default())
    }

    pub(crate) fn flag(&mut self, flag: bool) -> &mut Self {
        self.text(if flag { "true" } else { "false" })
    }

    /// Sends what was gathered, if it is much.
    pub(crate) fn pass(&mut self) -> io::Result<()> {
        if self.buffer.len() >= PIECE {
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.out.flush()
    }
}

/// A number as C's `%.17g` prints it, which is how LLVM prints JSON.
pub(crate) fn general(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let text = format!("{number:.16e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if number < 0.0 { "-" } else { "" };
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_end_matches('0');
    if !(-4..17).contains(&exponent) {
        let (first, rest) = digits.split_at(1.min(digits.len()));
        let point = if rest.is_empty() { "" } else { "." };
        let direction = if exponent < 0 { '-' } else { '+' };
        return format!(
            "{sign}{first}{point}{rest}e{direction}{:02}",
            exponent.abs()
        );
    }
    if exponent < 0 {
        let zeros = "0".repeat((-exponent - 1) as usize);
        return format!("{sign}0.{zeros}{digits}");
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        return format!("{sign}{digits:0<whole$}");
    }
    let (before, behind) = digits.split_at(whole);
    format!("{sign}{before}.{behind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_c() {
        for (number, expected) in [
            (0.0, "0"),
            (100.0, "100"),
            (90.0, "90"),
            (11.0 / 12.0 * 100.0, "91.666666666666657"),
            (18.0 / 21.0 * 100.0, "85.714285714285708"),
            (0.5, "0.5"),
            (0.001, "0.001"),
            (0.1, "0.10000000000000001"),
            (5e-5, "5.0000000000000002e-05"),
            (1e20, "1e+20"),
        ] {
            assert_eq!(general(number), expected);
        }
    }

    #[test]
    fn integers_are_written_whole() {
        let mut out = Vec::new();
        let mut text = Text::new(&mut out);
        for number in [0, 7, 10, 1234567890, u64::MAX] {
            text.number(number).raw(b" ");
        }
        text.finish().unwrap();
        assert_eq!(out, b"0 7 10 1234567890 18446744073709551615 ");
    }
}
