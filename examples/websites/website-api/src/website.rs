// The lint takes the columns of one `#[kube(...)]` list for repetitions of each other.
#![allow(clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What a website is to look like.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, PartialEq, KubeSchema)]
#[kube(
    group = "web.podcov.dev",
    version = "v1",
    kind = "Website",
    namespaced,
    status = "WebsiteStatus",
    derive = "PartialEq",
    shortname = "site",
    doc = "A website, served by as many replicas as asked for",
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,48}[a-z0-9])?$')")
        .message("the name must be a DNS label of at most 50 characters: a Service gets it"),
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Host", type_ = "string", json_path = ".spec.host"),
    printcolumn(
        name = "Replicas",
        type_ = "integer",
        json_path = ".status.readyReplicas"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!self.maintenance || self.replicas > 0")
        .message("a website in maintenance needs a replica that says so")
)]
pub struct WebsiteSpec {
    /// Name under which the website is reached; only one website of the cluster can have it.
    #[schemars(
        length(min = 3, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+$")
    )]
    pub host: String,

    /// Number of web servers; 0 switches the website off and keeps its settings.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 10))]
    pub replicas: i32,

    /// What is served.
    pub content: Content,

    /// Encryption.
    #[serde(default)]
    pub tls: Tls,

    /// How a change reaches the web servers.
    #[serde(default)]
    pub rollout: Rollout,

    /// Answers every request with a notice instead of the content.
    #[serde(default)]
    pub maintenance: bool,
}

/// Pages and what goes with them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("'/' in self.pages").message("pages need the key `/`, the start page"))]
pub struct Content {
    /// Title that is shown on pages made by the server itself, such as errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 120))]
    pub title: Option<String>,

    /// Page texts by path.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 64))]
    pub pages: BTreeMap<String, String>,

    /// Paths that lead elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub redirects: Vec<Redirect>,

    /// Headers added to every answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub headers: Vec<Header>,
}

/// One path that leads elsewhere.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.from != self.to").message("a redirect must not lead to itself"))]
pub struct Redirect {
    /// The path asked for.
    #[schemars(length(max = 256), regex(pattern = "^/"))]
    pub from: String,
    /// A path, or an absolute `http` or `https` address.
    #[schemars(length(max = 512), regex(pattern = "^(/|https?://)"))]
    pub to: String,
    /// Whether clients may remember it.
    #[serde(default)]
    pub permanent: bool,
}

/// One response header.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Its name.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// Its value.
    #[schemars(length(max = 512))]
    pub value: String,
}

/// Encryption of a website.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.mode != 'Disabled' || !(has(self.validity) || has(self.renewBefore))")
        .message("validity and renewBefore need a mode other than Disabled")
)]
pub struct Tls {
    /// Whether, and with whose certificate.
    #[serde(default)]
    pub mode: TlsMode,
    /// How long a certificate is good for, such as `720h`; the certificate operator's default
    /// if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = "^([0-9]+(h|m|s))+$"))]
    pub validity: Option<String>,
    /// How long before its end a certificate is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = "^([0-9]+(h|m|s))+$"))]
    pub renew_before: Option<String>,
}

/// Kinds of encryption.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub enum TlsMode {
    /// Plain HTTP.
    #[default]
    Disabled,
    /// HTTPS with a certificate of the certificate operator.
    SelfSigned,
}

/// Ways to bring a change to the web servers.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub enum Rollout {
    /// One server after the other; never fewer than asked for.
    #[default]
    Gradual,
    /// All at once, with a gap; never two versions at a time.
    Replace,
}

/// What the operator made of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebsiteStatus {
    /// Generation of the specification that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Address inside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Host name that is claimed for this website.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_host: Option<String>,
    /// Digest of the content that the replicas are to serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_digest: Option<String>,
    /// Web servers that exist.
    #[serde(default)]
    pub replicas: i32,
    /// Web servers that serve.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Selector of the web servers, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Last audit token that was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audited_token: Option<String>,
    /// Accepted, CertificateReady and Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

fn one() -> i32 {
    1
}

/// The schema of `metav1.Condition`, written out: deriving it would build the schemas of all of
/// Kubernetes' types, and the list must be a map by `type` for server-side apply.
fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {"type": "string", "maxLength": 316},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "reason": {"type": "string", "minLength": 1, "maxLength": 1024},
                "message": {"type": "string", "maxLength": 32768}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_specification_is_filled_with_defaults() {
        let spec: WebsiteSpec = serde_json::from_value(serde_json::json!({
            "host": "shop.example.com",
            "content": {"pages": {"/": "hello"}}
        }))
        .expect("valid specification");
        assert_eq!(spec.replicas, 1);
        assert_eq!(spec.tls.mode, TlsMode::Disabled);
        assert_eq!(spec.rollout, Rollout::Gradual);
        assert!(!spec.maintenance);
    }

    #[test]
    fn an_unknown_mode_is_refused() {
        let refused = serde_json::from_value::<Tls>(serde_json::json!({"mode": "Public"}));
        assert!(refused.unwrap_err().to_string().contains("SelfSigned"));
    }
}
