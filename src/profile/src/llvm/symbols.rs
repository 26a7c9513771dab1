//! Names of functions, as a program carries them in `__llvm_prf_names`, for
//! finding them by their hash. The format is that of [`super::names`].

use super::names;
use crate::error::{Kind, ParseError};
use crate::limits::Limits;

/// Names by their hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    text: Vec<u8>,
    /// By hash, each once.
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
        let (text, number) = names::joined(bytes, limits)?;
        if u32::try_from(text.len()).is_err() {
            return Err(ParseError {
                kind: Kind::TooLarge,
                what: format!("names of {} bytes, over 32 bits", text.len()),
                offset: 0,
                len: bytes.len() as u64,
            });
        }
        let mut index = Vec::with_capacity(number);
        names::places(&text, |hash, start, len| {
            index.push(Symbol { hash, start, len });
        });
        index.sort_unstable_by_key(|symbol| (symbol.hash, symbol.start));
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
            assert_eq!(symbols.name(names::hash(name)), Some(name));
        }
        assert_eq!(symbols.name(7), None);
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
