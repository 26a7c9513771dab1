//! Requests to websites, through the API server's proxy: nothing else has to be reachable.

use std::time::Duration;

use anyhow::{Context, ensure};
use http::{HeaderMap, Request};
use kube::client::Body;

use crate::World;
use crate::world::eventually;

/// No website needs longer for an answer. A request to a pod that has just gone can hang until the
/// kernel gives up on the connection, minutes later.
const ANSWER: Duration = Duration::from_secs(5);

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Text.
    pub body: String,
}

impl Reply {
    /// A header's value, empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Whether the API server answered itself, as it does while it knows a pod that has gone.
    fn is_of_proxy(&self) -> bool {
        self.header("content-type") == "application/json" && self.body.contains("\"Status\"")
    }
}

impl World {
    /// Gets a page of a website that is served over HTTP, once.
    ///
    /// # Errors
    /// When there is no answer at all.
    pub async fn visit(&self, site: &str, path: &str) -> anyhow::Result<Reply> {
        self.ask(Request::get(self.address(site, path))).await
    }

    /// Gets a page of a website; tries again while only the proxy answers, not the website.
    ///
    /// # Errors
    /// When the website does not answer in time.
    pub async fn get(&self, site: &str, path: &str) -> anyhow::Result<Reply> {
        self.reach(&self.address(site, path)).await
    }

    /// The same over HTTPS. The proxy does not check the certificate.
    ///
    /// # Errors
    /// When the website does not answer in time.
    pub async fn get_tls(&self, site: &str, path: &str) -> anyhow::Result<Reply> {
        let namespace = &self.namespace;
        self.reach(&format!(
            "/api/v1/namespaces/{namespace}/services/https:{site}:443/proxy{path}"
        ))
        .await
    }

    async fn reach(&self, address: &str) -> anyhow::Result<Reply> {
        eventually(&format!("an answer from {address}"), async || {
            let reply = self.ask(Request::get(address)).await?;
            ensure!(!reply.is_of_proxy(), "{reply:?}");
            Ok(reply)
        })
        .await
    }

    /// Waits until a website shows this text at this path.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn shows(&self, site: &str, path: &str, text: &str) -> anyhow::Result<Reply> {
        eventually(&format!("{site} to show `{text}`"), async || {
            let reply = self.visit(site, path).await?;
            ensure!(reply.status == 200 && reply.body == text, "{reply:?}");
            Ok(reply)
        })
        .await
    }

    /// Asks one pod, at a port of its.
    ///
    /// # Errors
    /// When there is no answer at all.
    pub async fn ask_pod(
        &self,
        pod: &str,
        port: u16,
        path: &str,
        header: Option<(&str, &str)>,
    ) -> anyhow::Result<Reply> {
        let address = format!(
            "/api/v1/namespaces/{}/pods/{pod}:{port}/proxy{path}",
            self.namespace
        );
        let mut request = Request::get(address);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        self.ask(request).await
    }

    /// The address of a page for [`World::ask`].
    pub fn address(&self, site: &str, path: &str) -> String {
        format!(
            "/api/v1/namespaces/{}/services/http:{site}:80/proxy{path}",
            self.namespace
        )
    }

    /// Sends any request.
    ///
    /// # Errors
    /// When there is no answer at all.
    pub async fn ask(&self, request: http::request::Builder) -> anyhow::Result<Reply> {
        let request = request.body(Body::empty())?;
        let path = request.uri().path().to_owned();
        let answer = async {
            let (head, body) = self.client.send(request).await?.into_parts();
            anyhow::Ok((head, body.collect_bytes().await?))
        };
        let answer = tokio::time::timeout(ANSWER, answer).await;
        let (head, bytes) = answer
            .with_context(|| format!("no answer from {path} in {} s", ANSWER.as_secs()))?
            .with_context(|| format!("no answer from {path}"))?;
        Ok(Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }
}
