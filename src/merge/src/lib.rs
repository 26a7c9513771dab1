//! Merging through LLVM's and Go's own tools: `--backend tools`.
//!
//! Evidence is sorted by the build it comes from (module `evidence`), each build's
//! is merged by the tools of its toolchain, and what they say becomes a
//! [`Coverage`]. The tools only ever see files that podcov's own readers have
//! accepted, because they crash on others; a file that is refused is copied
//! to the quarantine with the reason, and the ledger says so. Evidence itself
//! is only read.
#![forbid(unsafe_code)]

mod cargo_llvm_cov;
mod error;
mod evidence;
mod go;
mod phases;
mod quarantine;
mod reach;
mod rust;
pub mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use globset::{Glob, GlobSet, GlobSetBuilder};
use podcov_process::{Cancel, Progress};
use podcov_profile::bundle::{Bundle, Sources};
use podcov_profile::ledger::{Fate, Finding, Ledger, Seal};
use podcov_profile::model::{Binary, Component, Coverage, SCHEMA};
use podcov_profile::names::Language;

pub use cargo_llvm_cov::{Import, Imported, LaidOut, import, lay_out_for_cargo_llvm_cov};
pub use error::Error;
pub use evidence::verify;

/// What is to be merged, and where to.
pub struct Job<'a> {
    /// Name of the composition.
    pub composition: &'a str,
    /// The components in the order of `podcov.toml`, each with the folder of
    /// its bundle.
    pub components: Vec<(Bundle, PathBuf)>,
    /// The folder of evidence that paths in the ledger are relative to.
    pub evidence: &'a Path,
    /// What was collected; the files' fates are set here.
    pub ledger: &'a mut Ledger,
    /// `coverage/` of the run.
    pub out: &'a Path,
    /// `quarantine/` of the run.
    pub quarantine: &'a Path,
    /// `phases/` of the run, where the counts of phases are if it had some.
    pub phases: &'a Path,
    /// Globs of source files to count; none means all of the bundle's.
    pub include: &'a [String],
    /// Globs of source files not to count.
    pub exclude: &'a [String],
    /// What merges.
    pub backend: Backend,
}

/// What reads, merges and explains profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// podcov's own engine; needs no toolchain.
    Native,
    /// LLVM's and Go's tools, as the reference that the engine is held against.
    Tools {
        /// LLVM's may be installed if they are missing.
        install: bool,
    },
}

/// Merges a run's evidence, each file of which must be what was collected, writes `coverage.json` and what the tools made to
/// [`Job::out`], and sets the fates in the ledger (which the caller keeps).
///
/// Merging again gives the same: fates are found anew, except that what was
/// once rejected stays so.
pub fn merge(job: Job<'_>, progress: &dyn Progress, cancel: &Cancel) -> Result<Coverage, Error> {
    let filter = Filter::new(job.include, job.exclude)?;
    let written = job.out.join("coverage.json");
    remove_if_there(&written)?;
    for (bundle, _) in &job.components {
        remove_if_there(&job.out.join(&bundle.component))?;
    }
    progress.status("verifying the evidence");
    evidence::forget_broken_seals(job.ledger);
    verify(job.ledger, job.evidence, cancel)?;
    progress.status("sorting the evidence by build");
    let quarantine = quarantine::Quarantine::new(job.quarantine, job.evidence);
    let mut sorted = evidence::sort(
        job.ledger,
        &job.components,
        job.evidence,
        &quarantine,
        cancel,
    )?;
    // Who wants to know which phase reached what does without the tools.
    let phases = match job.backend {
        Backend::Native => phases::Attributed::read(job.phases, job.ledger)?,
        Backend::Tools { .. } => phases::Attributed::default(),
    };
    let mut components = Vec::new();
    for (index, (bundle, dir)) in job.components.iter().enumerate() {
        let mut binaries = Vec::new();
        for build in sorted.extract_if(.., |build| build.component == index) {
            cancel.check()?;
            progress.status(&format!(
                "merging {} ({})",
                bundle.component, build.identity
            ));
            let mut work = Work {
                bundle,
                bundle_dir: dir,
                out: job
                    .out
                    .join(&bundle.component)
                    .join(build.identity.dir_name()),
                filter: &filter,
                ledger: &mut *job.ledger,
                phases: &phases,
                quarantine: &quarantine,
                backend: job.backend,
                progress,
                cancel,
            };
            make_dir(&work.out)?;
            binaries.push(match bundle.language {
                Language::Rust => rust::merge(&mut work, &build)?,
                Language::Go => go::merge(&mut work, &build)?,
            });
        }
        if binaries.is_empty() {
            // Only of a program built for another machine is no identity known.
            let text = format!(
                "{}: nothing was collected of it, and its bundle does not say what could run",
                bundle.component
            );
            let finding = Finding {
                kind: "no-meta-data".to_owned(),
                text,
            };
            if !job.ledger.findings.contains(&finding) {
                job.ledger.findings.push(finding);
            }
        }
        binaries.sort_by(|a: &Binary, b| (&a.name, &a.identity).cmp(&(&b.name, &b.identity)));
        components.push(Component {
            name: bundle.component.clone(),
            language: bundle.language,
            kind: bundle.kind,
            binaries,
            incarnations_collected: 0,
            incarnations_lost: 0,
        });
    }
    evidence::settle(job.ledger);
    for component in &mut components {
        let of_it = || {
            job.ledger
                .incarnations
                .iter()
                .filter(|i| i.component == component.name)
        };
        let collected = of_it().filter(|i| i.fate == Fate::Collected).count();
        component.incarnations_collected = collected as u64;
        component.incarnations_lost = (of_it().count() - collected) as u64;
    }
    let composition = job.composition.to_owned();
    let coverage = Coverage {
        schema: SCHEMA,
        composition,
        components,
    };
    let bytes = serde_json::to_vec(&coverage).map_err(Error::Coverage)?;
    job.ledger.coverage = Some(Seal::of(&bytes));
    write_atomic(&written, &bytes)?;
    Ok(coverage)
}

/// One build to be merged, with all that takes.
struct Work<'a> {
    bundle: &'a Bundle,
    bundle_dir: &'a Path,
    /// `coverage/<component>/<identity>`.
    out: PathBuf,
    filter: &'a Filter,
    ledger: &'a mut Ledger,
    phases: &'a phases::Attributed,
    quarantine: &'a quarantine::Quarantine<'a>,
    backend: Backend,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

impl Work<'_> {
    fn find(&mut self, kind: &str, text: String) {
        let finding = Finding {
            kind: kind.to_owned(),
            text,
        };
        if !self.ledger.findings.contains(&finding) {
            self.ledger.findings.push(finding);
        }
    }

    /// Keeps the command lines that give the same numbers by hand.
    fn keep_commands(&self, commands: &[String]) -> Result<(), Error> {
        let text = format!("cd \"$(dirname \"$0\")\"\n{}\n", commands.join("\n"));
        write_atomic(&self.out.join("commands.txt"), text.as_bytes())
    }
}

/// Which source files count.
struct Filter {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Filter {
    fn new(include: &[String], exclude: &[String]) -> Result<Filter, Error> {
        let set = |globs: &[String]| {
            let mut set = GlobSetBuilder::new();
            for glob in globs {
                set.add(Glob::new(glob).map_err(Error::Glob)?);
            }
            set.build().map_err(Error::Glob)
        };
        let include = if include.is_empty() {
            None
        } else {
            Some(set(include)?)
        };
        Ok(Filter {
            include,
            exclude: set(exclude)?,
        })
    }

    /// What a report calls the file that a profile calls `path`, if it counts:
    /// one of the bundle's sources that no glob leaves out.
    fn counted(&self, sources: &Sources, path: &str) -> Option<String> {
        let name = sources.relative(path)?;
        let is_source = sources
            .files
            .binary_search_by(|file| file.path.as_str().cmp(&name))
            .is_ok()
            || sources.files.iter().any(|file| file.path == name);
        let is_included = self
            .include
            .as_ref()
            .is_none_or(|globs| globs.is_match(&name));
        (is_source && is_included && !self.exclude.is_match(&name)).then_some(name)
    }
}

fn make_dir(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(Error::io("make", dir))
}

fn remove_if_there(path: &Path) -> Result<(), Error> {
    let removed = match fs::symlink_metadata(path) {
        Ok(kind) if kind.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    removed.map_err(Error::io("remove", path))
}

/// Writes a file all or nothing; makes its folder.
fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    make_dir(podcov_process::folder_of(path))?;
    podcov_process::write_atomic(path, bytes).map_err(Error::io("write", path))
}
