//! Who podcov is to a registry: what `docker login` or `podman login` left on
//! this machine.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use oci_client::secrets::RegistryAuth;

use super::Error;

/// A user of a registry, or nobody.
pub(super) enum Credentials {
    Anonymous,
    User { name: String, secret: String },
}

impl Credentials {
    /// Looks where podman looks, then where docker does. The first file that
    /// knows the registry decides.
    pub(super) fn find(host: &str, repository: &str) -> Result<Credentials, Error> {
        for file in files(|name| std::env::var_os(name).map(PathBuf::from)) {
            if let Some(found) = read(&file, host, repository)? {
                return Ok(found);
            }
        }
        Ok(Credentials::Anonymous)
    }

    pub(super) fn auth(&self) -> RegistryAuth {
        match self {
            Credentials::Anonymous => RegistryAuth::Anonymous,
            Credentials::User { name, secret } => RegistryAuth::Basic(name.clone(), secret.clone()),
        }
    }

    /// The user's name.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Credentials::Anonymous => None,
            Credentials::User { name, .. } => Some(name),
        }
    }
}

/// See containers-auth.json(5) and docker's `DOCKER_CONFIG`.
fn files(variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let below = |name: &str, path: &str| variable(name).map(|folder| folder.join(path));
    let docker =
        below("DOCKER_CONFIG", "config.json").or_else(|| below("HOME", ".docker/config.json"));
    match variable("REGISTRY_AUTH_FILE") {
        Some(file) => vec![file],
        None => [
            below("XDG_RUNTIME_DIR", "containers/auth.json"),
            below("HOME", ".config/containers/auth.json"),
            docker,
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}

fn read(path: &Path, host: &str, repository: &str) -> Result<Option<Credentials>, Error> {
    let wrong = |reason: String| Error::Credentials {
        registry: host.to_owned(),
        path: path.to_owned(),
        reason,
    };
    for key in keys(host, repository) {
        let file = match File::open(path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        use CredentialRetrievalError as Cannot;
        match get_credential_from_reader(file, &key) {
            Ok(DockerCredential::UsernamePassword(name, secret)) => {
                return Ok(Some(Credentials::User { name, secret }));
            }
            Ok(DockerCredential::IdentityToken(_)) => {
                return Err(wrong(
                    "it holds an identity token; log in with a name and a password or access \
                     token instead (for Azure: `az acr login --expose-token`, then `docker login \
                     -u 00000000-0000-0000-0000-000000000000`)"
                        .to_owned(),
                ));
            }
            Err(Cannot::NoCredentialConfigured) => {}
            // What helpers say on stdout when they know nothing of a registry.
            Err(Cannot::HelperFailure { stdout, .. }) if stdout.contains("not found") => {}
            Err(Cannot::HelperFailure { helper, stderr, .. }) => {
                return Err(wrong(format!("`{helper}` failed: {}", stderr.trim())));
            }
            Err(error) => return Err(wrong(error.to_string())),
        }
    }
    Ok(None)
}

/// What the registry may be called: podman's entries can be for a part of it,
/// and the longest one that fits is meant.
fn keys(host: &str, repository: &str) -> Vec<String> {
    let whole = format!("{host}/{repository}");
    let mut keys: Vec<String> = whole
        .match_indices('/')
        .map(|(at, _)| whole[..at].to_owned())
        .collect();
    keys.reverse();
    if matches!(host, "docker.io" | "index.docker.io") {
        keys.push("https://index.docker.io/v1/".to_owned());
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, host: &str) -> Result<Option<String>, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let found = read(file.path(), host, "team/op-profile")?;
        Ok(found.and_then(|found| match found.auth() {
            RegistryAuth::Basic(name, secret) => Some(format!("{name} {secret}")),
            _ => None,
        }))
    }

    #[test]
    fn what_docker_and_podman_wrote_is_found() {
        // `me:secret` in base64.
        let auth = r#"{"auth": "bWU6c2VjcmV0"}"#;
        let cases = [
            (format!(r#"{{"auths": {{"r.io": {auth}}}}}"#), "r.io"),
            (
                format!(r#"{{"auths": {{"https://r.io": {auth}}}}}"#),
                "r.io",
            ),
            (
                format!(r#"{{"auths": {{"r.io/team": {auth}, "r.io": {{"auth": "eDp5"}}}}}}"#),
                "r.io",
            ),
            (
                format!(r#"{{"auths": {{"https://index.docker.io/v1/": {auth}}}}}"#),
                "docker.io",
            ),
            (
                format!(r#"{{"auths": {{"localhost:5000": {auth}}}}}"#),
                "localhost:5000",
            ),
        ];
        for (text, host) in cases {
            assert_eq!(
                found(&text, host).unwrap().as_deref(),
                Some("me secret"),
                "{text}"
            );
        }
        assert_eq!(found("{}", "r.io").unwrap(), None);
        assert_eq!(found(r#"{"auths": {"r.io": {}}}"#, "r.io").unwrap(), None);
        let missing = read(Path::new("/nowhere/config.json"), "r.io", "x").unwrap();
        assert!(missing.is_none());
    }

    #[test]
    fn what_cannot_be_used_is_told_without_the_secret() {
        let token = r#"{"auths": {"r.io": {"identitytoken": "geheim"}}}"#;
        let error = found(token, "r.io").unwrap_err().to_string();
        assert!(
            error.contains("`r.io`") && error.contains("identity token"),
            "{error}"
        );
        assert!(!error.contains("geheim"), "{error}");
        let error = found("[", "r.io").unwrap_err().to_string();
        assert!(error.contains("Unable to read config"), "{error}");
        let helper = r#"{"credHelpers": {"r.io": "podcov-no-such"}}"#;
        let error = found(helper, "r.io").unwrap_err().to_string();
        assert!(error.contains("credential helper"), "{error}");
    }

    #[test]
    fn the_files_are_those_of_podman_and_docker() {
        let home = |name: &str| (name == "HOME").then(|| PathBuf::from("/h"));
        let expected = ["/h/.config/containers/auth.json", "/h/.docker/config.json"];
        assert_eq!(files(home), expected.map(PathBuf::from));
        let all = |name: &str| Some(PathBuf::from(format!("/{name}")));
        assert_eq!(files(all), [PathBuf::from("/REGISTRY_AUTH_FILE")]);
    }
}
