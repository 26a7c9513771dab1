//! The crate's entry points for bytes from outside, by the names of their fuzz
//! targets. The fuzz targets, the sweeps and the tests of hostile files all go
//! through this list.
//!
//! Each reads; where reading worked, it also asks what has to be true of
//! anything that was read.

use podcov_profile::go::{files, text};
use podcov_profile::llvm::{indexed, raw};
use podcov_profile::{classify, elf};

/// Name of the target, and what it does with bytes.
pub type Entry = (&'static str, fn(&[u8]));

/// Every entry point.
pub const ENTRIES: &[Entry] = &[
    ("raw", raw_profile),
    ("indexed", indexed_profile),
    ("program", program),
    ("covmeta", covmeta),
    ("covcounters", covcounters),
    ("go-text", go_text),
    ("classify", classified),
];

fn raw_profile(bytes: &[u8]) {
    let _ = raw::read(bytes);
}

fn indexed_profile(bytes: &[u8]) {
    let _ = indexed::read(bytes);
}

fn program(bytes: &[u8]) {
    let _ = elf::read(bytes);
}

fn covmeta(bytes: &[u8]) {
    let _ = files::read_meta(bytes);
}

fn covcounters(bytes: &[u8]) {
    let _ = files::read_counters(bytes);
}

fn go_text(bytes: &[u8]) {
    let Ok(profile) = text::Profile::parse(bytes) else {
        return;
    };
    let written = profile.to_text();
    let again = text::Profile::parse(written.as_bytes()).expect("what was written can be read");
    assert_eq!(again.to_text(), written, "writing is stable");
}

/// Under the names that make a difference.
fn classified(bytes: &[u8]) {
    for name in [
        "x",
        "a.profraw",
        "a.profdata",
        "c.out",
        "covmeta.x",
        "tmp.covcounters.y",
    ] {
        let _ = classify(name, bytes);
    }
}
