//! LLVM indexed profiles (`*.profdata`): only what tells them apart.

use crate::Identity;
use crate::bytes::{Endian, Reader};
use crate::error::ParseError;

const MAGIC: [u8; 8] = [0xff, b'l', b'p', b'r', b'o', b'f', b'i', 0x81];

/// What is known of an indexed profile without its counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedProfile {
    /// Version of the format.
    pub version: u64,
    /// GNU build ids of the programs whose profiles were merged into it.
    pub build_ids: Vec<Identity>,
}

/// Whether bytes begin like an indexed profile.
pub fn is_indexed(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Reads the header of an indexed profile. Versions before 9 hold no build
/// ids; whether LLVM's tools can read it only they can say.
pub fn read(bytes: &[u8]) -> Result<IndexedProfile, ParseError> {
    let mut reader = Reader::new(bytes, Endian::Little);
    if reader.take(8, "the magic")? != MAGIC {
        return Err(reader.error("no magic of an indexed profile"));
    }
    let version = reader.u64("the version")? & 0xffff_ffff;
    let mut build_ids = Vec::new();
    reader.take(8, "an unused field")?;
    reader.u64("the kind of hash")?;
    reader.u64("the offset of the table")?;
    if version >= 9 {
        reader.u64("the offset of the memory profile")?;
        let at = reader.u64("the offset of the binary ids")?;
        reader.seek(at, "the list of binary ids")?;
        let size = reader.u64("the size of the binary ids")?;
        let ids = reader.take(size, "the binary ids")?;
        build_ids = super::raw::build_ids(ids, Endian::Little)?;
    }
    Ok(IndexedProfile { version, build_ids })
}
