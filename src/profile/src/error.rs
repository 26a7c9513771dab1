//! The one error of every reader: what is wrong, of which kind, and where.

/// What kind of wrong it is, for programs and for policy.
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
    /// A format, version or variant that podcov does not read, named in the text.
    Unsupported,
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
        }
    }
}

/// Why bytes are not what their format says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset} of {len}")]
pub struct ParseError {
    /// What kind of wrong it is.
    pub kind: Kind,
    /// What was expected and what was found.
    pub what: String,
    /// Where, from the start of the file.
    pub offset: u64,
    /// How many bytes there are.
    pub len: u64,
}

impl ParseError {
    /// The file has no byte. `why` says what that means.
    pub fn empty(why: &str) -> Self {
        ParseError {
            kind: Kind::Empty,
            what: why.to_owned(),
            offset: 0,
            len: 0,
        }
    }
}
