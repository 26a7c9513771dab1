//! A website as it can be applied elsewhere.

use kube::ResourceExt;
use serde_json::{Value, json};
use website_api::{AUDIT_ANNOTATION, Website};

use crate::connect::Connection;

/// Writes a website without what belongs to this cluster.
pub async fn export(at: &Connection, name: &str, json: bool) -> anyhow::Result<()> {
    let portable = portable(&at.website(name).await?)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&portable)?);
    } else {
        print!("{}", serde_yaml_ng::to_string(&portable)?);
    }
    Ok(())
}

fn portable(site: &Website) -> anyhow::Result<Value> {
    let mut metadata = json!({"name": site.name_any()});
    if !site.labels().is_empty() {
        metadata["labels"] = json!(site.labels());
    }
    let own = |key: &&String| !key.contains("kubernetes.io/") && key.as_str() != AUDIT_ANNOTATION;
    let annotations: Vec<&String> = site.annotations().keys().filter(own).collect();
    for key in annotations {
        metadata["annotations"][key] = json!(site.annotations()[key]);
    }
    Ok(json!({
        "apiVersion": "web.podcov.dev/v1",
        "kind": "Website",
        "metadata": metadata,
        "spec": serde_json::to_value(&site.spec)?
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_cluster_stays_there() {
        let site: Website = serde_json::from_value(json!({
            "apiVersion": "web.podcov.dev/v1",
            "kind": "Website",
            "metadata": {
                "name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "7",
                "finalizers": ["f"],
                "annotations": {
                    AUDIT_ANNOTATION: "t",
                    "kubectl.kubernetes.io/last-applied-configuration": "{}",
                    "team": "web"
                }
            },
            "spec": {"host": "a.b.c", "content": {"pages": {"/": "x"}}},
            "status": {"url": "http://a"}
        }))
        .expect("valid");
        let portable = portable(&site).unwrap();
        let expected = json!({"name": "a", "annotations": {"team": "web"}});
        assert_eq!(portable["metadata"], expected);
        assert!(portable.get("status").is_none());
    }
}
