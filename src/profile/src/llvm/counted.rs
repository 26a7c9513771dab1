//! Places in sources with their counts.

/// What a region is. The numbers are those of `CounterMappingRegion::RegionKind`
/// (LLVM 22), as the JSON export writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RegionKind {
    /// Code that runs as a whole.
    Code = 0,
    /// The use of a macro, or an include.
    Expansion = 1,
    /// Source that the preprocessor left out.
    Skipped = 2,
    /// Blanks between code, which count for a line only if nothing else does.
    Gap = 3,
    /// A condition with a count for true and one for false.
    Branch = 4,
    /// A decision of several conditions (MC/DC).
    Decision = 5,
    /// A condition of a decision.
    McdcBranch = 6,
}

/// A region of a function with its count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Line it starts on, from 1.
    pub start_line: u32,
    /// Column it starts at, from 1.
    pub start_column: u32,
    /// Line it ends on.
    pub end_line: u32,
    /// Column behind its end; `u32::MAX` is the end of the line.
    pub end_column: u32,
    /// How often it ran.
    pub count: u64,
    /// Index into the function's files.
    pub file: u32,
    /// Of an expansion: what it expands to, an index into the function's files.
    pub expanded: u32,
    /// What it is.
    pub kind: RegionKind,
}

/// A condition of a function with its counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Where it is, with the count of true.
    pub region: Region,
    /// How often it was false.
    pub false_count: u64,
    /// It cannot be true: the compiler wrote no counter.
    pub true_folded: bool,
    /// It cannot be false.
    pub false_folded: bool,
}

impl Branch {
    /// The compiler left nothing to decide.
    pub fn is_folded(&self) -> bool {
        self.true_folded && self.false_folded
    }
}

impl Region {
    pub(crate) fn start(&self) -> (u32, u32) {
        (self.start_line, self.start_column)
    }

    pub(crate) fn end(&self) -> (u32, u32) {
        (self.end_line, self.end_column)
    }
}
