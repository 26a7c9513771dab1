//! Gets a rendering into the cluster and waits until all of it is ready.

mod diagnose;
mod manifest;
mod ready;

use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use podcov_process::{Cancel, Progress, Run};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use self::diagnose::{NotReady, Unready};
use self::diagnose::{Troubles, diagnose, is_ready};
use self::manifest::Manifest;
pub use self::manifest::{Crd, Workload};
pub(crate) use self::ready::is_complete;
use self::ready::{Readiness, readiness};
use crate::inject::set_label;
use crate::overlay::webhook::fits;
use crate::stop::{resource, scales};
use crate::target::{Error, Target, ask, not_found, pause, runtime};
use crate::watch::Watcher;

/// How long a Job may go on when everything else is ready: longer, and it is
/// one that works for as long as the run does.
const JOB: Duration = Duration::from_secs(60);
/// How many pods an error shows.
const SHOWN: usize = 5;
/// Who owns the fields that are set.
pub(crate) const MANAGER: &str = "podcov";

/// What was deployed, as much as stopping it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// What runs pods.
    pub workloads: Vec<Workload>,
    /// The kinds of custom resources that came with it.
    pub crds: Vec<Crd>,
    /// UIDs of the custom resources of these kinds that were there before, in
    /// a cluster that others use, too. They are nobody's to delete.
    pub kept: Vec<String>,
    /// How many pods it has; 0 until they were waited for.
    pub pods: i32,
}

/// A rendering that is about to be deployed, and what there is to stop whether
/// or not that succeeds.
#[derive(Debug)]
pub struct Plan {
    manifest: Manifest,
    deployed: Deployed,
    /// The composition whose webhook patches pods in its namespaces.
    injects: Option<String>,
}

impl Plan {
    /// What stopping needs, to be kept before anything is applied.
    pub fn deployed(&self) -> &Deployed {
        &self.deployed
    }

    /// Labels the namespaces of the rendering before there are pods in them,
    /// so that the composition's webhook patches those.
    #[must_use]
    pub fn injected(mut self, composition: &str) -> Plan {
        self.injects = Some(composition.to_owned());
        self
    }
}

/// Reads the rendering, and looks which custom resources of its kinds are in
/// the cluster already. Changes nothing.
pub fn plan(
    target: &Target,
    yaml: &str,
    watcher: &Watcher,
    cancel: &Cancel,
) -> Result<Plan, Error> {
    if let Some(lost) = watcher.lost() {
        return Err(Error::Gone(lost));
    }
    let runtime = runtime()?;
    let client = runtime.block_on(target.client())?;
    let manifest = Manifest::parse(yaml, client.default_namespace()).map_err(Error::Manifest)?;
    let kept = runtime.block_on(custom_resources(&client, &manifest, cancel))?;
    let deployed = Deployed {
        workloads: manifest.workloads.clone(),
        crds: manifest.crds.clone(),
        kept,
        pods: 0,
    };
    Ok(Plan {
        manifest,
        deployed,
        injects: None,
    })
}

/// The custom resources that are there before anything is deployed.
async fn custom_resources(
    client: &Client,
    manifest: &Manifest,
    cancel: &Cancel,
) -> Result<Vec<String>, Error> {
    let mut uids = Vec::new();
    for kind in &manifest.crds {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource());
        let action = format!("list {}", kind.name);
        let params = ListParams::default();
        match ask(&action, cancel, || api.list_metadata(&params)).await {
            Ok(list) => uids.extend(list.items.into_iter().filter_map(|o| o.metadata.uid)),
            // The kind is new.
            Err(Error::Api { source, .. }) if not_found(&source) => {}
            Err(error) => return Err(error),
        }
    }
    uids.sort();
    Ok(uids)
}

struct Deployment<'a> {
    target: &'a Target,
    kubectl: &'a Path,
    past_proxy: Vec<(&'static str, String)>,
    deadline: Instant,
    timeout: Duration,
    begin: Instant,
    watcher: &'a Watcher,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

/// Applies the planned rendering (namespaces and kinds first, the rest when the API
/// server knows the kinds) and waits until every workload in it is ready: a
/// Deployment, StatefulSet or DaemonSet with all of its newest pods, a Job
/// when it is complete. A Job that goes on for long when everything else is
/// ready is left to its work, which is told.
///
/// What cannot become ready any more, such as an image that is not there, ends
/// the wait before `timeout` does.
pub fn deploy(
    target: &Target,
    kubectl: &Path,
    plan: Plan,
    timeout: Duration,
    watcher: &Watcher,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Deployed, Error> {
    if let Some(lost) = watcher.lost() {
        return Err(Error::Gone(lost));
    }
    let begin = Instant::now();
    let deadline = begin + timeout;
    let runtime = runtime()?;
    let client = runtime.block_on(target.client())?;
    let deployment = Deployment {
        target,
        kubectl,
        past_proxy: runtime.block_on(target.past_proxy())?,
        deadline,
        timeout,
        begin,
        watcher,
        progress,
        cancel,
    };
    let Plan {
        manifest,
        deployed,
        injects,
    } = plan;
    deployment.apply(&manifest.text(true), "namespaces and kinds")?;
    runtime.block_on(deployment.wait_for_kinds(&client, &manifest))?;
    if injects.is_some() {
        let all = ["*".to_owned()];
        let own = manifest.namespaces.iter().filter(|name| fits(&all, name));
        let own: Vec<String> = own.cloned().collect();
        let label = set_label(&client, &own, injects.as_deref(), cancel);
        runtime.block_on(label)?;
    }
    deployment.apply(&manifest.text(false), "the rest")?;
    runtime.block_on(deployment.scale_up(&client, &manifest))?;
    let pods = runtime.block_on(deployment.wait_until_ready(&client, &manifest))?;
    Ok(Deployed { pods, ..deployed })
}

impl Deployment<'_> {
    /// `kubectl apply`. A webhook or a kind that comes with the rendering may
    /// not be there at first: applying is repeated then.
    fn apply(&self, text: &str, what: &str) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        self.progress.status(&format!("applying {what}"));
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let mut run = Run::new(self.kubectl)
                .args(self.target.kubectl_args())
                .args([
                    "apply",
                    "--server-side",
                    "--force-conflicts",
                    "--field-manager",
                    MANAGER,
                ])
                .args(["-f", "-"])
                .input(text)
                .timeout(left.max(Duration::from_secs(5)))
                .cancel(self.cancel);
            for (key, value) in &self.past_proxy {
                run = run.env(key, value);
            }
            let error = match run.run() {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let podcov_process::Error::Failed { tail, .. } = &error else {
                return Err(error.into());
            };
            if let Some(lost) = self.watcher.lost() {
                return Err(Error::Gone(lost));
            }
            let Some(line) = tail.iter().find(|line| passes(line)) else {
                return Err(error.into());
            };
            if left < Duration::from_secs(2) {
                return Err(match foreign_kind(line) {
                    Some(what) => Error::Manifest(what),
                    None => error.into(),
                });
            }
            self.progress
                .status(&format!("applying {what}; waiting, since {line}"));
            self.cancel.sleep(Duration::from_secs(1))?;
        }
    }

    async fn wait_for_kinds(&self, client: &Client, manifest: &Manifest) -> Result<(), Error> {
        let api: Api<CustomResourceDefinition> = Api::all(client.clone());
        for kind in &manifest.crds {
            loop {
                let action = format!("look at the kind {}", kind.name);
                let found = ask(&action, self.cancel, || api.get(&kind.name)).await?;
                let status = found.status.unwrap_or_default();
                let is = |word: &str| {
                    let mut conditions = status.conditions.iter().flatten();
                    conditions
                        .find(|c| c.type_ == word && c.status == "True")
                        .is_some()
                };
                if is("Established") {
                    break;
                }
                let mut refused = status.conditions.iter().flatten();
                let refused = refused.find(|c| c.type_ == "NamesAccepted" && c.status == "False");
                let is_late = Instant::now() >= self.deadline;
                if refused.is_some() || is_late {
                    let why = refused.and_then(|condition| condition.message.clone());
                    let why = why.unwrap_or_else(|| "the API server takes too long".to_owned());
                    return Err(Error::Manifest(format!(
                        "the kind {} is not established: {why}",
                        kind.name
                    )));
                }
                self.progress
                    .status(&format!("waiting for the kind {}", kind.name));
                pause(Duration::from_millis(100), self.cancel).await?;
            }
        }
        Ok(())
    }

    /// A workload that does not say how many pods it wants keeps the 0 that
    /// stopping it left behind in a cluster that is used again.
    async fn scale_up(&self, client: &Client, manifest: &Manifest) -> Result<(), Error> {
        for workload in &manifest.workloads {
            let Workload {
                kind,
                namespace,
                name,
                replicas,
                ..
            } = workload;
            let Some(resource) = resource(kind).filter(|_| scales(kind) && replicas.is_none())
            else {
                continue;
            };
            let api: Api<DynamicObject> =
                Api::namespaced_with(client.clone(), namespace, &resource);
            let action = format!("look at the scale of {kind} {namespace}/{name}");
            let scale = ask(&action, self.cancel, || api.get_scale(name)).await?;
            if scale.spec.and_then(|spec| spec.replicas).unwrap_or(0) == 0 {
                let one = Patch::Merge(json!({"spec": {"replicas": 1}}));
                let action = format!("scale {kind} {namespace}/{name} to 1");
                let params = PatchParams::default();
                ask(&action, self.cancel, || {
                    api.patch_scale(name, &params, &one)
                })
                .await?;
            }
        }
        Ok(())
    }

    async fn wait_until_ready(&self, client: &Client, manifest: &Manifest) -> Result<i32, Error> {
        let mut troubles = Troubles::default();
        let mut only_jobs_since: Option<Instant> = None;
        loop {
            if let Some(lost) = self.watcher.lost() {
                return Err(Error::Gone(lost));
            }
            let mut states = Vec::new();
            for workload in &manifest.workloads {
                states.push(readiness(client, workload, self.cancel).await?);
            }
            let wanted: i32 = states.iter().map(|state| state.wanted).sum();
            let ready: i32 = states.iter().map(|state| state.ready).sum();
            if states.iter().all(|state| state.done) {
                return Ok(wanted);
            }
            self.progress
                .status(&status(&states, manifest, ready, wanted));
            if states.iter().all(|state| state.done || state.works) {
                let since = *only_jobs_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= JOB || Instant::now() >= self.deadline {
                    self.tell_jobs(&states, manifest);
                    return Ok(wanted);
                }
            } else {
                only_jobs_since = None;
            }
            let pods = self.pods(client, manifest, &states).await?;
            let hopeless =
                states.iter().any(|state| state.failed.is_some()) || troubles.are_hopeless(&pods);
            if hopeless || Instant::now() >= self.deadline {
                let error = self
                    .not_ready(client, manifest, &states, &pods, hopeless)
                    .await?;
                return Err(error.into());
            }
            let interval = if self.begin.elapsed() < Duration::from_secs(20) {
                300
            } else {
                1000
            };
            pause(Duration::from_millis(interval), self.cancel).await?;
        }
    }

    fn tell_jobs(&self, states: &[Readiness], manifest: &Manifest) {
        for (state, workload) in states.iter().zip(&manifest.workloads) {
            if !state.done {
                let Workload {
                    namespace, name, ..
                } = workload;
                self.progress
                    .note(&format!("job {namespace}/{name} goes on; not waited for"));
            }
        }
    }

    /// The pods of the workloads that are not ready.
    async fn pods(
        &self,
        client: &Client,
        manifest: &Manifest,
        states: &[Readiness],
    ) -> Result<Vec<Pod>, Error> {
        let mut found = Vec::new();
        for namespace in &manifest.namespaces {
            let own = || states.iter().zip(&manifest.workloads);
            if own().all(|(state, workload)| state.done || workload.namespace != *namespace) {
                continue;
            }
            let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
            let action = format!("list the pods of {namespace}");
            let params = ListParams::default();
            let pods = ask(&action, self.cancel, || api.list(&params)).await?;
            found.extend(pods.items.into_iter().filter(|pod| {
                own().any(|(state, workload)| {
                    !state.done && workload.namespace == *namespace && state.selector.fits(pod)
                })
            }));
        }
        Ok(found)
    }

    async fn not_ready(
        &self,
        client: &Client,
        manifest: &Manifest,
        states: &[Readiness],
        pods: &[Pod],
        hopeless: bool,
    ) -> Result<NotReady, Error> {
        let mut workloads = Vec::new();
        for (state, workload) in states.iter().zip(&manifest.workloads) {
            if state.done {
                continue;
            }
            let Workload {
                kind,
                namespace,
                name,
                ..
            } = workload;
            let count = format!("{}/{} pods ready", state.ready, state.wanted);
            let why = state
                .failed
                .as_ref()
                .or(state.complaint.as_ref())
                .unwrap_or(&count);
            workloads.push(format!("{kind} {namespace}/{name}: {why}"));
        }
        let mut unready = Vec::new();
        let not_ready: Vec<&Pod> = pods.iter().filter(|pod| !is_ready(pod)).collect();
        for pod in not_ready.iter().take(SHOWN) {
            unready.push(diagnose(client, pod, self.cancel).await?);
        }
        if not_ready.len() > SHOWN {
            workloads.push(format!(
                "{} more pods are not shown",
                not_ready.len() - SHOWN
            ));
        }
        Ok(NotReady {
            waited: self.begin.elapsed().min(self.timeout),
            hopeless,
            ready: states.iter().map(|state| state.ready).sum(),
            wanted: states.iter().map(|state| state.wanted).sum(),
            workloads,
            pods: unready,
        })
    }
}

fn status(states: &[Readiness], manifest: &Manifest, ready: i32, wanted: i32) -> String {
    let waits = states
        .iter()
        .zip(&manifest.workloads)
        .filter(|(state, _)| !state.done);
    let names: Vec<&str> = waits
        .map(|(_, workload)| workload.name.as_str())
        .take(3)
        .collect();
    format!(
        "pods {ready}/{wanted} ready · waiting for {}",
        names.join(", ")
    )
}

/// What to do about a kind that nobody has defined in all that time.
fn foreign_kind(line: &str) -> Option<String> {
    let kind = line.split_once("no matches for kind ")?.1;
    Some(format!(
        "neither what is deployed nor an operator of it defines the kind {kind}: leave its objects \
         out of what is deployed, or bring the cluster up first (`podcov cluster up`) and install \
         what defines it (`podcov cluster kubectl apply -f …`)"
    ))
}

/// Whether kubectl's complaint is one that passes when more of the rendering
/// is there and runs.
fn passes(line: &str) -> bool {
    const PASSING: [&str; 7] = [
        "failed calling webhook",
        "conversion webhook",
        "no matches for kind",
        "no endpoints available",
        "connection refused",
        "ensure CRDs are installed first",
        "TLS handshake timeout",
    ];
    PASSING.iter().any(|word| line.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_kind_that_nobody_knows_gets_that_remedy() {
        let line = "no matches for kind \"Certificate\" in version \"cert-manager.io/v1\"";
        assert!(passes(line));
        let what = foreign_kind(line).unwrap();
        assert!(what.contains("defines the kind \"Certificate\" in version"));
        assert_eq!(foreign_kind("failed calling webhook \"a\""), None);
    }
}
