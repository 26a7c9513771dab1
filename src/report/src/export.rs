//! The report for other tools.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use podcov_profile::bundle::Bundle;
use podcov_profile::go::files::Mode;
use podcov_profile::go::text;

use crate::format::visible;
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
/// `LF` and `LH` count the `DA` lines, as lcov itself does. Where components
/// have different source roots, a path begins with what their roots do not
/// share, so that two `src/main.rs` stay two.
pub fn lcov(report: &Report, bundles: &[Bundle]) -> String {
    let prefixes = prefixes(bundles);
    let mut out = String::new();
    for file in &report.files {
        let component = &report.summary.components[file.component].name;
        let test: String = component
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        let prefix = prefixes.get(component.as_str()).map_or("", String::as_str);
        let _ = writeln!(out, "TN:{test}\nSF:{prefix}{}", visible(&file.path));

        let mut seen = BTreeMap::<&str, usize>::new();
        for function in &file.functions {
            *seen.entry(&function.name).or_default() += 1;
        }
        // FNDA finds its FN by name alone.
        let name = |function: &podcov_profile::model::Function| {
            let name = visible(&function.name);
            if seen[function.name.as_str()] > 1 {
                format!("{name}:{}", function.start)
            } else {
                name
            }
        };
        for function in &file.functions {
            let _ = writeln!(out, "FN:{},{}", function.start, name(function));
        }
        for function in &file.functions {
            let _ = writeln!(out, "FNDA:{},{}", function.count, name(function));
        }
        let called = file
            .functions
            .iter()
            .filter(|function| function.count > 0)
            .count();
        let _ = writeln!(out, "FNF:{}\nFNH:{called}", file.functions.len());
        for line in &file.lines {
            let _ = writeln!(out, "DA:{},{}", line.number, line.count);
        }
        let hit = file.lines.iter().filter(|line| line.count > 0).count();
        let _ = writeln!(out, "LF:{}\nLH:{hit}\nend_of_record", file.lines.len());
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
            (*component, visible(&own))
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
