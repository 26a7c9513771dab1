//! The API of the websites composition: the types that the operator serves and clients use.
//!
//! Nothing in here talks to a cluster; [`connect`] only finds it. [`Website`] is owned by `website-operator`,
//! [`Certificate`] by `certificate-operator`, whose Go types are the source of its schema.

mod certificate;
mod conditions;
pub mod connect;
mod duration;
mod website;

pub use certificate::{Certificate, CertificateSpec, CertificateStatus};
pub use conditions::{ConditionUpdate, find_condition, is_true, set_condition};
pub use duration::{DurationError, parse_duration};
pub use website::{
    Content, Header, Redirect, Rollout, Tls, TlsMode, Website, WebsiteSpec, WebsiteStatus,
};

/// Annotation whose every new value the operator records exactly once; see `audit` there.
pub const AUDIT_ANNOTATION: &str = "web.podcov.dev/audit-token";

/// Label on everything that belongs to a website; its value is the website's name.
pub const WEBSITE_LABEL: &str = "web.podcov.dev/website";

/// Condition types of [`WebsiteStatus`], named once so that no client misspells one.
pub mod condition {
    /// The specification makes sense and its host is ours.
    pub const ACCEPTED: &str = "Accepted";
    /// The certificate exists, or none is wanted.
    pub const CERTIFICATE_READY: &str = "CertificateReady";
    /// All wanted replicas serve the current content.
    pub const READY: &str = "Ready";
}
