//! Clusters, overlays, and gathering evidence from pods. The only crate that
//! knows Kubernetes.
#![forbid(unsafe_code)]

mod api;
pub mod collect;
pub mod deploy;
pub mod discover;
pub mod doctor;
pub mod embedded;
pub mod existing;
pub mod inject;
pub mod kind;
pub mod logs;
mod objects;
pub mod preview;
pub mod provider;
pub mod registry;
pub mod rights;
pub mod stop;
pub mod store;
pub mod target;
pub mod watch;

pub use podcov_overlay as overlay;
