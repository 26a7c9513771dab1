//! The programs that `--object` names.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use object::ReadCache;
use podcov_profile::finding::{Finding, Kind};
use podcov_profile::llvm::mapping_file;
use podcov_profile::llvm::object::{self as sections, Object};
use podcov_profile::{Identity, Limits, elf};

use super::read::open;
use crate::exit::{Exit, Failure};

/// A file of which only the parts that are asked for are read.
pub type Cache = ReadCache<File>;

/// The files of all programs, open.
pub struct Files {
    files: Vec<(String, Cache)>,
}

/// Programs with their mapping sections.
pub struct Objects<'f> {
    /// In the order they were named; archives have one for each member.
    pub objects: Vec<(String, Object<'f>)>,
}

impl Files {
    /// Opens them.
    pub fn open(paths: &[PathBuf]) -> Result<Files, Failure> {
        let mut files = Vec::new();
        for path in paths {
            let shown = path.display().to_string();
            let (file, _) = open(path).map_err(|error| {
                Failure::new(Exit::Usage, format!("cannot read `{shown}`: {error}"))
            })?;
            files.push((shown, ReadCache::new(file)));
        }
        Ok(Files { files })
    }

    /// Reads their mapping sections; a program without is a finding.
    pub fn read(&self, findings: &mut Vec<Finding>) -> Objects<'_> {
        let mut objects = Vec::new();
        for (path, cache) in &self.files {
            match sections::read(cache, path, None, &Limits::default()) {
                Ok(found) => objects.extend(found.into_iter().map(|one| (path.clone(), one))),
                Err(error) => {
                    let mut finding = Finding::parse(path, &error);
                    if error.kind == podcov_profile::error::Kind::Unsupported {
                        finding.kind = Kind::NoMapping;
                        finding.offset = None;
                    }
                    findings.push(finding);
                }
            }
        }
        Objects { objects }
    }
}

impl Objects<'_> {
    /// The builds of the programs; `None` where none was named, or where one
    /// has no build id, so that evidence of it cannot be told from others'.
    pub fn wanted(&self, findings: &mut Vec<Finding>) -> Option<BTreeSet<Identity>> {
        let mut ids = BTreeSet::new();
        let mut all = true;
        for (path, object) in &self.objects {
            match &object.identity {
                Some(id) => {
                    ids.insert(id.clone());
                }
                // Members of an archive have none, and are linked to a program.
                None => {
                    all = false;
                    let text = "a program without a build id: evidence of others counts, too";
                    findings.push(Finding::new(Kind::Note, path, text));
                }
            }
        }
        (all && !self.objects.is_empty()).then_some(ids)
    }
}

/// Whether a file is a program, library, archive or mapping file.
pub fn is_program(mut file: &File) -> io::Result<bool> {
    let mut head = [0; 16];
    let mut len = 0;
    while len < head.len() {
        match file.read(&mut head[len..])? {
            0 => break,
            read => len += read,
        }
    }
    file.rewind()?;
    let head = &head[..len];
    let is_object = !head.is_empty() && object::FileKind::parse(head).is_ok();
    Ok(head.starts_with(&mapping_file::MAGIC)
        || head.starts_with(b"!<arch>\n")
        || head.starts_with(b"\x7fELF")
        || is_object)
}

/// What an ELF program says of itself.
pub fn program(path: &Path) -> Result<elf::Program, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    elf::read(&bytes).map_err(|error| error.to_string())
}
