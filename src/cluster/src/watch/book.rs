//! The memory of the watch: pods come in as the API server says them, and
//! nothing that was once seen is forgotten. Knows no network.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use podcov_profile::ledger::Finding;

use super::Watched;
use super::injection::{Injection, Injects, Place};
use super::observed::{Container, Observed, Pod, SCHEMA, Start};
use crate::overlay::{COMPONENT_ANNOTATION, is_image};
use crate::store;

/// How far the clocks of this machine and of the cluster may be apart.
const CLOCKS: SignedDuration = SignedDuration::from_mins(1);

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Book {
    run: String,
    /// What was created before is not of the run; `None` when its id has no
    /// time.
    begin: Option<Timestamp>,
    watched: Vec<Watched>,
    pods: BTreeMap<String, Pod>,
    /// UIDs seen in the list that is being read; `None` outside of one.
    listing: Option<BTreeSet<String>>,
    lists: u32,
    findings: Vec<Finding>,
    restarts_of_watch: u32,
    last_error: String,
    /// Of the webhook, where there is one.
    pub(crate) injection: Option<Injection>,
    pub(crate) lost: Option<String>,
}

impl Book {
    pub(crate) fn new(run: &str, watched: Vec<Watched>, injects: Option<Injects>) -> Book {
        Book {
            injection: injects.map(Injection::new),
            run: run.to_owned(),
            begin: store::time_of_run(run).map(|begin| begin - CLOCKS),
            watched,
            ..Book::default()
        }
    }

    /// A list of all pods begins.
    pub(crate) fn list_begins(&mut self) {
        self.listing = Some(BTreeSet::new());
        if self.lists > 0 {
            self.restarts_of_watch += 1;
        }
        self.lists += 1;
    }

    /// A list of all pods is complete: what was not in it is gone.
    pub(crate) fn list_ends(&mut self) {
        let Some(listed) = self.listing.take() else {
            return;
        };
        if let Some(injection) = &mut self.injection {
            injection.listed(&listed, Timestamp::now());
        }
        for pod in self.pods.values_mut() {
            if !listed.contains(&pod.uid) && !pod.gone {
                leave(pod);
            }
        }
    }

    pub(crate) fn watch_failed(&mut self, error: &str) {
        error.clone_into(&mut self.last_error);
    }

    /// Whether the first list is complete.
    pub(crate) fn is_current(&self) -> bool {
        self.lists > 0 && self.listing.is_none()
    }

    /// The pod was deleted.
    pub(crate) fn deleted(&mut self, pod: &core::Pod) {
        self.seen(pod);
        self.of_webhook(pod, true);
        if let Some(pod) = pod
            .metadata
            .uid
            .as_ref()
            .and_then(|uid| self.pods.get_mut(uid))
        {
            leave(pod);
        }
    }

    /// The pod is, or has become, like this.
    pub(crate) fn seen(&mut self, pod: &core::Pod) {
        let meta = &pod.metadata;
        let Some(uid) = &meta.uid else { return };
        if let Some(listed) = &mut self.listing {
            listed.insert(uid.clone());
        }
        if self.of_webhook(pod, false) {
            return;
        }
        let containers = self.components(pod);
        if containers.is_empty() {
            return;
        }
        let of_run = self.says_run(pod);
        let created = meta.creation_timestamp.as_ref();
        let is_older = created
            .zip(self.begin)
            .is_some_and(|(at, begin)| at.0 < begin);
        if !of_run && is_older {
            self.tell_other(pod, &containers);
            return;
        }
        self.note_missed(pod, &containers);
        let entry = self.pods.entry(uid.clone()).or_insert_with(|| Pod {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: uid.clone(),
            created: meta.creation_timestamp.as_ref().and_then(time),
            of_run,
            containers,
            ..Pod::default()
        });
        entry.deleting = meta.deletion_timestamp.is_some();
        let Some(status) = &pod.status else { return };
        entry.phase = status.phase.clone().unwrap_or_default();
        entry.ready = condition(status, "Ready").is_some_and(|c| c.status == "True");
        if entry.reason.is_none() {
            entry.reason = disruption(status);
            if let Some(reason) = &entry.reason {
                let message = status.message.clone().unwrap_or_default();
                let text = format!("{}/{}: {reason} {message}", entry.namespace, entry.name);
                let text = text.trim_end().to_owned();
                self.findings.push(Finding {
                    kind: "disrupted".to_owned(),
                    text,
                });
            }
        }
        let statuses = [&status.init_container_statuses, &status.container_statuses];
        for status in statuses.into_iter().flatten().flatten() {
            if let Some(container) = entry.containers.iter_mut().find(|c| c.name == status.name) {
                note_status(container, status);
            }
        }
    }

    fn of_webhook(&mut self, pod: &core::Pod, is_gone: bool) -> bool {
        let injection = self.injection.as_mut();
        injection.is_some_and(|known| known.own_pod_seen(pod, is_gone, Timestamp::now()))
    }

    /// Containers that the webhook should have patched and did not.
    fn note_missed(&mut self, pod: &core::Pod, containers: &[Container]) {
        let Some(injection) = &mut self.injection else {
            return;
        };
        for container in containers {
            if injection.injects(&container.component) && !is_measured(pod, &container.name) {
                injection.missed(pod, &container.name);
            }
        }
    }

    /// Whether the overlay of this run is in the pod.
    fn says_run(&self, pod: &core::Pod) -> bool {
        let containers = pod.spec.iter().flat_map(|spec| {
            let init = spec.init_containers.iter().flatten();
            init.chain(&spec.containers)
        });
        let mut env = containers.flat_map(|container| container.env.iter().flatten());
        env.any(|env| env.name == "PODCOV_RUN" && env.value.as_ref() == Some(&self.run))
    }

    /// A pod that was there before the run began, as in a cluster in which the
    /// composition is in use, too, is none of its business.
    fn tell_other(&mut self, pod: &core::Pod, containers: &[Container]) {
        let name = |text: &Option<String>| text.clone().unwrap_or_default();
        let text = format!(
            "{}/{} runs {} and was there before the run; left alone and not counted",
            name(&pod.metadata.namespace),
            name(&pod.metadata.name),
            containers[0].component
        );
        let finding = Finding {
            kind: "other-pod".to_owned(),
            text,
        };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// The containers of the pod that belong to the composition and this run.
    fn components(&self, pod: &core::Pod) -> Vec<Container> {
        let Some(spec) = &pod.spec else { return vec![] };
        let empty = BTreeMap::new();
        let annotations = pod.metadata.annotations.as_ref().unwrap_or(&empty);
        let all = spec
            .init_containers
            .iter()
            .flatten()
            .chain(&spec.containers);
        all.filter_map(|container| {
            let env = |name: &str| {
                let mut env = container.env.iter().flatten();
                env.find(|env| env.name == name)?.value.as_ref()
            };
            // A pod that an earlier run left behind is not this one's.
            if env("PODCOV_RUN").is_some_and(|run| *run != self.run) {
                return None;
            }
            let image = container.image.clone().unwrap_or_default();
            let named = annotations.get(&format!("{COMPONENT_ANNOTATION}{}", container.name));
            let component = named
                .or_else(|| env("PODCOV_COMPONENT"))
                .cloned()
                .or_else(|| self.component_of(&image))?;
            let name = container.name.clone();
            Some(Container {
                name,
                component,
                image,
                ..Container::default()
            })
        })
        .collect()
    }

    fn component_of(&self, image: &str) -> Option<String> {
        let has = |watched: &&Watched| watched.images.iter().any(|name| is_image(name, image));
        self.watched
            .iter()
            .find(has)
            .map(|watched| watched.name.clone())
    }

    pub(crate) fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values()
    }

    pub(crate) fn mark_gone(&mut self, uid: &str) {
        if let Some(pod) = self.pods.get_mut(uid) {
            leave(pod);
        }
    }

    pub(crate) fn find(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    pub(crate) fn pod(&self, uid: &str) -> Option<&Pod> {
        self.pods.get(uid)
    }

    pub(crate) fn observed(&self) -> Observed {
        let mut pods: Vec<Pod> = self.pods.values().cloned().collect();
        pods.sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
        if let Some(injection) = &self.injection {
            tell_missed(injection, &mut pods);
        }
        let mut findings = self.findings.clone();
        findings.extend(self.injection.iter().flat_map(Injection::findings));
        if self.restarts_of_watch > 0 {
            let times = self.restarts_of_watch;
            let mut text = format!("the watch over pods had to list them anew {times} times");
            if !self.last_error.is_empty() {
                text += &format!(" (last reason: {})", self.last_error);
            }
            findings.push(Finding {
                kind: "watch-restarted".to_owned(),
                text,
            });
        }
        findings.sort_by(|a, b| (&a.kind, &a.text).cmp(&(&b.kind, &b.text)));
        let (run, lost) = (self.run.clone(), self.lost.clone());
        Observed {
            schema: SCHEMA,
            run,
            pods,
            findings,
            lost,
        }
    }
}

fn tell_missed(injection: &Injection, pods: &mut [Pod]) {
    for pod in pods {
        let place = Place {
            namespace: &pod.namespace,
            created: pod.created.as_deref(),
        };
        for container in &mut pod.containers {
            container.not_injected = injection.why(&pod.uid, &container.name, &place);
        }
    }
}

/// Whether the launcher of a container knows where to write.
fn is_measured(pod: &core::Pod, container: &str) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| {
        let init = spec.init_containers.iter().flatten();
        init.chain(&spec.containers)
    });
    let mut own = containers.filter(|c| c.name == container);
    own.any(|c| c.env.iter().flatten().any(|env| env.name == "PODCOV_RUN"))
}

fn leave(pod: &mut Pod) {
    pod.gone = true;
    pod.ready = false;
}

/// What a container's status says about its present start and the one before.
fn note_status(container: &mut Container, status: &core::ContainerStatus) {
    let state = status.state.as_ref();
    container.waiting = state
        .and_then(|s| s.waiting.as_ref())
        .and_then(|waiting| waiting.reason.clone());
    let id = status.container_id.clone().unwrap_or_default();
    let count = u32::try_from(status.restart_count).unwrap_or(0);
    // Without an id no container was made: nothing ran, whatever it waits for.
    if !id.is_empty() || count > 0 {
        container.restarts = Some(container.restarts.unwrap_or(0).max(count));
    }
    let last = status
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    if let Some(last) = last {
        let last_id = last.container_id.clone().unwrap_or_default();
        // While it waits for its next start, the last container is still the
        // one that is counted; afterwards it is the one before.
        let number = if last_id == id {
            Some(count)
        } else {
            count.checked_sub(1)
        };
        if let Some(number) = number {
            note_end(start(container, number, &last_id), last);
        }
    }
    if let Some(running) = state.and_then(|state| state.running.as_ref()) {
        let start = start(container, count, &id);
        if let Some(at) = running.started_at.as_ref().and_then(time) {
            start.started = Some(at);
        }
    }
    if let Some(ended) = state.and_then(|state| state.terminated.as_ref()) {
        let ended_id = ended.container_id.clone().unwrap_or_else(|| id.clone());
        // Without any id there never was a container: the pod was ended
        // before it could be made.
        if !ended_id.is_empty() {
            note_end(start(container, count, &ended_id), ended);
        }
    }
}

fn note_end(start: &mut Start, ended: &core::ContainerStateTerminated) {
    start.ended = true;
    if let Some(at) = ended.started_at.as_ref().and_then(time) {
        start.started = Some(at);
    }
    if let Some(at) = ended.finished_at.as_ref().and_then(time) {
        start.finished = Some(at);
    }
    start.code = Some(ended.exit_code);
    start.signal = ended.signal.filter(|signal| *signal != 0);
    start.reason.clone_from(&ended.reason);
    start.message = ended.message.as_deref().map(str::trim).map(str::to_owned);
}

/// The start with this container id, else the one with this number whose id
/// is not known, else a new one.
fn start<'a>(container: &'a mut Container, number: u32, id: &str) -> &'a mut Start {
    let starts = &mut container.starts;
    let same_id = |start: &Start| !id.is_empty() && start.container_id == id;
    let same_number =
        |start: &Start| start.number == number && (id.is_empty() || start.container_id.is_empty());
    let known = starts
        .iter()
        .position(same_id)
        .or_else(|| starts.iter().position(same_number));
    let at = known.unwrap_or_else(|| {
        // A count that was begun anew (a lost node) makes two of one number.
        let at = starts.partition_point(|start| start.number <= number);
        starts.insert(
            at,
            Start {
                number,
                container_id: id.to_owned(),
                ..Start::default()
            },
        );
        at
    });
    &mut starts[at]
}

fn condition<'a>(status: &'a core::PodStatus, kind: &str) -> Option<&'a core::PodCondition> {
    status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == kind)
}

/// Why something else than its end or its owner ends the pod.
fn disruption(status: &core::PodStatus) -> Option<String> {
    let target = condition(status, "DisruptionTarget").filter(|c| c.status == "True");
    status
        .reason
        .clone()
        .or_else(|| target.and_then(|condition| condition.reason.clone()))
}

/// RFC 3339; the runtime's zero time is no time.
fn time(time: &Time) -> Option<String> {
    (time.0.as_second() > 0).then(|| time.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Container runtimes add the default registry to a name that has none.
pub(crate) fn same_image(a: &str, b: &str) -> bool {
    let short = |name: &str| {
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        name.strip_prefix("library/").unwrap_or(name).to_owned()
    };
    a == b || short(a) == short(b)
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
