//! Reports of lines, and podcov's own JSON.

use podcov_profile::finding::{Finding, Kind};
use podcov_profile::model::Coverage;

use super::Described;
use crate::evidence::reports::Report;

/// Describes a report; `false` where it is none.
pub fn describe(bytes: &[u8], one: &mut Described) -> bool {
    let Some(report) = Report::of(bytes) else {
        return false;
    };
    one.kind = report.word();
    let path = one.path.clone();
    if report == Report::Coverage {
        match Coverage::parse(bytes) {
            Err(error) => one.findings.push(Finding::parse(path, &error)),
            Ok(coverage) => {
                one.fact("schema", coverage.schema);
                one.fact("composition", coverage.composition);
                let names = coverage.components.iter().map(|c| c.name.clone());
                one.fact("components", names.collect::<Vec<_>>());
                let binaries = coverage.components.iter().flat_map(|c| &c.binaries);
                let ids = binaries.map(|binary| binary.identity.to_string());
                one.fact("identity", ids.collect::<Vec<_>>());
            }
        }
        return true;
    }
    match report.parse(bytes) {
        Err(error) => one.findings.push(Finding::parse(path, &error)),
        Ok(parsed) => {
            let coverage = &parsed.coverage;
            one.fact("files", coverage.files.len());
            for (name, ratio) in [
                ("lines", coverage.lines()),
                ("branches", coverage.branches()),
                ("functions", coverage.functions()),
            ] {
                one.fact(name, ratio.total);
                one.fact(&format!("{name}_reached"), ratio.covered);
            }
            for finding in &parsed.findings {
                let text = format!(
                    "{}: {} ({} times)",
                    finding.kind, finding.text, finding.times
                );
                let finding = Finding::new(Kind::Note, &path, text).at(finding.offset);
                one.findings.push(finding);
            }
        }
    }
    true
}
