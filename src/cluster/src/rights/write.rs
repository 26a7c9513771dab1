//! Rights as a manifest that an administrator reads and applies.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Right;

/// Who gets the rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A service account; the manifest makes it.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A user, as the cluster's login calls them.
    User(String),
    /// All of a group.
    Group(String),
}

impl Subject {
    fn value(&self) -> Value {
        const GROUP: &str = "rbac.authorization.k8s.io";
        match self {
            Subject::ServiceAccount { namespace, name } => {
                json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
            }
            Subject::User(name) => json!({"kind": "User", "name": name, "apiGroup": GROUP}),
            Subject::Group(name) => json!({"kind": "Group", "name": name, "apiGroup": GROUP}),
        }
    }
}

/// One rule, with what it is for.
struct Rule {
    why: String,
    value: Value,
}

/// An object of the manifest; roles have reasons for their rules.
struct Object {
    value: Value,
    rules: Vec<Rule>,
}

/// The roles and bindings, named `name`, as objects and as commented YAML. They
/// come in an order in which they can be applied: namespaces first.
pub fn manifest(rights: &[Right], subject: &Subject, name: &str) -> (Vec<Value>, String) {
    let mut objects = Vec::new();
    let mut namespaces: BTreeSet<&str> = rights
        .iter()
        .filter_map(|right| right.namespace.as_deref())
        .collect();
    let places: Vec<Option<&str>> = [None]
        .into_iter()
        .chain(namespaces.iter().map(|name| Some(*name)))
        .collect();
    if let Subject::ServiceAccount { namespace, .. } = subject {
        namespaces.insert(namespace);
    }
    // Roles need their namespaces before the first run makes them; `default` is
    // everywhere.
    for namespace in namespaces.iter().filter(|name| **name != "default") {
        objects.push(plain(json!({"apiVersion": "v1", "kind": "Namespace",
                                  "metadata": {"name": namespace}})));
    }
    if let Subject::ServiceAccount { namespace, name } = subject {
        objects.push(plain(json!({"apiVersion": "v1", "kind": "ServiceAccount",
                                  "metadata": {"name": name, "namespace": namespace}})));
    }
    for place in places {
        let rules = rules(rights, place);
        if rules.is_empty() {
            continue;
        }
        let (role, binding) = match place {
            Some(_) => ("Role", "RoleBinding"),
            None => ("ClusterRole", "ClusterRoleBinding"),
        };
        let mut metadata = json!({"name": name});
        if let Some(namespace) = place {
            metadata["namespace"] = json!(namespace);
        }
        let values: Vec<&Value> = rules.iter().map(|rule| &rule.value).collect();
        let value = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": role,
                           "metadata": metadata, "rules": values});
        objects.push(Object { value, rules });
        objects.push(plain(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": binding, "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": name},
            "subjects": [subject.value()],
        })));
    }
    let text: Vec<String> = objects.iter().map(Object::yaml).collect();
    let values = objects.into_iter().map(|object| object.value).collect();
    (values, text.join("---\n"))
}

fn plain(value: Value) -> Object {
    Object {
        value,
        rules: Vec::new(),
    }
}

/// Words of a rule, and why it is there.
type Verbs<'a> = (BTreeSet<&'a str>, BTreeSet<&'a str>);
/// A group, verbs, names, and whether it is about paths.
type Things<'a> = (&'a str, BTreeSet<&'a str>, BTreeSet<&'a str>, bool);

/// The rights of one place as few rules, none of which says more than they do.
fn rules(rights: &[Right], place: Option<&str>) -> Vec<Rule> {
    let of_place: Vec<&Right> = rights
        .iter()
        .filter(|right| right.namespace.as_deref() == place)
        .collect();
    let is_for_all = |right: &Right| {
        of_place
            .iter()
            .any(|all| all.name.is_none() && all.covers(right))
    };
    // By thing: what may be done to all of its kind is not said of one again.
    let mut things: BTreeMap<(bool, &str, &str, Option<&str>), Verbs> = BTreeMap::new();
    for right in of_place
        .iter()
        .filter(|r| r.name.is_none() || !is_for_all(r))
    {
        let thing = (
            right.is_path,
            right.group.as_str(),
            right.resource.as_str(),
            right.name.as_deref(),
        );
        let (verbs, whys) = things.entry(thing).or_default();
        verbs.insert(&right.verb);
        whys.insert(right.why);
    }
    // Names of one kind with the same verbs, then kinds with the same names.
    let mut named: BTreeMap<_, Verbs> = BTreeMap::new();
    for ((is_path, group, resource, name), (verbs, whys)) in things {
        let entry = named
            .entry((is_path, group, resource, verbs, name.is_some()))
            .or_default();
        entry.0.extend(name);
        entry.1.extend(whys);
    }
    let mut merged: BTreeMap<Things, Verbs> = BTreeMap::new();
    for ((is_path, group, resource, verbs, _), (names, whys)) in named {
        let entry = merged.entry((group, verbs, names, is_path)).or_default();
        entry.0.insert(resource);
        entry.1.extend(whys);
    }
    let rule = |((group, verbs, names, is_path), (resources, whys)): (Things, Verbs)| {
        let mut value = match is_path {
            true => json!({"nonResourceURLs": resources}),
            false => json!({"apiGroups": [group], "resources": resources}),
        };
        if !names.is_empty() {
            value["resourceNames"] = json!(names);
        }
        value["verbs"] = json!(verbs);
        let why = whys.into_iter().collect::<Vec<_>>().join("; ");
        Rule { why, value }
    };
    merged.into_iter().map(rule).collect()
}

impl Object {
    /// JSON's flow style is YAML, too, so only the outer lines are written here.
    fn yaml(&self) -> String {
        let mut text = String::new();
        for key in ["apiVersion", "kind", "metadata", "roleRef", "subjects"] {
            if let Some(value) = self.value.get(key) {
                let shown = match value {
                    Value::String(text) => text.clone(),
                    value => value.to_string(),
                };
                text += &format!("{key}: {shown}\n");
            }
        }
        if !self.rules.is_empty() {
            text += "rules:\n";
        }
        for rule in &self.rules {
            text += &format!("  # {}\n", rule.why);
            let mut lead = "  - ";
            for key in [
                "apiGroups",
                "resources",
                "resourceNames",
                "nonResourceURLs",
                "verbs",
            ] {
                if let Some(value) = rule.value.get(key) {
                    text += &format!("{lead}{key}: {value}\n");
                    lead = "    ";
                }
            }
        }
        text
    }
}
