//! Go's formats.

pub mod files;
pub mod text;
