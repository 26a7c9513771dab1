//! Scaling, healing and the end of websites.

use anyhow::{Context, Result, ensure};
use e2e::{Failure, SYSTEM, scenario};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use website_api::condition::{ACCEPTED, READY};

#[tokio::test]
async fn a_website_is_scaled_up_and_switched_off_and_on() -> Result<(), Failure> {
    scenario("scaling", async |world| {
        world
            .create_ready("shop", world.site("shop", "welcome"))
            .await?;
        // As `kubectl scale` does it.
        let three = Patch::Merge(json!({"spec": {"replicas": 3}}));
        world
            .websites()
            .patch_scale("shop", &PatchParams::default(), &three)
            .await?;
        world.ready("shop").await?;
        ensure!(world.pods("shop").await?.len() == 3);

        world.change("shop", json!({"replicas": 0})).await?;
        world.fails("shop", READY, "SwitchedOff").await?;
        world
            .eventually("no pods", async || {
                ensure!(world.pods("shop").await?.is_empty());
                Ok(())
            })
            .await?;

        world.change("shop", json!({"replicas": 1})).await?;
        world.ready("shop").await?;
        ensure!(world.get("shop", "/").await?.status == 200);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn children_that_somebody_deletes_or_bends_are_healed() -> Result<(), Failure> {
    scenario("healing", async |world| {
        world
            .create_ready("shop", world.site("shop", "welcome"))
            .await?;
        let lost = world.deployment("shop").await?.metadata.uid;
        let now = DeleteParams::background();
        world.objects::<Deployment>().delete("shop", &now).await?;
        world
            .objects::<ConfigMap>()
            .delete("shop-site", &now)
            .await?;
        let bent = Patch::Merge(json!({"spec": {"selector": {"web.podcov.dev/website": "x"}}}));
        world
            .objects::<Service>()
            .patch("shop", &PatchParams::default(), &bent)
            .await?;

        world
            .eventually("another Deployment", async || {
                ensure!(world.deployment("shop").await?.metadata.uid != lost);
                Ok(())
            })
            .await?;
        world.shows("shop", "/", "welcome").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn deleting_a_website_leaves_nothing_behind() -> Result<(), Failure> {
    scenario("deletion", async |world| {
        let mut spec = world.site("shop", "welcome");
        spec["tls"] = json!({"mode": "SelfSigned"});
        world.create_ready("shop", spec).await?;
        let host = world.host("shop");
        let claims: Api<ConfigMap> = Api::namespaced(world.client.clone(), SYSTEM);
        let claims_of_host = async || {
            let label = ListParams::default().labels("web.podcov.dev/claim=host");
            let all = claims.list(&label).await?;
            let ours = all
                .iter()
                .filter_map(|c| c.data.as_ref())
                .filter(|d| d["host"] == host);
            anyhow::Ok(ours.count())
        };
        ensure!(claims_of_host().await? == 1, "the host is not claimed");

        world.delete("shop").await?;
        ensure!(claims_of_host().await? == 0, "the host is still claimed");
        world.gone::<Deployment>("shop").await?;
        world.gone::<Service>("shop").await?;
        world.gone::<ConfigMap>("shop-site").await?;
        world.gone::<website_api::Certificate>("shop-tls").await?;
        world
            .gone::<k8s_openapi::api::core::v1::Secret>("shop-tls")
            .await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_host_belongs_to_the_first_until_it_is_deleted() -> Result<(), Failure> {
    scenario("hosts", async |world| {
        world
            .create_ready("first", world.site("shop", "the first"))
            .await?;
        world
            .create("second", world.site("shop", "the second"))
            .await?;
        let words = world.fails("second", ACCEPTED, "HostTaken").await?;
        ensure!(words.contains("first"), "{words}");
        world.event("second", "HostTaken").await?;

        // A website that moves gives its old host back as well as one that goes.
        world
            .change("first", json!({"host": world.host("moved")}))
            .await?;
        world.ready("second").await?;
        world.shows("second", "/", "the second").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_new_installation_has_a_welcome_site() -> Result<(), Failure> {
    scenario("welcome", async |world| {
        let jobs: Api<Job> = Api::namespaced(world.client.clone(), SYSTEM);
        world
            .eventually("the welcome job to succeed", async || {
                let status = jobs.get("welcome").await?.status.context("no status")?;
                ensure!(status.succeeded == Some(1), "{status:?}");
                Ok(())
            })
            .await
    })
    .await
}
