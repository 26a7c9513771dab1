//! The CRD of `Website`, made from its types.

use anyhow::Context;
use kube::CustomResourceExt;
use website_api::Website;

/// The CRD as YAML, as it is committed in `manifests/crds/web.podcov.dev_websites.yaml`.
///
/// # Errors
/// When the schema cannot be written as YAML.
pub fn website_yaml() -> anyhow::Result<String> {
    let yaml = serde_yaml_ng::to_string(&Website::crd()).context("could not write the CRD")?;
    Ok(format!(
        "# Made by `website-operator crd`; do not edit.\n{yaml}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_crd_is_current() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../manifests/crds/web.podcov.dev_websites.yaml"
        );
        let committed =
            std::fs::read_to_string(path).expect("manifests/crds/web.podcov.dev_websites.yaml");
        assert!(
            committed == website_yaml().unwrap(),
            "manifests/crds/web.podcov.dev_websites.yaml is not current; write it anew with\n  \
             cargo run -p website-operator -- crd > manifests/crds/web.podcov.dev_websites.yaml"
        );
    }
}
