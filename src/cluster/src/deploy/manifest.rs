//! A rendering, taken apart as far as deploying and stopping need it. The text
//! of each object stays as it was: kubectl reads YAML its own way.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::watch::COMPONENT_ANNOTATION;

/// Something that runs pods and was deployed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `ReplicaSet`,
    /// `ReplicationController`, `Job`, `CronJob` or `Pod`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The images of its containers.
    pub images: Vec<String>,
    /// How many pods it asks for, if it does.
    #[serde(default)]
    pub replicas: Option<i64>,
    /// The components in it, where annotations of its pods say so.
    #[serde(default)]
    pub components: Vec<String>,
}

/// A kind of custom resource that was deployed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Crd {
    /// `websites.example.org`.
    pub name: String,
    /// Its API group.
    pub group: String,
    /// A version that the API server serves.
    pub version: String,
    /// Its kind.
    pub kind: String,
    /// As it is called in paths.
    pub plural: String,
}

/// One object of a rendering.
#[derive(Clone, Debug)]
struct Object {
    text: String,
    first: bool,
}

/// A rendering.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manifest {
    objects: Vec<Object>,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) crds: Vec<Crd>,
    pub(crate) namespaces: Vec<String>,
}

impl Manifest {
    pub(crate) fn parse(yaml: &str, default_namespace: &str) -> Result<Manifest, String> {
        let mut manifest = Manifest::default();
        for (number, text) in documents(yaml).into_iter().enumerate() {
            let value: Value = serde_yaml_ng::from_str(&text)
                .map_err(|error| format!("object {} of the rendering: {error}", number + 1))?;
            if value.is_null() {
                continue;
            }
            let kind = string(&value, &["kind"]);
            if kind.is_empty() {
                return Err(format!(
                    "object {} of the rendering has no kind",
                    number + 1
                ));
            }
            let first = matches!(kind, "Namespace" | "CustomResourceDefinition");
            manifest.note(&value, default_namespace);
            manifest.objects.push(Object { text, first });
        }
        manifest.namespaces.sort();
        manifest.namespaces.dedup();
        Ok(manifest)
    }

    fn note(&mut self, value: &Value, default_namespace: &str) {
        let kind = string(value, &["kind"]);
        if kind == "List" {
            let items = value["items"].as_array();
            items
                .into_iter()
                .flatten()
                .for_each(|item| self.note(item, default_namespace));
            return;
        }
        let name = string(value, &["metadata", "name"]).to_owned();
        let namespace = match string(value, &["metadata", "namespace"]) {
            "" => default_namespace,
            namespace => namespace,
        };
        if kind == "Namespace" {
            self.namespaces.push(name.clone());
        }
        if kind == "CustomResourceDefinition" {
            self.crds.extend(crd(value, &name));
        }
        if let Some(pod) = pod_template(value) {
            let template = &pod["spec"];
            let namespace = namespace.to_owned();
            self.namespaces.push(namespace.clone());
            let lists = ["initContainers", "containers"].map(|list| template[list].as_array());
            let containers = lists.into_iter().flatten().flatten();
            let images = containers
                .map(|c| string(c, &["image"]).to_owned())
                .collect();
            self.workloads.push(Workload {
                kind: kind.to_owned(),
                namespace,
                name,
                images,
                replicas: value["spec"]["replicas"].as_i64(),
                components: components(pod),
            });
        }
    }

    /// Namespaces and kinds, which the others need; then the others.
    pub(crate) fn text(&self, first: bool) -> String {
        let objects = self.objects.iter().filter(|object| object.first == first);
        objects.fold(String::new(), |all, object| {
            all + "---\n" + &object.text + "\n"
        })
    }
}

fn crd(value: &Value, name: &str) -> Option<Crd> {
    let versions = value["spec"]["versions"].as_array()?;
    let served = |version: &&Value| version["served"].as_bool() == Some(true);
    let storage = |version: &&Value| version["storage"].as_bool() == Some(true);
    let version = versions.iter().find(|v| served(v) && storage(v));
    let version = version.or_else(|| versions.iter().find(served))?;
    Some(Crd {
        name: name.to_owned(),
        group: string(value, &["spec", "group"]).to_owned(),
        version: string(version, &["name"]).to_owned(),
        kind: string(value, &["spec", "names", "kind"]).to_owned(),
        plural: string(value, &["spec", "names", "plural"]).to_owned(),
    })
}

/// Where the kinds that run pods have what their pods are made from.
fn pod_template(value: &Value) -> Option<&Value> {
    let spec = &value["spec"];
    Some(match string(value, &["kind"]) {
        "Deployment"
        | "StatefulSet"
        | "DaemonSet"
        | "ReplicaSet"
        | "ReplicationController"
        | "Job" => &spec["template"],
        "CronJob" => &spec["jobTemplate"]["spec"]["template"],
        "Pod" => value,
        _ => return None,
    })
}

/// The components that the overlay wrote into the annotations.
fn components(pod: &Value) -> Vec<String> {
    let annotations = pod["metadata"]["annotations"].as_object();
    let named = annotations
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with(COMPONENT_ANNOTATION));
    let mut names: Vec<String> = named
        .filter_map(|(_, name)| name.as_str().map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn string<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    path.iter()
        .fold(value, |value, key| &value[*key])
        .as_str()
        .unwrap_or_default()
}

/// The documents of a YAML stream, as they are.
fn documents(yaml: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in yaml.lines() {
        let separates = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.trim().is_empty());
        if separates {
            documents.push(String::new());
        } else if let Some(document) = documents.last_mut() {
            *document += line;
            *document += "\n";
        }
    }
    let is_comment = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    documents.retain(|document| !document.lines().all(is_comment));
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendering_is_taken_apart_and_its_text_kept() {
        let yaml = "# comment\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: sites}\n\
            ---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: op, namespace: sites}\n\
            spec:\n  template:\n    spec:\n      initContainers: [{name: i, image: a:1}]\n      \
            containers: [{name: c, image: b:2}]\n      volumes: [{secret: {defaultMode: 0644}}]\n\
            ---\napiVersion: v1\nkind: List\nitems:\n- {kind: Pod, metadata: {name: p}, \
            spec: {containers: [{image: c:3}]}}\n\
            ---\nkind: CustomResourceDefinition\nmetadata: {name: ws.x.org}\nspec: {group: x.org, \
            names: {kind: W, plural: ws}, versions: [{name: v1, served: false, storage: false}, \
            {name: v2, served: true, storage: true}]}\n";
        let manifest = Manifest::parse(yaml, "default").unwrap();
        let workload = |kind: &str, namespace: &str, name: &str, images: &[&str]| Workload {
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
            images: images.iter().map(|image| (*image).to_owned()).collect(),
            replicas: None,
            components: vec![],
        };
        assert_eq!(
            manifest.workloads,
            [
                workload("Deployment", "sites", "op", &["a:1", "b:2"]),
                workload("Pod", "default", "p", &["c:3"]),
            ]
        );
        assert_eq!(manifest.crds[0].version, "v2");
        assert_eq!(manifest.namespaces, ["default", "sites"]);
        assert!(manifest.text(true).contains("ws.x.org") && !manifest.text(true).contains("0644"));
        assert!(manifest.text(false).contains("defaultMode: 0644"));
    }

    #[test]
    fn what_is_no_object_is_told_with_its_number() {
        let error = Manifest::parse("kind: A\n---\nfoo: 1\n", "default").unwrap_err();
        assert_eq!(error, "object 2 of the rendering has no kind");
    }
}
