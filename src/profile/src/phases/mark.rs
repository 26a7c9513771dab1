//! The file of a mark: what happened, and what each process counted since the
//! mark before. Nothing of it is a copy of evidence; with the evidence of the
//! run it says when the counts came.
//!
//! | size | field | checked |
//! |---|---|---|
//! | 8 | magic `00 "pcphase"` | equal |
//! | 4 | version, little endian | 1 |
//! | | number of the mark, from 1; milliseconds since the suite was started | |
//! | | number of events, then each: | no more than bytes |
//! | | what (0 start, 1 end, 2 ran), kind (0 test, 1 phase), who said so (0 call, 1 output) | known |
//! | | name; of a start: namespace, empty for none; of what ran: number of the mark it started at | |
//! | | number of files, then each: | no more than bytes |
//! | | path below the folder of evidence | |
//! | | shape: 1 LLVM raw profile, or 2 Go and 16 bytes of the hash of its meta-data | known |
//! | | number of places: counters of all parts of the profile, units of the program | within limits |
//! | | number of counts, then each: places between it and the one before; count | within the places, not 0 |
//! | 8 | FNV-1a of all bytes before, 64 bits, little endian | equal |
//!
//! Numbers without a size are ULEB128, texts a length and UTF-8. A name has at
//! most 4 KiB.

use crate::Limits;
use crate::bytes::{Endian, Reader, hex};
use crate::error::{Kind as Wrong, ParseError};
use crate::go::fnv::fnv64;
use crate::go::push_uleb;
use crate::llvm::profile::MAX_PLAUSIBLE;

use super::{By, Counts, Event, Kind, What};

const MAGIC: [u8; 8] = *b"\0pcphase";
const VERSION: u32 = 1;
const CHECKSUM: usize = 8;

/// A name or a path is no longer.
pub const MAX_TEXT: usize = 4096;

/// One mark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// From 1, one after the other.
    pub number: u32,
    /// Milliseconds since the suite was started.
    pub at: u64,
    /// What happened, in this order.
    pub events: Vec<Event>,
    /// What was counted since the mark before; files without a change are left
    /// out.
    pub files: Vec<FileDelta>,
}

/// What a process counted in one of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDelta {
    /// Below the folder of evidence, `/`-separated.
    pub path: String,
    /// What was added.
    pub delta: Delta,
}

/// Counts that were added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// What the places are.
    pub shape: Shape,
    /// How many places there are.
    pub places: u32,
    /// Place and count, ascending, none 0.
    pub counts: Counts,
}

/// What the places of counts are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Counters of a raw profile, through all its parts.
    Llvm,
    /// Units of a Go program, in the order of its meta-data.
    Go {
        /// Hash of the meta-data, hex.
        hash: String,
    },
}

impl Mark {
    /// The bytes of its file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        push_uleb(&mut out, u64::from(self.number));
        push_uleb(&mut out, self.at);
        push_uleb(&mut out, self.events.len() as u64);
        for event in &self.events {
            let what = match event.what {
                What::Start { .. } => 0,
                What::End => 1,
                What::Ran { .. } => 2,
            };
            out.extend([what, event.kind as u8, event.by as u8]);
            push_text(&mut out, &event.name);
            match &event.what {
                What::Start { namespace } => {
                    push_text(&mut out, namespace.as_deref().unwrap_or_default());
                }
                What::End => {}
                What::Ran { since } => push_uleb(&mut out, u64::from(*since)),
            }
        }
        push_uleb(&mut out, self.files.len() as u64);
        for FileDelta { path, delta } in &self.files {
            push_text(&mut out, path);
            match &delta.shape {
                Shape::Llvm => out.push(1),
                Shape::Go { hash } => {
                    out.push(2);
                    let hash = u128::from_str_radix(hash, 16).unwrap_or(0);
                    out.extend_from_slice(&hash.to_be_bytes());
                }
            }
            push_uleb(&mut out, u64::from(delta.places));
            push_uleb(&mut out, delta.counts.len() as u64);
            let mut next = 0;
            for (place, count) in &delta.counts {
                push_uleb(&mut out, u64::from(place.saturating_sub(next)));
                push_uleb(&mut out, *count);
                next = place.saturating_add(1);
            }
        }
        let sum = fnv64(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads what [`Mark::to_bytes`] wrote.
    ///
    /// # Errors
    /// Says what the bytes are not, and where.
    pub fn read(bytes: &[u8], limits: &Limits) -> Result<Mark, ParseError> {
        if bytes.is_empty() {
            return Err(ParseError::empty("the mark has no content"));
        }
        let mut reader = Reader::new(bytes, Endian::Little);
        if reader.take(8, "the magic")? != MAGIC {
            return Err(reader.error("no magic of a mark of podcov"));
        }
        let version = reader.u32("the version")?;
        if version != VERSION {
            let what = format!("version {version} of a mark is not known, {VERSION} is");
            return Err(reader.error_of(Wrong::Unsupported, what));
        }
        let end = bytes.len().saturating_sub(CHECKSUM);
        let Some((content, sum)) = bytes.split_last_chunk::<CHECKSUM>() else {
            return Err(reader.error_of(Wrong::Truncated, "expected a checksum"));
        };
        if fnv64(content) != u64::from_le_bytes(*sum) {
            return Err(reader.error("the mark does not fit its checksum"));
        }
        let mut reader = reader.between(reader.at(), end);
        let in_whole = |error: ParseError| ParseError {
            len: bytes.len() as u64,
            ..error
        };
        let mark = read(&mut reader, limits).map_err(in_whole)?;
        match reader.left() {
            0 => Ok(mark),
            _ => Err(in_whole(reader.error("bytes behind the last file"))),
        }
    }
}

fn read(reader: &mut Reader<'_>, limits: &Limits) -> Result<Mark, ParseError> {
    let mut mark = Mark {
        number: reader.uleb32("the number of the mark")?,
        at: reader.uleb("the time of the mark")?,
        ..Mark::default()
    };
    for _ in 0..count(reader, "events")? {
        mark.events.push(read_event(reader)?);
    }
    for _ in 0..count(reader, "files")? {
        mark.files.push(read_file(reader, limits)?);
    }
    Ok(mark)
}

fn read_event(reader: &mut Reader<'_>) -> Result<Event, ParseError> {
    let what = reader.u8("what happened")?;
    let kind = match reader.u8("the kind of a phase")? {
        0 => Kind::Test,
        1 => Kind::Phase,
        other => return Err(reader.error(format!("kind {other} of a phase is not known"))),
    };
    let by = match reader.u8("who said so")? {
        0 => By::Call,
        1 => By::Output,
        other => return Err(reader.error(format!("{other} is nobody who could say so"))),
    };
    let name = read_text(reader, "the name of a phase")?;
    let what = match what {
        0 => {
            let namespace = read_text(reader, "a namespace")?;
            let namespace = Some(namespace).filter(|name| !name.is_empty());
            What::Start { namespace }
        }
        1 => What::End,
        2 => {
            let since = reader.uleb32("the number of a mark")?;
            What::Ran { since }
        }
        other => return Err(reader.error(format!("event {other} is not known"))),
    };
    Ok(Event {
        kind,
        by,
        name,
        what,
    })
}

fn read_file(reader: &mut Reader<'_>, limits: &Limits) -> Result<FileDelta, ParseError> {
    let path = read_text(reader, "a path")?;
    let shape = match reader.u8("the shape of counts")? {
        1 => Shape::Llvm,
        2 => Shape::Go {
            hash: hex(reader.take(16, "a hash")?),
        },
        other => return Err(reader.error(format!("shape {other} of counts is not known"))),
    };
    let places = reader.uleb32("the number of places")?;
    reader.within(u64::from(places), limits.counters, "the number of places")?;
    let all = count(reader, "counts")?;
    // Each has two bytes at least.
    let mut counts = Counts::with_capacity(all.min(reader.left() / 2));
    let mut next = 0u32;
    for _ in 0..all {
        let gap = reader.uleb32("a place")?;
        let place = next.checked_add(gap).filter(|place| *place < places);
        let Some(place) = place else {
            return Err(reader.error(format!("a count behind the last of {places} places")));
        };
        let count = reader.uleb("a count")?;
        if count == 0 || count > MAX_PLAUSIBLE {
            return Err(reader.error(format!("{count} is no count that was added")));
        }
        counts.push((place, count));
        next = place + 1;
    }
    let delta = Delta {
        shape,
        places,
        counts,
    };
    Ok(FileDelta { path, delta })
}

/// How many follow, of which each has a byte at least.
fn count(reader: &mut Reader<'_>, what: &str) -> Result<usize, ParseError> {
    let all = reader.uleb(what)?;
    match usize::try_from(all)
        .ok()
        .filter(|all| *all <= reader.left())
    {
        Some(all) => Ok(all),
        None => {
            let text = format!("{all} {what} are claimed in {} bytes", reader.left());
            Err(reader.error_of(Wrong::Truncated, text))
        }
    }
}

fn read_text(reader: &mut Reader<'_>, what: &str) -> Result<String, ParseError> {
    let length = reader.uleb(what)?;
    reader.within(length, MAX_TEXT as u64, what)?;
    let bytes = reader.take(length, what)?;
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(reader.error(format!("{what} is not UTF-8"))),
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    push_uleb(out, end as u64);
    out.extend_from_slice(&text.as_bytes()[..end]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        let event = |name: &str, what| Event {
            kind: Kind::Test,
            by: By::Output,
            name: name.to_owned(),
            what,
        };
        let namespace = Some("n".to_owned());
        let file = |path: &str, shape, counts: &[(u32, u64)]| FileDelta {
            path: path.to_owned(),
            delta: Delta {
                shape,
                places: 300,
                counts: counts.to_vec(),
            },
        };
        let hash = "365db558e60f45db96600bc1c17ccd6e".to_owned();
        Mark {
            number: 7,
            at: 123_456,
            events: vec![
                event("a", What::Start { namespace }),
                event("b", What::End),
                event("c", What::Ran { since: 3 }),
            ],
            files: vec![
                file(
                    "n/p_u/c/i/a.profraw",
                    Shape::Llvm,
                    &[(0, 1), (1, 1 << 56), (299, 7)],
                ),
                file("n/p_u/c/i/live", Shape::Go { hash }, &[]),
            ],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for mark in [mark(), Mark::default()] {
            let read = Mark::read(&mark.to_bytes(), &Limits::default());
            assert_eq!(read, Ok(mark));
        }
    }

    #[test]
    fn no_byte_can_be_changed_and_none_left_out() {
        let bytes = mark().to_bytes();
        for at in 0..bytes.len() {
            assert!(
                Mark::read(&bytes[..at], &Limits::default()).is_err(),
                "{at}"
            );
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(Mark::read(&changed, &Limits::default()).is_err(), "{at}");
        }
    }

    fn refused(mut bytes: Vec<u8>, limits: &Limits) -> String {
        let sum = fnv64(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        Mark::read(&bytes, limits).unwrap_err().to_string()
    }

    #[test]
    fn what_is_claimed_has_to_be_there() {
        let limits = Limits::default();
        let head = [&MAGIC[..], &[1, 0, 0, 0], &[1, 0]].concat();
        let with = |rest: &[u8]| [&head, rest].concat();
        for (rest, said) in [
            (
                &[0xff, 0xff, 0xff, 0xff, 0x0f][..],
                "4294967295 events are claimed",
            ),
            (
                &[0, 1, 1, b'p', 1, 5, 1, 5, 1],
                "behind the last of 5 places",
            ),
            (&[0, 1, 1, b'p', 1, 5, 1, 0, 0], "0 is no count"),
            (&[0, 1, 1, b'p', 3], "shape 3"),
            (&[1, 9, 0, 0, 0], "event 9"),
            (&[0, 0, 0], "bytes behind the last file"),
        ] {
            let text = refused(with(rest), &limits);
            assert!(text.contains(said), "{text}");
        }
        let few = Limits {
            counters: 4,
            ..limits
        };
        let text = refused(with(&[0, 1, 1, b'p', 1, 5, 0]), &few);
        assert!(text.contains("the limit is 4"), "{text}");
    }
}
