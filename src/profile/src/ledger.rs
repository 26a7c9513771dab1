//! The account of every incarnation and every file of evidence: each has
//! exactly one fate, and the fates add up to what was seen.
//!
//! It is also the seal of the evidence: each file has its length and SHA-256
//! here, and the ledger's JSON has a digest of its own (see [`Seal`]).

mod cause;
mod seal;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Identity;

pub use cause::{Cause, Verdict, fate_of, is_stood_in_for};
pub use seal::{Broken, LedgerError, Seal};

/// Version of the ledger's JSON; readers refuse a newer one.
pub const SCHEMA: u32 = 2;

/// `ledger.json` of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// The run it accounts for.
    pub run: String,
    /// Every process lifetime that the cluster or the profile volume knows of,
    /// ordered by component, pod, container, start.
    pub incarnations: Vec<Incarnation>,
    /// Things seen that are not an incarnation's: stale files of an earlier
    /// run, a watch that had to be restarted, a pod gone before it was seen.
    pub findings: Vec<Finding>,
    /// `coverage.json` that was merged from it; `None` until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Seal>,
}

/// One process lifetime: the unit of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incarnation {
    /// Component it is a lifetime of; empty when nothing says.
    pub component: String,
    /// Namespace of its pod; `_host` for processes outside the cluster.
    pub namespace: String,
    /// Name of its pod.
    pub pod: String,
    /// UID of its pod.
    pub pod_uid: String,
    /// Container in the pod.
    pub container: String,
    /// Name of its directory below the container's; `None` when it left none.
    pub id: Option<String>,
    /// Which start of the container this was, 0 for the first, as far as the
    /// cluster told.
    pub restart: Option<u32>,
    /// What the launcher says was started.
    pub identity: Option<Identity>,
    /// RFC 3339, UTC.
    pub start: Option<String>,
    /// RFC 3339, UTC; `None` when nothing says when it ended.
    pub end: Option<String>,
    /// The phase that it was started for (`PODCOV_PHASE`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// How it ended.
    pub ended: Ended,
    /// How often it wrote its counters, in milliseconds, where they were not
    /// in the file at every moment: what it counted since is lost when it is
    /// killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
    /// What became of it.
    pub fate: Fate,
    /// Why some or all of its evidence is lost, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The cause in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Its files, ordered by path.
    pub files: Vec<File>,
}

/// How a process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Exit status, if it ended by itself.
    pub code: Option<i32>,
    /// Signal, if one ended it.
    pub signal: Option<i32>,
    /// What Kubernetes calls it: `Completed`, `Error`, `OOMKilled`, `Evicted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of a file or an incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// Incarnation: its evidence is in the store and good.
    Collected,
    /// File: counted.
    Merged,
    /// File: the same evidence as another one.
    Duplicate,
    /// File: a later one of the same process says all it says, and more.
    Superseded,
    /// It is there and holds nothing: the process was stopped before it wrote.
    Empty,
    /// It is damaged; set aside.
    Rejected,
    /// It comes from a build that no bundle of this run knows; set aside.
    Foreign,
    /// It must have been, and nothing of it was found.
    Missing,
    /// File: no evidence, kept for the record (`start.json`, `exit.json`, and
    /// `ticker.json` of a process whose last counts a kill may have taken).
    Record,
}

/// One file an incarnation left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Relative to the evidence folder of the run, `/`-separated.
    pub path: String,
    /// What it is by its content.
    pub format: Format,
    /// Bytes.
    pub size: u64,
    /// SHA-256, hex.
    pub sha256: String,
    /// Which build wrote it, as far as the file says.
    pub identity: Option<Identity>,
    /// What became of it.
    pub fate: Fate,
    /// Why it does not count although it should, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Why, where the fate is not `Merged` or `Record`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// The formats of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// LLVM raw profile.
    Profraw,
    /// LLVM indexed profile.
    Profdata,
    /// Go coverage meta-data.
    Covmeta,
    /// Go coverage counters.
    Covcounters,
    /// Counters of Go in a file that a process maps over them.
    Covlive,
    /// Go text profile.
    Gotext,
    /// `start.json`, `exit.json`, `ticker.json`.
    Record,
    /// Something else.
    Unknown,
}

/// Something the user should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A short word for what it is: `stale`, `watch-restarted`, `unseen-pod`.
    pub kind: String,
    /// What and where, in one sentence.
    pub text: String,
}

impl Incarnation {
    /// Whether its evidence does not count although it ran.
    pub fn is_lost(&self) -> bool {
        self.fate != Fate::Collected
    }

    /// Finds its fate anew from those of its files.
    pub fn settle(&mut self) {
        let Verdict {
            fate,
            cause,
            reason,
        } = fate_of(&self.files, self.interval_ms);
        (self.fate, self.cause, self.reason) = (fate, cause, reason);
    }

    /// `namespace/pod container (start 2)`, for messages.
    pub fn label(&self) -> String {
        let start = self
            .restart
            .map_or(String::new(), |n| format!(" (start {})", n + 1));
        format!(
            "{}/{} container {}{start}",
            self.namespace, self.pod, self.container
        )
    }
}

impl Format {
    /// Whether a file of this format holds counts.
    pub fn holds_counts(self) -> bool {
        matches!(
            self,
            Format::Profraw
                | Format::Profdata
                | Format::Covcounters
                | Format::Covlive
                | Format::Gotext
        )
    }
}

impl Ledger {
    /// How many incarnations had each fate.
    pub fn fates(&self) -> BTreeMap<Fate, usize> {
        let mut fates = BTreeMap::new();
        for incarnation in &self.incarnations {
            *fates.entry(incarnation.fate).or_default() += 1;
        }
        fates
    }

    /// How many files had each fate.
    pub fn file_fates(&self) -> BTreeMap<Fate, usize> {
        let mut fates = BTreeMap::new();
        for file in self.incarnations.iter().flat_map(|i| &i.files) {
            *fates.entry(file.fate).or_default() += 1;
        }
        fates
    }

    /// The incarnations whose evidence does not count.
    pub fn lost(&self) -> impl Iterator<Item = &Incarnation> {
        self.incarnations.iter().filter(|i| i.is_lost())
    }
}
