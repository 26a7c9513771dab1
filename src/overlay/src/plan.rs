//! What becomes of each object of the base, and whether it did.

use std::collections::BTreeMap;

use serde_json::Value;

use super::edit::Editor;
use super::patch::{Template, pod_patch};
use super::refusal::listed;
use super::template::{Id, Slot, slots};
use super::{Component, Error, Patched, Spec, claim};

/// What becomes of each object.
pub(super) struct Plan {
    /// The objects of the base.
    pub(super) base: Vec<Value>,
    pub(super) ids: Vec<Id>,
    /// Patches of objects that change, by index.
    pub(super) patches: BTreeMap<usize, Vec<Value>>,
    /// The objects as they shall be rendered.
    expected: Vec<Value>,
    pub(super) patched: Vec<Patched>,
    pub(super) warnings: Vec<String>,
}

impl Plan {
    pub(super) fn new(spec: &Spec, base: Vec<Value>) -> Result<Self, Error> {
        let ids: Vec<_> = base.iter().map(Id::of).collect();
        if let Some(id) = ids.iter().find(|id| id.group == "kustomize.config.k8s.io") {
            return Err(Error::NotAManifest {
                kind: id.kind.clone(),
            });
        }
        let slots = slots(&base, &ids);
        let mut plan = Plan {
            expected: base.clone(),
            base,
            ids,
            patches: BTreeMap::new(),
            patched: Vec::new(),
            warnings: Vec::new(),
        };
        let claims = claim::claim(spec, &plan.ids, &slots, &mut plan.warnings)?;
        let created = Created::all(spec, &claims)?;
        for object in 0..plan.base.len() {
            let own: Vec<_> = slots
                .iter()
                .zip(&claims)
                .filter(|(slot, _)| slot.object == object)
                .filter_map(|(slot, claim)| Some((slot, (*claim)?)))
                .collect();
            if !own.is_empty() {
                plan.patch_workload(spec, object, &own, &created)?;
            }
        }
        plan.pod_security(spec, !created.is_empty());
        Ok(plan)
    }

    fn patch_workload(
        &mut self,
        spec: &Spec,
        object: usize,
        own: &[(&Slot, usize)],
        created: &[Created],
    ) -> Result<(), Error> {
        let id = &self.ids[object];
        let mut template = Template {
            spec,
            workload: id.label(),
            kind: id.kind.clone(),
            name: id.name.clone(),
            namespace: id.namespace.clone(),
            editor: Editor::new(self.base[object].clone()),
            path: own[0].0.template,
        };
        for (slot, component) in own {
            let from = self.variables_from(id, &self.base[object], slot);
            let named = &spec.components[*component];
            let patched = template.measure(slot, named, &from, &mut self.warnings)?;
            self.patched.push(patched);
            for created in created
                .iter()
                .filter(|created| created.creator == *component)
            {
                template.set_pod_patch(slot, &created.variable, &created.patch)?;
            }
        }
        let names: Vec<_> = own
            .iter()
            .map(|(slot, component)| {
                let component = &spec.components[*component];
                (slot.name.as_str(), component.name.as_str())
            })
            .collect();
        template.finish_pod(&names, &mut self.warnings)?;
        self.finish(object, template.editor);
        Ok(())
    }

    fn finish(&mut self, object: usize, editor: Editor) {
        let (expected, operations) = editor.finish();
        self.expected[object] = expected;
        if !operations.is_empty() {
            self.patches.insert(object, operations);
        }
    }

    /// The variables that a container takes from ConfigMaps of the base, each
    /// with its source.
    fn variables_from(&self, id: &Id, object: &Value, slot: &Slot) -> Vec<(String, String)> {
        let sources = object.pointer(&format!("{}/envFrom", slot.path));
        let sources = sources.and_then(Value::as_array);
        let mut all = Vec::new();
        for source in sources.into_iter().flatten() {
            let prefix = source["prefix"].as_str().unwrap_or_default();
            let Some(name) = source["configMapRef"]["name"].as_str() else {
                continue;
            };
            let map = self.ids.iter().position(|other| {
                other.kind == "ConfigMap" && other.name == name && other.namespace == id.namespace
            });
            let data = map.and_then(|map| self.base[map]["data"].as_object());
            for key in data.into_iter().flat_map(|data| data.keys()) {
                all.push((format!("{prefix}{key}"), format!("ConfigMap `{name}`")));
            }
        }
        all
    }

    /// Namespaces that would not admit pods with the profile volume.
    fn pod_security(&mut self, spec: &Spec, creates: bool) {
        const ENFORCE: &str = "/metadata/labels/pod-security.kubernetes.io~1enforce";
        for object in 0..self.base.len() {
            let (id, value) = (&self.ids[object], &self.base[object]);
            let level = value.pointer(ENFORCE).and_then(Value::as_str);
            let Some(level @ ("baseline" | "restricted")) = level else {
                continue;
            };
            let measured = self
                .patched
                .iter()
                .any(|p| p.namespace.as_ref() == Some(&id.name));
            if id.kind != "Namespace" || !(measured || creates) {
                continue;
            }
            let name = &id.name;
            if spec.relax_pod_security {
                self.warnings.push(format!(
                    "namespace `{name}` enforces the `{level}` level of Pod Security, which \
                     forbids the profile volume: it is `privileged` for this run"
                ));
                let mut editor = Editor::new(value.clone());
                editor.set(ENFORCE, "privileged".into());
                self.finish(object, editor);
            } else {
                self.warnings.push(format!(
                    "namespace `{name}` enforces the `{level}` level of Pod Security, which \
                     forbids the profile volume: its pods will be refused. Set its label \
                     pod-security.kubernetes.io/enforce to privileged for measured runs"
                ));
            }
        }
    }

    /// Whether kubectl made of the overlay what was meant.
    pub(super) fn check(&self, rendered: Vec<Value>) -> Result<(), Error> {
        let key = |object: &Value| Id::of(object).key();
        let mut rendered: BTreeMap<_, _> = rendered
            .into_iter()
            .map(|object| (key(&object), object))
            .collect();
        for (expected, id) in self.expected.iter().zip(&self.ids) {
            let found = rendered.remove(&id.key()).unwrap_or_default();
            if let Some(place) = difference(expected, &found) {
                return Err(Error::Differs {
                    object: id.label(),
                    place,
                });
            }
        }
        match rendered.into_values().next() {
            Some(extra) => Err(Error::Differs {
                object: Id::of(&extra).label(),
                place: "/".to_owned(),
            }),
            None => Ok(()),
        }
    }
}

/// JSON pointer to the first place where two values differ.
fn difference(a: &Value, b: &Value) -> Option<String> {
    match (a, b) {
        _ if a == b => None,
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys());
            keys.filter(|key| a.get(*key) != b.get(*key))
                .map(|key| {
                    let (a, b) = (a.get(key), b.get(key));
                    let inner = a.zip(b).and_then(|(a, b)| difference(a, b));
                    format!("/{key}{}", inner.unwrap_or_default())
                })
                .next()
        }
        (Value::Array(a), Value::Array(b)) => {
            let at = a.iter().zip(b).position(|(a, b)| a != b);
            let at = at.unwrap_or(a.len().min(b.len()));
            let inner = a.get(at).zip(b.get(at)).and_then(|(a, b)| difference(a, b));
            Some(format!("/{at}{}", inner.unwrap_or_default()))
        }
        _ => Some(String::new()),
    }
}

/// A variable of an operator for the pods that it creates.
struct Created {
    /// Index of the operator's component.
    creator: usize,
    variable: String,
    patch: String,
}

impl Created {
    /// All of them; the components that one operator creates in pods of one
    /// template share a patch.
    fn all(spec: &Spec, claims: &[Option<usize>]) -> Result<Vec<Self>, Error> {
        let mut groups: BTreeMap<(usize, &str), Vec<(&str, &Component)>> = BTreeMap::new();
        for component in &spec.components {
            let Some(by) = &component.created_by else {
                continue;
            };
            let wrong = |reason: String| Error::Creator {
                component: component.name.clone(),
                creator: by.component.clone(),
                reason,
            };
            let creator = spec.components.iter().position(|c| c.name == by.component);
            let Some(creator) = creator else {
                let names = spec.components.iter().map(|c| c.name.as_str());
                let there = listed(names);
                return Err(wrong(format!("is no component; there are {there}")));
            };
            if !claims.contains(&Some(creator)) {
                let reason = "runs in no container of the manifests: correct its `image` or \
                              `workloads`";
                return Err(wrong(reason.to_owned()));
            }
            let containers = groups.entry((creator, &by.env)).or_default();
            if containers
                .iter()
                .any(|(container, _)| *container == by.container)
            {
                return Err(wrong(format!(
                    "creates container `{}` for another component, too",
                    by.container
                )));
            }
            containers.push((&by.container, component));
        }
        let all = groups
            .into_iter()
            .map(|((creator, variable), containers)| Created {
                creator,
                variable: variable.to_owned(),
                patch: pod_patch(spec, &containers),
            });
        Ok(all.collect())
    }
}
