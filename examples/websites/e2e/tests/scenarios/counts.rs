//! Known numbers: how often two functions are called is exact, over replicas and restarts, so a
//! coverage report of the whole composition must show exactly these counts (see README.md).

use anyhow::{Context, Result, ensure};
use e2e::{Failure, Operator, World, operators_alone, scenario};
use kube::api::DeleteParams;
use serde_json::json;

/// Calls of `record_synthetic` in `webserver` in a run of the suite.
const SYNTHETIC_REQUESTS: u64 = 16;
/// Calls of `record_audit` in `website-operator` in a run of the suite.
const AUDIT_TOKENS: usize = 6;

#[tokio::test]
async fn synthetic_requests_are_counted_over_two_replicas_and_a_restart() -> Result<(), Failure> {
    scenario("synthetic", async |world| {
        let mut spec = world.site("shop", "welcome");
        spec["replicas"] = json!(2);
        world.create_ready("shop", spec).await?;
        let pods: Vec<String> = world.pods("shop").await?.into_keys().collect();
        let [first, second] = pods.as_slice() else {
            anyhow::bail!("expected two pods, found {pods:?}");
        };
        send(world, first, 7).await?;
        send(world, second, 5).await?;
        let mut counted = counted(world, first).await? + counted(world, second).await?;

        // Without a grace period: SIGKILL, no time to write anything.
        let at_once = DeleteParams::default().grace_period(0);
        world
            .objects::<k8s_openapi::api::core::v1::Pod>()
            .delete(first, &at_once)
            .await?;
        let third = world
            .eventually("a pod in place of the killed one", async || {
                let now = world.pods("shop").await?;
                let new = now.into_iter().find(|(name, _)| !pods.contains(name));
                let (name, pod) = new.context("no new pod")?;
                let conditions = pod.status.and_then(|status| status.conditions);
                let ready = conditions.iter().flatten().find(|c| c.type_ == "Ready");
                ensure!(ready.is_some_and(|c| c.status == "True"), "not ready");
                Ok(name)
            })
            .await?;
        send(world, &third, 4).await?;
        counted += self::counted(world, &third).await?;
        ensure!(counted == SYNTHETIC_REQUESTS, "counted {counted}");
        Ok(())
    })
    .await
}

async fn send(world: &World, pod: &str, times: u64) -> Result<()> {
    for _ in 0..times {
        let header = Some(("x-synthetic-monitor", "e2e"));
        let reply = world.ask_pod(pod, 8080, "/", header).await?;
        ensure!(reply.status == 200, "{reply:?}");
    }
    Ok(())
}

async fn counted(world: &World, pod: &str) -> Result<u64> {
    let metrics = world.ask_pod(pod, 9090, "/metrics", None).await?.body;
    let line = metrics
        .lines()
        .find_map(|l| l.strip_prefix("webserver_synthetic_total "));
    Ok(line.context("no such metric")?.parse()?)
}

#[tokio::test]
async fn audit_tokens_are_recorded_once_by_two_operators_and_a_restart() -> Result<(), Failure> {
    scenario("audit", async |world| {
        let _turn = operators_alone().await;
        let operator = Operator::new(&world.client, "website-operator");
        operator.scale(2).await?;
        let told = tokens(world, &operator).await;
        operator.scale(1).await?;
        told
    })
    .await
}

async fn tokens(world: &World, operator: &Operator) -> Result<()> {
    world
        .create_ready("shop", world.site("shop", "welcome"))
        .await?;
    for number in 1..=AUDIT_TOKENS {
        let token = format!("token-{number}");
        world.sitectl(&["audit", "shop", &token]).await?;
        world
            .eventually(&format!("{token} to be recorded"), async || {
                let status = world
                    .websites()
                    .get("shop")
                    .await?
                    .status
                    .unwrap_or_default();
                ensure!(status.audited_token.as_ref() == Some(&token), "{status:?}");
                Ok(())
            })
            .await?;
        if number == AUDIT_TOKENS / 2 {
            let pods = operator.pods().await?;
            operator
                .delete_pod(pods.first().context("no operator")?)
                .await?;
            operator.ready(2).await?;
        }
    }
    Ok(())
}
