//! The embedded cluster as users meet it: real pods in a real Kubernetes.
//!
//! Needs root on Linux and Go; what else is missing the cluster installs. The
//! tests take turns, because each compares the whole machine before and after.

#[path = "collect/archive.rs"]
mod archive;
#[path = "collect/kubectl.rs"]
mod kubectl;
mod traces;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use archive::archive;
use podcov_cluster::provider::{Cluster, Error, ImageLoad, Provider, Settings, State, select};
use podcov_process::{Cancel, Progress, Run, Silent};
use traces::Traces;

const IMAGE: &str = "podcov-probe:dev";

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // Another test that failed is no reason to fail.
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A cluster that a failing test takes down, too.
struct Embedded(Box<dyn Cluster>);

impl std::ops::Deref for Embedded {
    type Target = dyn Cluster;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let _ = self.0.down(&Silent);
    }
}

fn embedded(name: &str, folder: &Path) -> Embedded {
    let mut settings = Settings::new(name, folder.join(name).join("evidence"));
    settings.provider = Provider::Embedded;
    Embedded(select(settings).unwrap())
}

fn up(cluster: &dyn Cluster) {
    cluster.up(&Silent, &Cancel::new()).unwrap();
}

fn down(cluster: &dyn Cluster) {
    cluster.down(&Silent).unwrap();
}

fn kubectl(cluster: &dyn Cluster, words: &[&str]) -> String {
    kubectl::kubectl(cluster, words, "").text()
}

fn assert_no_traces_since(before: &Traces) {
    let changes = Traces::take().changes_since(before);
    assert!(
        changes.is_empty(),
        "left behind or changed:\n{}",
        changes.join("\n")
    );
}

#[test]
fn pods_run_as_anywhere_and_nothing_is_left_of_them() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let before = Traces::take();
    let cluster = embedded("test-pods", folder.path());
    assert_eq!(cluster.status().unwrap().state, State::Absent);
    up(&*cluster);
    let status = cluster.status().unwrap();
    assert_eq!(status.state, State::Ready, "{:?}", status.detail);
    assert_eq!(status.version.as_deref(), Some("v1.34.4"));
    let nodes = kubectl(&*cluster, &["get", "nodes", "--no-headers"]);
    assert!(
        nodes.contains(" Ready ") && nodes.contains("v1.34.4"),
        "{nodes}"
    );

    let archive = probe_image(folder.path());
    cluster
        .load_image(&archive, &[IMAGE.to_owned()], &Silent, &Cancel::new())
        .unwrap();
    let wrong = cluster.load_image(&archive, &["other:1".to_owned()], &Silent, &Cancel::new());
    assert!(
        wrong
            .unwrap_err()
            .to_string()
            .contains("expected the image `other:1`")
    );

    let evidence = cluster.evidence();
    let pods = include_str!("probe/pods.yaml")
        .replace("EVIDENCE_ON_NODES", evidence.on_nodes.to_str().unwrap());
    std::fs::write(folder.path().join("pods.yaml"), pods).unwrap();
    kubectl(
        &*cluster,
        &[
            "apply",
            "-f",
            folder.path().join("pods.yaml").to_str().unwrap(),
        ],
    );
    kubectl(
        &*cluster,
        &["rollout", "status", "deployment/probe", "--timeout=60s"],
    );
    // Service by name, API by its Service address and name, with the account.
    kubectl(
        &*cluster,
        &[
            "wait",
            "--for=condition=Complete",
            "job/check",
            "--timeout=60s",
        ],
    );
    assert!(kubectl(&*cluster, &["logs", "job/check"]).contains("all reached"));
    let exec = kubectl(
        &*cluster,
        &["exec", "deployment/probe", "--", "/probe", "hello"],
    );
    assert_eq!(exec.trim(), "hello from inside");
    assert!(port_forward(&*cluster).ends_with("served by a pod"));
    let mark = std::fs::read_to_string(evidence.local.join("mark")).unwrap();
    assert_eq!(mark, "written by a pod");

    existing_cluster_works(&*cluster, folder.path(), &archive);

    let begin = Instant::now();
    up(&*cluster);
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "a cluster that is up stays as it is"
    );
    assert!(kubectl(&*cluster, &["get", "pods"]).contains("probe-"));
    down(&*cluster);
    assert_eq!(cluster.status().unwrap().state, State::Absent);
    assert_no_traces_since(&before);
}

/// The embedded cluster stands in for one that somebody else made.
fn existing_cluster_works(made: &dyn Cluster, folder: &Path, archive: &Path) {
    let mut settings = Settings::new("theirs", made.evidence().local);
    settings.kubeconfig = Some(made.kubeconfig());
    settings.scratch = folder.join("existing");
    settings.node_dir = Some("/on/the/nodes".into());
    let socket = made.kubeconfig().with_file_name("run/containerd.sock");
    let load = [
        "ctr",
        "--address",
        socket.to_str().unwrap(),
        "-n",
        "k8s.io",
        "images",
        "import",
        "{archive}",
    ];
    settings.image_load = Some(ImageLoad::Command(load.map(String::from).into()));
    let cluster = select(settings).unwrap();
    assert_eq!(cluster.provider(), Provider::Existing);
    up(&*cluster);
    assert_eq!(cluster.status().unwrap().state, State::Ready);
    assert_eq!(
        cluster.architecture().unwrap(),
        made.architecture().unwrap()
    );
    assert_eq!(cluster.evidence().on_nodes, Path::new("/on/the/nodes"));
    cluster
        .load_image(archive, &[IMAGE.to_owned()], &Silent, &Cancel::new())
        .unwrap();
    assert!(kubectl(&*cluster, &["get", "nodes"]).contains("Ready"));
    down(&*cluster);
    assert_eq!(
        made.status().unwrap().state,
        State::Ready,
        "down leaves theirs alone"
    );
}

#[test]
fn two_stand_side_by_side() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let before = Traces::take();
    let clusters = ["test-left", "test-right"].map(|name| embedded(name, folder.path()));
    std::thread::scope(|scope| {
        for cluster in &clusters {
            scope.spawn(|| up(&**cluster));
        }
    });
    let [left, right] = &clusters;
    kubectl(&**left, &["create", "configmap", "only-left"]);
    assert!(!kubectl(&**right, &["get", "configmaps"]).contains("only-left"));
    down(&**left);
    assert_eq!(right.status().unwrap().state, State::Ready);
    down(&**right);
    assert_no_traces_since(&before);
}

/// Asks to stop when the status has changed so many times.
struct StopAfter(Mutex<(usize, String)>, Cancel);

impl Progress for StopAfter {
    fn status(&self, text: &str) {
        let mut seen = self.0.lock().unwrap();
        if seen.1 != text {
            seen.1 = text.to_owned();
            match seen.0.checked_sub(1) {
                Some(left) => seen.0 = left,
                None => self.1.set(),
            }
        }
    }

    fn note(&self, _: &str) {}
}

#[test]
fn a_request_to_stop_at_any_step_leaves_nothing() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let cluster = embedded("test-stop", folder.path());
    let before = Traces::take();
    // Starting, waiting for all of it, and two of the steps on the way up.
    for changes in 0..4 {
        let cancel = Cancel::new();
        let progress = StopAfter(Mutex::new((changes, String::new())), cancel.clone());
        match cluster.up(&progress, &cancel) {
            Err(Error::Cancelled(_)) => {}
            other => panic!("after {changes} changes: {other:?}"),
        }
        assert_no_traces_since(&before);
    }
}

#[test]
fn a_run_leaves_a_cluster_that_was_made_to_stay() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let before = Traces::take();
    let mut settings = Settings::new("test-stay", folder.path().join("evidence"));
    settings.provider = Provider::Embedded;
    let run = Embedded(select(settings.clone()).unwrap());
    settings.keep = true;
    let stay = Embedded(select(settings).unwrap());
    up(&*stay);
    up(&*run);
    down(&*run);
    assert_eq!(stay.status().unwrap().state, State::Ready);
    down(&*stay);
    assert_no_traces_since(&before);
}

#[test]
fn what_a_killed_podcov_left_is_removed_by_the_next_up() {
    const OWNER: &str = "PODCOV_TEST_OWNER";
    if let Some(folder) = std::env::var_os(OWNER) {
        // This is the podcov that is going to be killed: see below.
        let cluster = embedded("test-killed", Path::new(&folder));
        cluster.up(&Tell, &Cancel::new()).unwrap();
        println!("up");
        std::thread::sleep(Duration::from_secs(600));
        return;
    }
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let before = Traces::take();
    for at in ["waiting for kube-apiserver", "up"] {
        let mut owner = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "what_a_killed_podcov_left_is_removed_by_the_next_up",
                "--nocapture",
            ])
            .env(OWNER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(owner.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        assert!(
            lines.into_iter().any(|line| line.starts_with(at)),
            "never came to {at:?}"
        );
        owner.kill().unwrap();
        owner.wait().unwrap();
        assert!(
            !Traces::take().changes_since(&before).is_empty(),
            "the kill left something"
        );

        let cluster = embedded("test-killed", folder.path());
        let marker = Path::new(&cluster.kubeconfig()).with_file_name("of-the-killed");
        std::fs::write(&marker, "").unwrap();
        up(&*cluster);
        assert!(!marker.exists(), "the next up starts from nothing");
        assert_eq!(cluster.status().unwrap().state, State::Ready);
        down(&*cluster);
        assert_no_traces_since(&before);
    }
}

/// Tells the parent how far it is.
struct Tell;

impl Progress for Tell {
    fn status(&self, text: &str) {
        println!("{text}");
    }

    fn note(&self, _: &str) {}
}

/// What the pod answers on a port of this machine.
fn port_forward(cluster: &dyn Cluster) -> String {
    let mut forward = Command::new(cluster.kubectl().unwrap())
        .args([
            "port-forward",
            "deployment/probe",
            ":8080",
            "--address=127.0.0.1",
        ])
        .env("KUBECONFIG", cluster.kubeconfig())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    // Kept open: kubectl dies of writing about the connection otherwise.
    let mut output = BufReader::new(forward.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    // "Forwarding from 127.0.0.1:41234 -> 8080"
    let address = line.split(' ').nth(2).unwrap_or_else(|| panic!("{line:?}"));
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    forward.kill().unwrap();
    forward.wait().unwrap();
    answer
}

/// The probe as a docker archive.
fn probe_image(folder: &Path) -> PathBuf {
    let program = folder.join("probe");
    Run::new("go")
        .args(["build", "-o", program.to_str().unwrap(), "."])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/probe"))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-buildvcs=false")
        .run()
        .unwrap();
    archive(folder, IMAGE, &[("probe", &program)], &["/probe"])
}
