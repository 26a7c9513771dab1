//! Coverage mappings of programs that real compilers made, held against
//! llvm-cov-22.

mod c;
mod rust;
mod support;
