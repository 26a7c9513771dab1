/// Where libraries say how far they are. Only the command line prints; this
/// is its ear.
pub trait Progress: Send + Sync {
    /// What is being done right now; replaces the last one. Transient: on a
    /// pipe it may not be shown at all.
    fn status(&self, text: &str);
    /// Something the user should read even when the step is over.
    fn note(&self, text: &str);
}

/// Says nothing; for tests and quiet callers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn status(&self, _: &str) {}
    fn note(&self, _: &str) {}
}
