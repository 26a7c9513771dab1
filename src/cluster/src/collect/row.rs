//! The rows of the ledger.

use jiff::Timestamp;
use podcov_profile::Identity;
use podcov_profile::ledger::{Cause, Ended, Fate, Finding, Incarnation, Verdict, fate_of};

use super::judge::{ExitRecord, Judge, Judged};
use super::reconcile::{Expected, Life, assign, expected, parse, time_of_name};
use super::walk::Dir;
use super::{Error, Gather, Recorded, finding};
use crate::logs;
use crate::watch::observed::{Container, Pod, Start};

/// What the launcher writes when it cannot write evidence.
const NO_EVIDENCE: &str = "podcov-launcher: no evidence:";
/// The same, of its record of the end.
const NO_EXIT_RECORD: &str = "podcov-launcher: no exit record:";
/// What it writes when it cannot start the program.
const NOT_STARTED: &str = "podcov-launcher: cannot start";

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
        mut dirs: Vec<Recorded<'_>>,
    ) -> Result<(), Error> {
        let place = Place::observed(pod, container);
        let first = self.rows.len();
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
        know_by_others(&mut self.rows[first..]);
        Ok(())
    }

    /// Folders of a container that the watch does not know.
    pub(crate) fn unobserved(
        &mut self,
        place: &Place,
        dirs: Vec<Recorded<'_>>,
    ) -> Result<(), Error> {
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
        recorded: Recorded<'_>,
        observed: Option<(&Pod, &Container)>,
        start: Option<Expected<'_>>,
    ) -> Result<(), Error> {
        let Judged { files, interval_ms } = self.judge.judge(
            &recorded.dir,
            &recorded.start,
            recorded.before,
            self.findings,
        )?;
        let verdict = fate_of(&files, interval_ms);
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
        if let (Some(exit), Some(seen)) = (&recorded.exit, seen) {
            let is_gone = observed.is_none_or(|(pod, _)| pod.gone);
            if let Some(text) = contradiction(exit, seen, is_gone) {
                let text = format!("{}: {text}", recorded.dir.path);
                self.tell("contradiction", text);
            }
        }
        let said = match (observed, &start) {
            (Some((pod, container)), Some(start)) => self.said(pod, container, start),
            _ => vec![],
        };
        let verdict = explain(verdict, &recorded, seen, &ended, &said);
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
            phase: recorded.start.phase.clone().filter(|name| !name.is_empty()),
            ended,
            interval_ms,
            fate: verdict.fate,
            cause: verdict.cause,
            reason: verdict.reason,
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
        let (cause, reason) = self.why_missing(pod, container, start);
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
            phase: None,
            ended,
            interval_ms: None,
            fate: Fate::Missing,
            cause: Some(cause),
            reason,
            files: vec![],
        });
    }

    /// Where the launcher may have said something of this start.
    fn said(&self, pod: &Pod, container: &Container, start: &Expected<'_>) -> Vec<String> {
        let message = start.seen.and_then(|seen| seen.message.clone());
        let logs = self.gather.logs;
        let log = || logs.and_then(|dir| logs::find(dir, pod, container, start.number));
        message.into_iter().chain(log()).collect()
    }

    fn why_missing(
        &self,
        pod: &Pod,
        container: &Container,
        start: &Expected<'_>,
    ) -> (Cause, String) {
        if let Some(why) = &container.not_injected {
            return (Cause::NotInjected, format!("not injected: {why}"));
        }
        let said = self.said(pod, container, start);
        if let Some(why) = word(&said, NO_EVIDENCE) {
            return not_writable(why);
        }
        let bundles = self.gather.bundles.iter();
        let mut own = bundles.filter(|bundle| bundle.component == container.component);
        let measured = own
            .find_map(|bundle| bundle.image.as_ref())
            .map(|image| &image.reference);
        if let Some(measured) = measured.filter(|measured| **measured != container.image) {
            let reason = format!(
                "the launcher never ran: the pod has image {}, the measured one is {measured}",
                container.image
            );
            return (Cause::OtherImage, reason);
        }
        if start.seen.is_none() {
            let reason = "only the restart count tells of this start: the watch did not see it, \
                          and nothing of it is on the profile volume";
            return (Cause::UnseenStart, reason.to_owned());
        }
        let reason = "the launcher never ran (image without it?), or the profile volume was not \
                      mounted";
        (Cause::NoLauncher, reason.to_owned())
    }

    fn component(
        &self,
        recorded: &Recorded<'_>,
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

fn time(recorded: &Recorded<'_>) -> Option<Timestamp> {
    parse(recorded.start.start.as_deref()).or_else(|| time_of_name(&recorded.dir.id))
}

fn life(recorded: &Recorded<'_>) -> Life {
    let exit = recorded.exit.as_ref();
    Life {
        start: time(recorded),
        end: parse(exit.and_then(|exit| exit.end.as_deref())),
    }
}

fn ended(recorded: &Recorded<'_>, pod: Option<&Pod>, seen: Option<&Start>) -> Ended {
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

/// What the launcher and the cluster say of one end, where they differ.
fn contradiction(exit: &ExitRecord, seen: &Start, is_gone: bool) -> Option<String> {
    // As process 1 the launcher ends with 128 and the number of the signal.
    let plain = |code: Option<i32>, signal: Option<i32>| signal.map(|n| 128 + n).or(code);
    let by_launcher = plain(exit.code, exit.signal)?;
    let launcher = match (exit.signal, exit.code) {
        (Some(signal), _) => format!("signal {signal}"),
        _ => format!("exit status {by_launcher}"),
    };
    if !seen.ended {
        // One that was removed at once is never seen to end.
        return (!is_gone).then(|| {
            format!("the launcher says that it ended by {launcher}, the cluster that it runs")
        });
    }
    let by_cluster = plain(seen.code, seen.signal)?;
    let why = seen.reason.as_deref().map(|why| format!(" ({why})"));
    (by_launcher != by_cluster).then(|| {
        format!(
            "the launcher says that it ended by {launcher}, the cluster by exit status \
             {by_cluster}{}",
            why.unwrap_or_default()
        )
    })
}

/// Adds to a loss what launcher and cluster know of it.
fn explain(
    verdict: Verdict,
    recorded: &Recorded<'_>,
    seen: Option<&Start>,
    ended: &Ended,
    said: &[String],
) -> Verdict {
    if verdict.fate != Fate::Empty {
        return verdict;
    }
    let is_without_files = verdict.cause == Some(Cause::NoFile);
    let because = |cause, reason| Verdict {
        fate: verdict.fate,
        cause: Some(cause),
        reason,
    };
    if let Some(why) = word(said, NO_EVIDENCE) {
        let (cause, reason) = not_writable(why);
        return because(cause, reason);
    }
    if let Some(why) = word(said, NOT_STARTED).filter(|_| is_without_files) {
        let reason = format!("the program could not be started: {why}");
        return because(Cause::NeverStarted, reason);
    }
    let how = match (&ended.reason, ended.signal) {
        (Some(word), Some(signal)) if word != "Error" => format!("; {word}, signal {signal}"),
        (_, Some(signal)) => format!("; it was ended by signal {signal}"),
        _ if !recorded.has_record => {
            "; the launcher was stopped before it wrote its record".to_owned()
        }
        _ => String::new(),
    };
    if recorded.exit.is_none() && seen.is_some_and(|seen| seen.ended) {
        let why = match word(said, NO_EXIT_RECORD) {
            Some(why) => format!("the launcher could not write its exit record: {why}"),
            None => "the cluster says that it ended, and the launcher had no time to: all of the \
                     container was killed, or its node stopped"
                .to_owned(),
        };
        let reason = format!("{}{how}; {why}", verdict.reason);
        let cause = match is_without_files {
            true => Cause::NoExitRecord,
            false => verdict.cause.unwrap_or(Cause::NoExitRecord),
        };
        return because(cause, reason);
    }
    Verdict {
        reason: verdict.reason + &how,
        ..verdict
    }
}

/// Starts of one container run one program: what the launcher said of some is
/// known of those of which nothing is there.
fn know_by_others(rows: &mut [Incarnation]) {
    let mut known = rows.iter().filter_map(|row| row.identity.clone());
    let Some(one) = known.next() else { return };
    if known.any(|other| other != one) {
        return;
    }
    for row in rows.iter_mut().filter(|row| row.fate == Fate::Missing) {
        let is_same = row.cause != Some(Cause::OtherImage);
        row.identity = is_same.then(|| one.clone());
    }
}

fn not_writable(why: &str) -> (Cause, String) {
    let reason = format!("the launcher could not write evidence: {why}");
    (Cause::VolumeNotWritable, reason)
}

/// What the launcher said behind these words, if it did.
fn word<'s>(said: &'s [String], words: &str) -> Option<&'s str> {
    let after = |text: &'s String| {
        let (_, rest) = text.split_once(words)?;
        rest.lines().next().map(str::trim)
    };
    said.iter().find_map(after)
}
