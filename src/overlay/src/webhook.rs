//! What the admission webhook answers, from JSON to JSON.
//!
//! It allows everything. The worst that can happen to a pod is that it starts
//! as it would have without podcov, and that is told.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Spec;
use super::created::{Created, created};
use super::edit::Editor;

/// Label of a namespace in which pods are patched. Its value is the name of
/// the composition.
pub const INJECT_LABEL: &str = "podcov.dev/inject";
/// Value of the label on a pod that is to be left alone.
pub const DISABLED: &str = "disabled";
/// Annotation of a pod that is only to find out whether the webhook answers:
/// it is replaced by [`Settings::id`].
pub const PROBE: &str = "podcov.dev/probe";

/// What the webhook is told; kept in a Secret beside its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Other settings have another one.
    pub id: String,
    /// The composition: value of [`INJECT_LABEL`].
    pub composition: String,
    /// New namespaces that get the label: names, or beginnings of names with
    /// `*` behind.
    pub namespaces: Vec<String>,
    /// From then on pods are left alone, in seconds since 1970: a podcov that
    /// was killed does not go on to measure what others deploy.
    pub until: Option<u64>,
    /// The changes to pods.
    pub spec: Spec,
}

/// What was asked for and answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The AdmissionReview to send.
    pub review: Value,
    /// A line for the log; `None` where there is nothing to say.
    pub said: Option<String>,
}

/// Answers `review`, an `admission.k8s.io/v1` AdmissionReview, at `now` in
/// seconds since 1970. `Err` says what is wrong with it.
pub fn answer(settings: &Settings, review: &Value, now: u64) -> Result<Answer, String> {
    let request = &review["request"];
    let Some(uid) = request["uid"].as_str() else {
        return Err("expected an AdmissionReview with a request, found none".to_owned());
    };
    let object = &request["object"];
    let mut reply = Reply::default();
    match request["resource"]["resource"].as_str() {
        Some("pods") => reply.pod(settings, object, now),
        Some("namespaces") => reply.namespace(settings, object, now),
        _ => {}
    }
    let mut response = json!({"uid": uid, "allowed": true});
    if !reply.patch.is_empty() {
        let patch = Value::Array(reply.patch).to_string();
        response["patchType"] = "JSONPatch".into();
        response["patch"] = STANDARD.encode(patch).into();
    }
    if !reply.warnings.is_empty() {
        response["warnings"] = reply.warnings.iter().map(|text| warning(text)).collect();
    }
    let namespace = request["namespace"].as_str().unwrap_or_default();
    let said = reply.said.map(|said| {
        let meta = &object["metadata"];
        let name = meta["name"].as_str().or(meta["generateName"].as_str());
        format!("{namespace}/{}: {said}", name.unwrap_or_default())
    });
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": response,
    });
    Ok(Answer { review, said })
}

#[derive(Default)]
struct Reply {
    patch: Vec<Value>,
    warnings: Vec<String>,
    said: Option<String>,
}

impl Reply {
    fn pod(&mut self, settings: &Settings, pod: &Value, now: u64) {
        if pod["metadata"]["annotations"][PROBE].is_string() {
            let mut editor = Editor::new(pod.clone());
            let id = (PROBE.to_owned(), json!(settings.id));
            editor.set_entries("/metadata/annotations", vec![id]);
            self.patch = editor.finish().1;
            return;
        }
        match created(&settings.spec, pod) {
            Created::Other => {}
            _ if settings.until.is_some_and(|until| now >= until) => {
                self.refused(&"the run is over; `podcov inject uninstall` removes its webhook");
            }
            Created::Measured { patch, warnings } => {
                self.said = Some(match patch.len() {
                    0 => "patched already".to_owned(),
                    count => format!("patched, {count} changes"),
                });
                self.patch = patch;
                self.warnings = warnings;
            }
            Created::Refused { patch, why } => {
                self.patch = patch;
                self.refused(&why);
            }
        }
    }

    fn refused(&mut self, why: &dyn std::fmt::Display) {
        let text = format!("not measured: {why}");
        self.warnings.push(text.clone());
        self.said = Some(text);
    }

    fn namespace(&mut self, settings: &Settings, namespace: &Value, now: u64) {
        let meta = &namespace["metadata"];
        let name = meta["name"].as_str().unwrap_or_default();
        // Who wrote a label meant it.
        let has_label = meta["labels"][INJECT_LABEL].is_string();
        let is_over = settings.until.is_some_and(|until| now >= until);
        if has_label || is_over || !fits(&settings.namespaces, name) {
            return;
        }
        let mut editor = Editor::new(namespace.clone());
        let label = (INJECT_LABEL.to_owned(), json!(settings.composition));
        editor.set_entries("/metadata/labels", vec![label]);
        self.patch = editor.finish().1;
        self.said = Some("its pods will be measured".to_owned());
    }
}

/// Whether patterns of names mean a namespace. They never mean those of
/// Kubernetes and of podcov itself.
pub fn fits(patterns: &[String], namespace: &str) -> bool {
    let fits = |pattern: &String| match pattern.strip_suffix('*') {
        Some(start) => namespace.starts_with(start),
        None => namespace == pattern,
    };
    let is_foreign = ["kube-", "podcov-"]
        .iter()
        .any(|start| namespace.starts_with(start));
    !is_foreign && patterns.iter().any(fits)
}

/// The API server cuts longer ones.
const WARNING: usize = 256;

fn warning(text: &str) -> Value {
    let text = format!("podcov: {text}");
    let mut end = text.len().min(WARNING);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
