//! What can go wrong in a reconciliation, and whether it is worth telling the user.

use kube::runtime::finalizer;

/// A failed reconciliation; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or could not be reached.
    #[error("could not {action}")]
    Api {
        /// What was tried.
        action: String,
        /// What the client says.
        #[source]
        source: kube::Error,
    },
    /// The finalizer could not be added or removed, or what lies between failed.
    #[error("could not finish the finalizer's step")]
    Finalizer(#[source] Box<finalizer::Error<Error>>),
    /// A generated object is not what the API's types expect.
    #[error("the generated {0} is not valid")]
    Generated(&'static str, #[source] serde_json::Error),
    /// A namespaced object without a namespace.
    #[error("website without a namespace")]
    NoNamespace,
}

/// Adds what was tried to a client's error.
pub trait Trying<T> {
    /// Names the `action` in the error.
    ///
    /// # Errors
    /// The error that was there before, with its action.
    fn trying(self, action: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Trying<T> for Result<T, kube::Error> {
    fn trying(self, action: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Api {
            action: action(),
            source,
        })
    }
}

impl Error {
    /// Whether this is only the consequence of a namespace or object that is on its way out.
    pub fn is_farewell(&self) -> bool {
        match self {
            Self::Api { source, .. } => says_farewell(source),
            Self::Finalizer(inner) => match inner.as_ref() {
                finalizer::Error::ApplyFailed(error) | finalizer::Error::CleanupFailed(error) => {
                    error.is_farewell()
                }
                finalizer::Error::AddFinalizer(error)
                | finalizer::Error::RemoveFinalizer(error) => says_farewell(error),
                _ => false,
            },
            Self::Generated(..) | Self::NoNamespace => false,
        }
    }

    /// The error and its causes in one line.
    pub fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            line.push_str(": ");
            line.push_str(&cause.to_string());
            next = cause.source();
        }
        line
    }
}

fn says_farewell(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    status.code == 404 || (status.code == 403 && status.message.contains("being terminated"))
}
