//! The admission webhook that patches pods nobody wrote a manifest for:
//! getting it into a cluster, out of it, and looking at it.
//!
//! All of it is in a namespace of its own, but for the webhook's configuration
//! and the label on the namespaces in which pods are patched. It has no rights
//! in the cluster. The API server lets pods pass while it does not answer, so
//! it can cost coverage, which the ledger tells, but never a pod.

mod certificate;
mod objects;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, Service};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use podcov_process::{Cancel, Progress};
use serde_json::{Value, json};

pub use self::objects::own_namespace;
use self::objects::{MANAGED_BY, Objects, PODCOV};
pub(crate) use self::objects::{NAME, configuration_name};
use crate::overlay::Spec;
use crate::overlay::webhook::{INJECT_LABEL, PROBE, Settings, fits};
use crate::target::{Error, Target, ask, not_found, pause, runtime};

/// Who owns the fields that are set.
const MANAGER: &str = "podcov-inject";
/// How long the webhook may take to answer for the first time.
const READY: Duration = Duration::from_secs(90);
/// How long its pods may take to end.
const END: Duration = Duration::from_secs(20);
/// How long what an earlier one left may take to go.
const GONE: Duration = Duration::from_secs(90);

/// What is to be patched, and where.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// The composition: names what is made, and is the value of the label of
    /// namespaces.
    pub composition: String,
    /// The agent's image, as the nodes know it.
    pub image: String,
    /// Namespaces that get the label, those that are there and those to come:
    /// names, or beginnings of names with `*` behind. Those of Kubernetes and
    /// of podcov itself never do.
    pub namespaces: Vec<String>,
    /// For how long it patches pods; `None` until it is removed. One with an
    /// end is of a run, and goes with the next `up` if the run did not remove
    /// it.
    pub lasts: Option<Duration>,
    /// The changes to pods.
    pub spec: Spec,
}

/// A webhook as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it was told, if that can be read.
    pub settings: Option<Settings>,
    /// How many of its pods are ready.
    pub ready: i32,
    /// Why it does not answer the API server, if it does not.
    pub silent: Option<String>,
    /// The namespaces in which pods are patched.
    pub namespaces: Vec<String>,
    /// When it ceases to patch pods, RFC 3339; `None` when it is removed.
    pub until: Option<String>,
    /// The day on which its certificate ends.
    pub expires: Option<String>,
}

/// Installs it and waits until the API server asks it. One that is there is
/// replaced.
pub fn install(
    target: &Target,
    webhook: &Webhook,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(), Error> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let client = target.client().await?;
        let installation = Installation {
            client,
            progress,
            cancel,
        };
        installation.install(webhook).await
    })
}

/// Removes it and the label of namespaces. None is fine, too; says whether
/// there was one.
pub fn uninstall(target: &Target, composition: &str, cancel: &Cancel) -> Result<bool, Error> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let client = target.client().await?;
        remove(&client, composition, cancel).await
    })
}

/// Removes one that a run left behind. One that was installed by hand stays.
pub fn sweep(target: &Target, composition: &str, cancel: &Cancel) -> Result<bool, Error> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let client = target.client().await?;
        let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        let name = configuration_name(composition);
        let found = ask("look for a webhook", cancel, || api.get_opt(&name)).await;
        let labels = match found {
            Ok(Some(found)) => found.metadata.labels.unwrap_or_default(),
            Ok(None) => return Ok(false),
            // Who may not look has not installed one.
            Err(Error::Api { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        match labels.contains_key(objects::OF_RUN) {
            true => remove(&client, composition, cancel).await,
            false => Ok(false),
        }
    })
}

/// Lets pods of these namespaces be patched. Those that are not there are left
/// out.
pub fn label(
    target: &Target,
    composition: &str,
    namespaces: &[String],
    cancel: &Cancel,
) -> Result<(), Error> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let client = target.client().await?;
        set_label(&client, namespaces, Some(composition), cancel).await
    })
}

/// Looks at it; `None` when there is none.
pub fn status(target: &Target, composition: &str, cancel: &Cancel) -> Result<Option<Found>, Error> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let client = target.client().await?;
        look(&client, composition, cancel).await
    })
}

struct Installation<'a> {
    client: Client,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

impl Installation<'_> {
    async fn install(&self, webhook: &Webhook) -> Result<(), Error> {
        let objects = Objects::new(webhook)?;
        let namespace = own_namespace(&webhook.composition);
        self.wait_until_free(&namespace).await?;
        self.progress.status("starting the webhook");
        let api: Api<Namespace> = Api::all(self.client.clone());
        let action = format!("look at namespace {namespace}");
        let found = ask(&action, self.cancel, || api.get_opt(&namespace)).await?;
        if found.as_ref().is_none_or(is_ours) {
            self.apply(&objects.namespace, None).await?;
        } else {
            let composition = Some(webhook.composition.as_str());
            let own = std::slice::from_ref(&namespace);
            set_label(&self.client, own, composition, self.cancel).await?;
        }
        for object in &objects.pods {
            self.apply(object, Some(&namespace)).await?;
        }
        self.wait_until_ready(&namespace).await?;
        self.apply(&objects.configuration, None).await?;
        let there = self.fitting(&webhook.namespaces).await?;
        let composition = Some(webhook.composition.as_str());
        set_label(&self.client, &there, composition, self.cancel).await?;
        self.progress
            .status("waiting until the API server asks the webhook");
        let begin = Instant::now();
        loop {
            match probe(&self.client, &webhook.composition, self.cancel).await? {
                Ok(id) if id == objects.settings_id => return Ok(()),
                Ok(_) if begin.elapsed() < READY => {}
                Err(_) if begin.elapsed() < READY => {}
                Ok(_) => return Err(unready("an earlier one answers in its place")),
                Err(why) => return Err(unready(&why)),
            }
            pause(Duration::from_millis(200), self.cancel).await?;
        }
    }

    /// A namespace on its way out takes nothing.
    async fn wait_until_free(&self, namespace: &str) -> Result<(), Error> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let begin = Instant::now();
        loop {
            let action = format!("look at namespace {namespace}");
            let found = ask(&action, self.cancel, || api.get_opt(namespace)).await?;
            let is_ending = found.is_some_and(|found| found.metadata.deletion_timestamp.is_some());
            if !is_ending {
                return Ok(());
            }
            if begin.elapsed() >= GONE {
                return Err(unready(&format!(
                    "namespace {namespace}, which an earlier one left, does not go: \
                     `kubectl get namespace {namespace} -o yaml` says why"
                )));
            }
            self.progress
                .status("waiting for the end of an earlier webhook");
            pause(Duration::from_millis(300), self.cancel).await?;
        }
    }

    async fn apply(&self, object: &Value, namespace: Option<&str>) -> Result<(), Error> {
        let text = |path: &str| {
            object
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let (group, version) = text("/apiVersion")
            .split_once('/')
            .unwrap_or(("", text("/apiVersion")));
        let resource =
            kube::api::ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let params = PatchParams::apply(MANAGER).force();
        let action = format!("install {kind} {name}");
        let patch = Patch::Apply(object);
        ask(&action, self.cancel, || api.patch(name, &params, &patch))
            .await
            .map(drop)
    }

    async fn wait_until_ready(&self, namespace: &str) -> Result<(), Error> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let begin = Instant::now();
        loop {
            let found = ask("look at the webhook", self.cancel, || api.get(NAME)).await?;
            if crate::deploy::is_complete(&found) {
                return Ok(());
            }
            if begin.elapsed() >= READY {
                let why = self.complaint(namespace).await?;
                return Err(unready(&why));
            }
            pause(Duration::from_millis(200), self.cancel).await?;
        }
    }

    /// What its pods wait for.
    async fn complaint(&self, namespace: &str) -> Result<String, Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default();
        let pods = ask("look at the webhook's pods", self.cancel, || {
            api.list(&params)
        })
        .await?;
        let statuses = pods.items.iter().filter_map(|pod| pod.status.as_ref());
        let mut containers = statuses.flat_map(|s| s.container_statuses.iter().flatten());
        let waiting = containers.find_map(|status| status.state.as_ref()?.waiting.as_ref());
        let why = waiting.and_then(|w| w.message.clone().or(w.reason.clone()));
        Ok(why.unwrap_or_else(|| format!("its pod did not become ready within {READY:?}")))
    }

    /// The namespaces that are there and that the patterns mean.
    async fn fitting(&self, patterns: &[String]) -> Result<Vec<String>, Error> {
        if patterns.is_empty() {
            return Ok(vec![]);
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        let params = ListParams::default();
        let list = ask("list namespaces", self.cancel, || api.list(&params)).await?;
        let names = list.items.into_iter().filter_map(|n| n.metadata.name);
        Ok(names.filter(|name| fits(patterns, name)).collect())
    }
}

fn unready(why: &str) -> Error {
    Error::Webhook(why.to_owned())
}

/// Sets the label, or takes it away, where the namespaces are.
pub(crate) async fn set_label(
    client: &Client,
    namespaces: &[String],
    value: Option<&str>,
    cancel: &Cancel,
) -> Result<(), Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    let patch = Patch::Merge(json!({"metadata": {"labels": {INJECT_LABEL: value}}}));
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    for name in namespaces {
        let action = format!("label namespace {name}");
        match ask(&action, cancel, || api.patch(name, &params, &patch)).await {
            Err(Error::Api { source, .. }) if not_found(&source) => {}
            result => drop(result?),
        }
    }
    Ok(())
}

async fn labelled(
    client: &Client,
    composition: &str,
    cancel: &Cancel,
) -> Result<Vec<String>, Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    let params = ListParams::default().labels(&format!("{INJECT_LABEL}={composition}"));
    let list = ask("list labelled namespaces", cancel, || api.list(&params)).await?;
    let names = list.items.into_iter().filter_map(|n| n.metadata.name);
    Ok(names.collect())
}

/// The configuration goes first: without it, nobody asks for what is gone.
async fn remove(client: &Client, composition: &str, cancel: &Cancel) -> Result<bool, Error> {
    let params = DeleteParams::background();
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let name = configuration_name(composition);
    let deleted = ask("remove the webhook", cancel, || {
        configurations.delete(&name, &params)
    });
    let had_configuration = there(deleted.await.map(drop))?;
    let namespaces = labelled(client, composition, cancel).await?;
    set_label(client, &namespaces, None, cancel).await?;
    let own = own_namespace(composition);
    let had_pods = end_pods(client, &own, cancel).await?;
    let api: Api<Namespace> = Api::all(client.clone());
    let action = format!("look at namespace {own}");
    let namespace = ask(&action, cancel, || api.get_opt(&own)).await?;
    match namespace {
        Some(found) if is_ours(&found) => {
            let deleted = ask("remove the webhook's namespace", cancel, || {
                api.delete(&own, &params)
            });
            there(deleted.await.map(drop))?;
        }
        Some(_) => {
            let secrets: Api<Secret> = Api::namespaced(client.clone(), &own);
            let services: Api<Service> = Api::namespaced(client.clone(), &own);
            let action = "remove the webhook's settings and service";
            let deleted = ask(action, cancel, || secrets.delete(NAME, &params));
            there(deleted.await.map(drop))?;
            let deleted = ask(action, cancel, || services.delete(NAME, &params));
            there(deleted.await.map(drop))?;
        }
        None => {}
    }
    Ok(had_configuration || had_pods)
}

/// Whether the namespace goes when the webhook goes. One that was there before
/// is somebody else's: an administrator made it, who gave podcov its rights there.
fn is_ours(namespace: &Namespace) -> bool {
    let labels = namespace.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(MANAGED_BY))
        .is_some_and(|by| by == PODCOV)
}

/// Ends the webhook's pods and waits for it; says whether there were any. A node that is taken away while
/// the API server has a connection to one of them waits for minutes for the
/// end of that connection.
async fn end_pods(client: &Client, own: &str, cancel: &Cancel) -> Result<bool, Error> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), own);
    let params = DeleteParams::background();
    let deleted = ask("end the webhook", cancel, || {
        deployments.delete(NAME, &params)
    });
    if !there(deleted.await.map(drop))? {
        return Ok(false);
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), own);
    // Nobody asks it any more.
    let soon = DeleteParams::default().grace_period(1);
    let begin = Instant::now();
    loop {
        let params = ListParams::default();
        let left = ask("look at the webhook's pods", cancel, || pods.list(&params)).await?;
        if left.items.is_empty() || begin.elapsed() >= END {
            return Ok(true);
        }
        let named = left.items.into_iter().filter_map(|pod| pod.metadata.name);
        for name in named {
            let deleted = ask("end the webhook's pod", cancel, || {
                pods.delete(&name, &soon)
            });
            there(deleted.await.map(drop))?;
        }
        pause(Duration::from_millis(200), cancel).await?;
    }
}

fn there(result: Result<(), Error>) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(Error::Api { source, .. }) if not_found(&source) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn look(client: &Client, composition: &str, cancel: &Cancel) -> Result<Option<Found>, Error> {
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let name = configuration_name(composition);
    let found = ask("look for the webhook", cancel, || {
        configurations.get_opt(&name)
    })
    .await?;
    if found.is_none() {
        return Ok(None);
    }
    let own = own_namespace(composition);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &own);
    let secret = ask("look at the webhook's settings", cancel, || {
        secrets.get_opt(NAME)
    })
    .await?;
    let secret = secret.unwrap_or_default();
    let bytes = secret
        .data
        .as_ref()
        .and_then(|data| data.get("settings.json"));
    let settings = bytes.and_then(|bytes| serde_json::from_slice(&bytes.0).ok());
    let annotations = secret.metadata.annotations.unwrap_or_default();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &own);
    let deployment = ask("look at the webhook", cancel, || deployments.get_opt(NAME)).await?;
    let ready = deployment
        .and_then(|d| d.status?.ready_replicas)
        .unwrap_or(0);
    let mut namespaces = labelled(client, composition, cancel).await?;
    // It has the label for probes alone.
    namespaces.retain(|name| *name != own);
    let silent = probe(client, composition, cancel).await?.err();
    let until = settings
        .as_ref()
        .and_then(|settings: &Settings| settings.until);
    let until = until.and_then(|until| i64::try_from(until).ok());
    let until = until.and_then(|until| jiff::Timestamp::from_second(until).ok());
    Ok(Some(Found {
        until: until.map(|until| until.to_string()),
        settings,
        ready,
        silent,
        namespaces,
        expires: annotations.get(objects::EXPIRES).cloned(),
    }))
}

/// Asks the API server what would become of a pod, without making it: `Ok` is
/// the id of the settings that the webhook has, `Err` why it did not answer.
async fn probe(
    client: &Client,
    composition: &str,
    cancel: &Cancel,
) -> Result<Result<String, String>, Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &own_namespace(composition));
    let pod: Pod = objects::probe();
    let params = PostParams {
        dry_run: true,
        field_manager: Some(MANAGER.to_owned()),
    };
    let answer = match ask("ask for a pod", cancel, || api.create(&params, &pod)).await {
        Ok(answer) => answer,
        Err(Error::Api { source, .. }) => return Ok(Err(crate::target::said(&source))),
        Err(error) => return Err(error),
    };
    let annotations: BTreeMap<String, String> = answer.metadata.annotations.unwrap_or_default();
    Ok(match annotations.get(PROBE) {
        Some(id) if id != objects::ASKED => Ok(id.clone()),
        _ => Err("the API server got no answer from it".to_owned()),
    })
}
