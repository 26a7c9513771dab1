//! What visitors get.

use anyhow::{Result, ensure};
use e2e::{Failure, scenario};
use http::Request;
use serde_json::json;

#[tokio::test]
async fn a_website_is_served_with_pages_redirects_and_headers() -> Result<(), Failure> {
    scenario("serving", async |world| {
        let spec = json!({
            "host": world.host("shop"),
            "content": {
                "title": "Shop",
                "pages": {"/": "welcome", "/about.html": "<p>about us", "/style.css": "p{}"},
                "redirects": [{"from": "/old", "to": "/about.html", "permanent": true}],
                "headers": [{"name": "X-Team", "value": "shop"}]
            }
        });
        let site = world.create_ready("shop", spec).await?;
        let url = site
            .status
            .and_then(|status| status.url)
            .unwrap_or_default();
        ensure!(
            url == format!("http://shop.{}.svc", world.namespace),
            "address is {url}"
        );

        let start = world.get("shop", "/").await?;
        ensure!(
            (start.status, start.body.as_str()) == (200, "welcome"),
            "{start:?}"
        );
        ensure!(start.header("x-team") == "shop", "{start:?}");

        let style = world.get("shop", "/style.css").await?;
        ensure!(
            style.header("content-type").starts_with("text/css"),
            "{style:?}"
        );

        let old = world.get("shop", "/old").await?;
        ensure!(old.status == 308, "{old:?}");
        ensure!(old.header("location").ends_with("/about.html"), "{old:?}");

        let nothing = world.get("shop", "/nothing").await?;
        ensure!(nothing.status == 404, "{nothing:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn browsers_do_not_load_a_page_twice_and_cannot_write() -> Result<(), Failure> {
    scenario("caching", async |world| {
        world
            .create_ready("shop", world.site("shop", "welcome"))
            .await?;
        let first = world.get("shop", "/").await?;
        let tag = first.header("etag").to_owned();
        let address = world.address("shop", "/");
        let again = world
            .ask(Request::get(&address).header("if-none-match", &tag))
            .await?;
        ensure!(again.status == 304 && again.body.is_empty(), "{again:?}");

        let head = world.ask(Request::head(&address)).await?;
        ensure!(head.status == 200 && head.body.is_empty(), "{head:?}");

        let write = world.ask(Request::post(&address)).await?;
        ensure!(
            write.status == 405 && write.header("allow") == "GET, HEAD",
            "{write:?}"
        );
        Ok(())
    })
    .await
}
