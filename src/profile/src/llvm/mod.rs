//! LLVM's formats.

pub mod export;
pub mod raw;
