//! `llvm-cov export -format=text`: JSON, `llvm.coverage.json.export` 3.1.0,
//! byte for byte as llvm-cov-22 writes it.
//!
//! | object | members, in order |
//! |---|---|
//! | root | `data` (one), `type`, `version` |
//! | data | `files`, `functions`, `totals` |
//! | file | `branches`, `expansions`, `filename`, `mcdc_records`, `segments`, `summary` |
//! | function | `branches`, `count`, `filenames`, `mcdc_records`, `name`, `regions` |
//! | expansion | `branches`, `filenames`, `source_region`, `target_regions` |
//! | summary | `branches`, `functions`, `instantiations`, `lines`, `mcdc`, `regions` |
//!
//! Segments, regions, branches and decisions are arrays, see
//! [`Segment`], [`Region`], [`Branch`] and [`Decision`]. Counts end at the
//! largest signed 64-bit number. Source: `CoverageExporterJson.cpp`, LLVM 22.

use std::io::{self, Write};

use super::counted::{Branch, Region, RegionKind};
use super::coverage::{Coverage, FunctionView};
use super::expansion::{Step, Tree};
use super::export::Segment;
use super::file_view::Expansion;
use super::mcdc::Decision;
use super::summary::Summary;
use super::write::{Text, general};
use crate::model::Ratio;

/// Regions that expansions may repeat: with each one go all regions of its
/// function.
const MAX_REPEATED: u64 = 1 << 26;

/// What to leave out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JsonOptions {
    /// Write numbers of files only, as `-summary-only`.
    pub summary_only: bool,
    /// Leave out functions, as `-skip-functions`.
    pub skip_functions: bool,
    /// Leave out expansions, as `-skip-expansions`.
    pub skip_expansions: bool,
}

impl Coverage {
    /// Writes the JSON of llvm-cov, without a line's end. What was not kept is
    /// not in it: its files, and functions of such files only.
    ///
    /// # Errors
    /// Those of the writer, and where expansions would repeat more than 2²⁶
    /// regions, which no program that was written by hand needs.
    pub fn write_json(&self, options: &JsonOptions, out: impl Write) -> io::Result<()> {
        if !options.summary_only && !options.skip_expansions {
            self.check_repeated()?;
        }
        let mut json = Json {
            text: Text::new(out),
            names: self
                .files()
                .iter()
                .map(|name| quoted(name.as_bytes()))
                .collect(),
        };
        json.text.text("{\"data\":[{\"files\":[");
        let mut totals = Summary::default();
        for (index, (file, _)) in self.kept_files().enumerate() {
            if index > 0 {
                json.text.raw(b",");
            }
            let summary = self.summary(&self.groups(file));
            totals += summary;
            json.file(self, file, &summary, options)?;
        }
        json.text.raw(b"]");
        if !options.summary_only && !options.skip_functions {
            json.text.text(",\"functions\":[");
            for (index, function) in self.functions().enumerate() {
                if index > 0 {
                    json.text.raw(b",");
                }
                json.function(&function)?;
            }
            json.text.raw(b"]");
        }
        json.text.text(",\"totals\":");
        json.summary(&totals);
        json.text
            .text("}],\"type\":\"llvm.coverage.json.export\",\"version\":\"3.1.0\"}");
        json.text.finish()
    }
}

impl Coverage {
    fn check_repeated(&self) -> io::Result<()> {
        let repeated = |function: FunctionView<'_>| {
            let here = function.main_file().map(|main| function.regions_in(main));
            let expansions = here
                .unwrap_or_default()
                .iter()
                .filter(|region| region.kind == RegionKind::Expansion);
            expansions.count() as u64 * function.regions().len() as u64
        };
        let all: u64 = self.functions().map(repeated).sum();
        if all > MAX_REPEATED {
            return Err(io::Error::other(format!(
                "expansions repeat {all} regions, the limit is {MAX_REPEATED}: leave them out"
            )));
        }
        Ok(())
    }
}

struct Json<W> {
    text: Text<W>,
    /// Names of files as JSON strings.
    names: Vec<Vec<u8>>,
}

impl<W: Write> Json<W> {
    fn file(
        &mut self,
        coverage: &Coverage,
        file: u32,
        summary: &Summary,
        options: &JsonOptions,
    ) -> io::Result<()> {
        self.text.raw(b"{");
        let view = (!options.summary_only).then(|| coverage.file(file));
        if let Some(view) = &view {
            self.text.text("\"branches\":");
            self.list(&view.branches, |json, branch| json.branch(branch))?;
            if !options.skip_expansions {
                self.text.text(",\"expansions\":[");
                for (index, expansion) in view.expansions.iter().enumerate() {
                    if index > 0 {
                        self.text.raw(b",");
                    }
                    self.expansion(expansion)?;
                }
                self.text.raw(b"]");
            }
            self.text.raw(b",");
        }
        self.text.text("\"filename\":");
        self.file_name(file);
        if let Some(view) = &view {
            self.text.text(",\"mcdc_records\":");
            self.list(&view.decisions, |json, decision| json.decision(decision))?;
            self.text.text(",\"segments\":");
            self.list(&view.segments, |json, segment| json.segment(segment))?;
        }
        self.text.text(",\"summary\":");
        self.summary(summary);
        self.text.raw(b"}").pass()
    }

    fn function(&mut self, function: &FunctionView<'_>) -> io::Result<()> {
        self.text.text("{\"branches\":");
        self.open_branches(function.branches().iter())?;
        self.text.text(",\"count\":");
        self.count(function.count());
        self.text.text(",\"filenames\":");
        self.list(function.files(), |json, file| json.file_name(*file))?;
        self.text.text(",\"mcdc_records\":");
        self.list(function.decisions(), |json, decision| {
            json.decision(decision)
        })?;
        self.text.text(",\"name\":");
        let name = quoted(function.name());
        self.text.raw(&name).text(",\"regions\":");
        self.list(function.regions(), |json, region| json.region(region))?;
        self.text.raw(b"}").pass()
    }

    fn expansion(&mut self, expansion: &Expansion<'_>) -> io::Result<()> {
        let function = &expansion.function;
        let mut branches = Vec::new();
        let tree = Tree::new(function);
        tree.below(expansion.region, &mut |step| {
            if let Step::Branch(branch) = step {
                branches.push(branch);
            }
        });
        self.text.text("{\"branches\":");
        self.open_branches(branches.into_iter())?;
        self.text.text(",\"filenames\":");
        self.list(function.files(), |json, file| json.file_name(*file))?;
        self.text.text(",\"source_region\":");
        self.region(expansion.region);
        self.text.text(",\"target_regions\":");
        self.list(function.regions(), |json, region| json.region(region))?;
        self.text.raw(b"}").pass()
    }

    /// Branches that the compiler left.
    fn open_branches<'b>(&mut self, branches: impl Iterator<Item = &'b Branch>) -> io::Result<()> {
        let open: Vec<&Branch> = branches.filter(|branch| !branch.is_folded()).collect();
        self.list(&open, |json, branch| json.branch(branch))
    }

    fn list<T>(&mut self, all: &[T], one: impl Fn(&mut Self, &T)) -> io::Result<()> {
        self.text.raw(b"[");
        for (index, item) in all.iter().enumerate() {
            if index > 0 {
                self.text.raw(b",");
            }
            one(self, item);
            self.text.pass()?;
        }
        self.text.raw(b"]");
        Ok(())
    }

    fn file_name(&mut self, file: u32) {
        let name = self
            .names
            .get(file as usize)
            .map_or(&b"\"\""[..], |name| name);
        self.text.raw(name);
    }

    fn count(&mut self, count: u64) {
        self.text.number(count.min(i64::MAX as u64));
    }

    fn place(&mut self, region: &Region) {
        self.text
            .raw(b"[")
            .number(region.start_line.into())
            .raw(b",")
            .number(region.start_column.into())
            .raw(b",")
            .number(region.end_line.into())
            .raw(b",")
            .number(region.end_column.into())
            .raw(b",");
    }

    fn files(&mut self, region: &Region) {
        self.text
            .raw(b",")
            .number(region.file.into())
            .raw(b",")
            .number(region.expanded.into())
            .raw(b",")
            .number(region.kind as u64);
    }

    fn region(&mut self, region: &Region) {
        self.place(region);
        self.count(region.count);
        self.files(region);
        self.text.raw(b"]");
    }

    fn branch(&mut self, branch: &Branch) {
        self.place(&branch.region);
        self.count(branch.region.count);
        self.text.raw(b",");
        self.count(branch.false_count);
        self.files(&branch.region);
        self.text.raw(b"]");
    }

    fn segment(&mut self, segment: &Segment) {
        self.text
            .raw(b"[")
            .number(segment.line.into())
            .raw(b",")
            .number(segment.column.into())
            .raw(b",");
        self.count(segment.count);
        self.text
            .raw(b",")
            .flag(segment.has_count)
            .raw(b",")
            .flag(segment.is_entry)
            .raw(b",")
            .flag(segment.is_gap)
            .raw(b"]");
    }

    fn decision(&mut self, decision: &Decision) {
        self.place(&decision.region);
        let trues = decision
            .vectors
            .iter()
            .filter(|vector| vector.result)
            .count();
        let falses = decision.vectors.len() - trues;
        self.text
            .number(trues as u64)
            .raw(b",")
            .number(falses as u64);
        self.files(&decision.region);
        self.text.raw(b",[");
        for (index, condition) in decision.conditions.iter().enumerate() {
            if index > 0 {
                self.text.raw(b",");
            }
            self.text.flag(condition.pair.is_some());
        }
        self.text.raw(b"],[");
        for (index, vector) in decision.vectors.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            self.text.text(comma).text("{\"conditions\":[");
            for (index, value) in vector.values.iter().enumerate() {
                if index > 0 {
                    self.text.raw(b",");
                }
                match value {
                    Some(value) => self.text.flag(*value),
                    None => self.text.text("null"),
                };
            }
            self.text
                .text("],\"executed\":true,\"result\":")
                .flag(vector.result)
                .raw(b"}");
        }
        self.text.raw(b"]]");
    }

    fn summary(&mut self, summary: &Summary) {
        for (index, (name, ratio, with_rest)) in [
            ("branches", summary.branches, true),
            ("functions", summary.functions, false),
            ("instantiations", summary.instantiations, false),
            ("lines", summary.lines, false),
            ("mcdc", summary.mcdc, true),
            ("regions", summary.regions, true),
        ]
        .into_iter()
        .enumerate()
        {
            let before = if index == 0 { "{\"" } else { ",\"" };
            self.text.text(before).text(name).text("\":{\"count\":");
            self.count(ratio.total);
            self.text.text(",\"covered\":");
            self.count(ratio.covered);
            if with_rest {
                self.text.text(",\"notcovered\":");
                self.count(ratio.total.saturating_sub(ratio.covered));
            }
            self.text
                .text(",\"percent\":")
                .text(&percent(ratio))
                .raw(b"}");
        }
        self.text.raw(b"}");
    }
}

/// 0 of nothing. Computed in LLVM's order: dividing first.
fn percent(ratio: Ratio) -> String {
    if ratio.total == 0 {
        return "0".to_owned();
    }
    general(ratio.covered as f64 / ratio.total as f64 * 100.0)
}

/// A JSON string; bytes that are no UTF-8 become U+FFFD.
fn quoted(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 2);
    out.push(b'"');
    let is_plain = |byte: &u8| (0x20..0x80).contains(byte) && *byte != b'"' && *byte != b'\\';
    if bytes.iter().all(is_plain) {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return out;
    }
    let text = String::from_utf8_lossy(bytes);
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\t' => out.extend(b"\\t"),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            0..0x20 => out.extend(format!("\\u{byte:04x}").bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
    out
}
