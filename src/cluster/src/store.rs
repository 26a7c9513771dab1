//! Where a run lives on disk, how its files are written, and who may write.
//!
//! A file of a run is complete or absent: it is written beside its place,
//! flushed and renamed. Evidence is written by the pods alone and is never
//! changed here.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use podcov_profile::ledger::{Ledger, LedgerError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use walkdir::WalkDir;

/// Why something of a run cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder did not do what it should.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is no JSON of the kind it should be.
    #[error("{} is not as podcov writes it: {source}", .path.display())]
    Json {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The ledger is not as podcov left it.
    #[error("{}: {source}; `podcov collect` makes it anew", .path.display())]
    Ledger {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        source: LedgerError,
    },
    /// Somebody else works in this project.
    #[error(
        "{} is locked by {holder}: wait until it is done, or end it",
        .path.display()
    )]
    Locked {
        /// The lock's file.
        path: PathBuf,
        /// Who, since when, with which run.
        holder: String,
    },
}

impl Error {
    /// For `map_err`: the error of `action` on `path`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io {
            action,
            path,
            source,
        }
    }
}

/// Writes `value` as JSON to `path`, all or nothing.
pub fn write_json_atomic(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let json = |source| Error::Json {
        path: path.to_owned(),
        source,
    };
    let mut bytes = serde_json::to_vec_pretty(value).map_err(json)?;
    bytes.push(b'\n');
    write_atomic(path, &bytes)
}

/// Writes `bytes` to `path`, all or nothing. Makes the folder if it is not
/// there.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let dir = podcov_process::folder_of(path);
    fs::create_dir_all(dir).map_err(Error::io("make", dir))?;
    podcov_process::write_atomic(path, bytes).map_err(Error::io("write", path))
}

/// Reads JSON that [`write_json_atomic`] wrote.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Json {
        path: path.to_owned(),
        source,
    })
}

/// Writes the ledger with its seal, all or nothing.
pub fn write_ledger(path: &Path, ledger: &Ledger) -> Result<(), Error> {
    write_atomic(path, &ledger.to_json())
}

/// Reads a ledger, whose seal must hold.
pub fn read_ledger(path: &Path) -> Result<Ledger, Error> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    Ledger::from_json(&bytes).map_err(|source| Error::Ledger {
        path: path.to_owned(),
        source,
    })
}

/// A new run id: sortable by time (UTC), and unique, `20261121-090507-k7q2`.
pub fn run_id() -> String {
    run_id_at(
        Timestamp::now(),
        RandomState::new().hash_one(std::process::id()),
    )
}

fn run_id_at(now: Timestamp, mut random: u64) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut id = now.strftime("%Y%m%d-%H%M%S-").to_string();
    for _ in 0..4 {
        id.push(char::from(DIGITS[(random % 36) as usize]));
        random /= 36;
    }
    id
}

/// The folder of one run, `profiles/<run id>`, and the names of what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    /// The folder itself.
    pub path: PathBuf,
}

impl RunDir {
    /// Makes the folder of a new run below `profiles`; one that is there is an
    /// error. The evidence folder can be written by any user, because pods run
    /// as any user, and nobody can remove what another one wrote.
    pub fn create(profiles: &Path, run: &str) -> Result<RunDir, Error> {
        fs::create_dir_all(profiles).map_err(Error::io("make", profiles))?;
        // Bundles have copies of sources, which a Go module around them would
        // take for packages of its own; it stops at another module.
        let module = profiles.join("go.mod");
        if !module.exists() {
            let text = "// Keeps the copies of sources in here out of `./...`.\nmodule profiles\n";
            fs::write(&module, text).map_err(Error::io("write", &module))?;
        }
        let run = RunDir {
            path: profiles.join(run),
        };
        fs::create_dir(&run.path).map_err(Error::io("make", &run.path))?;
        run.make_evidence()?;
        Ok(run)
    }

    /// The folder of a run that is there.
    pub fn open(path: impl Into<PathBuf>) -> Result<RunDir, Error> {
        let path = path.into();
        let kind = fs::metadata(&path).map_err(Error::io("open", &path))?;
        if !kind.is_dir() {
            let source = std::io::Error::from(std::io::ErrorKind::NotADirectory);
            return Err(Error::io("open", &path)(source));
        }
        Ok(RunDir { path })
    }

    /// The newest run below `profiles`; run ids sort by time.
    pub fn newest(profiles: &Path) -> Result<Option<RunDir>, Error> {
        let entries = match fs::read_dir(profiles) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(Error::io("list", profiles))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::io("list", profiles))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_run_id(&name) && entry.path().is_dir() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names.pop().map(|name| RunDir {
            path: profiles.join(name),
        }))
    }

    /// Makes the evidence folder, mode 1777, if it is not there.
    pub fn make_evidence(&self) -> Result<(), Error> {
        let evidence = self.evidence();
        fs::create_dir_all(&evidence).map_err(Error::io("make", &evidence))?;
        // Not by the mode of mkdir: the umask would take from it.
        fs::set_permissions(&evidence, fs::Permissions::from_mode(0o1777))
            .map_err(Error::io("change the mode of", &evidence))
    }

    /// Removes what a podcov that was killed left half written. Only for who
    /// holds the lock: nobody else writes there.
    pub fn sweep(&self) -> Result<(), Error> {
        let own = [self.quarantine(), self.coverage(), self.report()];
        let below = own.iter().map(WalkDir::new);
        let all = below.chain([WalkDir::new(&self.path).max_depth(1)]);
        for entry in all.flat_map(WalkDir::into_iter).filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy();
            if entry.file_type().is_file() && podcov_process::is_half_written(&name) {
                fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
            }
        }
        Ok(())
    }

    /// Removes the copies of what an earlier account set aside.
    pub fn clear_quarantine(&self) -> Result<(), Error> {
        match fs::remove_dir_all(self.quarantine()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", &self.quarantine())(error))
            }
            _ => Ok(()),
        }
    }

    /// The run's id.
    pub fn id(&self) -> String {
        self.path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// Versions, configuration, phases, exit.
    pub fn run_json(&self) -> PathBuf {
        self.path.join("run.json")
    }

    /// The bundles of the components.
    pub fn bundle(&self) -> PathBuf {
        self.path.join("bundle")
    }

    /// The root of the profile volume.
    pub fn evidence(&self) -> PathBuf {
        self.path.join("evidence")
    }

    /// What each phase counted.
    pub fn phases(&self) -> PathBuf {
        self.path.join("phases")
    }

    /// What is set aside.
    pub fn quarantine(&self) -> PathBuf {
        self.path.join("quarantine")
    }

    /// What the merge makes.
    pub fn coverage(&self) -> PathBuf {
        self.path.join("coverage")
    }

    /// What the report makes.
    pub fn report(&self) -> PathBuf {
        self.path.join("report")
    }

    /// The account of all fates.
    pub fn ledger_json(&self) -> PathBuf {
        self.path.join("ledger.json")
    }

    /// What the watch over pods saw.
    pub fn observed_json(&self) -> PathBuf {
        self.path.join("observed.json")
    }

    /// What was deployed, for stopping it from another process.
    pub fn deployed_json(&self) -> PathBuf {
        self.path.join("deployed.json")
    }

    /// Logs of the containers.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }
}

/// Whether a name is one that [`run_id`] makes.
fn is_run_id(name: &str) -> bool {
    name.len() == 20
        && name.bytes().enumerate().all(|(at, byte)| match at {
            8 | 15 => byte == b'-',
            0..=14 => byte.is_ascii_digit(),
            _ => byte.is_ascii_digit() || byte.is_ascii_lowercase(),
        })
}

/// When a run began, by its id.
pub(crate) fn time_of_run(id: &str) -> Option<Timestamp> {
    let time = id.get(..15).filter(|_| is_run_id(id))?;
    let civil = jiff::civil::DateTime::strptime("%Y%m%d-%H%M%S", time).ok()?;
    Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

/// Who works in a project.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    run: String,
    since: String,
}

/// The right to run in a project, for as long as it lives. The system takes it
/// back when the process dies, however it dies.
#[derive(Debug)]
pub struct RunLock {
    // Closing the file ends the lock.
    _file: File,
}

impl RunLock {
    /// Takes the lock of the project whose runs land in `profiles`, for `run`.
    pub fn acquire(profiles: &Path, run: &str) -> Result<RunLock, Error> {
        fs::create_dir_all(profiles).map_err(Error::io("make", profiles))?;
        let path = profiles.join(".lock");
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let mut file = open.map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut file);
                return Err(Error::Locked { path, holder });
            }
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
        }
        let since = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let holder = Holder {
            pid: std::process::id(),
            run: run.to_owned(),
            since,
        };
        let text = serde_json::to_vec(&holder).map_err(|source| Error::Json {
            path: path.clone(),
            source,
        })?;
        let mut write = || {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&text)
        };
        write().map_err(Error::io("write", &path))?;
        Ok(RunLock { _file: file })
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let _ = file.take(4096).read_to_string(&mut text);
    match serde_json::from_str::<Holder>(&text) {
        Ok(Holder { pid, run, since }) => format!("pid {pid}, since {since}, run {run}"),
        // The holder is between taking the lock and writing its name.
        Err(_) => "another podcov that has just begun".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_sort_by_time_and_are_recognised() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let early = run_id_at(at("2026-11-21T09:05:07Z"), u64::MAX);
        let late = run_id_at(at("2026-11-21T09:05:08Z"), 0);
        assert_eq!(late, "20261121-090508-0000");
        assert!(early < late);
        assert_eq!(time_of_run(&late), Some(at("2026-11-21T09:05:08Z")));
        assert_eq!(time_of_run("run-1"), None);
        assert!(is_run_id(&early) && is_run_id(&late) && is_run_id(&run_id()));
        assert!(!is_run_id("20261121-090508-00_0") && !is_run_id(".lock"));
    }

    #[test]
    fn a_new_run_has_an_evidence_folder_for_everybody() {
        let temp = tempfile::tempdir().unwrap();
        let run = RunDir::create(temp.path(), "20261121-090508-0000").unwrap();
        let mode = fs::metadata(run.evidence()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o1777);
        assert!(temp.path().join("go.mod").is_file());
        assert!(RunDir::create(temp.path(), "20261121-090508-0000").is_err());
        RunDir::create(temp.path(), "20261121-090507-zzzz").unwrap();
        fs::create_dir(temp.path().join("zzz")).unwrap();
        assert_eq!(RunDir::newest(temp.path()).unwrap(), Some(run));
    }

    #[test]
    fn a_second_holder_is_told_who_has_the_lock() {
        let temp = tempfile::tempdir().unwrap();
        let first = RunLock::acquire(temp.path(), "run-1").unwrap();
        let error = RunLock::acquire(temp.path(), "run-2")
            .unwrap_err()
            .to_string();
        let expected = format!("is locked by pid {}, since ", std::process::id());
        assert!(error.contains(&expected), "{error}");
        assert!(error.contains("run run-1"), "{error}");
        drop(first);
        RunLock::acquire(temp.path(), "run-2").unwrap();
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b.json");
        write_json_atomic(&path, &1).unwrap();
        // A map whose keys are no strings cannot be JSON.
        let bad = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(matches!(
            write_json_atomic(&path, &bad),
            Err(Error::Json { .. })
        ));
        assert_eq!(read_json::<u32>(&path).unwrap(), 1);
        assert_eq!(fs::read_dir(temp.path().join("a")).unwrap().count(), 1);
    }
}
