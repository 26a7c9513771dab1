//! Settings, all of them from the environment.

use std::net::SocketAddr;

/// Settings of one operator process.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Namespace that the operator lives in and keeps its host claims in.
    pub namespace: String,
    /// Name of the pod, for events.
    pub pod: Option<String>,
    /// Image of the web servers.
    pub webserver_image: String,
    /// Where probes are answered.
    pub health_address: SocketAddr,
    /// Least severe message that is written.
    pub log_level: String,
}

/// A setting that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// A needed variable is not set.
    #[error("environment variable {0} is not set; the Deployment in manifests/ sets it")]
    Missing(&'static str),
    /// The address cannot be read.
    #[error("HEALTH_ADDRESS must be an address with a port such as `0.0.0.0:8081`, found `{0}`")]
    HealthAddress(String),
}

impl Options {
    /// Reads the settings with `var`, which is the environment but in tests.
    ///
    /// # Errors
    /// Names the first variable that is missing or makes no sense.
    pub fn from_env(var: impl Fn(&str) -> Option<String>) -> Result<Self, OptionsError> {
        let set = |name: &str| var(name).filter(|value| !value.trim().is_empty());
        let need = |name: &'static str| set(name).ok_or(OptionsError::Missing(name));
        let address = set("HEALTH_ADDRESS").unwrap_or_else(|| "0.0.0.0:8081".to_owned());
        Ok(Self {
            namespace: need("OPERATOR_NAMESPACE")?,
            pod: set("POD_NAME"),
            webserver_image: need("WEBSERVER_IMAGE")?,
            health_address: address
                .parse()
                .map_err(|_| OptionsError::HealthAddress(address))?,
            log_level: set("LOG_LEVEL").unwrap_or_else(|| "info".to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Options, OptionsError> {
        Options::from_env(|name| {
            let found = vars.iter().find(|(key, _)| *key == name)?;
            Some(found.1.to_owned())
        })
    }

    const NEEDED: [(&str, &str); 2] = [("OPERATOR_NAMESPACE", "sys"), ("WEBSERVER_IMAGE", "w:1")];

    #[test]
    fn the_needed_variables_are_enough() {
        let options = read(&NEEDED).expect("complete");
        assert_eq!(options.health_address.port(), 8081);
        assert_eq!(options.log_level, "info");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = read(&NEEDED[..1]).unwrap_err();
        assert!(error.to_string().contains("WEBSERVER_IMAGE"), "{error}");
        let empty = read(&[("OPERATOR_NAMESPACE", " "), NEEDED[1]]).unwrap_err();
        assert!(empty.to_string().contains("OPERATOR_NAMESPACE"), "{empty}");
    }
}
