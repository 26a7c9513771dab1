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
    /// It says itself that it is of this run; else only an image speaks for it.
    #[serde(default)]
    pub of_run: bool,
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
    /// Why the webhook did not patch it, if it should have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_injected: Option<String>,
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
    /// cannot be started, and kubelet speaks of containers that it lost before
    /// it knew them; no process, no incarnation.
    pub fn ran(&self) -> bool {
        let is_not_started = matches!(
            self.reason.as_deref(),
            Some("StartError" | "ContainerCannotRun" | "CreateContainerError")
        );
        self.started.is_some() || !(is_not_started || self.container_id.is_empty())
    }
}

impl Pod {
    fn absorb(&mut self, later: Pod) {
        let earlier = std::mem::replace(self, later);
        for container in earlier.containers {
            match self
                .containers
                .iter_mut()
                .find(|known| known.name == container.name)
            {
                Some(known) => known.absorb_earlier(container),
                None => self.containers.push(container),
            }
        }
    }
}

impl Container {
    fn absorb_earlier(&mut self, earlier: Container) {
        self.restarts = self.restarts.max(earlier.restarts);
        // The earlier watch saw it created.
        self.not_injected = earlier.not_injected.or(self.not_injected.take());
        for start in earlier.starts {
            if self.starts.iter().all(|known| known.number != start.number) {
                self.starts.push(start);
            }
        }
        self.starts.sort_by_key(|start| start.number);
    }

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
}

impl Observed {
    /// Adds what another watch saw, later, in the same run: a step that is run
    /// as a command of its own watches only while it runs.
    pub fn absorb(&mut self, later: Observed) {
        self.schema = later.schema;
        self.run.clone_from(&later.run);
        for pod in &mut self.pods {
            // Watches list what is there; what is not in the later one went
            // in between.
            pod.gone |= later.pod(&pod.uid).is_none();
        }
        for pod in later.pods {
            match self.pods.iter_mut().find(|known| known.uid == pod.uid) {
                Some(known) => known.absorb(pod),
                None => self.pods.push(pod),
            }
        }
        self.pods
            .sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
        for finding in later.findings {
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
        self.lost = later.lost;
    }

    /// The pod with this UID.
    pub fn pod(&self, uid: &str) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.uid == uid)
    }

    /// The pods that are not gone.
    pub fn remaining(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|pod| !pod.gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, numbers: &[u32]) -> Pod {
        let starts = numbers.iter().map(|&number| Start {
            number,
            ..Start::default()
        });
        let container = Container {
            name: "manager".into(),
            restarts: numbers.last().copied(),
            starts: starts.collect(),
            ..Container::default()
        };
        Pod {
            uid: uid.into(),
            containers: vec![container],
            ..Pod::default()
        }
    }

    fn observed(pods: Vec<Pod>) -> Observed {
        Observed {
            schema: SCHEMA,
            pods,
            ..Observed::default()
        }
    }

    #[test]
    fn two_watches_of_one_run_see_what_each_saw() {
        let mut seen = observed(vec![pod("a", &[0]), pod("b", &[0, 1])]);
        seen.absorb(observed(vec![pod("b", &[1, 2]), pod("c", &[0])]));
        let uids: Vec<&str> = seen.pods.iter().map(|pod| pod.uid.as_str()).collect();
        assert_eq!(uids, ["a", "b", "c"]);
        assert!(seen.pods[0].gone);
        let numbers: Vec<u32> = seen.pods[1].containers[0]
            .starts
            .iter()
            .map(|start| start.number)
            .collect();
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!(seen.pods[1].containers[0].restarts, Some(2));
    }
}
