//! `tests.html`, a page for each test and phase, and on a source's page who
//! reached each line.

use std::collections::BTreeMap;

use serde::Serialize;

use super::parts::{self, Link};
use super::{HtmlError, Pages};
use crate::format::{plural, thousands, visible};
use crate::phases::PhaseLines;

/// So many names are on a source's page for one line; its tests' pages have
/// all lines.
const MOST: usize = 60;
/// So many are told where the pointer is.
const HOVER: usize = 5;

#[derive(Serialize)]
struct TestsView {
    rows: Vec<TestRow>,
    lead: String,
}

#[derive(Serialize)]
struct TestRow {
    name: String,
    href: String,
    kind: String,
    lines: String,
    only: String,
    shared: String,
    background: String,
}

#[derive(Serialize)]
struct TestView {
    name: String,
    kind: String,
    lead: String,
    rows: Vec<FileRow>,
}

#[derive(Serialize)]
struct FileRow {
    path: String,
    component: String,
    href: String,
    lines: String,
    shared: String,
    only: String,
    ranges: Vec<Link>,
    more: Option<String>,
}

/// Who reached a line: those of one number on the page are the same.
#[derive(Serialize)]
pub(super) struct Reachers {
    id: usize,
    title: String,
    tests: Vec<Reacher>,
    more: Option<String>,
    background: bool,
}

#[derive(Serialize)]
struct Reacher {
    name: String,
    href: String,
    shared: bool,
}

/// What a line shows of them.
#[derive(Clone, Serialize)]
pub(super) struct Badge {
    id: usize,
    number: String,
    title: String,
}

pub(super) fn test_page(index: usize) -> String {
    format!("t/{:05}.html", index + 1)
}

impl Pages<'_> {
    pub(super) fn tests(&self) -> Result<String, HtmlError> {
        let rows = self.report.phases.iter().enumerate().map(|(index, phase)| {
            let of = &phase.numbers;
            TestRow {
                name: visible(&of.name),
                href: test_page(index),
                kind: of.kind.clone(),
                lines: thousands(of.lines),
                only: thousands(of.only),
                shared: thousands(of.shared),
                background: thousands(of.background),
            }
        });
        let view = TestsView {
            rows: rows.collect(),
            lead: plural(
                self.report.phases.len() as u64,
                "test or phase",
                "tests and phases",
            ),
        };
        let crumbs = vec![Link {
            text: "tests".to_owned(),
            href: None,
        }];
        self.page("tests", "tests · coverage", crumbs, view)
    }

    pub(super) fn test(&self, index: usize) -> Result<String, HtmlError> {
        let phase = &self.report.phases[index];
        let name = visible(&phase.numbers.name);
        let rows = phase.files.iter().map(|(file, reached)| {
            let source = &self.report.files[*file];
            let page = format!("../{}", parts::file_page(*file));
            let all: Vec<(u32, u32)> = reached.only.runs().collect();
            let ranges = all.iter().take(MOST).map(|(from, to)| Link {
                text: match to - from {
                    1 => from.to_string(),
                    _ => format!("{from}–{}", to - 1),
                },
                href: Some(format!("{page}#L{from}")),
            });
            FileRow {
                path: visible(&source.path),
                component: visible(&self.report.summary.components[source.component].name),
                lines: thousands(reached.lines.count()),
                shared: thousands(reached.shared.count()),
                only: thousands(reached.only.count()),
                ranges: ranges.collect(),
                more: more(all.len()),
                href: page,
            }
        });
        let of = &phase.numbers;
        let view = TestView {
            name: name.clone(),
            kind: of.kind.clone(),
            lead: format!(
                "reached {}; {} of them nothing else did, {} the background does as well, of {} \
                 another that ran at the same time may be the cause",
                plural(of.lines, "line", "lines"),
                thousands(of.only),
                thousands(of.background),
                thousands(of.shared)
            ),
            rows: rows.collect(),
        };
        let crumbs = vec![
            Link {
                text: "tests".to_owned(),
                href: Some("../tests.html".to_owned()),
            },
            Link {
                text: name.clone(),
                href: None,
            },
        ];
        self.page("test", &format!("{name} · coverage"), crumbs, view)
    }

    /// Who reached the lines of a file. Lines with the same tests have the
    /// same number, so that a page is not longer for many lines.
    pub(super) fn reachers(&self, file: usize) -> (BTreeMap<u32, Badge>, Vec<Reachers>) {
        let mut of_line: BTreeMap<u32, (Vec<(usize, bool)>, bool)> = BTreeMap::new();
        for (index, phase) in self.report.phases.iter().enumerate() {
            let Some(reached) = phase.files.get(&file) else {
                continue;
            };
            for line in reached.lines.iter() {
                let shared = reached.shared.contains(line);
                of_line.entry(line).or_default().0.push((index, shared));
            }
        }
        for (line, (who, is_background)) in &mut of_line {
            // Only of the question that those answer: tests, or phases.
            *is_background = who.iter().any(|(index, _)| {
                let kind = self.report.phases[*index].kind;
                let lines = self.report.background.get(&(kind, file));
                lines.is_some_and(|lines| lines.contains(*line))
            });
        }
        let mut sets = Vec::new();
        let mut known: BTreeMap<(Vec<(usize, bool)>, bool), Badge> = BTreeMap::new();
        let mut badges = BTreeMap::new();
        for (line, who) in of_line {
            let badge = known.entry(who).or_insert_with_key(|who| {
                let set = self.set(sets.len() + 1, who);
                let badge = Badge {
                    id: set.id,
                    number: thousands(who.0.len() as u64),
                    title: set.title.clone(),
                };
                sets.push(set);
                badge
            });
            badges.insert(line, badge.clone());
        }
        (badges, sets)
    }

    fn set(&self, id: usize, (tests, background): &(Vec<(usize, bool)>, bool)) -> Reachers {
        let phases: &[PhaseLines] = &self.report.phases;
        let name = |index: usize| visible(&phases[index].numbers.name);
        let names: Vec<String> = tests
            .iter()
            .take(HOVER)
            .map(|(index, _)| name(*index))
            .collect();
        let mut title = format!("reached by {}", names.join(", "));
        if tests.len() > HOVER {
            title += &format!(" and {} more", tests.len() - HOVER);
        }
        if *background {
            title += ", and by the background";
        }
        let some = tests.iter().take(MOST).map(|(index, shared)| Reacher {
            name: name(*index),
            href: format!("../{}", test_page(*index)),
            shared: *shared,
        });
        Reachers {
            id,
            title,
            tests: some.collect(),
            more: more(tests.len()),
            background: *background,
        }
    }
}

fn more(all: usize) -> Option<String> {
    let more = all.checked_sub(MOST).filter(|more| *more > 0)?;
    Some(format!("and {} more", thousands(more as u64)))
}
