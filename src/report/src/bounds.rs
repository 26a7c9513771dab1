//! What lost evidence makes unknown: the lines that no evidence shows to have
//! run and that a process whose evidence is lost could have reached. Nothing
//! else: not what is covered already, not another component, not another build
//! where it is known which one was lost.

use std::collections::{BTreeMap, BTreeSet};

use podcov_profile::Identity;
use podcov_profile::combine::Combined;
use podcov_profile::ledger::{self, Cause, Fate, Format, Incarnation, Ledger};
use podcov_profile::model::{Component, Coverage, Metrics, Ratio};

use crate::summary::all_of;

/// Which builds lost some of their evidence.
#[derive(Debug, Default)]
pub(crate) struct Lost<'a> {
    /// A process of which nothing is known: it can have been any.
    anyone: bool,
    /// Components of which some build did.
    components: BTreeSet<&'a str>,
    builds: BTreeSet<(&'a str, &'a Identity)>,
}

impl<'a> Lost<'a> {
    pub fn new(coverage: &'a Coverage, ledger: &'a Ledger) -> Self {
        let mut builds: BTreeMap<&Identity, Vec<&str>> = BTreeMap::new();
        for component in &coverage.components {
            for binary in &component.binaries {
                let of_it = builds.entry(&binary.identity).or_default();
                of_it.push(&component.name);
            }
        }
        let mut lost = Lost::default();
        for incarnation in &ledger.incarnations {
            let own = coverage.components.iter().map(|c| c.name.as_str());
            let own = own.into_iter().find(|name| *name == incarnation.component);
            let Some(programs) = programs(incarnation) else {
                lost.add_all(incarnation, own);
                continue;
            };
            for identity in programs {
                let Some((known, names)) = builds.get_key_value(identity) else {
                    // A build of another name, or of a program that was linked
                    // anew: it says nothing of which one.
                    lost.add_all(incarnation, own);
                    continue;
                };
                // A build that several components have is of the one whose
                // container it ran in.
                let own = own.filter(|own| names.contains(own));
                let of_it = match &own {
                    Some(own) => std::slice::from_ref(own),
                    None => names,
                };
                lost.builds.extend(of_it.iter().map(|name| (*name, *known)));
            }
        }
        // Coverage can know of a loss that the ledger does not list.
        for component in &coverage.components {
            let has_row = |row: &Incarnation| row.component == component.name;
            if component.incarnations_lost > 0 && !ledger.incarnations.iter().any(has_row) {
                lost.components.insert(&component.name);
            }
        }
        lost
    }

    /// Of some program of the component, or of any if nobody knows it; a
    /// foreign program is none of a composition that does not know it.
    fn add_all(&mut self, incarnation: &Incarnation, own: Option<&'a str>) {
        match own {
            Some(own) => {
                self.components.insert(own);
            }
            None => self.anyone |= incarnation.fate != Fate::Foreign,
        }
    }

    fn is_build(&self, component: &Component, build: &Identity) -> bool {
        let name = component.name.as_str();
        self.anyone || self.components.contains(name) || self.builds.contains(&(name, build))
    }

    /// What of a source file is unknown (numbers of lines, ascending), and what
    /// is possible of it.
    pub fn of(&self, component: &Component, one: &Combined) -> (Vec<u32>, Metrics) {
        let is_lost =
            |index: &&usize| self.is_build(component, &component.binaries[**index].identity);
        let lost: Vec<&usize> = one.builds.iter().filter(is_lost).collect();
        let metrics = one.file.metrics;
        let open = one.file.lines.iter().filter(|line| line.count == 0);
        let open = open.map(|line| line.number);
        if lost.len() == one.builds.len() {
            return (open.collect(), all_of(metrics));
        }
        let mut reachable = BTreeSet::new();
        let mut possible = metrics;
        for index in lost {
            let files = &component.binaries[*index].files;
            let Some(file) = files.iter().find(|file| file.path == one.file.path) else {
                continue;
            };
            reachable.extend(file.lines.iter().map(|line| line.number));
            possible = widened(possible, file.metrics);
        }
        let unknown = open.filter(|number| reachable.contains(number));
        (unknown.collect(), possible)
    }
}

/// At most what a build has not reached can come to it.
fn widened(possible: Metrics, build: Metrics) -> Metrics {
    let wider = |whole: Ratio, build: Ratio| {
        let more = build.total.saturating_sub(build.covered);
        Ratio::new(
            whole.covered.saturating_add(more).min(whole.total),
            whole.total,
        )
    };
    Metrics {
        lines: wider(possible.lines, build.lines),
        functions: wider(possible.functions, build.functions),
        regions: wider(possible.regions, build.regions),
        statements: wider(possible.statements, build.statements),
        instantiations: wider(possible.instantiations, build.instantiations),
        branches: wider(possible.branches, build.branches),
    }
}

/// The programs whose evidence an incarnation lost; `None` when it lost some
/// and nothing says of which.
fn programs(incarnation: &Incarnation) -> Option<BTreeSet<&Identity>> {
    let files = &incarnation.files;
    let counts = |file: &&ledger::File| file.fate == Fate::Merged && file.format.holds_counts();
    let counted: BTreeSet<&Identity> = files
        .iter()
        .filter(counts)
        .filter_map(|file| file.identity.as_ref())
        .collect();
    let mut programs = BTreeSet::new();
    let mut is_known = true;
    if incarnation.cause == Some(Cause::Ticker) {
        programs.extend(&counted);
        is_known = !counted.is_empty();
    }
    let any_counts = files.iter().any(|file| counts(&file));
    let lost = files.iter().filter(|file| is_loss(file, any_counts));
    for file in lost.filter(|file| !ledger::is_stood_in_for(file, files)) {
        match &file.identity {
            Some(_) if file.fate == Fate::Foreign => {}
            Some(identity) => {
                programs.insert(identity);
            }
            // What it started, or one that is seen to have run beside it.
            None => {
                let others = files.iter().filter_map(|file| file.identity.as_ref());
                programs.extend(others.chain(&incarnation.identity));
                is_known &= incarnation.identity.is_some();
            }
        }
    }
    if incarnation.is_lost() {
        match &incarnation.identity {
            Some(own) if !counted.contains(own) => {
                programs.insert(own);
            }
            None if programs.is_empty() => is_known &= is_all_foreign(incarnation),
            _ => {}
        }
    }
    is_known.then_some(programs)
}

/// Whether a file that must have held counts does not count.
fn is_loss(file: &ledger::File, any_counts: bool) -> bool {
    let is_lost = match file.fate {
        Fate::Rejected | Fate::Missing => true,
        Fate::Foreign | Fate::Empty => !any_counts || file.format.holds_counts(),
        _ => false,
    };
    let is_evidence = file.format.holds_counts() || file.format == Format::Covmeta;
    is_lost && (is_evidence || !any_counts && file.format == Format::Unknown)
}

/// Whether all that it left is known to be of builds that the run has not.
fn is_all_foreign(incarnation: &Incarnation) -> bool {
    let mut files = incarnation
        .files
        .iter()
        .filter(|file| file.format != Format::Record)
        .peekable();
    files.peek().is_some()
        && files.all(|file| file.fate == Fate::Foreign && file.identity.is_some())
}
