//! The commands that are more than a step.

pub mod bundle;
pub mod cluster;
pub mod diff;
pub mod doctor;
pub mod dry_run;
pub mod env;
pub mod exec;
pub mod export;
pub mod import;
pub mod init;
pub mod inject;
pub mod inspect;
pub mod merge;
pub mod phase;
pub mod rbac;
pub mod show;
pub mod single;
pub mod summary;
pub mod tests;
