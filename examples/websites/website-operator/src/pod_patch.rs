//! A strategic merge of pod templates: as `kubectl patch` does it, for what pod templates hold.
//!
//! Maps are merged key by key and `null` removes; lists of objects are merged by a key that
//! depends on the list, other lists are replaced. `$patch: delete` and `$patch: replace` work on
//! both. Order: what was there stays in place, what is new comes after it.

use serde_json::{Map, Value};

/// Merges `patch` into `target`.
pub fn merge(target: &mut Value, patch: &Value) {
    merge_at("", target, patch);
}

/// The key that makes the elements of list `field` the same, where Kubernetes defines one.
fn merge_key(field: &str) -> Option<&'static str> {
    match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        "ports" => Some("containerPort"),
        "hostAliases" => Some("ip"),
        "topologySpreadConstraints" => Some("topologyKey"),
        _ => None,
    }
}

fn merge_at(field: &str, target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(into), Value::Object(from)) => merge_maps(into, from),
        (Value::Array(into), Value::Array(from)) => match merge_key(field) {
            Some(key) => merge_lists(key, into, from),
            None => *into = from.clone(),
        },
        (target, Value::Object(from)) => {
            // Nothing to merge with: the patch's own directives must not stay in it.
            let mut fresh = Map::new();
            merge_maps(&mut fresh, from);
            *target = Value::Object(fresh);
        }
        (target, Value::Array(from)) if merge_key(field).is_some() => {
            let mut fresh = Vec::new();
            merge_lists(merge_key(field).unwrap_or_default(), &mut fresh, from);
            *target = Value::Array(fresh);
        }
        (target, patch) => *target = patch.clone(),
    }
}

fn merge_maps(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    if directive(from) == Some("replace") {
        into.clear();
    }
    for (field, value) in from {
        if field == "$patch" {
            continue;
        }
        if value.is_null() {
            into.remove(field);
        } else {
            merge_at(
                field,
                into.entry(field.clone()).or_insert(Value::Null),
                value,
            );
        }
    }
}

fn merge_lists(key: &str, into: &mut Vec<Value>, from: &[Value]) {
    let replaces = |v: &Value| v.as_object().and_then(directive) == Some("replace");
    if from.iter().any(|v| replaces(v) && v.get(key).is_none()) {
        into.clear();
    }
    for element in from {
        let Some(identity) = element.get(key) else {
            continue;
        };
        let place = into.iter().position(|v| v.get(key) == Some(identity));
        let deleted = element.as_object().and_then(directive) == Some("delete");
        match (place, deleted) {
            (Some(place), true) => {
                into.remove(place);
            }
            (None, true) => {}
            (Some(place), false) => merge_at("", &mut into[place], element),
            (None, false) => {
                into.push(Value::Null);
                if let Some(last) = into.last_mut() {
                    merge_at("", last, element);
                }
            }
        }
    }
}

fn directive(map: &Map<String, Value>) -> Option<&str> {
    map.get("$patch").and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(target: Value, patch: Value, expected: Value) {
        let mut merged = target;
        merge(&mut merged, &patch);
        assert_eq!(merged, expected);
        let once = merged.clone();
        merge(&mut merged, &patch);
        assert_eq!(merged, once, "a second merge changes nothing");
    }

    #[test]
    fn a_container_is_found_by_name_and_its_lists_are_merged() {
        check(
            json!({"spec": {"containers": [
                {"name": "webserver", "image": "a", "env": [{"name": "X", "value": "1"}],
                 "volumeMounts": [{"name": "site", "mountPath": "/etc/website"}]},
                {"name": "side", "image": "s"}
            ]}}),
            json!({"spec": {
                "containers": [
                    {"name": "webserver", "image": "b",
                     "env": [{"name": "X", "value": "2"}, {"name": "Y", "value": "3"}],
                     "volumeMounts": [{"name": "profile", "mountPath": "/podcov/profile"}]}
                ],
                "volumes": [{"name": "profile", "hostPath": {"path": "/p"}}]
            }}),
            json!({"spec": {
                "containers": [
                    {"name": "webserver", "image": "b",
                     "env": [{"name": "X", "value": "2"}, {"name": "Y", "value": "3"}],
                     "volumeMounts": [
                         {"name": "site", "mountPath": "/etc/website"},
                         {"name": "profile", "mountPath": "/podcov/profile"}]},
                    {"name": "side", "image": "s"}
                ],
                "volumes": [{"name": "profile", "hostPath": {"path": "/p"}}]
            }}),
        );
    }

    #[test]
    fn null_and_delete_remove() {
        check(
            json!({"a": 1, "containers": [{"name": "x"}, {"name": "y"}]}),
            json!({"a": null, "containers": [{"name": "y", "$patch": "delete"}]}),
            json!({"containers": [{"name": "x"}]}),
        );
    }

    #[test]
    fn replace_starts_afresh() {
        check(
            json!({"labels": {"a": "1"}, "env": [{"name": "A"}]}),
            json!({"labels": {"$patch": "replace", "b": "2"},
                   "env": [{"$patch": "replace"}, {"name": "B"}]}),
            json!({"labels": {"b": "2"}, "env": [{"name": "B"}]}),
        );
    }

    #[test]
    fn lists_without_a_key_are_replaced() {
        check(
            json!({"args": ["a", "b"]}),
            json!({"args": ["c"]}),
            json!({"args": ["c"]}),
        );
    }
}
