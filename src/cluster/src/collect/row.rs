//! The rows of the ledger.

use jiff::Timestamp;
use podcov_profile::Identity;
use podcov_profile::ledger::{Ended, Fate, Finding, Incarnation};

use super::judge::{Judge, Judged};
use super::reconcile::{Expected, Life, assign, expected, parse, time_of_name};
use super::walk::Dir;
use super::{Error, Gather, Recorded, finding};
use crate::logs;
use crate::watch::observed::{Container, Pod, Start};

/// What the launcher writes when it cannot write evidence.
const NO_EVIDENCE: &str = "podcov-launcher: no evidence:";

/// Which container of which pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    namespace: String,
    pod: String,
    uid: String,
    container: String,
}

impl Place {
    pub(crate) fn of(dir: &Dir) -> Place {
        Place {
            namespace: dir.namespace.clone(),
            pod: dir.pod.clone(),
            uid: dir.pod_uid.clone(),
            container: dir.container.clone(),
        }
    }

    pub(crate) fn observed(pod: &Pod, container: &Container) -> Place {
        Place {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            container: container.name.clone(),
        }
    }

    fn label(&self) -> String {
        format!(
            "{}/{} container {}",
            self.namespace, self.pod, self.container
        )
    }
}

pub(crate) struct Rows<'a> {
    pub(crate) gather: &'a Gather<'a>,
    pub(crate) judge: &'a Judge<'a>,
    pub(crate) findings: &'a mut Vec<Finding>,
    pub(crate) rows: Vec<Incarnation>,
}

impl Rows<'_> {
    /// A container that the watch knows: a row for each of its starts.
    pub(crate) fn observed(
        &mut self,
        pod: &Pod,
        container: &Container,
        mut dirs: Vec<Recorded>,
    ) -> Result<(), Error> {
        let place = Place::observed(pod, container);
        self.tell_what_never_ran(&place, pod, container);
        let unseen = container.unseen();
        if !unseen.is_empty() {
            let numbers: Vec<String> = unseen.iter().map(|n| (n + 1).to_string()).collect();
            let text = format!(
                "{}: start {} was not seen by the watch, the restart count tells of it",
                place.label(),
                numbers.join(", ")
            );
            self.tell("unseen-start", text);
        }
        dirs.sort_by(|a, b| (time(a), &a.dir.id).cmp(&(time(b), &b.dir.id)));
        let starts = expected(container);
        let lives: Vec<Life> = dirs.iter().map(life).collect();
        let assigned = assign(&starts, &lives);
        let mut has_folder = vec![false; starts.len()];
        for (recorded, at) in dirs.into_iter().zip(assigned) {
            let start = at.map(|at| {
                has_folder[at] = true;
                starts[at].clone()
            });
            if start.is_none() {
                let text = format!(
                    "{} belongs to no start that the cluster told of",
                    recorded.dir.path
                );
                self.tell("extra-start", text);
            }
            self.collected(&place, recorded, Some((pod, container)), start)?;
        }
        for (start, has_folder) in starts.iter().zip(has_folder) {
            if !has_folder {
                self.missing(&place, pod, container, start);
            }
        }
        Ok(())
    }

    /// Folders of a container that the watch does not know.
    pub(crate) fn unobserved(&mut self, place: &Place, dirs: Vec<Recorded>) -> Result<(), Error> {
        let observed = self.gather.observed;
        if !place.namespace.starts_with('_') && observed.schema > 0 {
            let pod = format!("{}/{} ({})", place.namespace, place.pod, place.uid);
            if observed.pod(&place.uid).is_none() {
                let text = format!("{pod} was gone before the watch saw it; its evidence counts");
                self.tell("unseen-pod", text);
            }
        }
        dirs.into_iter()
            .try_for_each(|dir| self.collected(place, dir, None, None))
    }

    fn tell(&mut self, kind: &str, text: String) {
        self.findings.push(finding(kind, text));
    }

    fn tell_what_never_ran(&mut self, place: &Place, pod: &Pod, container: &Container) {
        let label = place.label();
        if container.restarts.is_none() && container.starts.is_empty() {
            let why = container.waiting.as_deref().or(pod.reason.as_deref());
            let why = why.unwrap_or("the pod ended before it");
            self.tell("never-started", format!("{label} never started: {why}"));
        }
        for start in container.starts.iter().filter(|start| !start.ran()) {
            let message = start
                .message
                .as_deref()
                .or(start.reason.as_deref())
                .unwrap_or_default();
            let text = format!("{label} could not start its program: {message}");
            self.tell("never-started", text);
        }
    }

    fn collected(
        &mut self,
        place: &Place,
        recorded: Recorded,
        observed: Option<(&Pod, &Container)>,
        start: Option<Expected<'_>>,
    ) -> Result<(), Error> {
        let Judged {
            fate,
            reason,
            files,
        } = self
            .judge
            .judge(&recorded.dir, &recorded.start, self.findings)?;
        let said = recorded.start.identity.as_deref();
        let said = said.and_then(|text| text.parse::<Identity>().ok());
        let merged = files.iter().find(|file| file.fate == Fate::Merged);
        let identity = said.or_else(|| merged.and_then(|file| file.identity.clone()));
        let component = self.component(&recorded, observed, identity.as_ref());
        let seen = start.as_ref().and_then(|start| start.seen);
        let ended = ended(&recorded, observed.map(|(pod, _)| pod), seen);
        if recorded.exit.is_none()
            && let (Some((pod, _)), Some(seen)) = (observed, seen)
            && !pod.gone
            && !seen.ended
        {
            let text = format!("{} still ran when its evidence was read", place.label());
            self.tell("still-running", text);
        }
        let reason = explain(fate, reason, &ended, recorded.has_record);
        let exit_end = recorded.exit.as_ref().and_then(|exit| exit.end.clone());
        let name_time = || time_of_name(&recorded.dir.id).map(|time| time.to_string());
        let seen_start = || seen.and_then(|seen| seen.started.clone());
        self.rows.push(Incarnation {
            component,
            namespace: place.namespace.clone(),
            pod: place.pod.clone(),
            pod_uid: place.uid.clone(),
            container: place.container.clone(),
            restart: start.as_ref().map(|start| start.number),
            identity,
            start: recorded
                .start
                .start
                .clone()
                .or_else(name_time)
                .or_else(seen_start),
            end: exit_end.or_else(|| seen.and_then(|seen| seen.finished.clone())),
            ended,
            fate,
            reason,
            files,
            id: Some(recorded.dir.id),
        });
        Ok(())
    }

    fn missing(&mut self, place: &Place, pod: &Pod, container: &Container, start: &Expected<'_>) {
        let seen = start.seen;
        let mut ended = Ended::default();
        if let Some(seen) = seen {
            (ended.code, ended.signal) = status(seen);
            ended.reason.clone_from(&seen.reason);
        }
        ended.reason = pod.reason.clone().or(ended.reason);
        self.rows.push(Incarnation {
            component: container.component.clone(),
            namespace: place.namespace.clone(),
            pod: place.pod.clone(),
            pod_uid: place.uid.clone(),
            container: place.container.clone(),
            id: None,
            restart: Some(start.number),
            identity: None,
            start: seen.and_then(|seen| seen.started.clone()),
            end: seen.and_then(|seen| seen.finished.clone()),
            ended,
            fate: Fate::Missing,
            reason: self.why_missing(pod, container, start),
            files: vec![],
        });
    }

    fn why_missing(&self, pod: &Pod, container: &Container, start: &Expected<'_>) -> String {
        if let Some(why) = &container.not_injected {
            return format!("not injected: {why}");
        }
        let message = start.seen.and_then(|seen| seen.message.as_deref());
        if let Some(why) = message.and_then(no_evidence) {
            return format!("the launcher could not write evidence: {why}");
        }
        let log = self
            .gather
            .logs
            .and_then(|dir| logs::find(dir, pod, container, start.number));
        if let Some(why) = log.as_deref().and_then(no_evidence) {
            return format!("the launcher could not write evidence: {why}");
        }
        let bundles = self.gather.bundles.iter();
        let mut own = bundles.filter(|bundle| bundle.component == container.component);
        let measured = own
            .find_map(|bundle| bundle.image.as_ref())
            .map(|image| &image.reference);
        if let Some(measured) = measured.filter(|measured| **measured != container.image) {
            return format!(
                "the launcher never ran: the pod has image {}, the measured one is {measured}",
                container.image
            );
        }
        "the launcher never ran (image without it?), or the profile volume was not mounted"
            .to_owned()
    }

    fn component(
        &self,
        recorded: &Recorded,
        observed: Option<(&Pod, &Container)>,
        identity: Option<&Identity>,
    ) -> String {
        if !recorded.start.component.is_empty() {
            return recorded.start.component.clone();
        }
        if let Some((_, container)) = observed {
            return container.component.clone();
        }
        let knows = |id: &Identity| self.gather.bundles.iter().find(|b| b.binary(id).is_some());
        identity
            .and_then(knows)
            .map_or(String::new(), |bundle| bundle.component.clone())
    }
}

fn time(recorded: &Recorded) -> Option<Timestamp> {
    parse(recorded.start.start.as_deref()).or_else(|| time_of_name(&recorded.dir.id))
}

fn life(recorded: &Recorded) -> Life {
    let exit = recorded.exit.as_ref();
    Life {
        start: time(recorded),
        end: parse(exit.and_then(|exit| exit.end.as_deref())),
    }
}

fn ended(recorded: &Recorded, pod: Option<&Pod>, seen: Option<&Start>) -> Ended {
    let (code, signal) = match (&recorded.exit, seen) {
        (Some(exit), _) => (exit.code, exit.signal),
        (None, Some(seen)) => status(seen),
        (None, None) => (None, None),
    };
    let reason = seen.and_then(|seen| seen.reason.clone());
    Ended {
        code,
        signal,
        reason: pod.and_then(|pod| pod.reason.clone()).or(reason),
    }
}

/// Exit status and signal as the cluster knows them. Container runtimes say a
/// signal as 128 and its number.
fn status(start: &Start) -> (Option<i32>, Option<i32>) {
    match (start.signal, start.code) {
        (Some(signal), _) => (None, Some(signal)),
        (None, Some(code @ 129..=192)) => (None, Some(code - 128)),
        (None, code) => (code, None),
    }
}

fn explain(fate: Fate, reason: String, ended: &Ended, has_record: bool) -> String {
    if fate != Fate::Empty {
        return reason;
    }
    let how = match (&ended.reason, ended.signal) {
        (Some(word), Some(signal)) if word != "Error" => format!("; {word}, signal {signal}"),
        (_, Some(signal)) => format!("; it was ended by signal {signal}"),
        _ if !has_record => "; the launcher was stopped before it wrote its record".to_owned(),
        _ => String::new(),
    };
    reason + &how
}

/// The launcher's reason in a text, if it is there.
fn no_evidence(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(NO_EVIDENCE)?;
    rest.lines().next().map(str::trim)
}
