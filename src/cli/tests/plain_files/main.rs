//! The commands on plain files: real programs, real profiles, the reference
//! tools beside them, and exit statuses.

mod go;
mod inspect;
mod llvm;
mod podcov_files;
mod programs;
mod reading;
