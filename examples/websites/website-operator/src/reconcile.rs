//! One reconciliation, from top to bottom.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::runtime::controller::Action;
use kube::runtime::events::Recorder;
use kube::runtime::finalizer::{Event, finalizer};
use kube::{Api, Client, ResourceExt};
use sha2::{Digest, Sha256};
use tracing::{info, warn};
use website_api::{
    Certificate, ConditionUpdate, TlsMode, Website, WebsiteStatus, condition, set_condition,
};

use crate::FINALIZER;
use crate::apply::{ensure, remove, tell, write_status};
use crate::audit;
use crate::children::{self, MountedCertificate};
use crate::error::Error;
use crate::hosts::{Claim, Holder, Hosts};
use crate::options::Options;
use crate::progress::{CertificateState, Servers};
use crate::site;

/// A host that somebody else has is asked for again after this time.
const HOST_RETRY: Duration = Duration::from_secs(3);
/// A failed reconciliation is tried again after this time.
const ERROR_RETRY: Duration = Duration::from_secs(2);
/// Everything is looked at again after this time, should a watch have missed something.
const RESYNC: Duration = Duration::from_secs(300);

/// What every reconciliation needs.
pub struct Context {
    /// The way to the API server.
    pub client: Client,
    /// Settings.
    pub options: Options,
    /// The way to tell events.
    pub recorder: Recorder,
    /// Host claims.
    pub hosts: Hosts,
}

/// Brings the cluster closer to what `site` asks for.
///
/// # Errors
/// What the API server refuses; a specification that cannot be served is told in the status.
pub async fn reconcile(site: Arc<Website>, context: Arc<Context>) -> Result<Action, Error> {
    let namespace = site.namespace().ok_or(Error::NoNamespace)?;
    let api: Api<Website> = Api::namespaced(context.client.clone(), &namespace);
    finalizer(&api, FINALIZER, site, |event| async {
        match event {
            Event::Apply(site) => Reconciliation::new(&api, &site, &context).apply().await,
            Event::Cleanup(site) => Reconciliation::new(&api, &site, &context).clean_up().await,
        }
    })
    .await
    .map_err(|error| Error::Finalizer(Box::new(error)))
}

/// What to do after a failure.
pub fn on_error(site: Arc<Website>, error: &Error, _: Arc<Context>) -> Action {
    let website = site.name_any();
    if error.is_farewell() {
        info!(
            website,
            error = error.chain(),
            "website or its namespace is leaving"
        );
        return Action::requeue(HOST_RETRY);
    }
    warn!(website, error = error.chain(), "reconciliation failed");
    Action::requeue(ERROR_RETRY)
}

struct Reconciliation<'a> {
    api: &'a Api<Website>,
    site: &'a Website,
    context: &'a Context,
    status: WebsiteStatus,
}

impl<'a> Reconciliation<'a> {
    fn new(api: &'a Api<Website>, site: &'a Website, context: &'a Context) -> Self {
        Self {
            api,
            site,
            context,
            status: site.status.clone().unwrap_or_default(),
        }
    }

    async fn apply(mut self) -> Result<Action, Error> {
        audit::settle(self.api, self.site).await?;
        self.status.observed_generation = self.site.metadata.generation;

        let file = match site::render(&self.site.spec) {
            Ok(file) => file,
            Err(error) => {
                return self.refuse(error.reason(), error.to_string(), RESYNC).await;
            }
        };
        if let Some(holder) = self.claim_host().await? {
            let message = format!(
                "host {} belongs to website {} in namespace {}",
                self.site.spec.host, holder.name, holder.namespace
            );
            return self.refuse("HostTaken", message, HOST_RETRY).await;
        }
        self.set(ConditionUpdate {
            kind: condition::ACCEPTED,
            holds: true,
            reason: "Valid",
            message: format!("host {} is claimed", self.site.spec.host),
        })
        .await;

        let digest = digest(&file);
        ensure(
            &self.children::<ConfigMap>(),
            &children::config_map(self.site, &file),
        )
        .await?;
        ensure(&self.children::<Service>(), &children::service(self.site)?).await?;
        let certificate = self.certificate().await?;
        self.set(certificate.condition()).await;
        let servers = self.servers(&digest, &certificate).await?;
        self.conclude(digest, &certificate, servers).await;
        write_status(self.api, self.site, &self.status).await?;
        Ok(Action::requeue(RESYNC))
    }

    /// Says in the status why nothing is done. What is running keeps running.
    async fn refuse(
        mut self,
        reason: &'static str,
        message: String,
        retry: Duration,
    ) -> Result<Action, Error> {
        for kind in [condition::ACCEPTED, condition::READY] {
            self.set(ConditionUpdate {
                kind,
                holds: false,
                reason,
                message: message.clone(),
            })
            .await;
        }
        write_status(self.api, self.site, &self.status).await?;
        Ok(Action::requeue(retry))
    }

    /// Claims the host and gives back the one before it; the holder if it belongs to another.
    async fn claim_host(&mut self) -> Result<Option<Holder>, Error> {
        let (wanted, us) = (&self.site.spec.host, self.holder());
        let claim = self.context.hosts.claim(wanted, &us).await?;
        if let Claim::Refused(holder) = claim {
            return Ok(Some(holder));
        }
        if let Some(before) = self.status.claimed_host.replace(wanted.clone())
            && before != *wanted
            && self.context.hosts.release(&before, &us).await?
        {
            info!(website = us.name, host = before, "host released");
        }
        Ok(None)
    }

    async fn certificate(&self) -> Result<CertificateState, Error> {
        let api = self.children::<Certificate>();
        match self.site.spec.tls.mode {
            TlsMode::Disabled => {
                // The certificate operator's Secret goes with its Certificate.
                let name = children::certificate_name(&self.site.name_any());
                if remove(&api, &name).await? {
                    info!(website = self.site.name_any(), "certificate given up");
                }
                Ok(CertificateState::NotWanted)
            }
            TlsMode::SelfSigned => {
                let made = ensure(&api, &children::certificate(self.site)).await?;
                let generation = made.metadata.generation;
                Ok(CertificateState::of(made.status.as_ref(), generation))
            }
        }
    }

    /// Rolls out the web servers as soon as their certificate is there.
    async fn servers(
        &self,
        digest: &str,
        certificate: &CertificateState,
    ) -> Result<Option<Servers>, Error> {
        if !certificate.allows_rollout() {
            return Ok(None);
        }
        let mounted = match certificate {
            CertificateState::Issued(revision) => Some(MountedCertificate {
                secret: children::certificate_name(&self.site.name_any()),
                revision: *revision,
            }),
            _ => None,
        };
        let wanted =
            children::deployment(self.site, digest, mounted.as_ref(), &self.context.options)?;
        let made = ensure(&self.children::<Deployment>(), &wanted).await?;
        Ok(Some(Servers::of(&made)))
    }

    async fn conclude(
        &mut self,
        digest: String,
        certificate: &CertificateState,
        servers: Option<Servers>,
    ) {
        let name = self.site.name_any();
        let namespace = self.site.namespace().unwrap_or_default();
        self.status.url = Some(children::url(&name, &namespace, self.site.spec.tls.mode));
        self.status.selector = Some(children::selector(&name));
        let ready = match servers {
            Some(servers) => {
                self.status.content_digest = Some(digest);
                self.status.replicas = servers.existing;
                self.status.ready_replicas = servers.ready;
                servers.condition()
            }
            None => ConditionUpdate {
                kind: condition::READY,
                holds: false,
                reason: "WaitingForCertificate",
                message: certificate.condition().message,
            },
        };
        self.set(ready).await;
    }

    async fn clean_up(self) -> Result<Action, Error> {
        let us = self.holder();
        let claimed = self.status.claimed_host.iter();
        // The status may not have been written yet when the claim was made.
        for host in claimed.chain([&self.site.spec.host]) {
            if self.context.hosts.release(host, &us).await? {
                info!(website = us.name, host, "host released");
                let note = format!("host {host} is free again");
                tell(
                    &self.context.recorder,
                    self.site,
                    false,
                    "HostReleased",
                    &note,
                )
                .await;
            }
        }
        Ok(Action::await_change())
    }

    /// Sets a condition, and tells an event if it turned.
    async fn set(&mut self, update: ConditionUpdate<'static>) {
        let event = update.clone();
        let generation = self.site.metadata.generation;
        let now = Timestamp::now();
        if set_condition(&mut self.status.conditions, update, generation, now)
            && (event.kind != condition::CERTIFICATE_READY || event.reason != "NotWanted")
        {
            let bad = [
                "InvalidRedirects",
                "InvalidHeader",
                "InvalidPagePath",
                "TooLarge",
            ];
            let warning = bad.contains(&event.reason)
                || matches!(event.reason, "HostTaken" | "Refused" | "RolloutStuck");
            if event.kind != condition::READY || event.holds || !warning {
                let recorder = &self.context.recorder;
                tell(recorder, self.site, warning, event.reason, &event.message).await;
            }
        }
    }

    fn children<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        let namespace = self.site.namespace().unwrap_or_default();
        Api::namespaced(self.context.client.clone(), &namespace)
    }

    fn holder(&self) -> Holder {
        Holder {
            namespace: self.site.namespace().unwrap_or_default(),
            name: self.site.name_any(),
            uid: self.site.uid().unwrap_or_default(),
        }
    }
}

fn digest(file: &str) -> String {
    let digest = Sha256::digest(file.as_bytes());
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
