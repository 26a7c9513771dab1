//! Finding the manifests of a repository that podcov is new to.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_yaml_ng::Value;
use walkdir::WalkDir;

/// Folders that hold no manifests of the repository's own.
const SKIPPED: &[&str] = &[
    "target",
    "vendor",
    "node_modules",
    "testdata",
    ".git",
    "profiles",
];
/// Folders whose workloads count only where there are no others.
const ASIDE: &[&str] = &[
    "docs", "doc", "examples", "example", "hack", "test", "tests", "e2e", "samples", "dist",
];
/// Groups that every cluster knows.
const BUILT_IN: &[&str] = &["apps", "batch", "autoscaling", "policy", "extensions"];
/// How deep is looked.
const DEPTH: usize = 6;
/// A larger file is no manifest that a person wrote.
const MAX_BYTES: u64 = 4 << 20;

/// A container of a workload in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The manifest.
    pub file: PathBuf,
    /// `Deployment`, `Job`, …
    pub kind: String,
    /// Name of the workload.
    pub workload: String,
    /// Name of the container.
    pub name: String,
    /// Its image.
    pub image: String,
    /// What it starts instead of the image's entry point.
    pub command: Vec<String>,
    /// JSON pointer to it in its object.
    pub path: String,
}

/// What a repository has.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// Folders with a kustomization, those first that people apply: those that
    /// others do not include.
    pub kustomizations: Vec<PathBuf>,
    /// Containers of all workloads, by file.
    pub containers: Vec<Container>,
    /// Files to apply, in this order: definitions of resources, then the
    /// workloads and what lies beside them.
    pub files: Vec<PathBuf>,
    /// Folders with a Helm chart; what is in them is not looked at.
    pub charts: Vec<PathBuf>,
    /// Resources of the kinds that the repository defines: a file, or a folder
    /// with a kustomization of nothing else.
    pub samples: Vec<PathBuf>,
}

/// A manifest.
struct Manifest {
    path: PathBuf,
    /// Below a folder of [`ASIDE`].
    aside: bool,
    containers: Vec<Container>,
    /// `group/kind` that its CustomResourceDefinitions define.
    defines: Vec<String>,
    /// `group/kind` of its objects that Kubernetes itself does not know.
    custom: Vec<String>,
}

/// Looks for kustomizations and workloads below `root`. What does not parse
/// (templates, patches) is passed over.
pub fn manifests(root: &Path) -> Manifests {
    let mut found = Manifests::default();
    let mut included: Vec<PathBuf> = Vec::new();
    let mut all: Vec<Manifest> = Vec::new();
    let walk = WalkDir::new(root).max_depth(DEPTH).sort_by_file_name();
    let mut charts = Vec::new();
    let entries = walk.into_iter().filter_entry(|entry| {
        let name = entry.file_name().to_string_lossy();
        let skipped = SKIPPED.contains(&name.as_ref()) || name.starts_with('.');
        // What `podcov init` writes is nothing to start from.
        let ours = entry.path().ends_with("overlays/profile");
        let chart = entry.file_type().is_dir() && entry.path().join("Chart.yaml").is_file();
        if chart && !skipped {
            charts.push(entry.path().to_path_buf());
        }
        entry.depth() == 0 || !(skipped || ours || chart)
    });
    for entry in entries.flatten() {
        let path = entry.path();
        let yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
        if !yaml
            || !entry
                .metadata()
                .is_ok_and(|m| m.is_file() && m.len() < MAX_BYTES)
        {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(path) else {
            continue;
        };
        let objects = documents(&text);
        let dir = path.parent().unwrap_or(root);
        if path.file_stem().is_some_and(|stem| stem == "kustomization") {
            for value in objects {
                // A component or a patch folder is no place to start from.
                if value["kind"].as_str() != Some("Component") {
                    found.kustomizations.push(dir.to_path_buf());
                }
                for resource in value["resources"].as_sequence().into_iter().flatten() {
                    let below = resource
                        .as_str()
                        .and_then(|r| dir.join(r).canonicalize().ok());
                    included.extend(below);
                }
            }
        } else {
            all.push(manifest(root, path, &objects));
        }
    }
    let included = |dir: &Path| dir.canonicalize().is_ok_and(|dir| included.contains(&dir));
    found.kustomizations.sort_by_key(|dir| {
        // kubebuilder's own entry point is the one people apply.
        let default = dir.ends_with("config/default") || dir.ends_with("manifests");
        (
            !default,
            is_aside(root, dir),
            included(dir),
            dir.components().count(),
        )
    });
    charts.retain(|chart| chart != root);
    found.charts = charts;
    found.samples = samples(&all, &found.kustomizations);
    apply(root, all, &mut found);
    found
}

fn documents(text: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(text)
        .map_while(|document| Value::deserialize(document).ok())
        .collect()
}

fn is_aside(root: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(root).unwrap_or(path);
    below
        .iter()
        .any(|part| ASIDE.iter().any(|aside| part == *aside))
}

fn manifest(root: &Path, path: &Path, objects: &[Value]) -> Manifest {
    let mut made = Manifest {
        path: path.to_path_buf(),
        aside: is_aside(root, path.parent().unwrap_or(root)),
        containers: Vec::new(),
        defines: Vec::new(),
        custom: Vec::new(),
    };
    for object in objects {
        containers_of(path, object, &mut made.containers);
        let (Some(version), Some(kind)) = (object["apiVersion"].as_str(), object["kind"].as_str())
        else {
            continue;
        };
        let spec = &object["spec"];
        if kind == "CustomResourceDefinition"
            && let (Some(group), Some(kind)) =
                (spec["group"].as_str(), spec["names"]["kind"].as_str())
        {
            made.defines.push(format!("{group}/{kind}"));
        }
        let group = group(version);
        if !is_built_in(group) {
            made.custom.push(format!("{group}/{kind}"));
        }
    }
    made
}

fn group(version: &str) -> &str {
    version.split_once('/').map_or("", |(group, _)| group)
}

/// Whether every cluster knows the kinds of a group.
fn is_built_in(group: &str) -> bool {
    group.is_empty()
        || BUILT_IN.contains(&group)
        || (group.ends_with(".k8s.io") && !group.ends_with(".x-k8s.io"))
}

/// Fills in the containers, and the files to apply.
fn apply(root: &Path, mut all: Vec<Manifest>, found: &mut Manifests) {
    // The same workload in a generated file of everything counts once.
    all.sort_by_key(|manifest| manifest.aside);
    let proper = all.iter().any(|m| !m.aside && !m.containers.is_empty());
    let mut folders: Vec<&Path> = Vec::new();
    let mut workloads: Vec<&Path> = Vec::new();
    for manifest in all.iter().filter(|m| !(m.aside && proper)) {
        let same = |a: &Container, b: &Container| a.kind == b.kind && a.workload == b.workload;
        let new = |c: &&Container| !found.containers.iter().any(|have| same(have, c));
        let new: Vec<Container> = manifest.containers.iter().filter(new).cloned().collect();
        if !new.is_empty() {
            found.containers.extend(new);
            workloads.push(&manifest.path);
            folders.push(manifest.path.parent().unwrap_or(root));
        }
    }
    let mut defined: Vec<&String> = Vec::new();
    for manifest in &all {
        if manifest.defines.iter().any(|kind| !defined.contains(&kind)) {
            defined.extend(&manifest.defines);
            found.files.push(manifest.path.clone());
        }
    }
    for manifest in &all {
        let path = &manifest.path;
        // Beside a workload, or below its folder; at the top only beside.
        let near = folders.iter().any(|folder| {
            path.parent() == Some(folder) || (*folder != root && path.starts_with(folder))
        });
        let beside = near && manifest.containers.is_empty() && manifest.custom.is_empty();
        let objects = beside && is_manifest(path);
        if (workloads.contains(&path.as_path()) || objects) && !found.files.contains(path) {
            found.files.push(path.clone());
        }
    }
}

/// Whether each document of the file is an object.
fn is_manifest(path: &Path) -> bool {
    let objects = documents(&std::fs::read_to_string(path).unwrap_or_default());
    !objects.is_empty()
        && objects
            .iter()
            .all(|o| o["apiVersion"].is_string() && o["metadata"]["name"].is_string())
}

fn samples(all: &[Manifest], kustomizations: &[PathBuf]) -> Vec<PathBuf> {
    let defined: Vec<&String> = all.iter().flat_map(|m| &m.defines).collect();
    let bad = ["invalid", "illegal", "bad", "wrong", "broken"];
    let mut found: Vec<PathBuf> = Vec::new();
    for manifest in all {
        let name = manifest
            .path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy();
        let sample = !manifest.custom.is_empty()
            && manifest.containers.is_empty()
            && manifest.custom.iter().all(|kind| defined.contains(&kind))
            && !bad.iter().any(|bad| name.contains(bad));
        if !sample {
            continue;
        }
        let folder = manifest
            .path
            .parent()
            .filter(|dir| kustomizations.iter().any(|k| k == dir));
        let sample = folder.unwrap_or(&manifest.path).to_path_buf();
        if !found.contains(&sample) {
            found.push(sample);
        }
    }
    found
}

/// A `kubectl`: the machine's, or the one that podcov built before.
pub fn kubectl() -> Option<PathBuf> {
    podcov_process::find_program("kubectl").or_else(crate::embedded::built_kubectl)
}

/// The containers of a kustomization as it would be applied: with its name
/// prefixes and image names. `None` where kubectl cannot render it.
pub fn rendered(kubectl: &Path, kustomization: &Path) -> Option<Vec<Container>> {
    let run = podcov_process::Run::new(kubectl)
        .arg("kustomize")
        .arg(kustomization);
    let text = run.run().ok()?.text();
    let mut found = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        containers_of(
            kustomization,
            &Value::deserialize(document).ok()?,
            &mut found,
        );
    }
    Some(found)
}

fn containers_of(file: &Path, object: &Value, found: &mut Vec<Container>) {
    let (Some(kind), Some(workload)) =
        (object["kind"].as_str(), object["metadata"]["name"].as_str())
    else {
        return;
    };
    // Anybody may call a kind of theirs CronJob.
    if !is_built_in(group(object["apiVersion"].as_str().unwrap_or_default())) {
        return;
    }
    let (spec, path) = match kind {
        "Pod" => (&object["spec"], "/spec"),
        "CronJob" => (
            &object["spec"]["jobTemplate"]["spec"]["template"]["spec"],
            "/spec/jobTemplate/spec/template/spec",
        ),
        "Deployment" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicaSet" => {
            (&object["spec"]["template"]["spec"], "/spec/template/spec")
        }
        _ => return,
    };
    let containers = spec["containers"].as_sequence().into_iter().flatten();
    for (index, container) in containers.enumerate() {
        if let (Some(name), Some(image)) = (container["name"].as_str(), container["image"].as_str())
        {
            let command = container["command"].as_sequence().into_iter().flatten();
            found.push(Container {
                file: file.to_path_buf(),
                kind: kind.to_owned(),
                workload: workload.to_owned(),
                name: name.to_owned(),
                image: image.to_owned(),
                command: command
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
                path: format!("{path}/containers/{index}"),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_kubebuilder_repository_is_understood() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(
            root,
            "config/default/kustomization.yaml",
            "resources: [../manager]\n",
        );
        write(
            root,
            "config/manager/kustomization.yaml",
            "resources: [manager.yaml]\n",
        );
        write(
            root,
            "config/manager/manager.yaml",
            "kind: Namespace\nmetadata: {name: system}\n---\nkind: Deployment\nmetadata: {name: \
             op}\nspec: {template: {spec: {containers: [{name: manager, image: 'c:latest'}]}}}\n",
        );
        write(root, "config/broken.yaml", "a: {{ .Values.x }}\n  b: [\n");
        write(
            root,
            "vendor/x/d.yaml",
            "kind: Deployment\nmetadata: {name: not-ours}\n",
        );
        let found = manifests(root);
        assert_eq!(found.kustomizations[0], root.join("config/default"));
        let containers: Vec<_> = found
            .containers
            .iter()
            .map(|c| {
                (
                    c.kind.as_str(),
                    c.workload.as_str(),
                    c.name.as_str(),
                    c.image.as_str(),
                )
            })
            .collect();
        assert_eq!(containers, [("Deployment", "op", "manager", "c:latest")]);
    }

    const CRD: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
                       metadata: {name: docs.x.rs}\nspec: {group: x.rs, names: {kind: Doc}}\n";

    fn workload(name: &str, image: &str) -> String {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec: {{template: \
             {{spec: {{containers: [{{name: main, image: '{image}', command: [/op]}}]}}}}}}\n"
        )
    }

    fn relative(root: &Path, paths: &[PathBuf]) -> Vec<String> {
        let below = |path: &PathBuf| path.strip_prefix(root).unwrap().display().to_string();
        paths.iter().map(below).collect()
    }

    #[test]
    fn plain_manifests_come_with_definitions_and_what_lies_beside() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(root, "yaml/deployment.yaml", &workload("op", "op:1"));
        write(root, "yaml/crd.yaml", CRD);
        write(
            root,
            "yaml/rbac/role.yaml",
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: r}\n",
        );
        write(
            root,
            "yaml/one.yaml",
            "apiVersion: x.rs/v1\nkind: Doc\nmetadata: {name: one}\n",
        );
        write(
            root,
            "yaml/one-illegal.yaml",
            "apiVersion: x.rs/v1\nkind: Doc\nmetadata: {name: two}\n",
        );
        write(
            root,
            "yaml/monitor.yaml",
            "apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata: {name: m}\n",
        );
        write(
            root,
            "dist/install.yaml",
            &format!("{CRD}---\n{}", workload("op", "op:1")),
        );
        write(root, "examples/web/web.yaml", &workload("web", "nginx"));
        write(root, "values.yaml", "image: op\n");
        write(root, "charts/op/Chart.yaml", "name: op\n");
        write(root, "charts/op/crds/crd.yaml", CRD);
        let found = manifests(root);
        let files = relative(root, &found.files);
        assert_eq!(
            files,
            [
                "yaml/crd.yaml",
                "yaml/deployment.yaml",
                "yaml/rbac/role.yaml"
            ]
        );
        assert_eq!(relative(root, &found.samples), ["yaml/one.yaml"]);
        assert_eq!(relative(root, &found.charts), ["charts/op"]);
        let [only] = &found.containers[..] else {
            panic!("{:?}", found.containers)
        };
        assert_eq!(
            (only.workload.as_str(), only.command.join(" ")),
            ("op", "/op".to_owned())
        );
        assert_eq!(only.path, "/spec/template/spec/containers/0");
    }

    #[test]
    fn the_overlay_of_an_earlier_init_is_no_place_to_start_from() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(root, "deploy/kustomization.yaml", "resources: [d.yaml]\n");
        write(root, "deploy/d.yaml", &workload("op", "op:1"));
        write(
            root,
            "overlays/profile/kustomization.yaml",
            "resources: [../../deploy]\n",
        );
        assert_eq!(manifests(root).kustomizations, [root.join("deploy")]);
    }

    #[test]
    fn samples_with_a_kustomization_are_applied_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        // A kind that Kubernetes has, too, in a group of the repository's own.
        let crd = CRD.replace("Doc}", "Job}");
        write(root, "config/crd/bases/jobs.yaml", &crd);
        write(
            root,
            "config/samples/kustomization.yaml",
            "resources: [a.yaml]\n",
        );
        write(
            root,
            "config/samples/a.yaml",
            "apiVersion: x.rs/v1\nkind: Job\nmetadata: {name: a}\nspec: {template: {spec: {containers: \
             [{name: a, image: a}]}}}\n",
        );
        assert_eq!(relative(root, &manifests(root).samples), ["config/samples"]);
    }
}
