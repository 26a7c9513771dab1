//! Which files the PATHs of a command stand for.
//!
//! A PATH is a file or a folder, which is walked in the order of names. Only
//! regular files are opened: a folder of evidence may hold pipes, devices and
//! links out of it, and a command must not wait on one or follow it. A link
//! counts where it is a PATH itself. One file given twice is told and read
//! once. The folder of a run stands for the evidence in it; there the process
//! that wrote a file is known, elsewhere only its place is.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use podcov_profile::evidence::Key;
use podcov_profile::finding::{Finding, Kind};

use crate::exit::{Exit, Failure};

/// Files that a run keeps beside its evidence.
const RECORDS: &[&str] = &["start.json", "exit.json"];
/// What a run leaves in its folder beside `evidence`.
const RUN_FILES: &[&str] = &["run.json", "ledger.json", "observed.json"];

/// A regular file that was given, or found in a folder that was.
#[derive(Clone, Debug)]
pub struct Source {
    /// As the user names it.
    pub path: PathBuf,
    /// Bytes, when it was found.
    pub size: u64,
    place: Place,
}

#[derive(Clone, Debug)]
struct Place {
    /// The canonical path that was given, and how long it is in `path`.
    root: Arc<Root>,
    /// What of `path` is below the root.
    below: usize,
}

#[derive(Debug)]
struct Root {
    canonical: PathBuf,
    /// Id of the run and the folder of its evidence.
    run: Option<(String, PathBuf)>,
}

/// All that was given.
#[derive(Debug, Default)]
pub struct Input {
    /// The files, ordered by path, each once.
    pub files: Vec<Source>,
    /// What was met that is not read.
    pub findings: Vec<Finding>,
    /// `-` is among the PATHs.
    pub stdin: bool,
}

/// The process that wrote a file of a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    /// Id of the run.
    pub run: String,
    /// `namespace/pod uid/container/incarnation`.
    pub process: String,
    /// The file in the incarnation's folder.
    pub file: String,
}

impl Source {
    /// The process that wrote it, where that is known.
    pub fn process(&self) -> Option<Process> {
        let (run, evidence) = self.place.root.run.as_ref()?;
        let canonical = self.canonical();
        let below = canonical.strip_prefix(evidence).ok()?;
        let parts: Vec<&str> = below
            .iter()
            .map(|part| part.to_str())
            .collect::<Option<_>>()?;
        let [namespace, pod, container, incarnation, file @ ..] = parts.as_slice() else {
            return None;
        };
        let (_, uid) = pod.rsplit_once('_')?;
        if file.is_empty() {
            return None;
        }
        Some(Process {
            run: run.clone(),
            process: format!("{namespace}/{uid}/{container}/{incarnation}"),
            file: file.join("/"),
        })
    }

    /// Which evidence it is.
    pub fn key(&self, origin: &str) -> Key {
        match self.process() {
            Some(Process { run, process, file }) => Key::of_process(run, process, file),
            None => Key::of_file(origin, self.canonical().as_os_str().as_bytes()),
        }
    }

    /// Its name without the folder.
    pub fn name(&self) -> &str {
        let name = self.path.file_name().and_then(|name| name.to_str());
        name.unwrap_or_default()
    }

    fn canonical(&self) -> PathBuf {
        let parts = self.path.components().count();
        let below = self.path.components().skip(parts - self.place.below);
        let mut canonical = self.place.root.canonical.clone();
        canonical.extend(below);
        canonical
    }
}

/// Finds the files of all PATHs.
pub fn find(paths: &[PathBuf]) -> Result<Input, Failure> {
    let mut input = Input::default();
    let mut found: Vec<(Source, (u64, u64))> = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            input.stdin = true;
            continue;
        }
        let meta = fs::metadata(path).map_err(|error| missing(path, &error))?;
        let canonical = fs::canonicalize(path).map_err(|error| missing(path, &error))?;
        let run = run_of(&canonical);
        let root = Arc::new(Root { canonical, run });
        if !meta.is_dir() {
            offer(&mut input, &mut found, path.clone(), &meta, (&root, 0));
            continue;
        }
        walk(&mut input, &mut found, path, root);
    }
    found.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
    let mut first: HashMap<(u64, u64), PathBuf> = HashMap::with_capacity(found.len());
    for (source, inode) in found {
        if let Some(known) = first.get(&inode) {
            let text = format!("the same file as {}", known.display());
            let path = source.path.display().to_string();
            input
                .findings
                .push(Finding::new(Kind::Duplicate, path, text));
            continue;
        }
        first.insert(inode, source.path.clone());
        input.files.push(source);
    }
    Ok(input)
}

fn missing(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::Usage,
        format!(
            "expected a file or a folder, found `{}`: {error}",
            path.display()
        ),
    )
}

fn is_run(dir: &Path) -> bool {
    RUN_FILES.iter().any(|name| dir.join(name).is_file())
}

/// The coverage.json that a run's merge left, if `dir` is such a run.
pub fn coverage_of_run(dir: &Path) -> Option<PathBuf> {
    let merged = dir.join("coverage").join("coverage.json");
    (is_run(dir) && merged.is_file()).then_some(merged)
}

/// The run that a path is in or of: its id and the folder of its evidence.
fn run_of(canonical: &Path) -> Option<(String, PathBuf)> {
    let dir = canonical
        .ancestors()
        .find(|dir| dir.join("evidence").is_dir() && is_run(dir))?;
    let id = dir.file_name()?.to_string_lossy().into_owned();
    Some((id, dir.join("evidence")))
}

fn offer(
    input: &mut Input,
    found: &mut Vec<(Source, (u64, u64))>,
    path: PathBuf,
    meta: &Metadata,
    (root, below): (&Arc<Root>, usize),
) {
    if !meta.is_file() {
        let text = format!("{} is not opened", kind_of(meta));
        let finding = Finding::new(Kind::NotAFile, path.display().to_string(), text);
        input.findings.push(finding.expected("a regular file"));
        return;
    }
    let source = Source {
        path,
        size: meta.len(),
        place: Place {
            root: Arc::clone(root),
            below,
        },
    };
    found.push((source, (meta.dev(), meta.ino())));
}

fn kind_of(meta: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = meta.file_type();
    match () {
        () if kind.is_symlink() => "a symbolic link in a folder",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}

/// A folder on its way, and how far below its root it is.
struct Folder {
    path: PathBuf,
    root: Arc<Root>,
    depth: usize,
}

impl Folder {
    /// A folder in this one. That of a run holds much that is no evidence, so
    /// its evidence stands for it, with the run as its root.
    fn below(&self, path: PathBuf) -> Folder {
        let evidence = path.join("evidence");
        let root = Arc::clone(&self.root);
        if !(is_run(&path) && evidence.is_dir()) {
            return Folder {
                path,
                root,
                depth: self.depth + 1,
            };
        }
        let mut canonical = root.canonical.clone();
        let parts = path.components().count();
        canonical.extend(path.components().skip(parts - self.depth - 1));
        let run = run_of(&canonical);
        Folder {
            path: evidence,
            root: Arc::new(Root { canonical, run }),
            depth: 1,
        }
    }
}

/// Folders on their way are kept in a list, so that none is too deep.
fn walk(input: &mut Input, found: &mut Vec<(Source, (u64, u64))>, top: &Path, root: Arc<Root>) {
    let evidence = top.join("evidence");
    let (path, depth) = match is_run(top) && evidence.is_dir() {
        true => (evidence, 1),
        false => (top.to_owned(), 0),
    };
    let mut folders = vec![Folder { path, root, depth }];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder.path) {
            Ok(entries) => entries,
            Err(error) => {
                unreadable(input, &folder.path, &error);
                continue;
            }
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    unreadable(input, &folder.path, &error);
                    break;
                }
            };
            let path = entry.path();
            let is_record = RECORDS.iter().any(|name| entry.file_name() == *name);
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => folders.push(folder.below(path)),
                Ok(meta) if meta.is_file() && is_record => {}
                Ok(meta) => {
                    offer(input, found, path, &meta, (&folder.root, folder.depth + 1));
                }
                Err(error) => unreadable(input, &path, &error),
            }
        }
    }
}

fn unreadable(input: &mut Input, path: &Path, error: &io::Error) {
    let path = path.display().to_string();
    input
        .findings
        .push(Finding::new(Kind::Unreadable, path, error.to_string()));
}
