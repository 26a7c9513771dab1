//! The regions of one function, as its record in `__llvm_covfun` holds them.
//!
//! | part | |
//! |---|---|
//! | files | ULEB128 count, then indices into the table of file names |
//! | expressions | ULEB128 count, then two counters each |
//! | regions, file by file | ULEB128 count, then regions |
//!
//! A counter is a ULEB128 number: the low two bits say 0 zero, 1 counter,
//! 2 difference, 3 sum; the rest is the index of the counter or expression. A
//! region begins with a counter, or, where its tag is 0, with a kind (bit 2:
//! an expansion of the file in the rest; else kind in the bits from 3), then
//! come what the kind needs and lines, as difference to the line before, and
//! columns. Source: `docs/CoverageMappingFormat.rst` and
//! `ProfileData/Coverage/CoverageMapping.h`, LLVM 22.

use super::counted::RegionKind as Kind;
use crate::bytes::{Endian, Reader};
use crate::error::ParseError;

/// Bit 31 of the last column marks a gap.
const GAP: u32 = 1 << 31;
/// Expansions within expansions; recursion over them has to end.
const MAX_DEPTH: usize = 1 << 10;
/// What "to the end of the line" is as a column.
const END_OF_LINE: u32 = u32::MAX;

/// A counter as it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counter(u32);

/// What a counter refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Term {
    Zero,
    Counter(u32),
    Difference(u32),
    Sum(u32),
}

impl Counter {
    pub(crate) const ZERO: Counter = Counter(0);

    pub(crate) fn term(self) -> Term {
        let index = self.0 >> 2;
        match self.0 & 3 {
            0 => Term::Zero,
            1 => Term::Counter(index),
            2 => Term::Difference(index),
            _ => Term::Sum(index),
        }
    }

    /// LLVM takes any counter with tag 0 for zero.
    pub(crate) fn is_zero(self) -> bool {
        self.0 & 3 == 0
    }
}

/// What belongs to MC/DC regions only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mcdc {
    None,
    Decision {
        bitmap: u32,
        conditions: u16,
    },
    /// Conditions count from 0; -1 is the end of the decision.
    Branch {
        id: i16,
        if_true: i16,
        if_false: i16,
    },
}

/// A region before its counters are looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapped {
    pub(crate) counter: Counter,
    /// Of a branch: how often it was false.
    pub(crate) otherwise: Counter,
    pub(crate) start: (u32, u32),
    pub(crate) end: (u32, u32),
    pub(crate) file: u32,
    pub(crate) expanded: u32,
    pub(crate) kind: Kind,
    pub(crate) mcdc: Mcdc,
}

/// One decoded record. Its buffers serve one function after the other.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    /// Indices into the table of file names.
    pub(crate) files: Vec<u32>,
    pub(crate) expressions: Vec<(Counter, Counter)>,
    pub(crate) regions: Vec<Mapped>,
    /// The expansion region of each file.
    parents: Vec<Option<u32>>,
    /// The first region of each file.
    firsts: Vec<Option<u32>>,
}

/// The record of a function that was never compiled: one region without
/// counter. Source: `RawCoverageMappingDummyChecker`, LLVM 22.
pub(crate) fn is_dummy(hash: u64, bytes: &[u8]) -> Result<bool, ParseError> {
    if hash != 0 {
        return Ok(false);
    }
    let mut reader = Reader::new(bytes, Endian::Little);
    if reader.uleb("the number of files")? != 1 {
        return Ok(false);
    }
    reader.uleb32("the file")?;
    if reader.uleb("the number of expressions")? != 0 || reader.uleb("the number of regions")? != 1
    {
        return Ok(false);
    }
    Ok(reader.uleb32("the counter")? & 3 == 0)
}

/// Reads the indices of files, of which the table has `known`.
pub(crate) fn read_files(
    reader: &mut Reader<'_>,
    known: usize,
    files: &mut Vec<u32>,
) -> Result<(), ParseError> {
    files.clear();
    for _ in 0..count(reader, "the number of files")? {
        let file = reader.uleb32("a file")?;
        if file as usize >= known {
            return Err(reader.error(format!("file {file} of {known}")));
        }
        files.push(file);
    }
    Ok(())
}

/// A number of things that take at least one byte each.
fn count(reader: &mut Reader<'_>, what: &str) -> Result<u64, ParseError> {
    let count = reader.uleb(what)?;
    reader.within(count, reader.left() as u64, what)
}

impl Regions {
    /// Decodes a record; `known` is how many names its table of files has.
    ///
    /// # Errors
    /// What LLVM calls malformed, and what it would not end on: a file that
    /// several regions expand to, counters of expansions in a circle.
    pub(crate) fn decode(&mut self, bytes: &[u8], known: usize) -> Result<(), ParseError> {
        // Variable-length numbers have no byte order.
        let mut reader = Reader::new(bytes, Endian::Little);
        read_files(&mut reader, known, &mut self.files)?;
        self.expressions.clear();
        let expressions = count(&mut reader, "the number of expressions")?;
        for _ in 0..expressions {
            let left = operand(&mut reader, expressions)?;
            let right = operand(&mut reader, expressions)?;
            self.expressions.push((left, right));
        }
        self.regions.clear();
        for file in 0..self.files.len() {
            self.of_file(&mut reader, file as u32)?;
        }
        if self.files.len() > 1 {
            self.expand(&reader)?;
        }
        Ok(())
    }

    fn of_file(&mut self, reader: &mut Reader<'_>, file: u32) -> Result<(), ParseError> {
        let mut line = 0u32;
        for _ in 0..count(reader, "the number of regions")? {
            let head = reader.uleb32("a region")?;
            let mut region = self.region(reader, head)?;
            region.file = file;
            let delta = reader.uleb32("a line")?;
            let mut column = reader.uleb32("a column")?;
            let lines = reader.uleb32("a number of lines")?;
            let mut end_column = reader.uleb32("a last column")?;
            let too_far = || reader.error("a line over 32 bits");
            line = line.checked_add(delta).ok_or_else(too_far)?;
            let end_line = line.checked_add(lines).ok_or_else(too_far)?;
            if end_column & GAP != 0 {
                region.kind = Kind::Gap;
                end_column &= !GAP;
            }
            if column == 0 && end_column == 0 {
                (column, end_column) = (1, END_OF_LINE);
            }
            region.start = (line, column);
            region.end = (end_line, end_column);
            if region.start > region.end {
                return Err(reader.error(format!(
                    "a region from {line}:{column} to {end_line}:{end_column}"
                )));
            }
            self.regions.push(region);
        }
        Ok(())
    }

    /// What comes before lines and columns.
    fn region(&self, reader: &mut Reader<'_>, head: u32) -> Result<Mapped, ParseError> {
        let expressions = self.expressions.len() as u64;
        let mut region = Mapped {
            counter: Counter::ZERO,
            otherwise: Counter::ZERO,
            start: (0, 0),
            end: (0, 0),
            file: 0,
            expanded: 0,
            kind: Kind::Code,
            mcdc: Mcdc::None,
        };
        if head & 3 != 0 {
            region.counter = checked(reader, head, expressions)?;
            return Ok(region);
        }
        if head & 4 != 0 {
            region.kind = Kind::Expansion;
            region.expanded = head >> 3;
            if region.expanded as usize >= self.files.len() {
                return Err(reader.error(format!(
                    "an expansion of file {} of {}",
                    region.expanded,
                    self.files.len()
                )));
            }
            return Ok(region);
        }
        match head >> 3 {
            0 => {}
            2 => region.kind = Kind::Skipped,
            4 => {
                region.kind = Kind::Branch;
                region.counter = operand(reader, expressions)?;
                region.otherwise = operand(reader, expressions)?;
            }
            5 => {
                region.kind = Kind::Decision;
                region.mcdc = Mcdc::Decision {
                    bitmap: reader.uleb32("the bitmap of a decision")?,
                    conditions: condition(reader)? as u16,
                };
            }
            6 => {
                region.kind = Kind::McdcBranch;
                region.counter = operand(reader, expressions)?;
                region.otherwise = operand(reader, expressions)?;
                let (id, if_true, if_false) =
                    (condition(reader)?, condition(reader)?, condition(reader)?);
                if id == 0 {
                    return Err(reader.error("a condition without number"));
                }
                region.mcdc = Mcdc::Branch {
                    id: id - 1,
                    if_true: if_true - 1,
                    if_false: if_false - 1,
                };
            }
            kind => return Err(reader.error(format!("a region of the unknown kind {kind}"))),
        }
        Ok(region)
    }

    /// Gives expansions the counter of the first region of what they expand
    /// to, which may be an expansion itself. LLVM repeats passes over all
    /// regions until nothing changes; this follows each chain once.
    fn expand(&mut self, reader: &Reader<'_>) -> Result<(), ParseError> {
        for list in [&mut self.parents, &mut self.firsts] {
            list.clear();
            list.resize(self.files.len(), None);
        }
        for (index, region) in self.regions.iter().enumerate() {
            let index = index as u32;
            if let Some(first) = self.firsts.get_mut(region.file as usize) {
                first.get_or_insert(index);
            }
            if region.kind == Kind::Expansion
                && let Some(parent) = self.parents.get_mut(region.expanded as usize)
                && parent.replace(index).is_some()
            {
                return Err(reader.error(format!(
                    "two regions that expand to file {}",
                    region.expanded
                )));
            }
        }
        self.check_depth(reader)?;
        // Each file has one parent at most, so these are chains and circles.
        let mut chain = Vec::new();
        let mut done = vec![false; self.regions.len()];
        for start in 0..self.regions.len() {
            let mut at = start;
            let counter = loop {
                match (self.regions.get(at), done.get(at)) {
                    (Some(region), Some(false)) if region.kind == Kind::Expansion => {
                        if chain.len() > self.files.len() {
                            return Err(reader.error("expansions in a circle"));
                        }
                        chain.push(at);
                        match self.firsts.get(region.expanded as usize) {
                            Some(Some(first)) => at = *first as usize,
                            _ => break Counter::ZERO,
                        }
                    }
                    (Some(region), _) => break region.counter,
                    (None, _) => break Counter::ZERO,
                }
            };
            for at in chain.drain(..) {
                if let (Some(region), Some(done)) = (self.regions.get_mut(at), done.get_mut(at)) {
                    region.counter = counter;
                    *done = true;
                }
            }
        }
        Ok(())
    }
}

impl Regions {
    /// How deep expansions lie in each other. Files in a circle are not
    /// reached from a function's first file, and have no depth.
    fn check_depth(&self, reader: &Reader<'_>) -> Result<(), ParseError> {
        let mut depth: Vec<usize> = vec![0; self.files.len()];
        let mut chain = Vec::new();
        for start in 0..self.files.len() {
            let mut file = start;
            while depth.get(file) == Some(&0) && chain.len() <= self.files.len() {
                chain.push(file);
                let parent = self.parents.get(file).copied().flatten();
                let region = parent.and_then(|index| self.regions.get(index as usize));
                let Some(region) = region else {
                    break;
                };
                file = region.file as usize;
            }
            let mut above = depth.get(file).copied().unwrap_or_default();
            for file in chain.drain(..).rev() {
                above += 1;
                if let Some(depth) = depth.get_mut(file) {
                    *depth = above;
                }
                if above > MAX_DEPTH {
                    let what = format!("expansions within expansions, over {MAX_DEPTH} deep");
                    return Err(reader.error_of(crate::error::Kind::TooLarge, what));
                }
            }
        }
        Ok(())
    }
}

fn operand(reader: &mut Reader<'_>, expressions: u64) -> Result<Counter, ParseError> {
    let value = reader.uleb32("a counter")?;
    checked(reader, value, expressions)
}

fn checked(reader: &Reader<'_>, value: u32, expressions: u64) -> Result<Counter, ParseError> {
    if value & 2 != 0 && u64::from(value >> 2) >= expressions {
        return Err(reader.error(format!("expression {} of {expressions}", value >> 2)));
    }
    Ok(Counter(value))
}

fn condition(reader: &mut Reader<'_>) -> Result<i16, ParseError> {
    let number = reader.uleb32("a condition")?;
    i16::try_from(number).map_err(|_| reader.error(format!("condition {number}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Regions, String> {
        let mut regions = Regions::default();
        regions.decode(bytes, 4).map_err(|error| error.what)?;
        Ok(regions)
    }

    #[test]
    fn a_function_of_rust_is_decoded() {
        // One file (2), one expression (counter 0 minus 1), three regions.
        let bytes = [
            1, 2, 1, 1, 5, 3, 1, 10, 1, 2, 3, 2, 1, 5, 0, 9, 0, 2, 0, 0, 0,
        ];
        let regions = decode(&bytes).unwrap();
        assert_eq!(regions.files, [2]);
        let found: Vec<_> = regions
            .regions
            .iter()
            .map(|r| (r.counter.term(), r.start, r.end, r.kind))
            .collect();
        assert_eq!(
            found,
            [
                (Term::Counter(0), (10, 1), (12, 3), Kind::Code),
                (Term::Difference(0), (11, 5), (11, 9), Kind::Code),
                // No columns: the whole line.
                (Term::Zero, (13, 1), (13, u32::MAX), Kind::Code),
            ]
        );
    }

    #[test]
    fn expansions_take_the_counter_of_what_they_expand_to() {
        // File 0 expands 1, which begins with an expansion of 2.
        let bytes = [
            3, 0, 1, 2, 0, // files, no expressions
            2, 1, 1, 1, 9, 9, 0xc, 1, 1, 0, 2, // counter 0; expansion of 1
            1, 0x14, 1, 1, 0, 2, // expansion of 2
            1, 0x1d, 1, 1, 0, 2, // counter 7
        ];
        let regions = decode(&bytes).unwrap();
        let terms: Vec<_> = regions.regions.iter().map(|r| r.counter.term()).collect();
        let seven = Term::Counter(7);
        assert_eq!(terms, [Term::Counter(0), seven, seven, seven]);
    }

    #[test]
    fn expansions_in_a_circle_are_refused() {
        let circle = [3, 0, 1, 2, 0, 0, 1, 0x14, 1, 1, 0, 2, 1, 0xc, 1, 1, 0, 2];
        assert_eq!(decode(&circle).unwrap_err(), "expansions in a circle");
        let twice = [2, 0, 1, 0, 2, 0xc, 1, 1, 0, 2, 0xc, 1, 1, 0, 2, 0];
        assert_eq!(
            decode(&twice).unwrap_err(),
            "two regions that expand to file 1"
        );
    }

    #[test]
    fn long_chains_of_expansions_take_linear_time() {
        // LLVM takes a pass for each link of a chain.
        let (files, chain) = (30_000u32, 1_000);
        let uleb = |mut value: u32, out: &mut Vec<u8>| loop {
            let more = value > 0x7f;
            out.push((value & 0x7f) as u8 | if more { 0x80 } else { 0 });
            value >>= 7;
            if !more {
                break;
            }
        };
        let mut bytes = Vec::new();
        uleb(files, &mut bytes);
        bytes.extend((0..files).map(|_| 0));
        bytes.push(0);
        for file in 0..files {
            bytes.push(1);
            let next = file + 1;
            let ends = next % chain == 0;
            uleb(if ends { 0x1d } else { next << 3 | 4 }, &mut bytes);
            bytes.extend([1, 1, 0, 2]);
        }
        let began = std::time::Instant::now();
        let regions = decode(&bytes).unwrap();
        assert!(
            regions
                .regions
                .iter()
                .all(|r| r.counter.term() == Term::Counter(7))
        );
        assert!(began.elapsed().as_secs() < 5);
    }

    #[test]
    fn chains_of_expansions_have_an_end() {
        let files = 2_000u16;
        let uleb = |value: u16| [(value & 0x7f) as u8 | 0x80, (value >> 7) as u8];
        let mut bytes = uleb(files).to_vec();
        bytes.extend((0..files).map(|_| 0));
        bytes.push(0);
        for next in 1..files {
            bytes.push(1);
            bytes.extend(uleb(next << 3 | 4));
            bytes.extend([1, 1, 0, 2]);
        }
        bytes.push(0);
        assert_eq!(
            decode(&bytes).unwrap_err(),
            "expansions within expansions, over 1024 deep"
        );
    }

    #[test]
    fn claims_that_cannot_be_are_refused() {
        for (bytes, what) in [
            (&[9, 0][..], "the number of files claims 9, the limit is 1"),
            (&[1, 4, 0, 0], "file 4 of 4"),
            (&[1, 0, 1, 6, 0, 0], "expression 1 of 1"),
            (&[1, 0, 0, 1, 6, 1, 1, 1, 1], "expression 1 of 0"),
            (
                &[1, 0, 0, 1, 0x2c, 1, 1, 0, 2],
                "an expansion of file 5 of 1",
            ),
            (
                &[1, 0, 0, 1, 0x38, 1, 1, 0, 2],
                "a region of the unknown kind 7",
            ),
            (&[1, 0, 0, 1, 1, 1, 5, 0, 4], "a region from 1:5 to 1:4"),
        ] {
            assert_eq!(decode(bytes).unwrap_err(), what, "{bytes:?}");
        }
    }

    #[test]
    fn dummies_are_told() {
        assert!(is_dummy(0, &[1, 3, 0, 1, 0, 1, 1, 0, 2]).unwrap());
        assert!(!is_dummy(9, &[1, 3, 0, 1, 0, 1, 1, 0, 2]).unwrap());
        assert!(!is_dummy(0, &[1, 3, 0, 1, 1, 1, 1, 0, 2]).unwrap());
        assert!(!is_dummy(0, &[1, 3, 0, 2, 0, 1, 1, 0, 2]).unwrap());
        assert!(is_dummy(0, &[1]).is_err());
    }
}
