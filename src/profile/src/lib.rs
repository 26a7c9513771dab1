//! The values podcov works with and the pure readers of coverage formats:
//! identity, bundle, evidence and ledger, and the model of what was covered.
//!
//! Nothing here opens a file, starts a process or knows Kubernetes; bytes come
//! in, values go out. Every length that a file claims is checked before it is
//! believed.
#![forbid(unsafe_code)]

pub mod bundle;
pub mod bytes;
pub mod classify;
pub mod cobertura;
pub mod codecov;
pub mod combine;
pub mod diff;
pub mod elf;
pub mod error;
pub mod evidence;
pub mod finding;
pub mod go;
pub mod gocover;
pub mod identity;
pub mod lcov;
pub mod ledger;
pub mod limits;
pub mod llvm;
pub mod llvm_json;
pub mod merge;
pub mod model;
pub mod names;
pub mod neutral;
pub mod phases;
pub mod reach;
pub mod store;
pub mod union;

pub use classify::{Classified, Problem, classify};
pub use error::ParseError;
pub use finding::Finding;
pub use identity::Identity;
pub use limits::Limits;
