//! Go's formats.

pub mod files;
pub mod lines;
pub mod text;
