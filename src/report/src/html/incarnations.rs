//! `incarnations.html`: every process lifetime and what became of it.

use serde::Serialize;

use super::parts::{self, Lifetime, Link};
use super::{HtmlError, Pages};

#[derive(Serialize)]
struct Incarnations {
    lifetimes: Vec<Lifetime>,
    total: usize,
}

impl Pages<'_> {
    pub(super) fn incarnations(&self) -> Result<String, HtmlError> {
        let all = &self.report.ledger.incarnations;
        let crumbs = vec![Link {
            text: "incarnations".to_owned(),
            href: None,
        }];
        self.page(
            "incarnations",
            "incarnations · coverage",
            crumbs,
            Incarnations {
                lifetimes: all.iter().map(parts::lifetime).collect(),
                total: all.len(),
            },
        )
    }
}
