//! The profile overlay: what has to be changed in the user's manifests so
//! that their pods leave evidence, written as a kustomization on top of them.
//!
//! The user's files are read and never written. kubectl renders them, podcov
//! decides which container runs which component and writes one JSON patch for
//! each workload; kubectl renders the result, and that has to be exactly what
//! the patches say: every other field of the base is compared. An overlay on
//! top of its own result changes nothing.

mod claim;
mod edit;
mod image;
mod kubectl;
mod patch;
mod template;
mod write;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use podcov_process::{Cancel, Cancelled, Progress};
use podcov_profile::names::Kind;
use serde_json::Value;

use edit::Editor;
use kubectl::Kubectl;
use patch::Template;
pub use patch::{COMPONENT_ANNOTATION, LAUNCHER, RUN_ANNOTATION, VOLUME, pod_patch};
use template::{Id, Slot, slots};

/// Where the profile volume is mounted unless something else is asked for.
pub const MOUNT_PATH: &str = "/podcov/profile";
/// Shorter times to end are raised to this many seconds.
pub const MIN_GRACE_SECONDS: u32 = 5;

/// What an overlay is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The run that the evidence belongs to.
    pub run: String,
    /// The evidence folder as the nodes see it; has to be there, mode 1777.
    pub host_path: String,
    /// Where containers see it.
    pub mount_path: String,
    /// What is measured.
    pub components: Vec<Component>,
    /// A smaller `terminationGracePeriodSeconds` is raised to this.
    pub min_grace_seconds: u32,
    /// Lets namespaces of the base admit the volume: a `baseline` or
    /// `restricted` level of Pod Security becomes `privileged`. For clusters
    /// that are thrown away; else there is only a warning.
    pub relax_pod_security: bool,
}

impl Spec {
    /// The usual overlay of these components.
    pub fn new(
        run: impl Into<String>,
        host_path: impl Into<String>,
        components: Vec<Component>,
    ) -> Self {
        Spec {
            run: run.into(),
            host_path: host_path.into(),
            mount_path: MOUNT_PATH.to_owned(),
            components,
            min_grace_seconds: MIN_GRACE_SECONDS,
            relax_pod_security: false,
        }
    }
}

/// One component and where it runs. Without image, workloads and
/// `created_by` it does not run in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its part in the composition. The image of a client need not be in the
    /// manifests: the suite may start it.
    pub kind: Kind,
    /// What production calls its image; without a tag, any tag fits.
    pub image: Option<String>,
    /// What the instrumented image is called; `None` where the manifests name
    /// an instrumented image already.
    pub profile_image: Option<String>,
    /// The containers that run it; none: those whose image is `image`.
    pub workloads: Vec<WorkloadRef>,
    /// The operator that creates its pods.
    pub created_by: Option<CreatedBy>,
}

/// A workload of the base, or one container of it:
/// `[namespace/]Kind/name[:container]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadRef {
    /// Any namespace where it is `None`.
    pub namespace: Option<String>,
    /// `Deployment`; case does not matter.
    pub kind: String,
    /// As rendered, with the prefixes that a kustomization adds.
    pub name: String,
    /// `None`: those that run the component's image, else the only one.
    pub container: Option<String>,
}

/// Text that names no workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `Kind/name`, `Kind/name:container` or `namespace/Kind/name`, found `{0}`")]
pub struct NotAWorkload(pub String);

impl FromStr for WorkloadRef {
    type Err = NotAWorkload;

    fn from_str(text: &str) -> Result<Self, NotAWorkload> {
        let wrong = || NotAWorkload(text.to_owned());
        let (workload, container) = match text.split_once(':') {
            Some((workload, container)) => (workload, Some(container.to_owned())),
            None => (text, None),
        };
        let parts: Vec<_> = workload.split('/').collect();
        let (namespace, kind, name) = match parts[..] {
            [kind, name] => (None, kind, name),
            [namespace, kind, name] => (Some(namespace.to_owned()), kind, name),
            _ => return Err(wrong()),
        };
        let empty = |part: &Option<String>| part.as_ref().is_some_and(String::is_empty);
        if kind.is_empty() || name.is_empty() || empty(&namespace) || empty(&container) {
            return Err(wrong());
        }
        Ok(WorkloadRef {
            namespace,
            kind: kind.to_owned(),
            name: name.to_owned(),
            container,
        })
    }
}

impl fmt::Display for WorkloadRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        write!(f, "{}/{}", self.kind, self.name)?;
        match &self.container {
            Some(container) => write!(f, ":{container}"),
            None => Ok(()),
        }
    }
}

/// The option of an operator through which its pods are measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedBy {
    /// The operator's component.
    pub component: String,
    /// Its variable that takes a strategic-merge patch of the pod template.
    pub env: String,
    /// The container in the created pods.
    pub container: String,
}

/// What the overlay goes on top of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// A folder with a kustomization.
    Kustomization(PathBuf),
    /// Manifests, or folders of them, as given to `kubectl apply -f`.
    Manifests(Vec<PathBuf>),
}

/// An overlay that was written, and what comes out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The folder for `kubectl apply -k`.
    pub kustomization: PathBuf,
    /// All objects, for `kubectl apply -f -`.
    pub yaml: String,
    /// The containers that are measured, in the order of the objects.
    pub patched: Vec<Patched>,
    /// What the user should know, in sentences.
    pub warnings: Vec<String>,
}

/// A container that is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patched {
    /// Kind of the workload.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace, where the manifest gives one.
    pub namespace: Option<String>,
    /// The container.
    pub container: String,
    /// The component it runs.
    pub component: String,
    /// The image in the base.
    pub was_image: String,
    /// The image now.
    pub now_image: String,
    /// The manifest sets a command, which now starts with the launcher.
    pub command_wrapped: bool,
}

/// Why there is no overlay.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// kubectl could not be run, or refuses the base.
    #[error(transparent)]
    Kubectl(podcov_process::Error),
    /// kubectl cannot read the manifests.
    #[error("kubectl cannot read the manifests: {said}")]
    Unreadable {
        /// What it said.
        said: String,
    },
    /// kubectl printed something else than objects.
    #[error("expected kubectl to print objects as JSON: {source}")]
    Answer {
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A file or folder did not do what it should.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The output folder must not be written.
    #[error("cannot write the overlay to {}: {reason}", .path.display())]
    OutDir {
        /// The folder.
        path: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// There is nothing in the base.
    #[error("{base} holds no object: nothing can be measured")]
    EmptyBase {
        /// What was rendered.
        base: String,
    },
    /// No container runs an image.
    #[error(
        "component `{component}`: no container in the manifests runs `{image}`; there are \
         {candidates}. Correct `image`, or name its `workloads`"
    )]
    NoSuchImage {
        /// The component.
        component: String,
        /// What it asks for.
        image: String,
        /// What is there, the nearest first.
        candidates: String,
    },
    /// A workload is not in the base.
    #[error(
        "component `{component}`: the manifests have no workload `{workload}`; there are \
         {candidates}"
    )]
    NoSuchWorkload {
        /// The component.
        component: String,
        /// What it asks for.
        workload: String,
        /// What is there, the nearest first.
        candidates: String,
    },
    /// A workload has no such container.
    #[error(
        "component `{component}`: {workload} should have {wanted}; it has {found}. Name it as \
         `Kind/name:container`"
    )]
    NoSuchContainer {
        /// The component.
        component: String,
        /// The workload.
        workload: String,
        /// What it asks for.
        wanted: String,
        /// The containers that are there.
        found: String,
    },
    /// Two components want the same container.
    #[error(
        "container `{container}` of {workload} is claimed by the components `{first}` and \
         `{second}`: name the `workloads` of both"
    )]
    ClaimedTwice {
        /// The workload.
        workload: String,
        /// The container.
        container: String,
        /// One component.
        first: String,
        /// The other.
        second: String,
    },
    /// `created_by` names what is not there.
    #[error("component `{component}` is created by `{creator}`, which {reason}")]
    Creator {
        /// The created component.
        component: String,
        /// The operator.
        creator: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A variable is set that podcov has to set.
    #[error("container `{container}` of {workload} sets `{variable}`: {remedy}")]
    VariableTaken {
        /// The workload.
        workload: String,
        /// The container.
        container: String,
        /// The variable.
        variable: String,
        /// What to do.
        remedy: String,
    },
    /// A mount is in the way.
    #[error(
        "container `{container}` of {workload} mounts volume `{volume}` at {path}, which is in \
         the way of the profile volume at {wanted} or of the launcher: move one of them"
    )]
    Mount {
        /// The workload.
        workload: String,
        /// The container.
        container: String,
        /// The volume.
        volume: String,
        /// Where it is mounted.
        path: String,
        /// Where ours should be.
        wanted: String,
    },
    /// Another volume has our name.
    #[error(
        "{workload} has a volume `{VOLUME}` of another kind ({found}), and the profile volume has \
         to have that name: rename yours"
    )]
    Volume {
        /// The workload.
        workload: String,
        /// Its sources.
        found: String,
    },
    /// The rendered overlay is not what the patches say.
    #[error(
        "kubectl rendered {object} differently from what its patch says, at {place}: two objects \
         of the base answer to one name, or the base changed in between"
    )]
    Differs {
        /// The object.
        object: String,
        /// JSON pointer to the first field that differs.
        place: String,
    },
}

impl From<podcov_process::Error> for Error {
    fn from(error: podcov_process::Error) -> Self {
        match error {
            podcov_process::Error::Cancelled(cancelled) => Error::Cancelled(cancelled),
            other => Error::Kubectl(other),
        }
    }
}

impl Error {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Error::Io {
            action,
            path,
            source,
        }
    }
}

/// Writes the overlay of `spec` on `base` into `out_dir` and renders it with
/// `kubectl`. What an earlier overlay left in `out_dir` is replaced; a folder
/// that holds another kustomization is an error.
pub fn render(
    base: &Base,
    spec: &Spec,
    kubectl: &Path,
    out_dir: &Path,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Rendered, Error> {
    let kubectl = Kubectl {
        program: kubectl,
        cancel,
    };
    progress.status("rendering the manifests");
    let objects = match base {
        Base::Kustomization(dir) => kubectl.objects(&kubectl.kustomize(dir)?)?,
        Base::Manifests(paths) => kubectl.objects_of(paths)?,
    };
    if objects.is_empty() {
        let base = match base {
            Base::Kustomization(dir) => dir.display().to_string(),
            Base::Manifests(paths) => {
                let paths: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
                paths.join(", ")
            }
        };
        return Err(Error::EmptyBase { base });
    }
    let plan = Plan::new(spec, objects)?;
    progress.status("writing the overlay");
    write::overlay(out_dir, base, &plan)?;
    progress.status("rendering the overlay");
    let yaml = kubectl.kustomize(out_dir)?;
    plan.check(kubectl.objects(&yaml)?)?;
    Ok(Rendered {
        kustomization: out_dir.to_owned(),
        yaml,
        patched: plan.patched,
        warnings: plan.warnings,
    })
}

/// What becomes of each object.
struct Plan {
    /// The objects of the base.
    base: Vec<Value>,
    ids: Vec<Id>,
    /// Patches of objects that change, by index.
    patches: BTreeMap<usize, Vec<Value>>,
    /// The objects as they shall be rendered.
    expected: Vec<Value>,
    patched: Vec<Patched>,
    warnings: Vec<String>,
}

impl Plan {
    fn new(spec: &Spec, base: Vec<Value>) -> Result<Self, Error> {
        let ids: Vec<_> = base.iter().map(Id::of).collect();
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
    fn check(&self, rendered: Vec<Value>) -> Result<(), Error> {
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
                let there = claim::listed(names);
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
