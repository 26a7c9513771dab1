//! What a report needs of a source file, from all that is known of it.

use std::collections::BTreeMap;

use super::counted::RegionKind;
use super::coverage::Coverage;
use super::demangle::{common_name, crate_of, demangle};
use super::file_view::FileView;
use super::summary::Group;
use crate::go::lines::lines_within;
use crate::model::{self, Branch, File, Function, Instance, Metrics, Region};

/// How much of a file goes into a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Lines and functions: what podcov makes out of llvm-cov's JSON too.
    #[default]
    Lines,
    /// Regions, instantiations and conditions as well.
    Regions,
}

impl Coverage {
    /// A file of a report, under the name `path`. Its metrics are those of
    /// `llvm-cov report`, its lines those of `llvm-cov show`; its functions
    /// are as written, by where they start, under the name that is common to
    /// their instantiations. The crate is the one that most functions are of,
    /// else `program`.
    pub fn model(&self, file: u32, path: &str, program: &str, detail: Detail) -> File {
        let groups = self.groups(file);
        let summary = self.summary(&groups);
        let view = self.file(file);
        let lines = view.lines();
        let mut crates: BTreeMap<String, usize> = BTreeMap::new();
        let mut functions = Vec::new();
        for group in &groups {
            let names = names(group);
            if let Some(krate) = names.first().and_then(|name| crate_of(name)) {
                *crates.entry(krate.to_owned()).or_default() += 1;
            }
            let end = end(group);
            let mut function = Function {
                name: common_name(&names),
                start: group.line,
                end,
                count: group.count(),
                lines: lines_within(&lines, group.line, end),
                ..Function::default()
            };
            if detail == Detail::Regions {
                function.regions = regions(group);
                function.instances = instances(group, names);
            }
            functions.push(function);
        }
        let most = crates.into_iter().max_by_key(|(_, number)| *number);
        File {
            path: path.to_owned(),
            package: most.map_or_else(|| program.replace('-', "_"), |(name, _)| name),
            metrics: Metrics {
                lines: summary.lines,
                functions: summary.functions,
                regions: summary.regions,
                instantiations: summary.instantiations,
                branches: summary.branches,
                ..Metrics::default()
            },
            branches: match detail {
                Detail::Lines => Vec::new(),
                Detail::Regions => branches(&view),
            },
            lines,
            functions,
        }
    }
}

fn names(group: &Group<'_>) -> Vec<String> {
    let functions = group.functions.iter();
    functions
        .map(|function| demangle(&String::from_utf8_lossy(function.name())))
        .collect()
}

/// The last line of any instantiation, in the file it is written in.
fn end(group: &Group<'_>) -> u32 {
    let mut end = group.line;
    for function in &group.functions {
        let main = function.main_file().unwrap_or_default();
        let here = function.regions_in(main).iter();
        end = here.map(|region| region.end_line).fold(end, u32::max);
    }
    end
}

/// Each place and kind once, with the counts of all instantiations.
fn regions(group: &Group<'_>) -> Vec<Region> {
    let mut counts: BTreeMap<Region, u64> = BTreeMap::new();
    for function in &group.functions {
        let main = function.main_file().unwrap_or_default();
        for region in function.regions_in(main) {
            let kind = match region.kind {
                RegionKind::Code => model::RegionKind::Code,
                RegionKind::Expansion => model::RegionKind::Expansion,
                RegionKind::Skipped => model::RegionKind::Skipped,
                RegionKind::Gap => model::RegionKind::Gap,
                RegionKind::Branch | RegionKind::Decision | RegionKind::McdcBranch => continue,
            };
            let place = Region {
                start_line: region.start_line,
                start_column: region.start_column,
                end_line: region.end_line,
                end_column: region.end_column,
                kind,
                ..Region::default()
            };
            let count = counts.entry(place).or_default();
            *count = count.saturating_add(region.count);
        }
    }
    let region = |(place, count)| Region { count, ..place };
    counts.into_iter().map(region).collect()
}

/// What the compiler made of a function, by name; nothing where it is one.
fn instances(group: &Group<'_>, names: Vec<String>) -> Vec<Instance> {
    if names.len() < 2 {
        return Vec::new();
    }
    let functions = group.functions.iter();
    let mut instances: Vec<Instance> = names
        .into_iter()
        .zip(functions)
        .map(|(name, function)| Instance {
            name,
            count: function.count(),
        })
        .collect();
    instances.sort();
    instances
}

/// Each condition once, with the counts of all instantiations.
fn branches(view: &FileView<'_>) -> Vec<Branch> {
    let mut branches: BTreeMap<Branch, (u64, u64)> = BTreeMap::new();
    for branch in view.branches.iter().filter(|branch| !branch.is_folded()) {
        let place = Branch {
            start_line: branch.region.start_line,
            start_column: branch.region.start_column,
            end_line: branch.region.end_line,
            end_column: branch.region.end_column,
            ..Branch::default()
        };
        let (taken, not_taken) = branches.entry(place).or_default();
        *taken = taken.saturating_add(branch.region.count);
        *not_taken = not_taken.saturating_add(branch.false_count);
    }
    let branch = |(place, (taken, not_taken))| Branch {
        taken,
        not_taken,
        ..place
    };
    branches.into_iter().map(branch).collect()
}
