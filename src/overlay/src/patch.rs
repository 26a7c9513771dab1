//! What is changed in a pod template whose containers are measured.

use serde_json::{Value, json};

use super::edit::Editor;
use super::refusal::{Refusal, listed};
use super::template::Slot;
use super::{Component, Patched, Spec};

/// Name of the volume and of its mounts.
pub const VOLUME: &str = "podcov-profile";
/// Annotation of a pod template: the run its pods belong to.
pub const RUN_ANNOTATION: &str = "podcov.dev/run";
/// Start of the annotation that says which component a container runs; the
/// container's name follows.
pub const COMPONENT_ANNOTATION: &str = "podcov.dev/component.";
/// Where the launcher is in a profile image.
pub const LAUNCHER: &str = "/podcov/launcher";

/// Variables that a measured container must not set by itself, and whose they
/// are.
const TAKEN: [&str; 2] = ["GOCOVERDIR", "LLVM_PROFILE_FILE"];
/// Longest name part of an annotation, by Kubernetes' rules.
const ANNOTATION_NAME: usize = 63;

/// The variables of a measured container.
fn environment(spec: &Spec, component: &str, container: &str) -> Vec<Value> {
    let plain = |name: &str, value: &str| json!({"name": name, "value": escape(value)});
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    vec![
        plain("PODCOV_RUN", &spec.run),
        plain("PODCOV_COMPONENT", component),
        plain("PODCOV_CONTAINER", container),
        plain("PODCOV_VOLUME", &spec.mount_path),
        field("PODCOV_NAMESPACE", "metadata.namespace"),
        field("PODCOV_POD", "metadata.name"),
        field("PODCOV_POD_UID", "metadata.uid"),
    ]
}

/// `text` as a variable's value in a manifest: Kubernetes replaces `$(NAME)`
/// in it and takes `$$` for `$`.
pub(super) fn escape(text: &str) -> String {
    text.replace('$', "$$")
}

/// The reverse of [`escape`].
pub(super) fn unescape(text: &str) -> String {
    text.replace("$$", "$")
}

fn mount(spec: &Spec) -> Value {
    json!({"name": VOLUME, "mountPath": spec.mount_path})
}

fn volume(spec: &Spec) -> Value {
    json!({"name": VOLUME, "hostPath": {"path": spec.host_path, "type": "Directory"}})
}

fn annotations(spec: &Spec, containers: &[(&str, &str)]) -> Vec<(String, Value)> {
    let mut all = vec![(RUN_ANNOTATION.to_owned(), json!(spec.run))];
    for (container, component) in containers {
        let key = format!("{COMPONENT_ANNOTATION}{container}");
        // PODCOV_COMPONENT says the same where the name would be too long.
        if key.len() - "podcov.dev/".len() <= ANNOTATION_NAME {
            all.push((key, json!(component)));
        }
    }
    all
}

/// A strategic-merge patch for the template of pods that podcov does not see
/// before they exist: those that an operator or a test creates. Each container
/// is given with the component that it runs. Compact, with sorted keys.
///
/// A command cannot be kept this way: where the creator of the pods sets one,
/// it has to begin with `/podcov/launcher --`.
pub fn pod_patch(spec: &Spec, containers: &[(&str, &Component)]) -> String {
    let names: Vec<_> = containers
        .iter()
        .map(|(container, component)| (*container, component.name.as_str()))
        .collect();
    let mut patch = json!({
        "metadata": {"annotations": Value::Object(annotations(spec, &names).into_iter().collect())},
        "spec": {
            "containers": containers
                .iter()
                .map(|(container, component)| container_patch(spec, container, component))
                .collect::<Vec<_>>(),
            "volumes": [volume(spec)],
        },
    });
    patch.sort_all_objects();
    patch.to_string()
}

fn container_patch(spec: &Spec, container: &str, component: &Component) -> Value {
    let mut patch = json!({
        "name": container,
        "env": environment(spec, &component.name, container),
        "volumeMounts": [mount(spec)],
    });
    if let Some(image) = &component.profile_image {
        patch["image"] = json!(image);
        patch["imagePullPolicy"] = json!("IfNotPresent");
    }
    patch
}

/// One pod template and those of its containers that are measured.
pub(super) struct Template<'a> {
    pub(super) spec: &'a Spec,
    /// `Deployment/website-operator`, for messages.
    pub(super) workload: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    pub(super) editor: Editor,
    /// JSON pointer to the template.
    pub(super) path: &'static str,
}

impl Template<'_> {
    /// Makes one container a measured one. `from` are the names that its
    /// `envFrom` brings, with their source.
    pub(super) fn measure(
        &mut self,
        slot: &Slot,
        component: &Component,
        from: &[(String, String)],
        warnings: &mut Vec<String>,
    ) -> Result<Patched, Refusal> {
        let at = self.editor.len();
        let path = &slot.path;
        self.check_environment(slot, from)?;
        if let Some(image) = &component.profile_image {
            self.editor.set(&format!("{path}/image"), json!(image));
            // `Always`, which is also what `:latest` means, would ask a
            // registry that has never heard of the image.
            let policy = format!("{path}/imagePullPolicy");
            // One with a digest is in a registry, and the nodes have to pull it.
            if self.editor.text(&policy) != Some("Never") || image.contains('@') {
                self.editor.set(&policy, json!("IfNotPresent"));
            }
        }
        let command_wrapped = self.wrap_command(path);
        let program = command_wrapped
            .then(|| program_of(self.editor.array(&format!("{path}/command"))))
            .flatten();
        let environment = environment(self.spec, &component.name, &slot.name);
        self.set_environment(path, environment);
        self.set_mount(slot)?;
        self.guard(at, path);
        if component.profile_image.is_some() {
            self.warn_of_commands(slot, warnings);
        } else {
            warnings.push(format!(
                "{}, container `{}`: component `{}` has no profile image, so `{}` itself has to \
                 be instrumented and to hold {LAUNCHER}",
                self.workload, slot.name, component.name, slot.image
            ));
        }
        Ok(Patched {
            kind: self.kind.clone(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            container: slot.name.clone(),
            component: component.name.clone(),
            was_image: slot.image.clone(),
            now_image: component
                .profile_image
                .clone()
                .unwrap_or_else(|| slot.image.clone()),
            command_wrapped,
            program,
        })
    }

    /// What the pod as a whole needs, after its containers.
    pub(super) fn finish_pod(
        &mut self,
        containers: &[(&str, &str)],
        warnings: &mut Vec<String>,
    ) -> Result<(), Refusal> {
        let template = self.path;
        let annotated = self.run_annotation().is_some();
        self.set_volume(annotated)?;
        let entries = annotations(self.spec, containers);
        let path = format!("{template}/metadata/annotations");
        self.editor.set_entries(&path, entries);
        let path = format!("{template}/spec/terminationGracePeriodSeconds");
        let least = self.spec.min_grace_seconds;
        if let Some(given) = self.editor.get(&path).and_then(Value::as_i64)
            && given < i64::from(least)
        {
            self.editor.set(&path, json!(least));
            warnings.push(format!(
                "{} gives its pods {given} s to end; raised to {least} s, else they are killed \
                 before they can write what they know",
                self.workload
            ));
        }
        if self.editor.len() > 0 {
            // Kustomize selects by names before a prefix was added, too.
            self.editor.guard(0, "/metadata/name", json!(self.name));
        }
        Ok(())
    }

    /// Sets a variable of an operator that holds a pod patch. What an overlay
    /// of another run left there is replaced.
    pub(super) fn set_pod_patch(
        &mut self,
        slot: &Slot,
        variable: &str,
        patch: &str,
    ) -> Result<(), Refusal> {
        let at = self.editor.len();
        let env = format!("{}/env", slot.path);
        let mut there = self.editor.array(&env).iter();
        let there = there
            .rfind(|entry| entry["name"] == json!(variable))
            .cloned();
        if let Some(there) = there
            && !is_pod_patch(&there["value"])
        {
            return Err(Refusal::VariableTaken {
                workload: self.workload.clone(),
                container: slot.name.clone(),
                variable: variable.to_owned(),
                remedy: "take it out of the manifest: the overlay sets it to the patch of the \
                         pods that the operator creates"
                    .to_owned(),
            });
        }
        let entry = json!({"name": variable, "value": escape(patch)});
        self.set_environment(&slot.path, vec![entry]);
        self.guard(at, &slot.path);
        Ok(())
    }

    fn run_annotation(&self) -> Option<&str> {
        let key = RUN_ANNOTATION.replace('/', "~1");
        self.editor
            .text(&format!("{}/metadata/annotations/{key}", self.path))
    }

    /// A test of the container's name before its changes, if there are any.
    fn guard(&mut self, at: usize, path: &str) {
        if self.editor.len() > at {
            let name = format!("{path}/name");
            let value = json!(self.editor.text(&name));
            self.editor.guard(at, &name, value);
        }
    }

    fn check_environment(&self, slot: &Slot, from: &[(String, String)]) -> Result<(), Refusal> {
        let env = format!("{}/env", slot.path);
        let names = self.editor.array(&env).iter();
        let mut names = names.filter_map(|entry| entry["name"].as_str());
        let own = names.find(|name| TAKEN.contains(name));
        let taken = match own {
            Some(name) => Some((name, "its env".to_owned())),
            None => from
                .iter()
                .find(|(name, _)| TAKEN.contains(&name.as_str()))
                .map(|(name, source)| (name.as_str(), source.clone())),
        };
        match taken {
            None => Ok(()),
            Some((variable, source)) => Err(Refusal::VariableTaken {
                workload: self.workload.clone(),
                container: slot.name.clone(),
                variable: variable.to_owned(),
                remedy: format!(
                    "take it out of {source}: the launcher sets it to a folder of each process' \
                     own, and podcov collects that"
                ),
            }),
        }
    }

    /// `command` replaces the entry point of the image, and with it the
    /// launcher. `args` do not.
    fn wrap_command(&mut self, path: &str) -> bool {
        let path = format!("{path}/command");
        let command = self.editor.array(&path);
        match command.first() {
            None => false,
            Some(first) if first == LAUNCHER => true,
            Some(_) => {
                let wrapped = [json!(LAUNCHER), json!("--")].into_iter();
                let wrapped = wrapped.chain(command.iter().cloned()).collect();
                self.editor.set(&path, Value::Array(wrapped));
                true
            }
        }
    }

    /// Replaces variables where they are and appends the others: what refers
    /// to a variable by `$(NAME)` must stay behind it.
    fn set_environment(&mut self, path: &str, entries: Vec<Value>) {
        let path = format!("{path}/env");
        let mut new = Vec::new();
        for entry in entries {
            let mut there = self.editor.array(&path).iter();
            match there.rposition(|old| old["name"] == entry["name"]) {
                Some(at) if is_same(&self.editor.array(&path)[at], &entry) => {}
                Some(at) => self.editor.set(&format!("{path}/{at}"), entry),
                None => new.push(entry),
            }
        }
        self.editor.push(&path, new);
    }

    fn set_mount(&mut self, slot: &Slot) -> Result<(), Refusal> {
        let path = format!("{}/volumeMounts", slot.path);
        let own = mount(self.spec);
        let mut there = false;
        for mount in self.editor.array(&path) {
            let at = mount["mountPath"].as_str().unwrap_or_default();
            let at = at.trim_end_matches('/');
            if *mount == own {
                there = true;
            } else if mount["name"] == json!(VOLUME) || hides(at, &self.spec.mount_path) {
                let name = mount["name"].as_str().unwrap_or_default();
                return Err(Refusal::Mount {
                    workload: self.workload.clone(),
                    container: slot.name.clone(),
                    volume: name.to_owned(),
                    path: at.to_owned(),
                    wanted: self.spec.mount_path.clone(),
                });
            }
        }
        if !there {
            self.editor.push(&path, vec![own]);
        }
        Ok(())
    }

    /// `ours` says whether an overlay made what there is: then the volume of
    /// another run is replaced.
    fn set_volume(&mut self, ours: bool) -> Result<(), Refusal> {
        let path = format!("{}/spec/volumes", self.path);
        let own = volume(self.spec);
        let there = self.editor.array(&path).iter();
        let there = there.enumerate().find(|(_, v)| v["name"] == json!(VOLUME));
        match there {
            None => self.editor.push(&path, vec![own]),
            Some((_, same)) if *same == own => {}
            Some((at, old)) if ours && old["hostPath"].is_object() => {
                self.editor.set(&format!("{path}/{at}"), own);
            }
            Some((_, old)) => {
                let keys = old.as_object().into_iter().flat_map(|map| map.keys());
                return Err(Refusal::Volume {
                    workload: self.workload.clone(),
                    found: listed(keys.map(String::as_str).filter(|key| *key != "name")),
                });
            }
        }
        Ok(())
    }

    /// Programs that Kubernetes starts beside the component come from its
    /// image, which is another one now.
    fn warn_of_commands(&self, slot: &Slot, warnings: &mut Vec<String>) {
        const HOOKS: [(&str, &str); 5] = [
            ("livenessProbe", "liveness probe"),
            ("readinessProbe", "readiness probe"),
            ("startupProbe", "startup probe"),
            ("lifecycle/postStart", "postStart hook"),
            ("lifecycle/preStop", "preStop hook"),
        ];
        for (key, what) in HOOKS {
            let program = format!("{}/{key}/exec/command/0", slot.path);
            if let Some(program) = self.editor.text(&program) {
                warnings.push(format!(
                    "{}, container `{}`: its {what} runs `{program}`, which must be in the \
                     profile image, too",
                    self.workload, slot.name
                ));
            }
        }
    }
}

/// Whether two variables are the same: the API server adds the version of a
/// field's path, whose default is `v1`.
fn is_same(there: &Value, entry: &Value) -> bool {
    const VERSION: &str = "apiVersion";
    let mut there = there.clone();
    if let Some(Value::Object(field)) = there.pointer_mut("/valueFrom/fieldRef")
        && field.get(VERSION) == Some(&json!("v1"))
    {
        field.remove(VERSION);
    }
    there == *entry
}

/// What a command that begins with the launcher starts.
fn program_of(command: &[Value]) -> Option<String> {
    let own = command.iter().position(|word| word == "--")?;
    command.get(own + 1)?.as_str().map(str::to_owned)
}

/// Whether something mounted at `at` would hide the profile volume, the
/// launcher, or a part of them.
fn hides(at: &str, mount_path: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    within(mount_path, at) || within(at, mount_path) || within(LAUNCHER, at)
}

fn is_pod_patch(value: &Value) -> bool {
    let text = value.as_str().map(unescape).unwrap_or_default();
    serde_json::from_str::<Value>(&text)
        .is_ok_and(|patch| patch["metadata"]["annotations"][RUN_ANNOTATION].is_string())
}
