//! Files of Go's formats, made from what Go's documents say of them and
//! independently of the readers and writers under test.
#![allow(dead_code, reason = "each test uses another part")]

/// Number of units of each function, by package.
pub type Shape = Vec<Vec<usize>>;
/// Package, function and counters of what ran.
pub type Run = Vec<(usize, usize, Vec<u32>)>;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Numbers {
    Uleb,
    Little,
    Big,
}

pub fn uleb(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = (value % 128) as u8;
        value /= 128;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 128);
    }
}

fn strings(texts: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    uleb(&mut out, texts.len() as u64);
    for text in texts {
        uleb(&mut out, text.len() as u64);
        out.extend(text.bytes());
    }
    out
}

/// What the unit of a function is; the same wherever it is asked for.
pub fn unit(function: usize, unit: usize) -> [u64; 5] {
    let line = (function * 100 + unit * 3 + 1) as u64;
    [line, 2, line + 2, 9, 1 + (unit as u64) % 3]
}

fn package(number: usize, functions: &[usize]) -> Vec<u8> {
    let mut texts = vec![
        String::new(),
        format!("example.org/p{number}"),
        format!("p{number}"),
        "example.org".to_owned(),
        format!("example.org/p{number}/x.go"),
    ];
    texts.extend((0..functions.len()).map(|function| format!("f{function}")));
    let table = strings(&texts);
    let (mut offsets, mut bodies) = (Vec::new(), Vec::new());
    for (function, units) in functions.iter().enumerate() {
        let offset = 44 + 4 * functions.len() + table.len() + bodies.len();
        offsets.extend((offset as u32).to_le_bytes());
        for value in [*units, 5 + function, 4] {
            uleb(&mut bodies, value as u64);
        }
        for number in (0..*units).flat_map(|at| unit(function, at)) {
            uleb(&mut bodies, number);
        }
        bodies.push(0);
    }
    let length = 44 + offsets.len() + table.len() + bodies.len();
    let mut out = Vec::new();
    for value in [length, 2, 1, 3] {
        out.extend((value as u32).to_le_bytes());
    }
    out.extend([number as u8; 16]);
    for value in [0, texts.len(), functions.len()] {
        out.extend((value as u32).to_le_bytes());
    }
    [out, offsets, table, bodies].concat()
}

/// `mode` as in the file: 1 set, 2 count, 3 atomic.
pub fn covmeta(shape: &Shape, hash: u8, mode: u8) -> Vec<u8> {
    let packages: Vec<Vec<u8>> = shape
        .iter()
        .enumerate()
        .map(|(number, functions)| package(number, functions))
        .collect();
    covmeta_of(&packages, hash, mode)
}

/// The file around packages that were made by hand.
pub fn covmeta_of(packages: &[Vec<u8>], hash: u8, mode: u8) -> Vec<u8> {
    let table = strings(&[String::new()]);
    let first = 56 + 16 * packages.len() + table.len();
    let length = first + packages.iter().map(Vec::len).sum::<usize>();
    let mut out = b"\0cvm\x01\0\0\0".to_vec();
    out.extend((length as u64).to_le_bytes());
    out.extend((packages.len() as u64).to_le_bytes());
    out.extend([hash; 16]);
    out.extend((56 + 16 * packages.len() as u32).to_le_bytes());
    out.extend((table.len() as u32).to_le_bytes());
    out.extend([mode, 1, 0, 0, 0, 0, 0, 0]);
    let mut at = first as u64;
    for package in packages {
        out.extend(at.to_le_bytes());
        at += package.len() as u64;
    }
    for package in packages {
        out.extend((package.len() as u64).to_le_bytes());
    }
    out.extend(table);
    out.extend(packages.iter().flatten());
    out
}

/// `dead` words of zeros stand before each function of the raw flavour.
pub fn covcounters(runs: &[Run], hash: u8, numbers: Numbers, dead: usize) -> Vec<u8> {
    let mut out = b"\0cwm\x01\0\0\0".to_vec();
    out.extend([hash; 16]);
    out.push(if numbers == Numbers::Uleb { 2 } else { 1 });
    out.push((numbers == Numbers::Big) as u8);
    out.extend([0; 6]);
    let number = |out: &mut Vec<u8>, value: u32| match numbers {
        Numbers::Uleb => uleb(out, u64::from(value)),
        Numbers::Little => out.extend(value.to_le_bytes()),
        Numbers::Big => out.extend(value.to_be_bytes()),
    };
    for (segment, run) in runs.iter().enumerate() {
        let texts = ["", "GOOS", "plan9", "argc", "1", "argv0", "./x"].map(str::to_owned);
        let table = strings(&texts);
        let mut args = vec![3, 1, 2, 3, 4, 5, 6];
        while !(16 + table.len() + args.len()).is_multiple_of(4) {
            args.push(0);
        }
        out.extend((run.len() as u64).to_le_bytes());
        out.extend((table.len() as u32).to_le_bytes());
        out.extend((args.len() as u32).to_le_bytes());
        out.extend(table);
        out.extend(args);
        let zeros = if numbers == Numbers::Uleb {
            0
        } else {
            dead * 4
        };
        for (package, function, counts) in run {
            out.extend(vec![0; zeros]);
            for value in [counts.len(), *package, *function] {
                number(&mut out, value as u32);
            }
            counts.iter().for_each(|count| number(&mut out, *count));
        }
        out.extend(vec![0; zeros]);
        out.extend(b"\0cwm\0\0\0\0");
        out.extend((segment as u32 + 1).to_le_bytes());
        out.extend([0; 4]);
    }
    out
}

/// A mapped file. Packages of even number have the id that Go gives them, the
/// others one below zero.
pub struct Image {
    pub hash: u8,
    pub mode: u8,
    pub is_big: bool,
    /// Bytes of the first page that belong to something else.
    pub head: usize,
    pub blocks: Vec<Vec<u32>>,
    pub packages: usize,
}

pub const PAGE: usize = 4096;

pub fn package_id(package: usize) -> u32 {
    if package.is_multiple_of(2) {
        package as u32 + 1
    } else {
        (-2 - package as i32) as u32
    }
}

pub const BUILD_ID: &str = "a/b/c/d";

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in &bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    bytes.extend(hash.to_le_bytes());
    bytes
}

impl Image {
    /// Length of the header.
    pub fn header(&self) -> usize {
        64 + 24 * self.blocks.len() + "go1.99".len() + BUILD_ID.len() + 8
    }

    pub fn bytes(&self) -> Vec<u8> {
        let ids: Vec<usize> = (0..self.packages)
            .filter(|package| package % 2 == 1)
            .collect();
        let version = "go1.99";
        let length = self.header();
        let mut out = b"\0pcvlive\x01\0\0\0".to_vec();
        out.extend((length as u32).to_le_bytes());
        out.extend((length as u32 + 4).to_le_bytes());
        out.extend((PAGE as u32).to_le_bytes());
        out.extend(77u64.to_le_bytes());
        out.extend(1_700_000_000_000_000_000u64.to_le_bytes());
        let (blocks, id) = (self.blocks.len(), BUILD_ID.len());
        for value in [usize::from(self.is_big), blocks, version.len(), id, 0, 0] {
            out.extend((value as u32).to_le_bytes());
        }
        let second = 48 + 8 * ids.len();
        let first = (length + 4 + second).next_multiple_of(PAGE);
        let (mut pages, mut address) = (Vec::new(), 0x70_0000 + self.head as u64);
        for words in &self.blocks {
            out.extend(address.to_le_bytes());
            out.extend((words.len() as u64).to_le_bytes());
            out.extend(((first + pages.len()) as u64).to_le_bytes());
            pages.extend(vec![0xa5; self.head]);
            for word in words {
                pages.extend(if self.is_big {
                    word.to_be_bytes()
                } else {
                    word.to_le_bytes()
                });
            }
            pages.resize(pages.len().next_multiple_of(PAGE), 0xa5);
            address += 0x10_0000;
        }
        out.extend(version.bytes());
        out.extend(BUILD_ID.bytes());
        let mut out = sealed(out);
        assert_eq!(out.len(), length);
        out.extend([0; 4]);
        let mut part = b"\0pcvmeta".to_vec();
        for value in [second, ids.len()] {
            part.extend((value as u32).to_le_bytes());
        }
        part.extend([self.hash; 16]);
        part.extend(u64::from(self.mode).to_le_bytes());
        for package in ids {
            part.extend(package_id(package).to_le_bytes());
            part.extend((package as u32).to_le_bytes());
        }
        out.extend(sealed(part));
        out.resize(first, 0);
        out.extend(pages);
        out
    }
}
