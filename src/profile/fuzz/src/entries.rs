//! The crate's entry points for bytes from outside, by the names of their fuzz
//! targets. The fuzz targets, the sweeps and the tests of hostile files all go
//! through this list.
//!
//! Each reads all there is; where that worked, it also asserts what has to be
//! true of anything that was read: it can be written and read again, and added
//! to itself.

use std::io::{ErrorKind, Write};

use podcov_profile::error::Kind;
use podcov_profile::go::counters::{CounterFile, Item};
use podcov_profile::go::live::Live;
use podcov_profile::go::meta::{Meta, Misfit, read_meta};
use podcov_profile::go::report::Report;
use podcov_profile::go::sum::{Refused, Sum};
use podcov_profile::go::text;
use podcov_profile::llvm::coverage::{Coverage, Evidence, Options};
use podcov_profile::llvm::json::JsonOptions;
use podcov_profile::llvm::lcov::LcovOptions;
use podcov_profile::llvm::mapping::{Mapping, Paths};
use podcov_profile::llvm::profile::Profile;
use podcov_profile::llvm::{indexed, names, object, raw, sum};
use podcov_profile::merge::Merge;
use podcov_profile::phases::{Mark, Phases};
use podcov_profile::store::Store;
use podcov_profile::{Limits, ParseError, classify, cobertura, elf, lcov, llvm_json};
use sha2::{Digest, Sha256};

/// What an entry point does with bytes.
pub type Read = fn(&[u8]) -> Result<(), ParseError>;

/// Every entry point, by name.
pub const ENTRIES: &[(&str, Read)] = &[
    ("classify", classified),
    ("cobertura", cobertura_report),
    ("covcounters", covcounters),
    ("covmeta", covmeta),
    ("go-text", go_text),
    ("indexed", indexed_profile),
    ("lcov", tracefile),
    ("live", live),
    ("llvm-json", llvm_export),
    ("llvm-text", llvm_text),
    ("mapping", mapping),
    ("names", names_blob),
    ("phases", phases),
    ("program", program),
    ("raw", raw_profile),
    ("store", stored),
];

/// The entry point of this name.
pub fn named(name: &str) -> Read {
    let entry = ENTRIES.iter().find(|entry| entry.0 == name);
    entry
        .unwrap_or_else(|| panic!("no entry point has the name {name}"))
        .1
}

/// The program that counters are read with.
const META: &[u8] =
    include_bytes!("../../tests/fixtures/go/covmeta.365db558e60f45db96600bc1c17ccd6e");
/// The program that runs.
const LIVE_META: &[u8] =
    include_bytes!("../../tests/fixtures/go-live/covmeta.8e5521eaa6050ffc4493d96397aa5e35");

fn meta(bytes: &[u8]) -> Meta {
    read_meta(bytes).expect("the fixture is sound")
}

fn raw_profile(bytes: &[u8]) -> Result<(), ParseError> {
    let limits = Limits::default();
    for part in raw::parts(bytes, &limits) {
        let part = part?;
        let (profile, conflicts) = part.profile(&limits)?;
        let records = part.records().count();
        assert!(
            profile.functions.len() <= records,
            "no more functions than records"
        );
        assert!(
            part.reached()
                .all(|(index, count)| { count > 0 && (index as usize) < part.counters() })
        );
        let mut sum = sum::Sum::new(&part)?;
        assert!(sum.fits(&part), "a profile fits itself");
        assert!(sum.add(&part));
        let (twice, _) = sum.into_profile(&limits)?;
        if conflicts.is_empty() {
            written_is_read(&profile);
            let keys = |profile: &Profile| profile.functions.keys().copied().collect::<Vec<_>>();
            assert_eq!(keys(&twice), keys(&profile));
        }
    }
    Ok(())
}

fn written_is_read(profile: &Profile) {
    let written = indexed::write(profile, false);
    if written.unnamed.is_empty() {
        let again = indexed::read(&written.bytes, &Limits::default());
        let again = again.expect("what was written can be read");
        assert_eq!(again.profile.functions, profile.functions);
    }
}

fn indexed_profile(bytes: &[u8]) -> Result<(), ParseError> {
    let read = indexed::read(bytes, &Limits::default())?;
    if read.conflicts.is_empty() {
        written_is_read(&read.profile);
    }
    Ok(())
}

fn llvm_text(bytes: &[u8]) -> Result<(), ParseError> {
    let limits = Limits::default();
    let (profile, conflicts) = podcov_profile::llvm::text::read(bytes, &limits)?;
    if conflicts.is_empty() {
        written_is_read(&profile);
        let written = podcov_profile::llvm::text::write(&profile);
        if written.unnamed.is_empty() {
            let again = podcov_profile::llvm::text::read(&written.bytes, &limits);
            let (again, _) = again.expect("what was written can be read");
            assert_eq!(again.functions, profile.functions);
        }
    }
    Ok(())
}

/// A program, library, archive or mapping file, to the last number that a
/// report of it has; nothing of it ran.
fn mapping(bytes: &[u8]) -> Result<(), ParseError> {
    let limits = Limits::default();
    for found in object::read(bytes, "the object", None, &limits)? {
        let mut file = Vec::new();
        found.to_mapping_file(&mut file).expect("memory takes it");
        let again = object::read(&*file, "the mapping file", None, &limits);
        let again = again.expect("what was written can be read");
        assert_eq!(again[0].covfun, found.covfun);
        let mapping = Mapping::read(&found, Paths::default(), &limits).map_err(|error| {
            // It counts from the start of the section that it names.
            assert!(error.offset <= error.len, "{error:?}");
            ParseError {
                offset: 0,
                len: bytes.len() as u64,
                ..error
            }
        })?;
        let profile = Profile::default();
        let evidence = [Evidence {
            mappings: &[&mapping],
            profile: &profile,
        }];
        let coverage =
            Coverage::new(&evidence, &Options::default()).map_err(|error| ParseError {
                offset: 0,
                len: bytes.len() as u64,
                ..error
            })?;
        // A region of a million lines is a few bytes of an input, and its
        // lines are all alike.
        let is_all = coverage.write_json(&JsonOptions::default(), Room(ENOUGH));
        let is_full = |error: std::io::Error| error.kind() == ErrorKind::StorageFull;
        assert!(is_all.map_or_else(is_full, |()| true));
        let is_all = coverage.write_lcov(&LcovOptions::default(), Room(ENOUGH));
        assert!(is_all.map_or_else(is_full, |()| true));
    }
    Ok(())
}

/// Of an export, this many bytes are written.
const ENOUGH: usize = 256 << 10;

/// Takes so many bytes, and no more.
struct Room(usize);

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = match self.0.checked_sub(bytes.len()) {
            Some(left) => left,
            None => return Err(ErrorKind::StorageFull.into()),
        };
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn stored(bytes: &[u8]) -> Result<(), ParseError> {
    let result = stored_of(bytes);
    if !podcov_profile::store::is_store(bytes) {
        return result;
    }
    // No change keeps the digest; give what is behind it a chance.
    let whole = &bytes[..bytes.len().saturating_sub(32)];
    let mut sound = whole.to_vec();
    sound.extend(Sha256::digest(whole));
    let _ = stored_of(&sound);
    result
}

fn stored_of(bytes: &[u8]) -> Result<(), ParseError> {
    let limits = Limits::default();
    let store = Store::read(bytes, &limits)?;
    let mut merge = Merge::default();
    merge.absorb_store(&store);
    assert!(merge.len() as u64 <= store.len());
    let pieces = merge.len();
    merge.absorb_store(&store);
    assert_eq!(merge.len(), pieces, "the same evidence counts once");
    let written = merge.write(Vec::new()).expect("memory takes it");
    Store::read(&written, &limits).expect("what was written can be read");
    let _ = merge.totals().finish();
    Ok(())
}

fn phases(bytes: &[u8]) -> Result<(), ParseError> {
    let result = mark_of(bytes);
    // Almost no change keeps the checksum; give what is behind it a chance.
    let whole = &bytes[..bytes.len().saturating_sub(8)];
    let sound = [whole, &fnv64(whole).to_le_bytes()].concat();
    let _ = mark_of(&sound);
    result
}

fn mark_of(bytes: &[u8]) -> Result<(), ParseError> {
    let limits = Limits::default();
    let mark = Mark::read(bytes, &limits)?;
    let again = Mark::read(&mark.to_bytes(), &limits);
    assert_eq!(again.as_ref(), Ok(&mark), "what was written can be read");
    let phases = Phases::new([&mark]);
    assert!(phases.all().len() <= mark.events.len());
    let _ = phases.keys(mark.number, "n", None);
    Ok(())
}

fn names_blob(bytes: &[u8]) -> Result<(), ParseError> {
    let limits = Limits::default();
    let mut seen = 0;
    names::each(bytes, &limits, |name| seen += name.len() as u64)?;
    assert!(seen <= limits.names);
    names::check(bytes, &limits).expect("what can be read passes the check");
    Ok(())
}

fn program(bytes: &[u8]) -> Result<(), ParseError> {
    elf::read(bytes)
        .map(|_| ())
        .map_err(|error| other(&error, bytes))
}

/// Errors of readers that do not say where.
fn other(error: &impl ToString, bytes: &[u8]) -> ParseError {
    ParseError {
        kind: if bytes.is_empty() {
            Kind::Empty
        } else {
            Kind::Malformed
        },
        what: error.to_string(),
        offset: 0,
        len: bytes.len() as u64,
    }
}

fn covmeta(bytes: &[u8]) -> Result<(), ParseError> {
    let meta = read_meta(bytes)?;
    let sum = Sum::new(&meta);
    let counters = sum.to_counters();
    let file = CounterFile::parse(&counters).expect("what was written can be read");
    assert_eq!(file.hash, meta.hash);
    if let Ok(report) = Report::new([&sum]) {
        let mut text = Vec::new();
        report.write_text(&mut text).expect("memory takes it");
        let _ = report.functions();
        assert_eq!(report.total().covered, 0, "nothing ran");
    }
    Ok(())
}

fn covcounters(bytes: &[u8]) -> Result<(), ParseError> {
    let file = CounterFile::parse(bytes)?;
    file.visit(|item| {
        if let Item::Segment(segment) = item {
            let _ = segment.command_line();
        }
        Ok::<(), ParseError>(())
    })?;
    let meta = meta(META);
    let mut sum = Sum::new(&meta);
    let before = sum.counts().to_vec();
    match sum.add_file(&file) {
        Ok(_) => {
            let mut again = Sum::new(&meta);
            again
                .add(&sum.to_counters())
                .expect("what was written can be read");
            assert_eq!(again.counts(), sum.counts());
        }
        Err(_) => assert_eq!(before, sum.counts(), "what is refused changes nothing"),
    }
    Ok(())
}

fn live(bytes: &[u8]) -> Result<(), ParseError> {
    let result = live_of(bytes);
    // Almost no change keeps the checksum; give what is behind it a chance.
    if let Some(sound) = with_checksum(bytes) {
        let _ = live_of(&sound);
    }
    result
}

fn live_of(bytes: &[u8]) -> Result<(), ParseError> {
    let meta = meta(LIVE_META);
    let live = Live::parse(bytes)?.of(&meta.hash);
    let seen = live.visit(&meta, |entry| {
        assert!(meta.function(entry.package, entry.function).is_some());
        Ok::<(), Misfit>(())
    });
    let mut sum = Sum::new(&meta);
    match (sum.add_live(&live), seen) {
        (Ok(added), Ok(seen)) => assert_eq!(added.functions, seen.functions),
        (Err(Refused::Misfit(_)), Err(_)) => {}
        (added, seen) => panic!("they disagree: {added:?}, {seen:?}"),
    }
    Ok(())
}

/// The same with the hash of our program and checksums that are right.
fn with_checksum(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    seal(&mut bytes, 0, 12)?;
    let second = u32::from_le_bytes(bytes.get(16..20)?.try_into().ok()?) as usize;
    if let Some(hash) = bytes.get_mut(second.checked_add(16)?..second.checked_add(32)?) {
        hash.copy_from_slice(LIVE_META.get(24..40)?);
        seal(&mut bytes, second, 8);
    }
    Some(bytes)
}

/// Puts a checksum at the end of the part at `from`, which says its length.
fn seal(bytes: &mut [u8], from: usize, length: usize) -> Option<()> {
    let part = bytes.get_mut(from..)?;
    let length = u32::from_le_bytes(part.get(length..length + 4)?.try_into().ok()?) as usize;
    let end = length.checked_sub(8)?;
    let fnv = fnv64(part.get(..end)?);
    part.get_mut(end..length)?
        .copy_from_slice(&u64::to_le_bytes(fnv));
    Some(())
}

/// FNV-1a, as the formats with a checksum use it.
fn fnv64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn go_text(bytes: &[u8]) -> Result<(), ParseError> {
    let profile = text::Profile::parse(bytes)?;
    let written = profile.to_text();
    let again = text::Profile::parse(written.as_bytes());
    assert_eq!(again.as_ref(), Ok(&profile), "what was written can be read");
    let mut twice = profile.clone();
    twice.merge(&profile).expect("a profile fits itself");
    Ok(())
}

fn tracefile(bytes: &[u8]) -> Result<(), ParseError> {
    let parsed = lcov::parse(bytes)?;
    let written = lcov::text(&parsed.coverage, "t");
    let again = lcov::parse(written.as_bytes()).expect("what was written can be read");
    // Control characters of names are written as pictures of them, once.
    let written = lcov::text(&again.coverage, "t");
    let again = lcov::parse(written.as_bytes()).expect("what was written can be read");
    assert_eq!(
        lcov::text(&again.coverage, "t"),
        written,
        "writing is stable"
    );
    Ok(())
}

fn cobertura_report(bytes: &[u8]) -> Result<(), ParseError> {
    let parsed = cobertura::parse(bytes)?;
    let written = cobertura::text(&parsed.coverage, &cobertura::Options::default());
    cobertura::parse(written.as_bytes()).expect("what was written can be read");
    Ok(())
}

fn llvm_export(bytes: &[u8]) -> Result<(), ParseError> {
    let parsed = llvm_json::parse(bytes)?;
    let lines = parsed.coverage.lines();
    assert!(lines.covered <= lines.total);
    Ok(())
}

/// Under the names that make a difference.
fn classified(bytes: &[u8]) -> Result<(), ParseError> {
    const NAMES: [&str; 4] = [
        "x.profraw",
        "covmeta.365db558e60f45db96600bc1c17ccd6e",
        "covcounters.365db558e60f45db96600bc1c17ccd6e.1.2",
        "coverage.out",
    ];
    let found = NAMES.map(|name| classify(name, bytes).problem);
    match found.into_iter().flatten().next() {
        Some(problem) => Err(other(&problem, bytes)),
        None => Ok(()),
    }
}
