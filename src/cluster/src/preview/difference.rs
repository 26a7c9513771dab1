//! Which fields of two states of an object differ.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Field;

/// What the API server writes about an object, not what anybody asked for.
const BOOKKEEPING: [&str; 7] = [
    "status",
    "metadata.managedFields",
    "metadata.resourceVersion",
    "metadata.generation",
    "metadata.uid",
    "metadata.creationTimestamp",
    "metadata.selfLink",
];

/// The fields that differ, in the order of their paths.
pub(super) fn between(before: &Value, after: &Value) -> Vec<Field> {
    let mut fields = Vec::new();
    compare("", before, after, &mut fields);
    fields
}

fn compare(path: &str, before: &Value, after: &Value, fields: &mut Vec<Field>) {
    if before == after || BOOKKEEPING.contains(&path) {
        return;
    }
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let path = match (path, key.contains(['.', '/'])) {
                    ("", _) => key.clone(),
                    (path, true) => format!("{path}[{key}]"),
                    (path, false) => format!("{path}.{key}"),
                };
                compare(&path, &before[key], &after[key], fields);
            }
        }
        (Value::Array(old), Value::Array(new)) => match (names(old), names(new)) {
            // Containers, volumes and variables are told apart by their names.
            (Some(old_names), Some(new_names)) => {
                let only_new = new_names.iter().filter(|name| !old_names.contains(name));
                for name in old_names.iter().chain(only_new) {
                    let find =
                        |items: &[Value]| items.iter().find(|i| i["name"] == **name).cloned();
                    let path = format!("{path}[{name}]");
                    let (old, new) = (find(old), find(new));
                    compare(
                        &path,
                        &old.unwrap_or_default(),
                        &new.unwrap_or_default(),
                        fields,
                    );
                }
                let order = |names: &[&str], others: &[&str]| -> Vec<String> {
                    let both = names.iter().filter(|name| others.contains(name));
                    both.map(|name| (*name).to_owned()).collect()
                };
                let (was, is) = (order(&old_names, &new_names), order(&new_names, &old_names));
                if was != is {
                    fields.push(field(&format!("{path} (order)"), json!(was), json!(is)));
                }
            }
            _ => {
                for at in 0..old.len().max(new.len()) {
                    let item = |items: &[Value]| items.get(at).cloned().unwrap_or_default();
                    compare(&format!("{path}[{at}]"), &item(old), &item(new), fields);
                }
            }
        },
        _ => fields.push(field(path, before.clone(), after.clone())),
    }
}

fn field(path: &str, from: Value, to: Value) -> Field {
    Field {
        path: path.to_owned(),
        from,
        to,
    }
}

/// The names of the items, if each has one of its own.
fn names(items: &[Value]) -> Option<Vec<&str>> {
    let names: Option<Vec<&str>> = items.iter().map(|item| item["name"].as_str()).collect();
    let names = names?;
    let distinct: BTreeSet<&&str> = names.iter().collect();
    (distinct.len() == names.len()).then_some(names)
}

/// Values of secrets are nobody's to read in a log: only that they differ.
pub(super) fn masked(kind: &str, mut fields: Vec<Field>) -> Vec<Field> {
    // Applying may also have left a copy of them in an annotation.
    let is_secret = |path: &str| !path.starts_with("metadata.") || path.contains("last-applied");
    for field in fields
        .iter_mut()
        .filter(|field| kind == "Secret" && is_secret(&field.path))
    {
        for value in [&mut field.from, &mut field.to] {
            if !value.is_null() {
                *value = json!("***");
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(before: Value, after: Value) -> Vec<String> {
        let fields = between(&before, &after);
        let show = |field: &Field| format!("{}: {} -> {}", field.path, field.from, field.to);
        fields.iter().map(show).collect()
    }

    #[test]
    fn fields_are_told_by_names_where_items_have_some() {
        let before = json!({"metadata": {"resourceVersion": "1"}, "status": {"a": 1},
            "spec": {"replicas": 1, "gone": true, "args": ["a", "b"],
                     "containers": [{"name": "a", "image": "x"}, {"name": "b"}]}});
        let after = json!({"metadata": {"resourceVersion": "2", "annotations": {"podcov.dev/run": "r"}},
            "spec": {"replicas": 2, "args": ["a", "c", "d"],
                     "containers": [{"name": "b", "env": []}, {"name": "a", "image": "y"}]}});
        let expected = [
            "metadata.annotations: null -> {\"podcov.dev/run\":\"r\"}",
            "spec.args[1]: \"b\" -> \"c\"",
            "spec.args[2]: null -> \"d\"",
            "spec.containers[a].image: \"x\" -> \"y\"",
            "spec.containers[b].env: null -> []",
            "spec.containers (order): [\"a\",\"b\"] -> [\"b\",\"a\"]",
            "spec.gone: true -> null",
            "spec.replicas: 1 -> 2",
        ];
        assert_eq!(told(before.clone(), after), expected);
        assert!(told(before.clone(), before).is_empty());
        let label = |value| json!({"metadata": {"labels": {"a.b/c": value}}});
        assert_eq!(
            told(label("1"), label("2")),
            ["metadata.labels[a.b/c]: \"1\" -> \"2\""]
        );
    }

    #[test]
    fn secrets_stay_secret() {
        let before = json!({"data": {"key": "Z2VoZWlt"}, "metadata": {"labels": {"a": "1"}}});
        let after =
            json!({"data": {"key": "b2ZmZW4=", "new": "eA=="}, "metadata": {"labels": {"a": "2"}}});
        let text = serde_json::to_string(&masked("Secret", between(&before, &after))).unwrap();
        assert!(
            !["Z2Vo", "b2Zm", "eA="]
                .iter()
                .any(|secret| text.contains(secret)),
            "{text}"
        );
        assert!(
            text.contains(r#""path":"data.new","from":null,"to":"***""#),
            "{text}"
        );
        assert!(text.contains(r#""from":"1","to":"2""#), "{text}");
        let kept = masked("ConfigMap", between(&before, &after));
        assert_eq!(kept[0].from, "Z2VoZWlt");
    }
}
