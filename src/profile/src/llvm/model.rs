//! What a report needs of a source file, from all that is known of it.

use std::collections::BTreeMap;

use super::coverage::Coverage;
use super::names::{common_name, crate_of, demangle};
use super::summary::Group;
use crate::go::lines::lines_within;
use crate::model::{File, Function, Metrics, Ratio};

impl Coverage {
    /// A file of a report, under the name `path`. Its metrics are those of
    /// `llvm-cov report`, its lines those of `llvm-cov show`; its functions
    /// are as written, by where they start, under the name that is common to
    /// their instantiations. The crate is the one that most functions are of,
    /// else `program`.
    pub fn model(&self, file: u32, path: &str, program: &str) -> File {
        let groups = self.groups(file);
        let summary = self.summary(&groups);
        let lines = self.file(file).lines();
        let mut crates: BTreeMap<String, usize> = BTreeMap::new();
        let mut functions = Vec::new();
        for group in &groups {
            let names = names(group);
            if let Some(krate) = names.first().and_then(|name| crate_of(name)) {
                *crates.entry(krate.to_owned()).or_default() += 1;
            }
            let end = end(group);
            functions.push(Function {
                name: common_name(&names),
                start: group.line,
                end,
                count: group.count(),
                lines: lines_within(&lines, group.line, end),
            });
        }
        let most = crates.into_iter().max_by_key(|(_, number)| *number);
        File {
            path: path.to_owned(),
            package: most.map_or_else(|| program.replace('-', "_"), |(name, _)| name),
            metrics: Metrics {
                lines: summary.lines,
                functions: summary.functions,
                regions: summary.regions,
                statements: Ratio::default(),
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
        let main = function.main_file();
        let here = function.regions().iter().filter(|r| Some(r.file) == main);
        end = here.map(|region| region.end_line).fold(end, u32::max);
    }
    end
}
