//! What a composition covered: component, binary, file, function, line.
//!
//! `coverage/coverage.json` is a [`Coverage`]. Every ordered list is in the
//! order of its key, so that equal input gives equal bytes. What there are many
//! of is written as arrays:
//!
//! | JSON | shape |
//! |---|---|
//! | region | `[start line, column, end line, column, count]`, then the statements of a Go block if it has some, then the kind if it is not code |
//! | branch | `[start line, column, end line, column, taken, not taken]` |
//! | instance | `[name, count]` |
//!
//! Counts are kept once, added up; which incarnation reached what is the
//! [`Reach`] beside them.

use serde::{Deserialize, Serialize};

use crate::Identity;
use crate::error::{Kind as ErrorKind, ParseError};
use crate::names::{Kind, Language};
use crate::neutral::brief;
use crate::reach::Reach;

mod compact;

/// Version of the JSON; readers refuse a newer one. Fields that a reader can do
/// without are added without a new version.
pub const SCHEMA: u32 = 1;

/// Everything that was counted together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// Name of the composition.
    pub composition: String,
    /// Its components, in the order of `podcov.toml`.
    pub components: Vec<Component>,
}

/// What one component covered, over all its incarnations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its language, which decides the native metrics.
    pub language: Language,
    /// Its part in the composition.
    pub kind: Kind,
    /// The builds that ran; two builds of one source stay apart.
    pub binaries: Vec<Binary>,
    /// How many of its incarnations count.
    pub incarnations_collected: u64,
    /// How many ran and do not count: their coverage is unknown.
    pub incarnations_lost: u64,
}

/// What one build covered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Binary {
    /// File name of the program.
    pub name: String,
    /// The build.
    pub identity: Identity,
    /// How many files of evidence were merged.
    pub profiles: u64,
    /// Its counted source files, by path.
    pub files: Vec<File>,
    /// Which incarnation, phase or test reached which of its lines; empty where
    /// that was not kept apart. Lines are numbered as [`Binary::bit`] says.
    #[serde(default, skip_serializing_if = "Reach::is_empty")]
    pub reach: Reach,
}

/// What was covered of one source file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct File {
    /// Relative to the root of the bundle's sources.
    pub path: String,
    /// Crate (Rust) or import path of the package (Go).
    pub package: String,
    /// The numbers, as the reference tool counts them.
    pub metrics: Metrics,
    /// The lines that have code, by number.
    pub lines: Vec<Line>,
    /// Its functions, by first line.
    pub functions: Vec<Function>,
    /// Its conditions, by place; empty where the compiler counted none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<Branch>,
}

/// One source line that has code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// From 1.
    pub number: u32,
    /// How often it ran: the largest count of what begins on it or spans it.
    pub count: u64,
    /// Some of it ran and some did not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// One function, as written in the source: instantiations are added up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Demangled.
    pub name: String,
    /// First line.
    pub start: u32,
    /// Last line.
    pub end: u32,
    /// How often it was called; for Go, whose tools do not tell, the count of
    /// its first block.
    pub count: u64,
    /// Its lines that have code.
    pub lines: Ratio,
    /// Rust: LLVM's regions; Go: blocks. By place, each place and kind once:
    /// the counts of instantiations are added up. Empty where only lines are
    /// known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<Region>,
    /// What the compiler made of it, by name: monomorphisations, and the twins
    /// of `cfg(test)`. Empty where it is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<Instance>,
}

/// What a region of source is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegionKind {
    /// Code that is counted, and Go's blocks.
    #[default]
    Code,
    /// A macro or an included file, whose code is elsewhere.
    Expansion,
    /// Taken out by the preprocessor.
    Skipped,
    /// Blanks between code: they count only where they reach into a line.
    Gap,
}

/// A place in the source that has one count. Lines and columns are from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region {
    /// Line it starts on.
    pub start_line: u32,
    /// Column it starts at.
    pub start_column: u32,
    /// Line it ends on.
    pub end_line: u32,
    /// Column it ends before.
    pub end_column: u32,
    /// What it is.
    pub kind: RegionKind,
    /// Statements of a Go block; 0 for Rust.
    pub statements: u32,
    /// How often it ran.
    pub count: u64,
}

/// One of the functions that the compiler made of one in the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// Demangled, with what it was made for.
    pub name: String,
    /// How often it was called.
    pub count: u64,
}

/// A condition with two outcomes. Lines and columns are from 1. Where a format
/// numbers the branches of a line, they are numbered in the order of places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Branch {
    /// Line it starts on.
    pub start_line: u32,
    /// Column it starts at.
    pub start_column: u32,
    /// Line it ends on.
    pub end_line: u32,
    /// Column it ends before.
    pub end_column: u32,
    /// How often it was true.
    pub taken: u64,
    /// How often it was false.
    pub not_taken: u64,
}

/// Covered out of total. 0 of 0 is possible and is no percentage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ratio {
    /// How many were reached.
    pub covered: u64,
    /// How many there are.
    pub total: u64,
}

/// The numbers of a file, package, component or composition. A metric that a
/// language does not have is 0 of 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    /// Source lines with code.
    pub lines: Ratio,
    /// Functions called at least once.
    pub functions: Ratio,
    /// Rust: LLVM's code regions.
    pub regions: Ratio,
    /// Go: statements.
    pub statements: Ratio,
    /// Rust: functions as compiled; a generic one counts once for each type.
    #[serde(default, skip_serializing_if = "Ratio::is_nothing")]
    pub instantiations: Ratio,
    /// Outcomes of conditions, two for each, where the compiler counted them.
    #[serde(default, skip_serializing_if = "Ratio::is_nothing")]
    pub branches: Ratio,
}

impl Coverage {
    /// Reads `coverage.json`, unless a newer podcov wrote it.
    pub fn parse(json: &[u8]) -> Result<Coverage, ParseError> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let fail = |kind, what, offset| ParseError {
            kind,
            what,
            offset,
            len: json.len() as u64,
        };
        let wrong = |error: serde_json::Error| {
            let kind = if error.is_eof() {
                ErrorKind::Truncated
            } else {
                ErrorKind::Malformed
            };
            let offset = offset_of(json, error.line(), error.column());
            fail(kind, brief(&format!("no coverage.json: {error}")), offset)
        };
        if json.is_empty() {
            return Err(ParseError::empty("coverage.json has no content"));
        }
        let Version { schema } = serde_json::from_slice(json).map_err(wrong)?;
        if schema > SCHEMA {
            let what =
                format!("coverage.json has schema {schema}, this podcov reads {SCHEMA} and older");
            return Err(fail(ErrorKind::Unsupported, what, 0));
        }
        serde_json::from_slice(json).map_err(wrong)
    }
}

/// Where line and column, both from 1, are in a text.
pub(crate) fn offset_of(text: &[u8], line: usize, column: usize) -> u64 {
    let before: usize = text
        .split_inclusive(|byte| *byte == b'\n')
        .take(line.saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    before
        .saturating_add(column.saturating_sub(1))
        .min(text.len()) as u64
}

impl Binary {
    /// The number of a line in the sets of [`Binary::reach`]: how many counted
    /// lines are before it, through the files in their order and their lines.
    /// `None` where it has no code.
    pub fn bit(&self, path: &str, line: u32) -> Option<u32> {
        let mut before = 0u32;
        for file in &self.files {
            if file.path == path {
                let index = file.lines.binary_search_by_key(&line, |line| line.number);
                return before.checked_add(u32::try_from(index.ok()?).ok()?);
            }
            before = before.checked_add(u32::try_from(file.lines.len()).ok()?)?;
        }
        None
    }

    /// The keys that reached a line, by key: which incarnations, phases or
    /// tests; none where it has no code or nothing was kept apart.
    pub fn reached_by(&self, path: &str, line: u32) -> impl Iterator<Item = &str> {
        let bit = self.bit(path, line);
        bit.into_iter().flat_map(|bit| self.reach.keys_of(bit))
    }
}

impl Ratio {
    /// A ratio.
    pub fn new(covered: u64, total: u64) -> Self {
        Ratio { covered, total }
    }

    /// Whether it is 0 of 0.
    pub fn is_nothing(&self) -> bool {
        *self == Ratio::default()
    }

    /// Tenths of a percent, rounded down, so that only what is whole is 1000;
    /// `None` of nothing.
    pub fn tenths(self) -> Option<u64> {
        (self.total > 0).then(|| {
            u64::try_from(u128::from(self.covered) * 1000 / u128::from(self.total))
                .unwrap_or(u64::MAX)
        })
    }

    /// 0 to 100, or `None` of nothing.
    pub fn percent(self) -> Option<f64> {
        (self.total > 0).then(|| self.covered as f64 * 100.0 / self.total as f64)
    }
}

impl std::ops::AddAssign for Ratio {
    fn add_assign(&mut self, other: Ratio) {
        self.covered = self.covered.saturating_add(other.covered);
        self.total = self.total.saturating_add(other.total);
    }
}

impl std::ops::AddAssign for Metrics {
    fn add_assign(&mut self, other: Metrics) {
        self.lines += other.lines;
        self.functions += other.functions;
        self.regions += other.regions;
        self.statements += other.statements;
        self.instantiations += other.instantiations;
        self.branches += other.branches;
    }
}

impl Metrics {
    /// Each number with its name, in the order of the fields.
    pub fn named(&self) -> [(&'static str, Ratio); 6] {
        [
            ("lines", self.lines),
            ("functions", self.functions),
            ("regions", self.regions),
            ("statements", self.statements),
            ("instantiations", self.instantiations),
            ("branches", self.branches),
        ]
    }
}

impl std::iter::Sum for Metrics {
    fn sum<I: Iterator<Item = Metrics>>(all: I) -> Metrics {
        all.fold(Metrics::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reach::BitSet;

    /// As podcov 0.1 wrote it before there were regions.
    const OLDER: &str = r#"{"schema":1,"composition":"c","components":[{"name":"a",
        "language":"rust","kind":"operator","binaries":[{"name":"a","identity":"build-id:00aa",
        "profiles":2,"files":[{"path":"src/a.rs","package":"a","metrics":{"lines":{"covered":1,
        "total":2},"functions":{"covered":1,"total":1},"regions":{"covered":1,"total":2},
        "statements":{"covered":0,"total":0}},"lines":[{"number":3,"count":1},
        {"number":5,"count":0}],"functions":[{"name":"f","start":3,"end":5,"count":1,
        "lines":{"covered":1,"total":2}}]}]}],"incarnations_collected":1,
        "incarnations_lost":0}]}"#;

    #[test]
    fn what_was_written_without_regions_is_read_and_written_the_same() {
        let coverage = Coverage::parse(OLDER.as_bytes()).unwrap();
        let file = &coverage.components[0].binaries[0].files[0];
        assert!(file.branches.is_empty() && file.functions[0].regions.is_empty());
        let plain: String = OLDER.split_whitespace().collect();
        assert_eq!(serde_json::to_string(&coverage).unwrap(), plain);
    }

    #[test]
    fn what_is_new_is_written_as_arrays_and_read_back() {
        let mut coverage = Coverage::parse(OLDER.as_bytes()).unwrap();
        let binary = &mut coverage.components[0].binaries[0];
        binary.reach = [("pod/1", BitSet::from_iter([1]))].into_iter().collect();
        let file = &mut binary.files[0];
        file.metrics.branches = Ratio::new(1, 2);
        file.metrics.instantiations = Ratio::new(1, 2);
        file.branches = vec![Branch {
            start_line: 3,
            start_column: 8,
            end_line: 3,
            end_column: 13,
            taken: 1,
            not_taken: 0,
        }];
        let region = |statements, kind| Region {
            start_line: 3,
            start_column: 1,
            end_line: 5,
            end_column: 2,
            kind,
            statements,
            count: 7,
        };
        file.functions[0].regions = vec![
            region(0, RegionKind::Code),
            region(4, RegionKind::Code),
            region(0, RegionKind::Gap),
        ];
        file.functions[0].instances = vec![Instance {
            name: "f::<u8>".into(),
            count: 1,
        }];
        let json = serde_json::to_string(&coverage).unwrap();
        for part in [
            r#""reach":{"sets":[[1,1]],"keys":{"pod/1":0}}"#,
            r#""branches":[[3,8,3,13,1,0]]"#,
            r#""regions":[[3,1,5,2,7],[3,1,5,2,7,4],[3,1,5,2,7,0,3]]"#,
            r#""instances":[["f::<u8>",1]]"#,
            r#""instantiations":{"covered":1,"total":2},"branches":{"covered":1,"total":2}"#,
        ] {
            assert!(json.contains(part), "{part} is not in {json}");
        }
        assert_eq!(Coverage::parse(json.as_bytes()).unwrap(), coverage);
    }

    #[test]
    fn arrays_of_another_shape_are_refused() {
        for json in [
            "[1,2,3,4]",
            "[1,2,3,4,5,6,4]",
            "[1,2,3,4,5,6,0,0]",
            "[1,2,3,4,-5]",
        ] {
            assert!(serde_json::from_str::<Region>(json).is_err(), "{json}");
        }
        assert!(serde_json::from_str::<Branch>("[1,2,3,4,5]").is_err());
        assert!(serde_json::from_str::<Instance>(r#"["a"]"#).is_err());
    }

    #[test]
    fn a_newer_schema_is_refused_by_its_number() {
        let error = Coverage::parse(br#"{"schema":2,"things":[]}"#).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
        assert!(error.to_string().contains("schema 2"), "{error}");
        assert_eq!(Coverage::parse(b"").unwrap_err().kind, ErrorKind::Empty);
        let error = Coverage::parse(b"{\"schema\":1,\n").unwrap_err();
        assert_eq!((error.kind, error.offset), (ErrorKind::Truncated, 13));
        let error = Coverage::parse(b"{\"schema\":1,\n  x}").unwrap_err();
        assert_eq!((error.kind, error.offset), (ErrorKind::Malformed, 15));
    }

    #[test]
    fn a_line_is_found_among_those_of_all_files() {
        let line = |number| Line {
            number,
            ..Line::default()
        };
        let file = |path: &str, lines: &[u32]| File {
            path: path.into(),
            lines: lines.iter().copied().map(line).collect(),
            ..File::default()
        };
        let binary = Binary {
            name: "a".into(),
            identity: "build-id:00".parse().unwrap(),
            profiles: 2,
            files: vec![file("a.rs", &[1, 4]), file("b.rs", &[2, 3, 9])],
            reach: [
                ("test:create", BitSet::from_iter([0, 4])),
                ("test:delete", BitSet::from_iter([4])),
            ]
            .into_iter()
            .collect(),
        };
        let keys = |path, line| binary.reached_by(path, line).collect::<Vec<_>>();
        assert_eq!(binary.bit("b.rs", 9), Some(4));
        assert_eq!(keys("b.rs", 9), ["test:create", "test:delete"]);
        assert_eq!(keys("a.rs", 1), ["test:create"]);
        assert_eq!(keys("a.rs", 4), [""; 0]);
        assert_eq!(keys("a.rs", 2), [""; 0]);
        assert_eq!(keys("c.rs", 1), [""; 0]);
    }
}
