//! From deployment to the ledger with real pods in the embedded cluster.
//!
//! Needs root on Linux, Go and rustc; what else is missing the cluster
//! installs.

#[path = "collect/image.rs"]
mod image;
#[path = "collect/kubectl.rs"]
mod kubectl;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use image::{PLAIN as PLAIN_IMAGE, PROFILE as IMAGE, identity, profile, worker};
use podcov_cluster::collect::size::EvidenceSize;
use podcov_cluster::collect::{Gather, Limits, collect};
use podcov_cluster::deploy::{Deployed, deploy, plan};
use podcov_cluster::provider::{Cluster, Provider, Settings, select};
use podcov_cluster::stop::stop;
use podcov_cluster::store::RunDir;
use podcov_cluster::target::{Error, Target};
use podcov_cluster::watch::{COMPONENT_ANNOTATION, Watched, Watcher};
use podcov_process::{Cancel, Progress, Silent};
use podcov_profile::Identity;
use podcov_profile::bundle::{self, Binary, Bundle, Mode, Sources};
use podcov_profile::ledger::{Fate, Ledger};
use podcov_profile::names::{Kind, Language};
use serde_json::{Value, json};

const RUN: &str = "20261121-090000-pods";
const NAMESPACE: &str = "sites";

struct Composition {
    cluster: Box<dyn Cluster>,
    run: RunDir,
    folder: tempfile::TempDir,
}

impl Drop for Composition {
    fn drop(&mut self) {
        let _ = self.cluster.down(&Silent);
    }
}

/// Keeps what is said.
#[derive(Default)]
struct Said(Mutex<Vec<String>>);

impl Progress for Said {
    fn status(&self, text: &str) {
        println!("{:?} {text}", Instant::now());
        self.0.lock().unwrap().push(text.to_owned());
    }

    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(format!("note: {text}"));
    }
}

impl Composition {
    fn up() -> Composition {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path(), RUN).unwrap();
        let mut settings = Settings::new("test-collect", run.evidence());
        settings.provider = Provider::Embedded;
        let cluster = select(settings).unwrap();
        let composition = Composition {
            cluster,
            run,
            folder,
        };
        composition.cluster.up(&Silent, &Cancel::new()).unwrap();
        composition
    }

    fn target(&self) -> Target {
        Target {
            kubeconfig: self.cluster.kubeconfig(),
            context: None,
        }
    }

    fn kubectl(&self, words: &[&str], input: &str) -> String {
        kubectl::kubectl(self.cluster.as_ref(), words, input).text()
    }

    fn watcher(&self) -> Watcher {
        let watched = |name: &str, kind| Watched {
            name: name.into(),
            kind,
            images: vec![],
        };
        let mut all = vec![
            watched("op", Kind::Operator),
            watched("web", Kind::Workload),
        ];
        all[0].images = vec![PLAIN_IMAGE.to_owned(), IMAGE.to_owned()];
        all.push(watched("client", Kind::Client));
        let silent = Arc::new(Silent);
        Watcher::start(&self.target(), RUN, all, None, silent, &Cancel::new()).unwrap()
    }

    fn deploy(&self, objects: &[Value], watcher: &Watcher) -> Result<Deployed, Error> {
        let kubectl = self.cluster.kubectl().unwrap();
        let (limit, cancel) = (Duration::from_secs(90), Cancel::new());
        let target = self.target();
        let plan = plan(&target, &yaml(objects), watcher, &cancel)?;
        let planned = plan.deployed().clone();
        let done = deploy(&target, &kubectl, plan, limit, watcher, &Silent, &cancel);
        if let Ok(done) = &done {
            let unlike = |deployed: &Deployed| (deployed.workloads.clone(), deployed.kept.clone());
            assert_eq!(unlike(&planned), unlike(done));
        }
        done
    }

    /// A pod template whose one container runs the worker for a component.
    fn template(&self, component: &str, app: &str, args: &[&str]) -> Value {
        let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let memory = if args == ["eat"] { "48Mi" } else { "256Mi" };
        let annotation = format!("{COMPONENT_ANNOTATION}main");
        json!({
            "metadata": {"labels": {"app": app}, "annotations": {annotation: component}},
            "spec": {
                "terminationGracePeriodSeconds": 5,
                "containers": [{
                    "name": "main", "image": IMAGE, "imagePullPolicy": "Never", "args": args,
                    "resources": {"limits": {"memory": memory}},
                    "env": [
                        {"name": "PODCOV_RUN", "value": RUN},
                        {"name": "PODCOV_COMPONENT", "value": component},
                        {"name": "PODCOV_CONTAINER", "value": "main"},
                        {"name": "PODCOV_VOLUME", "value": "/podcov/profile"},
                        field("PODCOV_NAMESPACE", "metadata.namespace"),
                        field("PODCOV_POD", "metadata.name"),
                        field("PODCOV_POD_UID", "metadata.uid"),
                    ],
                    "volumeMounts": [{"name": "podcov-profile", "mountPath": "/podcov/profile"}],
                }],
                "volumes": [{"name": "podcov-profile", "hostPath": {
                    "path": self.cluster.evidence().on_nodes, "type": "Directory"}}],
            },
        })
    }

    fn deployment(&self, component: &str, app: &str, replicas: u32, args: &[&str]) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": app, "namespace": NAMESPACE},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": app}},
                "template": self.template(component, app, args)},
        })
    }

    fn pod(&self, component: &str, name: &str, policy: &str, args: &[&str]) -> Value {
        let mut pod = self.template(component, name, args);
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["name"] = name.into();
        pod["metadata"]["namespace"] = NAMESPACE.into();
        pod["spec"]["restartPolicy"] = policy.into();
        pod
    }

    fn job(&self, component: &str, name: &str, args: &[&str]) -> Value {
        let mut template = self.template(component, name, args);
        template["spec"]["restartPolicy"] = "Never".into();
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"backoffLimit": 0, "template": template},
        })
    }
}

fn yaml(objects: &[Value]) -> String {
    objects
        .iter()
        .map(|object| format!("---\n{object}\n"))
        .collect()
}

fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
}

fn crd() -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object",
        "x-kubernetes-preserve-unknown-fields": true}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.org"},
        "spec": {"group": "example.org", "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]},
    })
}

fn widget(name: &str, finalizers: &[&str]) -> Value {
    json!({"apiVersion": "example.org/v1", "kind": "Widget",
        "metadata": {"name": name, "namespace": NAMESPACE, "finalizers": finalizers}})
}

fn bundles(identity: &Identity) -> Vec<Bundle> {
    let bundle = |component: &str| Bundle {
        schema: bundle::SCHEMA,
        component: component.into(),
        language: Language::Rust,
        kind: Kind::Operator,
        binaries: vec![Binary {
            name: "worker".into(),
            identity: Some(identity.clone()),
            other_identities: vec![],
            path: "bin/worker".into(),
            sha256: String::new(),
            arch: "x86_64".into(),
            mode: Mode::Continuous,
            interval_ms: None,
        }],
        toolchain: String::new(),
        llvm_major: None,
        commit: None,
        dirty: false,
        image: None,
        sources: Sources::default(),
    };
    ["op", "web", "client"].map(bundle).into()
}

#[track_caller]
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(90);
    while !is() {
        assert!(Instant::now() < end, "waited for too long: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The fates of a component's incarnations.
fn fates(ledger: &Ledger, component: &str) -> Vec<Fate> {
    let own = ledger
        .incarnations
        .iter()
        .filter(|row| row.component == component);
    own.map(|row| row.fate).collect()
}

#[test]
fn every_incarnation_of_real_pods_is_in_the_ledger() {
    let composition = Composition::up();
    let folder = composition.folder.path();
    let identity = identity(&worker(folder), folder);
    let archive = profile(folder, &identity);
    let names = [IMAGE.to_owned()];
    composition
        .cluster
        .load_image(&archive, &names, &Silent, &Cancel::new())
        .unwrap();

    let watcher = composition.watcher();
    what_cannot_become_ready_is_told_early(&composition, &watcher);

    let size = EvidenceSize::start(&composition.run.evidence());
    let deployed = composition.deploy(
        &[
            composition.deployment("op", "operator", 2, &["serve"]),
            composition.job("client", "client", &["once"]),
            widget("from-rendering", &[]),
            crd(),
            namespace(),
        ],
        &watcher,
    );
    let deployed = deployed.unwrap();
    assert_eq!(deployed.pods, 3);
    assert_eq!(watcher.live().ready, 2, "the client's pod has ended");

    // What an operator would make: a Deployment, one of whose pods is lost, a
    // pod that the kernel kills again and again, one that cannot write to the
    // profile volume, and custom resources.
    let mut mute = composition.pod("web", "mute", "Never", &["once"]);
    mute["spec"]["containers"][0]["volumeMounts"][0]["readOnly"] = true.into();
    let made = [
        mute,
        composition.deployment("web", "web", 1, &["serve"]),
        composition.pod("web", "glutton", "Always", &["eat"]),
        widget("cleaned", &[]),
        widget("stuck", &["example.org/nobody"]),
    ];
    composition.kubectl(&["apply", "-f", "-"], &yaml(&made));
    let starts = |name: &str| {
        let observed = watcher.snapshot();
        let pods = observed
            .pods
            .iter()
            .filter(|pod| pod.name.starts_with(name));
        pods.map(|pod| pod.containers[0].starts.len())
            .sum::<usize>()
    };
    until("web runs", || starts("web") == 1);
    composition.kubectl(
        &[
            "delete",
            "pod",
            "-n",
            NAMESPACE,
            "-l",
            "app=web",
            "--wait=false",
        ],
        "",
    );
    until("web runs again", || starts("web") == 2);
    until("the glutton was killed twice", || starts("glutton") == 3);
    until("the mute one has ended", || starts("mute") == 1);
    until("evidence was heard of", || size.bytes() > 0);

    let said = Said::default();
    let grace = Duration::from_secs(12);
    let logs = composition.run.logs();
    let target = composition.target();
    let cancel = Cancel::new();
    let stopped = stop(
        &target,
        &watcher,
        &deployed,
        grace,
        Some(&logs),
        &said,
        &cancel,
    )
    .unwrap();
    assert!(stopped.forced.is_empty(), "{stopped:?}");
    assert_eq!(stopped.notes.len(), 1, "{:?}", stopped.notes);
    assert!(stopped.notes[0].starts_with("Widget sites/stuck was not cleaned up within 12 s"));
    assert!(stopped.notes[0].ends_with("finalizers left: example.org/nobody"));
    let observed = watcher.finish();
    assert_eq!(observed.remaining().count(), 0, "{observed:#?}");
    let widgets = composition.kubectl(&["get", "widgets", "-A", "-o", "name"], "");
    assert_eq!(widgets.trim(), "widget.example.org/stuck");
    assert_order(&said);
    let log = walkdir::WalkDir::new(&logs)
        .into_iter()
        .filter_map(Result::ok);
    let logs_kept = log.filter(|entry| entry.file_type().is_file()).count();
    assert!(logs_kept >= 4, "{logs_kept} logs");

    let quarantine = composition.run.quarantine();
    let evidence = composition.run.evidence();
    let bundles = bundles(&identity);
    let ledger = collect(&Gather {
        run: RUN,
        evidence: &evidence,
        quarantine: &quarantine,
        logs: Some(&logs),
        bundles: &bundles,
        earlier: None,
        observed: &observed,
        limits: Limits::default(),
        progress: &Silent,
        cancel: &Cancel::new(),
    });
    let ledger = ledger.unwrap();
    let collected = [Fate::Collected; 5];
    assert_eq!(fates(&ledger, "op"), collected[..2], "{ledger:#?}");
    // One of the two was the job that failed.
    assert_eq!(fates(&ledger, "client"), collected[..2], "{ledger:#?}");
    let glutton: Vec<_> = ledger
        .incarnations
        .iter()
        .filter(|row| row.pod == "glutton")
        .collect();
    assert!(glutton.len() >= 3, "{glutton:#?}");
    for (number, row) in glutton.iter().enumerate() {
        assert_eq!(row.restart, Some(number as u32));
        assert_eq!(row.fate, Fate::Collected, "{row:#?}");
        assert_eq!(row.ended.reason.as_deref(), Some("OOMKilled"), "{row:#?}");
    }
    assert_eq!(fates(&ledger, "web").len(), 2 + glutton.len() + 1);
    let lost: Vec<_> = ledger.lost().collect();
    assert_eq!(lost.len(), 1, "{lost:#?}");
    assert_eq!(
        (lost[0].pod.as_str(), lost[0].fate),
        ("mute", Fate::Missing)
    );
    assert!(
        lost[0].reason.contains("Read-only file system"),
        "{}",
        lost[0].reason
    );
    let mut kinds: Vec<&str> = ledger
        .findings
        .iter()
        .map(|finding| finding.kind.as_str())
        .collect();
    // A pod that was about to take the place of the lost one may be among them.
    kinds.dedup();
    assert_eq!(kinds, ["never-started", "stop"], "{:#?}", ledger.findings);

    what_was_stopped_can_be_deployed_again(&composition);
    a_cluster_that_goes_away_is_told(&composition, observed.pods.len());
}

fn what_cannot_become_ready_is_told_early(composition: &Composition, watcher: &Watcher) {
    let mut hidden = composition.pod("op", "no-image", "Always", &["serve"]);
    hidden["spec"]["containers"][0]["image"] = PLAIN_IMAGE.into();
    let begin = Instant::now();
    let error = composition
        .deploy(&[namespace(), hidden], watcher)
        .unwrap_err()
        .to_string();
    assert!(
        begin.elapsed() < Duration::from_secs(30),
        "it was hopeless from the beginning"
    );
    for part in [
        "pods 0/1 ready after",
        "cannot become ready",
        "pod sites/no-image",
        "container main: ErrImageNeverPull",
        "event  ErrImageNeverPull: Container image",
    ] {
        assert!(error.contains(part), "`{part}` is not in\n{error}");
    }
    composition.kubectl(&["delete", "pod", "-n", NAMESPACE, "no-image", "--now"], "");

    let failing = composition.job("client", "failing", &["fail"]);
    let error = composition
        .deploy(&[failing], watcher)
        .unwrap_err()
        .to_string();
    for part in [
        "the job failed",
        "container main: Error, exit status 3",
        "something is missing",
    ] {
        assert!(error.contains(part), "`{part}` is not in\n{error}");
    }
    composition.kubectl(&["delete", "job", "-n", NAMESPACE, "failing"], "");
}

/// Clients end before operators clean up, and operators after that.
#[track_caller]
fn assert_order(said: &Said) {
    let said = said.0.lock().unwrap();
    let at = |text: &str| {
        let at = said.iter().position(|line| line.starts_with(text));
        at.unwrap_or_else(|| panic!("`{text}` was not said: {said:#?}"))
    };
    let order = [
        "stopping clients",
        "waiting for operators to clean up",
        "waiting for the pods that operators created",
        "stopping operators",
        "stopping the rest",
    ];
    assert!(order.map(at).is_sorted(), "{said:#?}");
}

/// Also where the manifest does not say how many pods there are to be.
fn what_was_stopped_can_be_deployed_again(composition: &Composition) {
    let watcher = composition.watcher();
    let mut operator = composition.deployment("op", "operator", 1, &["serve"]);
    operator["spec"].as_object_mut().unwrap().remove("replicas");
    let deployed = composition.deploy(&[operator], &watcher).unwrap();
    assert_eq!(deployed.pods, 1);
    assert_eq!(watcher.live().ready, 1);
    let cancel = Cancel::new();
    cancel.set();
    let grace = Duration::from_secs(30);
    let begin = Instant::now();
    let stopped = stop(
        &composition.target(),
        &watcher,
        &deployed,
        grace,
        None,
        &Silent,
        &cancel,
    );
    assert!(matches!(stopped, Err(Error::Cancelled(_))), "{stopped:?}");
    assert!(begin.elapsed() < Duration::from_secs(2));
}

fn a_cluster_that_goes_away_is_told(composition: &Composition, pods: usize) {
    let watcher = composition.watcher();
    let known = watcher.snapshot().pods.len();
    assert!(known <= pods, "no more than were ever there");
    composition.cluster.down(&Silent).unwrap();
    until("the watch notices", || watcher.lost().is_some());
    let error = composition.deploy(&[namespace()], &watcher).unwrap_err();
    assert!(error.is_gone(), "{error}");
    let target = composition.target();
    let (deployed, cancel) = (Deployed::default(), Cancel::new());
    let grace = Duration::from_secs(1);
    let error = stop(&target, &watcher, &deployed, grace, None, &Silent, &cancel).unwrap_err();
    assert!(error.is_gone(), "{error}");
}
