//! Clusters behind one trait, and which one it is going to be.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use podcov_process::{Cancel, Cancelled, Progress, find_program};

use crate::embedded::Embedded;
use crate::existing::Existing;
use crate::kind::Kind;
use crate::target::{self, Target};

/// Why a cluster cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// A program that was run for the cluster failed.
    #[error(transparent)]
    Process(podcov_process::Error),
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
    /// Something has to be installed first.
    #[error("this machine lacks what the cluster needs:{}", list(.missing))]
    Missing {
        /// Each with how to get it.
        missing: Vec<String>,
    },
    /// The Kubernetes API gave an error or no answer.
    #[error("the API of cluster `{cluster}` does not answer as expected: {source}")]
    Api {
        /// Name of the cluster.
        cluster: String,
        /// What the client said.
        source: Box<kube::Error>,
    },
    /// The kubeconfig cannot be used.
    #[error("cannot use {}: {source}", .path.display())]
    Kubeconfig {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<kube::config::KubeconfigError>,
    },
    /// The cluster did not come up; its processes' last words are in `detail`.
    #[error("cluster `{cluster}` did not come up: {reason}{}", list(.detail))]
    NotReady {
        /// Name of the cluster.
        cluster: String,
        /// What it waited for.
        reason: String,
        /// State and last log lines of what was not well.
        detail: Vec<String>,
    },
    /// Anything else; the text says what was expected, found and can be done.
    #[error("{0}")]
    Other(String),
}

impl From<podcov_process::Error> for Error {
    fn from(error: podcov_process::Error) -> Self {
        match error {
            podcov_process::Error::Cancelled(cancelled) => Error::Cancelled(cancelled),
            other => Error::Process(other),
        }
    }
}

impl Error {
    /// For `map_err`: the error of `action` on `path`.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io {
            action,
            path,
            source,
        }
    }
}

fn list(lines: &[String]) -> String {
    lines
        .iter()
        .fold(String::new(), |text, line| text + "\n    " + line)
}

/// The kinds of cluster there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    /// `Existing` if a kubeconfig or context is named, `Kind` if Docker and
    /// kind are there, else `Embedded`.
    #[default]
    Auto,
    /// A single node of our own, without Docker.
    Embedded,
    /// kind, with Docker.
    Kind,
    /// One that somebody else made.
    Existing,
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Provider::Auto => "auto",
            Provider::Embedded => "embedded",
            Provider::Kind => "kind",
            Provider::Existing => "existing",
        })
    }
}

/// How images get into an existing cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageLoad {
    /// A command, run once for each archive. `{archive}` in its words becomes
    /// the path of the archive, `{refs}` the names of its images by comma.
    Command(Vec<String>),
    /// They are there already, or the nodes pull them.
    Preloaded,
}

/// What is to be known about a cluster before there is one.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which kind.
    pub provider: Provider,
    /// Its name: lower-case letters, digits and `-`, at most 40.
    pub name: String,
    /// Where evidence is to arrive on this machine: the host side of the
    /// profile volume.
    pub evidence: PathBuf,
    /// A folder at or above `evidence` that is the same for every run. Kind
    /// mounts folders when a cluster is made, so it mounts this one; `None`
    /// means `evidence`, and a cluster for one run.
    pub runs: Option<PathBuf>,
    /// Whether it goes away with this process (`podcov run`) or stays
    /// (`podcov cluster up`). A cluster of a process that is gone is a
    /// leftover: the next `up` removes it first.
    pub keep: bool,
    /// A folder for what belongs to the run, such as a rewritten kubeconfig.
    pub scratch: PathBuf,
    /// Existing: its kubeconfig; `None` means `$KUBECONFIG` or the default.
    pub kubeconfig: Option<PathBuf>,
    /// Existing: its context; `None` means the current one.
    pub context: Option<String>,
    /// Existing: how images get there.
    pub image_load: Option<ImageLoad>,
    /// Existing: the profile volume's folder on the nodes. `None` means the
    /// nodes see the path of `evidence`.
    pub node_dir: Option<PathBuf>,
    /// Kind: a configuration instead of our own; `{evidence}` and `{name}` in
    /// it are replaced.
    pub kind_config: Option<PathBuf>,
    /// Kind: node image instead of kind's default.
    pub kind_image: Option<String>,
}

impl Settings {
    /// A cluster of this name and evidence folder, the rest as it comes.
    pub fn new(name: impl Into<String>, evidence: impl Into<PathBuf>) -> Self {
        let evidence = evidence.into();
        Settings {
            provider: Provider::Auto,
            name: name.into(),
            scratch: evidence.parent().unwrap_or(&evidence).to_owned(),
            evidence,
            runs: None,
            keep: false,
            kubeconfig: None,
            context: None,
            image_load: None,
            node_dir: None,
            kind_config: None,
            kind_image: None,
        }
    }
}

/// One folder, as the two sides of the profile volume call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceDir {
    /// For hostPath.
    pub on_nodes: PathBuf,
    /// For the collector.
    pub local: PathBuf,
}

/// How a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is none.
    Absent,
    /// There is something, and it does not work.
    Broken,
    /// It answers and its node is ready.
    Ready,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Absent => "absent",
            State::Broken => "broken",
            State::Ready => "ready",
        })
    }
}

/// What `status` finds.
#[derive(Clone, Debug)]
pub struct Status {
    /// In one word.
    pub state: State,
    /// Version of Kubernetes, when it answered.
    pub version: Option<String>,
    /// Lines for a user who wants to know more, or why not.
    pub detail: Vec<String>,
}

/// A cluster. Methods block; they may be called within an async runtime's
/// `spawn_blocking` or outside of any.
pub trait Cluster: Send + Sync {
    /// Its name.
    fn name(&self) -> &str;
    /// Its kind, never [`Provider::Auto`].
    fn provider(&self) -> Provider;
    /// Does what needs nothing of the composition and can fail or take long:
    /// installs what is missing on this machine, builds the cluster's program.
    /// [`Cluster::up`] does it, too; doing it first tells in the first minute
    /// what would else be told in the tenth.
    fn prepare(&self, _: &dyn Progress, _: &Cancel) -> Result<(), Error> {
        Ok(())
    }
    /// Makes it ready. One that is ready stays as it is. On an error or a
    /// request to stop, nothing of what was begun is left.
    fn up(&self, progress: &dyn Progress, cancel: &Cancel) -> Result<(), Error>;
    /// Removes it with everything that belongs to it. None is fine, too. With
    /// settings that do not `keep` it, an embedded cluster that was made to stay
    /// stays: a run that found it there leaves it there.
    fn down(&self, progress: &dyn Progress) -> Result<(), Error>;
    /// How it is.
    fn status(&self) -> Result<Status, Error>;
    /// A kubeconfig whose current context is this cluster. There after `up`.
    fn kubeconfig(&self) -> PathBuf;
    /// Gets the images of the archive (docker or OCI) onto the nodes and
    /// makes sure that the nodes know them by the names in `refs`.
    fn load_image(
        &self,
        archive: &Path,
        refs: &[String],
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<(), Error>;
    /// The folder behind the profile volume.
    fn evidence(&self) -> EvidenceDir;
    /// A `kubectl` to call. There after `up`.
    fn kubectl(&self) -> Result<PathBuf, Error>;
    /// Architecture of the nodes as Go and OCI name it: `amd64`, `arm64`.
    fn architecture(&self) -> Result<String, Error>;

    /// Variables for commands that work with the cluster: `KUBECONFIG`, `PATH`
    /// with `kubectl` first, and the cluster among the hosts in `NO_PROXY`: a
    /// proxy of the environment is the way to the internet, not to it.
    fn environment(&self) -> Result<Vec<(OsString, OsString)>, Error> {
        let kubectl = self.kubectl()?;
        let folder = kubectl.parent().map(Path::to_owned).unwrap_or_default();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(folder).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(folders)
            .map_err(|error| Error::Other(format!("cannot put kubectl on PATH: {error}")))?;
        let mut env: Vec<(OsString, OsString)> = vec![
            ("KUBECONFIG".into(), self.kubeconfig().into()),
            ("PATH".into(), path),
        ];
        let past_proxy = past_proxy(&self.kubeconfig())?.into_iter();
        env.extend(past_proxy.map(|(key, value)| (key.into(), value.into())));
        Ok(env)
    }
}

/// Variables that keep a proxy of the environment from the cluster of the
/// kubeconfig.
fn past_proxy(kubeconfig: &Path) -> Result<Vec<(&'static str, String)>, Error> {
    let target = Target {
        kubeconfig: kubeconfig.to_owned(),
        context: None,
    };
    crate::api::block_on(target.past_proxy())?.map_err(|error| match error {
        target::Error::Kubeconfig { path, source } => Error::Kubeconfig { path, source },
        other => Error::Other(other.to_string()),
    })
}

/// The cluster that the settings mean. Makes nothing yet.
pub fn select(settings: Settings) -> Result<Box<dyn Cluster>, Error> {
    check_name(&settings.name)?;
    let docker_and_kind = || find_program("kind").is_some() && docker_answers();
    Ok(match resolve(&settings, docker_and_kind) {
        Provider::Existing => Box::new(Existing::new(settings)?),
        Provider::Kind => Box::new(Kind::new(settings)?),
        Provider::Embedded | Provider::Auto => Box::new(Embedded::new(settings)?),
    })
}

fn resolve(settings: &Settings, docker_and_kind: impl FnOnce() -> bool) -> Provider {
    match settings.provider {
        Provider::Auto if settings.kubeconfig.is_some() || settings.context.is_some() => {
            Provider::Existing
        }
        Provider::Auto if docker_and_kind() => Provider::Kind,
        Provider::Auto => Provider::Embedded,
        named => named,
    }
}

/// Whether there is a Docker that works: the program alone is not enough.
fn docker_answers() -> bool {
    let limit = std::time::Duration::from_secs(5);
    podcov_process::Run::new("docker")
        .arg("info")
        .timeout(limit)
        .run()
        .is_ok()
}

/// Names become host names, folders and parts of container names.
fn check_name(name: &str) -> Result<(), Error> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if name.len() <= 40
        && name.chars().all(good)
        && ends(name.chars().next())
        && ends(name.chars().last())
    {
        return Ok(());
    }
    Err(Error::Other(format!(
        "expected a cluster name of lower-case letters, digits and `-`, at most 40, found `{name}`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(change: impl FnOnce(&mut Settings), docker_and_kind: bool) -> Provider {
        let mut settings = Settings::new("a", "/evidence");
        change(&mut settings);
        resolve(&settings, || docker_and_kind)
    }

    #[test]
    fn auto_takes_what_is_named_then_kind_then_embedded() {
        assert_eq!(resolved(|_| {}, false), Provider::Embedded);
        assert_eq!(resolved(|_| {}, true), Provider::Kind);
        assert_eq!(
            resolved(|s| s.context = Some("x".into()), true),
            Provider::Existing
        );
        assert_eq!(
            resolved(|s| s.kubeconfig = Some("k".into()), false),
            Provider::Existing
        );
    }

    #[test]
    fn a_named_provider_is_taken() {
        let name = |provider| move |s: &mut Settings| s.provider = provider;
        assert_eq!(resolved(name(Provider::Embedded), true), Provider::Embedded);
        assert_eq!(resolved(name(Provider::Kind), false), Provider::Kind);
    }

    #[test]
    fn names_that_cannot_be_host_names_are_refused() {
        assert!(check_name("podcov-1").is_ok());
        for bad in ["", "-a", "a-", "A", "a_b", "a/b", &"a".repeat(41)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    fn hosts_past_proxy(server: &str, more: &str) -> Vec<&'static str> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kubeconfig");
        let text = format!(
            "apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: '{server}'{more}}}}}]
users: [{{name: u, user: {{token: t}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"
        );
        std::fs::write(&file, text).unwrap();
        let found = past_proxy(&file).unwrap();
        for (_, hosts) in &found {
            assert!(hosts.split(',').any(|host| host == "10.9.8.7"), "{hosts}");
        }
        found.into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn a_cluster_by_number_is_reached_past_the_proxy() {
        assert_eq!(
            hosts_past_proxy("https://10.9.8.7:6443", ""),
            ["NO_PROXY", "no_proxy"]
        );
        let own_proxy = ", proxy-url: 'http://10.0.0.1:80'";
        assert!(hosts_past_proxy("https://10.9.8.7:6443", own_proxy).is_empty());
        assert!(hosts_past_proxy("https://cluster.example.org", "").is_empty());
    }
}
