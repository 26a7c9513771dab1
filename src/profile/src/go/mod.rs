//! Go's formats: what `go build -cover` and `go test -coverprofile` leave, and
//! what Go's own tools read.
//!
//! | module | what it knows |
//! |---|---|
//! | [`meta`] | `covmeta`: what could run |
//! | [`counters`] | `covcounters`: how often it ran |
//! | [`live`] | counters of a process that runs or was killed |
//! | [`sum`] | counters of one build, added up, and written again |
//! | [`combine`] | several builds as one, by what their functions are |
//! | [`report`] | what `go tool covdata` says of them |
//! | [`text`] | text profiles |
//! | [`lines`] | lines and functions |
//! | [`files`] | names of files, and which belong together |

pub mod combine;
pub mod counters;
pub mod files;
pub(crate) mod fnv;
pub mod lines;
pub mod live;
pub mod meta;
mod mode;
pub mod report;
pub mod sum;
pub mod text;

/// The one version of `covmeta` and `covcounters` that there is
/// (`MetaFileVersion`, `CounterFileVersion` in `internal/coverage/defs.go`,
/// Go 1.20 to 1.26).
pub(crate) const VERSION: u32 = 1;

/// Appends an unsigned LEB128 number, as short as it can be.
pub(crate) fn push_uleb(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a table of strings: how many, then length and bytes of each.
pub(crate) fn push_strings<'s>(out: &mut Vec<u8>, strings: impl ExactSizeIterator<Item = &'s str>) {
    push_uleb(out, strings.len() as u64);
    for text in strings {
        push_uleb(out, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
    }
}
