//! Clusters, overlays, and gathering evidence from pods. The only crate that
//! knows Kubernetes.
#![forbid(unsafe_code)]

