//! Where pod templates are in objects, and the containers in them.

use serde_json::Value;

/// An object, as far as an overlay names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

impl Id {
    pub(super) fn of(object: &Value) -> Self {
        let text = |path| {
            object
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let api_version = text("/apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        Id {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: text("/kind"),
            namespace: Some(text("/metadata/namespace")).filter(|text| !text.is_empty()),
            name: text("/metadata/name"),
        }
    }

    /// `Deployment/website-operator`, with the namespace in front where it
    /// has one.
    pub(super) fn label(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}/{}", self.kind, self.name),
            None => format!("{}/{}", self.kind, self.name),
        }
    }

    /// What an object is told apart by. The version is no part of it.
    pub(super) fn key(&self) -> (String, String, String, String) {
        let namespace = self.namespace.as_deref().unwrap_or("default");
        (
            self.group.clone(),
            self.kind.clone(),
            namespace.to_owned(),
            self.name.clone(),
        )
    }

    /// JSON pointer to the pod template of a kind that Kubernetes itself has.
    fn template(&self) -> Option<&'static str> {
        match (self.group.as_str(), self.kind.as_str()) {
            ("", "Pod") => Some(""),
            ("", "PodTemplate") => Some("/template"),
            ("apps" | "extensions", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
            | ("", "ReplicationController")
            | ("batch", "Job") => Some("/spec/template"),
            ("batch", "CronJob") => Some("/spec/jobTemplate/spec/template"),
            _ => None,
        }
    }
}

/// One container of a pod template.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// Index of its object.
    pub(super) object: usize,
    /// JSON pointer to the pod template.
    pub(super) template: &'static str,
    /// JSON pointer to the container.
    pub(super) path: String,
    pub(super) name: String,
    pub(super) image: String,
    /// It runs beside others, not before them.
    pub(super) main: bool,
    /// Its object is of a kind that Kubernetes itself has. Those of other
    /// kinds are touched only when they are named.
    pub(super) known: bool,
}

/// All containers, in the order of the objects; in a pod, init containers
/// come last.
pub(super) fn slots(objects: &[Value], ids: &[Id]) -> Vec<Slot> {
    let mut all = Vec::new();
    for (object, (value, id)) in objects.iter().zip(ids).enumerate() {
        let known = id.template();
        let template = known.unwrap_or("/spec/template");
        for list in ["containers", "initContainers"] {
            let path = format!("{template}/spec/{list}");
            let containers = value.pointer(&path).and_then(Value::as_array);
            for (at, container) in containers.into_iter().flatten().enumerate() {
                let text = |key: &str| {
                    let value = container.get(key).and_then(Value::as_str);
                    value.unwrap_or_default().to_owned()
                };
                all.push(Slot {
                    object,
                    template,
                    path: format!("{path}/{at}"),
                    name: text("name"),
                    image: text("image"),
                    main: list == "containers",
                    known: known.is_some(),
                });
            }
        }
    }
    all
}

/// Takes away what the topmost kustomization says about itself where it has
/// `buildMetadata`: below an overlay it says nothing.
pub(super) fn strip_build_metadata(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    let gone = |key: &str, value: &Value| match key {
        "config.kubernetes.io/origin" | "alpha.config.kubernetes.io/transformations" => true,
        "app.kubernetes.io/managed-by" => value
            .as_str()
            .is_some_and(|text| text.starts_with("kustomize-")),
        _ => false,
    };
    for list in ["annotations", "labels"] {
        let Some(map) = metadata.get_mut(list).and_then(Value::as_object_mut) else {
            continue;
        };
        let before = map.len();
        map.retain(|key, value| !gone(key, value));
        if map.is_empty() && before > 0 {
            metadata.remove(list);
        }
    }
}
