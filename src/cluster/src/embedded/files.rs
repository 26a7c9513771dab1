//! Writing the files of a cluster.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::provider::Error;

/// Writes a file that only its owner may read: keys, and what contains them.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    let write = |mut file: fs::File| {
        // One that was there keeps its mode otherwise.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())
    };
    file.and_then(write).map_err(Error::io("write", path))
}

/// The last `count` lines of a file, or nothing if there is none.
pub(crate) fn tail(path: &Path, count: usize) -> Vec<String> {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

/// Removes everything in a folder, but not the folder.
pub(crate) fn clear(folder: &Path) -> Result<(), Error> {
    let begin = Instant::now();
    while let Err(source) = remove_entries(folder) {
        // A mount that goes a moment after its last process keeps a folder busy.
        if begin.elapsed() > Duration::from_secs(10) {
            return Err(Error::io("empty", folder)(source));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn remove_entries(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
