//! Settings, all of them from the environment; the operator sets them.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;

/// Settings of one web server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The site.
    pub site_file: PathBuf,
    /// Where it is served.
    pub site_address: SocketAddr,
    /// Where probes and metrics are answered.
    pub admin_address: SocketAddr,
    /// Directory with `tls.crt` and `tls.key`; plain HTTP without it.
    pub tls_directory: Option<PathBuf>,
}

impl Options {
    /// Reads the settings with `var`, which is the environment but in tests.
    ///
    /// # Errors
    /// When an address cannot be read.
    pub fn from_env(var: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let address = |name: &str, default: &str| -> anyhow::Result<SocketAddr> {
            let text = var(name).unwrap_or_else(|| default.to_owned());
            text.parse().with_context(|| {
                format!(
                    "{name} must be an address with a port such as `0.0.0.0:80`, found `{text}`"
                )
            })
        };
        Ok(Self {
            site_file: var("SITE_FILE")
                .unwrap_or_else(|| "/etc/website/site.json".to_owned())
                .into(),
            site_address: address("SITE_ADDRESS", "0.0.0.0:8080")?,
            admin_address: address("ADMIN_ADDRESS", "0.0.0.0:9090")?,
            tls_directory: var("TLS_DIRECTORY").map(PathBuf::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_default_and_nonsense_is_named() {
        let options = Options::from_env(|_| None).expect("defaults");
        assert_eq!(options.site_address.port(), 8080);
        assert_eq!(options.tls_directory, None);
        let wrong = Options::from_env(|name| (name == "ADMIN_ADDRESS").then(|| "80".to_owned()));
        assert!(wrong.unwrap_err().to_string().contains("ADMIN_ADDRESS"));
    }
}
