//! The operator behind `Website`: from a specification to web servers, and back to nothing.
//!
//! The flow of one reconciliation is `reconcile.rs`, from top to bottom. What it decides is in
//! modules without I/O (`site`, `children`, `progress`); what it does to the cluster is
//! in `hosts`, `apply` and `audit`.

pub mod apply;
pub mod audit;
pub mod children;
pub mod crd;
pub mod error;
pub mod health;
pub mod hosts;
pub mod logging;
pub mod options;
pub mod progress;
pub mod reconcile;
pub mod run;
pub mod site;

/// Field manager of everything that this operator applies.
pub const FIELD_MANAGER: &str = "website-operator";

/// Finalizer on websites: a claimed host lies in another namespace, so that no owner reference
/// can clean it up.
pub const FINALIZER: &str = "web.podcov.dev/release-host";
