//! Locks on folders. The system frees them with the process that holds them,
//! so a crash leaves none behind, and they need no file of their own.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use podcov_process::Cancel;
use rustix::fs::{FlockOperation, flock};

use crate::provider::Error;

/// Held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "closing it is what frees the lock")] File);

impl Lock {
    /// Locks the folder, which is made if need be. `waiting` is called once if
    /// somebody else has it.
    pub fn take(folder: &Path, cancel: &Cancel, waiting: impl FnOnce()) -> Result<Lock, Error> {
        let mut waiting = Some(waiting);
        loop {
            cancel.check()?;
            fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
            let file = File::open(folder).map_err(Error::io("open", folder))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Its holder may have removed the folder while we opened it.
                Ok(()) if is_still(folder, &file) => return Ok(Lock(file)),
                Ok(()) => {}
                Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
                    if let Some(waiting) = waiting.take() {
                        waiting();
                    }
                    cancel.sleep(Duration::from_millis(100))?;
                }
                Err(error) => return Err(Error::io("lock", folder)(error.into())),
            }
        }
    }
}

fn is_still(folder: &Path, file: &File) -> bool {
    match (fs::metadata(folder), file.metadata()) {
        (Ok(there), Ok(ours)) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_waits_for_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path(), &Cancel::new(), || {}).unwrap();
        let cancel = Cancel::new();
        let mut told = false;
        let stop = cancel.clone();
        let second = Lock::take(folder.path(), &cancel, || {
            told = true;
            stop.set();
        });
        assert!(matches!(second, Err(Error::Cancelled(_))));
        assert!(told);
        drop(first);
        Lock::take(folder.path(), &Cancel::new(), || {}).unwrap();
    }

    #[test]
    fn a_folder_that_was_removed_is_made_again() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a");
        let first = Lock::take(&folder, &Cancel::new(), || {}).unwrap();
        fs::remove_dir(&folder).unwrap();
        Lock::take(&folder, &Cancel::new(), || {
            panic!("nobody holds the new one")
        })
        .unwrap();
        drop(first);
    }
}
