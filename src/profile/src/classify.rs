//! What a file of evidence is, by its content first and its name second.

use crate::error::{Kind, ParseError};
use crate::go::counters::CounterFile;
use crate::go::live::{self, Live};
use crate::go::{files, text};
use crate::ledger::{Cause, Format};
use crate::llvm::{indexed, raw, text as proftext};
use crate::{Identity, Limits};

/// What a file is, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classified {
    /// Its format; where it holds nothing, the one its name promises.
    pub format: Format,
    /// The builds it comes from; several for a process with instrumented
    /// libraries, none where the file does not say.
    pub identities: Vec<Identity>,
    /// Why it cannot be counted.
    pub problem: Option<Problem>,
}

/// Why a file cannot be counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No byte is in it.
    #[error("the file is empty: the process was stopped before it wrote its counters")]
    Empty,
    /// Go writes to a name of its own first and renames it when all is written.
    #[error("the process was stopped while it wrote this file")]
    Interrupted,
    /// It ends before what it claims to hold.
    #[error("{0}")]
    Truncated(String),
    /// It does not hold what it claims.
    #[error("{0}")]
    Damaged(String),
    /// A format or version that podcov does not read.
    #[error("{0}")]
    Unsupported(String),
}

impl From<ParseError> for Problem {
    fn from(error: ParseError) -> Problem {
        match error.kind {
            Kind::Empty => Problem::Empty,
            Kind::Truncated => Problem::Truncated(error.to_string()),
            Kind::Unsupported => Problem::Unsupported(error.to_string()),
            _ => Problem::Damaged(error.to_string()),
        }
    }
}

impl Problem {
    /// The same as a word.
    pub fn cause(&self) -> Cause {
        match self {
            Problem::Empty => Cause::EmptyFile,
            Problem::Interrupted => Cause::Interrupted,
            Problem::Truncated(_) => Cause::Truncated,
            Problem::Damaged(_) => Cause::Damaged,
            Problem::Unsupported(_) => Cause::Unsupported,
        }
    }
}

/// Says what the file called `name` (a path is fine) is that holds `bytes`.
/// Never panics, and allocates no more than a small multiple of `bytes`.
pub fn classify(name: &str, bytes: &[u8]) -> Classified {
    let name = name.rsplit('/').next().unwrap_or(name);
    let promised = promised(name);
    let classified = |format, identities, problem| Classified {
        format,
        identities,
        problem,
    };
    let go_name = files::Name::parse(name);
    if promised == Format::Record {
        return classified(Format::Record, vec![], None);
    }
    if go_name == Some(files::Name::Leftover) {
        return classified(promised, vec![], Some(Problem::Interrupted));
    }
    if bytes.is_empty() {
        let identities = go_name
            .and_then(|name| name.identity())
            .into_iter()
            .collect();
        return classified(promised, identities, Some(Problem::Empty));
    }
    let llvm = if raw::is_raw(bytes) {
        Some((Format::Profraw, raw_ids(bytes)))
    } else if indexed::is_indexed(bytes) {
        let read = indexed::read(bytes, &Limits::default());
        let ids = read.map(|read| read.profile.binary_ids.into_iter().collect());
        Some((Format::Profdata, ids))
    } else if is_profdata_text(promised, bytes) {
        let read = proftext::read(bytes, &Limits::default());
        Some((Format::Profdata, read.map(|_| vec![])))
    } else {
        None
    };
    if let Some((format, ids)) = llvm {
        return match ids {
            Ok(ids) => classified(format, ids, None),
            Err(error) => classified(format, vec![], Some(error.into())),
        };
    }
    let go = if files::is_meta(bytes) {
        Some((
            Format::Covmeta,
            files::read_meta(bytes).map(|meta| meta.hash),
        ))
    } else if files::is_counters(bytes) {
        Some((Format::Covcounters, counters_hash(bytes)))
    } else {
        None
    };
    if let Some((format, hash)) = go {
        return match hash {
            Ok(hash) => {
                let identity = Identity::Covmeta(hash);
                let problem = name_problem(go_name.as_ref(), format, &identity);
                classified(format, vec![identity], problem)
            }
            Err(error) => classified(format, vec![], Some(error.into())),
        };
    }
    if live::is_live(bytes) {
        return match Live::parse(bytes) {
            Ok(live) => {
                let identities = live.identity().into_iter().collect();
                let problem = live_name_problem(go_name.as_ref(), &live);
                classified(Format::Covlive, identities, problem)
            }
            Err(error) => classified(Format::Covlive, vec![], Some(error.into())),
        };
    }
    if text::is_text(bytes) {
        let problem = text::Profile::parse(bytes).err().map(Problem::from);
        return classified(Format::Gotext, vec![], problem);
    }
    let problem = match promised {
        Format::Unknown => "no format of coverage that podcov knows".to_owned(),
        _ => format!("no {} file by its content", word(promised)),
    };
    classified(promised, vec![], Some(Problem::Damaged(problem)))
}

/// The name of a mapped file says which process it is of, and so which other
/// files hold the same counts.
fn live_name_problem(name: Option<&files::Name>, live: &Live<'_>) -> Option<Problem> {
    let text = match name {
        Some(files::Name::Live { pid, nanos }) if (*pid, *nanos) == (live.pid, live.started) => {
            return None;
        }
        _ => format!(
            "the file's name does not fit its content, which is of process {} of {}",
            live.pid, live.started
        ),
    };
    Some(Problem::Damaged(text))
}

/// Reads counters to their last byte, and keeps none.
fn counters_hash(bytes: &[u8]) -> Result<String, ParseError> {
    let file = CounterFile::parse(bytes)?;
    file.visit(|_| Ok::<(), ParseError>(()))?;
    Ok(file.hash)
}

/// Whether bytes are a profile that `llvm-profdata merge -text` wrote. They have
/// no magic, so it takes a name that promises a profile, or flags.
fn is_profdata_text(promised: Format, bytes: &[u8]) -> bool {
    let is_promised = promised == Format::Profdata;
    (is_promised || bytes.starts_with(b":") || bytes.starts_with(b"# ")) && proftext::is_text(bytes)
}

/// The build ids of a raw profile all of whose records are sound.
fn raw_ids(bytes: &[u8]) -> Result<Vec<Identity>, ParseError> {
    let mut ids = Vec::new();
    for part in raw::parts(bytes, &Limits::default()) {
        let part = part?;
        for record in part.records() {
            record?;
        }
        for id in part.build_ids() {
            if !ids.contains(id) {
                ids.push(id.clone());
            }
        }
    }
    Ok(ids)
}

/// A file whose name says another build than its content would be paired with
/// the wrong program by Go's tools, which go by the name.
fn name_problem(
    name: Option<&files::Name>,
    format: Format,
    identity: &Identity,
) -> Option<Problem> {
    let fits = match name {
        Some(name @ files::Name::Meta { .. }) => {
            format == Format::Covmeta && name.identity().as_ref() == Some(identity)
        }
        Some(name @ files::Name::Counters { .. }) => {
            format == Format::Covcounters && name.identity().as_ref() == Some(identity)
        }
        Some(files::Name::Live { .. } | files::Name::Leftover) | None => false,
    };
    let text = || format!("the file's name does not fit its content, which is of {identity}");
    (!fits).then(|| Problem::Damaged(text()))
}

fn promised(name: &str) -> Format {
    let go = name.strip_prefix("tmp.").unwrap_or(name);
    match name {
        "start.json" | "exit.json" | "ticker.json" => Format::Record,
        // Somebody was stopped while it wrote its record.
        ".start.json.partial" | ".exit.json.partial" => Format::Record,
        _ if name.starts_with("tmp.ticker.") => Format::Record,
        _ if go.starts_with("covmeta.") => Format::Covmeta,
        _ if go.starts_with("covcounters.") => Format::Covcounters,
        _ if go.starts_with("covlive.") => Format::Covlive,
        _ if name.ends_with(".profraw") => Format::Profraw,
        _ if name.ends_with(".profdata") || name.ends_with(".proftext") => Format::Profdata,
        _ if name.ends_with(".out") || name.ends_with(".cov") => Format::Gotext,
        _ => Format::Unknown,
    }
}

fn word(format: Format) -> &'static str {
    match format {
        Format::Profraw => "profraw",
        Format::Profdata => "profdata",
        Format::Covmeta => "covmeta",
        Format::Covcounters => "covcounters",
        Format::Covlive => "covlive",
        Format::Gotext => "Go text profile",
        Format::Record => "record",
        Format::Unknown => "known",
    }
}
