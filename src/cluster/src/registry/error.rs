//! What can go wrong with a registry, and what to do about it.

use std::error::Error as Cause;
use std::path::PathBuf;

use oci_client::Reference;
use oci_client::errors::{OciDistributionError, OciErrorCode};
use podcov_process::Cancelled;

use super::credentials::Credentials;

/// Why an image could not be pushed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The archive is not what the build writes.
    #[error("cannot push {}: {reason}", .path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What was expected and found.
        reason: String,
    },
    /// What logging in left cannot be used.
    #[error("cannot use the credentials for `{registry}` in {}: {reason}", .path.display())]
    Credentials {
        /// The registry's host.
        registry: String,
        /// The file of docker or podman.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The registry did not take the image.
    #[error("cannot push `{image}`: {reason}; {remedy}")]
    Registry {
        /// The image.
        image: String,
        /// What the registry or the network said.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// The client could not be made.
    #[error("cannot start the client for registries: {0}")]
    Client(String),
}

/// What a failure comes down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    Login,
    Forbidden,
    NotFound,
    Busy,
    /// It answers in plain text where TLS was begun.
    NotTls,
    Untrusted,
    Unreachable,
    Other,
}

impl Problem {
    pub(super) fn of(error: &OciDistributionError) -> Problem {
        match error {
            OciDistributionError::RequestError(error) => match (error.status(), tls(error)) {
                (Some(status), _) => Problem::of_status(status.as_u16()),
                (None, Some(problem)) => problem,
                // A connection that broke in the middle of a request, too.
                (None, None) => Problem::Unreachable,
            },
            OciDistributionError::ServerError { code, .. } => Problem::of_status(*code),
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => Problem::Login,
            OciDistributionError::ImageManifestNotFoundError(_) => Problem::NotFound,
            OciDistributionError::RegistryError { envelope, .. } => {
                let codes = envelope.errors.iter().map(|error| &error.code);
                codes.map(Problem::of_code).next().unwrap_or(Problem::Other)
            }
            _ => Problem::Other,
        }
    }

    fn of_status(status: u16) -> Problem {
        match status {
            401 => Problem::Login,
            403 => Problem::Forbidden,
            404 => Problem::NotFound,
            429 | 500..=599 => Problem::Busy,
            _ => Problem::Other,
        }
    }

    fn of_code(code: &OciErrorCode) -> Problem {
        match code {
            OciErrorCode::Unauthorized => Problem::Login,
            OciErrorCode::Denied => Problem::Forbidden,
            OciErrorCode::ManifestUnknown
            | OciErrorCode::NameUnknown
            | OciErrorCode::NotFound
            | OciErrorCode::BlobUnknown => Problem::NotFound,
            OciErrorCode::Toomanyrequests => Problem::Busy,
            _ => Problem::Other,
        }
    }
}

/// What TLS has to complain about, if that is it.
fn tls(error: &(dyn Cause + 'static)) -> Option<Problem> {
    let of = |error: &rustls::Error| match error {
        rustls::Error::InvalidMessage(_) => Problem::NotTls,
        _ => Problem::Untrusted,
    };
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(of(error));
        }
        // What an io::Error wraps is not its source.
        let inner = error.downcast_ref::<std::io::Error>();
        let inner = inner.and_then(|error| error.get_ref());
        if let Some(error) = inner.and_then(|error| error.downcast_ref::<rustls::Error>()) {
            return Some(of(error));
        }
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// The registry's own words where there are some.
fn said(error: &OciDistributionError) -> String {
    let words = |text: &str| {
        let envelope = serde_json::from_str::<oci_client::errors::OciEnvelope>(text);
        let words = envelope.ok().map(|envelope| {
            let all: Vec<String> = envelope.errors.into_iter().map(|e| e.message).collect();
            all.join(", ")
        });
        words.unwrap_or_else(|| text.trim().chars().take(200).collect())
    };
    match error {
        OciDistributionError::ServerError { code, message, .. } => {
            format!("status {code} {}", words(message))
                .trim_end()
                .to_owned()
        }
        OciDistributionError::AuthenticationFailure(reason) => words(reason),
        OciDistributionError::UnauthorizedError { .. } => "status 401".to_owned(),
        OciDistributionError::RegistryError { envelope, .. } => {
            let all: Vec<&str> = envelope.errors.iter().map(|e| e.message.as_str()).collect();
            all.join(", ")
        }
        OciDistributionError::RequestError(error) => match error.status() {
            Some(status) => format!("status {}", status.as_u16()),
            None => innermost(error),
        },
        other => other.to_string(),
    }
}

/// The last cause: those before it say that a request failed.
fn innermost(error: &dyn Cause) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

pub(super) fn failed(
    error: &OciDistributionError,
    image: &Reference,
    credentials: &Credentials,
) -> Error {
    let host = image.registry();
    let repository = image.repository();
    let said = said(error);
    let (reason, remedy) = match (Problem::of(error), credentials.name()) {
        (Problem::Login, None) => (
            format!("`{host}` wants a login, and there is none on this machine ({said})"),
            format!("`docker login {host}` or `podman login {host}` makes one"),
        ),
        (Problem::Login, Some(name)) => (
            format!("`{host}` does not take the login of `{name}` ({said})"),
            format!("log in anew: `docker login {host}` or `podman login {host}`"),
        ),
        (Problem::Forbidden, name) => {
            let who = name.map_or("anyone without a login".to_owned(), |n| format!("`{n}`"));
            (
                format!("`{host}` does not let {who} write to `{repository}` ({said})"),
                "get the right to push there, or name another path in `[cluster] registry`"
                    .to_owned(),
            )
        }
        (Problem::NotFound, _) => (
            format!("`{host}` knows no place for `{repository}` ({said})"),
            "create the repository or its project there first, or correct the path in \
             `[cluster] registry`"
                .to_owned(),
        ),
        (Problem::NotTls, _) => (
            format!("`{host}` does not speak TLS ({said})"),
            format!("if it is meant to be plain http: `registry = \"http://{host}/…\"`"),
        ),
        (Problem::Untrusted, _) => (
            format!("no trusted connection to `{host}` ({said})"),
            "make its authority known to this machine (`update-ca-certificates`), or name the \
             authority's file in the variable SSL_CERT_FILE"
                .to_owned(),
        ),
        (Problem::Unreachable, _) => (
            format!("no connection to `{host}` ({said})"),
            "check the address in `[cluster] registry`, the network, and the variables \
             HTTPS_PROXY and NO_PROXY"
                .to_owned(),
        ),
        (Problem::Busy, _) => (
            format!("`{host}` is not able to take it now ({said})"),
            "try again later; what it has already is not sent again".to_owned(),
        ),
        (Problem::Other, _) => (
            format!("`{host}` did not take it ({said})"),
            "what it has already is not sent again".to_owned(),
        ),
    };
    Error::Registry {
        image: image.whole(),
        reason,
        remedy,
    }
}
