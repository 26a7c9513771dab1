//! Layers: planned as a sorted map from path to content, so that the same
//! content always gives the same bytes, and hashed before anything is written,
//! so that nothing is written twice.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use podcov_process::Cancel;
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use crate::Error;
use crate::error::AtPath;
use crate::keep::{hex, sha256_of};

/// What a file's bytes come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Bytes(Vec<u8>),
    Path(PathBuf),
}

#[derive(Clone, Debug)]
enum Entry {
    Dir { mode: u32, owner: u64 },
    File { source: Source, mode: u32 },
}

/// One layer to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    entries: BTreeMap<String, Entry>,
}

impl Layer {
    /// Adds a folder. Paths are absolute, as seen in the container.
    pub(crate) fn dir(&mut self, path: &str, mode: u32, owner: u64) {
        self.entries
            .insert(inside(path), Entry::Dir { mode, owner });
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, path: &str, mode: u32, source: Source) {
        self.entries
            .insert(inside(path), Entry::File { source, mode });
    }

    /// Adds the folders above all entries. Only where nothing is below: a
    /// folder in a layer takes the place of a link in a base, as `/lib` is one.
    pub(crate) fn add_parents(&mut self) {
        let paths: Vec<_> = self.entries.keys().cloned().collect();
        for path in paths {
            for (at, _) in path.match_indices('/') {
                self.entries
                    .entry(path[..at].to_owned())
                    .or_insert(Entry::Dir {
                        mode: 0o755,
                        owner: 0,
                    });
            }
        }
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts everything that decides about the layer's bytes into `hasher`.
    pub(crate) fn fingerprint(&self, hasher: &mut Sha256) -> Result<(), Error> {
        for (path, entry) in &self.entries {
            let line = match entry {
                Entry::Dir { mode, owner } => format!("d {mode:o} {owner} {path}\n"),
                Entry::File { source, mode } => {
                    let content = match source {
                        Source::Bytes(bytes) => hex(&Sha256::digest(bytes)),
                        Source::Path(file) => sha256_of(file)?,
                    };
                    format!("f {mode:o} {content} {path}\n")
                }
            };
            hasher.update(line);
        }
        hasher.update("layer\n");
        Ok(())
    }

    /// Writes it to the file `to`.
    pub(crate) fn write(&self, to: &Path, cancel: &Cancel) -> Result<Blob, Error> {
        let file = File::create(to).at("write", to)?;
        let writer = Hashing::new(BufWriter::with_capacity(1 << 18, file));
        let mut tar = tar::Builder::new(writer);
        for (path, entry) in &self.entries {
            cancel.check()?;
            match entry {
                Entry::Dir { mode, owner } => {
                    let mut header = header(EntryType::Directory, *mode, 0);
                    header.set_uid(*owner);
                    header.set_gid(*owner);
                    tar.append_data(&mut header, format!("{path}/"), io::empty())
                        .at("write", to)?;
                }
                Entry::File {
                    source: Source::Bytes(bytes),
                    mode,
                } => {
                    let mut header = header(EntryType::Regular, *mode, bytes.len() as u64);
                    tar.append_data(&mut header, path, bytes.as_slice())
                        .at("write", to)?;
                }
                Entry::File {
                    source: Source::Path(from),
                    mode,
                } => {
                    let file = File::open(from).at("read", from)?;
                    let size = file.metadata().at("read", from)?.len();
                    let mut header = header(EntryType::Regular, *mode, size);
                    tar.append_data(&mut header, path, file.take(size))
                        .at("write", to)?;
                }
            }
        }
        let (digest, size) = tar.into_inner().and_then(Hashing::finish).at("write", to)?;
        Ok(Blob {
            digest,
            size,
            file: to.to_owned(),
        })
    }
}

/// A header with nothing in it that could differ from build to build.
pub(crate) fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn inside(path: &str) -> String {
    path.trim_matches('/').to_owned()
}

/// A file known by its SHA-256.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    /// Hex.
    pub(crate) digest: String,
    pub(crate) size: u64,
    pub(crate) file: PathBuf,
}

impl Blob {
    /// Writes bytes to a file in `dir` that is called by their digest.
    pub(crate) fn of_bytes(bytes: &[u8], dir: &Path) -> Result<Self, Error> {
        let digest = hex(&Sha256::digest(bytes));
        let file = dir.join(&digest);
        std::fs::write(&file, bytes).at("write", &file)?;
        Ok(Blob {
            digest,
            size: bytes.len() as u64,
            file,
        })
    }

    /// A file that is there.
    pub(crate) fn of_file(file: PathBuf) -> Result<Self, Error> {
        let size = file.metadata().at("read", &file)?.len();
        Ok(Blob {
            digest: sha256_of(&file)?,
            size,
            file,
        })
    }
}

/// Hashes and counts what it passes on.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Hashing {
            inner,
            hasher: Sha256::new(),
            size: 0,
        }
    }

    fn finish(mut self) -> io::Result<(String, u64)> {
        self.inner.flush()?;
        Ok((hex(&self.hasher.finalize()), self.size))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
