//! FNV-1a, the hash that Go's coverage uses (`hash/fnv`): no defence against
//! anyone, a name for what is equal.

/// 128 bits, as `fnv.New128a`.
pub(crate) struct Fnv128(u128);

impl Fnv128 {
    pub(crate) fn new() -> Fnv128 {
        Fnv128(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul((1 << 88) + 0x13b);
        }
    }

    pub(crate) fn sum(&self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

/// 64 bits, as `fnv.New64a`.
pub(crate) fn fnv64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul((1 << 40) + 0x1b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the tests of Go's `hash/fnv`.
    #[test]
    fn the_hashes_are_those_of_go() {
        let mut hash = Fnv128::new();
        hash.write(b"abc");
        assert_eq!(
            u128::from_be_bytes(hash.sum()),
            0xa68d_622c_ec8b_5822_836d_bc79_77af_7f3b
        );
        assert_eq!(fnv64(b"abc"), 0xe71f_a219_0541_574b);
    }
}
