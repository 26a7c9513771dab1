//! What did not fit together, and what became of it.

use std::fmt;

/// A fact that a report has to tell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Finding {
    /// The profile has counts for a function of this name that is built
    /// otherwise: of another build, or of another program. The function is left
    /// out.
    HashMismatch {
        /// Its name.
        function: String,
        /// Hash of its structure in the mapping.
        mapped: u64,
        /// Hashes in the profile, with numbers of counters and bytes of bitmap.
        counted: Vec<(u64, (usize, usize))>,
    },
    /// The profile has fewer counters than the mapping needs. The function is
    /// left out.
    Counters {
        /// Its name.
        function: String,
        /// Hash of its structure.
        hash: u64,
        /// How many the mapping needs.
        mapped: u64,
        /// How many the profile has.
        counted: u64,
    },
    /// Two profiles have a function with different numbers of counters. The
    /// counts of the second one are left out.
    Shapes {
        /// Its name.
        function: String,
        /// Hash of its structure.
        hash: u64,
        /// Counters and bytes of bitmap that are kept.
        known: (usize, usize),
        /// Those that are not.
        other: (usize, usize),
    },
    /// An expression of counters needs itself. The function is left out.
    Circle {
        /// Its name.
        function: String,
        /// Which expression.
        expression: u32,
    },
    /// A count is computed to be negative; it is taken for 0. Counters of
    /// threads that do not wait for each other can do that.
    Negative {
        /// Name of the function.
        function: String,
        /// Line of the first such region.
        line: u32,
        /// Its column.
        column: u32,
    },
    /// A decision (MC/DC) that cannot be followed is left out.
    Decision {
        /// Name of the function.
        function: String,
        /// Why.
        what: &'static str,
    },
    /// Two tables of file names have one hash. The functions are left out.
    Collision {
        /// The hash.
        reference: u64,
        /// How many functions.
        functions: u64,
    },
}

impl Finding {
    /// For programs and policy.
    pub fn word(&self) -> &'static str {
        match self {
            Finding::HashMismatch { .. } => "hash-mismatch",
            Finding::Counters { .. } => "counters",
            Finding::Shapes { .. } => "shapes",
            Finding::Circle { .. } => "circle",
            Finding::Negative { .. } => "negative",
            Finding::Decision { .. } => "decision",
            Finding::Collision { .. } => "collision",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::HashMismatch {
                function,
                mapped,
                counted,
            } => {
                write!(
                    f,
                    "{function} is mapped with hash {mapped:016x} and counted with"
                )?;
                for (index, (hash, (counters, bitmap))) in counted.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma} {hash:016x} ({counters} counters")?;
                    match bitmap {
                        0 => f.write_str(")")?,
                        _ => write!(f, ", {bitmap} bytes of bitmap)")?,
                    }
                }
                f.write_str(": left out")
            }
            Finding::Counters {
                function,
                hash,
                mapped,
                counted,
            } => write!(
                f,
                "{function} ({hash:016x}) needs {mapped} counters, the profile has {counted}: left out"
            ),
            Finding::Shapes {
                function,
                hash,
                known,
                other,
            } => write!(
                f,
                "{function} ({hash:016x}) has {} counters and {} bytes of bitmap in one profile, \
                 {} and {} in another, which is left out",
                known.0, known.1, other.0, other.1
            ),
            Finding::Circle {
                function,
                expression,
            } => write!(
                f,
                "{function}: expression {expression} needs itself: left out"
            ),
            Finding::Negative {
                function,
                line,
                column,
            } => write!(
                f,
                "{function}: a count at {line}:{column} is negative, taken for 0"
            ),
            Finding::Decision { function, what } => {
                write!(f, "{function}: a decision is left out: {what}")
            }
            Finding::Collision {
                reference,
                functions,
            } => write!(
                f,
                "{functions} functions refer to {reference:016x}, which two tables of file names \
                 have: left out"
            ),
        }
    }
}
