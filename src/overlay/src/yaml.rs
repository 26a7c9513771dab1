//! YAML for patches and copied resources, quoted so that every reader takes
//! the same value from it.
//!
//! A serializer for YAML 1.2 leaves `on`, `0755` or `2001-01-01` bare, which
//! kubectl's reader (YAML 1.1) takes for a boolean, a number and a time. Here a
//! string is bare only if it starts with a letter or a slash and is no word
//! that any version of YAML gives a meaning to; else it is quoted as in JSON.

use serde_json::Value;

/// One document in block style, with sorted keys and a final line break.
pub(super) fn document(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// Appends `value` at the current position, which is the start of a line
/// already indented by `depth` spaces.
fn block(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    indent(depth, out);
                }
                out.push_str("- ");
                block(item, depth + 2, out);
            }
        }
        Value::Object(map) if !map.is_empty() => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            for (at, (key, item)) in entries.into_iter().enumerate() {
                if at > 0 {
                    indent(depth, out);
                }
                out.push_str(&scalar(key));
                out.push(':');
                match item {
                    Value::Array(items) if !items.is_empty() => {
                        out.push('\n');
                        indent(depth, out);
                        block(item, depth, out);
                    }
                    Value::Object(map) if !map.is_empty() => {
                        out.push('\n');
                        indent(depth + 2, out);
                        block(item, depth + 2, out);
                    }
                    _ => {
                        out.push(' ');
                        block(item, depth, out);
                    }
                }
            }
        }
        Value::Array(_) => out.push_str("[]\n"),
        Value::Object(_) => out.push_str("{}\n"),
        Value::String(text) => {
            out.push_str(&scalar(text));
            out.push('\n');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            out.push_str(&value.to_string());
            out.push('\n');
        }
    }
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', depth));
}

/// A string, bare where that is safe.
pub(super) fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // Not printable in YAML's sense, or taken for a line break.
            '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => escape(c, &mut out),
            c if c.is_control() => escape(c, &mut out),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn escape(c: char, out: &mut String) {
    use std::fmt::Write;
    let _ = write!(out, "\\u{:04x}", u32::from(c));
}

fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'/')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
        && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn block_style_is_what_people_write() {
        let value = json!({
            "b": [{"name": "x", "list": [1, [2, 3]], "none": {}}, "yes"],
            "a": {"on": true, "empty": [], "null": null},
            "image": "localhost/op:dev",
        });
        insta::assert_snapshot!(document(&value), @r#"
        a:
          empty: []
          "null": null
          "on": true
        b:
        - list:
          - 1
          - - 2
            - 3
          name: x
          none: {}
        - "yes"
        image: "localhost/op:dev"
        "#);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            "\\PC{0,8}",
            any::<String>(),
            proptest::sample::select(vec![
                "yes",
                "On",
                "n",
                "~",
                "null",
                "0755",
                "0o17",
                "0x1F",
                "1e3",
                "1_000",
                ".5",
                "12:30:45",
                "2001-01-01",
                "=",
                "<<",
                "- a",
                "a: b",
                "a #b",
                "&a",
                "*a",
                "!t",
                "|",
                "%",
                "@",
                "`",
                "\u{85}",
                "\u{2028}",
                "\r\n",
                " x ",
                "{",
                "[",
                ",",
                "?",
                "---",
                "...",
            ])
            .prop_map(str::to_owned),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(text.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(value in any_value()) {
            let text = document(&value);
            let read: Value = serde_yaml_ng::from_str(&text).map_err(|error| {
                TestCaseError::fail(format!("{error} in {text:?}"))
            })?;
            prop_assert_eq!(read, value);
        }
    }
}
