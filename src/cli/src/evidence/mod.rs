//! Profiles, counters and reports that are named on the command line: what
//! they are, what they add up to, and what is wrong with them.

pub mod gather;
pub mod input;
pub mod measure;
pub mod names;
pub mod objects;
pub mod out;
pub mod pieces;
pub mod read;
pub mod reports;
pub mod snapshots;
pub mod sort;
pub mod stores;
pub mod tell;
pub mod worker;
pub mod write_store;
