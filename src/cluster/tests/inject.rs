//! Pods that nobody wrote a manifest for, in the embedded cluster.
//!
//! Needs root on Linux, Go and rustc; what else is missing the cluster
//! installs.

#[path = "collect/image.rs"]
mod image;
#[path = "collect/kubectl.rs"]
mod kubectl;

use std::sync::Arc;
use std::time::{Duration, Instant};

use image::archive::archive;
use image::{PLAIN, PROFILE};
use podcov_cluster::collect::{Gather, Limits, collect};
use podcov_cluster::deploy::{Deployed, deploy, plan};
use podcov_cluster::inject::{self, Webhook};
use podcov_cluster::overlay::webhook::INJECT_LABEL;
use podcov_cluster::overlay::{Component, Programs, Spec, Unseen};
use podcov_cluster::provider::{Cluster, Provider, Settings, select};
use podcov_cluster::stop::stop;
use podcov_cluster::store::RunDir;
use podcov_cluster::target::Target;
use podcov_cluster::watch::{Injects, Watched, Watcher};
use podcov_process::{Cancel, Silent};
use podcov_profile::Identity;
use podcov_profile::bundle::{self, Binary, Bundle, Mode, Sources};
use podcov_profile::ledger::{Fate, Ledger};
use podcov_profile::names::{Kind, Language};
use serde_json::{Value, json};

const RUN: &str = "20261121-090000-hook";
const COMPOSITION: &str = "sites";
const AGENT: &str = "localhost/podcov-agent:test";

struct Bench {
    cluster: Box<dyn Cluster>,
    run: RunDir,
    folder: tempfile::TempDir,
    identity: Identity,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.cluster.down(&Silent);
    }
}

impl Bench {
    fn up() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path(), RUN).unwrap();
        let mut settings = Settings::new("test-inject", run.evidence());
        settings.provider = Provider::Embedded;
        let program = image::worker(folder.path());
        let bench = Bench {
            cluster: select(settings).unwrap(),
            run,
            identity: image::identity(&program, folder.path()),
            folder,
        };
        bench.cluster.up(&Silent, &Cancel::new()).unwrap();
        bench.load_images();
        bench
    }

    fn load_images(&self) {
        let folder = self.folder.path();
        let worker = folder.join("worker");
        let agent = image::own_program("agent", &[]);
        let profile = image::profile(folder, &self.identity);
        let plain = archive(folder, PLAIN, &[("app/worker", &worker)], &["/app/worker"]);
        let files = [("podcov-agent", agent.as_path())];
        let agent = archive(folder, AGENT, &files, &["/podcov-agent"]);
        for (archive, name) in [(profile, PROFILE), (plain, PLAIN), (agent, AGENT)] {
            let names = [name.to_owned()];
            let cancel = Cancel::new();
            self.cluster
                .load_image(&archive, &names, &Silent, &cancel)
                .unwrap();
        }
    }

    fn target(&self) -> Target {
        Target {
            kubeconfig: self.cluster.kubeconfig(),
            context: None,
        }
    }

    /// What kubectl says, warnings included.
    fn kubectl(&self, words: &[&str], input: &str) -> String {
        let done = kubectl::kubectl(self.cluster.as_ref(), words, input);
        done.text() + &String::from_utf8_lossy(&done.stderr)
    }

    fn create(&self, objects: &[Value]) -> String {
        let text: String = objects.iter().map(|o| format!("---\n{o}\n")).collect();
        self.kubectl(&["create", "-f", "-"], &text)
    }

    fn spec(&self) -> Spec {
        let worker = Component {
            name: "worker".into(),
            unseen: Unseen::Injected,
            image: Some(PLAIN.into()),
            profile_image: Some(PROFILE.into()),
            workloads: vec![],
            created_by: None,
            programs: Some(Programs {
                main: "/app/worker".into(),
                files: vec![],
            }),
        };
        let evidence = self.cluster.evidence().on_nodes;
        Spec::new(RUN, evidence.display().to_string(), vec![worker])
    }

    fn install(&self, lasts: Option<Duration>) {
        let webhook = Webhook {
            composition: COMPOSITION.into(),
            image: AGENT.into(),
            namespaces: vec!["e2e-*".into()],
            lasts,
            spec: self.spec(),
        };
        inject::install(&self.target(), &webhook, &Silent, &Cancel::new()).unwrap();
    }

    fn injects(&self) -> Injects {
        Injects {
            composition: COMPOSITION.into(),
            components: vec!["worker".into()],
            own_namespace: inject::own_namespace(COMPOSITION),
            needs_privileged: self.spec().needs_privileged(),
        }
    }

    fn watcher(&self) -> Watcher {
        let worker = Watched {
            name: "worker".into(),
            kind: Kind::Workload,
            images: vec![PLAIN.into(), PROFILE.into()],
        };
        let silent = Arc::new(Silent);
        Watcher::start(
            &self.target(),
            RUN,
            vec![worker],
            Some(self.injects()),
            silent,
            &Cancel::new(),
        )
        .unwrap()
    }

    /// The image of each pod of a namespace, by the beginning of the pod's name.
    fn image_of(&self, namespace: &str, start: &str) -> Vec<String> {
        let pods = self.kubectl(&["get", "pods", "-n", namespace, "-o", "json"], "");
        let pods: Value = serde_json::from_str(&pods).unwrap();
        let own = pods["items"].as_array().unwrap().iter().filter(|pod| {
            let name = pod["metadata"]["name"].as_str().unwrap();
            name.starts_with(start) && pod["metadata"]["deletionTimestamp"].is_null()
        });
        let image = |pod: &Value| {
            pod["spec"]["containers"][0]["image"]
                .as_str()
                .map(str::to_owned)
        };
        own.map(|pod| image(pod).unwrap()).collect()
    }

    fn collect(&self, watcher: Watcher) -> Ledger {
        let observed = watcher.finish();
        collect(&Gather {
            run: RUN,
            evidence: &self.run.evidence(),
            quarantine: &self.run.quarantine(),
            logs: None,
            bundles: &[bundle(&self.identity)],
            observed: &observed,
            earlier: None,
            limits: Limits::default(),
            progress: &Silent,
            cancel: &Cancel::new(),
        })
        .unwrap()
    }
}

fn bundle(identity: &Identity) -> Bundle {
    Bundle {
        schema: bundle::SCHEMA,
        component: "worker".into(),
        language: Language::Rust,
        kind: Kind::Workload,
        binaries: vec![Binary {
            name: "worker".into(),
            identity: Some(identity.clone()),
            other_identities: vec![],
            path: "bin/worker".into(),
            sha256: String::new(),
            arch: "x86_64".into(),
            interval_ms: None,
            mode: Mode::Continuous,
        }],
        toolchain: String::new(),
        llvm_major: None,
        commit: None,
        dirty: false,
        image: None,
        sources: Sources::default(),
    }
}

/// A template as an operator would write it, which knows nothing of podcov.
fn template(args: &[&str]) -> Value {
    json!({"metadata": {"labels": {"app": "worker"}}, "spec": {
        "terminationGracePeriodSeconds": 5,
        "containers": [{"name": "main", "image": PLAIN, "imagePullPolicy": "Never", "args": args,
            "workingDir": "/tmp"}]}})
}

fn pod(namespace: &str, name: &str) -> Value {
    let mut pod = template(&["once"]);
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"] = json!({"name": name, "namespace": namespace});
    pod["spec"]["restartPolicy"] = "Never".into();
    pod
}

fn job(namespace: &str, name: &str) -> Value {
    let mut template = template(&["once"]);
    template["spec"]["restartPolicy"] = "Never".into();
    json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"backoffLimit": 0, "template": template}})
}

fn deployment(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "worker"}},
            "template": template(&["serve"])}})
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

#[track_caller]
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !is() {
        assert!(Instant::now() < end, "waited for too long: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The one row of a pod.
fn row<'l>(ledger: &'l Ledger, pod: &str) -> &'l podcov_profile::ledger::Incarnation {
    let rows: Vec<_> = ledger
        .incarnations
        .iter()
        .filter(|row| row.pod == pod)
        .collect();
    assert_eq!(rows.len(), 1, "{pod}: {rows:#?}");
    rows[0]
}

#[test]
fn pods_that_nobody_wrote_a_manifest_for_are_measured_or_their_loss_is_told() {
    let bench = Bench::up();
    let target = bench.target();
    let cancel = Cancel::new();
    let watcher = bench.watcher();
    bench.install(Some(Duration::from_secs(1800)));

    // The namespaces that podcov deploys into get the label; `elsewhere` is
    // somebody else's.
    let rendering = namespace("sites").to_string();
    let planned = plan(&target, &rendering, &watcher, &cancel).unwrap();
    let planned = planned.injected(COMPOSITION);
    let kubectl = bench.cluster.kubectl().unwrap();
    let limit = Duration::from_secs(60);
    deploy(
        &target, &kubectl, planned, limit, &watcher, &Silent, &cancel,
    )
    .unwrap();
    bench.create(&[namespace("elsewhere"), namespace("e2e-one")]);

    let mut taken = pod("sites", "taken");
    taken["spec"]["containers"][0]["env"] = json!([{"name": "GOCOVERDIR", "value": "/tmp"}]);
    let mut off = pod("sites", "off");
    off["metadata"]["labels"] = json!({INJECT_LABEL: "disabled"});
    let said = bench.create(&[
        pod("sites", "bare"),
        job("sites", "job"),
        deployment("sites", "web"),
        pod("e2e-one", "in-new-namespace"),
        pod("elsewhere", "foreign"),
        taken,
        off,
    ]);
    assert!(
        said.contains(
            "Warning: podcov: not measured: container `main` of Pod/taken sets `GOCOVERDIR`"
        ),
        "{said}"
    );
    until("all pods were made", || {
        bench.image_of("sites", "web").len() == 2 && bench.image_of("sites", "job").len() == 1
    });
    for (namespace, start, image) in [
        ("sites", "bare", PROFILE),
        ("sites", "job", PROFILE),
        ("sites", "web", PROFILE),
        ("e2e-one", "in-new", PROFILE),
        ("elsewhere", "foreign", PLAIN),
        ("sites", "taken", PLAIN),
        ("sites", "off", PLAIN),
    ] {
        let images = bench.image_of(namespace, start);
        assert!(
            !images.is_empty() && images.iter().all(|found| found == image),
            "{start}: {images:?}"
        );
    }

    a_deployment_that_is_reverted_is_still_measured(&bench);
    a_pod_passes_while_the_webhook_is_down(&bench, &watcher);

    let found = inject::status(&target, COMPOSITION, &cancel)
        .unwrap()
        .unwrap();
    assert_eq!(found.silent, None);
    assert_eq!(found.ready, 1);
    assert_eq!(found.settings.unwrap().spec, bench.spec());
    assert_eq!(found.namespaces, ["e2e-one", "sites"]);

    stop(
        &target,
        &watcher,
        &Deployed::default(),
        limit,
        None,
        &Silent,
        &cancel,
    )
    .unwrap();
    watcher.injection_ends();
    assert!(inject::uninstall(&target, COMPOSITION, &cancel).unwrap());
    assert!(!inject::uninstall(&target, COMPOSITION, &cancel).unwrap());
    assert!(!inject::sweep(&target, COMPOSITION, &cancel).unwrap());
    nothing_is_left(&bench, "after");

    let ledger = bench.collect(watcher);
    every_pod_is_accounted_for(&ledger);
    what_a_killed_run_left_goes_with_the_next(&bench);
    // No connection of the webhook keeps the node's network.
    bench.cluster.down(&Silent).unwrap();
}

fn a_deployment_that_is_reverted_is_still_measured(bench: &Bench) {
    let rollout = |image: &str| {
        let image = format!("main={image}");
        bench.kubectl(
            &["-n", "sites", "set", "image", "deployment/web", &image],
            "",
        );
        let status = ["rollout", "status", "deployment/web", "--timeout=80s"];
        bench.kubectl(&[&["-n", "sites"], &status[..]].concat(), "");
    };
    rollout(PROFILE);
    rollout(PLAIN);
    let jsonpath = "jsonpath={.spec.template.spec.containers[0].image}";
    let template = ["-n", "sites", "get", "deployment/web", "-o", jsonpath];
    assert_eq!(bench.kubectl(&template, ""), PLAIN);
    assert_eq!(bench.image_of("sites", "web"), [PROFILE, PROFILE]);
}

fn a_pod_passes_while_the_webhook_is_down(bench: &Bench, watcher: &Watcher) {
    let own = inject::own_namespace(COMPOSITION);
    let scale = |replicas: &str| {
        bench.kubectl(&["-n", &own, "scale", "deployment/inject", replicas], "");
    };
    scale("--replicas=0");
    until("the webhook is gone", || {
        bench
            .kubectl(&["-n", &own, "get", "pods", "-o", "name"], "")
            .lines()
            .all(|line| !line.starts_with("pod/"))
    });
    bench.create(&[pod("sites", "late")]);
    let found = inject::status(&bench.target(), COMPOSITION, &Cancel::new()).unwrap();
    let found = found.unwrap();
    assert!(found.ready == 0 && found.silent.is_some(), "{found:?}");
    scale("--replicas=1");
    until("the webhook answers again", || {
        let found = inject::status(&bench.target(), COMPOSITION, &Cancel::new()).unwrap();
        found.unwrap().silent.is_none()
    });
    bench.create(&[pod("sites", "again")]);
    assert_eq!(bench.image_of("sites", "late"), [PLAIN]);
    assert_eq!(bench.image_of("sites", "again"), [PROFILE]);
    until("both have run", || {
        let observed = watcher.snapshot();
        let is_own = |name: &str| ["late", "again"].contains(&name);
        let own = observed.pods.iter().filter(|pod| is_own(&pod.name));
        own.filter(|pod| pod.phase == "Succeeded").count() == 2
    });
}

fn nothing_is_left(bench: &Bench, name: &str) {
    let labelled = ["get", "namespaces", "-l", INJECT_LABEL, "-o", "name"];
    until("the webhook's namespace is gone", || {
        !bench.kubectl(&labelled, "").contains("namespace/")
    });
    let configurations = ["get", "mutatingwebhookconfigurations", "-o", "name"];
    assert!(!bench.kubectl(&configurations, "").contains("podcov"));
    bench.create(&[pod("sites", name)]);
    assert_eq!(bench.image_of("sites", name), [PLAIN]);
}

fn what_a_killed_run_left_goes_with_the_next(bench: &Bench) {
    let sweep = || inject::sweep(&bench.target(), COMPOSITION, &Cancel::new()).unwrap();
    bench.install(None);
    assert!(!sweep(), "somebody installed it by hand");
    // One in the place of another, and at once in use.
    bench.install(Some(Duration::from_secs(1800)));
    bench.create(&[pod("e2e-one", "second")]);
    assert_eq!(bench.image_of("e2e-one", "second"), [PROFILE]);
    assert!(sweep());
    nothing_is_left(bench, "after-the-sweep");
}

fn every_pod_is_accounted_for(ledger: &Ledger) {
    for name in ["bare", "in-new-namespace", "again"] {
        let row = row(ledger, name);
        assert_eq!(row.fate, Fate::Collected, "{row:#?}");
        assert_eq!(row.component, "worker");
    }
    let of_job = ledger
        .incarnations
        .iter()
        .filter(|row| row.pod.starts_with("job-"));
    assert_eq!(
        of_job.map(|row| row.fate).collect::<Vec<_>>(),
        [Fate::Collected]
    );
    let of_web = ledger
        .incarnations
        .iter()
        .filter(|row| row.pod.starts_with("web-"));
    let of_web: Vec<_> = of_web.map(|row| row.fate).collect();
    assert!(
        of_web.len() == 6 && of_web.iter().all(|fate| *fate == Fate::Collected),
        "{of_web:?}"
    );
    for (name, why) in [
        (
            "taken",
            "not injected: container `main` of Pod/taken sets `GOCOVERDIR`",
        ),
        (
            "foreign",
            "not injected: namespace `elsewhere` has no label podcov.dev/inject=sites",
        ),
        (
            "off",
            "not injected: its label podcov.dev/inject says `disabled`",
        ),
        ("late", "not injected: the webhook was not ready from "),
    ] {
        let row = row(ledger, name);
        assert_eq!(row.fate, Fate::Missing, "{row:#?}");
        assert!(row.reason.starts_with(why), "{}", row.reason);
    }
    let told = ledger
        .findings
        .iter()
        .any(|finding| finding.kind == "inject-down");
    assert!(told, "{:#?}", ledger.findings);
}
