//! The MD5 of many short texts at once.
//!
//! A profile names tens of thousands of functions, and each name has to be
//! hashed to find the function it belongs to: with one text after the other
//! that takes longer than all the rest of reading a profile. Each step of MD5
//! waits for the one before it, so here eight texts of one size in blocks go
//! through the steps side by side, each in a lane of the machine's vectors.
//!
//! Source: RFC 1321.

use md5::{Digest, Md5};

use super::hash_of;

const LANES: usize = 8;
const BLOCK: usize = 64;
/// Texts of more blocks go one by one; few names have over 500 bytes.
const BLOCKS: usize = 8;

type Lanes = [u32; LANES];

/// Hashes texts in batches. Each is told with its hash when its batch is full,
/// so not in the order they come.
pub(super) struct Batches {
    batches: Vec<Batch>,
}

#[derive(Default)]
struct Batch {
    /// The texts, padded as MD5 wants it.
    padded: Vec<u8>,
    lengths: Vec<usize>,
    places: Vec<u32>,
}

impl Batches {
    pub(super) fn new() -> Self {
        let batches = std::iter::repeat_with(Batch::default);
        Batches {
            batches: batches.take(BLOCKS).collect(),
        }
    }

    /// Takes a text in; `place` is told with it.
    pub(super) fn push(&mut self, text: &[u8], place: u32, tell: &mut impl FnMut(u64, &[u8], u32)) {
        // A byte 0x80 and the length in bits (8 bytes) have to fit behind it.
        let blocks = (text.len() + 9).div_ceil(BLOCK);
        let Some(batch) = self.batches.get_mut(blocks - 1) else {
            tell(hash_of(Md5::digest(text).into()), text, place);
            return;
        };
        let size = blocks * BLOCK;
        let end = batch.padded.len() + size;
        batch.padded.extend(text);
        batch.padded.push(0x80);
        batch.padded.resize(end - 8, 0);
        batch.padded.extend((text.len() as u64 * 8).to_le_bytes());
        batch.lengths.push(text.len());
        batch.places.push(place);
        if batch.lengths.len() == LANES {
            let hashes = hashes(&batch.padded, blocks);
            batch.tell(&hashes, size, tell);
        }
    }

    /// Tells the texts of the batches that are not full.
    pub(super) fn finish(&mut self, tell: &mut impl FnMut(u64, &[u8], u32)) {
        for (index, batch) in self.batches.iter_mut().enumerate() {
            if batch.lengths.is_empty() {
                continue;
            }
            let size = (index + 1) * BLOCK;
            batch.padded.resize(size * LANES, 0);
            let hashes = hashes(&batch.padded, index + 1);
            batch.tell(&hashes, size, tell);
        }
    }
}

impl Batch {
    fn tell(&mut self, hashes: &[u64; LANES], size: usize, tell: &mut impl FnMut(u64, &[u8], u32)) {
        let texts = self.padded.chunks_exact(size).zip(&self.lengths);
        for (((text, len), hash), place) in texts.zip(hashes).zip(&self.places) {
            tell(*hash, &text[..*len], *place);
        }
        self.padded.clear();
        self.places.clear();
        self.lengths.clear();
    }
}

/// Low 64 bits of the MD5 of [`LANES`] padded texts of `blocks` blocks each.
fn hashes(padded: &[u8], blocks: usize) -> [u64; LANES] {
    let mut state = START.map(|word| [word; LANES]);
    for block in 0..blocks {
        let mut words = [[0; LANES]; 16];
        for lane in 0..LANES {
            let at = (lane * blocks + block) * BLOCK;
            let (bytes, _) = padded[at..at + BLOCK].as_chunks::<4>();
            for (word, bytes) in words.iter_mut().zip(bytes) {
                word[lane] = u32::from_le_bytes(*bytes);
            }
        }
        add_block(&mut state, &words);
    }
    std::array::from_fn(|lane| u64::from(state[0][lane]) | u64::from(state[1][lane]) << 32)
}

const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// One loop over the lanes with all steps written out in it: of this the
/// compiler makes vector instructions.
fn add_block(state: &mut [Lanes; 4], words: &[Lanes; 16]) {
    let [all_a, all_b, all_c, all_d] = state;
    for lane in 0..LANES {
        let (mut a, mut b, mut c, mut d) = (all_a[lane], all_b[lane], all_c[lane], all_d[lane]);
        macro_rules! step {
            ($round:literal, $step:literal, $word:expr, $mixed:expr) => {
                let sum = a
                    .wrapping_add($mixed)
                    .wrapping_add(SINES[$round * 16 + $step])
                    .wrapping_add(words[$word % 16][lane]);
                let next = b.wrapping_add(sum.rotate_left(TURNS[$round][$step % 4]));
                (a, d, c, b) = (d, c, b, next);
            };
        }
        macro_rules! steps {
            ($($step:literal)*) => {
                $(step!(0, $step, $step, d ^ (b & (c ^ d)));)*
                $(step!(1, $step, 5 * $step + 1, c ^ (d & (b ^ c)));)*
                $(step!(2, $step, 3 * $step + 5, b ^ c ^ d);)*
                $(step!(3, $step, 7 * $step, c ^ (b | !d));)*
            };
        }
        steps!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        all_a[lane] = all_a[lane].wrapping_add(a);
        all_b[lane] = all_b[lane].wrapping_add(b);
        all_c[lane] = all_c[lane].wrapping_add(c);
        all_d[lane] = all_d[lane].wrapping_add(d);
    }
}

const TURNS: [[u32; 4]; 4] = [
    [7, 12, 17, 22],
    [5, 9, 14, 20],
    [4, 11, 16, 23],
    [6, 10, 15, 21],
];

/// The integer part of 2^32 times the sine of 1, 2, 3 and so on.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee,
    0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be,
    0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa,
    0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed,
    0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c,
    0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05,
    0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039,
    0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1,
    0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_that_of_the_sine() {
        for (index, sine) in SINES.iter().enumerate() {
            let exact = ((index + 1) as f64).sin().abs() * 4_294_967_296.0;
            assert_eq!(*sine, exact as u32);
        }
    }

    #[test]
    fn every_length_hashes_as_it_does_alone() {
        let text: Vec<u8> = (0..700u32).map(|at| (at * 7 + at / 13) as u8).collect();
        let mut batches = Batches::new();
        let mut told = Vec::new();
        let mut tell = |hash, text: &[u8], place| told.push((text.to_vec(), hash, place));
        for len in (0..=text.len()).chain(3..60) {
            batches.push(&text[..len], 7 * len as u32, &mut tell);
        }
        batches.finish(&mut tell);
        assert_eq!(told.len(), text.len() + 1 + 57);
        for (text, hash, place) in told {
            assert_eq!(place, 7 * text.len() as u32);
            let alone: [u8; 16] = Md5::digest(&text).into();
            assert_eq!(hash, hash_of(alone), "{} bytes", text.len());
        }
    }
}
