//! The operators' own pods.

use anyhow::ensure;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};

use crate::SYSTEM;
use crate::world::eventually;

/// Scenarios that restart or scale operators take turns: each counts on knowing how many there are.
static TURN: Mutex<()> = Mutex::const_new(());

/// Waits for the turn of a scenario that restarts or scales operators.
pub async fn operators_alone() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// One of the operators.
pub struct Operator {
    name: &'static str,
    deployments: Api<Deployment>,
    pods: Api<Pod>,
}

impl Operator {
    /// The operator whose Deployment has this name.
    pub fn new(client: &Client, name: &'static str) -> Self {
        Self {
            name,
            deployments: Api::namespaced(client.clone(), SYSTEM),
            pods: Api::namespaced(client.clone(), SYSTEM),
        }
    }

    /// Names of its pods, without those on their way out.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn pods(&self) -> anyhow::Result<Vec<String>> {
        let label = format!("app.kubernetes.io/name={}", self.name);
        let pods = self
            .pods
            .list(&ListParams::default().labels(&label))
            .await?;
        let staying = pods
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(staying.map(ResourceExt::name_any).collect())
    }

    /// Deletes a pod, politely.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn delete_pod(&self, pod: &str) -> anyhow::Result<()> {
        self.pods.delete(pod, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Changes the number of replicas and waits until they are all there.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn scale(&self, replicas: i32) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.deployments
            .patch_scale(self.name, &PatchParams::default(), &patch)
            .await?;
        self.ready(replicas).await
    }

    /// Waits until so many replicas are ready, and no other pods are left.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn ready(&self, replicas: i32) -> anyhow::Result<()> {
        let what = format!("{replicas} replicas of {}", self.name);
        eventually(&what, async || {
            let label = format!("app.kubernetes.io/name={}", self.name);
            let pods = self
                .pods
                .list(&ListParams::default().labels(&label))
                .await?
                .items;
            let ready = self
                .deployments
                .get(self.name)
                .await?
                .status
                .unwrap_or_default();
            let ready = ready.ready_replicas.unwrap_or(0);
            ensure!(
                ready == replicas && i32::try_from(pods.len())? == replicas,
                "{ready} ready, {} pods",
                pods.len()
            );
            Ok(())
        })
        .await
    }
}
