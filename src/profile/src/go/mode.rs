//! How counters count, and what has one
//! (`internal/coverage/defs.go`, Go 1.26).

/// How counters count. Ordered as Go's merge is: of two modes that clash the
/// greater is kept (`SetModeAndGranularity` in `cmerge/merge.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Whether it ran.
    Set,
    /// How often; wrong under threads.
    Count,
    /// How often.
    Atomic,
}

impl Mode {
    /// The word a text profile has for it.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Set => "set",
            Mode::Count => "count",
            Mode::Atomic => "atomic",
        }
    }

    /// The mode a text profile calls `word`.
    pub fn from_word(word: &str) -> Option<Mode> {
        [Mode::Set, Mode::Count, Mode::Atomic]
            .into_iter()
            .find(|mode| mode.word() == word)
    }

    /// Adds two counts as Go's merge does: 1 if any ran for mode `set`, else
    /// their sum, which stops at 2^32 - 1 (`MergeCounters` in
    /// `cmerge/merge.go`).
    pub fn add(self, one: u32, other: u32) -> u32 {
        match self {
            Mode::Set => u32::from(one != 0 || other != 0),
            Mode::Count | Mode::Atomic => one.saturating_add(other),
        }
    }
}

/// What has a counter of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Granularity {
    /// Each unit of code.
    Block,
    /// Each function, which then has one unit.
    Function,
}

impl Granularity {
    /// As `go tool covdata debugdump` calls it.
    pub fn word(self) -> &'static str {
        match self {
            Granularity::Block => "perblock",
            Granularity::Function => "perfunc",
        }
    }
}
