//! What the watch knows of the webhook that patches pods, and why a pod was not
//! patched: the API server lets pods pass when the webhook does not answer, so
//! each of them has to be told.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as core;
use podcov_profile::ledger::Finding;

use crate::overlay::NOT_INJECTED;
use crate::overlay::webhook::{DISABLED, INJECT_LABEL};

/// How much later than the end of a webhook its pod is said not to be ready.
const LAG: SignedDuration = SignedDuration::from_secs(5);
/// Label of a namespace: what Pod Security lets pass there.
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
/// Label of the webhook's own pods.
pub(crate) const AGENT_LABEL: &str = "podcov.dev/agent";

/// Which pods are to be patched, and by which webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Injects {
    /// The value of the label of namespaces.
    pub composition: String,
    /// The components whose pods are patched.
    pub components: Vec<String>,
    /// The namespace of the webhook's own pods.
    pub own_namespace: String,
    /// Pods with the profile volume are not for namespaces that enforce a
    /// level of Pod Security.
    pub needs_privileged: bool,
}

/// The memory of it.
#[derive(Debug, Default)]
pub(crate) struct Injection {
    what: Injects,
    /// The labels that namespaces had last; also of those that are gone.
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// UIDs of the webhook's pods that are ready.
    ready: BTreeSet<String>,
    /// It was ready before.
    was_ready: bool,
    /// When none was ready, from the first that was.
    down: Vec<(Timestamp, Option<Timestamp>)>,
    /// The webhook is being removed: that it is gone is no news.
    is_over: bool,
    /// Containers by pod UID and name that should have been patched, each with
    /// the reason that its pod gives.
    missed: BTreeMap<(String, String), Option<String>>,
}

impl Injection {
    pub(crate) fn new(what: Injects) -> Injection {
        Injection {
            what,
            ..Injection::default()
        }
    }

    pub(crate) fn injects(&self, component: &str) -> bool {
        self.what.components.iter().any(|name| name == component)
    }

    pub(crate) fn ends(&mut self) {
        self.is_over = true;
    }

    pub(crate) fn namespace_seen(&mut self, namespace: &core::Namespace) {
        // The labels go with the webhook, and were there before.
        if self.is_over {
            return;
        }
        let name = namespace.metadata.name.clone().unwrap_or_default();
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        self.namespaces.insert(name, labels);
    }

    /// Notes how a pod of the webhook is; false when it is none.
    pub(crate) fn own_pod_seen(&mut self, pod: &core::Pod, is_gone: bool, now: Timestamp) -> bool {
        let meta = &pod.metadata;
        let has_label = meta
            .labels
            .as_ref()
            .is_some_and(|labels| labels.get(AGENT_LABEL).map(String::as_str) == Some("inject"));
        if !has_label || meta.namespace.as_deref() != Some(&self.what.own_namespace) {
            return false;
        }
        let conditions = pod
            .status
            .iter()
            .flat_map(|s| s.conditions.iter().flatten());
        let mut ready = conditions.filter(|c| c.type_ == "Ready" && c.status == "True");
        let is_ready = !is_gone && ready.next().is_some();
        let uid = meta.uid.clone().unwrap_or_default();
        match is_ready {
            true => self.ready.insert(uid),
            false => self.ready.remove(&uid),
        };
        self.note(now);
        true
    }

    /// All pods were listed: those of the webhook that are not among them are
    /// gone.
    pub(crate) fn listed(&mut self, uids: &BTreeSet<String>, now: Timestamp) {
        self.ready.retain(|uid| uids.contains(uid));
        self.note(now);
    }

    fn note(&mut self, now: Timestamp) {
        match (self.ready.is_empty(), self.down.last_mut()) {
            (true, None | Some((_, Some(_)))) if self.was_ready && !self.is_over => {
                self.down.push((now, None));
            }
            (false, Some((_, end @ None))) => *end = Some(now),
            _ => {}
        }
        self.was_ready |= !self.ready.is_empty();
    }

    /// A container of a pod that should have been patched and was not.
    pub(crate) fn missed(&mut self, pod: &core::Pod, container: &str) {
        let meta = &pod.metadata;
        let said = meta.annotations.as_ref().and_then(|a| a.get(NOT_INJECTED));
        let label = meta.labels.as_ref().and_then(|l| l.get(INJECT_LABEL));
        let off = label.filter(|label| *label == DISABLED);
        let off = off.map(|_| format!("its label {INJECT_LABEL} says `{DISABLED}`"));
        let uid = meta.uid.clone().unwrap_or_default();
        self.missed
            .insert((uid, container.to_owned()), said.cloned().or(off));
    }

    /// Why a container was not patched; `None` when it was, or need not be.
    pub(crate) fn why(&self, uid: &str, container: &str, pod: &Place<'_>) -> Option<String> {
        let said = self.missed.get(&(uid.to_owned(), container.to_owned()))?;
        Some(said.clone().unwrap_or_else(|| self.cause(pod)))
    }

    fn cause(&self, pod: &Place<'_>) -> String {
        let Injects {
            composition,
            needs_privileged,
            ..
        } = &self.what;
        let namespace = pod.namespace;
        if let Some(labels) = self.namespaces.get(namespace) {
            if labels.get(INJECT_LABEL) != Some(composition) {
                return format!(
                    "namespace `{namespace}` has no label {INJECT_LABEL}={composition}"
                );
            }
            let level = labels.get(ENFORCE).filter(|level| *level != "privileged");
            if let Some(level) = level.filter(|_| *needs_privileged) {
                return format!(
                    "namespace `{namespace}` enforces the `{level}` level of Pod Security, which \
                     forbids the profile volume"
                );
            }
        }
        let is_in = |(from, to): &&(Timestamp, Option<Timestamp>)| {
            let created = pod.created.and_then(|at| at.parse::<Timestamp>().ok());
            created.is_some_and(|at| at >= *from - LAG && to.is_none_or(|to| at <= to))
        };
        match self.down.iter().find(is_in) {
            Some(window) => format!("the webhook was not ready {}", between(window)),
            None => "the webhook did not answer in time when the pod was created".to_owned(),
        }
    }

    /// What the user should know of the webhook itself.
    pub(crate) fn findings(&self) -> impl Iterator<Item = Finding> {
        self.down.iter().map(|window| Finding {
            kind: "inject-down".to_owned(),
            text: format!(
                "the webhook was not ready {}: pods that were created then are not measured",
                between(window)
            ),
        })
    }
}

/// Where and when a pod was created.
pub(crate) struct Place<'a> {
    pub(crate) namespace: &'a str,
    /// RFC 3339.
    pub(crate) created: Option<&'a str>,
}

fn between((from, to): &(Timestamp, Option<Timestamp>)) -> String {
    let text = |time: &Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    match to {
        Some(to) => format!("from {} to {}", text(from), text(to)),
        None => format!("from {} on", text(from)),
    }
}

#[cfg(test)]
#[path = "injection_tests.rs"]
mod tests;
