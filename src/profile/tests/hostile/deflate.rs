//! Makes deflate streams that no compressor would: each byte of them as many
//! of output as the format allows. (RFC 1950, 1951.)

/// Deflate's longest match.
const MATCH: usize = 258;

/// Bits, the low one of a byte first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn push(&mut self, value: u32, count: u32) {
        for index in 0..count {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let bit = (value >> index & 1) as u8;
            *self.bytes.last_mut().unwrap() |= bit << (self.used % 8);
            self.used += 1;
        }
    }

    /// A Huffman code: its high bit first.
    fn code(&mut self, code: &str) {
        code.bytes()
            .for_each(|bit| self.push(u32::from(bit - b'0'), 1));
    }
}

/// In zlib's format: `noise` bytes that do not compress, then at least `size`
/// zeros; and how much that is. Noise makes the ratio what one likes.
pub fn bomb(noise: usize, size: usize) -> (Vec<u8>, usize) {
    let mut bits = Bits::default();
    let mut sum = Adler::default();
    bits.push(0x9c78, 16);
    let mut state = 1u32;
    let mut left = noise;
    while left > 0 {
        let part = left.min(0xffff);
        // A stored block; its sizes begin at a whole byte.
        bits.push(0, 3);
        bits.used = bits.used.next_multiple_of(8);
        bits.push(part as u32, 16);
        bits.push(!(part as u32) & 0xffff, 16);
        for _ in 0..part {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let byte = (state >> 24) as u8;
            bits.bytes.push(byte);
            sum.add(byte);
        }
        bits.used = bits.bytes.len() as u32 * 8;
        left -= part;
    }
    // The last block, with codes of its own: literal 0 is 10, the end 11, the
    // longest match 0, the shortest distance 0.
    bits.push(0b101, 3);
    bits.push(286 - 257, 5);
    bits.push(0, 5);
    bits.push(18 - 4, 4);
    // Lengths of the codes for lengths, in the format's own order: 18 (many
    // zeros) has one bit, 1 and 2 have two.
    let lengths = [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 2];
    lengths.iter().for_each(|length| bits.push(*length, 3));
    let zeros = |bits: &mut Bits, count: u32| {
        bits.code("0");
        bits.push(count - 11, 7);
    };
    bits.code("11");
    zeros(&mut bits, 138);
    zeros(&mut bits, 117);
    bits.code("11");
    zeros(&mut bits, 28);
    bits.code("10");
    bits.code("10");
    let matches = size.div_ceil(MATCH);
    bits.code("10");
    // A match is two bits that are zero.
    bits.used += 2 * matches as u32;
    bits.bytes.resize(bits.used.div_ceil(8) as usize, 0);
    bits.code("11");
    let zeros = 1 + MATCH * matches;
    sum.add_zeros(zeros);
    let mut bytes = bits.bytes;
    bytes.extend(sum.value().to_be_bytes());
    (bytes, noise + zeros)
}

/// Adler-32.
struct Adler(u32, u32);

impl Default for Adler {
    fn default() -> Self {
        Adler(1, 0)
    }
}

impl Adler {
    const MODULUS: u32 = 65_521;

    fn add(&mut self, byte: u8) {
        self.0 = (self.0 + u32::from(byte)) % Self::MODULUS;
        self.1 = (self.1 + self.0) % Self::MODULUS;
    }

    fn add_zeros(&mut self, count: usize) {
        let times = (count % Self::MODULUS as usize) as u64;
        let added = times * u64::from(self.0) % u64::from(Self::MODULUS);
        self.1 = (self.1 + added as u32) % Self::MODULUS;
    }

    fn value(&self) -> u32 {
        self.1 << 16 | self.0
    }
}

/// Bytes as they are, in zlib's format.
pub fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let mut sum = Adler::default();
    let count = bytes.chunks(0xffff).count();
    for (index, part) in bytes.chunks(0xffff).enumerate() {
        stream.push(u8::from(index + 1 == count));
        stream.extend((part.len() as u16).to_le_bytes());
        stream.extend((!(part.len() as u16)).to_le_bytes());
        stream.extend(part);
        part.iter().for_each(|byte| sum.add(*byte));
    }
    stream.extend(sum.value().to_be_bytes());
    stream
}
