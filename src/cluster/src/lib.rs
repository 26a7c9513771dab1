//! Clusters, overlays, and gathering evidence from pods. The only crate that
//! knows Kubernetes.
#![forbid(unsafe_code)]

mod api;
pub mod embedded;
pub mod existing;
pub mod kind;
pub mod provider;
