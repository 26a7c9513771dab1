//! Writes a report's folder: whole or not at all.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use podcov_profile::bundle::Bundle;

use crate::export::{GoProfile, go_text, lcov};
use crate::gate::Judgement;
use crate::html::{HtmlError, Pages};
use crate::report::Report;
use crate::text::markdown;

/// Where the texts of sources come from: a bundle's snapshot.
///
/// Several threads ask at once.
pub trait Sources: Sync {
    /// The bytes of a component's source; the path is relative to the root of
    /// its sources. `None` if there is none.
    fn bytes(&self, component: &str, path: &str) -> Option<Vec<u8>>;
}

impl<F: Fn(&str, &str) -> Option<Vec<u8>> + Sync> Sources for F {
    fn bytes(&self, component: &str, path: &str) -> Option<Vec<u8>> {
        self(component, path)
    }
}

/// No sources at all: pages show counts without text.
#[derive(Clone, Copy, Debug)]
pub struct NoSources;

impl Sources for NoSources {
    fn bytes(&self, _: &str, _: &str) -> Option<Vec<u8>> {
        None
    }
}

/// What a report's folder is made of.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The numbers and lines.
    pub report: &'a Report,
    /// What the gate says, if there is one.
    pub judgement: Option<&'a Judgement>,
    /// The texts.
    pub sources: &'a dyn Sources,
    /// What was built: hashes of sources, toolchains, commits. May be empty.
    pub bundles: &'a [Bundle],
    /// The merged text profiles of Go components, for `coverage.out`.
    pub go_profiles: &'a [GoProfile],
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The page to open.
    pub index: PathBuf,
    /// How many files there are.
    pub files: usize,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The folder could not be written.
    #[error("cannot write the report: {what} `{path}`")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The folder is there and is no report.
    #[error(
        "expected an empty folder or an earlier report at `{0}`, found other files; name another \
         folder or remove it yourself"
    )]
    NotAReport(PathBuf),
    /// A page could not be made.
    #[error(transparent)]
    Html(#[from] HtmlError),
}

/// Writes `index.html` and its pages, `summary.json`, `summary.md`,
/// `lcov.info` and, where there is Go, `coverage.out` and, where there is a
/// gate, `gate.json` into `out`.
///
/// It writes into a folder beside `out` and puts that in place at the end, so
/// that `out` is the old report or the new one and never half of one. An
/// earlier report is replaced; anything else is refused.
pub fn write_all(out: &Path, input: &Input<'_>) -> Result<Written, WriteError> {
    refuse_other_files(out)?;
    let temporary = beside(out, "new");
    let retired = beside(out, "old");
    for left_over in [&temporary, &retired] {
        remove(left_over)?;
    }
    let written = write_into(&temporary, input).and_then(|files| {
        if out.exists() {
            fs::rename(out, &retired).map_err(failed("set aside", out))?;
        }
        if let Err(error) = fs::rename(&temporary, out) {
            // Best effort: the error that is told is the first one.
            let _ = fs::rename(&retired, out);
            return Err(failed("put in place", out)(error));
        }
        Ok(files)
    });
    match written {
        Ok(files) => {
            remove(&retired)?;
            Ok(Written {
                index: out.join("index.html"),
                files,
            })
        }
        Err(error) => {
            let _ = fs::remove_dir_all(&temporary);
            Err(error)
        }
    }
}

fn write_into(folder: &Path, input: &Input<'_>) -> Result<usize, WriteError> {
    let files = AtomicUsize::new(0);
    let put = |name: &str, text: &str| -> Result<(), WriteError> {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed("make the folder", parent))?;
        }
        fs::write(&path, text).map_err(failed("write", &path))?;
        files.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    let report = input.report;
    put("summary.json", &report.summary.to_json())?;
    put("summary.md", &markdown(&report.summary, input.judgement))?;
    put("lcov.info", &lcov(report, input.bundles))?;
    if let Some(text) = go_text(report, input.go_profiles, input.bundles) {
        put("coverage.out", &text)?;
    }
    if let Some(judgement) = input.judgement {
        put("gate.json", &judgement.to_json())?;
    }
    Pages::new(input)?.render(put)?;
    Ok(files.into_inner())
}

/// A folder that holds something else than a report is never replaced.
fn refuse_other_files(out: &Path) -> Result<(), WriteError> {
    match fs::read_dir(out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(WriteError::NotAReport(out.to_owned()))
        }
        Err(error) => Err(failed("look into", out)(error)),
        Ok(mut entries) => {
            let is_report = out.join("index.html").is_file() && out.join("summary.json").is_file();
            if is_report || entries.next().is_none() {
                Ok(())
            } else {
                Err(WriteError::NotAReport(out.to_owned()))
            }
        }
    }
}

/// `.report.new` beside `report`.
fn beside(out: &Path, what: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(out.file_name().unwrap_or("report".as_ref()));
    name.push(format!(".{what}"));
    out.with_file_name(name)
}

fn remove(folder: &Path) -> Result<(), WriteError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    move |source| WriteError::Io { what, path, source }
}
