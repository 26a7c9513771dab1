//! Looking at websites.

use anyhow::Context;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use website_api::{TlsMode, Website, condition, find_condition, is_true};

use crate::Unmet;
use crate::cli::Output;
use crate::connect::{Connection, plainly};
use crate::table;

/// Lists websites.
pub async fn list(at: &Connection, all: bool, output: Output) -> anyhow::Result<()> {
    let api = if all {
        Api::all(at.client.clone())
    } else {
        at.websites()
    };
    let sites: Vec<Website> = api
        .list(&ListParams::default())
        .await
        .map_err(plainly)
        .context("could not list websites")?
        .items;
    match output {
        Output::Table if sites.is_empty() => println!("no websites"),
        Output::Table => {
            let now = Timestamp::now();
            let rows: Vec<Vec<String>> = sites.iter().map(|site| row(site, all, now)).collect();
            let header = ["NAME", "HOST", "SERVERS", "TLS", "STATE", "AGE"];
            print!("{}", table::render(&header, &rows));
        }
        Output::Name => sites
            .iter()
            .for_each(|site| println!("{}", site.name_any())),
        Output::Json => {
            let list: Vec<_> = sites
                .iter()
                .map(|site| {
                    json!({
                        "name": site.name_any(),
                        "namespace": site.namespace(),
                        "host": site.spec.host,
                        "ready": ready(site)
                    })
                })
                .collect();
            println!("{}", serde_json::to_string_pretty(&list)?);
        }
    }
    Ok(())
}

fn row(site: &Website, all: bool, now: Timestamp) -> Vec<String> {
    let name = match site.namespace() {
        Some(namespace) if all => format!("{namespace}/{}", site.name_any()),
        _ => site.name_any(),
    };
    let status = site.status.clone().unwrap_or_default();
    let made = site.creation_timestamp().map(|time| time.0);
    vec![
        name,
        site.spec.host.clone(),
        format!("{}/{}", status.ready_replicas, site.spec.replicas),
        match site.spec.tls.mode {
            TlsMode::Disabled => "off",
            TlsMode::SelfSigned => "self-signed",
        }
        .to_owned(),
        find_condition(&status.conditions, condition::READY)
            .map_or("New", |ready| ready.reason.as_str())
            .to_owned(),
        made.map_or_else(String::new, |made| {
            table::age(now.as_second() - made.as_second())
        }),
    ]
}

fn ready(site: &Website) -> bool {
    let status = site.status.as_ref();
    status.is_some_and(|status| {
        is_true(
            &status.conditions,
            condition::READY,
            site.metadata.generation,
        )
    })
}

/// Shows a website with its conditions and events.
pub async fn describe(at: &Connection, name: &str) -> anyhow::Result<()> {
    let site = at.website(name).await?;
    let status = site.status.clone().unwrap_or_default();
    println!("Name:      {name}");
    println!("Host:      {}", site.spec.host);
    println!("Address:   {}", status.url.as_deref().unwrap_or("none yet"));
    println!(
        "Servers:   {} of {} serve",
        status.ready_replicas, site.spec.replicas
    );
    println!("Pages:     {}", site.spec.content.pages.len());
    if site.spec.maintenance {
        println!("Notice:    in maintenance");
    }
    if site.metadata.deletion_timestamp.is_some() {
        println!("Notice:    being deleted");
    }
    println!("\nConditions:");
    let conditions = status.conditions.iter();
    let rows: Vec<Vec<String>> = conditions
        .map(|c| {
            [&c.type_, &c.status, &c.reason, &c.message]
                .map(Clone::clone)
                .to_vec()
        })
        .collect();
    print!(
        "{}",
        table::render(&["TYPE", "STATUS", "REASON", "MESSAGE"], &rows)
    );

    let events: Api<Event> = Api::namespaced(at.client.clone(), &at.namespace);
    let about = format!("involvedObject.kind=Website,involvedObject.name={name}");
    let found = events
        .list(&ListParams::default().fields(&about))
        .await
        .map_err(plainly)
        .context("could not list events")?;
    println!("\nEvents:");
    let rows: Vec<Vec<String>> = found.items.into_iter().map(event_row).collect();
    print!("{}", table::render(&["TYPE", "REASON", "MESSAGE"], &rows));
    Ok(())
}

fn event_row(event: Event) -> Vec<String> {
    [event.type_, event.reason, event.message]
        .map(Option::unwrap_or_default)
        .to_vec()
}

/// Says whether a website is served.
pub async fn check(at: &Connection, name: &str) -> anyhow::Result<()> {
    let site = at.website(name).await?;
    if ready(&site) {
        let address = site
            .status
            .and_then(|status| status.url)
            .unwrap_or_default();
        println!("website {name} is served at {address}");
        return Ok(());
    }
    let status = site.status.unwrap_or_default();
    let why = find_condition(&status.conditions, condition::READY)
        .map_or("nobody has looked at it yet", |ready| {
            ready.message.as_str()
        });
    Err(Unmet(format!("website {name} is not served: {why}")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Website {
        serde_json::from_value(json!({
            "apiVersion": "web.podcov.dev/v1",
            "kind": "Website",
            "metadata": {"name": "a", "namespace": "ns", "generation": 2,
                         "creationTimestamp": "2026-11-21T09:00:00Z"},
            "spec": {"host": "a.b.c", "replicas": 2, "content": {"pages": {"/": "x"}}},
            "status": {"readyReplicas": 1, "conditions": [{
                "type": "Ready", "status": "True", "reason": "Serving", "message": "m",
                "observedGeneration": 1, "lastTransitionTime": "2026-11-21T09:00:00Z"
            }]}
        }))
        .expect("valid")
    }

    #[test]
    fn a_row_names_the_namespace_only_among_others() {
        let now: Timestamp = "2026-11-21T09:05:00Z".parse().expect("valid");
        let expected = ["a", "a.b.c", "1/2", "off", "Serving", "5m"];
        assert_eq!(row(&site(), false, now), expected);
        assert_eq!(row(&site(), true, now)[0], "ns/a");
    }

    #[test]
    fn readiness_of_an_older_generation_does_not_count() {
        let mut site = site();
        assert!(!ready(&site));
        site.metadata.generation = Some(1);
        assert!(ready(&site));
    }
}
