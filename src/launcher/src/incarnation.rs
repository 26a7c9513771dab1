//! The folder of one start on the profile volume.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;

use rustix::fs::{FileType, Mode, OFlags, fchmod, mkdir, open, rename, stat, unlink};
use rustix::io::Errno;
use rustix::process::umask;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::environment::Environment;
use crate::say::{reason, write_all};
use crate::time;

/// What a start belongs to; all of it names a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub volume: String,
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub container: String,
}

impl Place {
    /// Reads it from the variables that the overlay sets, and makes the best of
    /// those that are missing: the launcher also works by hand.
    pub fn new(env: &Environment, component: Option<&str>, host: &str) -> Self {
        let or = |name: &str, default: &str| {
            folder_name(&env.text(name).unwrap_or_else(|| default.to_owned()))
        };
        Place {
            volume: env
                .text("PODCOV_VOLUME")
                .unwrap_or_else(|| "/podcov/profile".to_owned()),
            namespace: or("PODCOV_NAMESPACE", "_local"),
            pod: or("PODCOV_POD", if host.is_empty() { "_local" } else { host }),
            uid: or("PODCOV_POD_UID", "_local"),
            container: or("PODCOV_CONTAINER", component.unwrap_or("_local")),
        }
    }

    /// The same with this machine's name.
    pub fn here(env: &Environment, component: Option<&str>) -> Self {
        let name = rustix::system::uname();
        Place::new(env, component, &name.nodename().to_string_lossy())
    }

    /// Makes the folder of a start at `start` (milliseconds since 1970).
    /// The error says what was to be done, and where.
    pub fn make(&self, start: u64) -> Result<String, String> {
        let is_dir = |mode| FileType::from_raw_mode(mode) == FileType::Directory;
        if !stat(&*self.volume).is_ok_and(|found| is_dir(found.st_mode)) {
            let volume = &self.volume;
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
        made
    }

    fn make_all(&self, start: u64) -> Result<String, String> {
        let Place {
            volume,
            namespace,
            pod,
            uid,
            container,
        } = self;
        let mut dir = volume.clone();
        for name in [namespace, &format!("{pod}_{uid}"), container] {
            dir = format!("{dir}/{name}");
            match mkdir(&*dir, Mode::from_raw_mode(0o1777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(cannot("create", &dir, error)),
            }
        }
        // Two starts in one millisecond are kept apart by four random digits,
        // and the digits by trying again.
        for attempt in 0..100_u16 {
            let own = format!("{dir}/{}-{:04x}", time::compact(start), random(attempt));
            match mkdir(&*own, Mode::from_raw_mode(0o777)) {
                Ok(()) => return Ok(own),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(cannot("create", &own, error)),
            }
        }
        Err(format!("cannot find a free name for a folder in {dir}"))
    }
}

fn random(attempt: u16) -> u16 {
    let mut bytes = [0; 2];
    // Never waits: right after boot there may be no randomness yet.
    match getrandom(&mut bytes, GetRandomFlags::NONBLOCK) {
        Ok(_) => u16::from_ne_bytes(bytes),
        Err(_) => attempt,
    }
}

/// Writes a whole file or none: a reader never sees a part of it.
pub fn write(dir: &str, name: &str, text: &str) -> Result<(), String> {
    let path = format!("{dir}/{name}");
    // A leading dot: readers of the volume know it is not evidence.
    let partial = format!("{dir}/.{name}.partial");
    let all = || -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let file = open(&*partial, flags, mode)?;
        write_all(&file, text.as_bytes())?;
        fchmod(&file, mode)?;
        rename(&*partial, &*path)
    };
    all().map_err(|error| {
        let _ = unlink(&*partial);
        cannot("write", &path, error)
    })
}

fn cannot(what: &str, path: &str, error: Errno) -> String {
    format!("cannot {what} {path}: {}", reason(error))
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
    use alloc::vec::Vec;
    use std::path::Path;

    fn environment(lines: &[&str]) -> Environment {
        let leak = |line: &&str| -> &'static [u8] { line.as_bytes().to_vec().leak() };
        Environment::new(lines.iter().map(leak).collect::<Vec<_>>())
    }

    #[test]
    fn variables_name_the_folders_and_cannot_leave_the_volume() {
        let env = environment(&[
            "PODCOV_NAMESPACE=../../etc",
            "PODCOV_POD=web-0",
            "PODCOV_POD_UID=",
        ]);
        let place = Place::new(&env, Some("operator"), "host");
        assert_eq!(place.volume, "/podcov/profile");
        assert_eq!(place.namespace, "_._.._etc");
        assert_eq!(
            (&*place.pod, &*place.uid, &*place.container),
            ("web-0", "_local", "operator")
        );
        assert_eq!(Place::new(&environment(&[]), None, "node-1").pod, "node-1");
    }

    #[test]
    fn every_start_gets_its_own_folder() {
        let volume = tempfile::tempdir().unwrap();
        let env = environment(&[&format!("PODCOV_VOLUME={}", volume.path().display())]);
        let place = Place::new(&env, None, "h");
        let start = 951_782_399_999;
        let dirs: std::collections::BTreeSet<_> =
            (0..300).map(|_| place.make(start).unwrap()).collect();
        assert_eq!(dirs.len(), 300);
        let first = Path::new(dirs.first().unwrap());
        assert!(first.starts_with(volume.path().join("_local/h__local/_local")));
        let name = first.file_name().unwrap().to_str().unwrap();
        assert_eq!(name.len(), "20000228T235959.999Z-0000".len());
        assert!(name.starts_with("20000228T235959.999Z-"));
    }

    #[test]
    fn no_volume_is_said_with_what_to_do() {
        let env = environment(&["PODCOV_VOLUME=/nonexistent/v"]);
        let message = Place::new(&env, None, "h").make(0).unwrap_err();
        assert!(
            message.contains("/nonexistent/v") && message.contains("overlay"),
            "{message}"
        );
    }
}
