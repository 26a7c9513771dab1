//! Reads what an ELF file says about itself.

use std::path::Path;

use podcov_profile::bundle::Mode;
pub(crate) use podcov_profile::elf::Program;

use crate::Error;
use crate::error::AtPath;

pub(crate) fn inspect(path: &Path) -> Result<Program, Error> {
    let bytes = std::fs::read(path).at("read", path)?;
    podcov_profile::elf::read(&bytes).map_err(|error| Error::program(path, error.to_string()))
}

/// Whether a program for `arch` can be started here.
pub(crate) fn runs_here(arch: &str) -> bool {
    arch == std::env::consts::ARCH
}

/// What an instrumented Go program was made with.
pub(crate) struct GoMade {
    /// podcov's files are in it.
    pub(crate) hooked: bool,
    /// `go test -c` made it.
    pub(crate) is_test: bool,
}

pub(crate) fn go_made(bytes: &[u8]) -> GoMade {
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    GoMade {
        hooked: holds(b"PODCOV_META_ONLY"),
        is_test: holds(b"testing/internal/testdeps."),
    }
}

impl GoMade {
    /// How its counters reach the disk.
    pub(crate) fn mode(&self) -> Mode {
        match (self.is_test, self.hooked) {
            (true, _) => Mode::TestMain,
            (false, true) => Mode::Snapshots,
            (false, false) => Mode::AtExit,
        }
    }
}
