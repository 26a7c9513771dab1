//! Writes to the cluster: children by server-side apply, the status by merge patch, events.

use std::fmt::Debug;

use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tracing::{debug, warn};
use website_api::{Website, WebsiteStatus};

use crate::FIELD_MANAGER;
use crate::error::{Error, Trying};

/// Makes `object` so, whatever somebody else did to the fields that are ours.
///
/// # Errors
/// When the API server refuses or cannot be asked.
pub async fn ensure<K>(api: &Api<K>, object: &K) -> Result<K, Error>
where
    K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + Debug,
{
    let name = object.name_any();
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&name, &params, &Patch::Apply(object))
        .await
        .trying(|| format!("apply {} {name}", K::kind(&())))
}

/// Makes sure that there is no object of this name; says whether there was one.
///
/// # Errors
/// When the API server refuses or cannot be asked.
pub async fn remove<K>(api: &Api<K>, name: &str) -> Result<bool, Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error).trying(|| format!("delete {} {name}", K::kind(&()))),
    }
}

/// Writes `status` if it says anything new.
///
/// # Errors
/// When the API server refuses or cannot be asked.
pub async fn write_status(
    api: &Api<Website>,
    site: &Website,
    status: &WebsiteStatus,
) -> Result<(), Error> {
    if site.status.as_ref() == Some(status) {
        return Ok(());
    }
    let name = site.name_any();
    let patch = json!({"status": status_patch(status)});
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .trying(|| format!("write the status of {name}"))?;
    Ok(())
}

/// A merge patch for `status`: what is not set is removed, and the audit token is left alone, as
/// only the operator that recorded it may change it.
fn status_patch(status: &WebsiteStatus) -> Value {
    let mut patch = json!({
        "url": null,
        "claimedHost": null,
        "contentDigest": null,
        "selector": null,
        "conditions": null
    });
    let mut set = serde_json::to_value(status).expect("a status is plain JSON");
    if let (Some(patch), Some(set)) = (patch.as_object_mut(), set.as_object_mut()) {
        set.remove("auditedToken");
        patch.append(set);
    }
    patch
}

/// Tells an event; a failure to do so is only logged.
pub async fn tell(recorder: &Recorder, site: &Website, warning: bool, reason: &str, note: &str) {
    let type_ = if warning {
        EventType::Warning
    } else {
        EventType::Normal
    };
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note.chars().take(1000).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    if let Err(error) = recorder.publish(&event, &site.object_ref(&())).await {
        if site.metadata.deletion_timestamp.is_some() {
            debug!(reason, %error, "event of a leaving website not told");
        } else {
            warn!(reason, %error, "event not told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_patch_removes_what_is_gone_and_leaves_the_audit_token() {
        let status = WebsiteStatus {
            url: Some("http://a.ns.svc".into()),
            audited_token: Some("old".into()),
            ready_replicas: 2,
            ..WebsiteStatus::default()
        };
        let patch = status_patch(&status);
        assert_eq!(patch["url"], "http://a.ns.svc");
        assert_eq!(patch["readyReplicas"], 2);
        assert!(patch["claimedHost"].is_null());
        assert!(patch.get("auditedToken").is_none());
    }
}
