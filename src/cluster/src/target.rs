//! The cluster a run talks to, and what can go wrong with talking to it.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use podcov_process::{Cancel, Cancelled};

use crate::store;

/// How long one request may take before the cluster counts as silent.
const REQUEST: Duration = Duration::from_secs(20);
/// How long a cluster may be silent before it counts as gone.
pub(crate) const SILENCE: Duration = Duration::from_secs(20);

/// Which cluster: a context of a kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The kubeconfig.
    pub kubeconfig: PathBuf,
    /// The context; `None` is the kubeconfig's current one.
    pub context: Option<String>,
}

/// Why deploying, watching or stopping did not work. All but `Cancelled` are
/// the cluster's: evidence so far can still be collected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The kubeconfig cannot be used.
    #[error("cannot use {}: {source}", .path.display())]
    Kubeconfig {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<kube::config::KubeconfigError>,
    },
    /// The API server said no, or something else than expected.
    #[error("cannot {action}: {}", said(.source))]
    Api {
        /// What was asked for.
        action: String,
        /// What the client said.
        source: Box<kube::Error>,
    },
    /// The API server does not answer any more.
    #[error(
        "the cluster went away: {0}; evidence so far is in the profile volume and can be collected"
    )]
    Gone(String),
    /// kubectl failed.
    #[error(transparent)]
    Kubectl(podcov_process::Error),
    /// What is to be deployed cannot be read.
    #[error("cannot deploy: {0}")]
    Manifest(String),
    /// Pods did not become ready.
    #[error(transparent)]
    NotReady(#[from] crate::deploy::NotReady),
    /// The webhook cannot be had.
    #[error("the webhook that patches pods does not work: {0}")]
    Webhook(String),
    /// A file of the run.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Threads or timers could not be had.
    #[error("cannot start the client of the cluster: {0}")]
    Runtime(std::io::Error),
}

impl From<podcov_process::Error> for Error {
    fn from(error: podcov_process::Error) -> Self {
        match error {
            podcov_process::Error::Cancelled(cancelled) => Error::Cancelled(cancelled),
            other => Error::Kubectl(other),
        }
    }
}

impl Error {
    /// Whether there is no cluster to talk to any more.
    pub fn is_gone(&self) -> bool {
        matches!(self, Error::Gone(_))
    }
}

/// The server's own words where there are some; kube's text repeats itself.
pub(crate) fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Service(source) => source.to_string(),
        other => {
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text += &format!(": {cause_text}");
                }
                source = cause.source();
            }
            text
        }
    }
}

/// Whether an error says that nobody is there, not that somebody said no.
pub(crate) fn is_silence(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 502..=504),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

pub(crate) fn not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the way to a cluster is a proxy by its own kubeconfig.
pub(crate) fn names_proxy(file: &Kubeconfig) -> bool {
    let mut clusters = file
        .clusters
        .iter()
        .filter_map(|named| named.cluster.as_ref());
    clusters.any(|cluster| cluster.proxy_url.is_some())
}

/// The hosts of the lists and one more, each once.
fn excepted(lists: &[String], host: &str) -> String {
    let known = lists.iter().flat_map(|list| list.split(','));
    let mut hosts: Vec<&str> = Vec::new();
    for name in known.chain([host]).map(str::trim) {
        if !name.is_empty() && !hosts.contains(&name) {
            hosts.push(name);
        }
    }
    hosts.join(",")
}

impl Target {
    async fn config(&self) -> Result<kube::Config, Error> {
        let wrong = |source| Error::Kubeconfig {
            path: self.kubeconfig.clone(),
            source: Box::new(source),
        };
        let file = Kubeconfig::read_from(&self.kubeconfig).map_err(wrong)?;
        let names_proxy = names_proxy(&file);
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..Default::default()
        };
        let mut config = kube::Config::from_custom_kubeconfig(file, &options)
            .await
            .map_err(wrong)?;
        config.connect_timeout = Some(Duration::from_secs(5));
        // A proxy of the environment is the way to the internet, not to a
        // cluster on this machine.
        if !names_proxy {
            config.proxy_url = None;
        }
        Ok(config)
    }

    pub(crate) async fn client(&self) -> Result<kube::Client, Error> {
        kube::Client::try_from(self.config().await?).map_err(|source| Error::Api {
            action: format!("talk to the cluster of {}", self.kubeconfig.display()),
            source: Box::new(source),
        })
    }

    /// Variables for kubectl and other clients, so that they reach a cluster
    /// without the environment's proxy where the kubeconfig has its number, not
    /// a name. Hosts that the environment excepts already stay excepted.
    pub(crate) async fn past_proxy(&self) -> Result<Vec<(&'static str, String)>, Error> {
        let config = self.config().await?;
        let host = config.cluster_url.host().unwrap_or_default();
        let number = host.trim_start_matches('[').trim_end_matches(']');
        if config.proxy_url.is_some() || number.parse::<std::net::IpAddr>().is_err() {
            return Ok(vec![]);
        }
        let known = ["NO_PROXY", "no_proxy"].map(|name| std::env::var(name).unwrap_or_default());
        let hosts = excepted(&known, number);
        Ok(vec![("NO_PROXY", hosts.clone()), ("no_proxy", hosts)])
    }

    /// The arguments that make kubectl talk to the same cluster.
    pub(crate) fn kubectl_args(&self) -> Vec<std::ffi::OsString> {
        let mut args = vec![
            "--kubeconfig".into(),
            self.kubeconfig.clone().into_os_string(),
        ];
        if let Some(context) = &self.context {
            args.extend(["--context".into(), context.into()]);
        }
        args
    }
}

/// A runtime for one blocking call, or for the watch.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("podcov-cluster")
        .enable_all()
        .build()
        .map_err(Error::Runtime)
}

/// Repeats a request until it is answered: silence is waited out for
/// [`SILENCE`], a request to stop is heeded at once.
pub(crate) async fn ask<T, F>(
    action: &str,
    cancel: &Cancel,
    mut request: impl FnMut() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let begin = tokio::time::Instant::now();
    loop {
        let answer = tokio::select! {
            answer = tokio::time::timeout(REQUEST, request()) => answer,
            () = cancelled(cancel) => return Err(Cancelled.into()),
        };
        let silence = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) if is_silence(&error) => said(&error),
            Ok(Err(error)) => {
                let action = action.to_owned();
                return Err(Error::Api {
                    action,
                    source: Box::new(error),
                });
            }
            Err(_) => format!("no answer within {} s", REQUEST.as_secs()),
        };
        if begin.elapsed() >= SILENCE {
            return Err(Error::Gone(format!("cannot {action}: {silence}")));
        }
        pause(Duration::from_millis(500), cancel).await?;
    }
}

/// Waits, or less if the user asks to stop.
pub(crate) async fn pause(time: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
    tokio::select! {
        () = tokio::time::sleep(time) => cancel.check(),
        () = cancelled(cancel) => Err(Cancelled),
    }
}

pub(crate) async fn cancelled(cancel: &Cancel) {
    while !cancel.is_set() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_host_is_excepted_from_the_proxy() {
        let lists = |upper: &str, lower: &str| [upper.to_owned(), lower.to_owned()];
        assert_eq!(excepted(&lists("", ""), "10.1.2.3"), "10.1.2.3");
        assert_eq!(
            excepted(&lists("a, .b", "10.1.2.3,a"), "10.1.2.3"),
            "a,.b,10.1.2.3"
        );
    }
}
