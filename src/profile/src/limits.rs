//! What a file may claim before it is not believed.

/// Bounds of every allocation that a file asks for. The defaults let pass what
/// real programs write (a kube-rs operator: 2.3 MB of profile, 143 MB of
/// program) and refuse what would take memory out of proportion: no reader
/// holds more than 64 MiB and eight times the size of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that all names of one profile or program may inflate to.
    pub names: u64,
    /// Bytes that one table of file names of a coverage mapping may inflate to.
    pub filenames: u64,
    /// Counters of one profile.
    pub counters: u64,
    /// Records (functions) of one profile or mapping.
    pub functions: u64,
    /// Bytes of one section of a program that has to be in memory at once.
    pub section: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            names: 48 << 20,
            filenames: 16 << 20,
            counters: 1 << 28,
            functions: 1 << 24,
            section: 1 << 30,
        }
    }
}
