use std::path::{Path, PathBuf};

use podcov_process::Cancelled;

use super::refusal::Refusal;

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
    /// A file for kustomize is among the manifests.
    #[error(
        "a `{kind}` of kustomize is among the manifests: give the folder it is in as the \
         `kustomization` instead"
    )]
    NotAManifest {
        /// What it is.
        kind: String,
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
    /// A container of the manifests cannot be measured.
    #[error(transparent)]
    Refused(#[from] Refusal),
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
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Error::Io {
            action,
            path,
            source,
        }
    }
}
