//! LLVM's formats.

pub mod export;
pub mod indexed;
pub mod profile;
pub mod raw;
