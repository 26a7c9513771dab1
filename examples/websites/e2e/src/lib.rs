//! What the scenarios in `tests/` are written with.
//!
//! A scenario gets a [`World`]: a namespace of its own in the cluster that `KUBECONFIG` names. It
//! is emptied afterwards in the way a user would do it (websites first, so that the operators clean
//! up), also when the scenario failed; then its last state is printed before.

mod http;
mod sitectl;
mod workload;
mod world;

pub use http::Reply;
pub use sitectl::Output;
pub use workload::{Operator, operators_alone};
pub use world::{Failure, World, scenario};

/// Namespace of the operators.
pub const SYSTEM: &str = "websites-system";
