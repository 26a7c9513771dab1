//! Puts profile images into a registry, for clusters whose nodes pull.
//!
//! The archive that the build wrote is pushed as it is: manifest, configuration
//! and layers keep their bytes, and so the image its digest. What the registry
//! has already is not sent again. The digest is part of the name that pods get:
//! a node that has an earlier image of the same tag must not start that one.

mod archive;
mod credentials;
mod error;

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::{Client, Reference, RegistryOperation};
use podcov_process::{Cancel, Progress};

use self::archive::{Archive, Blob};
use self::credentials::Credentials;
pub use self::error::Error;
use self::error::Problem;
use crate::api::block_on;
use crate::target::cancelled;

/// How much of a layer is in memory at a time.
const CHUNK: usize = 256 << 10;
/// How often a blob is sent before giving up.
const ATTEMPTS: u32 = 3;
/// How long the registry may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Where images go: a registry and a path in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// With its port.
    host: String,
    /// Without slashes at the ends; may be empty.
    path: String,
    plain: bool,
}

impl FromStr for Registry {
    type Err = String;

    /// `[http://|https://]HOST[:PORT][/PATH]`. Without a scheme it is https, but
    /// http on this machine's loopback.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            Err(format!(
                "expected a registry such as `registry.example/team`, found `{text}`: {what}"
            ))
        };
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (Some(scheme), rest),
            Some(_) => return wrong("only http and https are spoken to registries"),
            None => (None, text),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let is_host = host == "localhost" || host.contains(['.', ':']);
        if !is_host {
            return wrong("its first part is no host; Docker Hub is `docker.io`");
        }
        // The names that pods will have are the proof.
        let probe = match path {
            "" => format!("{host}/x"),
            path => format!("{host}/{path}/x"),
        };
        match probe.parse::<Reference>() {
            Ok(name) if name.tag() == Some("latest") && name.digest().is_none() => {}
            Ok(_) => return wrong("tag and digest are those of each image"),
            Err(error) => return wrong(&error.to_string()),
        }
        Ok(Registry {
            host: host.to_owned(),
            path: path.to_owned(),
            plain: scheme.map_or_else(|| is_loopback(host), |scheme| scheme == "http"),
        })
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match self.path.as_str() {
            "" => Ok(()),
            path => write!(f, "/{path}"),
        }
    }
}

/// Whether the host is this machine itself: nobody else can listen in.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    };
    let number = name.trim_start_matches('[').trim_end_matches(']');
    let number = number.parse::<std::net::IpAddr>();
    name == "localhost" || number.is_ok_and(|number| number.is_loopback())
}

/// What a push did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Bytes that the registry did not have.
    pub sent: u64,
    /// Bytes that it had.
    pub there: u64,
}

impl Registry {
    /// What the image is called there. `reference` is the archive's own name for
    /// it, `digest` its manifest's.
    pub fn name(&self, reference: &str, digest: &str) -> String {
        let last = reference.rsplit('/').next().unwrap_or(reference);
        match digest {
            "" => format!("{self}/{last}"),
            digest => format!("{self}/{last}@{digest}"),
        }
    }

    /// Pushes the image of the archive under the name that [`Registry::name`]
    /// gives for `reference`.
    pub fn push(
        &self,
        archive: &Path,
        reference: &str,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Pushed, Error> {
        let push = self.open(archive, reference)?;
        push.blocking(progress, cancel, true)
    }

    /// What [`Registry::push`] would send; sends nothing.
    pub fn look(
        &self,
        archive: &Path,
        reference: &str,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Pushed, Error> {
        let push = self.open(archive, reference)?;
        push.blocking(progress, cancel, false)
    }

    fn open(&self, archive: &Path, reference: &str) -> Result<Push, Error> {
        let archive = Archive::open(archive)?;
        let text = self.name(reference, "");
        let image: Reference = text.parse().map_err(|error| Error::Archive {
            path: archive.path.clone(),
            reason: format!("its name `{text}` is none that a registry takes: {error}"),
        })?;
        let credentials = Credentials::find(&self.host, image.repository())?;
        Ok(Push {
            client: self.client()?,
            archive,
            image,
            credentials,
        })
    }

    fn client(&self) -> Result<Client, Error> {
        // The first one to be installed stays; it can only be this one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = ClientConfig {
            protocol: match self.plain {
                true => ClientProtocol::Http,
                false => ClientProtocol::Https,
            },
            use_monolithic_push: true,
            connect_timeout: Some(Duration::from_secs(10)),
            read_timeout: Some(SILENCE),
            user_agent: concat!("podcov/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        if is_loopback(&self.host) {
            // A proxy of the environment is the way to the internet, and naming
            // one that is for nobody is how this client is told not to use it.
            let nobody = || Some("http://127.0.0.1:9".to_owned());
            (config.http_proxy, config.https_proxy) = (nobody(), nobody());
            config.no_proxy = Some("localhost,127.0.0.0/8,::1".to_owned());
        }
        Client::try_from(config).map_err(|error| Error::Client(error.to_string()))
    }
}

/// One image on its way to one registry.
struct Push {
    client: Client,
    archive: Archive,
    image: Reference,
    credentials: Credentials,
}

impl Push {
    fn blocking(
        &self,
        progress: &dyn Progress,
        cancel: &Cancel,
        send: bool,
    ) -> Result<Pushed, Error> {
        let work = async {
            tokio::select! {
                pushed = self.all(progress, send) => pushed,
                () = cancelled(cancel) => Err(podcov_process::Cancelled.into()),
            }
        };
        block_on(work).map_err(|error| Error::Client(error.to_string()))?
    }

    async fn all(&self, progress: &dyn Progress, send: bool) -> Result<Pushed, Error> {
        let name = self.image.whole();
        progress.status(&format!("asking the registry for {name}"));
        let operation = match send {
            true => RegistryOperation::Push,
            false => RegistryOperation::Pull,
        };
        let auth = self.credentials.auth();
        let asked = self.client.auth(&self.image, &auth, operation).await;
        asked.map_err(|error| self.failed(&error))?;
        if self.is_there(&auth).await? {
            let there = self.archive.blobs.iter().map(|blob| blob.size).sum();
            return Ok(Pushed { sent: 0, there });
        }
        let mut pushed = Pushed::default();
        for blob in &self.archive.blobs {
            let exists = self.client.blob_exists(&self.image, &blob.digest).await;
            match exists.map_err(|error| self.failed(&error))? {
                true => pushed.there += blob.size,
                false if send => {
                    self.send(blob, progress).await?;
                    pushed.sent += blob.size;
                }
                false => pushed.sent += blob.size,
            }
        }
        if send {
            let manifest = &self.archive.manifest;
            let media_type = http::HeaderValue::from_str(&self.archive.media_type);
            let media_type = media_type.map_err(|error| Error::Client(error.to_string()))?;
            let client = &self.client;
            client
                .push_manifest_raw(&self.image, manifest.clone(), media_type)
                .await
                .map_err(|error| self.failed(&error))?;
        }
        Ok(pushed)
    }

    /// Whether the tag is the image already: then its blobs are there, too.
    async fn is_there(&self, auth: &oci_client::secrets::RegistryAuth) -> Result<bool, Error> {
        match self.client.fetch_manifest_digest(&self.image, auth).await {
            Ok(digest) => Ok(digest == self.archive.digest),
            Err(error) if Problem::of(&error) == Problem::NotFound => Ok(false),
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn send(&self, blob: &Blob, progress: &dyn Progress) -> Result<(), Error> {
        let mut attempt = 1;
        loop {
            let sent = Arc::new(AtomicU64::new(0));
            let stream = self.archive.stream(blob, CHUNK, Arc::clone(&sent));
            let (digest, size) = (&blob.digest, Some(blob.size));
            let pushing = self
                .client
                .push_blob_stream(&self.image, stream.boxed(), digest, size);
            let mut pushing = std::pin::pin!(pushing);
            let done = loop {
                tokio::select! {
                    done = &mut pushing => break done,
                    () = tokio::time::sleep(Duration::from_millis(200)) => {
                        let megabytes = |bytes: u64| bytes / 1_000_000;
                        let sent = megabytes(sent.load(Ordering::Relaxed));
                        let all = megabytes(blob.size);
                        let name = self.image.whole();
                        progress.status(&format!("pushing {name}, {sent} of {all} MB of a layer"));
                    }
                }
            };
            match done {
                Ok(_) => return Ok(()),
                Err(error) if attempt < ATTEMPTS && may_pass(&error) => {
                    progress.status(&format!("pushing again, since {error}"));
                    tokio::time::sleep(Duration::from_secs(u64::from(attempt))).await;
                    attempt += 1;
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    fn failed(&self, error: &OciDistributionError) -> Error {
        error::failed(error, &self.image, &self.credentials)
    }
}

/// Whether sending it again may help.
fn may_pass(error: &OciDistributionError) -> bool {
    matches!(Problem::of(error), Problem::Unreachable | Problem::Busy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_or_when_asked() {
        let cases = [
            ("registry.example/team", "registry.example/team", false),
            ("registry.example", "registry.example", false),
            (
                "https://registry.example:5000/a/b",
                "registry.example:5000/a/b",
                false,
            ),
            (
                "http://registry.example:5000",
                "registry.example:5000",
                true,
            ),
            ("localhost:5000/team", "localhost:5000/team", true),
            ("127.0.0.1:5000/team", "127.0.0.1:5000/team", true),
            ("https://127.0.0.1:5000", "127.0.0.1:5000", false),
            ("localhost.example/team", "localhost.example/team", false),
            ("docker.io/me", "docker.io/me", false),
        ];
        for (text, shown, plain) in cases {
            let registry: Registry = text.parse().unwrap();
            assert_eq!(
                (registry.to_string().as_str(), registry.plain),
                (shown, plain)
            );
        }
        for text in [
            "",
            "team",
            "ftp://r.io/x",
            "r.io/Team",
            "r.io/a:1",
            "r.io/a//b",
            "r.io/a/",
            "r.io/a b",
            "r.io/a@sha256:00",
        ] {
            let error = text.parse::<Registry>().unwrap_err();
            assert!(
                error.contains("expected a registry such as"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn an_image_is_named_by_its_digest_below_the_path() {
        let registry: Registry = "r.io/team".parse().unwrap();
        let name = registry.name("ghcr.io/me/op-profile:dev", "sha256:00");
        assert_eq!(name, "r.io/team/op-profile:dev@sha256:00");
        let registry: Registry = "localhost:5000".parse().unwrap();
        assert_eq!(
            registry.name("op-profile:1", ""),
            "localhost:5000/op-profile:1"
        );
    }
}
