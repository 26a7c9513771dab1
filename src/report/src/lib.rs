//! What a run says about a composition: every number computed once, a gate
//! over those numbers, and the forms in which people and tools read them.
//!
//! [`Report::new`] turns the merged coverage and the ledger into a [`Report`]:
//! its [`Summary`] holds the numbers, its files hold the lines. The terminal
//! table, `summary.json`, the HTML pages, the exports and the gate read that
//! one value, so they cannot disagree. Only [`write_all`] touches the disk.
#![forbid(unsafe_code)]

mod bounds;
mod export;
mod filter;
mod format;
mod gate;
mod html;
mod phases;
mod report;
mod summary;
mod text;
mod write;

pub use export::{GoProfile, go_text, lcov};
pub use filter::{BadGlob, Filter};
pub use gate::{
    Advice, GateError, Judgement, Metric, Outcome, Policy, Rule, Scope, Verdict, judge,
};
pub use html::HtmlError;
pub use phases::{Background, PhaseLines, PhaseNumbers, Reached};
pub use report::{LineState, Report, SourceFile};
pub use summary::{
    Build, Component, FileNumbers, Incarnations, Loss, Package, SCHEMA, Summary, Unreached,
};
pub use text::{gate_text, loss_text, markdown, table};
pub use write::{Input, NoSources, Sources, WriteError, Written, write_all};
