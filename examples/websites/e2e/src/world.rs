use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use website_api::{Website, condition, find_condition, is_true};

/// Nothing in the scenarios takes longer on a slow machine.
const PATIENCE: Duration = Duration::from_secs(90);
const INTERVAL: Duration = Duration::from_millis(150);

/// A namespace of its own for one scenario.
pub struct World {
    /// The way to the cluster.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
}

/// Runs one scenario in a world of its own and leaves nothing behind.
///
/// # Errors
/// What the scenario says, or that its world could not be made or emptied.
pub async fn scenario(
    name: &str,
    body: impl AsyncFnOnce(&World) -> anyhow::Result<()>,
) -> Result<(), Failure> {
    let world = World::make(name).await?;
    let outcome = body(&world).await;
    if outcome.is_err() {
        world.print_state().await;
    }
    let emptied = world.empty().await;
    Ok(outcome.and(emptied)?)
}

/// Why a scenario failed: the error with its causes, without anybody's stack.
pub struct Failure(anyhow::Error);

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self(error)
    }
}

impl Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl World {
    async fn make(name: &str) -> anyhow::Result<Self> {
        let mut config = website_api::connect::config()
            .await
            .context("no cluster; KUBECONFIG must name one with the composition deployed")?;
        // It would take a website's 503 for the API server's, and obey its Retry-After.
        config.default_retry = false;
        let client = Client::try_from(config).context("could not use the cluster's settings")?;
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let namespace = format!("e2e-{name}-{:06x}", since_epoch.as_micros() & 0xff_ffff);
        let object = Namespace {
            metadata: kube::core::ObjectMeta {
                name: Some(namespace.clone()),
                labels: Some([("websites-e2e".to_owned(), name.to_owned())].into()),
                ..Default::default()
            },
            ..Namespace::default()
        };
        Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &object)
            .await
            .context("could not make a namespace")?;
        Ok(Self { client, namespace })
    }

    /// Websites go first: their finalizers need the operators, and a namespace that is on its way
    /// out refuses much.
    async fn empty(&self) -> anyhow::Result<()> {
        let websites = self.websites();
        websites
            .delete_collection(&DeleteParams::default(), &ListParams::default())
            .await
            .context("could not delete the websites")?;
        eventually("all websites to be gone", async || {
            let left = websites.list(&ListParams::default()).await?.items;
            ensure!(left.is_empty(), "{} are left", left.len());
            Ok(())
        })
        .await?;
        Api::<Namespace>::all(self.client.clone())
            .delete(&self.namespace, &DeleteParams::default())
            .await
            .context("could not delete the namespace")?;
        Ok(())
    }

    async fn print_state(&self) {
        eprintln!(
            "--- state of namespace {} after the failure",
            self.namespace
        );
        let all = ListParams::default();
        if let Ok(websites) = self.websites().list(&all).await {
            for site in websites {
                let status = serde_json::to_string(&site.status).unwrap_or_default();
                eprintln!("website {}: {status}", site.name_any());
            }
        }
        if let Ok(pods) = self.objects::<Pod>().list(&all).await {
            for pod in pods {
                let status = serde_json::to_string(&pod.status).unwrap_or_default();
                eprintln!("pod {}: {status}", pod.name_any());
            }
        }
        if let Ok(events) = self.objects::<Event>().list(&all).await {
            for event in events {
                let about = event.involved_object.name.unwrap_or_default();
                let reason = event.reason.unwrap_or_default();
                eprintln!(
                    "event {about}: {reason}: {}",
                    event.message.unwrap_or_default()
                );
            }
        }
    }

    /// Objects of a kind in this namespace.
    pub fn objects<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The websites in this namespace.
    pub fn websites(&self) -> Api<Website> {
        self.objects()
    }

    /// A host that no other scenario has.
    pub fn host(&self, prefix: &str) -> String {
        format!("{prefix}.{}.example.com", self.namespace)
    }

    /// The shortest specification, with this start page.
    pub fn site(&self, name: &str, start_page: &str) -> Value {
        json!({"host": self.host(name), "content": {"pages": {"/": start_page}}})
    }

    /// Asks for a website.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn create(&self, name: &str, spec: Value) -> anyhow::Result<()> {
        let site = json!({
            "apiVersion": "web.podcov.dev/v1",
            "kind": "Website",
            "metadata": {"name": name},
            "spec": spec
        });
        // Not a typed object: the scenarios also send what the types would not allow.
        let request = http::Request::post(format!(
            "/apis/web.podcov.dev/v1/namespaces/{}/websites",
            self.namespace
        ))
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&site)?)?;
        self.client.request::<Value>(request).await?;
        Ok(())
    }

    /// Asks for a website and waits until it is served.
    ///
    /// # Errors
    /// When it is refused, or not served in time.
    pub async fn create_ready(&self, name: &str, spec: Value) -> anyhow::Result<Website> {
        self.create(name, spec).await?;
        self.ready(name).await
    }

    /// Changes the specification of a website; `null` removes.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn change(&self, name: &str, spec: Value) -> anyhow::Result<Website> {
        let patch = Patch::Merge(json!({"spec": spec}));
        Ok(self
            .websites()
            .patch(name, &PatchParams::default(), &patch)
            .await?)
    }

    /// Deletes a website and waits until it is gone.
    ///
    /// # Errors
    /// When it stays.
    pub async fn delete(&self, name: &str) -> anyhow::Result<()> {
        self.websites()
            .delete(name, &DeleteParams::default())
            .await?;
        self.gone::<Website>(name).await
    }

    /// Waits until there is no such object.
    ///
    /// # Errors
    /// When it stays.
    pub async fn gone<K>(&self, name: &str) -> anyhow::Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + serde::de::DeserializeOwned,
    {
        let api = self.objects::<K>();
        eventually(&format!("{} {name} to be gone", K::kind(&())), async || {
            ensure!(api.get_opt(name).await?.is_none(), "it is there");
            Ok(())
        })
        .await
    }

    /// Waits until a website is served as its current specification says.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn ready(&self, name: &str) -> anyhow::Result<Website> {
        self.holds(name, condition::READY).await
    }

    async fn holds(&self, name: &str, kind: &str) -> anyhow::Result<Website> {
        eventually(&format!("website {name} to be {kind}"), async || {
            let site = self.websites().get(name).await?;
            let status = site.status.clone().unwrap_or_default();
            let generation = site.metadata.generation;
            ensure!(
                is_true(&status.conditions, kind, generation),
                "generation {generation:?}: {:?}",
                status.conditions
            );
            Ok(site)
        })
        .await
    }

    /// Waits until a condition of a website is false for `reason`, and returns its message.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn fails(&self, name: &str, kind: &str, reason: &str) -> anyhow::Result<String> {
        eventually(
            &format!("{kind} of {name} to be false for {reason}"),
            async || {
                let site = self.websites().get(name).await?;
                let generation = site.metadata.generation;
                let conditions = site.status.unwrap_or_default().conditions;
                let found = find_condition(&conditions, kind).context("no such condition")?;
                ensure!(
                    found.status == "False"
                        && found.reason == reason
                        && found.observed_generation == generation,
                    "generation {generation:?}: {found:?}"
                );
                Ok(found.message.clone())
            },
        )
        .await
    }

    /// The pods that serve a website, by name, without those on their way out.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn pods(&self, site: &str) -> anyhow::Result<BTreeMap<String, Pod>> {
        let selector = ListParams::default().labels(&format!("web.podcov.dev/website={site}"));
        let pods = self.objects::<Pod>().list(&selector).await?;
        let staying = pods
            .into_iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(staying.map(|pod| (pod.name_any(), pod)).collect())
    }

    /// The Deployment behind a website.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn deployment(&self, site: &str) -> anyhow::Result<Deployment> {
        Ok(self.objects::<Deployment>().get(site).await?)
    }

    /// Waits until an event of `reason` about `object` has been told.
    ///
    /// # Errors
    /// When it has not in time.
    pub async fn event(&self, object: &str, reason: &str) -> anyhow::Result<String> {
        let about = ListParams::default().fields(&format!("involvedObject.name={object}"));
        eventually(&format!("event {reason} about {object}"), async || {
            let events = self.objects::<Event>().list(&about).await?;
            let found = events
                .into_iter()
                .find(|e| e.reason.as_deref() == Some(reason));
            found
                .and_then(|event| event.message)
                .context("no such event")
        })
        .await
    }
}

/// Tries until it succeeds; the last error is told when patience ends.
pub(crate) async fn eventually<T>(
    what: &str,
    attempt: impl AsyncFn() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if Instant::now() > deadline {
            bail!("waited {} s for {what}: {error:#}", PATIENCE.as_secs());
        }
        sleep(INTERVAL).await;
    }
}

impl World {
    /// Tries until it succeeds.
    ///
    /// # Errors
    /// The last error when patience ends.
    pub async fn eventually<T>(
        &self,
        what: &str,
        attempt: impl AsyncFn() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        eventually(what, attempt).await
    }

    /// Asks for a website that the API server must refuse, and returns its words.
    ///
    /// # Errors
    /// When it is accepted.
    pub async fn refused(&self, name: &str, spec: Value) -> anyhow::Result<String> {
        match self.create(name, spec.clone()).await {
            Ok(()) => Err(anyhow!("accepted: {spec}")),
            Err(error) => Ok(format!("{error:#}")),
        }
    }
}
