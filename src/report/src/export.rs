//! The report for other tools.

use std::collections::{BTreeMap, BTreeSet};

use podcov_profile::bundle::Bundle;
use podcov_profile::go::files::Mode;
use podcov_profile::go::text;
use podcov_profile::lcov::record;
use podcov_profile::neutral::FileLines;

use crate::report::Report;

/// What a Go component covered, as Go's tools tell it.
#[derive(Clone, Debug)]
pub struct GoProfile {
    /// The component.
    pub component: String,
    /// Its merged text profile.
    pub profile: text::Profile,
}

/// `lcov.info`: one record for each file of each component, named in `TN`.
///
/// How is said at [`record`]. Where components have different source roots, a
/// path begins with what their roots do not share, so that two `src/main.rs`
/// stay two.
pub fn lcov(report: &Report, bundles: &[Bundle]) -> String {
    let prefixes = prefixes(bundles);
    let mut out = String::new();
    for file in &report.files {
        let component = &report.summary.components[file.component].name;
        let prefix = prefixes.get(component.as_str()).map_or("", String::as_str);
        let lines = FileLines::of(&file.package, &file.lines, &file.functions, &file.branches);
        record(
            &mut out,
            component,
            &format!("{prefix}{}", file.path),
            &lines,
        );
    }
    out
}

/// For each component the part of its source root that is its own, with `/` at
/// the end; empty when all share one root.
fn prefixes(bundles: &[Bundle]) -> BTreeMap<&str, String> {
    let split = |bundle: &Bundle| -> Vec<String> {
        let parts = bundle
            .sources
            .root
            .split('/')
            .filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    };
    let roots: Vec<(&str, Vec<String>)> = bundles
        .iter()
        .map(|bundle| (bundle.component.as_str(), split(bundle)))
        .collect();
    let shared =
        roots
            .iter()
            .skip(1)
            .fold(roots.first().map_or(0, |(_, r)| r.len()), |n, (_, r)| {
                r.iter()
                    .zip(&roots[0].1)
                    .take(n)
                    .take_while(|(a, b)| a == b)
                    .count()
            });
    roots
        .iter()
        .map(|(component, root)| {
            let own: String = root[shared..]
                .iter()
                .map(|part| format!("{part}/"))
                .collect();
            (*component, own)
        })
        .collect()
}

/// `coverage.out`: the Go components as one text profile, for `go tool cover`;
/// `None` where there is no Go. Files that the report leaves out are left out
/// where the component's bundle tells which they are.
///
/// Equal blocks add up. A mode that one profile lacks, all lack: with a `set`
/// among them the result is a `set`.
pub fn go_text(report: &Report, profiles: &[GoProfile], bundles: &[Bundle]) -> Option<String> {
    let counted: BTreeSet<(&str, &str)> = report
        .files
        .iter()
        .map(|file| {
            (
                report.summary.components[file.component].name.as_str(),
                file.path.as_str(),
            )
        })
        .collect();
    let mode = profiles
        .iter()
        .map(|one| one.profile.mode)
        .reduce(|a, b| match (a, b) {
            (Mode::Set, _) | (_, Mode::Set) => Mode::Set,
            (Mode::Count, _) | (_, Mode::Count) => Mode::Count,
            (Mode::Atomic, Mode::Atomic) => Mode::Atomic,
        })?;
    let mut all = text::Profile::new(mode);
    for one in profiles {
        let bundle = bundles
            .iter()
            .find(|bundle| bundle.component == one.component);
        for (file, blocks) in &one.profile.files {
            let path = bundle.and_then(|bundle| bundle.sources.relative(file));
            if path.is_some_and(|path| !counted.contains(&(one.component.as_str(), &path))) {
                continue;
            }
            let into = all.files.entry(file.clone()).or_default();
            for (span, block) in blocks {
                let count = if mode == Mode::Set {
                    block.count.min(1)
                } else {
                    block.count
                };
                into.entry(*span)
                    .and_modify(|seen| {
                        seen.count = match mode {
                            Mode::Set => seen.count.max(count),
                            _ => seen.count.saturating_add(count),
                        };
                    })
                    .or_insert(text::Block { count, ..*block });
            }
        }
    }
    Some(all.to_text())
}
