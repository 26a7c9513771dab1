//! LLVM's formats.

pub mod export;
pub mod indexed;
pub mod names;
pub mod profile;
pub mod raw;
pub mod sum;
