//! One build at a time in a folder of outputs.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use crate::error::AtPath;
use crate::{Context, Error};

/// Keeps others out of a folder until it is dropped, or the process ends.
pub(crate) struct Lock(#[allow(dead_code, reason = "the system holds the lock by it")] File);

/// Waits for the folder `dir`: from the beginning of a build until its output
/// was copied, lest another component's program of the same name come between.
pub(crate) fn hold(dir: &Path, ctx: &Context) -> Result<Lock, Error> {
    std::fs::create_dir_all(dir).at("create", dir)?;
    let path = dir.join(".podcov-lock");
    let file = File::create(&path).at("create", &path)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(source).at("lock", &path),
        }
        ctx.progress
            .status(&format!("waiting for another build in {}", dir.display()));
        ctx.cancel.sleep(Duration::from_millis(200))?;
    }
}

#[cfg(test)]
mod tests {
    use podcov_process::{Cancel, Silent};

    use super::*;

    #[test]
    fn the_second_waits_for_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, cancel) = (dir.path(), Cancel::new());
        let ctx = Context {
            cache: dir,
            bundles: dir,
            progress: &Silent,
            cancel: &cancel,
        };
        let first = hold(dir, &ctx).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| hold(dir, &ctx).map(drop));
            std::thread::sleep(Duration::from_millis(50));
            assert!(!second.is_finished());
            drop(first);
            assert!(second.join().unwrap().is_ok());
        });
        let _third = hold(dir, &ctx).unwrap();
        cancel.set();
        assert!(matches!(hold(dir, &ctx), Err(Error::Cancelled(_))));
    }
}
