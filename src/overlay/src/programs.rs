//! What a command can start in a profile image.

use serde::{Deserialize, Serialize};

/// The programs of an image that podcov made: one, and what files bring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programs {
    /// Where the component's program is: `/app/manager`.
    pub main: String,
    /// Files and folders that were copied in, any of which may be programs.
    pub files: Vec<String>,
}

impl Programs {
    /// Whether a command that starts with `wanted` can find it. What cannot be
    /// known without the image is believed.
    pub fn have(&self, wanted: &str) -> bool {
        // Variables are Kubernetes' to expand, relative paths the image's.
        if wanted.contains("$(") || wanted.starts_with('.') {
            return true;
        }
        let is_name = !wanted.contains('/');
        let is_main =
            self.main == wanted || (is_name && self.main.rsplit('/').next() == Some(wanted));
        is_main || self.files.iter().any(|to| brings(to, wanted))
    }
}

/// Whether a file or folder that goes to `to` may bring `wanted`.
fn brings(to: &str, wanted: &str) -> bool {
    let to = to.trim_end_matches('/');
    !wanted.contains('/')
        || wanted
            .strip_prefix(to)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
