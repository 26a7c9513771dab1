//! Specifications that cannot be served.

use anyhow::{Result, ensure};
use e2e::{Failure, scenario};
use serde_json::{Value, json};
use website_api::condition::{ACCEPTED, READY};

#[tokio::test]
async fn the_api_server_refuses_what_the_schema_forbids() -> Result<(), Failure> {
    scenario("schema", async |world| {
        let with = |field: &str, value: Value| {
            let mut spec = world.site("shop", "x");
            spec[field] = value;
            spec
        };
        let cases = [
            (with("host", json!("no dots")), "spec.host"),
            (with("replicas", json!(11)), "spec.replicas"),
            (with("rollout", json!("Someday")), "spec.rollout"),
            (with("tls", json!({"mode": "Public"})), "spec.tls.mode"),
            (with("tls", json!({"validity": "1h"})), "need a mode"),
            (with("content", json!({"pages": {"/a": "x"}})), "start page"),
            (with("content", json!({"pages": {}})), "spec.content.pages"),
            (
                with(
                    "content",
                    json!({"pages": {"/": "x"}, "redirects": [{"from": "/a", "to": "/a"}]}),
                ),
                "lead to itself",
            ),
            (json!({"host": "a.example.com"}), "spec.content"),
        ];
        for (spec, word) in cases {
            let words = world.refused("shop", spec.clone()).await?;
            ensure!(
                words.contains(word),
                "{spec} is refused without `{word}`: {words}"
            );
        }
        let words = world
            .refused("not.a.label", world.site("shop", "x"))
            .await?;
        ensure!(words.contains("DNS label"), "{words}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_refused_specification_is_served_once_it_is_fixed() -> Result<(), Failure> {
    scenario("fixed", async |world| {
        let mut spec = world.site("shop", "welcome");
        spec["content"]["redirects"] =
            json!([{"from": "/a", "to": "/b"}, {"from": "/b", "to": "/a"}]);
        world.create("shop", spec).await?;
        let words = world.fails("shop", ACCEPTED, "InvalidRedirects").await?;
        ensure!(words.contains("/a -> /b -> /a"), "{words}");
        world.event("shop", "InvalidRedirects").await?;
        ensure!(
            world.pods("shop").await?.is_empty(),
            "it is served all the same"
        );

        world
            .change("shop", json!({"content": {"redirects": null}}))
            .await?;
        world.ready("shop").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_bad_change_leaves_the_good_version_running() -> Result<(), Failure> {
    scenario("badchange", async |world| {
        world
            .create_ready("shop", world.site("shop", "welcome"))
            .await?;
        let header = json!([{"name": "Content-Length", "value": "5"}]);
        world
            .change("shop", json!({"content": {"headers": header}}))
            .await?;
        world.fails("shop", READY, "InvalidHeader").await?;
        world.shows("shop", "/", "welcome").await?;

        world
            .change("shop", json!({"content": {"headers": []}}))
            .await?;
        world.ready("shop").await?;
        Ok(())
    })
    .await
}
