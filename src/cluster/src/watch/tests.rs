//! The watch against an API server that plays a script.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Instant;

use http::{Request, Response, StatusCode};
use kube::client::Body;
use podcov_process::Silent;
use serde_json::{Value, json};

use super::*;

enum Answer {
    List(&'static str, Vec<Value>),
    /// The events of a watch, then its end.
    Watch(Vec<Value>),
    /// An answer that says that the watch can begin.
    Status(u16, &'static str),
    /// A watch on which nothing happens.
    Silence,
}

fn pod(uid: &str, restarts: u32, version: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": uid, "namespace": "n", "uid": uid,
            "resourceVersion": version.to_string()},
        "spec": {"containers": [{"name": "c", "image": "op:1"}]},
        "status": {"phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "c", "image": "op:1", "imageID": "", "ready": true,
                "restartCount": restarts, "containerID": format!("{uid}-{restarts}"),
                "state": {"running": {"startedAt": "2026-11-21T09:00:00Z"}}, "lastState": {}}]},
    })
}

fn status(code: u16, message: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code,
        "reason": "Expired", "message": message, "metadata": {}})
}

fn event(kind: &str, object: Value) -> Value {
    json!({"type": kind, "object": object})
}

/// A client whose server answers requests for pods in this order, and is dead
/// when the script is over.
fn server(script: Vec<Answer>) -> Client {
    let script = Arc::new(Mutex::new(VecDeque::from(script)));
    let answer = move |request: Request<Body>| {
        let script = Arc::clone(&script);
        async move {
            let is_version = request.uri().path() == "/version";
            let is_watch = request
                .uri()
                .query()
                .unwrap_or_default()
                .contains("watch=true");
            let is_dead = script.lock().unwrap().is_empty();
            if is_version && !is_dead {
                let version = json!({"major": "1", "minor": "34", "gitVersion": "v1.34.4",
                    "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "",
                    "compiler": "", "platform": ""});
                return Ok(Response::new(Body::from(version.to_string().into_bytes())));
            }
            let next = script.lock().unwrap().pop_front();
            let lines = |values: Vec<Value>| {
                values
                    .iter()
                    .map(|value| format!("{value}\n"))
                    .collect::<String>()
                    .into_bytes()
            };
            match next {
                Some(Answer::List(version, pods)) => {
                    assert!(!is_watch, "a list was expected");
                    let list = json!({"apiVersion": "v1", "kind": "PodList", "items": pods,
                        "metadata": {"resourceVersion": version}});
                    Ok(Response::new(Body::from(lines(vec![list]))))
                }
                Some(Answer::Watch(events)) => {
                    assert!(is_watch, "a watch was expected");
                    Ok(Response::new(Body::from(lines(events))))
                }
                Some(Answer::Status(code, message)) => {
                    let body = Body::from(lines(vec![status(code, message)]));
                    let code = StatusCode::from_u16(code).unwrap();
                    Ok(Response::builder().status(code).body(body).unwrap())
                }
                Some(Answer::Silence) => {
                    let never = std::future::pending::<Infallible>().await;
                    match never {}
                }
                None => Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)),
            }
        }
    };
    Client::new(tower::service_fn(answer), "default")
}

fn watch(script: Vec<Answer>) -> Watcher {
    let runtime = runtime().unwrap();
    let client = runtime.block_on(async { server(script) });
    let watched = Watched {
        name: "op".into(),
        kind: Kind::Operator,
        images: vec!["op:1".into()],
    };
    let silence = Duration::from_millis(300);
    Watcher::over(
        runtime,
        client,
        "run",
        vec![watched],
        None,
        Arc::new(Silent),
        silence,
    )
}

/// Waits until the watch has seen what it is to see.
#[track_caller]
fn until(watcher: &Watcher, is: impl Fn(&Observed) -> bool) -> Observed {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let observed = watcher.snapshot();
        if is(&observed) {
            return observed;
        }
        assert!(Instant::now() < end, "{observed:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn kinds(observed: &Observed) -> Vec<&str> {
    observed
        .findings
        .iter()
        .map(|finding| finding.kind.as_str())
        .collect()
}

#[test]
fn a_watch_that_expires_begins_anew_and_says_so() {
    let watcher = watch(vec![
        Answer::List("1", vec![pod("a", 0, 1)]),
        Answer::Watch(vec![
            event("ADDED", pod("b", 0, 2)),
            event("ERROR", status(410, "too old resource version")),
        ]),
        Answer::List("9", vec![pod("b", 3, 8), pod("c", 0, 9)]),
        Answer::Silence,
    ]);
    let observed = until(&watcher, |observed| observed.pods.len() == 3);
    let gone: Vec<bool> = observed.pods.iter().map(|pod| pod.gone).collect();
    assert_eq!(gone, [true, false, false], "`a` went while nobody looked");
    assert_eq!(observed.pods[1].containers[0].unseen(), [1, 2]);
    assert_eq!(kinds(&observed), ["watch-restarted"]);
    assert!(
        observed.findings[0]
            .text
            .contains("too old resource version")
    );
    assert_eq!(
        watcher.live(),
        Live {
            pods: 2,
            ready: 2,
            restarts: 3
        }
    );
}

#[test]
fn a_watch_that_ends_goes_on_where_it_was() {
    let watcher = watch(vec![
        Answer::List("1", vec![pod("a", 0, 1)]),
        Answer::Watch(vec![event("MODIFIED", pod("a", 1, 2))]),
        Answer::Watch(vec![event("DELETED", pod("a", 1, 3))]),
        Answer::Silence,
    ]);
    let observed = until(&watcher, |observed| {
        observed.pods.iter().any(|pod| pod.gone)
    });
    assert_eq!(observed.pods[0].containers[0].restarts, Some(1));
    assert!(observed.findings.is_empty());
}

#[test]
fn a_server_that_is_busy_for_a_moment_is_not_lost() {
    let watcher = watch(vec![
        Answer::List("1", vec![pod("a", 0, 1)]),
        Answer::Status(503, "the server is currently unable to handle the request"),
        Answer::Watch(vec![event("ADDED", pod("b", 0, 2))]),
        Answer::Silence,
    ]);
    until(&watcher, |observed| observed.pods.len() == 2);
    assert_eq!(watcher.lost(), None);
}

#[test]
fn a_server_that_stays_away_is_lost_and_what_was_seen_is_kept() {
    let watcher = watch(vec![Answer::List("1", vec![pod("a", 0, 1)])]);
    let observed = until(&watcher, |observed| observed.lost.is_some());
    assert_eq!(observed.pods.len(), 1);
    let lost = watcher.finish().lost.unwrap();
    assert!(lost.starts_with("no answer from its API since "), "{lost}");
}
