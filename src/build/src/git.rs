//! What git says about the sources.

use std::path::Path;

use podcov_process::{Cancel, Run};

/// The commit that `dir` is at and whether its tracked files differ from it;
/// `(None, false)` outside a checkout or without git.
pub(crate) fn state(dir: &Path, cancel: &Cancel) -> (Option<String>, bool) {
    let git = |args: &[&str]| {
        let run = Run::new("git").arg("-C").arg(dir).args(args).cancel(cancel);
        run.run().ok().map(|done| done.text().trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--verify", "HEAD"]) else {
        return (None, false);
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", "."]);
    (Some(commit), changed.is_some_and(|text| !text.is_empty()))
}
