//! A file of podcov's own that keeps the coverage mapping of a program, for
//! when the program is gone.
//!
//! | bytes | |
//! |---|---|
//! | 8 | `podcovm`, 0x1a |
//! | u32 | version, 1 |
//! | u8 | 1: numbers of the sections are little endian; 2: big |
//! | u8 x 3 | 0 |
//! | u32, text | architecture |
//! | u32, text | member of an archive; empty: none |
//! | u32, text | identity, as [`Identity`] prints it; empty: unknown |
//! | u64, bytes | `__llvm_covmap` |
//! | u64, bytes | `__llvm_covfun` |
//! | u64, bytes | names |
//!
//! Its own numbers are little endian. Nothing follows.

use std::borrow::Cow;
use std::io::{self, Write};

use object::ReadRef;

use super::object::Object;
use crate::Identity;
use crate::bytes::Endian;
use crate::error::{Kind, ParseError};
use crate::limits::Limits;

/// How the file begins.
pub const MAGIC: [u8; 8] = *b"podcovm\x1a";
const VERSION: u32 = 1;
/// Before the first text.
const HEAD: u64 = 16;

impl Object<'_> {
    /// Writes what is known of the object. The same object gives the same
    /// bytes.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn to_mapping_file(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        let order = match self.endian {
            Endian::Little => 1,
            Endian::Big => 2,
        };
        out.write_all(&[order, 0, 0, 0])?;
        let identity = self.identity.as_ref().map(Identity::to_string);
        for text in [
            self.arch.as_str(),
            self.member.as_deref().unwrap_or_default(),
            identity.as_deref().unwrap_or_default(),
        ] {
            let len = u32::try_from(text.len()).map_err(io::Error::other)?;
            out.write_all(&len.to_le_bytes())?;
            out.write_all(text.as_bytes())?;
        }
        for section in [&self.covmap, &self.covfun, &self.names] {
            out.write_all(&(section.len() as u64).to_le_bytes())?;
            out.write_all(section)?;
        }
        Ok(())
    }
}

/// Reads a mapping file, if it is one, without copying its sections.
pub(crate) fn read_ref<'a, R: ReadRef<'a>>(
    data: R,
    len: u64,
    limits: &Limits,
) -> Result<Option<Object<'a>>, ParseError> {
    if len < HEAD || data.read_bytes_at(0, 8).ok() != Some(&MAGIC[..]) {
        return Ok(None);
    }
    let mut parts = Parts {
        data,
        at: 8,
        len,
        limit: limits.section,
    };
    let version = parts.number(4, "the version")?;
    if version != u64::from(VERSION) {
        let text = format!("mapping file version {version} is not known, {VERSION} is");
        return Err(parts.error(Kind::Unsupported, text));
    }
    let endian = match parts.take(4, "the byte order")? {
        [1, 0, 0, 0] => Endian::Little,
        [2, 0, 0, 0] => Endian::Big,
        other => {
            let text = format!("byte order {other:?}, expected 1 or 2 and zeros");
            return Err(parts.error(Kind::Malformed, text));
        }
    };
    let arch = parts.text("the architecture")?;
    let member = Some(parts.text("the member")?).filter(|member| !member.is_empty());
    let identity =
        match parts.text("the identity")?.as_str() {
            "" => None,
            identity => Some(identity.parse().map_err(|_| {
                parts.error(Kind::Malformed, format!("`{identity}` is no identity"))
            })?),
        };
    let object = Object {
        member,
        arch,
        endian,
        identity,
        covmap: Cow::Borrowed(parts.section("the file names")?),
        covfun: Cow::Borrowed(parts.section("the functions")?),
        names: Cow::Borrowed(parts.section("the names")?),
    };
    if parts.at != len {
        let text = format!("{} bytes that belong to nothing", len - parts.at);
        return Err(parts.error(Kind::Malformed, text));
    }
    Ok(Some(object))
}

/// The file, read part by part, so that a cache holds each part once.
struct Parts<R> {
    data: R,
    at: u64,
    len: u64,
    limit: u64,
}

impl<'a, R: ReadRef<'a>> Parts<R> {
    fn error(&self, kind: Kind, what: String) -> ParseError {
        ParseError {
            kind,
            what,
            offset: self.at,
            len: self.len,
        }
    }

    fn take(&mut self, size: u64, what: &str) -> Result<&'a [u8], ParseError> {
        if size > self.limit {
            let text = format!("{what} claims {size} bytes, the limit is {}", self.limit);
            return Err(self.error(Kind::TooLarge, text));
        }
        let left = self.len.saturating_sub(self.at);
        let bytes = match size <= left {
            true => self.data.read_bytes_at(self.at, size).ok(),
            false => None,
        };
        let Some(bytes) = bytes else {
            let text = format!("{what} claims {size} bytes, {left} are left");
            return Err(self.error(Kind::Truncated, text));
        };
        self.at += size;
        Ok(bytes)
    }

    fn number(&mut self, size: u64, what: &str) -> Result<u64, ParseError> {
        let bytes = self.take(size, what)?;
        let byte = |(at, byte): (usize, &u8)| u64::from(*byte) << (8 * at);
        Ok(bytes.iter().enumerate().map(byte).sum())
    }

    fn text(&mut self, what: &str) -> Result<String, ParseError> {
        let size = self.number(4, what)?;
        let bytes = self.take(size, what)?;
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| self.error(Kind::Malformed, format!("{what} is no text")))
    }

    fn section(&mut self, what: &str) -> Result<&'a [u8], ParseError> {
        let size = self.number(8, what)?;
        self.take(size, what)
    }
}
