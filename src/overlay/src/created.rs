//! Pods that are being created, as an admission webhook sees them: the same
//! changes as in a manifest, made to the pod itself.
//!
//! Nothing here can fail a pod. What cannot be measured stays as it is, but for
//! an annotation that says why, which the watch over pods reads.

use serde_json::{Value, json};

use super::edit::Editor;
use super::patch::Template;
use super::template::{Id, Slot, slots};
use super::{Component, Refusal, Spec, Unseen};

/// Annotation of a pod that runs a component and could not be patched: why.
pub const NOT_INJECTED: &str = "podcov.dev/not-injected";

/// What becomes of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// None of its containers runs a component whose pods are patched.
    Other,
    /// It leaves evidence.
    Measured {
        /// A JSON patch (RFC 6902); empty where the pod was patched before.
        patch: Vec<Value>,
        /// What its creator should know, in sentences.
        warnings: Vec<String>,
    },
    /// It cannot be measured.
    Refused {
        /// A JSON patch that leaves the reason in the annotation
        /// [`NOT_INJECTED`] and changes nothing else.
        patch: Vec<Value>,
        /// Why.
        why: Refusal,
    },
}

/// Says what becomes of `pod`, a `v1` Pod that need not have a name yet.
/// Applied to its own result, it changes nothing.
pub fn created(spec: &Spec, pod: &Value) -> Created {
    let mut pod = pod.clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    let id = named(Id::of(&pod), &pod);
    let slots = slots(std::slice::from_ref(&pod), std::slice::from_ref(&id));
    let own: Vec<(&Slot, &Component)> = slots
        .iter()
        .filter_map(|slot| Some((slot, component_of(spec, slot)?)))
        .collect();
    if own.is_empty() {
        return Created::Other;
    }
    match measured(spec, &pod, &id, &own) {
        Ok((patch, warnings)) => Created::Measured { patch, warnings },
        Err(why) => {
            let mut editor = Editor::new(pod);
            let reason = (NOT_INJECTED.to_owned(), json!(why.to_string()));
            editor.set_entries("/metadata/annotations", vec![reason]);
            let (_, patch) = editor.finish();
            Created::Refused { patch, why }
        }
    }
}

/// A pod of a controller has only the beginning of its name so far.
fn named(mut id: Id, pod: &Value) -> Id {
    // The namespace is the request's, and the user knows it.
    id.namespace = None;
    if id.name.is_empty() {
        let start = pod["metadata"]["generateName"].as_str().unwrap_or_default();
        id.name = format!("{start}…");
    }
    id
}

fn component_of<'s>(spec: &'s Spec, slot: &Slot) -> Option<&'s Component> {
    let injected = |component: &&Component| component.unseen == Unseen::Injected;
    let mut components = spec.components.iter().filter(injected);
    components.find(|component| component.runs(&slot.image))
}

fn measured(
    spec: &Spec,
    pod: &Value,
    id: &Id,
    own: &[(&Slot, &Component)],
) -> Result<(Vec<Value>, Vec<String>), Refusal> {
    let mut warnings = Vec::new();
    let mut template = Template {
        spec,
        workload: id.label(),
        kind: id.kind.clone(),
        name: id.name.clone(),
        namespace: None,
        editor: Editor::new(pod.clone()),
        path: "",
    };
    for (slot, component) in own {
        let done = template.measure(slot, component, &[], &mut warnings)?;
        if let (Some(program), Some(programs)) = (done.program, &component.programs)
            && !programs.have(&program)
        {
            return Err(Refusal::Program {
                workload: id.label(),
                container: slot.name.clone(),
                component: component.name.clone(),
                program,
            });
        }
    }
    let names: Vec<_> = own
        .iter()
        .map(|(slot, component)| (slot.name.as_str(), component.name.as_str()))
        .collect();
    template.finish_pod(&names, &mut warnings)?;
    let (_, mut patch) = template.editor.finish();
    // They are there for manifests that are edited after they were read; a
    // webhook's patch is for the very pod that it was shown.
    patch.retain(|operation| operation["op"] != "test");
    Ok((patch, warnings))
}

#[cfg(test)]
#[path = "created_tests.rs"]
mod tests;
