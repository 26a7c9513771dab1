//! A single-node Kubernetes of the real components, in namespaces of its own.
//!
//! Everything that a node starts, mounts and configures is inside its PID,
//! mount and network namespaces; what is outside is one veth end, control
//! groups by one name, and the state folder. `down` ends process 1 of the node
//! and removes these three; it needs nothing that `up` has to have written, so
//! it also cleans up after a crash.

mod certificates;
mod cgroups;
mod configuration;
mod files;
mod images;
mod lock;
mod network;
mod node;
mod pause_image;
mod program;
mod tools;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use podcov_process::{Cancel, Progress, Run};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::api;
use crate::provider::{Cluster, Error, EvidenceDir, Provider, Settings, State, Status};
use configuration::{ADMIN, Plan, SOCKET};
pub(crate) use files::write_private;
pub(crate) use images::all_there;
use lock::Lock;
use node::Report;

/// How long a node may take until it is ready; it takes 10 s on a machine that
/// does nothing else.
const COMES_UP: Duration = Duration::from_secs(180);
/// How long one that was ready may take to answer.
const ANSWERS: Duration = Duration::from_secs(15);
/// Unix sockets have short paths: 108 bytes with all that comes below.
const LONGEST_STATE: usize = 70;
/// Written when the node is ready; a node without it was never finished.
const MARK: &str = "ready.json";

/// Builds a `kubectl` if it was not built yet, and gives the folder for PATH.
pub(crate) fn own_kubectl(progress: &dyn Progress, cancel: &Cancel) -> Result<PathBuf, Error> {
    program::build(progress, cancel).map(|program| program.path_folder().join("kubectl"))
}

/// The `kubectl` that was built, if it was.
pub(crate) fn built_kubectl() -> Option<PathBuf> {
    program::built().map(|program| program.path_folder().join("kubectl"))
}

/// See the module.
#[derive(Debug)]
pub struct Embedded {
    name: String,
    state: PathBuf,
    evidence: PathBuf,
    keep: bool,
}

/// What is known about a node that was ready once.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// Which build of the programs it runs.
    program: String,
    /// The process that it is to end with, and when that one started.
    owner: Option<(u32, u64)>,
}

impl Embedded {
    /// The cluster by this name, there or not.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let state = state_root()?.join(&settings.name);
        if state.as_os_str().len() > LONGEST_STATE {
            return Err(Error::Other(format!(
                "expected a state folder of at most {LONGEST_STATE} characters, because of the \
                 sockets in it, found {}; set XDG_STATE_HOME to a shorter path",
                state.display()
            )));
        }
        let evidence = std::path::absolute(&settings.evidence)
            .map_err(Error::io("resolve", &settings.evidence))?;
        Ok(Embedded {
            name: settings.name,
            state,
            evidence,
            keep: settings.keep,
        })
    }

    /// Where its logs are while it runs, one file for each process.
    pub fn logs(&self) -> PathBuf {
        self.state.join("log")
    }

    /// Tells clusters of the same name in different state folders apart.
    fn id(&self) -> u32 {
        use std::os::unix::ffi::OsStrExt;
        let digest = Sha256::digest(self.state.as_os_str().as_bytes());
        u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
    }

    fn link(&self) -> String {
        format!("pcov{:08x}", self.id())
    }

    fn cgroup(&self) -> String {
        format!("podcov-{}-{:08x}", self.name, self.id())
    }

    fn lock(&self, progress: &dyn Progress, cancel: &Cancel) -> Result<Lock, Error> {
        Lock::take(&self.state, cancel, || {
            progress.status(&format!(
                "another podcov is at cluster `{}`; waiting for it",
                self.name
            ));
        })
    }

    fn mark(&self) -> Option<Mark> {
        serde_json::from_str(&fs::read_to_string(self.state.join(MARK)).ok()?).ok()
    }

    /// Whether the process that it was to end with ended without it.
    fn is_orphan(&self) -> bool {
        let owner = self.mark().and_then(|mark| mark.owner);
        owner.is_some_and(|(pid, start)| process_start(pid) != Some(start))
    }

    /// Whether there is a node that this process may use as it is.
    fn reusable(&self, cancel: &Cancel) -> Result<bool, Error> {
        let Some(mark) = self.mark() else {
            return Ok(false);
        };
        if node::find(&self.state).is_none() {
            return Ok(false);
        }
        match mark.owner {
            Some(owner) if owner == this_process() => {}
            Some((pid, start)) if process_start(pid) == Some(start) => {
                return Err(Error::Other(format!(
                    "cluster `{}` belongs to process {pid}, which is still running; \
                     wait for it, or use another name",
                    self.name
                )));
            }
            // Its owner crashed: what it did to the cluster is unknown.
            Some(_) => return Ok(false),
            None => {}
        }
        let current = program::built().is_some_and(|program| program.key() == mark.program);
        // A busy machine may be late with an answer; that is no reason to throw
        // away a cluster with all that is in it.
        let begin = Instant::now();
        while current && begin.elapsed() < ANSWERS {
            if self.answers().unwrap_or(false) {
                return Ok(true);
            }
            cancel.sleep(Duration::from_millis(200))?;
        }
        Ok(false)
    }

    /// Whether the node is ready for pods, by its own word and by the API's.
    fn answers(&self) -> Result<bool, Error> {
        if !Report::read(&self.state).all_ready() {
            return Ok(false);
        }
        api::block_on(async {
            let client = api::client(&self.name, &self.kubeconfig(), None).await?;
            let nodes = api::nodes(&self.name, &client).await?;
            Ok(nodes.iter().any(api::is_ready) && api::takes_pods(&self.name, &client).await?)
        })?
    }

    fn start(&self, progress: &dyn Progress, cancel: &Cancel) -> Result<(), Error> {
        let tools = tools::find(progress, cancel)?;
        let program = program::build(progress, cancel)?;
        progress.status("starting the node");
        let net = network::lock(cancel)?;
        let plan = Plan {
            state: &self.state,
            name: &self.name,
            subnet: network::pick(self.id())?,
            link: &self.link(),
            cgroup: &self.cgroup(),
            program: &program,
            tools: &tools,
            keep: self.kept(),
        };
        plan.write()?;
        cgroups::make(&self.cgroup())?;
        Run::new(program.node())
            .arg("start")
            .arg(&self.state)
            .cancel(cancel)
            .run()?;
        drop(net);
        self.wait(progress, cancel)?;
        let owner = (!self.keep).then(this_process);
        let mark = Mark {
            program: program.key(),
            owner,
        };
        let text = serde_json::to_string(&mark).unwrap_or_default();
        files::write_private(&self.state.join(MARK), &text)
    }

    /// Folders that the node must share with the host even if they are in a
    /// place that a node has for itself: the uppermost one below it.
    fn kept(&self) -> Vec<PathBuf> {
        let real = fs::canonicalize(&self.evidence).unwrap_or_else(|_| self.evidence.clone());
        [real, self.state.clone(), program_folder()]
            .into_iter()
            .map(|path| top_folder(&path))
            .collect()
    }

    fn wait(&self, progress: &dyn Progress, cancel: &Cancel) -> Result<(), Error> {
        let begin = Instant::now();
        loop {
            let report = Report::read(&self.state);
            let failed = |reason: String| Error::NotReady {
                cluster: self.name.clone(),
                reason,
                detail: report.complaints(&self.state),
            };
            if node::find(&self.state).is_none() {
                let mut detail = files::tail(&self.logs().join("node.log"), 10);
                detail.extend(report.complaints(&self.state));
                let reason = "process 1 of the node ended".to_owned();
                return Err(Error::NotReady {
                    cluster: self.name.clone(),
                    reason,
                    detail,
                });
            }
            if let Some(process) = report.hopeless() {
                return Err(failed(format!("{} fails again and again", process.name)));
            }
            let pending = report.pending();
            let waiting = match pending.as_slice() {
                [] => "the node".to_owned(),
                [first, second, third, more @ ..] if !more.is_empty() => {
                    format!("{first}, {second}, {third} and {} more", more.len())
                }
                few => few.join(", "),
            };
            progress.status(&format!("waiting for {waiting}"));
            if report.all_ready() && self.answers().unwrap_or(false) {
                return Ok(());
            }
            if begin.elapsed() > COMES_UP {
                return Err(failed(format!(
                    "{waiting} not ready in {} s",
                    COMES_UP.as_secs()
                )));
            }
            cancel.sleep(Duration::from_millis(100))?;
        }
    }

    /// Ends the node and removes what it left, but for the empty state folder:
    /// that one carries the lock.
    fn clear(&self) -> Result<(), Error> {
        node::end(&self.state, &self.link())?;
        cgroups::remove(&self.cgroup())?;
        files::clear(&self.state)
    }

    /// Removes all of it.
    fn remove(&self) -> Result<(), Error> {
        self.clear()?;
        fs::remove_dir(&self.state).map_err(Error::io("remove", &self.state))?;
        // The parents, unless they hold something else.
        let clusters = self.state.parent();
        for folder in clusters.into_iter().chain(clusters.and_then(Path::parent)) {
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }

    fn make_evidence(&self) -> Result<(), Error> {
        let folder = &self.evidence;
        fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
        // Components run as any user, and make folders of their own in it.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o1777))
            .map_err(Error::io("open for all users", folder))
    }

    /// A node that was started for another folder may not see this one.
    fn sees_evidence(&self) -> Result<(), Error> {
        let Some(pid) = node::find(&self.state) else {
            return Ok(());
        };
        let inside = format!(
            "/proc/{}/root{}",
            pid.as_raw_nonzero(),
            self.evidence.display()
        );
        let identity = |path: &Path| {
            fs::metadata(path)
                .map(|found| (found.dev(), found.ino()))
                .ok()
        };
        if identity(Path::new(&inside)) == identity(&self.evidence) {
            return Ok(());
        }
        Err(Error::Other(format!(
            "the node of cluster `{}` does not see {}; take the cluster down first, \
             or put the profiles elsewhere",
            self.name,
            self.evidence.display()
        )))
    }
}

impl Cluster for Embedded {
    fn name(&self) -> &str {
        &self.name
    }

    fn provider(&self) -> Provider {
        Provider::Embedded
    }

    fn up(&self, progress: &dyn Progress, cancel: &Cancel) -> Result<(), Error> {
        needs_root()?;
        let _lock = self.lock(progress, cancel)?;
        self.make_evidence()?;
        if self.reusable(cancel)? {
            return self.sees_evidence();
        }
        if node::find(&self.state).is_some() {
            progress.note(&format!(
                "removing what is left of an earlier cluster `{}`",
                self.name
            ));
        }
        self.clear()?;
        let done = self
            .start(progress, cancel)
            .and_then(|()| self.sees_evidence());
        if done.is_err() {
            self.remove()?;
        }
        done
    }

    fn down(&self, progress: &dyn Progress) -> Result<(), Error> {
        needs_root()?;
        let _lock = self.lock(progress, &Cancel::new())?;
        let made_to_stay = self.mark().is_some_and(|mark| mark.owner.is_none());
        if made_to_stay && !self.keep && node::find(&self.state).is_some() {
            progress.note(&format!(
                "cluster `{}` was up before and stays; `podcov cluster down` removes it",
                self.name
            ));
            return Ok(());
        }
        progress.status(&format!("removing cluster `{}`", self.name));
        self.remove()
    }

    fn prepare(&self, progress: &dyn Progress, cancel: &Cancel) -> Result<(), Error> {
        tools::find(progress, cancel)?;
        program::build(progress, cancel).map(drop)
    }

    fn status(&self) -> Result<Status, Error> {
        if node::find(&self.state).is_none() {
            let detail = if self.state.exists() {
                vec![format!(
                    "only {} is left of it; `up` or `down` removes that",
                    self.state.display()
                )]
            } else {
                Vec::new()
            };
            let state = if detail.is_empty() {
                State::Absent
            } else {
                State::Broken
            };
            return Ok(Status {
                state,
                version: None,
                detail,
            });
        }
        let report = Report::read(&self.state);
        let version = api::block_on(async {
            let client = api::client(&self.name, &self.kubeconfig(), None).await?;
            api::version(&self.name, &client).await
        })?;
        let ready = self.answers().unwrap_or(false);
        let mut detail: Vec<String> = report
            .processes
            .iter()
            .map(node::Process::describe)
            .collect();
        if let Err(error) = &version {
            detail.push(error.to_string());
        }
        detail.push(format!("logs: {}", self.logs().display()));
        // As `up` sees it: what a crash did to it is unknown.
        let is_orphan = self.is_orphan();
        if is_orphan {
            let text = "the podcov that made it was killed; `up` and `run` begin a new one";
            detail.push(text.to_owned());
        }
        let state = if ready && !is_orphan {
            State::Ready
        } else {
            State::Broken
        };
        Ok(Status {
            state,
            version: version.ok(),
            detail,
        })
    }

    fn kubeconfig(&self) -> PathBuf {
        self.state.join(ADMIN)
    }

    fn load_image(
        &self,
        archive: &Path,
        refs: &[String],
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        progress.status(&format!("loading {}", refs.join(", ")));
        images::import(&self.state.join(SOCKET), archive, refs, cancel)
    }

    fn evidence(&self) -> EvidenceDir {
        EvidenceDir {
            on_nodes: self.evidence.clone(),
            local: self.evidence.clone(),
        }
    }

    fn kubectl(&self) -> Result<PathBuf, Error> {
        built_kubectl().ok_or_else(|| {
            Error::Other(
                "expected Kubernetes to be built, found no build; run `podcov cluster up`".into(),
            )
        })
    }

    fn architecture(&self) -> Result<String, Error> {
        Ok(pause_image::go_architecture().to_owned())
    }
}

fn needs_root() -> Result<(), Error> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::Other(
        "the embedded cluster makes namespaces and mounts, so it needs root; \
         use sudo, or set `provider = \"kind\"` or `\"existing\"` in [cluster]"
            .into(),
    ))
}

fn state_root() -> Result<PathBuf, Error> {
    let set = std::env::var_os("XDG_STATE_HOME").filter(|value| !value.is_empty());
    let base = set.map_or_else(|| PathBuf::from("/var/lib"), PathBuf::from);
    let base = std::path::absolute(&base).map_err(Error::io("resolve", &base))?;
    Ok(base.join("podcov/clusters"))
}

fn program_folder() -> PathBuf {
    program::built()
        .and_then(|program| fs::canonicalize(program.path_folder()).ok())
        .unwrap_or_else(|| PathBuf::from("/"))
}

/// `/var/lib/x` for anything below it: the node has `/var/lib` for itself, but
/// what is in it may be shared by its second part.
fn top_folder(path: &Path) -> PathBuf {
    for hidden in ["/var/lib", "/var/log", "/run"] {
        if let Ok(rest) = path.strip_prefix(hidden)
            && let Some(first) = rest.components().next()
        {
            return Path::new(hidden).join(first);
        }
    }
    path.to_owned()
}

fn this_process() -> (u32, u64) {
    let pid = std::process::id();
    (pid, process_start(pid).unwrap_or(0))
}

/// When a process started, in the kernel's ticks; tells it from a later one
/// with its number.
fn process_start(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may contain anything.
    text.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_folder_of_the_nodes_own_is_shared_from_the_top() {
        for (path, shared) in [
            ("/var/lib/jenkins/a/b", "/var/lib/jenkins"),
            ("/run/user/0/x", "/run/user"),
            ("/home/me/x", "/home/me/x"),
        ] {
            assert_eq!(top_folder(Path::new(path)), Path::new(shared));
        }
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        let (pid, start) = this_process();
        assert_eq!(process_start(pid), Some(start));
        assert_ne!(process_start(1), Some(start));
        assert_eq!(process_start(u32::MAX), None);
    }

    #[test]
    fn names_on_the_host_tell_clusters_apart_and_fit() {
        let of = |name: &str| Embedded::new(Settings::new(name, "/tmp/e")).unwrap();
        assert_ne!(of("a").link(), of("b").link());
        assert!(of("a").link().len() <= 15);
    }
}
