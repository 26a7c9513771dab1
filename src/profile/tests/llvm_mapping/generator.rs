//! A generator of mappings.

use std::borrow::Cow;

use podcov_profile::Limits;
use podcov_profile::bytes::Endian;
use podcov_profile::llvm::coverage::{Coverage, Evidence, Options};
use podcov_profile::llvm::mapping::{Mapping, Paths};
use podcov_profile::llvm::names;
use podcov_profile::llvm::object::Object;
use podcov_profile::llvm::profile::{Counts, FunctionId, Profile};

/// The sections of a program.
#[derive(Clone, Default)]
pub struct Sections {
    pub covmap: Vec<u8>,
    pub covfun: Vec<u8>,
    pub names: Vec<u8>,
}

pub fn uleb(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let more = value > 0x7f;
        out.push((value & 0x7f) as u8 | if more { 0x80 } else { 0 });
        value >>= 7;
        if !more {
            break;
        }
    }
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(8), 0);
}

impl Sections {
    /// Adds a table of file names and gives its hash.
    pub fn files(&mut self, version: u32, files: &[&str]) -> u64 {
        let mut plain = Vec::new();
        for file in files {
            uleb(&mut plain, file.len() as u64);
            plain.extend(file.bytes());
        }
        let mut table = Vec::new();
        uleb(&mut table, files.len() as u64);
        uleb(&mut table, plain.len() as u64);
        uleb(&mut table, 0);
        table.extend(plain);
        for number in [0, table.len() as u32, 0, version - 1] {
            self.covmap.extend(number.to_le_bytes());
        }
        self.covmap.extend(&table);
        pad(&mut self.covmap);
        names::hash(&table)
    }

    /// Adds a function.
    pub fn function(&mut self, name: &str, hash: u64, files: u64, record: &[u8]) {
        uleb(&mut self.names, name.len() as u64);
        uleb(&mut self.names, 0);
        self.names.extend(name.bytes());
        self.covfun
            .extend(names::hash(name.as_bytes()).to_le_bytes());
        self.covfun.extend((record.len() as u32).to_le_bytes());
        self.covfun.extend(hash.to_le_bytes());
        self.covfun.extend(files.to_le_bytes());
        self.covfun.extend(record);
        pad(&mut self.covfun);
    }

    pub fn object(&self) -> Object<'_> {
        Object {
            member: None,
            arch: "x86_64".to_owned(),
            endian: Endian::Little,
            identity: None,
            covmap: Cow::Borrowed(&self.covmap),
            covfun: Cow::Borrowed(&self.covfun),
            names: Cow::Borrowed(&self.names),
        }
    }

    /// As llvm-cov's own tests have it.
    pub fn test_data(&self) -> Vec<u8> {
        let mut out = b"llvmcovm".to_vec();
        out.extend(1u64.to_le_bytes());
        uleb(&mut out, self.names.len() as u64);
        uleb(&mut out, 0);
        out.extend(&self.names);
        uleb(&mut out, self.covmap.len() as u64);
        pad(&mut out);
        out.extend(&self.covmap);
        pad(&mut out);
        out.extend(&self.covfun);
        out
    }
}

pub fn join(sections: &Sections, profile: &Profile) -> Coverage {
    let object = sections.object();
    let mapping = Mapping::read(&object, Paths::default(), &Limits::default()).unwrap();
    let evidence = Evidence {
        mappings: &[&mapping],
        profile,
    };
    Coverage::new(&[evidence], &Options::default()).unwrap()
}

/// Numbers that are the same each time.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }
}

const FILES: [&str; 5] = ["/w", "a.c", "b.h", "/abs/c.h", "sub/../d.h"];

/// A function with regions in one or more files, which may overlap in any way,
/// and its counts. Expressions are never negative.
fn function(random: &mut Random) -> (Vec<u8>, Counts) {
    let files = 1 + random.below(4) * random.below(2);
    let mut record = Vec::new();
    uleb(&mut record, files);
    for _ in 0..files {
        uleb(&mut record, 1 + random.below(FILES.len() as u64 - 1));
    }
    let counters = 1 + random.below(5);
    let counts: Vec<u64> = (0..counters)
        .map(|_| random.below(3) * random.below(9))
        .collect();
    // Expression 2i is a sum, 2i+1 takes one of its parts away again.
    let pairs = random.below(4);
    uleb(&mut record, pairs * 2);
    for pair in 0..pairs {
        let (a, b) = (
            random.below(counters) * 4 + 1,
            random.below(counters) * 4 + 1,
        );
        uleb(&mut record, a);
        uleb(&mut record, b);
        uleb(&mut record, pair * 2 * 4 + 3);
        uleb(&mut record, if random.below(2) == 0 { a } else { b });
    }
    let counter = |random: &mut Random| match random.below(5) {
        0 if pairs > 0 => random.below(pairs) * 2 * 4 + 3,
        1 if pairs > 0 => (random.below(pairs) * 2 + 1) * 4 + 2,
        2 => 0,
        _ => random.below(counters) * 4 + 1,
    };
    // Each file but the first is what one region of an earlier file expands to.
    let parents: Vec<u64> = (1..files).map(|file| random.below(file)).collect();
    for file in 0..files {
        let mut heads: Vec<Vec<u8>> = Vec::new();
        let head = |value: u64| {
            let mut bytes = Vec::new();
            uleb(&mut bytes, value);
            bytes
        };
        let first = counter(random).max(1);
        heads.push(head(first));
        for (child, parent) in (1..).zip(&parents) {
            if *parent == file {
                heads.push(head(child << 3 | 4));
            }
        }
        for _ in 0..random.below(7) {
            heads.push(match random.below(8) {
                0 => head(2 << 3),
                1 | 2 => {
                    let mut bytes = head(4 << 3);
                    uleb(&mut bytes, counter(random));
                    uleb(&mut bytes, counter(random));
                    bytes
                }
                _ => head(counter(random)),
            });
        }
        uleb(&mut record, heads.len() as u64);
        let mut line = 0;
        for head in heads {
            record.extend(&head);
            let delta = random.below(4) + u64::from(line == 0);
            let (lines, column) = (random.below(6), 1 + random.below(12));
            line += delta;
            let mut end = match lines {
                0 => column + random.below(9),
                _ => 1 + random.below(12),
            };
            if random.below(9) == 0 && head.first().is_some_and(|byte| byte & 3 != 0) {
                end |= 1 << 31;
            }
            let whole = random.below(15) == 0;
            for number in [
                delta,
                if whole { 0 } else { column },
                lines,
                if whole { 0 } else { end },
            ] {
                uleb(&mut record, number);
            }
        }
    }
    let counts = Counts {
        counters: counts,
        bitmap: Vec::new(),
    };
    (record, counts)
}

/// A program of so many functions, of which some are not in the profile, some are
/// there twice, and some are dummies.
pub fn program(seed: u64, version: u32, functions: u64) -> (Sections, Profile) {
    let mut random = Random(seed);
    let mut sections = Sections::default();
    let mut profile = Profile::default();
    let tables = [
        sections.files(version, &FILES),
        sections.files(version, &["/v", "a.c", "b.h", "/abs/c.h", "x.h"]),
    ];
    for index in 0..functions {
        let name = format!("f{}", random.below(60));
        let (record, counts) = function(&mut random);
        let is_known = profile.names.contains_key(&names::hash(name.as_bytes()));
        let table = tables[random.below(2) as usize];
        if random.below(6) == 0 {
            let dummy = [1, 1 + random.below(4) as u8, 0, 1, 0, 1, 1, 2, 9];
            sections.function(&name, 0, table, &dummy);
            continue;
        }
        // A second record of a name is left out by both.
        let hash = 1000 + index;
        sections.function(&name, hash, table, &record);
        let id = FunctionId {
            name: names::hash(name.as_bytes()),
            hash,
        };
        if !is_known && random.below(5) > 0 {
            profile.names.insert(id.name, name.as_bytes().into());
            profile.add(id, counts).unwrap();
        }
    }
    (sections, profile)
}
