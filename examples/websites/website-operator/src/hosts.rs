//! Host names are unique in the cluster. A claim is a ConfigMap in the operator's own namespace,
//! whose name is made from the host: creating it is atomic, so two websites cannot both have one.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::error::{Error, Trying};

/// Who holds a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Namespace of the website.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid: a website of the same name made anew is another holder.
    pub uid: String,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The host was free.
    Taken,
    /// It was ours already.
    Held,
    /// Somebody else has it.
    Refused(Holder),
}

/// The claims of a cluster.
pub struct Hosts {
    claims: Api<ConfigMap>,
}

impl Hosts {
    /// Claims are kept in `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            claims: Api::namespaced(client, namespace),
        }
    }

    /// Claims `host` for `holder`.
    ///
    /// # Errors
    /// When the API server cannot be asked; a refused claim is not an error.
    pub async fn claim(&self, host: &str, holder: &Holder) -> Result<Claim, Error> {
        let made = self
            .claims
            .create(&PostParams::default(), &object(host, holder))
            .await;
        match made {
            Ok(_) => return Ok(Claim::Taken),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error).trying(|| format!("claim host {host}")),
        }
        let found = self
            .claims
            .get(&claim_name(host))
            .await
            .trying(|| format!("read the claim of host {host}"))?;
        Ok(match read(&found) {
            found if found.uid == holder.uid => Claim::Held,
            other => Claim::Refused(other),
        })
    }

    /// Gives `host` back if `holder` has it; says whether it had.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn release(&self, host: &str, holder: &Holder) -> Result<bool, Error> {
        let name = claim_name(host);
        let doing = || format!("release host {host}");
        let found = self.claims.get_opt(&name).await.trying(doing)?;
        let Some(found) = found.filter(|claim| read(claim).uid == holder.uid) else {
            return Ok(false);
        };
        let exactly_this = DeleteParams {
            preconditions: Some(Preconditions {
                uid: found.metadata.uid,
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.claims.delete(&name, &exactly_this).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(error) => Err(error).trying(doing),
        }
    }
}

/// Hosts can be longer than names and end in ways that names cannot: hence a digest.
fn claim_name(host: &str) -> String {
    let digest = Sha256::digest(host.as_bytes());
    let hex: String = digest
        .iter()
        .take(10)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("host-{hex}")
}

fn object(host: &str, holder: &Holder) -> ConfigMap {
    let value = json!({
        "metadata": {
            "name": claim_name(host),
            "labels": {
                "app.kubernetes.io/managed-by": "website-operator",
                "web.podcov.dev/claim": "host"
            }
        },
        "data": {
            "host": host,
            "namespace": holder.namespace,
            "name": holder.name,
            "uid": holder.uid
        }
    });
    serde_json::from_value(value).expect("a claim is a plain ConfigMap")
}

fn read(claim: &ConfigMap) -> Holder {
    let field = |key: &str| {
        let data = claim.data.as_ref();
        data.and_then(|data| data.get(key))
            .cloned()
            .unwrap_or_default()
    };
    Holder {
        namespace: field("namespace"),
        name: field("name"),
        uid: field("uid"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_tells_its_holder() {
        let holder = Holder {
            namespace: "ns".into(),
            name: "shop".into(),
            uid: "u-1".into(),
        };
        assert_eq!(read(&object("shop.example.com", &holder)), holder);
    }

    #[test]
    fn claims_of_different_hosts_have_different_names() {
        let long = format!("{}.example.com", "a".repeat(200));
        assert_ne!(claim_name("a.example.com"), claim_name("b.example.com"));
        assert!(claim_name(&long).len() <= 63);
    }
}
