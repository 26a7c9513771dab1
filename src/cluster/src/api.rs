//! Short questions to a cluster's API, asked from blocking code.

use std::future::Future;
use std::path::Path;

use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use crate::provider::{Error, State, Status};

/// Runs the future to its end on a thread of its own, so that it works inside
/// and outside of another runtime alike.
pub(crate) fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.map(|runtime| runtime.block_on(future))
        });
        match asked.join() {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Error::Other(format!("cannot start a runtime: {error}"))),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A client for the cluster of a kubeconfig; `None` is the current context.
pub(crate) async fn client(
    cluster: &str,
    kubeconfig: &Path,
    context: Option<&str>,
) -> Result<Client, Error> {
    let unusable = |source| Error::Kubeconfig {
        path: kubeconfig.to_owned(),
        source: Box::new(source),
    };
    let file = Kubeconfig::read_from(kubeconfig).map_err(unusable)?;
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..Default::default()
    };
    let names_proxy = crate::target::names_proxy(&file);
    let mut config = Config::from_custom_kubeconfig(file, &options)
        .await
        .map_err(unusable)?;
    if !names_proxy {
        // One of the environment is the way to the internet, not to a cluster.
        config.proxy_url = None;
    }
    config.connect_timeout = Some(std::time::Duration::from_secs(5));
    config.read_timeout = Some(std::time::Duration::from_secs(10));
    Client::try_from(config).map_err(failed(cluster))
}

/// Its version, such as `v1.34.4`.
pub(crate) async fn version(cluster: &str, client: &Client) -> Result<String, Error> {
    client
        .apiserver_version()
        .await
        .map(|info| info.git_version)
        .map_err(failed(cluster))
}

/// All of its nodes.
pub(crate) async fn nodes(cluster: &str, client: &Client) -> Result<Vec<Node>, Error> {
    let api: Api<Node> = Api::all(client.clone());
    api.list(&Default::default())
        .await
        .map(|list| list.items)
        .map_err(failed(cluster))
}

/// Whether pods can be made in the namespace `default`.
pub(crate) async fn takes_pods(cluster: &str, client: &Client) -> Result<bool, Error> {
    let api: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    api.get_opt("default")
        .await
        .map(|found| found.is_some())
        .map_err(failed(cluster))
}

/// Whether a node says that it is ready.
pub(crate) fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

/// How a cluster is that others keep.
pub(crate) fn status(
    cluster: &str,
    kubeconfig: &Path,
    context: Option<&str>,
) -> Result<Status, Error> {
    block_on(async {
        let client = client(cluster, kubeconfig, context).await?;
        let version = version(cluster, &client).await?;
        let nodes = nodes(cluster, &client).await?;
        let detail = nodes
            .iter()
            .map(|node| {
                let name = node.metadata.name.as_deref().unwrap_or("?");
                format!(
                    "node {name} {}",
                    if is_ready(node) { "ready" } else { "not ready" }
                )
            })
            .collect();
        let state = if nodes.iter().any(is_ready) {
            State::Ready
        } else {
            State::Broken
        };
        Ok(Status {
            state,
            version: Some(version),
            detail,
        })
    })?
}

/// Architecture of the nodes, if it is the same for all.
pub(crate) fn architecture(
    cluster: &str,
    kubeconfig: &Path,
    context: Option<&str>,
) -> Result<String, Error> {
    let nodes = block_on(async {
        let client = client(cluster, kubeconfig, context).await?;
        nodes(cluster, &client).await
    })??;
    let info = nodes
        .iter()
        .filter_map(|node| node.status.as_ref()?.node_info.as_ref());
    let mut found: Vec<&str> = info.map(|info| info.architecture.as_str()).collect();
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [one] => Ok((*one).to_owned()),
        several => Err(Error::Other(format!(
            "expected nodes of one architecture in cluster `{cluster}`, found {several:?}"
        ))),
    }
}

fn failed(cluster: &str) -> impl FnOnce(kube::Error) -> Error + '_ {
    move |source| Error::Api {
        cluster: cluster.to_owned(),
        source: Box::new(source),
    }
}
