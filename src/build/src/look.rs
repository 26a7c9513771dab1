//! A look at programs and images, for who wants to know before a run whether
//! they would leave evidence.

use std::io::Read;
use std::path::Path;

use podcov_profile::bundle::Mode;
use podcov_profile::elf::{self, Program};
use tempfile::TempDir;

use crate::Error;
use crate::error::AtPath;
use crate::image::base::{Base, decoded};
use crate::program::go_made;

/// A larger file in an image is no program that somebody measures.
const MAX_PROGRAM: u64 = 2 << 30;

/// What a program says of itself.
#[derive(Clone, Debug)]
pub struct Looked {
    /// What its ELF file says.
    pub program: Program,
    /// How its counters reach the disk; of no meaning where it is not
    /// instrumented.
    pub mode: Mode,
}

/// Looks at the bytes of a program. The error says what they are instead.
pub fn look(bytes: &[u8]) -> Result<Looked, elf::NotAProgram> {
    let program = elf::read(bytes)?;
    let mode = match program.llvm_relocation {
        _ if program.go => {
            let made = go_made(bytes);
            made.counting().mode(made.is_test).0
        }
        Some(true) => Mode::Continuous,
        _ => Mode::AtExit,
    };
    Ok(Looked { program, mode })
}

/// An image as an archive or an OCI layout.
pub struct Image {
    base: Base,
    /// What starts it: ENTRYPOINT.
    pub entrypoint: Vec<String>,
    /// Its arguments: CMD.
    pub command: Vec<String>,
    /// Its variables.
    pub env: Vec<(String, String)>,
    /// The user it runs as, as the image says; empty for root.
    pub user: String,
    /// The architecture as OCI calls it: `amd64`.
    pub architecture: String,
    _scratch: TempDir,
}

impl Image {
    /// Reads the image at `path`, in an index the one for this machine.
    pub fn open(path: &Path) -> Result<Image, Error> {
        let scratch = TempDir::new().at("create a folder in", &std::env::temp_dir())?;
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let base = Base::open("doctor", path, arch, scratch.path())?;
        let config = base.configuration.config().clone().unwrap_or_default();
        let list = |words: &Option<Vec<String>>| words.clone().unwrap_or_default();
        let env = list(config.env());
        let env = env.iter().filter_map(|pair| pair.split_once('='));
        Ok(Image {
            entrypoint: list(config.entrypoint()),
            command: list(config.cmd()),
            env: env.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            user: config.user().clone().unwrap_or_default(),
            architecture: base.configuration.architecture().to_string(),
            base,
            _scratch: scratch,
        })
    }

    /// The program that it starts, without the launcher in front of it.
    pub fn program(&self) -> Option<&str> {
        let words = || self.entrypoint.iter().chain(&self.command);
        let is_launcher = words()
            .next()
            .is_some_and(|word| word == crate::image::LAUNCHER);
        let mut words = words();
        if is_launcher {
            words.find(|word| *word == "--")?;
        }
        words.next().map(String::as_str)
    }

    /// Whether the launcher starts it.
    pub fn has_launcher(&self) -> bool {
        self.entrypoint
            .first()
            .is_some_and(|word| word == crate::image::LAUNCHER)
    }

    /// The bytes of a file in it, by its absolute path; `None` if it has none
    /// there. Links are followed as far as they name absolute paths or
    /// neighbours.
    pub fn file(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let mut path = path.trim_start_matches('/').to_owned();
        for _ in 0..8 {
            match self.entry(&path)? {
                Some(Found::Bytes(bytes)) => return Ok(Some(bytes)),
                Some(Found::Link(to)) if to.starts_with('/') => {
                    to.trim_start_matches('/').clone_into(&mut path);
                }
                Some(Found::Link(to)) => {
                    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                    path = format!("{folder}/{to}").trim_start_matches('/').to_owned();
                }
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// What the topmost layer that has it says.
    fn entry(&self, wanted: &str) -> Result<Option<Found>, Error> {
        let removed = match wanted.rsplit_once('/') {
            Some((folder, name)) => format!("{folder}/.wh.{name}"),
            None => format!(".wh.{wanted}"),
        };
        for layer in self.base.layers.iter().rev() {
            let file = &layer.blob.file;
            let mut tar = tar::Archive::new(decoded(file)?);
            for entry in tar.entries().at("read", file)? {
                let mut entry = entry.at("read", file)?;
                let path = entry
                    .path()
                    .at("read", file)?
                    .to_string_lossy()
                    .into_owned();
                let path = path.trim_start_matches("./").trim_start_matches('/');
                // By the OCI image format, a layer takes a file out so.
                if path == removed {
                    return Ok(None);
                }
                if path != wanted {
                    continue;
                }
                if let Some(link) = entry.link_name().at("read", file)? {
                    let link = link.to_string_lossy();
                    // A hard link names a path from the root of the archive.
                    let is_hard = entry.header().entry_type().is_hard_link();
                    let root = if is_hard { "/" } else { "" };
                    return Ok(Some(Found::Link(format!("{root}{link}"))));
                }
                if !entry.header().entry_type().is_file() {
                    return Ok(None);
                }
                let mut bytes = Vec::new();
                entry
                    .by_ref()
                    .take(MAX_PROGRAM)
                    .read_to_end(&mut bytes)
                    .at("read", file)?;
                return Ok(Some(Found::Bytes(bytes)));
            }
        }
        Ok(None)
    }
}

enum Found {
    Bytes(Vec<u8>),
    Link(String),
}
