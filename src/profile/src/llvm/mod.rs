//! LLVM's formats.

pub mod counted;
pub mod coverage;
mod evaluate;
mod expansion;
pub mod export;
pub mod file_view;
pub mod finding;
pub mod indexed;
mod inflate;
pub mod json;
pub mod lcov;
pub mod mapping;
pub mod mapping_file;
pub mod mcdc;
pub mod names;
pub mod object;
mod paths;
pub mod profile;
pub mod raw;
mod regions;
mod segments;
pub mod sum;
pub mod summary;
pub mod symbols;
pub mod text;
mod write;
