//! Reads what an ELF file says about itself.

use std::path::Path;

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
