//! What was collected before holds: of an incarnation that had ended, no file
//! may go or change until the report is made.

use std::collections::{BTreeMap, BTreeSet};

use podcov_profile::ledger::{Cause, Fate, File, Incarnation, Ledger};

use super::Recorded;
use super::judge::{ExitRecord, StartRecord};
use super::walk::Dir;

/// The incarnations that had ended when they were collected, by folder. Others
/// went on to write.
pub(super) fn sealed(ledger: Option<&Ledger>) -> BTreeMap<String, &Incarnation> {
    let rows = ledger.iter().flat_map(|ledger| &ledger.incarnations);
    rows.filter(|row| row.end.is_some())
        .filter_map(|row| Some((folder(row)?, row)))
        .collect()
}

fn folder(row: &Incarnation) -> Option<String> {
    let id = row.id.as_ref()?;
    Some(format!(
        "{}/{}_{}/{}/{id}",
        row.namespace, row.pod, row.pod_uid, row.container
    ))
}

/// The sealed incarnations of which not even the folder is left.
pub(super) fn gone<'a>(
    sealed: &BTreeMap<String, &'a Incarnation>,
    dirs: &[Dir],
) -> Vec<Recorded<'a>> {
    let there: BTreeSet<&str> = dirs.iter().map(|dir| dir.path.as_str()).collect();
    let gone = sealed.iter().filter(|(path, _)| !there.contains(&***path));
    gone.map(|(path, row)| Recorded {
        dir: Dir {
            namespace: row.namespace.clone(),
            pod: row.pod.clone(),
            pod_uid: row.pod_uid.clone(),
            container: row.container.clone(),
            id: row.id.clone().unwrap_or_default(),
            path: path.clone(),
            entries: vec![],
        },
        before: Some(row),
        start: StartRecord {
            component: row.component.clone(),
            identity: row.identity.as_ref().map(ToString::to_string),
            start: row.start.clone(),
            ..StartRecord::default()
        },
        has_record: true,
        exit: Some(ExitRecord {
            code: row.ended.code,
            signal: row.ended.signal,
            end: row.end.clone(),
        }),
    })
    .collect()
}

/// Refuses a file that is not what it was.
pub(super) fn check(before: Option<&Incarnation>, file: &mut File, bytes: &[u8]) {
    let known = before.and_then(|row| row.files.iter().find(|known| known.path == file.path));
    if let Some(known) = known.filter(|known| known.is_sealed())
        && let Err(broken) = known.check(bytes)
    {
        let (size, sha256) = (known.size, known.sha256.clone());
        *file = File {
            size,
            sha256,
            fate: Fate::Rejected,
            cause: Some(Cause::Changed),
            reason: broken.to_string(),
            ..file.clone()
        };
    }
}

/// Adds the files that are not there any more.
pub(super) fn add_removed(before: Option<&Incarnation>, files: &mut Vec<File>) {
    let there: BTreeSet<String> = files.iter().map(|file| file.path.clone()).collect();
    let known = before.iter().flat_map(|row| &row.files);
    let removed = known.filter(|known| known.is_sealed() && !there.contains(&known.path));
    files.extend(removed.map(|known| File {
        fate: Fate::Missing,
        cause: Some(Cause::Removed),
        reason: REMOVED.to_owned(),
        ..known.clone()
    }));
    files.sort_by(|a, b| a.path.cmp(&b.path));
}

const REMOVED: &str = "it is not there any more since it was collected";
