//! What the cluster said about the pods of a run, as it is kept in
//! `observed.json`.

use podcov_profile::ledger::Finding;
use serde::{Deserialize, Serialize};

/// Version of the JSON; readers refuse a newer one.
pub const SCHEMA: u32 = 1;

/// Every pod of the composition that was seen during a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// The run it was seen in.
    pub run: String,
    /// Ordered by namespace, name and UID.
    pub pods: Vec<Pod>,
    /// What happened to the watch itself, and to pods as a whole.
    pub findings: Vec<Finding>,
    /// Why and since when the cluster did not answer any more, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
}

/// One pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name; several pods may have had it.
    pub name: String,
    /// Its UID; no other pod ever has it.
    pub uid: String,
    /// RFC 3339.
    pub created: Option<String>,
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`.
    pub phase: String,
    /// All of its containers were ready when it was seen last.
    pub ready: bool,
    /// Why it was ended as a whole: `Evicted`, `Preempted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its deletion was asked for.
    pub deleting: bool,
    /// It is gone from the API server.
    pub gone: bool,
    /// Its containers that belong to the composition, in its own order.
    pub containers: Vec<Container>,
}

/// One container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its name in the pod.
    pub name: String,
    /// The component that runs in it.
    pub component: String,
    /// Its image, as the pod asks for it.
    pub image: String,
    /// The highest restart count that was seen; `None` when no container was
    /// ever made (the image could not be pulled).
    pub restarts: Option<u32>,
    /// What it waits for, if it does: `ImagePullBackOff`, `CrashLoopBackOff`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// Its starts that were seen, ordered by number.
    pub starts: Vec<Start>,
}

/// One start of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// 0 for the first.
    pub number: u32,
    /// What the container runtime calls it.
    pub container_id: String,
    /// RFC 3339; `None` when it was made and never ran.
    pub started: Option<String>,
    /// RFC 3339.
    pub finished: Option<String>,
    /// It ended.
    pub ended: bool,
    /// Exit status.
    pub code: Option<i32>,
    /// Signal, where the runtime says so.
    pub signal: Option<i32>,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`.
    pub reason: Option<String>,
    /// Its termination message.
    pub message: Option<String>,
}

impl Start {
    /// Whether a process ran in it. Runtimes make containers whose program
    /// cannot be started; no process, no incarnation.
    pub fn ran(&self) -> bool {
        self.started.is_some()
            || !matches!(
                self.reason.as_deref(),
                Some("StartError" | "ContainerCannotRun" | "CreateContainerError")
            )
    }
}

impl Container {
    /// Numbers of the starts that must have been and were not seen.
    pub fn unseen(&self) -> Vec<u32> {
        let Some(last) = self.restarts else {
            return vec![];
        };
        // A restart count from outside is not to make us allocate for hours.
        let all = 0..=last.min(100_000);
        all.filter(|number| self.starts.iter().all(|start| start.number != *number))
            .collect()
    }

    /// Whether it runs, as far as it was seen.
    pub fn is_running(&self) -> bool {
        self.starts
            .last()
            .is_some_and(|start| start.ran() && !start.ended)
    }
}

impl Observed {
    /// The pod with this UID.
    pub fn pod(&self, uid: &str) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.uid == uid)
    }

    /// The pods that are not gone.
    pub fn remaining(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|pod| !pod.gone)
    }
}
