//! Requests to websites, through the API server's proxy: nothing else has to be reachable.

use anyhow::Context;
use http::{HeaderMap, Request};
use kube::client::Body;

use crate::World;

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
}

impl World {
    /// Gets a page of a website that is served over HTTP.
    ///
    /// # Errors
    /// When there is no answer at all.
    pub async fn get(&self, site: &str, path: &str) -> anyhow::Result<Reply> {
        self.ask(Request::get(self.address(site, path))).await
    }

    /// The same over HTTPS. The proxy does not check the certificate.
    ///
    /// # Errors
    /// When there is no answer at all.
    pub async fn get_tls(&self, site: &str, path: &str) -> anyhow::Result<Reply> {
        let path = format!(
            "/api/v1/namespaces/{}/services/https:{site}:443/proxy{path}",
            self.namespace
        );
        self.ask(Request::get(path)).await
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
        let response = self
            .client
            .send(request)
            .await
            .with_context(|| path.clone())?;
        let (head, body) = response.into_parts();
        let bytes = body.collect_bytes().await.with_context(|| path)?;
        Ok(Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }
}
