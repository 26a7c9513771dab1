//! Reports of lines as input: LCOV, Cobertura, the JSON of llvm-cov and
//! podcov's own.

use podcov_profile::finding::{Finding, Kind};
use podcov_profile::model::{Component, Coverage};
use podcov_profile::neutral::{LineCoverage, Parsed};
use podcov_profile::{ParseError, cobertura, lcov, llvm_json};

use super::names::Names;

/// What a report says.
pub struct Read {
    /// By line, where that is all it has.
    pub lines: LineCoverage,
    /// By component, if it is podcov's own.
    pub components: Vec<Component>,
    /// What was read over.
    pub findings: Vec<Finding>,
}

/// Which kind of report it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// LCOV.
    Lcov,
    /// Cobertura.
    Cobertura,
    /// The JSON of `llvm-cov export`.
    LlvmJson,
    /// podcov's coverage.json.
    Coverage,
}

impl Report {
    /// What bytes begin like.
    pub fn of(bytes: &[u8]) -> Option<Report> {
        match () {
            () if lcov::is_lcov(bytes) => Some(Report::Lcov),
            () if cobertura::is_cobertura(bytes) => Some(Report::Cobertura),
            () if llvm_json::is_export(bytes) => Some(Report::LlvmJson),
            () if is_coverage(bytes) => Some(Report::Coverage),
            () => None,
        }
    }

    /// As `inspect` calls it.
    pub fn word(self) -> &'static str {
        match self {
            Report::Lcov => "lcov",
            Report::Cobertura => "cobertura",
            Report::LlvmJson => "llvm-cov-json",
            Report::Coverage => "podcov-coverage-json",
        }
    }

    /// Reads the lines of any but podcov's own.
    pub fn parse(self, bytes: &[u8]) -> Result<Parsed, ParseError> {
        match self {
            Report::Lcov => lcov::parse(bytes),
            Report::Cobertura => cobertura::parse(bytes),
            Report::LlvmJson | Report::Coverage => llvm_json::parse(bytes),
        }
    }
}

/// podcov's own JSON begins with its schema.
fn is_coverage(bytes: &[u8]) -> bool {
    let head = bytes.get(..256).unwrap_or(bytes);
    let text = String::from_utf8_lossy(head);
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    text.starts_with("{\"schema\":") && text.contains("\"composition\":")
}

/// Reads a report.
pub fn read(path: &str, bytes: &[u8], names: &Names) -> Result<Read, Finding> {
    let Some(report) = Report::of(bytes) else {
        let text = "JSON or XML that is no report of coverage that podcov knows";
        return Err(Finding::new(Kind::Unknown, path, text));
    };
    let parse = |error: ParseError| Finding::parse(path, &error);
    if report == Report::Coverage {
        let mut coverage = Coverage::parse(bytes).map_err(parse)?;
        let binaries = coverage.components.iter_mut().flat_map(|c| &mut c.binaries);
        for binary in binaries {
            for file in &mut binary.files {
                file.path = names.shown(&file.path);
            }
            let before = binary.files.len();
            binary.files.retain(|file| names.keeps(&file.path));
            // Its sets number the lines of all files.
            if before != binary.files.len() {
                binary.reach = Default::default();
            }
        }
        return Ok(Read {
            lines: LineCoverage::default(),
            components: coverage.components,
            findings: Vec::new(),
        });
    }
    let parsed = report.parse(bytes).map_err(parse)?;
    let mut lines = LineCoverage::default();
    for (file, of_file) in parsed.coverage.files {
        let shown = names.shown(&file);
        if names.keeps(&shown) {
            lines.files.entry(shown).or_default().absorb(&of_file);
        }
    }
    let findings = parsed.findings.iter().map(|finding| {
        let text = format!(
            "{}: {} ({} times)",
            finding.kind, finding.text, finding.times
        );
        Finding::new(Kind::Note, path, text).at(finding.offset)
    });
    Ok(Read {
        lines,
        components: Vec::new(),
        findings: findings.collect(),
    })
}
