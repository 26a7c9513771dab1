//! The objects that make up a website, as they are to be.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde_json::{Value, json};
use website_api::{Certificate, CertificateSpec, Rollout, TlsMode, WEBSITE_LABEL, Website};

use crate::error::Error;
use crate::options::Options;

/// Port of the site in the web server's container.
const SITE_PORT: u16 = 8080;
/// Port of probes and metrics there.
const ADMIN_PORT: u16 = 9090;
/// User and group of the web server; it has no name there.
const USER: u32 = 65532;

/// A certificate that can be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedCertificate {
    /// Secret that holds it.
    pub secret: String,
    /// Number of the issue; a new one rolls the web servers.
    pub revision: i64,
}

/// Name of the ConfigMap with the site file.
pub fn config_map_name(site: &str) -> String {
    format!("{site}-site")
}

/// Name of the Certificate and of its Secret.
pub fn certificate_name(site: &str) -> String {
    format!("{site}-tls")
}

/// Selector of a website's web servers.
pub fn selector(site: &str) -> String {
    format!("{WEBSITE_LABEL}={site}")
}

/// Address of the website inside the cluster.
pub fn url(site: &str, namespace: &str, mode: TlsMode) -> String {
    match mode {
        TlsMode::Disabled => format!("http://{site}.{namespace}.svc"),
        TlsMode::SelfSigned => format!("https://{site}.{namespace}.svc"),
    }
}

fn name(site: &Website) -> &str {
    site.metadata.name.as_deref().unwrap_or_default()
}

fn metadata(site: &Website, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: site.metadata.namespace.clone(),
        labels: Some(labels(site)),
        owner_references: site.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

fn labels(site: &Website) -> std::collections::BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "website"),
        ("app.kubernetes.io/managed-by", "website-operator"),
        ("app.kubernetes.io/instance", name(site)),
        (WEBSITE_LABEL, name(site)),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// The site file in its ConfigMap.
pub fn config_map(site: &Website, file: &str) -> ConfigMap {
    ConfigMap {
        metadata: metadata(site, config_map_name(name(site))),
        data: Some([("site.json".to_owned(), file.to_owned())].into()),
        ..ConfigMap::default()
    }
}

/// The certificate that a website with TLS asks for.
pub fn certificate(site: &Website) -> Certificate {
    let name = certificate_name(name(site));
    let service = self::name(site);
    let namespace = site.metadata.namespace.as_deref().unwrap_or_default();
    let spec = CertificateSpec {
        secret_name: name.clone(),
        common_name: site.spec.host.clone(),
        dns_names: vec![
            site.spec.host.clone(),
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.cluster.local"),
        ],
        validity: site.spec.tls.validity.clone(),
        renew_before: site.spec.tls.renew_before.clone(),
    };
    let mut certificate = Certificate::new(&name, spec);
    certificate.metadata = metadata(site, name);
    certificate
}

/// The address in front of the web servers.
///
/// # Errors
/// Never for what is built here; the conversion is checked all the same.
pub fn service(site: &Website) -> Result<Service, Error> {
    let (port, port_name) = match site.spec.tls.mode {
        TlsMode::Disabled => (80, "http"),
        TlsMode::SelfSigned => (443, "https"),
    };
    let spec = json!({
        "selector": {WEBSITE_LABEL: name(site)},
        "ports": [{"name": port_name, "port": port, "targetPort": "site", "protocol": "TCP"}]
    });
    Ok(Service {
        metadata: metadata(site, name(site).to_owned()),
        spec: Some(serde_json::from_value(spec).map_err(|e| Error::Generated("Service", e))?),
        ..Service::default()
    })
}

/// The web servers.
///
/// # Errors
/// Never for what is built here; the conversion is checked all the same.
pub fn deployment(
    site: &Website,
    digest: &str,
    certificate: Option<&MountedCertificate>,
    options: &Options,
) -> Result<Deployment, Error> {
    let template = pod_template(site, digest, certificate, &options.webserver_image);
    let strategy = match site.spec.rollout {
        Rollout::Gradual => json!({
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}
        }),
        Rollout::Replace => json!({"type": "Recreate"}),
    };
    let spec = json!({
        "replicas": site.spec.replicas,
        "selector": {"matchLabels": {WEBSITE_LABEL: name(site)}},
        "strategy": strategy,
        "revisionHistoryLimit": 2,
        "progressDeadlineSeconds": 120,
        "template": template
    });
    Ok(Deployment {
        metadata: metadata(site, name(site).to_owned()),
        spec: Some(serde_json::from_value(spec).map_err(|e| Error::Generated("Deployment", e))?),
        ..Deployment::default()
    })
}

fn pod_template(
    site: &Website,
    digest: &str,
    certificate: Option<&MountedCertificate>,
    image: &str,
) -> Value {
    let mut annotations = json!({"web.podcov.dev/content-digest": digest});
    let mut env = vec![
        json!({"name": "SITE_FILE", "value": "/etc/website/site.json"}),
        json!({"name": "SITE_ADDRESS", "value": format!("0.0.0.0:{SITE_PORT}")}),
        json!({"name": "ADMIN_ADDRESS", "value": format!("0.0.0.0:{ADMIN_PORT}")}),
    ];
    let mut mounts = vec![json!({"name": "site", "mountPath": "/etc/website", "readOnly": true})];
    let mut volumes = vec![json!({
        "name": "site",
        "configMap": {"name": config_map_name(name(site))}
    })];
    if let Some(certificate) = certificate {
        annotations["web.podcov.dev/certificate-revision"] =
            json!(certificate.revision.to_string());
        env.push(json!({"name": "TLS_DIRECTORY", "value": "/etc/tls"}));
        mounts.push(json!({"name": "tls", "mountPath": "/etc/tls", "readOnly": true}));
        volumes.push(json!({"name": "tls", "secret": {"secretName": certificate.secret}}));
    }
    json!({
        "metadata": {"labels": labels(site), "annotations": annotations},
        "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 10,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": USER,
                "runAsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"}
            },
            "containers": [{
                "name": "webserver",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "env": env,
                "ports": [
                    {"name": "site", "containerPort": SITE_PORT, "protocol": "TCP"},
                    {"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"}
                ],
                "readinessProbe": {
                    "httpGet": {"path": "/healthz", "port": "admin"},
                    "periodSeconds": 1
                },
                "livenessProbe": {
                    "httpGet": {"path": "/healthz", "port": "admin"},
                    "initialDelaySeconds": 5,
                    "periodSeconds": 10
                },
                "resources": {
                    "requests": {"cpu": "10m", "memory": "16Mi"},
                    "limits": {"memory": "64Mi"}
                },
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]}
                },
                "volumeMounts": mounts
            }],
            "volumes": volumes
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(extra: Value) -> Website {
        let mut spec = extra;
        spec["host"] = json!("a.example.com");
        spec["content"] = json!({"pages": {"/": "x"}});
        let mut site = Website::new("a", serde_json::from_value(spec).expect("valid"));
        site.metadata.namespace = Some("ns".to_owned());
        site.metadata.uid = Some("u-1".to_owned());
        site
    }

    fn options() -> Options {
        Options {
            namespace: "sys".into(),
            pod: None,
            webserver_image: "localhost/webserver:dev".into(),
            health_address: ([127, 0, 0, 1], 0).into(),
            log_level: "info".into(),
        }
    }

    fn container(deployment: &Deployment) -> &k8s_openapi::api::core::v1::Container {
        let template = &deployment.spec.as_ref().expect("spec").template;
        &template.spec.as_ref().expect("pod spec").containers[0]
    }

    #[test]
    fn every_child_is_owned_by_the_website() {
        let site = site(json!({}));
        let owners = [
            config_map(&site, "{}").metadata.owner_references,
            service(&site).unwrap().metadata.owner_references,
            certificate(&site).metadata.owner_references,
        ];
        for owner in owners {
            assert_eq!(owner.expect("an owner")[0].uid, "u-1");
        }
    }

    #[test]
    fn tls_brings_a_mount_and_another_port() {
        let site = site(json!({"tls": {"mode": "SelfSigned"}}));
        let mounted = MountedCertificate {
            secret: "a-tls".into(),
            revision: 3,
        };
        let made = deployment(&site, "d", Some(&mounted), &options()).unwrap();
        let mounts = container(&made).volume_mounts.as_ref().expect("mounts");
        assert_eq!(mounts[1].mount_path, "/etc/tls");
        let ports = service(&site).unwrap().spec.unwrap().ports.unwrap();
        assert_eq!(ports[0].port, 443);
    }

    #[test]
    fn the_web_server_is_told_where_everything_is() {
        let made = deployment(&site(json!({})), "d", None, &options()).unwrap();
        let container = container(&made);
        assert_eq!(container.image.as_deref(), Some("localhost/webserver:dev"));
        let names: Vec<_> = container
            .env
            .iter()
            .flatten()
            .map(|e| e.name.as_str())
            .collect();
        assert_eq!(names, ["SITE_FILE", "SITE_ADDRESS", "ADMIN_ADDRESS"]);
    }
}
