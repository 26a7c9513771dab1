//! Reads what an ELF file says about itself.

use std::path::Path;

pub(crate) use podcov_profile::elf::Program;

use crate::Error;
use crate::error::AtPath;
use crate::go::overlay::Counting;

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
    is_mapped: bool,
    ticks: bool,
}

pub(crate) fn go_made(bytes: &[u8]) -> GoMade {
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    GoMade {
        hooked: holds(b"PODCOV_META_ONLY"),
        is_test: holds(b"testing/internal/testdeps."),
        is_mapped: holds(b"/covlive."),
        // Its text tells only what the mark of its evidence would.
        ticks: holds(b"ticker.json"),
    }
}

impl GoMade {
    /// How its counters reach the disk.
    pub(crate) fn counting(&self) -> Counting {
        match (self.is_mapped, self.hooked && self.ticks) {
            (true, _) => Counting::Continuous,
            (false, true) => Counting::Ticker,
            (false, false) => Counting::AtExit,
        }
    }
}
