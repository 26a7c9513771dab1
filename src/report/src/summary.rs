//! The numbers of a run: what `summary.json` holds.

use std::collections::BTreeMap;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use podcov_profile::Identity;
use podcov_profile::ledger::{Cause, Fate, Finding};
use podcov_profile::model::{Metrics, Ratio};
use podcov_profile::names::{Kind, Language};

use crate::phases::PhaseNumbers;

/// Version of the JSON; readers refuse a newer one.
pub const SCHEMA: u32 = 1;

/// Every number of a report, computed once.
///
/// In the JSON each ratio also has its `percent`, unrounded, or `null` of
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// Name of the composition.
    pub composition: String,
    /// The run that the evidence is of.
    pub run: String,
    /// No evidence was lost: every number is proven and final.
    pub complete: bool,
    /// What is proven: the sum over the components.
    #[serde(serialize_with = "with_percent")]
    pub metrics: Metrics,
    /// What is possible at most, given what was lost.
    #[serde(serialize_with = "with_percent")]
    pub possible: Metrics,
    /// All incarnations of the run, of whatever component.
    pub incarnations: Incarnations,
    /// How many files of evidence had each fate.
    pub evidence_files: BTreeMap<Fate, u64>,
    /// In the order of `podcov.toml`.
    pub components: Vec<Component>,
    /// Tests and phases of the suite, by kind and name, and what each reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<PhaseNumbers>,
    /// Each piece of evidence that does not count although it should.
    pub losses: Vec<Loss>,
    /// Other things the user should know.
    pub findings: Vec<Finding>,
}

/// The numbers of one component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its language, which decides the native metric.
    pub language: Language,
    /// Its part in the composition.
    pub kind: Kind,
    /// What is proven: the sum over the packages.
    #[serde(serialize_with = "with_percent")]
    pub metrics: Metrics,
    /// What is possible at most: the sum over the packages. Equal to `metrics`
    /// when nothing was lost. A process whose evidence is lost can have run any
    /// line of its program, and nothing in the ledger says which it did not.
    #[serde(serialize_with = "with_percent")]
    pub possible: Metrics,
    /// Its incarnations.
    pub incarnations: Incarnations,
    /// The builds that ran.
    pub builds: Vec<Build>,
    /// Crates (Rust) or packages (Go), by name.
    pub packages: Vec<Package>,
}

/// How many process lifetimes there were and what became of their evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incarnations {
    /// All of them.
    pub total: u64,
    /// Those whose evidence counts.
    pub collected: u64,
    /// Those whose evidence does not.
    pub lost: u64,
    /// By fate; adds up to `total`.
    pub fates: BTreeMap<Fate, u64>,
}

/// One build of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// File name of the program.
    pub name: String,
    /// The build.
    pub identity: Identity,
    /// How many files of evidence were merged.
    pub profiles: u64,
}

/// The numbers of one crate or package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Package {
    /// Crate, or import path.
    pub name: String,
    /// The sum over its files.
    #[serde(serialize_with = "with_percent")]
    pub metrics: Metrics,
    /// What is possible at most, where that is more.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "some_with_percent"
    )]
    pub possible: Option<Metrics>,
    /// Its counted files, by path.
    pub files: Vec<FileNumbers>,
}

/// The numbers of one source file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileNumbers {
    /// Relative to the root of the sources.
    pub path: String,
    /// The build it is of, where builds from different sources ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Identity>,
    /// As the reference tool counts them.
    #[serde(serialize_with = "with_percent")]
    pub metrics: Metrics,
    /// What is possible at most, where that is more.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "some_with_percent"
    )]
    pub possible: Option<Metrics>,
    /// The lines that no evidence shows to have run and that lost evidence
    /// could: first and last of each run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<(u32, u32)>,
    /// How many of its lines ran in part only.
    pub partial_lines: u64,
    /// Its functions that were never reached, the largest first; not those
    /// inside another one of them.
    pub unreached: Vec<Unreached>,
}

/// A function that never ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreached {
    /// Demangled.
    pub name: String,
    /// Its first line.
    pub line: u32,
    /// Its lines with code.
    pub lines: u64,
}

/// Evidence that should count and does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The component, empty when nothing says which.
    pub component: String,
    /// Which incarnation: `namespace/pod container (start 2)`.
    pub incarnation: String,
    /// The file, when the rest of the incarnation's evidence counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What became of it; `collected` where all but the rest of an interval is
    /// there.
    pub fate: Fate,
    /// Why, as a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Where the loss is bounded: counts of this many milliseconds at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
    /// How the process ended: `SIGKILL (OOMKilled)`.
    pub ended: String,
    /// Why, in one sentence.
    pub reason: String,
}

impl Summary {
    /// The component of this name.
    pub fn component(&self, name: &str) -> Option<&Component> {
        self.components
            .iter()
            .find(|component| component.name == name)
    }

    /// Every file with the component it belongs to.
    pub fn files(&self) -> impl Iterator<Item = (&Component, &FileNumbers)> {
        self.components
            .iter()
            .flat_map(|component| component.files().map(move |file| (component, file)))
    }

    /// `summary.json`: pretty, with a final newline.
    pub fn to_json(&self) -> String {
        // Keys are strings and nothing is a NaN, so there is nothing to fail.
        let mut json = serde_json::to_string_pretty(self).expect("a summary is always JSON");
        json.push('\n');
        json
    }
}

impl Component {
    /// Its files, by package and path.
    pub fn files(&self) -> impl Iterator<Item = &FileNumbers> {
        self.packages.iter().flat_map(|package| &package.files)
    }

    /// Whether some of its evidence is lost, so that what was not reached is
    /// unknown.
    pub fn is_uncertain(&self) -> bool {
        self.metrics != self.possible
    }
}

impl Package {
    /// What is possible at most.
    pub fn possible(&self) -> Metrics {
        self.possible.unwrap_or(self.metrics)
    }
}

impl FileNumbers {
    /// What is possible at most.
    pub fn possible(&self) -> Metrics {
        self.possible.unwrap_or(self.metrics)
    }

    /// How many of its lines are unknown.
    pub fn unknown_lines(&self) -> u64 {
        let lines = |(first, last): &(u32, u32)| u64::from(last.saturating_sub(*first)) + 1;
        self.unknown.iter().map(lines).sum()
    }
}

impl Incarnations {
    pub(crate) fn add(&mut self, fate: Fate) {
        self.total += 1;
        if fate == Fate::Collected {
            self.collected += 1;
        } else {
            self.lost += 1;
        }
        *self.fates.entry(fate).or_default() += 1;
    }
}

/// Everything reached.
pub(crate) fn all_of(metrics: Metrics) -> Metrics {
    let all = |ratio: Ratio| Ratio::new(ratio.total, ratio.total);
    Metrics {
        lines: all(metrics.lines),
        functions: all(metrics.functions),
        regions: all(metrics.regions),
        statements: all(metrics.statements),
        instantiations: all(metrics.instantiations),
        branches: all(metrics.branches),
    }
}

/// A ratio with its percentage.
pub(crate) fn ratio_with_percent<S: Serializer>(ratio: &Ratio, s: S) -> Result<S::Ok, S::Error> {
    let mut all = s.serialize_struct("Ratio", 3)?;
    all.serialize_field("covered", &ratio.covered)?;
    all.serialize_field("total", &ratio.total)?;
    all.serialize_field("percent", &ratio.percent())?;
    all.end()
}

fn some_with_percent<S: Serializer>(
    metrics: &Option<Metrics>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match metrics {
        Some(metrics) => with_percent(metrics, serializer),
        None => serializer.serialize_none(),
    }
}

fn with_percent<S: Serializer>(metrics: &Metrics, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Number<'a>(#[serde(serialize_with = "ratio_with_percent")] &'a Ratio);
    let some = [
        ("instantiations", &metrics.instantiations),
        ("branches", &metrics.branches),
    ];
    let some = some.into_iter().filter(|(_, ratio)| !ratio.is_nothing());
    let mut all = serializer.serialize_struct("Metrics", 4 + some.clone().count())?;
    all.serialize_field("lines", &Number(&metrics.lines))?;
    all.serialize_field("functions", &Number(&metrics.functions))?;
    all.serialize_field("regions", &Number(&metrics.regions))?;
    all.serialize_field("statements", &Number(&metrics.statements))?;
    for (name, ratio) in some {
        all.serialize_field(name, &Number(ratio))?;
    }
    all.end()
}
