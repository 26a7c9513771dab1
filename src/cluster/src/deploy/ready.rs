//! Whether a workload is ready.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{Api, Client};
use podcov_process::Cancel;

use super::manifest::Workload;
use crate::target::{Error, ask};

/// How a workload is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// Pods that are ready, or have done their work.
    pub(crate) ready: i32,
    /// Pods there are to be.
    pub(crate) wanted: i32,
    /// Nothing is left to wait for.
    pub(crate) done: bool,
    /// Everything of it runs, and it will end by itself some time.
    pub(crate) works: bool,
    /// It will never be ready.
    pub(crate) failed: Option<String>,
    /// What its controller complains about.
    pub(crate) complaint: Option<String>,
    /// Which pods are its own.
    pub(crate) selector: Selector,
}

/// Which pods belong to a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Selector {
    #[default]
    None,
    Name(String),
    Labels(Vec<(String, String)>),
}

impl Selector {
    pub(crate) fn fits(&self, pod: &Pod) -> bool {
        match self {
            Selector::None => false,
            Selector::Name(name) => pod.metadata.name.as_ref() == Some(name),
            Selector::Labels(wanted) => {
                let labels = pod.metadata.labels.as_ref();
                let has = |(key, value): &(String, String)| {
                    labels.is_some_and(|labels| labels.get(key) == Some(value))
                };
                !wanted.is_empty() && wanted.iter().all(has)
            }
        }
    }
}

fn labels(selector: Option<&LabelSelector>) -> Selector {
    let labels = selector
        .and_then(|selector| selector.match_labels.clone())
        .unwrap_or_default();
    Selector::Labels(labels.into_iter().collect())
}

/// Asks the API server how the workload is.
pub(crate) async fn readiness(
    client: &Client,
    workload: &Workload,
    cancel: &Cancel,
) -> Result<Readiness, Error> {
    let Workload {
        kind,
        namespace,
        name,
        ..
    } = workload;
    let action = format!("look at {kind} {namespace}/{name}");
    macro_rules! get {
        ($kind:ty) => {{
            let api: Api<$kind> = Api::namespaced(client.clone(), namespace);
            ask(&action, cancel, || api.get(name)).await?
        }};
    }
    Ok(match kind.as_str() {
        "Deployment" => deployment(&get!(Deployment)),
        "StatefulSet" => stateful_set(&get!(StatefulSet)),
        "DaemonSet" => daemon_set(&get!(DaemonSet)),
        "ReplicaSet" => replica_set(&get!(ReplicaSet)),
        "ReplicationController" => replication_controller(&get!(ReplicationController)),
        "Job" => {
            let api: Api<Job> = Api::namespaced(client.clone(), namespace);
            match ask(&action, cancel, || api.get_opt(name)).await? {
                Some(found) => job(&found),
                // It was done and its time to live over (ttlSecondsAfterFinished).
                None => Readiness {
                    done: true,
                    ..Readiness::default()
                },
            }
        }
        "Pod" => pod(&get!(Pod)),
        // A CronJob is ready when it is there.
        _ => Readiness {
            done: true,
            ..Readiness::default()
        },
    })
}

/// Whether a controller has seen the newest spec.
fn is_seen(generation: Option<i64>, observed: Option<i64>) -> bool {
    observed.unwrap_or(0) >= generation.unwrap_or(0)
}

fn deployment(object: &Deployment) -> Readiness {
    let spec = object.spec.as_ref();
    let status = object.status.clone().unwrap_or_default();
    let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let available = status.available_replicas.unwrap_or(0);
    let updated = status.updated_replicas.unwrap_or(0);
    let complaint = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "ReplicaFailure" && condition.status == "True"
            || condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
    });
    Readiness {
        ready: available.min(wanted),
        wanted,
        done: is_seen(object.metadata.generation, status.observed_generation)
            && updated >= wanted
            && available >= wanted
            // Pods of the template before are still there otherwise.
            && status.replicas.unwrap_or(0) <= updated,
        complaint: complaint.and_then(|condition| condition.message.clone()),
        selector: labels(spec.map(|spec| &spec.selector)),
        ..Readiness::default()
    }
}

/// Whether all pods of the newest template are ready, and no others are left.
pub(crate) fn is_complete(object: &Deployment) -> bool {
    deployment(object).done
}

fn stateful_set(object: &StatefulSet) -> Readiness {
    let spec = object.spec.as_ref();
    let status = object.status.clone().unwrap_or_default();
    let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let ready = status.ready_replicas.unwrap_or(0);
    let strategy = spec.and_then(|spec| spec.update_strategy.as_ref());
    let by_hand = strategy.is_some_and(|s| s.type_.as_deref() == Some("OnDelete"));
    let updated = by_hand || status.updated_replicas.unwrap_or(0) >= wanted;
    Readiness {
        ready: ready.min(wanted),
        wanted,
        done: is_seen(object.metadata.generation, status.observed_generation)
            && updated
            && ready >= wanted,
        selector: labels(spec.map(|spec| &spec.selector)),
        ..Readiness::default()
    }
}

fn daemon_set(object: &DaemonSet) -> Readiness {
    let status = object.status.clone().unwrap_or_default();
    let wanted = status.desired_number_scheduled;
    Readiness {
        ready: status.number_ready.min(wanted),
        wanted,
        done: is_seen(object.metadata.generation, status.observed_generation)
            && status.updated_number_scheduled.unwrap_or(0) >= wanted
            && status.number_ready >= wanted,
        selector: labels(object.spec.as_ref().map(|spec| &spec.selector)),
        ..Readiness::default()
    }
}

fn replica_set(object: &ReplicaSet) -> Readiness {
    let spec = object.spec.as_ref();
    let status = object.status.clone().unwrap_or_default();
    let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let ready = status.ready_replicas.unwrap_or(0);
    Readiness {
        ready: ready.min(wanted),
        wanted,
        done: is_seen(object.metadata.generation, status.observed_generation) && ready >= wanted,
        selector: labels(spec.map(|spec| &spec.selector)),
        ..Readiness::default()
    }
}

fn replication_controller(object: &ReplicationController) -> Readiness {
    let spec = object.spec.as_ref();
    let status = object.status.clone().unwrap_or_default();
    let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let ready = status.ready_replicas.unwrap_or(0);
    let selector = spec.and_then(|spec| spec.selector.clone());
    Readiness {
        ready: ready.min(wanted),
        wanted,
        done: is_seen(object.metadata.generation, status.observed_generation) && ready >= wanted,
        selector: Selector::Labels(selector.unwrap_or_default().into_iter().collect()),
        ..Readiness::default()
    }
}

fn job(object: &Job) -> Readiness {
    let spec = object.spec.as_ref();
    let status = object.status.clone().unwrap_or_default();
    let is = |kind: &str| {
        let mut conditions = status.conditions.iter().flatten();
        conditions.find(|c| c.type_ == kind && c.status == "True")
    };
    let wanted = spec
        .and_then(|spec| spec.completions.or(spec.parallelism))
        .unwrap_or(1);
    let succeeded = status.succeeded.unwrap_or(0);
    let running = status.ready.unwrap_or(0);
    let suspended = spec.and_then(|spec| spec.suspend) == Some(true);
    let name = object.metadata.name.clone().unwrap_or_default();
    let failed = is("Failed").map(|condition| {
        let why = condition.message.clone().unwrap_or_default();
        format!("the job failed: {why}")
    });
    Readiness {
        ready: (succeeded + running).min(wanted),
        wanted,
        done: suspended || is("Complete").is_some(),
        works: running > 0 && succeeded + running >= wanted.min(status.active.unwrap_or(wanted)),
        failed,
        selector: Selector::Labels(vec![("batch.kubernetes.io/job-name".to_owned(), name)]),
        complaint: None,
    }
}

fn pod(object: &Pod) -> Readiness {
    let status = object.status.clone().unwrap_or_default();
    let phase = status.phase.as_deref().unwrap_or_default();
    let mut conditions = status.conditions.iter().flatten();
    let is_ready = conditions.any(|c| c.type_ == "Ready" && c.status == "True");
    let done = is_ready || phase == "Succeeded";
    Readiness {
        ready: i32::from(done),
        wanted: 1,
        done,
        failed: (phase == "Failed").then(|| {
            let why = status.message.or(status.reason).unwrap_or_default();
            format!("the pod failed {why}").trim_end().to_owned()
        }),
        selector: Selector::Name(object.metadata.name.clone().unwrap_or_default()),
        ..Readiness::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn deployment_with(status: Value) -> Readiness {
        deployment(&object(json!({
            "metadata": {"name": "a", "generation": 2},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "a"}}, "template": {}},
            "status": status,
        })))
    }

    #[test]
    fn a_deployment_is_ready_when_the_newest_template_is_and_no_old_pod_is_left() {
        let status = |seen, replicas, updated, available| {
            let done = deployment_with(json!({"observedGeneration": seen, "replicas": replicas,
                "updatedReplicas": updated, "availableReplicas": available}));
            done.done
        };
        assert!(status(2, 2, 2, 2));
        assert!(
            !status(1, 2, 2, 2),
            "the controller has not seen the newest spec"
        );
        assert!(!status(2, 3, 2, 2), "an old pod is left");
        assert!(!status(2, 2, 2, 1));
        assert!(!deployment_with(json!({})).done);
    }

    #[test]
    fn a_job_is_done_works_or_failed() {
        let job_with = |status: Value| {
            job(&object(
                json!({"metadata": {"name": "j"}, "spec": {"template": {}}, "status": status}),
            ))
        };
        let complete = job_with(json!({"succeeded": 1,
            "conditions": [{"type": "Complete", "status": "True"}]}));
        assert!(complete.done);
        let runs = job_with(json!({"active": 1, "ready": 1}));
        assert!(runs.works && !runs.done);
        let failed = job_with(json!({"conditions":
            [{"type": "Failed", "status": "True", "message": "backoff limit"}]}));
        assert_eq!(failed.failed.unwrap(), "the job failed: backoff limit");
    }
}
