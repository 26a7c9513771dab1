//! Files every incarnation: what the cluster started and what the profile
//! volume holds become one account, in which each has exactly one fate.
//!
//! Needs no cluster: works on what was observed and on the folder alone, so
//! that a cluster that went away in the middle costs no evidence.

mod earlier;
mod judge;
mod reconcile;
mod row;
pub mod size;
pub mod snapshot;
mod walk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use podcov_process::{Cancel, Cancelled, Progress};
use podcov_profile::bundle::Bundle;
use podcov_profile::ledger::{Finding, Incarnation, Ledger, SCHEMA};

use self::judge::{ExitRecord, Judge, StartRecord};
use self::walk::{Dir, Root};
use crate::store;
use crate::watch::observed::Observed;

/// Namespace of processes on the machine itself.
pub const HOST: &str = "_host";

/// Why there is no account.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The evidence folder cannot be read.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is more than anybody can mean.
    #[error(
        "{} holds more than {limit} files and folders: look which component writes them, \
         and collect again",
        .path.display()
    )]
    TooMany {
        /// The evidence folder.
        path: PathBuf,
        /// How many are allowed.
        limit: u64,
    },
    /// The quarantine cannot be written.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What one collection reads at most. Pods can write anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one file; a larger one is rejected unread.
    pub file_size: u64,
    /// Files of one incarnation; more are told and not read.
    pub files_per_incarnation: u64,
    /// Files and folders altogether; more are an error.
    pub files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            file_size: 256 << 20,
            files_per_incarnation: 10_000,
            files: 1_000_000,
        }
    }
}

/// What is collected from what.
pub struct Gather<'a> {
    /// The run whose evidence it is.
    pub run: &'a str,
    /// The root of the profile volume.
    pub evidence: &'a Path,
    /// Where damaged and foreign files are copied to.
    pub quarantine: &'a Path,
    /// Where container logs are, to learn why there is no evidence.
    pub logs: Option<&'a Path>,
    /// The builds of this run.
    pub bundles: &'a [Bundle],
    /// What the watch saw; the default for a run without a cluster.
    pub observed: &'a Observed,
    /// What was collected of the run before: what of it is gone or another is
    /// told. Its seal holds for incarnations that had ended.
    pub earlier: Option<&'a Ledger>,
    /// What is read at most.
    pub limits: Limits,
    /// Where to say how far it is.
    pub progress: &'a dyn Progress,
    /// A request to stop.
    pub cancel: &'a Cancel,
}

/// A folder, and what its launcher said.
pub(crate) struct Recorded<'a> {
    dir: Dir,
    before: Option<&'a Incarnation>,
    start: StartRecord,
    has_record: bool,
    exit: Option<ExitRecord>,
}

pub(crate) fn finding(kind: &str, text: String) -> Finding {
    Finding {
        kind: kind.to_owned(),
        text,
    }
}

/// Makes the account. Reads the evidence and changes nothing in it; copies of
/// what is set aside go to the quarantine. Twice the same input, twice the
/// same account.
pub fn collect(gather: &Gather<'_>) -> Result<Ledger, Error> {
    let mut findings = gather.observed.findings.clone();
    if let Some(lost) = &gather.observed.lost {
        findings.push(finding("cluster-lost", lost.clone()));
    }
    gather.progress.status("looking through the evidence");
    let dirs = walk::walk(gather.evidence, &gather.limits, &mut findings)?;
    let root = Root::open(gather.evidence)?;
    let judge = Judge {
        root: &root,
        quarantine: gather.quarantine,
        bundles: gather.bundles,
        limits: &gather.limits,
    };
    let mut groups: BTreeMap<row::Place, Vec<Recorded<'_>>> = BTreeMap::new();
    let sealed = earlier::sealed(gather.earlier.filter(|ledger| ledger.run == gather.run));
    let gone = earlier::gone(&sealed, &dirs);
    for recorded in gone {
        groups
            .entry(row::Place::of(&recorded.dir))
            .or_default()
            .push(recorded);
    }
    for dir in dirs {
        gather.cancel.check()?;
        let record = judge.start_record(&dir);
        if let Some(text) = stale(gather, &dir, record.as_ref()) {
            findings.push(finding("stale", text));
            continue;
        }
        let exit = judge.exit_record(&dir);
        let has_record = record.is_some();
        if !has_record {
            let text = format!("{} has no start.json that can be read", dir.path);
            findings.push(finding("no-start-record", text));
        }
        let recorded = Recorded {
            start: record.unwrap_or_default(),
            has_record,
            exit,
            before: sealed.get(dir.path.as_str()).copied(),
            dir,
        };
        groups
            .entry(row::Place::of(&recorded.dir))
            .or_default()
            .push(recorded);
    }
    let mut rows = row::Rows {
        gather,
        judge: &judge,
        findings: &mut findings,
        rows: vec![],
    };
    for pod in &gather.observed.pods {
        for container in &pod.containers {
            let place = row::Place::observed(pod, container);
            let dirs = groups.remove(&place).unwrap_or_default();
            rows.observed(pod, container, dirs)?;
        }
    }
    for (place, dirs) in groups {
        rows.unobserved(&place, dirs)?;
    }
    let mut incarnations = rows.rows;
    incarnations.sort_by(|a, b| order(a).cmp(&order(b)));
    findings.sort_by(|a, b| (&a.kind, &a.text).cmp(&(&b.kind, &b.text)));
    findings.dedup();
    Ok(Ledger {
        schema: SCHEMA,
        run: gather.run.to_owned(),
        incarnations,
        findings,
        coverage: None,
    })
}

/// Why the folder is not this run's, if it is not.
fn stale(gather: &Gather<'_>, dir: &Dir, record: Option<&StartRecord>) -> Option<String> {
    match record {
        Some(record) if !record.run.is_empty() && record.run != gather.run => Some(format!(
            "{} is of run {}; not counted",
            dir.path, record.run
        )),
        _ => None,
    }
}

fn order(row: &Incarnation) -> impl Ord + '_ {
    (
        (
            &row.component,
            &row.namespace,
            &row.pod,
            &row.pod_uid,
            &row.container,
        ),
        (row.restart, &row.start, &row.id),
    )
}
