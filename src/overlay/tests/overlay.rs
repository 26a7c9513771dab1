//! The overlay on real manifests, through a real kubectl.
//!
//! Each file in `overlay/cases` is one case: the first document says what is
//! measured, the others are the base. The snapshot beside it is what the user
//! gets. Every case is also rendered on top of its own result.

#[path = "overlay/program.rs"]
mod program;

use std::fs;
use std::path::{Path, PathBuf};

use podcov_overlay::{Base, Component, CreatedBy, Error, Rendered, Spec, Unseen, render};
use podcov_process::{Cancel, Silent};
use program::kubectl;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The first document of a case.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Case {
    components: Vec<CaseComponent>,
    #[serde(default)]
    relax_pod_security: bool,
    #[serde(default)]
    host_path: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CaseComponent {
    name: String,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    injected: bool,
    image: Option<String>,
    profile_image: Option<String>,
    #[serde(default)]
    workloads: Vec<String>,
    /// Component, variable, container.
    created_by: Option<[String; 3]>,
}

impl Case {
    fn spec(self) -> Spec {
        let components = self.components.into_iter().map(CaseComponent::component);
        let host_path = self.host_path.unwrap_or("/var/lib/podcov/run-1".into());
        let mut spec = Spec::new("run-1", host_path, components.collect());
        spec.relax_pod_security = self.relax_pod_security;
        spec
    }
}

impl CaseComponent {
    fn component(self) -> Component {
        Component {
            name: self.name,
            unseen: match self.kind.as_deref() {
                Some("client") => Unseen::Started,
                _ if self.injected => Unseen::Injected,
                _ => Unseen::Wrong,
            },
            image: self.image,
            profile_image: self.profile_image,
            workloads: self.workloads.iter().map(|w| w.parse().unwrap()).collect(),
            created_by: self
                .created_by
                .map(|[component, env, container]| CreatedBy {
                    component,
                    env,
                    container,
                }),
            programs: None,
        }
    }
}

/// A folder with a base, and where overlays go.
struct Bench {
    dir: TempDir,
    spec: Spec,
}

impl Bench {
    /// From the text of a case.
    fn new(text: &str) -> Self {
        let (case, base) = text.split_once("---\n").expect("a case has two parts");
        let case: Case = serde_yaml_ng::from_str(case).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("base.yaml"), base).unwrap();
        Bench {
            dir,
            spec: case.spec(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn manifests(&self) -> Base {
        Base::Manifests(vec![self.path("base.yaml")])
    }

    fn render(&self, base: &Base, out: &str) -> Result<Rendered, Error> {
        let out = self.path(out);
        render(base, &self.spec, &kubectl(), &out, &Silent, &Cancel::new())
    }
}

fn files(dir: &Path) -> Vec<(String, String)> {
    let mut all: Vec<_> = walkdir::WalkDir::new(dir)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let name = entry
                .path()
                .strip_prefix(dir)
                .unwrap()
                .display()
                .to_string();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    all.sort();
    all
}

/// What a case shows: who is measured, the warnings, the result.
fn shown(result: &Result<Rendered, Error>) -> String {
    let rendered = match result {
        Ok(rendered) => rendered,
        Err(error) => return format!("error: {error}\n"),
    };
    let mut text = String::new();
    for p in &rendered.patched {
        let namespace = p.namespace.as_deref().unwrap_or("-");
        text += &format!(
            "{} runs in {namespace} {}/{}:{}, {} -> {}{}\n",
            p.component,
            p.kind,
            p.name,
            p.container,
            p.was_image,
            p.now_image,
            if p.command_wrapped {
                ", command wrapped"
            } else {
                ""
            }
        );
    }
    for warning in &rendered.warnings {
        text += &format!("warning: {warning}\n");
    }
    text + "\n" + &rendered.yaml
}

#[test]
fn every_case_renders_as_recorded_and_again_to_the_same() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/overlay/cases");
    let cases = files(&cases);
    assert!(cases.len() > 20, "the cases are gone");
    for (name, text) in cases {
        let bench = Bench::new(&text);
        let result = bench.render(&bench.manifests(), "out");
        insta::with_settings!({ snapshot_path => "overlay/snapshots", prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(name.trim_end_matches(".yaml"), shown(&result));
        });
        let Ok(rendered) = result else { continue };
        let on_top = bench
            .render(&Base::Kustomization(bench.path("out")), "again")
            .unwrap();
        assert_eq!(on_top.yaml, rendered.yaml, "{name}: on top of itself");
        assert!(
            !bench.path("again/patches").exists(),
            "{name}: patches what is patched"
        );
        assert_eq!(on_top.patched.len(), rendered.patched.len(), "{name}");
    }
}

const ONE: &str =
    "components: [{name: op, image: localhost/op:dev, profileImage: localhost/op-profile:dev}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: op}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      containers: [{name: manager, image: localhost/op:dev}]
";

#[test]
fn the_second_time_gives_the_same_bytes() {
    let case = "tests/overlay/cases/everything_kept.yaml";
    let case = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(case));
    let bench = Bench::new(&case.unwrap());
    let first = bench.render(&bench.manifests(), "out").unwrap();
    let before = files(&bench.path("out"));
    assert_eq!(bench.render(&bench.manifests(), "out").unwrap(), first);
    assert_eq!(files(&bench.path("out")), before);

    fs::write(bench.path("rendered.yaml"), &first.yaml).unwrap();
    let base = Base::Manifests(vec![bench.path("rendered.yaml")]);
    assert_eq!(bench.render(&base, "on-yaml").unwrap().yaml, first.yaml);
}

/// A base that is a kustomization with a prefix, a namespace and an image.
fn kustomization(bench: &Bench, dir: &str) -> PathBuf {
    let dir = bench.path(dir);
    fs::create_dir_all(&dir).unwrap();
    fs::copy(bench.path("base.yaml"), dir.join("op.yaml")).unwrap();
    let text = "resources: [op.yaml]\nnamePrefix: my-\nnamespace: system\n\
                images: [{name: localhost/op, newName: example.org/op, newTag: v1.2}]\n\
                sortOptions: {order: fifo}\n";
    fs::write(dir.join("kustomization.yaml"), text).unwrap();
    dir
}

#[test]
fn a_kustomization_is_referred_to_and_stays_untouched() {
    let mut bench = Bench::new(ONE);
    bench.spec.components[0].image = Some("example.org/op".into());
    let base = kustomization(&bench, "deploy/config");
    let before = files(&base);
    let rendered = bench
        .render(&Base::Kustomization(base.clone()), "out/overlay")
        .unwrap();
    assert_eq!(files(&base), before);
    insta::assert_snapshot!(
        files(&bench.path("out"))
            .into_iter()
            .map(|(name, text)| format!("== {name}\n{text}"))
            .collect::<String>()
    );
    let by_hand = podcov_process::Run::new(kubectl())
        .arg("kustomize")
        .arg(bench.path("out/overlay"))
        .run()
        .unwrap();
    assert_eq!(by_hand.text(), rendered.yaml);
    assert!(rendered.yaml.contains("name: my-op\n"));
}

#[test]
fn what_a_kustomization_says_about_itself_is_not_missed() {
    let mut bench = Bench::new(ONE);
    bench.spec.components[0].image = Some("example.org/op".into());
    let base = kustomization(&bench, "config");
    let plain = bench
        .render(&Base::Kustomization(base.clone()), "plain")
        .unwrap();
    let file = base.join("kustomization.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let all = "buildMetadata: [originAnnotations, managedByLabel, transformerAnnotations]\n";
    fs::write(file, text + all).unwrap();
    let rendered = bench.render(&Base::Kustomization(base), "out").unwrap();
    assert_eq!(rendered.yaml, plain.yaml);
}

#[test]
fn an_overlay_inside_its_base_has_a_copy_of_it() {
    let mut bench = Bench::new(ONE);
    bench.spec.components[0].image = Some("example.org/op".into());
    let base = kustomization(&bench, "config");
    let inside = bench
        .render(&Base::Kustomization(base.clone()), "config/profile")
        .unwrap();
    let outside = bench
        .render(&Base::Kustomization(base), "elsewhere")
        .unwrap();
    assert_eq!(inside.yaml, outside.yaml);
    assert!(bench.path("config/profile/base/resources.yaml").exists());
    assert!(!bench.path("elsewhere/base").exists());
}

#[test]
fn another_run_takes_the_place_of_the_first() {
    let mut bench = Bench::new(ONE);
    let first = bench.render(&bench.manifests(), "first").unwrap();
    bench.spec.run = "run-2".into();
    bench.spec.host_path = "/var/lib/podcov/run-2".into();
    let fresh = bench.render(&bench.manifests(), "fresh").unwrap();
    let on_top = bench
        .render(&Base::Kustomization(first.kustomization), "second")
        .unwrap();
    assert_eq!(on_top.yaml, fresh.yaml);
    assert!(!on_top.yaml.contains("run-1"));
}

#[test]
fn a_folder_of_somebody_else_is_not_written() {
    let bench = Bench::new(ONE);
    fs::create_dir(bench.path("out")).unwrap();
    fs::write(bench.path("out/kustomization.yml"), "resources: []\n").unwrap();
    let error = bench.render(&bench.manifests(), "out").unwrap_err();
    assert!(
        error.to_string().contains("podcov did not write"),
        "{error}"
    );
    assert_eq!(files(&bench.path("out")).len(), 1);

    let error = bench.render(&bench.manifests(), ".").unwrap_err();
    assert!(error.to_string().contains("the base is in it"), "{error}");
}

#[test]
fn an_edited_base_is_told_and_not_patched_in_the_wrong_place() {
    let bench = Bench::new(ONE);
    fs::create_dir(bench.path("base")).unwrap();
    fs::copy(bench.path("base.yaml"), bench.path("base/op.yaml")).unwrap();
    fs::write(
        bench.path("base/kustomization.yaml"),
        "resources: [op.yaml]\n",
    )
    .unwrap();
    bench
        .render(&Base::Kustomization(bench.path("base")), "out")
        .unwrap();
    let text = fs::read_to_string(bench.path("base/op.yaml")).unwrap();
    let text = text.replace(
        "containers: [",
        "containers: [{name: first, image: other}, ",
    );
    fs::write(bench.path("base/op.yaml"), text).unwrap();
    let run = podcov_process::Run::new(kubectl())
        .arg("kustomize")
        .arg(bench.path("out"));
    let error = run.run().unwrap_err().to_string();
    assert!(
        error.contains("testing value") && error.contains("containers/0/name"),
        "{error}"
    );
}

#[test]
fn manifests_of_a_folder_and_broken_ones() {
    let bench = Bench::new(ONE);
    fs::create_dir(bench.path("dir")).unwrap();
    fs::rename(bench.path("base.yaml"), bench.path("dir/op.yml")).unwrap();
    fs::write(bench.path("dir/notes.txt"), "not: [yaml").unwrap();
    let folder = Base::Manifests(vec![bench.path("dir")]);
    assert_eq!(bench.render(&folder, "out").unwrap().patched.len(), 1);

    fs::write(
        bench.path("dir/kustomization.yaml"),
        "kind: Kustomization\napiVersion: kustomize.config.k8s.io/v1beta1\n",
    )
    .unwrap();
    let error = bench.render(&folder, "out").unwrap_err();
    assert!(matches!(error, Error::NotAManifest { .. }), "{error}");
    fs::remove_file(bench.path("dir/kustomization.yaml")).unwrap();

    fs::write(bench.path("dir/broken.yaml"), "kind: [").unwrap();
    let error = bench.render(&folder, "out").unwrap_err().to_string();
    assert!(error.contains("broken.yaml"), "{error}");

    fs::write(bench.path("empty.yaml"), "# nothing\n").unwrap();
    let empty = Base::Manifests(vec![bench.path("empty.yaml")]);
    let error = bench.render(&empty, "out").unwrap_err();
    assert!(matches!(error, Error::EmptyBase { .. }), "{error}");
}

#[test]
fn a_request_to_stop_stops() {
    let bench = Bench::new(ONE);
    let cancel = Cancel::new();
    cancel.set();
    let out = bench.path("out");
    let error = render(
        &bench.manifests(),
        &bench.spec,
        &kubectl(),
        &out,
        &Silent,
        &cancel,
    );
    assert!(matches!(error, Err(Error::Cancelled(_))));
}

/// What Kubernetes makes of a variable's value where no other is defined.
fn expanded(value: &str) -> String {
    let mut out = String::new();
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        out.push(c);
        if c == '$' {
            match rest.next() {
                Some('$') | None => {}
                Some(other) => {
                    assert_ne!(other, '(', "a reference in {value}");
                    out.push(other);
                }
            }
        }
    }
    out
}

#[test]
fn the_patch_for_created_pods_survives_expansion() {
    let text = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/overlay/cases/created_by.yaml"),
    );
    let mut bench = Bench::new(&text.unwrap());
    bench.spec.host_path = "/data/$(HOME)/$$x/$".into();
    let rendered = bench.render(&bench.manifests(), "out").unwrap();
    let objects: Vec<_> = serde_yaml_ng::Deserializer::from_str(&rendered.yaml)
        .map(|document| Value::deserialize(document).unwrap())
        .collect();
    let env = objects[0]
        .pointer("/spec/template/spec/containers/0/env")
        .unwrap();
    let env = env
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["name"] == "WEBSITE_POD_PATCH")
        .unwrap();
    let patch: Value = serde_json::from_str(&expanded(env["value"].as_str().unwrap())).unwrap();
    assert_eq!(
        patch.pointer("/spec/volumes/0/hostPath/path").unwrap(),
        "/data/$(HOME)/$$x/$"
    );
}

#[test]
fn the_example_composition_is_measured_as_a_whole() {
    let case = "components:
- {name: website-operator, image: localhost/website-operator, profileImage: p:1, workloads: ['Deployment/website-operator:manager']}
- {name: certificate-operator, image: 'localhost/certificate-operator:dev', profileImage: p:2}
- {name: webserver, kind: workload, image: 'localhost/webserver:dev', profileImage: p:3, injected: true}
- {name: sitectl, kind: client, image: 'localhost/sitectl:dev', profileImage: p:4}
---
";
    let bench = Bench::new(case);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/websites/manifests");
    let rendered = bench.render(&Base::Kustomization(example), "out").unwrap();
    let patched = rendered.patched.iter();
    let patched: Vec<_> = patched
        .map(|p| format!("{}/{}:{}", p.kind, p.name, p.container))
        .collect();
    assert_eq!(
        patched,
        [
            "Deployment/certificate-operator:manager",
            "Deployment/website-operator:manager",
            "Job/welcome:sitectl"
        ]
    );
    assert_eq!(rendered.warnings, Vec::<String>::new());
}

/// The objects that `kubectl kustomize` makes of a folder, by kind.
fn kustomized(dir: &Path) -> Vec<Value> {
    let run = podcov_process::Run::new(kubectl())
        .arg("kustomize")
        .arg(dir);
    let yaml = run.run().unwrap().text();
    let documents = serde_yaml_ng::Deserializer::from_str(&yaml);
    let mut all: Vec<_> = documents.map(|d| Value::deserialize(d).unwrap()).collect();
    all.sort_by_key(|object| object["kind"].to_string());
    all
}

#[test]
fn the_components_by_hand_do_what_the_generated_overlay_does() {
    let pod = json!({"containers": [
        {"name": "main", "image": "localhost/op-profile:dev", "imagePullPolicy": "IfNotPresent"},
        {"name": "other", "image": "other", "env": [{"name": "A", "value": "b"}]},
    ], "volumes": [{"name": "v", "emptyDir": {}}]});
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod});
    let mut bases = vec![
        json!({"apiVersion": "v1", "kind": "Pod", "spec": pod}),
        json!({"apiVersion": "batch/v1", "kind": "CronJob",
               "spec": {"jobTemplate": {"spec": {"template": template}}}}),
    ];
    for (version, kind) in [
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "ReplicaSet"),
        ("batch/v1", "Job"),
    ] {
        bases.push(json!({"apiVersion": version, "kind": kind, "spec": {"template": template}}));
    }
    for base in &mut bases {
        base["metadata"] = json!({"name": "op"});
    }
    let text = "components: [{name: website-operator, image: localhost/op, profileImage: localhost/op-profile:dev}]\n\
                hostPath: /var/lib/podcov/evidence\n---\n";
    let bases: Vec<_> = bases.iter().map(Value::to_string).collect();
    let mut bench = Bench::new(&(text.to_owned() + &bases.join("\n")));
    bench.spec.run = "by-hand".into();
    // `settings.yaml` calls the container `manager`.
    let base = fs::read_to_string(bench.path("base.yaml")).unwrap();
    let base = base.replace(r#""name":"main""#, r#""name":"manager""#);
    fs::write(bench.path("base.yaml"), base).unwrap();
    let rendered = bench.render(&bench.manifests(), "out").unwrap();
    assert_eq!(rendered.patched.len(), bases.len());

    let overlays = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../overlays");
    for (name, text) in files(&overlays) {
        let file = bench.path("overlays").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    fs::create_dir(bench.path("hand")).unwrap();
    let hand = "resources: [../out/base, ../overlays/example/settings.yaml]\n\
                components: [../overlays/profile-volume, ../overlays/environment]\n";
    let settings = bench.path("overlays/example/settings.yaml");
    fs::copy(settings, bench.path("hand/settings.yaml")).unwrap();
    let hand = hand.replace("../overlays/example/settings.yaml", "settings.yaml");
    fs::write(bench.path("hand/kustomization.yaml"), hand).unwrap();

    let mut generated = kustomized(&bench.path("out"));
    for object in &mut generated {
        // The components cannot make a key of the container's name.
        for path in ["", "/spec/template", "/spec/jobTemplate/spec/template"] {
            let path = format!("{path}/metadata/annotations");
            if let Some(Value::Object(annotations)) = object.pointer_mut(&path) {
                annotations.remove("podcov.dev/component.manager");
            }
        }
    }
    assert_eq!(kustomized(&bench.path("hand")), generated);
}

#[test]
fn the_example_to_be_copied_renders() {
    let overlays = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../overlays");
    let run = podcov_process::Run::new(kubectl()).arg("kustomize");
    let yaml = run.arg(overlays.join("example")).run().unwrap().text();
    insta::assert_snapshot!(yaml);
}
