//! What an ELF file says about itself.

use std::path::Path;

use object::{Object, ObjectSection, ObjectSymbol};

use crate::Error;
use crate::error::AtPath;

/// The facts of a program that decide what its evidence is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// `x86_64`, `aarch64`, …
    pub(crate) arch: String,
    /// GNU build id, hex.
    pub(crate) build_id: Option<String>,
    /// Holds LLVM's coverage mapping and counters.
    pub(crate) llvm_coverage: bool,
    /// Its counters can be moved to a file mapping; `None` where the symbol
    /// table is gone, so that it cannot be told.
    pub(crate) relocation: Option<bool>,
    /// Go's runtime is in it.
    pub(crate) go: bool,
    /// It holds Go's coverage meta-data.
    pub(crate) go_coverage: Option<bool>,
    /// It needs a dynamic loader.
    pub(crate) dynamic: bool,
}

pub(crate) fn inspect(path: &Path) -> Result<Program, Error> {
    let bytes = std::fs::read(path).at("read", path)?;
    let file = object::File::parse(&*bytes).map_err(|error| {
        Error::program(path, format!("expected an ELF program for Linux, found none ({error})"))
    })?;
    let has_section = |name: &str| file.section_by_name(name).is_some_and(|s| s.size() > 0);
    let mut names = file.symbols().filter_map(|s| s.name().ok()).peekable();
    let has_names = names.peek().is_some();
    let (mut bias, mut meta) = (false, false);
    for name in names {
        bias |= name == "__llvm_profile_counter_bias";
        meta |= name.contains("..covmeta") || name == "runtime.covctrs";
    }
    let arch = match file.architecture() {
        object::Architecture::X86_64 => "x86_64".to_owned(),
        object::Architecture::Aarch64 => "aarch64".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    };
    Ok(Program {
        arch,
        build_id: file.build_id().ok().flatten().map(crate::keep::hex),
        llvm_coverage: has_section("__llvm_covmap") && has_section("__llvm_prf_cnts"),
        relocation: has_names.then_some(bias),
        go: has_section(".go.buildinfo"),
        go_coverage: has_names.then_some(meta),
        dynamic: has_section(".interp"),
    })
}

/// The architecture of this machine, as [`Program::arch`] says it.
pub(crate) fn host_arch() -> &'static str {
    std::env::consts::ARCH
}
