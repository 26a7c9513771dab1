//! The scenarios. Each has a namespace of its own, so they can run side by side.
//!
//! They need a cluster with the composition deployed (`KUBECONFIG`) and `sitectl` on PATH.

mod scenarios {
    mod certificates;
    mod client;
    mod counts;
    mod life;
    mod refusals;
    mod restarts;
    mod serving;
    mod updates;
}
