//! Why a pod cannot be measured.

use super::patch::VOLUME;

/// Why the containers of a pod cannot be measured as they are. `workload` is
/// `Deployment/name`, or `Pod/name` for a pod that is being created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
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
    /// A pod that is being created starts what its profile image lacks. In a
    /// manifest that is told earlier and with more advice.
    #[error(
        "container `{container}` of {workload} starts `{program}`, which the profile image of \
         `{component}` does not have: set `image_build = {{ program = \"…\" }}`"
    )]
    Program {
        /// The workload.
        workload: String,
        /// The container.
        container: String,
        /// The component whose image it is.
        component: String,
        /// What its command starts.
        program: String,
    },
}

/// The names in backticks, or "none".
pub(super) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
