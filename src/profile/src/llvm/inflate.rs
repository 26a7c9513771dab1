//! Deflate data whose size is claimed beforehand.

use flate2::{Decompress, FlushDecompress, Status};

use crate::error::{Kind, ParseError};

/// Deflate cannot do better than 1032 to 1.
const MAX_INFLATION: u64 = 1032;

/// Inflates a zlib stream that is said to hold `size` bytes. Nothing is
/// allocated for a size over `limit`, or one that `packed` cannot inflate to.
/// Errors are at byte `offset` of `len`, which is where the caller's input has
/// the stream.
pub(crate) fn inflate(
    packed: &[u8],
    size: u64,
    limit: u64,
    what: &str,
    (offset, len): (u64, u64),
) -> Result<Vec<u8>, ParseError> {
    let wrong = |kind, what| ParseError {
        kind,
        what,
        offset,
        len,
    };
    if size > limit {
        let text = format!("{what} claim {size} bytes, the limit is {limit}");
        return Err(wrong(Kind::TooLarge, text));
    }
    let most = (packed.len() as u64).saturating_mul(MAX_INFLATION);
    if size > most {
        let text = format!(
            "{what} claim {size} bytes in {} compressed ones",
            packed.len()
        );
        return Err(wrong(Kind::Malformed, text));
    }
    let size = usize::try_from(size)
        .map_err(|_| wrong(Kind::TooLarge, format!("{what} claim {size} bytes")))?;
    // One byte more than claimed, so that a longer stream is noticed.
    let mut plain = Vec::with_capacity(size + 1);
    let status = Decompress::new(true).decompress_vec(packed, &mut plain, FlushDecompress::Finish);
    match status {
        Ok(Status::StreamEnd) if plain.len() == size => Ok(plain),
        Ok(_) => {
            let text = format!("{what} claim {size} bytes, {} came out", plain.len());
            Err(wrong(Kind::Malformed, text))
        }
        Err(error) => {
            let text = format!("{what} are no zlib stream: {error}");
            Err(wrong(Kind::Malformed, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_stream_is_inflated_to_what_it_claims() {
        let stream = packed(b"some names");
        let at = (7, 100);
        assert_eq!(
            inflate(&stream, 10, 10, "names", at).unwrap(),
            b"some names"
        );
        let kind = |size, limit| inflate(&stream, size, limit, "names", at).unwrap_err().kind;
        assert_eq!(kind(9, 100), Kind::Malformed);
        assert_eq!(kind(11, 100), Kind::Malformed);
        assert_eq!(kind(10, 9), Kind::TooLarge);
        assert_eq!(kind(1 << 40, u64::MAX), Kind::Malformed);
        let error = inflate(b"\0\0\0\0", 10, 10, "names", at).unwrap_err();
        assert_eq!((error.offset, error.len), at);
    }

    #[test]
    fn a_bomb_is_not_inflated() {
        let bomb = packed(&vec![0; 4 << 20]);
        let error = inflate(&bomb, 4 << 20, 3 << 20, "names", (0, 0)).unwrap_err();
        assert_eq!(error.kind, Kind::TooLarge);
        // It lies: more comes out than it says.
        let error = inflate(&bomb, 1 << 10, 3 << 20, "names", (0, 0)).unwrap_err();
        assert_eq!(error.kind, Kind::Malformed);
    }
}
