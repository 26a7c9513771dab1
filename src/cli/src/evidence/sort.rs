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
    /// What Go wrote of one process more than once: what it wrote at its end
    /// first, then the newest; with each whether it was written on the way.
    pub snapshots: Vec<Vec<(Source, bool)>>,
    /// All others, in any number.
    pub bulk: Vec<Source>,
    /// What was set aside.
    pub findings: Vec<Finding>,
}

/// Sorts files.
pub fn sort(files: Vec<Source>) -> Sorted {
    let mut sorted = Sorted::default();
    let mut processes: BTreeMap<Writer, Vec<(Source, Written)>> = BTreeMap::new();
    sorted.findings.extend(killed(&files));
    for source in files {
        match Name::parse(source.name()) {
            Some(Name::Leftover) => {
                let text = "the process was stopped while it wrote this file";
                sorted.findings.push(about(&source, Kind::Truncated, text));
            }
            Some(Name::Meta { .. }) => sorted.metas.push(source),
            Some(Name::Counters { pid, nanos, .. }) => {
                let is_live = in_live(&source);
                remember(&mut processes, source, pid, Written { is_live, nanos });
            }
            Some(Name::Live { pid, nanos }) => {
                let is_live = true;
                remember(&mut processes, source, pid, Written { is_live, nanos });
            }
            None => by_content(&mut sorted, source),
        }
    }
    for (writer, mut files) in processes {
        let several = files.len() > 1
            && (writer.is_process || files.iter().any(|(_, written)| written.is_live));
        if !several {
            sorted
                .bulk
                .extend(files.into_iter().map(|(source, _)| source));
            continue;
        }
        // What was written at the end first, then the newest.
        files.sort_by(|(_, a), (_, b)| (a.is_live, b.nanos).cmp(&(b.is_live, a.nanos)));
        let files = files.into_iter();
        sorted.snapshots.push(
            files
                .map(|(source, written)| (source, written.is_live))
                .collect(),
        );
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
/// container every program is number 1.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Writer {
    is_process: bool,
    folder: PathBuf,
    pid: u64,
}

struct Written {
    is_live: bool,
    nanos: u64,
}

fn in_live(source: &Source) -> bool {
    let folder = source.path.parent().and_then(Path::file_name);
    folder.is_some_and(|folder| folder == "live")
}

fn remember(
    processes: &mut BTreeMap<Writer, Vec<(Source, Written)>>,
    source: Source,
    pid: u64,
    written: Written,
) {
    let process = source.process();
    let folder = match &process {
        Some(process) => PathBuf::from(format!("{}/{}", process.run, process.process)),
        None => {
            let folder = source.path.parent().unwrap_or(Path::new(""));
            match in_live(&source) {
                true => folder.parent().unwrap_or(folder).to_owned(),
                false => folder.to_owned(),
            }
        }
    };
    let writer = Writer {
        is_process: process.is_some(),
        folder,
        pid,
    };
    processes.entry(writer).or_default().push((source, written));
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
