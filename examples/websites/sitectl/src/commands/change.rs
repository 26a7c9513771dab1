//! Changes to a website.

use std::time::Duration;

use anyhow::Context;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use website_api::AUDIT_ANNOTATION;

use super::wait;
use crate::cli::State;
use crate::connect::{Connection, plainly};

/// Changes the number of web servers.
pub async fn scale(at: &Connection, name: &str, replicas: i32) -> anyhow::Result<()> {
    change(at, name, json!({"spec": {"replicas": replicas}})).await?;
    println!("website {name} scaled to {replicas}");
    Ok(())
}

/// Switches the maintenance notice.
pub async fn maintenance(at: &Connection, name: &str, on: bool) -> anyhow::Result<()> {
    let before = at.website(name).await?;
    if before.spec.maintenance == on {
        println!(
            "website {name} is {} already",
            if on { "in maintenance" } else { "open" }
        );
        return Ok(());
    }
    change(at, name, json!({"spec": {"maintenance": on}})).await?;
    println!(
        "website {name} is {}",
        if on { "in maintenance" } else { "open" }
    );
    Ok(())
}

/// Sets or removes a page.
pub async fn page(
    at: &Connection,
    name: &str,
    path: &str,
    text: Option<&str>,
) -> anyhow::Result<()> {
    if text.is_none() {
        let site = at.website(name).await?;
        let known = site.spec.content.pages.contains_key(path);
        anyhow::ensure!(known, "website {name} has no page {path}");
    }
    // In a merge patch, null removes.
    change(
        at,
        name,
        json!({"spec": {"content": {"pages": {path: text}}}}),
    )
    .await?;
    let word = if text.is_some() { "set" } else { "removed" };
    println!("page {path} of website {name} {word}");
    Ok(())
}

/// Sets the audit token.
pub async fn audit(at: &Connection, name: &str, token: &str) -> anyhow::Result<()> {
    change(
        at,
        name,
        json!({"metadata": {"annotations": {AUDIT_ANNOTATION: token}}}),
    )
    .await?;
    println!("audit token of website {name} set");
    Ok(())
}

async fn change(at: &Connection, name: &str, patch: Value) -> anyhow::Result<()> {
    at.websites()
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map_err(plainly)
        .with_context(|| format!("could not change website {name}"))?;
    Ok(())
}

/// Deletes a website.
pub async fn delete(
    at: &Connection,
    name: &str,
    wait: bool,
    ignore_missing: bool,
) -> anyhow::Result<()> {
    match at.websites().delete(name, &DeleteParams::default()).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 && ignore_missing => {
            println!("no website {name}");
            return Ok(());
        }
        Err(error) => {
            let what = format!("could not delete website {name}");
            return Err(plainly(error)).context(what);
        }
    }
    if wait {
        wait::wait(at, name, State::Deleted, Duration::from_secs(60)).await?;
    }
    println!("website {name} deleted");
    Ok(())
}
