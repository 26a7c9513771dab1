//! A cluster that somebody else keeps: the embedded one, to which podcov is only
//! a service account with the rights that `podcov rbac` prints, and whose node
//! pulls the images from a real registry.

#[path = "../../../cluster/tests/registry/program.rs"]
mod registry_program;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::assert_counts;
use super::project::Project;

/// Components and manifests of the run.
const COMPONENTS: [&str; 3] = ["ticker", "gotick", "oldtick"];
const MANIFESTS: [&str; 4] = ["rights", "ticker", "gotick", "oldtick"];

/// What is looked at before and after a dry run; other kinds change by
/// themselves.
const KINDS: &str = "namespaces,deployments,replicasets,pods,jobs,secrets,configmaps,services,\
                     serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,\
                     customresourcedefinitions,mutatingwebhookconfigurations";

/// kubectl as an administrator.
fn kubectl(project: &Project, args: &[&str]) -> String {
    let words: Vec<&str> = ["cluster", "kubectl"].iter().chain(args).copied().collect();
    project.podcov("cluster", &words).expect(0).stdout
}

/// Applies the roles of a manifest.
fn apply_roles(project: &Project, manifest: &Value) {
    let mut roles = manifest.clone();
    let items = roles["items"].as_array_mut().unwrap();
    items.retain(|item| item["rules"].is_array());
    project.write("roles.json", &roles.to_string());
    let file = project.path("roles.json");
    kubectl(project, &["apply", "-f", file.to_str().unwrap()]);
}

/// The registry, once where podcov sees it and once where the node does: both
/// have a loopback of their own, and the same folder of data.
struct Registry {
    children: Vec<Child>,
    host: String,
}

impl Registry {
    fn start(project: &Project) -> Registry {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        drop(listener);
        let data = project.path("registry-data");
        let config = format!(
            "version: 0.1\nlog: {{accesslog: {{disabled: false}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{host}'}}\n",
            data.display()
        );
        project.write("registry.yaml", &config);
        let program = registry_program::program();
        let net = format!("--net=/proc/{}/ns/net", project.node());
        let mut there = Command::new("nsenter");
        there.arg(net).arg(program);
        let mut children = Vec::new();
        for (name, mut command) in [("here", Command::new(program)), ("node", there)] {
            let log = || {
                let path = project.path(&format!("registry-{name}.log"));
                std::fs::File::options()
                    .create(true)
                    .append(true)
                    .open(path)
                    .unwrap()
            };
            let command = command.arg("serve").arg(project.path("registry.yaml"));
            let command = command.env("OTEL_TRACES_EXPORTER", "none");
            children.push(command.stdout(log()).stderr(log()).spawn().unwrap());
        }
        let registry = Registry { children, host };
        wait("the registry", || {
            TcpStream::connect(&registry.host).is_ok()
        });
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn wait(what: &str, is_there: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_there() {
        assert!(begin.elapsed() < Duration::from_secs(30), "no {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The resource version of everything of [`KINDS`].
fn versions(project: &Project) -> BTreeMap<String, String> {
    let json = kubectl(
        project,
        &["get", KINDS, "--all-namespaces", "--output", "json"],
    );
    let list: Value = serde_json::from_str(&json).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().unwrap().iter();
    let versions: BTreeMap<String, String> = items
        .map(|item| {
            let meta = &item["metadata"];
            let label = [&item["kind"], &meta["namespace"], &meta["name"]]
                .map(text)
                .join("/");
            (label, text(&meta["resourceVersion"]))
        })
        .collect();
    assert!(versions.len() > 50, "{versions:?}");
    versions
}

/// What is there in one of two states, or is another in them.
fn changed(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let labels: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = |label: &&&String| before.get(**label) != after.get(**label);
    labels
        .iter()
        .filter(differs)
        .map(|label| (*label).clone())
        .collect()
}

fn dry_run(project: &Project, config: &str) -> Value {
    let words = ["deploy", "--dry-run", "--format", "json"];
    let ended = project.podcov(config, &words).expect(0);
    serde_json::from_str(&ended.stdout).unwrap()
}

fn object<'a>(preview: &'a Value, label: &str) -> &'a Value {
    let mut objects = preview["objects"].as_array().unwrap().iter();
    let found = objects.find(|object| object["object"] == label);
    found.unwrap_or_else(|| panic!("{label} is not in {preview:#}"))
}

/// `path: from -> to` of each field.
fn fields(object: &Value, of: &str) -> Vec<String> {
    let fields = object[of].as_array().unwrap().iter();
    let shown = fields.map(|f| {
        format!(
            "{}: {} -> {}",
            f["path"].as_str().unwrap(),
            f["from"],
            f["to"]
        )
    });
    shown.collect()
}

/// A kubeconfig for the service account that the manifest makes.
fn log_in(project: &Project) {
    let view = ["config", "view", "--raw", "--minify", "--output", "json"];
    let mut config: Value = serde_json::from_str(&kubectl(project, &view)).unwrap();
    let create = [
        "create",
        "token",
        "podcov",
        "--namespace",
        "podcov",
        "--duration",
        "1h",
    ];
    let token = kubectl(project, &create);
    config["users"][0]["user"] = json!({"token": token.trim()});
    project.write("least.kubeconfig", &config.to_string());
}

pub fn the_least_rights_are_enough_and_none_is_too_many(project: &Project) {
    let registry = Registry::start(project);
    let there = format!("registry = \"{}/team\"", registry.host);
    let existing = |kubeconfig: &str| {
        format!("provider = \"existing\"\nkubeconfig = \"{kubeconfig}\"\n{there}\n")
    };
    let administrator = project.state().join("kubeconfig").display().to_string();
    let of_administrator = existing(&administrator);
    let embedded = "provider = \"embedded\"\n";
    project.part(
        "rights.toml",
        &COMPONENTS,
        &MANIFESTS,
        &[(embedded, &of_administrator)],
    );
    let provider = existing("least.kubeconfig");
    // A layer that the node cannot have from another scenario.
    let image = "image = \"localhost/ticker:dev\"\n";
    let with_file =
        format!("{image}image_build = {{ files = {{ \"registry.yaml\" = \"/new\" }} }}\n");
    let changes = [(embedded, provider.as_str()), (image, with_file.as_str())];
    for name in ["least.toml", "dry.toml"] {
        project.part(name, &COMPONENTS, &MANIFESTS, &changes);
    }
    // The webhook needs rights of its own.
    for name in ["rights.toml", "least.toml"] {
        project.edit(name, &[("[deploy]\n", "[deploy]\ninject = \"all\"\n")]);
    }

    // An administrator prints and applies it.
    let yaml = project.podcov("rights", &["rbac"]).expect(0).stdout;
    for word in [
        "exec",
        "secrets\"]\n    verbs: [\"list",
        "escalate",
        "impersonate",
    ] {
        assert!(!yaml.contains(word), "{yaml}");
    }
    let json = project
        .podcov("rights", &["rbac", "--format", "json"])
        .expect(0)
        .stdout;
    let manifest: Value = serde_json::from_str(&json).unwrap();
    project.write("rbac.yaml", &yaml);
    let file = project.path("rbac.yaml");
    kubectl(project, &["apply", "-f", file.to_str().unwrap()]);
    log_in(project);

    a_dry_run_changes_nothing(project, &registry);
    let says = [
        "2 passed",
        "webhook answers",
        "5 incarnations: 5 with evidence, 0 lost",
        "rights ",
        "pushed to",
    ];
    project.podcov("least", &["run"]).expect(0).says(&says);
    assert_counts(project, "least");
    let pulled = project.read("registry-node.log");
    for part in ["manifests", "blobs"] {
        let get = format!("GET /v2/team/ticker-profile/{part}/sha256:");
        assert!(pulled.contains(&get), "{get}: {pulled}");
    }
    let run = project.json("least", "run.json");
    let image = run["images"][0].as_str().unwrap();
    let named = format!("{}/team/ticker-profile:dev@sha256:", registry.host);
    assert!(image.starts_with(&named), "{run:#}");
    what_was_deployed_is_told_as_it_is(project);
    a_missing_right_is_told_before_anything_is_changed(project, &manifest);
}

fn a_dry_run_changes_nothing(project: &Project, registry: &Registry) {
    project.podcov("dry", &["build"]).expect(0);
    let before = versions(project);
    let preview = dry_run(project, "dry");
    assert_eq!(changed(&before, &versions(project)), [""; 0]);
    let stored = project.path("registry-data");
    assert!(!stored.exists(), "{}", stored.display());

    let image = &preview["images"][0];
    let name = image["name"].as_str().unwrap();
    let named = format!("{}/team/ticker-profile:dev@sha256:", registry.host);
    assert!(name.starts_with(&named), "{image}");
    assert!(image["send"].as_u64().unwrap() > 100_000, "{image}");
    assert_eq!(image["there"], 0);

    let mark = object(&preview, "test.podcov.dev/v1 Mark apart/first");
    assert_eq!(mark["action"], "create");
    assert_eq!(mark["why"], "of a kind that is not there yet");
    let role = object(&preview, "rbac.authorization.k8s.io/v1 Role apart/reader");
    assert_eq!(
        (&role["action"], &role["why"]),
        (&json!("create"), &Value::Null)
    );
    let binding = object(
        &preview,
        "rbac.authorization.k8s.io/v1 RoleBinding apart/reader",
    );
    assert_eq!(binding["action"], "create");
    assert_eq!(
        binding["why"],
        "to a role that comes with it and is not there yet"
    );
    // Earlier runs left it; the rights above made its namespace.
    let ticker = object(&preview, "apps/v1 Deployment default/ticker");
    assert_eq!(ticker["action"], "change");
    let changed = fields(ticker, "fields");
    assert!(
        changed.contains(&"spec.replicas: 0 -> 2".to_owned()),
        "{changed:#?}"
    );
    let ours = fields(ticker, "by_podcov");
    let expected = format!(
        "spec.template.spec.containers[main].image: \"localhost/ticker:dev\" -> \"{name}\""
    );
    assert!(ours.contains(&expected), "{ours:#?}");
    for path in [
        "spec.template.metadata.annotations",
        "spec.template.spec.volumes",
    ] {
        assert!(
            ours.iter().any(|field| field.starts_with(path)),
            "{path}: {ours:#?}"
        );
    }
    assert_eq!(
        preview["start"],
        json!([
            "scale apps/v1 Deployment default/gotick to 1",
            "scale apps/v1 Deployment default/oldtick to 1"
        ])
    );
    let stop = preview["stop"].as_array().unwrap();
    for line in [
        "scale apps/v1 Deployment default/ticker to 0",
        "delete batch/v1 Job apart/idle with its pods",
        "delete the Mark (test.podcov.dev) objects that were made since the deployment",
    ] {
        assert!(stop.contains(&json!(line)), "{line}: {stop:#?}");
    }
    let text = project
        .podcov("dry", &["deploy", "--dry-run"])
        .expect(0)
        .stdout;
    assert!(
        text.contains("  ~ change apps/v1 Deployment default/ticker\n"),
        "{text}"
    );
}

/// After the run of the same composition under another id.
fn what_was_deployed_is_told_as_it_is(project: &Project) {
    let before = versions(project);
    let secret = [("first-secret", "second-secret")];
    project.edit("manifests/rights.yaml", &secret);
    let preview = dry_run(project, "dry");
    assert_eq!(changed(&before, &versions(project)), [""; 0]);
    assert!(
        preview["images"]
            .as_array()
            .unwrap()
            .iter()
            .all(|image| image["send"] == 0)
    );
    for same in [
        "v1 Namespace apart",
        "apiextensions.k8s.io/v1 CustomResourceDefinition marks.test.podcov.dev",
        "rbac.authorization.k8s.io/v1 RoleBinding apart/viewer",
    ] {
        assert_eq!(object(&preview, same)["action"], "same", "{same}");
    }
    let hidden = object(&preview, "v1 Secret apart/hidden");
    assert_eq!(fields(hidden, "fields"), ["data.key: \"***\" -> \"***\""]);
    let gotick = object(&preview, "apps/v1 Deployment default/gotick");
    let changed = fields(gotick, "fields");
    assert!(
        changed.iter().all(|field| !field.contains(".image:")),
        "{changed:#?}"
    );
    assert!(
        changed
            .iter()
            .any(|field| field.contains("[podcov.dev/run]")),
        "{changed:#?}"
    );
}

/// Each is one verb of one rule: for the look, the watch, applying, handing out,
/// stopping and cleaning up.
fn a_missing_right_is_told_before_anything_is_changed(project: &Project, manifest: &Value) {
    let told = |verb: &str, what: &str| format!("{verb} {what}");
    let before = versions(project);
    for (verb, resource, expected) in [
        ("list", "nodes", "cannot list resource \"nodes\"".to_owned()),
        (
            "watch",
            "pods",
            told("watch", "pods in the whole cluster, to see every pod"),
        ),
        (
            "patch",
            "deployments",
            told("patch", "deployments.apps `gotick` in namespace default"),
        ),
        (
            "get",
            "configmaps",
            told(
                "get",
                "configmaps in namespace apart, to hand out the rights",
            ),
        ),
        (
            "bind",
            "clusterroles",
            told("bind", "clusterroles.rbac.authorization.k8s.io `view`"),
        ),
        (
            "patch",
            "deployments/scale",
            told("patch", "deployments.apps/scale `ticker` in namespace"),
        ),
        (
            "delete",
            "pods",
            told("delete", "pods in namespace default, to end pods"),
        ),
        (
            "get",
            "pods/log",
            told("get", "pods/log in namespace default, to keep the logs"),
        ),
    ] {
        apply_roles(project, &without(manifest, verb, resource));
        // The API server learns of a role a moment after it is stored.
        let account = "--as=system:serviceaccount:podcov:podcov";
        let mut asked = vec![
            "cluster", "kubectl", "auth", "can-i", verb, resource, account,
        ];
        match resource {
            "configmaps" | "clusterroles" => asked.extend(["--namespace", "apart"]),
            "nodes" => {}
            _ if verb == "watch" => asked.push("--all-namespaces"),
            _ => asked.extend(["--namespace", "default"]),
        }
        let names = [
            ("deployments", "deployments.apps/gotick"),
            (
                "clusterroles",
                "clusterroles.rbac.authorization.k8s.io/view",
            ),
        ];
        if let Some((_, name)) = names.iter().find(|(kind, _)| *kind == resource) {
            asked[5] = name;
        }
        if let Some((kind, sub)) = resource.split_once('/') {
            let scaled = kind == "deployments";
            asked[5] = if scaled {
                "deployments.apps/ticker"
            } else {
                kind
            };
            asked.extend(["--subresource", sub]);
        }
        wait(&format!("loss of {verb} {resource}"), || {
            project.podcov("cluster", &asked).stdout.trim() == "no"
        });
        let ended = project.podcov("dry", &["deploy"]).expect(6);
        ended.says(&[&expected]);
    }
    // Who may hand out what they do not have needs not have it.
    let mut escalating = without(manifest, "get", "configmaps");
    let apart =
        |item: &&mut Value| item["metadata"]["namespace"] == "apart" && item["rules"].is_array();
    let role = escalating["items"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .find(apart)
        .unwrap();
    let rule = json!({"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"],
                      "verbs": ["bind", "escalate"]});
    role["rules"].as_array_mut().unwrap().push(rule);
    apply_roles(project, &escalating);
    wait("right to escalate", || {
        let ended = project.podcov("dry", &["deploy", "--dry-run"]);
        ended.status.code() == Some(0)
    });
    apply_roles(project, manifest);
    // This test itself applied its roles again.
    let mut changed = changed(&before, &versions(project));
    changed.retain(|label| !label.ends_with("/podcov-tiny"));
    assert_eq!(changed, [""; 0]);
}

/// The manifest without one verb for one resource, wherever it is given.
fn without(manifest: &Value, verb: &str, resource: &str) -> Value {
    let mut manifest = manifest.clone();
    let mut found = 0;
    for item in manifest["items"].as_array_mut().unwrap() {
        let Some(rules) = item["rules"].as_array_mut() else {
            continue;
        };
        let mut split = Vec::new();
        for rule in rules.drain(..) {
            let has = |rule: &Value, key: &str, word: &str| {
                rule[key]
                    .as_array()
                    .is_some_and(|words| words.contains(&json!(word)))
            };
            if !has(&rule, "resources", resource) || !has(&rule, "verbs", verb) {
                split.push(rule);
                continue;
            }
            found += 1;
            // Other resources of the rule keep the verb.
            let remove = |rule: &mut Value, key: &str, word: &str| {
                rule[key].as_array_mut().unwrap().retain(|w| w != word);
            };
            let (mut others, mut this) = (rule.clone(), rule);
            remove(&mut others, "resources", resource);
            this["resources"] = json!([resource]);
            remove(&mut this, "verbs", verb);
            split.extend([others, this].into_iter().filter(|rule| {
                ["resources", "verbs"]
                    .iter()
                    .all(|key| rule[*key] != json!([]))
            }));
        }
        *rules = split;
    }
    assert!(found > 0, "{verb} {resource} is in no rule");
    manifest
}
