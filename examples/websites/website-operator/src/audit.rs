//! Audit tokens: whoever changes a website can set [`AUDIT_ANNOTATION`] to a new value and finds
//! it in `status.auditedToken` once an operator has recorded it.
//!
//! Each value is recorded exactly once, however many operators run: the status is replaced under
//! the resource version that was read, so that only one of them wins, and only the winner records.

use kube::api::{Api, PostParams};
use tracing::info;
use website_api::{AUDIT_ANNOTATION, Website};

use crate::error::{Error, Trying};

/// The token that is still to be recorded.
pub fn pending(site: &Website) -> Option<&str> {
    let token = site.metadata.annotations.as_ref()?.get(AUDIT_ANNOTATION)?;
    let recorded = site
        .status
        .as_ref()
        .and_then(|s| s.audited_token.as_deref());
    (recorded != Some(token)).then_some(token)
}

/// Records the pending token, if there is one and no other operator is faster.
///
/// # Errors
/// When the API server cannot be asked.
pub async fn settle(api: &Api<Website>, site: &Website) -> Result<(), Error> {
    let Some(token) = pending(site) else {
        return Ok(());
    };
    let name = site.metadata.name.as_deref().unwrap_or_default();
    let mut marked = site.clone();
    marked.metadata.managed_fields = None;
    marked.status.get_or_insert_default().audited_token = Some(token.to_owned());
    match api
        .replace_status(name, &PostParams::default(), &marked)
        .await
    {
        Ok(_) => {
            record_audit(name, token);
            Ok(())
        }
        // Somebody changed the website in between; the change brings us back here.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error).trying(|| format!("mark audit token {token}")),
    }
}

/// Called exactly once for every token; the count test of the e2e suite relies on it.
fn record_audit(website: &str, token: &str) {
    info!(website, token, "audit token recorded");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(annotation: Option<&str>, recorded: Option<&str>) -> Website {
        let spec = serde_json::json!({"host": "a.b.c", "content": {"pages": {"/": ""}}});
        let mut site = Website::new("a", serde_json::from_value(spec).expect("valid"));
        site.metadata.annotations =
            annotation.map(|token| [(AUDIT_ANNOTATION.to_owned(), token.to_owned())].into());
        site.status.get_or_insert_default().audited_token = recorded.map(str::to_owned);
        site
    }

    #[test]
    fn a_token_is_pending_until_it_is_recorded() {
        assert_eq!(pending(&site(None, None)), None);
        assert_eq!(pending(&site(Some("t1"), None)), Some("t1"));
        assert_eq!(pending(&site(Some("t1"), Some("t1"))), None);
        assert_eq!(pending(&site(Some("t2"), Some("t1"))), Some("t2"));
    }
}
