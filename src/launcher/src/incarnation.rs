//! The folder of one start on the profile volume.

use std::collections::hash_map::RandomState;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::process::umask;

use crate::time;

/// What a start belongs to; all of it names a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub volume: PathBuf,
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub container: String,
}

impl Place {
    /// Reads it from the variables that the overlay sets, and makes the best of
    /// those that are missing: the launcher also works by hand.
    pub fn new(get: impl Fn(&str) -> Option<String>, component: Option<&str>, host: &str) -> Self {
        let or = |name: &str, default: &str| {
            folder_name(
                &get(name)
                    .filter(|value| !value.is_empty())
                    .unwrap_or(default.to_owned()),
            )
        };
        Place {
            volume: get("PODCOV_VOLUME")
                .unwrap_or("/podcov/profile".to_owned())
                .into(),
            namespace: or("PODCOV_NAMESPACE", "_local"),
            pod: or("PODCOV_POD", if host.is_empty() { "_local" } else { host }),
            uid: or("PODCOV_POD_UID", "_local"),
            container: or("PODCOV_CONTAINER", component.unwrap_or("_local")),
        }
    }

    /// Reads it from this process' environment.
    pub fn here(component: Option<&str>) -> Self {
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        Place::new(|name| std::env::var(name).ok(), component, &host)
    }

    /// Makes the folder of a start at `start` (milliseconds since 1970).
    /// The error says what was to be done, and where.
    pub fn make(&self, start: u64) -> Result<String, String> {
        if !self.volume.is_dir() {
            let volume = self.volume.display();
            return Err(format!(
                "the profile volume is not mounted: no folder {volume}; the pod needs podcov's \
                 overlay, or PODCOV_VOLUME must name a folder"
            ));
        }
        // The folders are shared by containers of any user. Made under an open
        // umask they have their mode from their first moment; a chmod later
        // would leave another container of the pod a moment without rights.
        let before = umask(Mode::empty());
        let made = self.make_all(start);
        umask(before);
        made.map(|dir| dir.to_string_lossy().into_owned())
    }

    fn make_all(&self, start: u64) -> Result<PathBuf, String> {
        let mut shared = DirBuilder::new();
        shared.mode(0o1777);
        let mut dir = self.volume.clone();
        for name in [
            &self.namespace,
            &format!("{}_{}", self.pod, self.uid),
            &self.container,
        ] {
            dir.push(name);
            match shared.create(&dir) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(cannot("create", &dir, &error));
                }
                _ => {}
            }
        }
        // Two starts in one millisecond are kept apart by four random digits,
        // and the digits by trying again.
        for _ in 0..100 {
            let random = RandomState::new().build_hasher().finish() & 0xffff;
            let own = dir.join(format!("{}-{random:04x}", time::compact(start)));
            match DirBuilder::new().mode(0o777).create(&own) {
                Ok(()) => return Ok(own),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(cannot("create", &own, &error)),
            }
        }
        Err(format!(
            "cannot find a free name for a folder in {}",
            dir.display()
        ))
    }
}

/// Writes a whole file or none: a reader never sees a part of it.
pub fn write(dir: &Path, name: &str, text: &str) -> Result<(), String> {
    let path = dir.join(name);
    // A leading dot: readers of the volume know it is not evidence.
    let partial = dir.join(format!(".{name}.partial"));
    let all = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&partial)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        fs::rename(&partial, &path)
    };
    all().map_err(|error| {
        let _ = fs::remove_file(&partial);
        cannot("write", &path, &error)
    })
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> String {
    format!("cannot {what} {}: {error}", path.display())
}

/// A name that is one folder, whatever the variable held.
fn folder_name(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '_'
        }
    };
    let name: String = text.chars().map(plain).take(200).collect();
    match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_name_the_folders_and_cannot_leave_the_volume() {
        let get = |name: &str| match name {
            "PODCOV_NAMESPACE" => Some("../../etc".to_owned()),
            "PODCOV_POD" => Some("web-0".to_owned()),
            "PODCOV_POD_UID" => Some(String::new()),
            _ => None,
        };
        let place = Place::new(get, Some("operator"), "host");
        assert_eq!(place.volume, Path::new("/podcov/profile"));
        assert_eq!(place.namespace, "_._.._etc");
        assert_eq!(
            (&*place.pod, &*place.uid, &*place.container),
            ("web-0", "_local", "operator")
        );
        assert_eq!(Place::new(|_| None, None, "node-1").pod, "node-1");
    }

    #[test]
    fn every_start_gets_its_own_folder() {
        let volume = tempfile::tempdir().unwrap();
        let get =
            |name: &str| (name == "PODCOV_VOLUME").then(|| volume.path().display().to_string());
        let place = Place::new(get, None, "h");
        let start = 951_782_399_999;
        let dirs: std::collections::BTreeSet<_> =
            (0..300).map(|_| place.make(start).unwrap()).collect();
        assert_eq!(dirs.len(), 300);
        let first = dirs.first().unwrap();
        let first = Path::new(first);
        assert!(first.starts_with(volume.path().join("_local/h__local/_local")));
        let name = first.file_name().unwrap().to_str().unwrap();
        assert_eq!(name.len(), "20000228T235959.999Z-0000".len());
        assert!(name.starts_with("20000228T235959.999Z-"));
    }

    #[test]
    fn no_volume_is_said_with_what_to_do() {
        let get = |name: &str| (name == "PODCOV_VOLUME").then(|| "/nonexistent/v".to_owned());
        let message = Place::new(get, None, "h").make(0).unwrap_err();
        assert!(
            message.contains("/nonexistent/v") && message.contains("overlay"),
            "{message}"
        );
    }
}
