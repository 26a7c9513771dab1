//! Finds what is in the evidence folder, and reads it without being led astray.
//!
//! Any pod can put anything there: links out of it, pipes that never end,
//! files without bounds. Only regular files below the root are opened.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use podcov_profile::ledger::Finding;
use rustix::fs::{Mode, OFlags};
use walkdir::{DirEntry, WalkDir};

use super::{Error, Limits, finding};

/// How many levels of folders an incarnation may have below its own.
const DEPTH: usize = 8;

/// One incarnation's folder.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) pod_uid: String,
    pub(crate) container: String,
    pub(crate) id: String,
    /// Relative to the evidence folder.
    pub(crate) path: String,
    pub(crate) entries: Vec<Entry>,
}

/// Something in an incarnation's folder that is no folder.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Relative to the evidence folder.
    pub(crate) path: String,
    pub(crate) size: u64,
    /// Why it is not opened.
    pub(crate) refused: Option<String>,
    /// The same file under another name.
    pub(crate) same_as: Option<String>,
}

/// Everything below the evidence folder, ordered by path.
pub(crate) fn walk(
    root: &Path,
    limits: &Limits,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Dir>, Error> {
    let mut dirs: Vec<Dir> = Vec::new();
    let mut total = 0u64;
    let mut names = Names::new();
    let walker = WalkDir::new(root)
        .min_depth(1)
        .max_depth(4 + DEPTH)
        .sort_by_file_name();
    for entry in walker {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.depth() == 0 => {
                let source = error
                    .into_io_error()
                    .unwrap_or_else(|| io::ErrorKind::Other.into());
                return Err(Error::Io {
                    action: "read",
                    path: root.to_owned(),
                    source,
                });
            }
            Err(error) => {
                let path = shown(root, error.path().unwrap_or(root));
                let why = error
                    .io_error()
                    .map_or("a loop".into(), |why| why.to_string());
                findings.push(finding("unreadable", format!("{path}: {why}")));
                continue;
            }
        };
        total += 1;
        if total > limits.files {
            return Err(Error::TooMany {
                path: root.to_owned(),
                limit: limits.files,
            });
        }
        let Some(path) = relative(root, entry.path()) else {
            let seen = shown(root, entry.path());
            let owner = dirs.last_mut().filter(|dir| is_below(&seen, &dir.path));
            match owner.filter(|_| entry.depth() > 4 && !entry.file_type().is_dir()) {
                // Lost like any other that cannot be read.
                Some(dir) => dir.entries.push(Entry {
                    path: seen,
                    size: entry.metadata().map_or(0, |meta| meta.len()),
                    refused: Some("its name is no text".to_owned()),
                    same_as: None,
                }),
                None => {
                    let text = format!("{seen} is not opened: its name is no text");
                    findings.push(finding("refused", text));
                }
            }
            continue;
        };
        let is_dir = entry.file_type().is_dir();
        match (entry.depth(), is_dir) {
            (1..=3, true) => {}
            (4, true) => match place(&path) {
                Some(dir) => dirs.push(dir),
                None => findings.push(finding("stray", format!("{path} is no incarnation's"))),
            },
            (1..=4, false) => {
                let text = format!("{path} is outside of any incarnation's folder; not counted");
                findings.push(finding("stray", text));
            }
            (_, true) => {
                if entry.depth() == 4 + DEPTH {
                    findings.push(finding(
                        "refused",
                        format!("{path} is too deep to look into"),
                    ));
                }
            }
            (_, false) => {
                let owner = dirs.last_mut().filter(|dir| is_below(&path, &dir.path));
                let Some(dir) = owner else { continue };
                let limit = limits.files_per_incarnation;
                let mut entry = judge(&entry, path, limits, &mut names);
                if dir.entries.len() as u64 >= limit {
                    entry.refused = Some(format!("its folder has more than {limit} files"));
                }
                if dir.entries.len() as u64 == limit {
                    let text =
                        format!("{} has more than {limit} files; not all are read", dir.path);
                    findings.push(finding("too-many-files", text));
                }
                dir.entries.push(entry);
            }
        }
    }
    Ok(dirs)
}

/// Files that have several names, by device and number, and the first name.
type Names = HashMap<(u64, u64), String>;

fn judge(entry: &DirEntry, path: String, limits: &Limits, names: &mut Names) -> Entry {
    let kind = entry.file_type();
    let mut same_as = None;
    let (size, refused) = match entry.metadata() {
        Err(error) => (0, Some(format!("it cannot be looked at: {error}"))),
        Ok(_) if kind.is_symlink() => (0, Some("it is a symbolic link".to_owned())),
        Ok(_) if !kind.is_file() => (0, Some("it is no regular file".to_owned())),
        Ok(meta) if meta.len() > limits.file_size => {
            (meta.len(), Some(too_large(meta.len(), limits)))
        }
        Ok(meta) => {
            if meta.nlink() > 1 {
                let id = (meta.dev(), meta.ino());
                same_as = names.get(&id).cloned();
                names.entry(id).or_insert_with(|| path.clone());
            }
            (meta.len(), None)
        }
    };
    Entry {
        path,
        size,
        refused,
        same_as,
    }
}

fn too_large(size: u64, limits: &Limits) -> String {
    format!("it has {size} bytes, the limit is {}", limits.file_size)
}

fn relative(root: &Path, path: &Path) -> Option<String> {
    path.strip_prefix(root).ok()?.to_str().map(str::to_owned)
}

/// Without the root: what is reported is the same on each machine.
fn shown(root: &Path, path: &Path) -> String {
    let path = path.strip_prefix(root).unwrap_or(path);
    path.to_string_lossy().into_owned()
}

fn is_below(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// `<namespace>/<pod>_<uid>/<container>/<incarnation>`.
fn place(path: &str) -> Option<Dir> {
    let mut parts = path.split('/');
    let (namespace, pod, container, id) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (pod, pod_uid) = pod.rsplit_once('_')?;
    let own = str::to_owned;
    Some(Dir {
        namespace: own(namespace),
        pod: own(pod),
        pod_uid: own(pod_uid),
        container: own(container),
        id: own(id),
        path: own(path),
        entries: vec![],
    })
}

/// The evidence folder, held open: files are opened below it and nowhere else.
pub(crate) struct Root {
    dir: File,
}

impl Root {
    pub(crate) fn open(path: &Path) -> Result<Root, Error> {
        let io = |source| Error::Io {
            action: "open",
            path: path.to_owned(),
            source,
        };
        Ok(Root {
            dir: File::open(path).map_err(io)?,
        })
    }

    /// The whole file, unless it is none or has grown beyond the limit.
    pub(crate) fn read(&self, path: &str, limits: &Limits) -> Result<Vec<u8>, String> {
        let unreadable = |error: io::Error| format!("it cannot be read: {error}");
        let file = self.open_file(path).map_err(unreadable)?;
        let meta = file.metadata().map_err(unreadable)?;
        if !meta.is_file() {
            return Err("it is no regular file".to_owned());
        }
        let mut bytes = Vec::new();
        let read = file.take(limits.file_size + 1).read_to_end(&mut bytes);
        match read.map_err(unreadable)? as u64 {
            size if size > limits.file_size => Err(too_large(size, limits)),
            _ => Ok(bytes),
        }
    }

    /// Without waiting for a pipe's other end, and without following a link
    /// that took a folder's place since it was looked at.
    pub(crate) fn open_file(&self, path: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::ResolveFlags;
            use rustix::io::Errno;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            match rustix::fs::openat2(&self.dir, path, flags, Mode::empty(), resolve) {
                // A kernel or sandbox without the call.
                Err(Errno::NOSYS | Errno::PERM) => {}
                opened => return Ok(File::from(opened?)),
            }
        }
        let file = rustix::fs::openat(&self.dir, path, flags, Mode::empty())?;
        Ok(File::from(file))
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_file_whose_name_is_no_text_is_lost_and_told_without_the_root() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("n/p_u/c/i");
        std::fs::create_dir_all(&dir).unwrap();
        let bad = OsStr::from_bytes(b"x\xff.profraw");
        std::fs::write(dir.join(bad), "abc").unwrap();
        std::fs::write(root.path().join(bad), "").unwrap();
        let mut findings = vec![];
        let dirs = walk(root.path(), &Limits::default(), &mut findings).unwrap();
        let [entry] = dirs[0].entries.as_slice() else {
            panic!("{dirs:?}");
        };
        assert_eq!(
            (entry.path.as_str(), entry.size),
            ("n/p_u/c/i/x\u{fffd}.profraw", 3)
        );
        assert_eq!(entry.refused.as_deref(), Some("its name is no text"));
        assert_eq!(findings.len(), 1);
        assert_eq!(
            findings[0].text,
            "x\u{fffd}.profraw is not opened: its name is no text"
        );
    }
}
