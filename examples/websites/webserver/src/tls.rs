//! The certificate and what is needed to serve with it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

/// Certificate and key of this server.
#[derive(Clone, Debug)]
pub struct Identity {
    config: Arc<ServerConfig>,
    fingerprint: String,
}

impl Identity {
    /// Reads `tls.crt` and `tls.key` from `directory`.
    ///
    /// # Errors
    /// When one of them is missing or cannot be read, or when they do not belong together.
    pub fn load(directory: &Path) -> anyhow::Result<Self> {
        let certificate = directory.join("tls.crt");
        let chain = CertificateDer::pem_file_iter(&certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("could not read {}", certificate.display()))?;
        let leaf = chain
            .first()
            .with_context(|| format!("no certificate in {}", certificate.display()))?;
        let fingerprint = hex(&Sha256::digest(leaf));
        let key = directory.join("tls.key");
        let key = PrivateKeyDer::from_pem_file(&key)
            .with_context(|| format!("could not read {}", key.display()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("no common TLS version")?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .context("certificate and key do not belong together")?;
        Ok(Self {
            config: Arc::new(config),
            fingerprint,
        })
    }

    /// SHA-256 of the certificate, in hexadecimal.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// A TLS acceptor for it.
    pub fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        tokio_rustls::TlsAcceptor::from(self.config.clone())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_is_told_with_its_path() {
        let error = Identity::load(Path::new("/nonexistent")).unwrap_err();
        assert!(
            format!("{error:#}").contains("/nonexistent/tls.crt"),
            "{error:#}"
        );
    }
}
