//! A reader of untrusted bytes: every read is checked against what is there.

use crate::error::{Kind, ParseError};

/// Which end of a number comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    /// The low byte.
    Little,
    /// The high byte.
    Big,
}

impl Endian {
    /// The number in `bytes`.
    pub(crate) fn u64_of(self, bytes: [u8; 8]) -> u64 {
        match self {
            Endian::Little => u64::from_le_bytes(bytes),
            Endian::Big => u64::from_be_bytes(bytes),
        }
    }

    /// The bytes of a number.
    pub(crate) fn bytes_of(self, number: u64) -> [u8; 8] {
        match self {
            Endian::Little => number.to_le_bytes(),
            Endian::Big => number.to_be_bytes(),
        }
    }

    /// The number at `at`; 0 where `bytes` end before.
    pub(crate) fn u64(self, bytes: &[u8], at: usize) -> u64 {
        let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
        found.map_or(0, |bytes| self.u64_of(*bytes))
    }

    /// The number at `at`; 0 where `bytes` end before.
    pub(crate) fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
        found.map_or(0, |bytes| match self {
            Endian::Little => u32::from_le_bytes(*bytes),
            Endian::Big => u32::from_be_bytes(*bytes),
        })
    }
}

/// A position in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    endian: Endian,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], endian: Endian) -> Self {
        Reader {
            bytes,
            at: 0,
            endian,
        }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// All bytes, read or not.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes from here on.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub(crate) fn set_endian(&mut self, endian: Endian) {
        self.endian = endian;
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// What is wrong at this position.
    pub(crate) fn error_of(&self, kind: Kind, what: impl Into<String>) -> ParseError {
        ParseError {
            kind,
            what: what.into(),
            offset: self.at as u64,
            len: self.bytes.len() as u64,
        }
    }

    pub(crate) fn error(&self, what: impl Into<String>) -> ParseError {
        self.error_of(Kind::Malformed, what)
    }

    /// The size that is claimed for `what`, unless it is over `limit`.
    pub(crate) fn within(&self, claimed: u64, limit: u64, what: &str) -> Result<u64, ParseError> {
        if claimed <= limit {
            return Ok(claimed);
        }
        let text = format!("{what} claims {claimed}, the limit is {limit}");
        Err(self.error_of(Kind::TooLarge, text))
    }

    /// The next `count` bytes, which the format calls `what`.
    pub(crate) fn take(&mut self, count: u64, what: &str) -> Result<&'a [u8], ParseError> {
        let Some(count) = usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.left())
        else {
            let left = self.left();
            let text = format!("{what} claims {count} bytes, {left} are left");
            return Err(self.error_of(Kind::Truncated, text));
        };
        let taken = &self.bytes[self.at..self.at + count];
        self.at += count;
        Ok(taken)
    }

    /// A reader of the bytes from `start` to `end`, whose errors tell the place
    /// in the whole.
    pub(crate) fn between(&self, start: usize, end: usize) -> Reader<'a> {
        Reader {
            bytes: self.bytes.get(..end).unwrap_or(self.bytes),
            at: start.min(end).min(self.bytes.len()),
            endian: self.endian,
        }
    }

    pub(crate) fn seek(&mut self, at: u64, what: &str) -> Result<(), ParseError> {
        match usize::try_from(at) {
            Ok(at) if at <= self.bytes.len() => {
                self.at = at;
                Ok(())
            }
            _ => {
                let text = format!("{what} is said to be at byte {at}, past the end");
                Err(self.error_of(Kind::Truncated, text))
            }
        }
    }

    /// Goes to the next byte that is not zero, or the end.
    pub(crate) fn skip_zeros(&mut self) {
        let rest = &self.bytes[self.at..];
        self.at += rest
            .iter()
            .position(|byte| *byte != 0)
            .unwrap_or(rest.len());
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], ParseError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self, what: &str) -> Result<u8, ParseError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self, what: &str) -> Result<u16, ParseError> {
        let bytes = self.array(what)?;
        Ok(match self.endian {
            Endian::Little => u16::from_le_bytes(bytes),
            Endian::Big => u16::from_be_bytes(bytes),
        })
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, ParseError> {
        let bytes = self.array(what)?;
        Ok(match self.endian {
            Endian::Little => u32::from_le_bytes(bytes),
            Endian::Big => u32::from_be_bytes(bytes),
        })
    }

    pub(crate) fn u64(&mut self, what: &str) -> Result<u64, ParseError> {
        let bytes = self.array(what)?;
        Ok(self.endian.u64_of(bytes))
    }

    /// An unsigned LEB128 number of at most 64 bits.
    #[inline]
    pub(crate) fn uleb(&mut self, what: &str) -> Result<u64, ParseError> {
        // Most numbers of a coverage mapping fit one byte.
        match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.long_uleb(what),
        }
    }

    fn long_uleb(&mut self, what: &str) -> Result<u64, ParseError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error(format!("{what} is longer than 64 bits")))
    }

    /// An unsigned LEB128 number that must fit 32 bits.
    pub(crate) fn uleb32(&mut self, what: &str) -> Result<u32, ParseError> {
        let value = self.uleb(what)?;
        u32::try_from(value).map_err(|_| self.error(format!("{what} is {value}, over 32 bits")))
    }
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
