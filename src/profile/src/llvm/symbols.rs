//! Names of functions, as a program carries them: `__llvm_prf_names`.
//!
//! | part of a chunk | |
//! |---|---|
//! | ULEB128 | bytes of names |
//! | ULEB128 | bytes they are compressed to; 0: they are not |
//! | bytes | names with 0x01 between them, or a zlib stream of that |
//!
//! Linkers fill up between chunks with zeros. Records refer to a name by the
//! low 64 bits of its MD5 (`IndexedInstrProf::ComputeHash`, LLVM 22).

use md5::{Digest, Md5};

use super::inflate::inflate;
use crate::bytes::{Endian, Reader};
use crate::error::{Kind, ParseError};
use crate::limits::Limits;

/// The low 64 bits of the MD5 of bytes, by which LLVM refers to names.
pub fn hash(bytes: &[u8]) -> u64 {
    let digest: [u8; 16] = Md5::digest(bytes).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Names by their hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    text: Vec<u8>,
    /// By hash; of names of one hash the first one.
    index: Vec<Symbol>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Symbol {
    hash: u64,
    start: u32,
    len: u32,
}

impl Symbols {
    /// Reads the section. Offsets of errors are from its start.
    ///
    /// # Errors
    /// Chunks that end early, do not inflate to what they claim, or claim more
    /// than [`Limits::names`] together.
    pub fn read(bytes: &[u8], limits: &Limits) -> Result<Symbols, ParseError> {
        let mut reader = Reader::new(bytes, Endian::Little);
        let mut text: Vec<u8> = Vec::new();
        let mut index = Vec::new();
        while let Some(byte) = bytes.get(reader.at()) {
            if *byte == 0 {
                reader.u8("padding")?;
                continue;
            }
            let plain = reader.uleb("the size of names")?;
            let packed = reader.uleb("the compressed size of names")?;
            let left = limits.names.min(u64::from(u32::MAX)) - text.len() as u64;
            if plain > left {
                let what = format!(
                    "names claim {plain} bytes more, the limit is {} in all",
                    limits.names
                );
                return Err(reader.error_of(Kind::TooLarge, what));
            }
            let start = text.len();
            if packed == 0 {
                text.extend_from_slice(reader.take(plain, "names")?);
            } else {
                let at = (reader.at() as u64, bytes.len() as u64);
                let packed = reader.take(packed, "compressed names")?;
                text.append(&mut inflate(packed, plain, left, "names", at)?);
            }
            let mut from = start;
            for name in text[start..].split(|byte| *byte == 1) {
                index.push(Symbol {
                    hash: hash(name),
                    start: from as u32,
                    len: name.len() as u32,
                });
                from += name.len() + 1;
            }
        }
        // Stable: the first of equal hashes stays in front.
        index.sort_by_key(|symbol| symbol.hash);
        index.dedup_by_key(|symbol| symbol.hash);
        Ok(Symbols { text, index })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The name of a hash. It need not be UTF-8.
    pub fn name(&self, hash: u64) -> Option<&[u8]> {
        self.place(hash).map(|(start, len)| self.at(start, len))
    }

    /// Where the name of a hash is, for [`at`](Symbols::at).
    pub(crate) fn place(&self, hash: u64) -> Option<(u32, u32)> {
        let found = self.index.binary_search_by_key(&hash, |symbol| symbol.hash);
        let symbol = self.index.get(found.ok()?)?;
        Some((symbol.start, symbol.len))
    }

    pub(crate) fn at(&self, start: u32, len: u32) -> &[u8] {
        let start = start as usize;
        self.text
            .get(start..start.saturating_add(len as usize))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_their_hash() {
        // Two chunks that are not compressed, with padding between them.
        let section = b"\x07\0main\x01ab\0\0\x01\0c";
        let symbols = Symbols::read(section, &Limits::default()).unwrap();
        assert_eq!(symbols.len(), 3);
        for name in [&b"main"[..], b"ab", b"c"] {
            assert_eq!(symbols.name(hash(name)), Some(name));
        }
        assert_eq!(symbols.name(7), None);
        // As `md5sum` says: fad58de7366495db4650cfefac2fcd61.
        assert_eq!(hash(b"main"), 0xdb95_6436_e78d_d5fa_u64);
    }

    #[test]
    fn names_stay_within_the_limit() {
        let limits = Limits {
            names: 8,
            ..Limits::default()
        };
        assert!(Symbols::read(b"\x04\0main\x04\0main", &limits).is_ok());
        let error = Symbols::read(b"\x04\0main\x05\0main2", &limits).unwrap_err();
        assert_eq!(error.kind, Kind::TooLarge);
    }
}
