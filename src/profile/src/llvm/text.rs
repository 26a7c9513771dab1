//! LLVM text profiles, as `llvm-profdata merge -text` writes them.
//!
//! Empty lines and lines that begin with `#` are passed over. The rest is
//!
//! | line | |
//! |---|---|
//! | `:ir`, `:csir`, `:fe`, `:entry_first` and others | variant flags, at the start only |
//! | name | of a function |
//! | hash | of the function; decimal, or with `0x`, `0b`, `0o` |
//! | number of counters | decimal, not 0 |
//! | counters | decimal, one a line |
//! | `$` and a number of bytes | if the function has a bitmap |
//! | bytes | one a line, decimal or as hashes |
//! | number of kinds of values | if the function has values |
//! | kind, number of sites, for each site number of values and values | passed over |
//!
//! Source: `TextInstrProfReader` in LLVM 22's `ProfileData/InstrProfReader.h`
//! and what `llvm-profdata-22` reads and writes.

use std::collections::BTreeMap;
use std::io::Write;

use crate::Limits;
use crate::error::{Kind, ParseError};
use crate::llvm::names;
use crate::llvm::profile::{Counts, FunctionId, MAX_COUNT, Profile, ShapeConflict, Variant};

/// What a function takes in memory, whatever its size in the file: a place in
/// three collections, and two allocations.
const FUNCTION: u64 = 256;

/// Flags, and the lines that stand for them.
const FLAGS: [(&str, u64); 7] = [
    ("fe", 0),
    ("ir", Variant::IR),
    ("csir", Variant::IR | Variant::CONTEXT),
    ("entry_first", Variant::ENTRY_FIRST),
    ("instrument_loop_entries", Variant::LOOP_ENTRIES),
    ("single_byte_coverage", Variant::BYTE_COVERAGE),
    ("temporal_prof_traces", Variant::TEMPORAL),
];

/// Whether bytes begin like a text profile: with flags, or with a name and
/// numbers.
pub fn is_text(bytes: &[u8]) -> bool {
    let mut lines = Lines { bytes, at: 0 };
    match lines.next() {
        Some((_, line)) if line.starts_with(b":") => {
            let flag = |name: &str| line[1..].eq_ignore_ascii_case(name.as_bytes());
            flag("not_entry_first") || FLAGS.iter().any(|(name, _)| flag(name))
        }
        Some(_) => {
            let hash = lines.next().and_then(|(_, line)| number(line));
            let counters = lines.next().and_then(|(_, line)| decimal(line));
            hash.is_some() && counters.is_some_and(|number| number > 0)
        }
        None => false,
    }
}

/// Reads a text profile: counts, names and variant flags. What it holds of
/// values and time is passed over. Counters of a function that is there twice
/// are added; where their shapes differ, that is told.
///
/// # Errors
/// Where a line is not what has to be there, and for single-byte coverage.
///
/// ```
/// use podcov_profile::{Limits, llvm::text};
/// let (profile, _) = text::read(b"main\n24\n2\n7\n0\n", &Limits::default()).unwrap();
/// let (function, counts) = profile.functions.first_key_value().unwrap();
/// assert_eq!((function.hash, &*counts.counters), (24, &[7, 0][..]));
/// ```
pub fn read(bytes: &[u8], limits: &Limits) -> Result<(Profile, Vec<ShapeConflict>), ParseError> {
    let mut lines = Lines { bytes, at: 0 };
    let mut profile = Profile {
        variants: flags(&mut lines)?,
        ..Profile::default()
    };
    let most = ((64 << 20) + 8 * bytes.len() as u64) / FUNCTION;
    let most = most.min(limits.functions);
    let mut functions = Vec::new();
    let mut known = BTreeMap::new();
    while let Some((at, name)) = lines.next() {
        if functions.len() as u64 == most {
            let text = format!(
                "more functions than the limit, which is {most} for {} bytes",
                bytes.len()
            );
            return Err(lines.error(Kind::TooLarge, at, text));
        }
        let hash = names::hash(name);
        known.entry(hash).or_insert_with(|| Box::from(name));
        let function = FunctionId {
            name: hash,
            hash: lines.number("the hash of a function", number)?,
        };
        let counts = counts(&mut lines)?;
        values(&mut lines)?;
        functions.push((function, counts));
    }
    profile.names = known;
    let conflicts = profile.extend(functions);
    Ok((profile, conflicts))
}

fn flags(lines: &mut Lines<'_>) -> Result<u64, ParseError> {
    let mut variants = 0;
    while let Some((at, line)) = lines.peek().filter(|(_, line)| line.starts_with(b":")) {
        lines.next();
        if line.eq_ignore_ascii_case(b":not_entry_first") {
            variants &= !Variant::ENTRY_FIRST;
            continue;
        }
        let flag = FLAGS
            .iter()
            .find(|(name, _)| line[1..].eq_ignore_ascii_case(name.as_bytes()));
        let Some((_, flag)) = flag else {
            let text = format!("`{}` is no flag of a text profile", shown(line));
            return Err(lines.error(Kind::Malformed, at, text));
        };
        match *flag {
            Variant::BYTE_COVERAGE => {
                let text = "the text profile is single-byte coverage, which podcov does not read";
                return Err(lines.error(Kind::Unsupported, at, text));
            }
            Variant::TEMPORAL => {
                let traces = lines.number("the number of traces", number)?;
                lines.number("the size of the stream of traces", number)?;
                for _ in 0..traces {
                    lines.number("the weight of a trace", number)?;
                    lines.expect("the functions of a trace")?;
                }
            }
            flag => variants |= flag,
        }
    }
    Ok(variants)
}

fn counts(lines: &mut Lines<'_>) -> Result<Counts, ParseError> {
    let mut counts = Counts::default();
    let at = lines.at;
    let counters = lines.number("the number of counters", decimal)?;
    if counters == 0 {
        return Err(lines.error(Kind::Malformed, at, "a function without counters"));
    }
    for _ in 0..counters {
        let count = lines.number("a counter", decimal)?;
        counts.counters.push(count.min(MAX_COUNT));
    }
    if let Some((at, line)) = lines.peek().filter(|(_, line)| line.starts_with(b"$")) {
        lines.next();
        let bytes = number(line[1..].trim_ascii()).ok_or_else(|| {
            let text = format!("the number of bytes of a bitmap is `{}`", shown(line));
            lines.error(Kind::Malformed, at, text)
        })?;
        for _ in 0..bytes {
            let byte = |line: &[u8]| number(line).filter(|byte| *byte < 256);
            let byte = lines.number("a byte of a bitmap", byte)?;
            counts.bitmap.push(byte as u8);
        }
    }
    counts.counters.shrink_to_fit();
    counts.bitmap.shrink_to_fit();
    Ok(counts)
}

/// Passes over the values of a function. A function whose name is a number
/// cannot be told from them, and is not by LLVM.
fn values(lines: &mut Lines<'_>) -> Result<(), ParseError> {
    let Some((at, kinds)) = lines
        .peek()
        .and_then(|(at, line)| Some((at, decimal(line)?)))
    else {
        return Ok(());
    };
    lines.next();
    if !(1..=3).contains(&kinds) {
        let text = format!("{kinds} kinds of values, 1 to 3 can be");
        return Err(lines.error(Kind::Malformed, at, text));
    }
    for _ in 0..kinds {
        let kind = |line: &[u8]| decimal(line).filter(|kind| *kind <= 2);
        lines.number("a kind of values", kind)?;
        let sites = lines.number("the number of sites", decimal)?;
        for _ in 0..sites {
            let values = lines.number("the number of values", decimal)?;
            for _ in 0..values {
                let count = |line: &[u8]| decimal(line.rsplit(|byte| *byte == b':').next()?);
                lines.number("a value and its count", count)?;
            }
        }
    }
    Ok(())
}

/// A text profile, and what could not be written into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file.
    pub bytes: Vec<u8>,
    /// Functions whose names are not known, or cannot be a line of the file.
    pub unnamed: Vec<FunctionId>,
}

/// Writes a text profile, its functions in the order of names and hashes: the
/// bytes that `llvm-profdata merge -text` writes, but for values.
pub fn write(profile: &Profile) -> Written {
    let mut unnamed = Vec::new();
    let mut functions = Vec::new();
    for (function, counts) in &profile.functions {
        match profile.names.get(&function.name) {
            Some(name) if is_line(name) => functions.push((&**name, function.hash, counts)),
            _ => unnamed.push(*function),
        }
    }
    functions.sort_unstable_by_key(|(name, hash, _)| (*name, *hash));
    let mut out = Vec::new();
    let flag = |variant| profile.variants & variant != 0;
    if flag(Variant::CONTEXT) {
        out.extend(b"# CSIR level Instrumentation Flag\n:csir\n");
    } else if flag(Variant::IR) {
        out.extend(b"# IR level Instrumentation Flag\n:ir\n");
    }
    if flag(Variant::ENTRY_FIRST) {
        out.extend(b"# Always instrument the function entry block\n:entry_first\n");
    }
    if flag(Variant::LOOP_ENTRIES) {
        out.extend(b"# Always instrument the loop entry blocks\n:instrument_loop_entries\n");
    }
    for (name, hash, counts) in functions {
        out.extend(name);
        write_counts(&mut out, hash, counts);
    }
    Written {
        bytes: out,
        unnamed,
    }
}

fn write_counts(out: &mut Vec<u8>, hash: u64, counts: &Counts) {
    // Nothing goes wrong when writing to memory.
    let number = counts.counters.len();
    let _ = write!(
        out,
        "\n# Func Hash:\n{hash}\n# Num Counters:\n{number}\n# Counter Values:\n"
    );
    for count in &counts.counters {
        let _ = writeln!(out, "{count}");
    }
    if !counts.bitmap.is_empty() {
        let number = counts.bitmap.len();
        let _ = write!(
            out,
            "# Num Bitmap Bytes:\n${number}\n# Bitmap Byte Values:\n"
        );
        for byte in &counts.bitmap {
            let _ = writeln!(out, "{byte:#x}");
        }
        out.push(b'\n');
    }
    out.push(b'\n');
}

/// Whether a name can be told from everything else that a line may be; one
/// that is a number is taken for the values of the function before it.
fn is_line(name: &[u8]) -> bool {
    !name.is_empty()
        && decimal(name).is_none()
        && !name.starts_with(b"$")
        && !name.starts_with(b"#")
        && !name.starts_with(b":")
        && !name.contains(&b'\n')
        && !name.ends_with(b"\r")
}

/// The lines that are neither empty nor comments, with their positions.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    fn peek(&self) -> Option<(usize, &'a [u8])> {
        self.find().map(|(at, line, _)| (at, line))
    }

    fn next(&mut self) -> Option<(usize, &'a [u8])> {
        let (at, line, next) = self.find()?;
        self.at = next;
        Some((at, line))
    }

    fn find(&self) -> Option<(usize, &'a [u8], usize)> {
        let mut at = self.at;
        loop {
            let rest = self.bytes.get(at..).filter(|rest| !rest.is_empty())?;
            let len = rest.iter().position(|byte| *byte == b'\n');
            let (line, next) = match len {
                Some(len) => (&rest[..len], at + len + 1),
                None => (rest, self.bytes.len()),
            };
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() && !line.starts_with(b"#") {
                return Some((at, line, next));
            }
            at = next;
        }
    }

    fn error(&self, kind: Kind, at: usize, what: impl Into<String>) -> ParseError {
        ParseError {
            kind,
            what: what.into(),
            offset: at as u64,
            len: self.bytes.len() as u64,
        }
    }

    fn expect(&mut self, what: &str) -> Result<(usize, &'a [u8]), ParseError> {
        self.next().ok_or_else(|| {
            let text = format!("expected {what}, found the end");
            self.error(Kind::Truncated, self.bytes.len(), text)
        })
    }

    fn number(
        &mut self,
        what: &str,
        read: impl Fn(&[u8]) -> Option<u64>,
    ) -> Result<u64, ParseError> {
        let (at, line) = self.expect(what)?;
        read(line).ok_or_else(|| {
            let text = format!("expected {what}, found `{}`", shown(line));
            self.error(Kind::Malformed, at, text)
        })
    }
}

/// The start of a line, for a message.
fn shown(line: &[u8]) -> String {
    let start = &line[..line.len().min(60)];
    String::from_utf8_lossy(start).escape_debug().to_string()
}

fn decimal(text: &[u8]) -> Option<u64> {
    digits(text, 10)
}

/// A number in the base that its first characters tell, as
/// `llvm::StringRef::getAsInteger` has it.
fn number(text: &[u8]) -> Option<u64> {
    match text {
        [b'0', b'x' | b'X', rest @ ..] => digits(rest, 16),
        [b'0', b'b' | b'B', rest @ ..] => digits(rest, 2),
        [b'0', b'o', rest @ ..] => digits(rest, 8),
        [b'0', rest @ ..] if rest.first().is_some_and(u8::is_ascii_digit) => digits(rest, 8),
        _ => digits(text, 10),
    }
}

fn digits(text: &[u8], base: u32) -> Option<u64> {
    // `from_str_radix` takes a sign.
    let text = std::str::from_utf8(text).ok()?;
    let is_number = text.starts_with(|first: char| first.is_digit(base));
    is_number
        .then(|| u64::from_str_radix(text, base).ok())
        .flatten()
}
