//! The commands that are more than a step.

pub mod bundle;
pub mod cluster;
pub mod env;
pub mod exec;
pub mod import;
pub mod init;
pub mod merge;
pub mod single;
