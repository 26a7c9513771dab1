//! The way to the cluster and to one website.

use anyhow::{Context, anyhow};
use kube::{Api, Client};
use website_api::Website;

/// A cluster and a namespace in it.
pub struct Connection {
    /// The way there.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
}

impl Connection {
    /// Finds the cluster as kubectl does, or from inside a pod.
    pub async fn open(namespace: Option<String>) -> anyhow::Result<Self> {
        let config = website_api::connect::config()
            .await
            .context("could not find a cluster; set KUBECONFIG")?;
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("could not use the cluster's settings")?;
        Ok(Self { client, namespace })
    }

    /// The websites of the namespace.
    pub fn websites(&self) -> Api<Website> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// One website, which must exist.
    pub async fn website(&self, name: &str) -> anyhow::Result<Website> {
        let found = self
            .websites()
            .get_opt(name)
            .await
            .with_context(|| format!("could not read website {name}"))?;
        found.ok_or_else(|| {
            anyhow!(
                "no website {name} in namespace {}; `sitectl list -A` shows all",
                self.namespace
            )
        })
    }
}

/// What the API server says, without the words around it.
pub fn plainly(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow!("{}", status.message),
        other => other.into(),
    }
}
