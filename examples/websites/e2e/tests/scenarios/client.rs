//! `sitectl`, as a user works with it.

use anyhow::{Result, ensure};
use e2e::{Failure, scenario};

#[tokio::test]
async fn a_website_is_made_changed_and_deleted_on_the_command_line() -> Result<(), Failure> {
    scenario("sitectl", async |world| {
        let host = world.host("blog");
        let words = [
            "create",
            "blog",
            "--host",
            &host,
            "--page",
            "/=first post",
            "--wait",
        ];
        world.sitectl(&words).await?;
        world.shows("blog", "/", "first post").await?;

        let list = world.sitectl(&["list"]).await?;
        ensure!(list.contains(&host) && list.contains("Serving"), "{list}");
        let names = world.sitectl(&["list", "--output", "name"]).await?;
        ensure!(names == "blog\n", "{names}");
        let check = world.sitectl(&["check", "blog"]).await?;
        ensure!(check.contains("is served at http://blog."), "{check}");

        world
            .sitectl(&["page", "blog", "/news", "it rains"])
            .await?;
        world.sitectl(&["wait", "blog"]).await?;
        world.shows("blog", "/news", "it rains").await?;

        let described = world.sitectl(&["describe", "blog"]).await?;
        for word in ["Accepted", "1 of 1 serve", "Serving"] {
            ensure!(described.contains(word), "no `{word}` in {described}");
        }
        world.sitectl(&["scale", "blog", "2"]).await?;
        world.sitectl(&["wait", "blog", "--timeout", "80s"]).await?;
        ensure!(world.pods("blog").await?.len() == 2);

        world.sitectl(&["delete", "blog", "--wait"]).await?;
        ensure!(world.sitectl(&["list"]).await?.contains("no websites"));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_exported_website_can_be_applied_again() -> Result<(), Failure> {
    scenario("export", async |world| {
        let host = world.host("blog");
        world
            .sitectl(&["create", "blog", "--host", &host, "--page", "/=hello"])
            .await?;
        world.sitectl(&["wait", "blog"]).await?;
        let exported = world.sitectl(&["export", "blog"]).await?;
        world.sitectl(&["delete", "blog", "--wait"]).await?;

        let applied = world
            .try_sitectl(&["apply", "--file", "-"], &exported)
            .await?;
        ensure!(
            applied.code == 0 && applied.stdout == "website blog made\n",
            "{applied:?}"
        );
        world.sitectl(&["wait", "blog"]).await?;
        world.shows("blog", "/", "hello").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_client_tells_what_went_wrong_by_words_and_exit_status() -> Result<(), Failure> {
    scenario("mistakes", async |world| {
        let missing = world.try_sitectl(&["check", "nobody"], "").await?;
        ensure!(
            missing.code == 1 && missing.stderr.contains("list -A"),
            "{missing:?}"
        );

        let wrong = world.try_sitectl(&["scale", "nobody", "many"], "").await?;
        ensure!(wrong.code == 2, "{wrong:?}");

        let host = world.host("bad");
        let circle = ["--redirect", "/a=/b", "--redirect", "/b=/a"];
        let mut words = vec!["create", "bad", "--host", &host, "--page", "/=x"];
        words.extend(circle);
        world.sitectl(&words).await?;
        world.sitectl(&["wait", "bad", "--for", "refused"]).await?;
        let unmet = world
            .try_sitectl(&["wait", "bad", "--timeout", "1s"], "")
            .await?;
        ensure!(
            unmet.code == 3 && unmet.stderr.contains("circle"),
            "{unmet:?}"
        );
        let unmet = world.try_sitectl(&["check", "bad"], "").await?;
        ensure!(unmet.code == 3, "{unmet:?}");
        Ok(())
    })
    .await
}
