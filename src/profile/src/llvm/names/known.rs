//! Names that were hashed before.
//!
//! Programs that share libraries share the object files these are linked from,
//! and so whole chunks of names, byte by byte: of 50 programs with the same
//! dependencies 6 chunks in 100 were different. To inflate and hash names takes
//! half of the time of reading a profile, so what a chunk holds is kept.

use std::collections::HashMap;

use super::md5::Batches;
use super::{Inflater, Number, chunk, split};
use crate::Limits;
use crate::bytes::{Endian, Reader};
use crate::error::ParseError;

/// Chunks with the hashes of their names, as many as there is room for.
///
/// Their bytes are chosen by whoever made the file; the table hashes them with
/// a secret, so that nobody can make it slow.
#[derive(Default)]
pub(crate) struct Known {
    chunks: HashMap<Box<[u8]>, Hashed>,
    room: usize,
}

/// What a chunk holds.
#[derive(Default)]
struct Hashed {
    /// The names, one behind the other.
    plain: Vec<u8>,
    /// Hash of each, and where it ends.
    names: Vec<(u64, usize)>,
}

impl Hashed {
    fn push(&mut self, hash: u64, name: &[u8]) {
        self.plain.extend_from_slice(name);
        self.names.push((hash, self.plain.len()));
    }

    fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let mut start = 0;
        self.names.iter().map(move |(hash, end)| {
            let name = &self.plain[start..*end];
            start = *end;
            (*hash, name)
        })
    }

    fn size(&self) -> usize {
        self.plain.capacity() + self.names.capacity() * size_of::<(u64, usize)>()
    }
}

impl Known {
    /// Keeps no more than `room` bytes, nothing with 0.
    pub(crate) fn with_room(room: usize) -> Known {
        let chunks = HashMap::new();
        Known { chunks, room }
    }

    /// As [`each_hashed`](super::each_hashed).
    pub(super) fn each_hashed(
        &mut self,
        blob: &[u8],
        limits: &Limits,
        mut visit: impl FnMut(u64, &[u8]),
    ) -> Result<(), ParseError> {
        let mut reader = Reader::new(blob, Endian::Little);
        let mut left = limits.names;
        let mut number = Number::of(blob);
        let mut inflater = Inflater::default();
        let mut batches = Batches::new();
        // What the names in the batches are of, by number; complete only when
        // the batches are finished.
        let mut new: Vec<(&[u8], Hashed)> = Vec::new();
        while let Some(chunk) = chunk(&mut reader, left, limits)? {
            left -= chunk.plain;
            // With its sizes: the same bytes may claim something else.
            let whole = &blob[chunk.at..reader.at()];
            if let Some(hashed) = self.chunks.get(whole) {
                for (hash, name) in hashed.iter() {
                    number.take(&reader)?;
                    visit(hash, name);
                }
                continue;
            }
            let plain = inflater.plain(&chunk, blob.len())?;
            let mut of = u32::MAX;
            if let Some(room) = self.room.checked_sub(whole.len() + plain.len()) {
                self.room = room;
                of = new.len() as u32;
                new.push((whole, Hashed::default()));
            }
            for name in split(plain) {
                number.take(&reader)?;
                batches.push(name, of, &mut |hash, name, of| {
                    tell(&mut new, hash, name, of, &mut visit);
                });
            }
        }
        batches.finish(&mut |hash, name, of| tell(&mut new, hash, name, of, &mut visit));
        for (whole, hashed) in new {
            self.room = self.room.saturating_sub(hashed.size() - hashed.plain.len());
            self.chunks.insert(whole.into(), hashed);
        }
        Ok(())
    }
}

fn tell(
    new: &mut [(&[u8], Hashed)],
    hash: u64,
    name: &[u8],
    of: u32,
    visit: &mut impl FnMut(u64, &[u8]),
) {
    visit(hash, name);
    if let Some((_, hashed)) = new.get_mut(of as usize) {
        hashed.push(hash, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llvm::names::{each, hash};

    /// Chunks that are not compressed.
    fn blob(chunks: &[&[u8]]) -> Vec<u8> {
        let mut blob = Vec::new();
        for chunk in chunks {
            blob.extend([chunk.len() as u8, 0]);
            blob.extend_from_slice(chunk);
        }
        blob
    }

    fn names(known: &mut Known, blob: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let told = known.each_hashed(blob, &Limits::default(), |told, name| {
            assert_eq!(told, hash(name));
            found.push(name.to_vec());
        });
        told.unwrap();
        found.sort();
        found
    }

    fn expected(blob: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        each(blob, &Limits::default(), |name| found.push(name.to_vec())).unwrap();
        found.sort();
        found
    }

    #[test]
    fn what_is_known_is_told_as_it_was_the_first_time() {
        let one = blob(&[b"main\x01run", b"alloc\x01free\x01grow"]);
        let other = blob(&[b"alloc\x01free\x01grow", b"start", b"start"]);
        for room in [0, 20, 1 << 20] {
            let mut known = Known::with_room(room);
            for blob in [&one, &other, &one, &other] {
                assert_eq!(names(&mut known, blob), expected(blob), "room {room}");
            }
            assert_eq!(known.chunks.is_empty(), room == 0);
        }
    }

    #[test]
    fn nothing_is_kept_of_a_blob_that_is_damaged() {
        let mut known = Known::with_room(1 << 20);
        let mut damaged = blob(&[b"main\x01run"]);
        damaged.extend([9, 3, 1, 2, 3]);
        let told = known.each_hashed(&damaged, &Limits::default(), |_, _| ());
        assert!(told.is_err());
        let sound = blob(&[b"main\x01run"]);
        assert_eq!(names(&mut known, &sound), expected(&sound));
    }

    #[test]
    fn the_same_bytes_with_another_claim_are_another_chunk() {
        let mut known = Known::with_room(1 << 20);
        assert_eq!(names(&mut known, &blob(&[b"main"])).len(), 1);
        let told = known.each_hashed(
            &[4, 4, b'm', b'a', b'i', b'n'],
            &Limits::default(),
            |_, _| (),
        );
        assert!(told.is_err());
    }
}
