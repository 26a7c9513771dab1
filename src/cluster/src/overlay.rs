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
mod error;
mod image;
mod kubectl;
mod patch;
mod plan;
mod template;
mod write;
mod yaml;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use podcov_process::{Cancel, Progress};
use podcov_profile::names::Kind;
use serde_json::Value;

pub use error::Error;
use kubectl::Kubectl;
pub use patch::{COMPONENT_ANNOTATION, LAUNCHER, RUN_ANNOTATION, VOLUME, pod_patch};
use plan::Plan;

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
    /// The same objects as values, as kubectl reads them.
    pub objects: Vec<Value>,
    /// The objects as they are without the overlay, in the order of the base.
    pub base: Vec<Value>,
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
    /// What that command starts.
    pub program: Option<String>,
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
    let mut objects = match base {
        Base::Kustomization(dir) => kubectl.objects(&kubectl.kustomize(dir)?)?,
        Base::Manifests(paths) => kubectl.objects_of(paths)?,
    };
    objects.iter_mut().for_each(template::strip_build_metadata);
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
    let objects = kubectl.objects(&yaml)?;
    plan.check(objects.clone())?;
    Ok(Rendered {
        kustomization: out_dir.to_owned(),
        yaml,
        objects,
        base: plan.base,
        patched: plan.patched,
        warnings: plan.warnings,
    })
}
