//! Ends everything that was deployed, in an order in which each part can still
//! do its clean-up, because clean-up is code that is to be measured, too.
//!
//! 1. Clients, and what starts them (CronJobs, Jobs): nobody asks for more.
//! 2. The custom resources that came into being since deployment are deleted
//!    and waited for: finalizers run while their operators live.
//! 3. The pods that operators created, as far as they did not go with 2.
//! 4. Operators: Deployments and StatefulSets are scaled to 0, the other kinds
//!    deleted.
//! 5. Everything else of the rendering, and whatever is left.
//!
//! Each step waits until its pods are gone from the API server, by UID: then
//! their processes are dead and their evidence is complete. None waits for
//! ever, and what does not end in its time is told.

use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use podcov_process::{Cancel, Progress};
use podcov_profile::names::Kind;
use serde_json::json;

use crate::deploy::{Crd, Deployed, Workload};
use crate::logs;
use crate::target::{Error, Target, ask, not_found, pause, runtime};
use crate::watch::Watcher;
use crate::watch::observed::Pod;

/// How far up the owners of a pod are followed.
const OWNERS: usize = 6;
/// How often the API server is asked about pods the watch says are there.
const ASK: Duration = Duration::from_secs(3);
/// How long pods that operators created get to go by themselves, once all
/// custom resources are gone.
const PATIENCE: Duration = Duration::from_secs(3);

/// How much later than its own time a pod may end: kubelet has to kill it and
/// tell the API server.
const MARGIN: Duration = Duration::from_secs(2);

/// What became of the pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Pods that were there and are gone.
    pub ended: usize,
    /// Pods that did not end in their time and were removed by force; their
    /// processes may have been killed in the middle of a write.
    pub forced: Vec<String>,
    /// What did not go as it should. Findings of the watch, too, and so in the
    /// ledger.
    pub notes: Vec<String>,
    /// How long it took.
    pub elapsed: Duration,
}

struct Stop<'a> {
    client: Client,
    watcher: &'a Watcher,
    deployed: &'a Deployed,
    grace: Duration,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
    done: Stopped,
}

/// Ends everything. Each of the steps above gets `grace` at most. Logs of the
/// pods are saved to `logs` before they go.
pub fn stop(
    target: &Target,
    watcher: &Watcher,
    deployed: &Deployed,
    grace: Duration,
    logs: Option<&Path>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Stopped, Error> {
    let begin = Instant::now();
    if let Some(lost) = watcher.lost() {
        return Err(Error::Gone(lost));
    }
    let before = watcher.remaining().len();
    let saved = logs.map_or(Ok(0), |dir| {
        logs::save(target, &watcher.snapshot(), dir, progress, cancel)
    });
    let runtime = runtime()?;
    let client = runtime.block_on(target.client())?;
    let done = Stopped::default();
    let mut stop = Stop {
        client,
        watcher,
        deployed,
        grace,
        progress,
        cancel,
        done,
    };
    match saved {
        // A full disk is no reason to let pods die without their clean-up.
        Err(Error::Store(error)) => stop.note(error.to_string()),
        other => drop(other?),
    }
    runtime.block_on(stop.all())?;
    let mut done = stop.done;
    done.ended = before.saturating_sub(watcher.remaining().len());
    done.elapsed = begin.elapsed();
    Ok(done)
}

impl Stop<'_> {
    async fn all(&mut self) -> Result<(), Error> {
        let workloads = &self.deployed.workloads;
        let kind = |workload: &Workload| self.watcher.kind_of_workload(workload);
        let starts_clients = |workload: &&Workload| {
            workload.kind == "CronJob" || kind(workload) == Some(Kind::Client)
        };
        let (clients, rest): (Vec<_>, Vec<_>) = workloads.iter().partition(starts_clients);
        let (operators, others): (Vec<_>, Vec<_>) = rest
            .into_iter()
            .partition(|workload| kind(workload) == Some(Kind::Operator));

        self.progress.status("stopping clients");
        self.end(&clients, |kind| kind == Some(Kind::Client))
            .await?;

        self.delete_custom_resources().await?;

        self.progress
            .status("waiting for the pods that operators created");
        let is_created = |kind| kind == Some(Kind::Workload);
        let patience = self.grace.min(PATIENCE);
        self.wait_gone(&self.pods(is_created), patience).await?;
        self.end(&[], is_created).await?;

        self.progress.status("stopping operators");
        self.end(&operators, |kind| kind == Some(Kind::Operator))
            .await?;

        self.progress.status("stopping the rest");
        let left = self.end(&others, |_| true).await?;
        self.force(left).await
    }

    /// Ends workloads of the rendering and all pods of a kind, and waits for
    /// their end. Gives back those that are left.
    async fn end(
        &mut self,
        workloads: &[&Workload],
        which: impl Fn(Option<Kind>) -> bool,
    ) -> Result<Vec<Pod>, Error> {
        self.end_workloads(workloads).await?;
        // Not left to the garbage collector, which can take its time, and not
        // known to the rendering where an operator made them.
        let pods = self.pods(which);
        let mut scaled = Vec::new();
        for pod in &pods {
            if self.end_owner(pod).await? {
                scaled.push(pod);
            } else {
                self.delete_pod(pod, &DeleteParams::default()).await?;
            }
        }
        for pod in self.wait_ending(&scaled).await? {
            self.delete_pod(pod, &DeleteParams::default()).await?;
        }
        self.wait_gone(&pods, self.grace).await
    }

    /// Gives controllers time to end the pods themselves: one that learns of
    /// its scale later than of the end of its pod starts another. Gives back
    /// the pods that none ended.
    async fn wait_ending<'p>(&self, pods: &[&'p Pod]) -> Result<Vec<&'p Pod>, Error> {
        let begin = Instant::now();
        loop {
            let is_left = |pod: &&&Pod| {
                let now = self.watcher.pod(&pod.uid);
                now.is_some_and(|now| !now.gone && !now.deleting)
            };
            let left: Vec<&Pod> = pods.iter().filter(is_left).copied().collect();
            if left.is_empty() || begin.elapsed() >= PATIENCE || self.watcher.lost().is_some() {
                return Ok(left);
            }
            pause(Duration::from_millis(50), self.cancel).await?;
        }
    }

    fn pods(&self, which: impl Fn(Option<Kind>) -> bool) -> Vec<Pod> {
        let mut pods = self.watcher.remaining();
        pods.retain(|pod| which(self.watcher.kind_of(pod)) && self.is_ours(pod));
        pods
    }

    /// What merely has an image of the composition may be somebody else's,
    /// unless it is where the rendering is. It is not measured in any case.
    fn is_ours(&self, pod: &Pod) -> bool {
        let mut workloads = self.deployed.workloads.iter();
        pod.of_run || workloads.any(|workload| workload.namespace == pod.namespace)
    }

    /// Waits until the API server does not know these pods any more; gives
    /// back those that are left when the time is over.
    async fn wait_gone(&self, pods: &[Pod], limit: Duration) -> Result<Vec<Pod>, Error> {
        let begin = Instant::now();
        let mut asked = Instant::now();
        loop {
            let is_left = |pod: &&Pod| self.watcher.pod(&pod.uid).is_some_and(|pod| !pod.gone);
            let left: Vec<Pod> = pods.iter().filter(is_left).cloned().collect();
            if left.is_empty() {
                return Ok(left);
            }
            if let Some(lost) = self.watcher.lost() {
                return Err(Error::Gone(lost));
            }
            let names: Vec<&str> = left.iter().map(|pod| pod.name.as_str()).take(3).collect();
            let text = format!(
                "waiting for the end of {} pods: {}",
                left.len(),
                names.join(", ")
            );
            self.progress.status(&text);
            if begin.elapsed() >= limit {
                return Ok(left);
            }
            // The watch may be behind, or in the middle of a new beginning.
            if asked.elapsed() >= ASK {
                asked = Instant::now();
                for pod in &left {
                    if self.find(pod).await?.is_none() {
                        self.watcher.mark_gone(&pod.uid);
                    }
                }
            }
            pause(Duration::from_millis(100), self.cancel).await?;
        }
    }

    /// The pod as it is now, `None` when it or its name is another one's.
    async fn find(&self, pod: &Pod) -> Result<Option<core::Pod>, Error> {
        let api: Api<core::Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let action = format!("look at pod {}/{}", pod.namespace, pod.name);
        let found = ask(&action, self.cancel, || api.get_opt(&pod.name)).await?;
        Ok(found.filter(|found| found.metadata.uid.as_ref() == Some(&pod.uid)))
    }

    async fn end_workloads(&mut self, workloads: &[&Workload]) -> Result<(), Error> {
        for workload in workloads {
            let Workload {
                kind,
                namespace,
                name,
                ..
            } = workload;
            let Some(resource) = resource(kind) else {
                continue;
            };
            self.end_object(&resource, Some(namespace), name).await?;
        }
        Ok(())
    }

    /// Scales to 0 what can be started again, deletes the rest with its pods.
    async fn end_object(
        &mut self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<(), Error> {
        let api = self.api(resource, namespace);
        let label = format!("{} {}/{name}", resource.kind, namespace.unwrap_or_default());
        let result = if scales(&resource.kind) {
            let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
            let action = format!("scale {label} to 0");
            let params = PatchParams::default();
            ask(&action, self.cancel, || {
                api.patch_scale(name, &params, &none)
            })
            .await
            .map(drop)
        } else {
            let action = format!("delete {label}");
            let params = DeleteParams::background();
            ask(&action, self.cancel, || api.delete(name, &params))
                .await
                .map(drop)
        };
        self.tolerate(result)
    }

    /// What the API server refuses is told and does not stop the rest; what is
    /// gone already is fine.
    fn tolerate(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        match result {
            Err(Error::Api { source, .. }) if not_found(&source) => Ok(()),
            Err(error @ Error::Api { .. }) => {
                self.note(error.to_string());
                Ok(())
            }
            other => other,
        }
    }

    fn note(&mut self, text: String) {
        self.watcher.find("stop", text.clone());
        self.done.notes.push(text);
    }

    fn api(&self, resource: &ApiResource, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace.filter(|namespace| !namespace.is_empty()) {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        }
    }

    async fn delete_custom_resources(&mut self) -> Result<(), Error> {
        let mut asked = 0;
        let deadline = Instant::now() + self.grace;
        loop {
            let mut left = Vec::new();
            for crd in &self.deployed.crds {
                for object in self.custom_resources(crd).await? {
                    if object.metadata.deletion_timestamp.is_none() {
                        asked += 1;
                        self.delete_custom_resource(crd, &object.metadata).await?;
                    }
                    left.push((label(crd, &object.metadata), object.metadata));
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            let text = format!(
                "waiting for operators to clean up {} of {asked} resources",
                left.len()
            );
            self.progress.status(&text);
            if Instant::now() >= deadline {
                for (label, meta) in left {
                    let held = meta.finalizers.unwrap_or_default().join(", ");
                    let waited = self.grace.as_secs();
                    self.note(format!(
                        "{label} was not cleaned up within {waited} s; finalizers left: {held}"
                    ));
                }
                return Ok(());
            }
            pause(Duration::from_millis(200), self.cancel).await?;
        }
    }

    /// The custom resources of this kind that were made since deployment.
    async fn custom_resources(&mut self, crd: &Crd) -> Result<Vec<DynamicObject>, Error> {
        let api = self.api(&crd.resource(), None);
        let action = format!("list {}", crd.name);
        let params = ListParams::default();
        match ask(&action, self.cancel, || api.list(&params)).await {
            Ok(list) => {
                let is_ours = |object: &DynamicObject| {
                    let uid = object.metadata.uid.as_ref();
                    uid.is_some_and(|uid| !self.deployed.kept.contains(uid))
                };
                Ok(list.items.into_iter().filter(is_ours).collect())
            }
            Err(error) => self.tolerate(Err(error)).map(|()| vec![]),
        }
    }

    async fn delete_custom_resource(&mut self, crd: &Crd, meta: &ObjectMeta) -> Result<(), Error> {
        let api = self.api(&crd.resource(), meta.namespace.as_deref());
        let name = meta.name.clone().unwrap_or_default();
        let action = format!("delete {}", label(crd, meta));
        let params = DeleteParams::background();
        let result = ask(&action, self.cancel, || api.delete(&name, &params)).await;
        self.tolerate(result.map(drop))
    }

    /// Ends what makes the pod come back. Whether that will end the pod, too,
    /// because it was told to have none.
    async fn end_owner(&mut self, pod: &Pod) -> Result<bool, Error> {
        let Some(found) = self.find(pod).await? else {
            self.watcher.mark_gone(&pod.uid);
            return Ok(true);
        };
        let mut owner = controller(&found.metadata).cloned();
        let mut top = None;
        for _ in 0..OWNERS {
            let Some(reference) = owner else { break };
            let Some(resource) = resource(&reference.kind) else {
                break;
            };
            let api = self.api(&resource, Some(&pod.namespace));
            let action = format!("look at {} {}", reference.kind, reference.name);
            let found = ask(&action, self.cancel, || api.get_opt(&reference.name)).await?;
            owner = found
                .as_ref()
                .and_then(|found| controller(&found.metadata).cloned());
            if found.is_none() {
                break;
            }
            top = Some((resource, reference.name));
        }
        let is_ending = found.metadata.deletion_timestamp.is_some();
        let Some((resource, name)) = top else {
            return Ok(is_ending);
        };
        let namespace = Some(pod.namespace.as_str());
        self.end_object(&resource, namespace, &name).await?;
        Ok(is_ending || scales(&resource.kind))
    }

    async fn delete_pod(&mut self, pod: &Pod, params: &DeleteParams) -> Result<(), Error> {
        let api: Api<core::Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        // Never another pod that has taken the name.
        let params = params.clone().preconditions(kube::api::Preconditions {
            uid: Some(pod.uid.clone()),
            resource_version: None,
        });
        let action = format!("delete pod {}/{}", pod.namespace, pod.name);
        let result = ask(&action, self.cancel, || api.delete(&pod.name, &params)).await;
        match result.map(drop) {
            // A precondition that does not hold: this pod is gone.
            Err(Error::Api { source, .. }) if matches!(&*source, kube::Error::Api(status) if status.code == 409) =>
            {
                self.watcher.mark_gone(&pod.uid);
                Ok(())
            }
            other => self.tolerate(other),
        }
    }

    /// Removes by force what outlived its own time to end. What nobody could
    /// ask to end so far is asked first, like everything else.
    async fn force(&mut self, left: Vec<Pod>) -> Result<(), Error> {
        let mut ending = Vec::new();
        for pod in left {
            match self.time_to_end(&pod).await? {
                Asked::Ends(time) => ending.push((pod, Instant::now() + time + MARGIN)),
                Asked::Gone => self.watcher.mark_gone(&pod.uid),
                // Why was told when it was asked.
                Asked::Refused => self.note(format!("pod {} is still there", pod_label(&pod))),
            }
        }
        let mut forced = Vec::new();
        for (pod, deadline) in ending {
            let one = std::slice::from_ref(&pod);
            let time = deadline.saturating_duration_since(Instant::now());
            if self.wait_gone(one, time).await?.is_empty() {
                continue;
            }
            if self.find(&pod).await?.is_none() {
                self.watcher.mark_gone(&pod.uid);
                continue;
            }
            let label = pod_label(&pod);
            self.note(format!(
                "pod {label} did not end in its time and was removed by force"
            ));
            self.done.forced.push(label);
            self.delete_pod(&pod, &DeleteParams::default().grace_period(0))
                .await?;
            forced.push(pod);
        }
        for pod in self.wait_gone(&forced, Duration::from_secs(10)).await? {
            self.note(format!("pod {} is still there", pod_label(&pod)));
        }
        Ok(())
    }

    /// Asks the pod to end if nobody has, and says how long it may still take.
    async fn time_to_end(&mut self, pod: &Pod) -> Result<Asked, Error> {
        let Some(mut found) = self.find(pod).await? else {
            return Ok(Asked::Gone);
        };
        let is_asked = found.metadata.deletion_timestamp.is_some();
        if !is_asked {
            self.delete_pod(pod, &DeleteParams::default()).await?;
            let Some(again) = self.find(pod).await? else {
                return Ok(Asked::Gone);
            };
            found = again;
        }
        // The API server writes there when the time will be over.
        let Some(end) = &found.metadata.deletion_timestamp else {
            return Ok(Asked::Refused);
        };
        let own = found.metadata.deletion_grace_period_seconds.unwrap_or(0);
        let own = Duration::from_secs(u64::try_from(own).unwrap_or(0));
        if !is_asked {
            // Without a clock that the two of us would have to agree on.
            return Ok(Asked::Ends(own));
        }
        let over = end.0.duration_since(jiff::Timestamp::now());
        let over = Duration::try_from(over).unwrap_or_default();
        Ok(Asked::Ends(over.min(own)))
    }
}

/// What a pod says to being asked to end.
enum Asked {
    /// It may take this long.
    Ends(Duration),
    Gone,
    Refused,
}

fn pod_label(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

fn label(crd: &Crd, meta: &ObjectMeta) -> String {
    let name = meta.name.clone().unwrap_or_default();
    match &meta.namespace {
        Some(namespace) => format!("{} {namespace}/{name}", crd.kind),
        None => format!("{} {name}", crd.kind),
    }
}

/// Whether the kind has a scale, and so can be started again.
pub(crate) fn scales(kind: &str) -> bool {
    matches!(
        kind,
        "Deployment" | "StatefulSet" | "ReplicaSet" | "ReplicationController"
    )
}

fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
}

impl Crd {
    pub(crate) fn resource(&self) -> ApiResource {
        let kind = GroupVersionKind::gvk(&self.group, &self.version, &self.kind);
        ApiResource::from_gvk_with_plural(&kind, &self.plural)
    }
}

/// The kinds that make pods, and pods.
pub(crate) fn resource(kind: &str) -> Option<ApiResource> {
    let (group, plural) = match kind {
        "Deployment" => ("apps", "deployments"),
        "StatefulSet" => ("apps", "statefulsets"),
        "DaemonSet" => ("apps", "daemonsets"),
        "ReplicaSet" => ("apps", "replicasets"),
        "Job" => ("batch", "jobs"),
        "CronJob" => ("batch", "cronjobs"),
        "ReplicationController" => ("", "replicationcontrollers"),
        "Pod" => ("", "pods"),
        _ => return None,
    };
    let gvk = GroupVersionKind::gvk(group, "v1", kind);
    Some(ApiResource::from_gvk_with_plural(&gvk, plural))
}

#[cfg(test)]
#[path = "stop/tests.rs"]
mod tests;
