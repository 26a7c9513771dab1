//! LLVM indexed profiles (`*.profdata`): versions 4 to 14 are read (LLVM 14
//! to 23 write 7 to 14), version 12 is written.
//!
//! All numbers are little-endian u64 unless said otherwise.
//!
//! | header field | since version |
//! |---|---|
//! | magic, version and variant flags, unused, kind of hash (0: MD5) | |
//! | offset of the hash table | |
//! | offset of the memory profile | 8 |
//! | offset of the binary ids | 9 |
//! | offset of the traces of a temporal profile | 10 |
//! | offset of the names of vtables | 12 |
//!
//! A summary follows (two with context-sensitive records), then the buckets of
//! the hash table, then the table: number of buckets (a power of two), number
//! of entries, offset of each bucket (0: empty). Which bucket an entry is in
//! follows from its hash, the same by which raw profiles name a function.
//!
//! | bucket | |
//! |---|---|
//! | number of entries (u16) | |
//! | entry | hash, size of the name, size of the data, name, data |
//! | data, for each function of that name | hash of the function, number of counters, counters, since 11 number of bytes of bitmap, those bytes (u64 each), since 14 what only GPUs have (zeros), values |
//! | values | size in bytes with this (u32), number of kinds (u32), kinds |
//!
//! The summary is not read: coverage comes from counters. In LLVM's own, rustc's
//! functions are counted in part only (see [`write()`]).
//!
//! Sources: `IndexedInstrProf` in LLVM 22's `ProfileData/InstrProf.h`,
//! `InstrProfLookupTrait` in `InstrProfReader.h`, `Support/OnDiskHashTable.h`;
//! `llvm/docs/InstrProfileFormat.rst`.

mod read;
mod summary;
mod write;

pub use read::{Indexed, read};
pub use write::{Written, write};

const MAGIC: [u8; 8] = [0xff, b'l', b'p', b'r', b'o', b'f', b'i', 0x81];

/// The versions that are read.
pub const VERSIONS: std::ops::RangeInclusive<u64> = 4..=14;

/// The version that is written: every LLVM since 19 reads it.
pub const WRITTEN: u64 = 12;

/// The version whose bitmaps are ordered as LLVM 18 does. It is written where
/// a profile has such bitmaps.
const OLD_BITMAPS: u64 = 11;

/// Whether bytes begin like an indexed profile.
pub fn is_indexed(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}
