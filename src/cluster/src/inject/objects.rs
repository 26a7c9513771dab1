//! The objects that make up the webhook.

use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Webhook;
use super::certificate::Certificate;
use crate::overlay::webhook::{DISABLED, INJECT_LABEL, PROBE, Settings};
use crate::target::Error;
use crate::watch::AGENT_LABEL;

/// Name of everything in the webhook's own namespace.
pub(crate) const NAME: &str = "inject";
/// Label of what podcov made.
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
pub(super) const PODCOV: &str = "podcov";
/// Label of what a run installed and removes.
pub(super) const OF_RUN: &str = "podcov.dev/of-run";
/// Annotation of the Secret: when the certificate ends.
pub(super) const EXPIRES: &str = "podcov.dev/certificate-expires";
/// What a probe says before the webhook saw it.
pub(super) const ASKED: &str = "asked";
/// How long the API server waits before it lets a pod pass.
const TIMEOUT_SECONDS: u32 = 5;
const PORT: u16 = 8443;
const DIR: &str = "/podcov/inject";

/// The namespace of the webhook's pods. A composition's name has 50 characters
/// at most, a namespace's 63.
pub fn own_namespace(composition: &str) -> String {
    format!("podcov-hook-{composition}")
}

pub(crate) fn configuration_name(composition: &str) -> String {
    format!("podcov-inject-{composition}")
}

/// Everything, ready to be applied.
pub(super) struct Objects {
    /// Where the pods are.
    pub(super) namespace: Value,
    /// In this order.
    pub(super) pods: Vec<Value>,
    /// After the pods are ready.
    pub(super) configuration: Value,
    pub(super) settings_id: String,
}

impl Objects {
    pub(super) fn new(webhook: &Webhook) -> Result<Self, Error> {
        let namespace = own_namespace(&webhook.composition);
        let certificate = Certificate::new(&format!("{NAME}.{namespace}.svc"))?;
        let settings = settings(webhook, &certificate);
        let metadata = metadata(webhook);
        Ok(Objects {
            namespace: json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": metadata(&namespace, &[(INJECT_LABEL, &webhook.composition)])}),
            pods: vec![
                secret(&certificate, &settings, metadata(NAME, &[])),
                json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata(NAME, &[]),
                    "spec": {"selector": {AGENT_LABEL: NAME},
                        "ports": [{"port": 443, "targetPort": PORT}]}}),
                deployment(&webhook.image, &settings.id, metadata(NAME, &[])),
            ],
            configuration: configuration(
                webhook,
                &certificate,
                metadata(&configuration_name(&webhook.composition), &[]),
            ),
            settings_id: settings.id,
        })
    }
}

/// Makes the metadata of an object from its name and further labels.
fn metadata(webhook: &Webhook) -> impl Fn(&str, &[(&str, &str)]) -> Value {
    let mut labels = json!({MANAGED_BY: PODCOV});
    if webhook.lasts.is_some() {
        labels[OF_RUN] = json!(webhook.spec.run);
    }
    move |name, more| {
        let mut labels = labels.clone();
        for (key, value) in more {
            labels[*key] = json!(value);
        }
        json!({"name": name, "labels": labels})
    }
}

fn settings(webhook: &Webhook, certificate: &Certificate) -> Settings {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let until = webhook
        .lasts
        .map(|lasts| now.map_or(lasts, |now| now + lasts));
    let mut settings = Settings {
        id: String::new(),
        composition: webhook.composition.clone(),
        namespaces: webhook.namespaces.clone(),
        until: until.map(|until: Duration| until.as_secs()),
        spec: webhook.spec.clone(),
    };
    // The certificate is part of it: a pod that has an older one is not the one
    // that is waited for.
    let text = format!("{}{}", json!(settings), certificate.certificate);
    settings.id = Sha256::digest(text)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    settings
}

fn secret(certificate: &Certificate, settings: &Settings, mut metadata: Value) -> Value {
    metadata["annotations"] = json!({EXPIRES: certificate.expires.to_string()});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque",
    "stringData": {
        "settings.json": json!(settings).to_string(),
        "tls.crt": certificate.certificate,
        "tls.key": certificate.key,
    }})
}

/// Fit for namespaces that enforce the `restricted` level of Pod Security.
fn deployment(image: &str, settings_id: &str, metadata: Value) -> Value {
    let mut labels = metadata["labels"].clone();
    labels[AGENT_LABEL] = NAME.into();
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {AGENT_LABEL: NAME}},
        // Never without one that answers.
        "strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {
            "metadata": {"labels": labels, "annotations": {"podcov.dev/settings": settings_id}},
            "spec": {
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "terminationGracePeriodSeconds": 10,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
                    "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": NAME, "image": image, "imagePullPolicy": "IfNotPresent",
                    "args": [NAME],
                    "env": [{"name": "PODCOV_INJECT_DIR", "value": DIR},
                        {"name": "PODCOV_LISTEN", "value": format!("[::]:{PORT} 0.0.0.0:{PORT}")}],
                    "ports": [{"containerPort": PORT}],
                    "readinessProbe": {"periodSeconds": 1, "timeoutSeconds": 2,
                        "httpGet": {"scheme": "HTTPS", "port": PORT, "path": "/healthz"}},
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"},
                        "limits": {"memory": "128Mi"}},
                    "securityContext": {"allowPrivilegeEscalation": false,
                        "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": NAME, "mountPath": DIR, "readOnly": true}],
                }],
                "volumes": [{"name": NAME,
                    "secret": {"secretName": NAME, "defaultMode": 0o440}}],
            },
        },
    }})
}

fn configuration(webhook: &Webhook, certificate: &Certificate, metadata: Value) -> Value {
    let composition = &webhook.composition;
    let client = json!({
        "caBundle": ByteString(certificate.authority.clone().into_bytes()),
        "service": {"name": NAME, "namespace": own_namespace(composition), "path": "/review",
            "port": 443},
    });
    let hook = |what: &str, scope: &str, namespaces: Value, objects: Value| {
        json!({
            "name": format!("{what}.inject.podcov.dev"),
            "admissionReviewVersions": ["v1"],
            "clientConfig": client,
            "failurePolicy": "Ignore",
            "matchPolicy": "Equivalent",
            "namespaceSelector": namespaces,
            "objectSelector": objects,
            "reinvocationPolicy": "IfNeeded",
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": [what], "scope": scope}],
            "sideEffects": "None",
            "timeoutSeconds": TIMEOUT_SECONDS,
        })
    };
    let mut selected = vec![json!(
        {"key": INJECT_LABEL, "operator": "In", "values": [composition]})];
    if webhook.spec.needs_privileged() {
        // The pods would be refused, and without the volume they would not be.
        selected.push(
            json!({"key": "pod-security.kubernetes.io/enforce", "operator": "NotIn",
            "values": ["baseline", "restricted"]}),
        );
    }
    let pods = hook(
        "pods",
        "Namespaced",
        json!({"matchExpressions": selected}),
        json!({"matchExpressions": [
            {"key": AGENT_LABEL, "operator": "DoesNotExist"},
            {"key": INJECT_LABEL, "operator": "NotIn", "values": [DISABLED]},
        ]}),
    );
    let mut hooks = vec![pods];
    if !webhook.namespaces.is_empty() {
        let without = json!({"matchExpressions": [
            {"key": INJECT_LABEL, "operator": "DoesNotExist"}]});
        hooks.push(hook("namespaces", "Cluster", without, json!({})));
    }
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": metadata,
        "webhooks": hooks,
    })
}

/// A pod that is never made.
pub(super) fn probe() -> Pod {
    let container = json!({"name": "probe", "image": "localhost/none", "securityContext": {
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}});
    let pod = json!({
        "metadata": {"generateName": "probe-", "annotations": {PROBE: ASKED}},
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [container],
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"}},
        },
    });
    serde_json::from_value(pod).unwrap_or_default()
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
