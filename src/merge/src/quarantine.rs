//! Where copies of evidence that cannot be counted go, each with the reason.

use std::fs;
use std::path::{Component, Path, PathBuf};

use podcov_profile::ledger::File;
use serde::Serialize;

use crate::{Error, make_dir, write_atomic};

/// Larger files are damaged in a way that a copy does not help to understand.
const MAX_COPY: u64 = 256 << 20;

/// `quarantine/` of a run.
pub(crate) struct Quarantine<'a> {
    dir: &'a Path,
    evidence: &'a Path,
}

#[derive(Serialize)]
struct Reason<'a> {
    schema: u32,
    #[serde(flatten)]
    file: &'a File,
}

impl<'a> Quarantine<'a> {
    pub(crate) fn new(dir: &'a Path, evidence: &'a Path) -> Self {
        Quarantine { dir, evidence }
    }

    /// Copies a file of evidence; what the ledger says of it goes beside it, as
    /// `<name>.reason.json`. The evidence stays as it is.
    pub(crate) fn keep(&self, file: &File) -> Result<(), Error> {
        let Some(relative) = relative(&file.path) else {
            return Ok(());
        };
        let from = self.evidence.join(&relative);
        let to = self.dir.join(&relative);
        make_dir(to.parent().unwrap_or(self.dir))?;
        // A copy is a comfort: one that cannot be read (of another user) or
        // claims to be larger than the disk must not end the merge.
        let is_small = |kind: fs::Metadata| kind.is_file() && kind.len() <= MAX_COPY;
        if fs::symlink_metadata(&from).is_ok_and(is_small) && fs::copy(&from, &to).is_err() {
            let _ = fs::remove_file(&to);
        }
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(".reason.json");
        let reason = Reason { schema: 1, file };
        let mut text = serde_json::to_vec_pretty(&reason).map_err(Error::Coverage)?;
        text.push(b'\n');
        write_atomic(&to.with_file_name(name), &text)
    }
}

/// A path of the ledger, if it stays below the folder it is relative to.
pub(crate) fn relative(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let stays = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    (stays && path.file_name().is_some()).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_of_a_ledger_leaves_its_folder() {
        for path in ["/etc/passwd", "../x", "a/../../x", "", "."] {
            assert_eq!(relative(path), None, "{path}");
        }
        assert_eq!(relative("a/b.profraw"), Some(PathBuf::from("a/b.profraw")));
    }
}
