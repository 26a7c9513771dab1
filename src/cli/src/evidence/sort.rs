//! What to do with each file before any is read as a whole: by its name, or
//! by its first bytes where the name says nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use podcov_profile::finding::{Finding, Kind};
use podcov_profile::go::files::{Name, is_meta};
use podcov_profile::store::is_store;

use super::input::Source;
use super::read::open;

/// So many bytes tell what a file is.
const HEAD: usize = 512;

/// The files by what has to be done with them first.
#[derive(Debug, Default)]
pub struct Sorted {
    /// podcov files: they hold keys that others are held against.
    pub stores: Vec<Source>,
    /// Go's meta-data: counters are read by them.
    pub metas: Vec<Source>,
    /// Reports of lines: LCOV, Cobertura, JSON.
    pub reports: Vec<Source>,
    /// What there is of one process of Go more than once: what is believed
    /// most first, then the newest.
    pub snapshots: Vec<Vec<(Source, Written)>>,
    /// All others, in any number.
    pub bulk: Vec<Source>,
    /// What was set aside.
    pub findings: Vec<Finding>,
}

/// How counters came into a file, and when.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// How.
    pub how: How,
    /// The start of the process for what is mapped, and for what it writes
    /// then at its end; else when the file was written.
    pub nanos: u64,
}

/// How counters came into a file. The order is that in which they are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// It is mapped over them, and so holds all there ever were.
    Mapped,
    /// By Go: at the end of the process, or when the program asked for it.
    ByGo,
    /// By podcov, on the way.
    Ticker,
}

/// Sorts files.
pub fn sort(files: Vec<Source>) -> Sorted {
    let mut sorted = Sorted::default();
    let mut processes: BTreeMap<Writer, Vec<(Source, Written)>> = BTreeMap::new();
    sorted.findings.extend(killed(&files));
    let mapped: BTreeSet<(PathBuf, u64, u64)> = files.iter().filter_map(mapped).collect();
    for source in files {
        match Name::parse(source.name()) {
            Some(Name::Leftover) => {
                let text = "the process was stopped while it wrote this file";
                sorted.findings.push(about(&source, Kind::Truncated, text));
            }
            Some(Name::Meta { .. }) => sorted.metas.push(source),
            Some(Name::Counters { pid, nanos, .. }) => {
                let how = match in_live(&source) {
                    true => How::Ticker,
                    false => How::ByGo,
                };
                let start = mapped.get(&(folder(&source), pid, nanos)).map(|_| nanos);
                let writer = writer(&source, pid, start);
                let files = processes.entry(writer).or_default();
                files.push((source, Written { how, nanos }));
            }
            Some(Name::Live { pid, nanos }) => {
                let how = How::Mapped;
                let writer = writer(&source, pid, Some(nanos));
                let files = processes.entry(writer).or_default();
                files.push((source, Written { how, nanos }));
            }
            None => by_content(&mut sorted, source),
        }
    }
    for (writer, mut files) in processes {
        let is_told = |(_, written): &(Source, Written)| written.how != How::ByGo;
        let several = files.len() > 1 && (writer.is_process || files.iter().any(is_told));
        if !several {
            sorted
                .bulk
                .extend(files.into_iter().map(|(source, _)| source));
            continue;
        }
        files.sort_by(|(_, a), (_, b)| (a.how, b.nanos).cmp(&(b.how, a.nanos)));
        sorted.snapshots.push(files);
    }
    sorted.bulk.sort_by(|a, b| a.path.cmp(&b.path));
    sorted
}

/// Processes of a run that left meta-data and no counters. In a plain folder
/// nothing says that the one and the other are of one process.
fn killed(files: &[Source]) -> Vec<Finding> {
    let mut counted = BTreeSet::new();
    let mut started = BTreeMap::new();
    for source in files {
        let name = Name::parse(source.name());
        let Some(process) = name.as_ref().and_then(|_| source.process()) else {
            continue;
        };
        let process = (process.run, process.process);
        match name {
            Some(Name::Meta { .. }) => {
                started.entry(process).or_insert(source);
            }
            Some(Name::Counters { .. } | Name::Live { .. }) => {
                counted.insert(process);
            }
            _ => {}
        }
    }
    let killed = started
        .iter()
        .filter(|(process, _)| !counted.contains(*process));
    let text = "meta-data alone: the process was stopped before it wrote what it did";
    let finding = |(_, source): (_, &&Source)| about(source, Kind::NoCounters, text);
    killed
        .map(|one| finding(one).expected("counters beside it"))
        .collect()
}

/// Who wrote counters of Go. A process id alone names no process: in its
/// container every program is number 1. Its start does, where it is known.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Writer {
    is_process: bool,
    folder: PathBuf,
    pid: u64,
    start: Option<u64>,
}

fn in_live(source: &Source) -> bool {
    let folder = source.path.parent().and_then(Path::file_name);
    folder.is_some_and(|folder| folder == "live")
}

/// The process whose counters a file is mapped over.
fn mapped(source: &Source) -> Option<(PathBuf, u64, u64)> {
    match Name::parse(source.name()) {
        Some(Name::Live { pid, nanos }) => Some((folder(source), pid, nanos)),
        _ => None,
    }
}

fn folder(source: &Source) -> PathBuf {
    source.path.parent().unwrap_or(Path::new("")).to_owned()
}

fn writer(source: &Source, pid: u64, start: Option<u64>) -> Writer {
    if let Some(process) = source.process() {
        return Writer {
            is_process: true,
            folder: PathBuf::from(format!("{}/{}", process.run, process.process)),
            pid,
            start: None,
        };
    }
    let mut folder = folder(source);
    if in_live(source) {
        folder.pop();
    }
    Writer {
        is_process: false,
        folder,
        pid,
        start,
    }
}

fn by_content(sorted: &mut Sorted, source: Source) {
    if source.name().ends_with(".profraw") {
        sorted.bulk.push(source);
        return;
    }
    match head(&source.path) {
        Err(error) => {
            let finding = about(&source, Kind::Unreadable, error.to_string());
            sorted.findings.push(finding);
        }
        Ok(head) if is_store(&head) => sorted.stores.push(source),
        Ok(head) if is_meta(&head) => sorted.metas.push(source),
        Ok(head) if is_report(&head) => sorted.reports.push(source),
        Ok(_) => sorted.bulk.push(source),
    }
}

/// The first bytes of a file.
pub fn head(path: &Path) -> std::io::Result<Vec<u8>> {
    let (file, _) = open(path)?;
    let mut bytes = Vec::with_capacity(HEAD);
    file.take(HEAD as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether bytes begin like JSON, XML or LCOV.
pub fn is_report(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let text = head.trim_ascii_start();
    text.starts_with(b"{")
        || text.starts_with(b"<?xml")
        || text.starts_with(b"<!DOCTYPE")
        || text.starts_with(b"<coverage")
        || text.starts_with(b"TN:")
        || text.starts_with(b"SF:")
}

/// A finding about a file.
pub fn about(source: &Source, kind: Kind, text: impl Into<String>) -> Finding {
    Finding::new(kind, source.path.display().to_string(), text)
}
