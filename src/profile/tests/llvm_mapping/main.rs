//! Coverage mappings of programs that real compilers made, held against
//! llvm-cov-22.

mod c;
mod exceptions;
mod formats;
mod generated;
mod generator;
mod model;
mod rust;
mod several;
mod support;
