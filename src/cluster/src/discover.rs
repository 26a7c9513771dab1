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
}

/// What a repository has.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// Folders with a kustomization, those first that others do not include
    /// and that have workloads below them.
    pub kustomizations: Vec<PathBuf>,
    /// Containers of all workloads, by file.
    pub containers: Vec<Container>,
}

/// Looks for kustomizations and workloads below `root`. What does not parse
/// (templates, patches) is passed over.
pub fn manifests(root: &Path) -> Manifests {
    let mut found = Manifests::default();
    let mut included: Vec<PathBuf> = Vec::new();
    let walk = WalkDir::new(root).max_depth(DEPTH).sort_by_file_name();
    let entries = walk.into_iter().filter_entry(|entry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0 || !(SKIPPED.contains(&name.as_ref()) || name.starts_with('.'))
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
        let stem = path.file_stem().unwrap_or_default();
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let Ok(value) = Value::deserialize(document) else {
                break;
            };
            if stem == "kustomization" {
                let dir = path.parent().unwrap_or(root);
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
            } else {
                containers_of(path, &value, &mut found.containers);
            }
        }
    }
    found.kustomizations.sort_by_key(|dir| {
        let included = dir.canonicalize().is_ok_and(|dir| included.contains(&dir));
        // kubebuilder's own entry point is the one people apply.
        let default = dir.ends_with("config/default") || dir.ends_with("manifests");
        (!default, included, dir.components().count())
    });
    found
}

/// The containers of a kustomization as it would be applied: with its name
/// prefixes and image names. `None` without a kubectl that renders it.
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
    let spec = match kind {
        "Pod" => &object["spec"],
        "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"]["spec"],
        "Deployment" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicaSet" => {
            &object["spec"]["template"]["spec"]
        }
        _ => return,
    };
    for container in spec["containers"].as_sequence().into_iter().flatten() {
        if let (Some(name), Some(image)) = (container["name"].as_str(), container["image"].as_str())
        {
            found.push(Container {
                file: file.to_path_buf(),
                kind: kind.to_owned(),
                workload: workload.to_owned(),
                name: name.to_owned(),
                image: image.to_owned(),
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
}
