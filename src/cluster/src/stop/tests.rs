//! The last resort, against an API server with one pod.

use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use podcov_process::Silent;
use serde_json::Value;

use super::*;
use crate::target::SILENCE;
use crate::watch::Watched;

/// The pod's own time to end, in seconds.
const OWN: u64 = 1;

/// A pod that is deleted only when it is asked for the n-th time.
struct Server {
    refusals: usize,
    /// How long it takes to end once it was asked; `None`: for ever.
    takes: Option<Duration>,
    /// When the deletion was asked for, and with which grace.
    asked: Vec<(Instant, Option<u64>)>,
    accepted: Option<Instant>,
    forced: bool,
}

impl Server {
    fn pod(&self) -> Option<Value> {
        let is_over = |at: Instant| self.takes.is_some_and(|takes| at.elapsed() >= takes);
        if self.forced || self.accepted.is_some_and(is_over) {
            return None;
        }
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1"},
            "spec": {"containers": [{"name": "c", "image": "op:1"}]},
            "status": {"phase": "Running"},
        });
        if self.accepted.is_some() {
            // The clock of the server is an hour behind.
            let end = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
            pod["metadata"]["deletionTimestamp"] = json!(end.strftime("%FT%TZ").to_string());
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(OWN);
        }
        Some(pod)
    }

    fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> (u16, Value) {
        let status = |code: u16, reason: &str, message: &str| {
            let body = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure",
                "code": code, "reason": reason, "message": message, "metadata": {}});
            (code, body)
        };
        if path == "/api/v1/pods" {
            let items: Vec<Value> = self.pod().into_iter().collect();
            let list = json!({"apiVersion": "v1", "kind": "PodList", "items": items,
                "metadata": {"resourceVersion": "1"}});
            return (200, list);
        }
        assert_eq!(path, "/api/v1/namespaces/n/pods/a");
        let Some(pod) = self.pod() else {
            return status(404, "NotFound", "not found");
        };
        if method != Method::DELETE {
            return (200, pod);
        }
        let options: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(options["preconditions"]["uid"], "u");
        let grace = options["gracePeriodSeconds"].as_u64();
        self.asked.push((Instant::now(), grace));
        if self.asked.len() <= self.refusals {
            return status(
                500,
                "InternalError",
                "failed calling webhook \"pods.example.org\"",
            );
        }
        self.accepted.get_or_insert_with(Instant::now);
        self.forced |= grace == Some(0);
        (200, pod)
    }
}

fn client(server: &Arc<Mutex<Server>>) -> Client {
    let server = Arc::clone(server);
    let answer = move |request: Request<Body>| {
        let server = Arc::clone(&server);
        async move {
            let (parts, body) = request.into_parts();
            if parts.uri.query().unwrap_or_default().contains("watch=true") {
                std::future::pending::<()>().await;
            }
            let body = body.collect_bytes().await?;
            let path = parts.uri.path();
            let (code, value) = server.lock().unwrap().answer(&parts.method, path, &body);
            let response = Response::builder().status(StatusCode::from_u16(code).unwrap());
            let body = Body::from(value.to_string().into_bytes());
            Ok::<_, kube::Error>(response.body(body).unwrap())
        }
    };
    Client::new(tower::service_fn(answer), "default")
}

fn stopped(refusals: usize, takes: Option<Duration>) -> (Stopped, Server) {
    let server = Arc::new(Mutex::new(Server {
        refusals,
        takes,
        asked: vec![],
        accepted: None,
        forced: false,
    }));
    let watched = Watched {
        name: "op".into(),
        kind: Kind::Operator,
        images: vec!["op:1".into()],
    };
    let own = runtime().unwrap();
    let client = own.block_on(async { client(&server) });
    let silent = Arc::new(Silent);
    let watching = runtime().unwrap();
    let watcher = Watcher::over(
        watching,
        client.clone(),
        "r",
        vec![watched],
        None,
        silent,
        SILENCE,
    );
    let begin = Instant::now();
    while watcher.remaining().is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(20), "the pod is seen");
        std::thread::sleep(Duration::from_millis(10));
    }
    // Its namespace is one of the rendering's.
    let workload = Workload {
        kind: "ConfigMap".into(),
        namespace: "n".into(),
        name: "c".into(),
        components: vec![],
        replicas: None,
        images: vec![],
    };
    let deployed = Deployed {
        workloads: vec![workload],
        ..Deployed::default()
    };
    let mut stop = Stop {
        client,
        watcher: &watcher,
        deployed: &deployed,
        grace: Duration::from_millis(200),
        progress: &Silent,
        cancel: &Cancel::new(),
        done: Stopped::default(),
    };
    own.block_on(stop.all()).unwrap();
    let done = stop.done;
    drop(watcher);
    let mut server = server.lock().unwrap();
    let asked = std::mem::take(&mut server.asked);
    let (accepted, forced) = (server.accepted, server.forced);
    let seen = Server {
        refusals,
        takes,
        asked,
        accepted,
        forced,
    };
    (done, seen)
}

#[test]
fn a_pod_that_nobody_could_ask_to_end_gets_its_own_time_first() {
    let (stopped, server) = stopped(2, Some(Duration::from_millis(1500)));
    assert_eq!(stopped.forced, [""; 0], "{stopped:?}");
    assert_eq!(server.asked.len(), 3);
    assert!(server.asked.iter().all(|(_, grace)| grace.is_none()));
}

#[test]
fn only_what_outlives_its_own_time_is_forced() {
    let (stopped, server) = stopped(2, None);
    assert_eq!(stopped.forced, ["n/a"]);
    let graces: Vec<Option<u64>> = server.asked.iter().map(|(_, grace)| *grace).collect();
    assert_eq!(graces, [None, None, None, Some(0)]);
    let waited = server.asked[3].0 - server.accepted.unwrap();
    assert!(waited >= Duration::from_secs(OWN) + MARGIN, "{waited:?}");
}

#[test]
fn a_pod_that_must_not_be_asked_is_not_forced() {
    let (stopped, server) = stopped(usize::MAX, None);
    assert_eq!(stopped.forced, [""; 0]);
    assert!(!server.forced);
    let notes = stopped.notes.join("\n");
    assert!(notes.contains("failed calling webhook"), "{notes}");
    assert!(notes.contains("pod n/a is still there"), "{notes}");
}
