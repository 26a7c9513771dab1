//! Why pods are not ready: what their containers wait for, their events and
//! the last lines of their logs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::api::ListParams;
use kube::{Api, Client};
use podcov_process::Cancel;

use crate::logs;
use crate::target::{Error, ask};
use crate::watch::observed;

/// Lines of a log, and events, that are shown.
const LINES: i64 = 10;
const EVENTS: usize = 5;

/// What did not become ready.
#[derive(Debug, thiserror::Error)]
pub struct NotReady {
    /// How long it was waited for.
    pub waited: Duration,
    /// Whether it cannot become ready any more, or only took too long.
    pub hopeless: bool,
    /// Pods that are ready.
    pub ready: i32,
    /// Pods there are to be.
    pub wanted: i32,
    /// Workloads and what their controllers say, `Deployment a/b: …`.
    pub workloads: Vec<String>,
    /// The pods that are not ready.
    pub pods: Vec<Unready>,
}

/// A pod that is not ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unready {
    /// `namespace/name`.
    pub pod: String,
    /// `container: why`, one for each container that is not ready.
    pub why: Vec<String>,
    /// Its last events.
    pub events: Vec<String>,
    /// The last lines of the containers that are not ready.
    pub log: Vec<String>,
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ready, wanted, waited) = (self.ready, self.wanted, self.waited.as_secs());
        let how = if self.hopeless {
            "cannot become ready"
        } else {
            "took too long"
        };
        write!(
            f,
            "pods {ready}/{wanted} ready after {waited} s, the rest {how}"
        )?;
        for workload in &self.workloads {
            write!(f, "\n  {workload}")?;
        }
        for pod in &self.pods {
            write!(f, "\n  pod {}", pod.pod)?;
            for (word, lines) in [
                ("", &pod.why),
                ("event  ", &pod.events),
                ("log    ", &pod.log),
            ] {
                for line in lines {
                    write!(f, "\n    {word}{line}")?;
                }
            }
        }
        Ok(())
    }
}

/// A container that waits for what will not come, or a pod that has no place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Trouble {
    uid: String,
    container: String,
    reason: String,
}

/// Since when each trouble lasts; some are part of a normal start.
#[derive(Debug, Default)]
pub(crate) struct Troubles(BTreeMap<Trouble, Instant>);

impl Troubles {
    /// Whether something lasts longer than it would if it could end well.
    pub(crate) fn are_hopeless(&mut self, pods: &[Pod]) -> bool {
        let now: Vec<(Trouble, Duration)> = pods.iter().flat_map(troubles).collect();
        self.0
            .retain(|trouble, _| now.iter().any(|(other, _)| other == trouble));
        now.into_iter().any(|(trouble, patience)| {
            let since = self.0.entry(trouble).or_insert_with(Instant::now);
            since.elapsed() >= patience
        })
    }
}

fn troubles(pod: &Pod) -> Vec<(Trouble, Duration)> {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    if pod.metadata.deletion_timestamp.is_some() {
        return vec![];
    }
    let trouble = |container: &str, reason: &str, seconds| {
        let (container, reason) = (container.to_owned(), reason.to_owned());
        (
            Trouble {
                uid: uid.clone(),
                container,
                reason,
            },
            Duration::from_secs(seconds),
        )
    };
    let mut all = Vec::new();
    for status in statuses(pod) {
        let Some((reason, _)) = waiting(status) else {
            continue;
        };
        match reason {
            // Nothing brings these about but a changed manifest or image.
            "ErrImageNeverPull" | "InvalidImageName" => all.push(trouble(&status.name, reason, 3)),
            // The two alternate; a registry may have had a hiccup.
            "ErrImagePull" | "ImagePullBackOff" => {
                all.push(trouble(&status.name, "ImagePullBackOff", 15));
            }
            // What it names may still be made, by an operator for instance.
            "CreateContainerConfigError" => all.push(trouble(&status.name, reason, 60)),
            "CreateContainerError" | "RunContainerError" => {
                all.push(trouble(&status.name, reason, 20));
            }
            // An operator may crash until what it needs is there.
            "CrashLoopBackOff" if status.restart_count >= 3 => {
                all.push(trouble(&status.name, reason, 0));
            }
            _ => {}
        }
    }
    if unschedulable(pod).is_some() {
        all.push(trouble("", "Unschedulable", 60));
    }
    all
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_ref());
    let main = status.and_then(|status| status.container_statuses.as_ref());
    init.into_iter().flatten().chain(main.into_iter().flatten())
}

/// Reason and message of what a container waits for.
fn waiting(status: &ContainerStatus) -> Option<(&str, &str)> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    Some((
        waiting.reason.as_deref()?,
        waiting.message.as_deref().unwrap_or_default(),
    ))
}

fn unschedulable(pod: &Pod) -> Option<&str> {
    let mut conditions = pod
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    let condition = conditions.find(|c| c.reason.as_deref() == Some("Unschedulable"))?;
    condition.message.as_deref()
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let mut conditions = status
        .into_iter()
        .flat_map(|s| s.conditions.iter().flatten());
    status.and_then(|s| s.phase.as_deref()) == Some("Succeeded")
        || conditions.any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Everything that tells why the pod is not ready.
pub(crate) async fn diagnose(
    client: &Client,
    pod: &Pod,
    cancel: &Cancel,
) -> Result<Unready, Error> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let name = pod.metadata.name.clone().unwrap_or_default();
    let mut unready = Unready {
        pod: format!("{namespace}/{name}"),
        ..Unready::default()
    };
    unready
        .why
        .extend(unschedulable(pod).map(|message| format!("no node takes it: {message}")));
    let owner = observed::Pod {
        namespace,
        name,
        ..observed::Pod::default()
    };
    for status in statuses(pod) {
        let Some(why) = why(status) else { continue };
        unready
            .why
            .push(format!("container {}: {why}", status.name));
        if status.container_id.is_none() && status.restart_count == 0 {
            continue;
        }
        // A container that waits for its next start has no log of its own.
        let waits = waiting(status).is_some() && status.restart_count > 0;
        for previous in [false, true] {
            let lines =
                logs::fetch(client, &owner, &status.name, previous, Some(LINES), cancel).await;
            match lines {
                Ok(lines) if lines.trim().is_empty() && !previous && waits => {}
                Ok(lines) => {
                    let tail = lines.lines().map(str::to_owned);
                    unready.log.extend(tail);
                    break;
                }
                Err(Error::Api { .. }) if !previous && waits => {}
                Err(Error::Api { .. }) => break,
                Err(error) => return Err(error),
            }
        }
    }
    unready.events = events(client, pod, cancel).await?;
    Ok(unready)
}

/// Why the container is not ready, `None` when it is or has done its work.
fn why(status: &ContainerStatus) -> Option<String> {
    let state = status.state.as_ref();
    let ended = |ended: &k8s_openapi::api::core::v1::ContainerStateTerminated| {
        let reason = ended.reason.as_deref().unwrap_or("ended");
        let message = ended
            .message
            .as_deref()
            .map_or(String::new(), |m| format!(": {}", m.trim()));
        format!("{reason}, exit status {}{message}", ended.exit_code)
    };
    if let Some((reason, message)) = waiting(status) {
        let last = status
            .last_state
            .as_ref()
            .and_then(|state| state.terminated.as_ref());
        let last = last.map_or(String::new(), |last| format!("; before: {}", ended(last)));
        let help = help(reason).map_or(String::new(), |help| format!(" ({help})"));
        let starts = match status.restart_count {
            0 => String::new(),
            restarts => format!(", {restarts} restarts"),
        };
        let message = if message.is_empty() {
            String::new()
        } else {
            format!(": {message}")
        };
        return Some(format!("{reason}{starts}{message}{last}{help}"));
    }
    match state.and_then(|state| state.terminated.as_ref()) {
        Some(terminated) if terminated.exit_code == 0 => None,
        Some(terminated) => Some(ended(terminated)),
        None if status.ready => None,
        None => Some("runs and is not ready: its readiness or startup probe fails".to_owned()),
    }
}

fn help(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "ErrImageNeverPull" => {
            "the image is not on the node and may not be pulled: was it built and loaded \
             under this very name?"
        }
        "ErrImagePull" | "ImagePullBackOff" => {
            "the image is not on the node and cannot be pulled: was it loaded under this very \
             name and tag?"
        }
        "InvalidImageName" => "correct `image` in the manifest",
        "CrashLoopBackOff" => "its program ends again and again: see the log",
        "CreateContainerConfigError" => "a Secret or ConfigMap that it names is missing",
        _ => return None,
    })
}

async fn events(client: &Client, pod: &Pod, cancel: &Cancel) -> Result<Vec<String>, Error> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
    let params = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
    let mut events = match ask("list events", cancel, || api.list(&params)).await {
        Ok(events) => events.items,
        // Events are a help, no more.
        Err(Error::Api { .. }) => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    events.retain(|event| event.type_.as_deref() == Some("Warning"));
    events.sort_by_key(|event| {
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        last.or_else(|| event.event_time.as_ref().map(|time| time.0))
    });
    let skip = events.len().saturating_sub(EVENTS);
    Ok(events.into_iter().skip(skip).map(text).collect())
}

fn text(event: Event) -> String {
    let times = match event.count {
        Some(count) if count > 1 => format!(" ({count} times)"),
        _ => String::new(),
    };
    let reason = event.reason.unwrap_or_default();
    format!(
        "{reason}: {}{times}",
        event.message.unwrap_or_default().trim()
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(reason: &str, restarts: i32) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"uid": "u", "name": "p", "namespace": "n"},
            "spec": {"containers": []},
            "status": {"containerStatuses": [{"name": "c", "image": "i", "imageID": "",
                "ready": false, "restartCount": restarts,
                "state": {"waiting": {"reason": reason, "message": "m"}},
                "lastState": {}}]},
        }))
        .unwrap()
    }

    #[test]
    fn some_troubles_are_hopeless_at_once_and_some_may_pass() {
        let hopeless = |pod: Pod| Troubles::default().are_hopeless(&[pod]);
        assert!(hopeless(pod("CrashLoopBackOff", 3)));
        assert!(!hopeless(pod("CrashLoopBackOff", 2)));
        assert!(!hopeless(pod("ImagePullBackOff", 0)));
        assert!(!hopeless(pod("ContainerCreating", 0)));
    }

    #[test]
    fn pulling_and_backing_off_are_one_trouble() {
        let mut troubles = Troubles::default();
        troubles.are_hopeless(&[pod("ErrImagePull", 0)]);
        let since = troubles.0.values().next().copied().unwrap();
        troubles.are_hopeless(&[pod("ImagePullBackOff", 0)]);
        assert_eq!(troubles.0.values().copied().collect::<Vec<_>>(), [since]);
        troubles.are_hopeless(&[pod("ContainerCreating", 0)]);
        assert!(troubles.0.is_empty());
    }

    #[test]
    fn the_text_names_pod_container_cause_and_help() {
        let pod = pod("ErrImageNeverPull", 0);
        let why = why(statuses(&pod).next().unwrap()).unwrap();
        assert!(
            why.starts_with("ErrImageNeverPull: m (the image is not on the node"),
            "{why}"
        );
    }
}
