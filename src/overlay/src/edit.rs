//! Changes to one object, made and written down as a JSON patch (RFC 6902) at
//! the same time, so that what is checked is what the user gets.

use serde_json::{Map, Value, json};

/// An object on its way to what it shall become.
#[derive(Debug)]
pub(super) struct Editor {
    object: Value,
    operations: Vec<Value>,
}

impl Editor {
    pub(super) fn new(object: Value) -> Self {
        Editor {
            object,
            operations: Vec::new(),
        }
    }

    /// What is at `path`, a JSON pointer; null counts as nothing, as it does
    /// in Kubernetes.
    pub(super) fn get(&self, path: &str) -> Option<&Value> {
        self.object.pointer(path).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.get(path).and_then(Value::as_str)
    }

    pub(super) fn array(&self, path: &str) -> &[Value] {
        self.get(path)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// Puts `value` at `path`, whose parent is there. Nothing is written down
    /// where it already is.
    pub(super) fn set(&mut self, path: &str, value: Value) {
        if self.get(path) == Some(&value) {
            return;
        }
        let Some((parent, key)) = path.rsplit_once('/') else {
            return;
        };
        // A null may have been dropped on the way here, and `add` replaces it.
        let there = self.get(path).is_some();
        match self.object.pointer_mut(parent) {
            Some(Value::Object(map)) => {
                map.insert(unescape(key), value.clone());
            }
            Some(Value::Array(items)) => {
                let Some(item) = key.parse().ok().and_then(|at: usize| items.get_mut(at)) else {
                    return;
                };
                *item = value.clone();
            }
            _ => return,
        }
        let op = if there { "replace" } else { "add" };
        self.record(op, path, value);
    }

    /// Appends to the array at `path`, which need not be there yet.
    pub(super) fn push(&mut self, path: &str, values: Vec<Value>) {
        if values.is_empty() {
            return;
        }
        match self.object.pointer_mut(path) {
            Some(Value::Array(items)) => {
                items.extend(values.iter().cloned());
                for value in values {
                    self.record("add", &format!("{path}/-"), value);
                }
            }
            _ => self.set(path, Value::Array(values)),
        }
    }

    /// Sets entries of the map at `path`, which need not be there yet; nor its
    /// parent.
    pub(super) fn set_entries(&mut self, path: &str, entries: Vec<(String, Value)>) {
        if entries.is_empty() {
            return;
        }
        if let Some((parent, _)) = path.rsplit_once('/')
            && self.get(parent).is_none()
        {
            self.set(parent, json!({}));
        }
        if self.get(path).is_none() {
            self.set(path, Value::Object(Map::from_iter(entries)));
            return;
        }
        for (key, value) in entries {
            self.set(&format!("{path}/{}", escape(&key)), value);
        }
    }

    /// How many changes there are.
    pub(super) fn len(&self) -> usize {
        self.operations.len()
    }

    /// Makes the patch fail where `path` does not hold `value`, before the
    /// change number `at`: better than changing the wrong container of a base
    /// that was edited since.
    pub(super) fn guard(&mut self, at: usize, path: &str, value: Value) {
        self.operations
            .insert(at, json!({"op": "test", "path": path, "value": value}));
    }

    /// The object as it became and the patch that makes it so.
    pub(super) fn finish(self) -> (Value, Vec<Value>) {
        (self.object, self.operations)
    }

    fn record(&mut self, op: &str, path: &str, value: Value) {
        self.operations
            .push(json!({"op": op, "path": path, "value": value}));
    }
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn unescape(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_already_is_no_change() {
        let mut editor = Editor::new(json!({"a": {"b/c": "1"}, "l": [1], "n": null}));
        editor.set_entries("/a", vec![("b/c".into(), json!("1"))]);
        assert_eq!(editor.len(), 0);
        editor.set_entries("/a", vec![("b/c".into(), json!("2"))]);
        editor.push("/l", vec![json!(2)]);
        editor.push("/n", vec![json!(3)]);
        editor.set_entries("/m/x", vec![("k".into(), json!("v"))]);
        let (object, operations) = editor.finish();
        assert_eq!(
            object,
            json!({"a": {"b/c": "2"}, "l": [1, 2], "n": [3], "m": {"x": {"k": "v"}}})
        );
        let paths: Vec<_> = operations
            .iter()
            .map(|o| format!("{} {}", o["op"], o["path"]))
            .collect();
        assert_eq!(
            paths,
            [
                "\"replace\" \"/a/b~1c\"",
                "\"add\" \"/l/-\"",
                "\"add\" \"/n\"",
                "\"add\" \"/m\"",
                "\"add\" \"/m/x\""
            ]
        );
    }
}
