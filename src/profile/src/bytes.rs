//! A reader of untrusted bytes: every read is checked against what is there.

/// Where and why bytes are not what their format says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset} of {len}")]
pub struct Malformed {
    /// What was expected and what was found.
    pub what: String,
    /// Where, from the start of the file.
    pub offset: u64,
    /// How many bytes there are.
    pub len: u64,
}

/// Which end of a number comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    /// The low byte.
    Little,
    /// The high byte.
    Big,
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

    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn error(&self, what: impl Into<String>) -> Malformed {
        Malformed {
            what: what.into(),
            offset: self.at as u64,
            len: self.bytes.len() as u64,
        }
    }

    /// The next `count` bytes, which the format calls `what`.
    pub(crate) fn take(&mut self, count: u64, what: &str) -> Result<&'a [u8], Malformed> {
        let Some(count) = usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.left())
        else {
            let left = self.left();
            return Err(self.error(format!("{what} claims {count} bytes, {left} are left")));
        };
        let taken = &self.bytes[self.at..self.at + count];
        self.at += count;
        Ok(taken)
    }

    pub(crate) fn seek(&mut self, at: u64, what: &str) -> Result<(), Malformed> {
        match usize::try_from(at) {
            Ok(at) if at <= self.bytes.len() => {
                self.at = at;
                Ok(())
            }
            _ => Err(self.error(format!("{what} is said to be at byte {at}, past the end"))),
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self, what: &str) -> Result<u8, Malformed> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self, what: &str) -> Result<u16, Malformed> {
        let bytes = self.array(what)?;
        Ok(match self.endian {
            Endian::Little => u16::from_le_bytes(bytes),
            Endian::Big => u16::from_be_bytes(bytes),
        })
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, Malformed> {
        let bytes = self.array(what)?;
        Ok(match self.endian {
            Endian::Little => u32::from_le_bytes(bytes),
            Endian::Big => u32::from_be_bytes(bytes),
        })
    }

    pub(crate) fn u64(&mut self, what: &str) -> Result<u64, Malformed> {
        let bytes = self.array(what)?;
        Ok(match self.endian {
            Endian::Little => u64::from_le_bytes(bytes),
            Endian::Big => u64::from_be_bytes(bytes),
        })
    }

    /// An unsigned LEB128 number of at most 64 bits.
    pub(crate) fn uleb(&mut self, what: &str) -> Result<u64, Malformed> {
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
    pub(crate) fn uleb32(&mut self, what: &str) -> Result<u32, Malformed> {
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
