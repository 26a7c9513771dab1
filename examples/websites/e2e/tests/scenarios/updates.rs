//! Changes to what is served.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{Failure, scenario};
use serde_json::json;

#[tokio::test]
async fn update_moves_traffic_without_a_gap() -> Result<(), Failure> {
    scenario("update", async |world| {
        let mut spec = world.site("shop", "first");
        spec["replicas"] = json!(2);
        world.create_ready("shop", spec).await?;

        // One visitor reloads all the time, while the owner changes the page.
        let changed = AtomicBool::new(false);
        let visitor = async {
            let mut seen = Vec::new();
            while !changed.load(Ordering::Relaxed) {
                match world.visit("shop", "/").await {
                    Ok(reply) => seen.push((reply.status, reply.body)),
                    Err(error) => seen.push((0, format!("{error:#}"))),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(seen)
        };
        let owner = async {
            world
                .change("shop", json!({"content": {"pages": {"/": "second"}}}))
                .await?;
            let site = world.ready("shop").await;
            changed.store(true, Ordering::Relaxed);
            site
        };
        let (seen, site) = tokio::join!(visitor, owner);
        let (seen, site) = (seen?, site?);
        let failed = seen.iter().filter(|(status, _)| *status != 200).count();
        // A proxy may still know a pod that has just gone; more than that would be a gap.
        ensure!(
            failed * 10 <= seen.len(),
            "{failed} of {} visits failed: {seen:?}",
            seen.len()
        );
        ensure!(site.status.unwrap_or_default().ready_replicas == 2);

        world.shows("shop", "/", "second").await?;
        for _ in 0..5 {
            let reply = world.get("shop", "/").await?;
            ensure!(reply.body == "second", "{reply:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn maintenance_shows_a_notice_until_it_is_over() -> Result<(), Failure> {
    scenario("maintenance", async |world| {
        world
            .create_ready("shop", world.site("shop", "welcome"))
            .await?;
        world.change("shop", json!({"maintenance": true})).await?;
        world.ready("shop").await?;
        world
            .eventually("the notice", async || {
                let notice = world.get("shop", "/").await?;
                ensure!(
                    notice.status == 503 && notice.header("retry-after") == "60",
                    "{notice:?}"
                );
                Ok(())
            })
            .await?;

        world.change("shop", json!({"maintenance": false})).await?;
        world.ready("shop").await?;
        world.shows("shop", "/", "welcome").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn replace_never_shows_two_versions() -> Result<(), Failure> {
    scenario("replace", async |world| {
        let mut spec = world.site("shop", "first");
        spec["rollout"] = json!("Replace");
        world.create_ready("shop", spec).await?;
        let before = world.pods("shop").await?;
        world
            .change("shop", json!({"content": {"pages": {"/": "second"}}}))
            .await?;
        world.ready("shop").await?;
        let after = world.pods("shop").await?;
        ensure!(
            after.len() == 1 && after.keys().ne(before.keys()),
            "{:?}",
            after.keys()
        );
        world.shows("shop", "/", "second").await?;
        Ok(())
    })
    .await
}
