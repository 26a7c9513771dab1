use podcov_profile::names::Kind;
use serde_json::{Value, json};

use super::*;

fn book() -> Book {
    let images = vec![
        "localhost/op:dev".to_owned(),
        "localhost/op-profile:dev".to_owned(),
    ];
    let watched = Watched {
        name: "op".into(),
        kind: Kind::Operator,
        images,
    };
    Book::new("run-1", vec![watched], None)
}

fn pod(uid: &str, status: Value) -> core::Pod {
    pod_with(uid, "localhost/op-profile:dev", json!([]), status)
}

fn pod_with(uid: &str, image: &str, env: Value, status: Value) -> core::Pod {
    serde_json::from_value(json!({
        "metadata": {"name": format!("pod-{uid}"), "namespace": "n", "uid": uid},
        "spec": {"containers": [{"name": "c", "image": image, "env": env}]},
        "status": {"phase": "Running", "containerStatuses": [status]},
    }))
    .unwrap()
}

fn status(id: &str, restarts: u32, state: Value, last: Value) -> Value {
    json!({"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": restarts,
        "containerID": id, "state": state, "lastState": last})
}

fn running(second: u32) -> Value {
    json!({"running": {"startedAt": format!("2026-11-21T09:00:{second:02}Z")}})
}

fn ended(id: &str, from: u32, to: u32, code: i32, reason: &str) -> Value {
    let at = |second| format!("2026-11-21T09:00:{second:02}Z");
    json!({"terminated": {"containerID": id, "startedAt": at(from), "finishedAt": at(to),
        "exitCode": code, "reason": reason}})
}

fn waiting(reason: &str) -> Value {
    json!({"waiting": {"reason": reason}})
}

/// Number, start, end, status and reason of a start.
type Seen = (u32, Option<u32>, Option<u32>, Option<i32>, String);

/// Every start that was seen.
fn starts(book: &Book) -> Vec<Seen> {
    let second = |time: &Option<String>| time.as_ref().map(|t| t[17..19].parse().unwrap());
    let pods = book.observed().pods;
    let starts = pods[0].containers[0].starts.iter();
    starts
        .map(|s| {
            let reason = s.reason.clone().unwrap_or_default();
            (
                s.number,
                second(&s.started),
                second(&s.finished),
                s.code,
                reason,
            )
        })
        .collect()
}

#[test]
fn a_container_that_crashes_twice_has_three_starts() {
    let mut book = book();
    book.seen(&pod(
        "1",
        status("", 0, waiting("ContainerCreating"), json!({})),
    ));
    assert_eq!(book.observed().pods[0].containers[0].restarts, None);
    book.seen(&pod("1", status("a", 0, running(1), json!({}))));
    book.seen(&pod(
        "1",
        status("a", 0, ended("a", 1, 2, 1, "Error"), json!({})),
    ));
    book.seen(&pod(
        "1",
        status("b", 1, running(3), ended("a", 1, 2, 1, "Error")),
    ));
    // Waiting for its next start, the count is still that of the last one.
    let oom = ended("b", 3, 4, 137, "OOMKilled");
    book.seen(&pod(
        "1",
        status("b", 1, waiting("CrashLoopBackOff"), oom.clone()),
    ));
    book.seen(&pod("1", status("c", 2, running(9), oom)));
    let text = String::from;
    assert_eq!(
        starts(&book),
        [
            (0, Some(1), Some(2), Some(1), text("Error")),
            (1, Some(3), Some(4), Some(137), text("OOMKilled")),
            (2, Some(9), None, None, text("")),
        ]
    );
    assert!(book.observed().pods[0].containers[0].unseen().is_empty());
}

#[test]
fn restarts_while_the_watch_was_down_are_known_by_their_count() {
    let mut book = book();
    book.seen(&pod("1", status("a", 0, running(1), json!({}))));
    book.seen(&pod(
        "1",
        status("e", 4, running(40), ended("d", 30, 35, 137, "Error")),
    ));
    let numbers: Vec<u32> = starts(&book).iter().map(|start| start.0).collect();
    assert_eq!(numbers, [0, 3, 4]);
    assert_eq!(book.observed().pods[0].containers[0].unseen(), [1, 2]);
}

#[test]
fn an_image_that_cannot_be_pulled_is_no_start() {
    let mut book = book();
    book.seen(&pod(
        "1",
        status("", 0, waiting("ImagePullBackOff"), json!({})),
    ));
    let observed = book.observed();
    let container = &observed.pods[0].containers[0];
    assert_eq!((container.restarts, container.starts.len()), (None, 0));
    assert_eq!(container.waiting.as_deref(), Some("ImagePullBackOff"));
    assert!(container.unseen().is_empty());
}

#[test]
fn a_program_that_is_not_there_never_ran() {
    let mut book = book();
    let state = json!({"terminated": {"containerID": "a", "startedAt": "1970-01-01T00:00:00Z",
        "finishedAt": "2026-11-21T09:00:01Z", "exitCode": 128, "reason": "StartError"}});
    book.seen(&pod("1", status("a", 0, state, json!({}))));
    assert!(!book.observed().pods[0].containers[0].starts[0].ran());
}

#[test]
fn pods_that_are_missing_in_a_new_list_are_gone_and_remembered() {
    let mut book = book();
    let one = pod("1", status("a", 0, running(1), json!({})));
    let two = pod("2", status("b", 0, running(1), json!({})));
    book.list_begins();
    book.seen(&one);
    book.seen(&two);
    book.list_ends();
    assert!(book.observed().findings.is_empty());
    book.watch_failed("too old resource version");
    book.list_begins();
    book.seen(&two);
    book.list_ends();
    let observed = book.observed();
    assert_eq!(
        observed.pods.iter().map(|pod| pod.gone).collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!(observed.findings[0].kind, "watch-restarted");
    assert!(
        observed.findings[0]
            .text
            .ends_with("(last reason: too old resource version)")
    );
}

#[test]
fn pods_are_recognised_by_image_annotation_and_run() {
    let mut book = book();
    let s = || status("a", 0, running(1), json!({}));
    let env = |run: &str| json!([{"name": "PODCOV_RUN", "value": run}]);
    book.seen(&pod_with("1", "localhost/op:dev", json!([]), s()));
    book.seen(&pod_with("2", "docker.io/library/other:1", json!([]), s()));
    book.seen(&pod_with(
        "3",
        "localhost/op-profile:dev",
        env("run-0"),
        s(),
    ));
    book.seen(&pod_with(
        "4",
        "localhost/op-profile:dev",
        env("run-1"),
        s(),
    ));
    let mut annotated = pod_with("5", "whatever", json!([]), s());
    let annotation = (format!("{COMPONENT_ANNOTATION}c"), "webserver".to_owned());
    annotated.metadata.annotations = Some([annotation].into());
    book.seen(&annotated);
    let observed = book.observed();
    let found: Vec<_> = observed
        .pods
        .iter()
        .map(|pod| (pod.uid.as_str(), pod.containers[0].component.as_str()))
        .collect();
    assert_eq!(found, [("1", "op"), ("4", "op"), ("5", "webserver")]);
}

#[test]
fn a_pod_from_before_the_run_is_left_alone_unless_it_is_measured() {
    let mut book = Book::new("20261121-090000-abcd", book().watched, None);
    let at = |uid: &str, time: &str, env: Value| {
        let state = status(uid, 0, running(1), json!({}));
        let mut pod = pod_with(uid, "localhost/op:dev", env, state);
        pod.metadata.creation_timestamp = Some(Time(time.parse().unwrap()));
        pod
    };
    let ours = json!([{"name": "PODCOV_RUN", "value": "20261121-090000-abcd"}]);
    let before = at("1", "2026-11-20T09:00:00Z", json!([]));
    book.seen(&before);
    book.seen(&before);
    book.seen(&at("2", "2026-11-21T09:00:30Z", json!([])));
    book.seen(&at("3", "2026-11-20T09:00:00Z", ours));
    let observed = book.observed();
    let found = observed.pods.iter().map(|pod| (&*pod.uid, pod.of_run));
    assert_eq!(found.collect::<Vec<_>>(), [("2", false), ("3", true)]);
    assert_eq!(observed.findings.len(), 1);
    assert_eq!(
        observed.findings[0].text,
        "n/pod-1 runs op and was there before the run; left alone and not counted"
    );
}

#[test]
fn an_eviction_is_kept_and_told() {
    let mut book = book();
    let mut evicted = pod("1", status("a", 0, running(1), json!({})));
    let status = evicted.status.as_mut().unwrap();
    status.phase = Some("Failed".into());
    status.reason = Some("Evicted".into());
    status.message = Some("The node was low on resource: memory.".into());
    book.seen(&evicted);
    book.seen(&evicted);
    book.deleted(&evicted);
    let observed = book.observed();
    assert!(observed.pods[0].gone);
    assert_eq!(observed.pods[0].reason.as_deref(), Some("Evicted"));
    assert_eq!(observed.findings.len(), 1);
    assert_eq!(
        observed.findings[0].text,
        "n/pod-1: Evicted The node was low on resource: memory."
    );
}

#[test]
fn a_restart_count_that_begins_anew_loses_no_start() {
    let mut book = book();
    book.seen(&pod("1", status("a", 0, running(1), json!({}))));
    book.seen(&pod("1", status("x", 0, running(30), json!({}))));
    assert_eq!(starts(&book).len(), 2);
}

#[test]
fn what_was_observed_survives_its_file() {
    let mut book = book();
    book.seen(&pod(
        "1",
        status("b", 1, running(3), ended("a", 1, 2, 1, "Error")),
    ));
    let observed = book.observed();
    let text = serde_json::to_string(&observed).unwrap();
    assert_eq!(serde_json::from_str::<Observed>(&text).unwrap(), observed);
}

#[test]
fn a_pod_that_the_webhook_did_not_patch_is_told_with_the_reason() {
    let mut book = book();
    book.injection = Some(Injection::new(super::super::Injects {
        composition: "sites".into(),
        components: vec!["op".into()],
        own_namespace: "podcov-hook-sites".into(),
        needs_privileged: true,
    }));
    let status = || status("a-0", 0, running(0), json!({}));
    let run = json!([{"name": "PODCOV_RUN", "value": "run-1"}]);
    book.seen(&pod_with("1", "localhost/op-profile:dev", run, status()));
    book.seen(&pod_with("2", "localhost/op:dev", json!([]), status()));
    let digest = "localhost/op@sha256:00";
    book.seen(&pod_with("3", digest, json!([]), status()));
    let reasons = book
        .observed()
        .pods
        .into_iter()
        .map(|mut pod| pod.containers.remove(0));
    let reasons: Vec<_> = reasons.map(|container| container.not_injected).collect();
    let silent = "the webhook did not answer in time when the pod was created".to_owned();
    assert_eq!(reasons, [None, Some(silent.clone()), Some(silent)]);
}
