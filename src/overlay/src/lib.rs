//! The profile overlay: what has to be changed in the user's manifests so
//! that their pods leave evidence, written as a kustomization on top of them.
//!
//! The user's files are read and never written. kubectl renders them, podcov
//! decides which container runs which component and writes one JSON patch for
//! each workload; kubectl renders the result, and that has to be exactly what
//! the patches say: every other field of the base is compared. An overlay on
//! top of its own result changes nothing.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(feature = "render"),
    expect(
        dead_code,
        reason = "of manifests; pods that are being created need none of it"
    )
)]

#[cfg(feature = "render")]
mod claim;
mod created;
mod edit;
#[cfg(feature = "render")]
mod error;
mod image;
#[cfg(feature = "render")]
mod kubectl;
mod patch;
#[cfg(feature = "render")]
mod plan;
mod programs;
mod refusal;
#[cfg(feature = "render")]
mod render;
mod template;
pub mod webhook;
#[cfg(feature = "render")]
mod write;
#[cfg(feature = "render")]
mod yaml;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use created::{Created, NOT_INJECTED, created};
#[cfg(feature = "render")]
pub use error::Error;
pub use image::is_image;
pub use patch::{COMPONENT_ANNOTATION, LAUNCHER, RUN_ANNOTATION, VOLUME, pod_patch};
pub use programs::Programs;
pub use refusal::Refusal;
#[cfg(feature = "render")]
pub use render::{Base, Rendered, render};

/// Where the profile volume is mounted unless something else is asked for.
pub const MOUNT_PATH: &str = "/podcov/profile";
/// Shorter times to end are raised to this many seconds.
pub const MIN_GRACE_SECONDS: u32 = 5;

/// What an overlay is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

    /// Whether a namespace that enforces the `baseline` or `restricted` level of
    /// Pod Security refuses pods with these changes: both forbid hostPath.
    pub fn needs_privileged(&self) -> bool {
        true
    }
}

/// One component and where it runs. Without image, workloads and
/// `created_by` it does not run in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// How it gets into pods that no manifest shows.
    pub unseen: Unseen,
    /// What production calls its image; without a tag, any tag fits.
    pub image: Option<String>,
    /// What the instrumented image is called; `None` where the manifests name
    /// an instrumented image already.
    pub profile_image: Option<String>,
    /// The containers that run it; none: those whose image is `image`.
    pub workloads: Vec<WorkloadRef>,
    /// The operator that creates its pods, by an option of that operator.
    pub created_by: Option<CreatedBy>,
    /// What a command can start in the profile image; `None` where that is
    /// not known, and then any command is taken.
    pub programs: Option<Programs>,
}

impl Component {
    /// Whether a container with this image runs the component: the image of
    /// production, or ours where the pod was patched before.
    fn runs(&self, image: &str) -> bool {
        self.image
            .as_deref()
            .is_some_and(|own| is_image(own, image))
            || self.profile_image.as_deref() == Some(image)
    }
}

/// How a component gets into pods that no manifest shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unseen {
    /// Not at all: that no manifest has its image is a mistake.
    Wrong,
    /// The e2e suite may start it. Told in a warning.
    Started,
    /// The webhook patches its pods when they are created.
    Injected,
}

/// A workload of the base, or one container of it:
/// `[namespace/]Kind/name[:container]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedBy {
    /// The operator's component.
    pub component: String,
    /// Its variable that takes a strategic-merge patch of the pod template.
    pub env: String,
    /// The container in the created pods.
    pub container: String,
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
