//! What is wrong with a file that was given, told so that a person can act on
//! it and a program can decide by it.
//!
//! One damaged file never stops the rest: its reader gives a [`ParseError`],
//! which becomes a [`Finding`] about that file, and the others go on.
//! [`Kind::is_loss`] says whether counts are missing because of it; a command
//! that met one does not end with 0.

use crate::error::{self, ParseError};

/// What kind of finding it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// No byte is there: the process was stopped before it wrote.
    Empty,
    /// It ends before what it claims to hold.
    Truncated,
    /// It does not hold what its format says.
    Malformed,
    /// It claims more than [`Limits`](crate::Limits) allow.
    TooLarge,
    /// A format, version or variant that podcov does not read.
    Unsupported,
    /// No format of coverage that podcov knows.
    Unknown,
    /// It could not be opened or read.
    Unreadable,
    /// A pipe, socket, device or a link met in a folder; none is followed.
    NotAFile,
    /// It comes from a build that was not asked for.
    Foreign,
    /// Go counters, and no meta-data of their hash.
    NoMeta,
    /// Go meta-data, and no counters of its hash: its process left none.
    NoCounters,
    /// Its counters do not have the shape that the others of its build have.
    Shape,
    /// A program, and no coverage mapping in it.
    NoMapping,
    /// A program that none of the profiles comes from.
    NoProfile,
    /// A function whose counts could not be used with the program's mapping.
    Function,
    /// The same evidence as another one; counted once.
    Duplicate,
    /// Another state of the same evidence; the larger counts are taken.
    Version,
    /// A later file of the same process says all that it says.
    Superseded,
    /// Something to know that changes no number.
    Note,
}

impl Kind {
    /// As in messages and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Empty => "empty",
            Kind::Truncated => "truncated",
            Kind::Malformed => "malformed",
            Kind::TooLarge => "too-large",
            Kind::Unsupported => "unsupported",
            Kind::Unknown => "unknown",
            Kind::Unreadable => "unreadable",
            Kind::NotAFile => "not-a-file",
            Kind::Foreign => "foreign",
            Kind::NoMeta => "no-meta",
            Kind::NoCounters => "no-counters",
            Kind::Shape => "shape",
            Kind::NoMapping => "no-mapping",
            Kind::NoProfile => "no-profile",
            Kind::Function => "function",
            Kind::Duplicate => "duplicate",
            Kind::Version => "version",
            Kind::Superseded => "superseded",
            Kind::Note => "note",
        }
    }

    /// Whether something was set aside that the results lack.
    pub fn is_loss(self) -> bool {
        !matches!(
            self,
            Kind::Duplicate | Kind::Version | Kind::Superseded | Kind::Note
        )
    }
}

impl From<error::Kind> for Kind {
    fn from(kind: error::Kind) -> Kind {
        match kind {
            error::Kind::Empty => Kind::Empty,
            error::Kind::Truncated => Kind::Truncated,
            error::Kind::Malformed => Kind::Malformed,
            error::Kind::TooLarge => Kind::TooLarge,
            error::Kind::Unsupported => Kind::Unsupported,
        }
    }
}

/// Something the user should know about one file. Ordered by path, then by
/// where in it, so that a list of them is the same however it came about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Finding {
    /// The file, as it was given.
    pub path: String,
    /// Where in it, in bytes from its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// What kind it is.
    pub kind: Kind,
    /// What was found.
    pub found: String,
    /// What was expected instead; empty where `found` says it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expected: String,
}

impl Finding {
    /// A finding about a file as a whole.
    pub fn new(kind: Kind, path: impl Into<String>, found: impl Into<String>) -> Self {
        Finding {
            path: path.into(),
            offset: None,
            kind,
            found: found.into(),
            expected: String::new(),
        }
    }

    /// What a reader says of the file at `path`.
    pub fn parse(path: impl Into<String>, error: &ParseError) -> Self {
        Finding {
            offset: (error.kind != error::Kind::Empty).then_some(error.offset),
            ..Finding::new(error.kind.into(), path, &error.what)
        }
    }

    /// Adds where in the file it is.
    pub fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// Adds what was expected.
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = expected.into();
        self
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: ", self.path, self.kind.word())?;
        if !self.expected.is_empty() {
            write!(f, "expected {}, found ", self.expected)?;
        }
        f.write_str(&self.found)?;
        match self.offset {
            Some(offset) => write!(f, " (at byte {offset})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_what_where_and_what_was_expected() {
        let finding = Finding::new(Kind::Foreign, "a/b.profraw", "build-id:02")
            .expected("build-id:01")
            .at(16);
        assert_eq!(
            finding.to_string(),
            "a/b.profraw: foreign: expected build-id:01, found build-id:02 (at byte 16)"
        );
        let empty = Finding::parse("x", &ParseError::empty("no byte is there"));
        assert_eq!(empty.to_string(), "x: empty: no byte is there");
    }

    #[test]
    fn what_is_counted_elsewhere_is_no_loss() {
        assert!(Kind::Empty.is_loss() && Kind::Foreign.is_loss() && Kind::NoMeta.is_loss());
        assert!(!Kind::Duplicate.is_loss() && !Kind::Superseded.is_loss());
    }
}
