//! Operators that end in the middle of their work.

use anyhow::{Result, ensure};
use e2e::{Failure, Operator, operators_alone, scenario};
use serde_json::json;

#[tokio::test]
async fn websites_become_ready_although_the_operator_is_restarted() -> Result<(), Failure> {
    scenario("restart", async |world| {
        let _turn = operators_alone().await;
        let operator = Operator::new(&world.client, "website-operator");
        world
            .create("before", world.site("before", "asked before"))
            .await?;
        for pod in operator.pods().await? {
            operator.delete_pod(&pod).await?;
        }
        world
            .create("after", world.site("after", "asked in between"))
            .await?;
        world.ready("before").await?;
        world.ready("after").await?;
        operator.ready(1).await
    })
    .await
}

#[tokio::test]
async fn a_website_deleted_while_no_operator_runs_is_cleaned_up_later() -> Result<(), Failure> {
    scenario("absent", async |world| {
        let _turn = operators_alone().await;
        let operator = Operator::new(&world.client, "website-operator");
        world
            .create_ready("shop", world.site("shop", "welcome"))
            .await?;
        operator.scale(0).await?;
        world.websites().delete("shop", &Default::default()).await?;
        let waiting = world.websites().get("shop").await?;
        ensure!(waiting.metadata.deletion_timestamp.is_some(), "{waiting:?}");

        operator.scale(1).await?;
        world.gone::<website_api::Website>("shop").await?;
        // The host is free again.
        world
            .create_ready("next", world.site("shop", "next"))
            .await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_certificate_operator_that_is_restarted_issues_once() -> Result<(), Failure> {
    scenario("reissue", async |world| {
        let _turn = operators_alone().await;
        let operator = Operator::new(&world.client, "certificate-operator");
        let mut spec = world.site("shop", "welcome");
        spec["tls"] = json!({"mode": "SelfSigned"});
        world.create_ready("shop", spec).await?;
        let certificates = world.objects::<website_api::Certificate>();
        let before = certificates.get("shop-tls").await?.status;
        for pod in operator.pods().await? {
            operator.delete_pod(&pod).await?;
        }
        operator.ready(1).await?;
        let after = certificates.get("shop-tls").await?.status;
        let serial = |status: Option<website_api::CertificateStatus>| status?.serial_number;
        ensure!(serial(before) == serial(after), "issued again without need");
        Ok(())
    })
    .await
}
