//! Thresholds and the verdict on them.
//!
//! A rule is compared with the proven, unrounded number: 79.996 is below 80.
//! Where evidence is lost and the policy wants all of it, there is no verdict;
//! and none on a rule that only what was lost could still meet, whatever the
//! policy: to bear a loss is not to know what was in it.

use globset::GlobSet;
use serde::{Deserialize, Serialize};

use podcov_profile::model::{Metrics, Ratio};
use podcov_profile::names::Language;

use crate::filter::{BadGlob, glob_set};
use crate::summary::{Component, Summary, Unreached, ratio_with_percent};

/// How many never-reached functions a failed rule names.
const ADVICE: usize = 5;

/// What a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Source lines with code.
    Lines,
    /// Functions.
    Functions,
    /// LLVM's code regions; Rust only.
    Regions,
    /// Statements; Go only.
    Statements,
}

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// All of it.
    Composition,
    /// One component.
    Component(String),
    /// The files that a glob fits, of one component or of all.
    Path {
        /// Fits paths relative to the root of the sources.
        glob: String,
        /// Only this component's files.
        component: Option<String>,
    },
}

/// One threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// What it is about.
    pub scope: Scope,
    /// What it counts.
    pub metric: Metric,
    /// The least percentage that passes, 0 to 100.
    pub min: f64,
}

/// How much lost evidence a verdict bears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Up to this many losses there is a verdict all the same, as far as it is
    /// proven. 0: the evidence must be complete.
    pub allowed_losses: u64,
}

/// What the gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every rule is met.
    Pass,
    /// A rule is not met, and nothing that was lost could meet it (exit status
    /// 3).
    Fail,
    /// More evidence is lost than the policy bears, or a rule hangs on what is
    /// lost (exit status 4).
    Incomplete,
}

/// The verdict and what it rests on: what `gate.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// [`SCHEMA`](crate::SCHEMA) of the writer.
    pub schema: u32,
    /// What the gate says.
    pub verdict: Verdict,
    /// Each rule, in the order given.
    pub outcomes: Vec<Outcome>,
    /// How many pieces of evidence are lost.
    pub losses: u64,
    /// How many the policy bears.
    pub allowed_losses: u64,
}

/// One rule and how it fared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The rule.
    pub rule: Rule,
    /// What is proven reaches the threshold. Of nothing, only 0 is reached.
    pub passed: bool,
    /// What is proven.
    #[serde(serialize_with = "ratio_with_percent")]
    pub actual: Ratio,
    /// What is possible at most, given what was lost.
    #[serde(serialize_with = "ratio_with_percent")]
    pub possible: Ratio,
    /// How many more lines (functions, …) would do.
    pub missing: u64,
    /// The largest functions in its scope that were never reached; only where
    /// the rule failed.
    pub unreached: Vec<Advice>,
}

/// A function that would help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// Its component.
    pub component: String,
    /// Its file.
    pub path: String,
    /// The function.
    #[serde(flatten)]
    pub function: Unreached,
}

/// A rule that cannot be judged: a fault of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The threshold is no percentage.
    #[error("gate rule {rule}: expected `min` from 0 to 100, found {min}")]
    NoPercentage {
        /// The rule.
        rule: String,
        /// What was found.
        min: f64,
    },
    /// The component is not in the report.
    #[error("gate rule {rule}: no component `{component}`; there are: {known}")]
    NoComponent {
        /// The rule.
        rule: String,
        /// The name in the rule.
        component: String,
        /// The names there are.
        known: String,
    },
    /// No counted file fits the glob.
    #[error(
        "gate rule {rule}: no counted file fits `{glob}`; paths are relative to the root of the \
         sources, as the report shows them, and `[filter]` leaves some out"
    )]
    NoFile {
        /// The rule.
        rule: String,
        /// The glob in the rule.
        glob: String,
    },
    /// The language of the component does not have the metric.
    #[error("gate rule {rule}: {language} has no {metric}; use lines, functions or {native}")]
    NoMetric {
        /// The rule.
        rule: String,
        /// The language of the component.
        language: Language,
        /// The metric of the rule.
        metric: Metric,
        /// What the language has instead.
        native: Metric,
    },
    /// The glob is none.
    #[error("gate rule {rule}: not a path pattern")]
    BadGlob {
        /// The rule.
        rule: String,
        /// What is wrong with it.
        source: BadGlob,
    },
}

/// Judges every rule.
pub fn judge(summary: &Summary, rules: &[Rule], policy: Policy) -> Result<Judgement, GateError> {
    let outcomes = rules
        .iter()
        .map(|rule| outcome(summary, rule))
        .collect::<Result<Vec<_>, _>>()?;
    let losses = summary.losses.len() as u64;
    // Coverage can know of a loss that the ledger does not list.
    let losses = if summary.complete {
        losses
    } else {
        losses.max(1)
    };
    let verdict = if losses > policy.allowed_losses {
        Verdict::Incomplete
    } else if outcomes.iter().any(Outcome::is_failed) {
        Verdict::Fail
    } else if outcomes.iter().any(Outcome::is_open) {
        Verdict::Incomplete
    } else {
        Verdict::Pass
    };
    Ok(Judgement {
        schema: crate::SCHEMA,
        verdict,
        outcomes,
        losses,
        allowed_losses: policy.allowed_losses,
    })
}

fn outcome(summary: &Summary, rule: &Rule) -> Result<Outcome, GateError> {
    if !(0.0..=100.0).contains(&rule.min) {
        return Err(GateError::NoPercentage {
            rule: rule.to_string(),
            min: rule.min,
        });
    }
    let scope = Selected::of(summary, rule)?;
    let (actual, possible) = scope.ratios(summary, rule.metric);
    let needed = needed(actual.total, rule.min);
    let passed = if actual.total == 0 {
        rule.min == 0.0
    } else {
        actual.covered >= needed
    };
    let mut unreached = Vec::new();
    if !passed {
        unreached = scope
            .files(summary)
            .flat_map(|(component, file)| {
                file.unreached.iter().map(|function| Advice {
                    component: component.name.clone(),
                    path: file.path.clone(),
                    function: function.clone(),
                })
            })
            .collect();
        unreached.sort_by(|a: &Advice, b: &Advice| {
            let place = |advice: &Advice| {
                (
                    advice.component.clone(),
                    advice.path.clone(),
                    advice.function.line,
                )
            };
            b.function
                .lines
                .cmp(&a.function.lines)
                .then_with(|| place(a).cmp(&place(b)))
        });
        unreached.truncate(ADVICE);
    }
    Ok(Outcome {
        rule: rule.clone(),
        passed,
        actual,
        possible,
        missing: needed.saturating_sub(actual.covered),
        unreached,
    })
}

/// How many of `total` reach `min` percent: exact, as the decimal that the user
/// wrote, not as the nearest binary fraction.
fn needed(total: u64, min: f64) -> u64 {
    const SCALE: u128 = 1_000_000_000;
    let min = (min * SCALE as f64).round() as u128;
    let needed = (u128::from(total) * min).div_ceil(100 * SCALE);
    u64::try_from(needed).unwrap_or(u64::MAX)
}

/// What a rule's scope is in a summary.
struct Selected<'a> {
    component: Option<&'a Component>,
    glob: Option<GlobSet>,
}

impl<'a> Selected<'a> {
    fn of(summary: &'a Summary, rule: &Rule) -> Result<Self, GateError> {
        let (name, glob) = match &rule.scope {
            Scope::Composition => (None, None),
            Scope::Component(name) => (Some(name), None),
            Scope::Path { glob, component } => (component.as_ref(), Some(glob)),
        };
        let component = match name {
            None => None,
            Some(name) => Some(summary.component(name).ok_or_else(|| {
                GateError::NoComponent {
                    rule: rule.to_string(),
                    component: name.clone(),
                    known: summary
                        .components
                        .iter()
                        .map(|c| c.name.as_str())
                        .collect::<Vec<_>>()
                        .join(", "),
                }
            })?),
        };
        if let Some(language) = component.map(|component| component.language) {
            let native = match language {
                Language::Rust => Metric::Regions,
                Language::Go => Metric::Statements,
            };
            if matches!(rule.metric, Metric::Regions | Metric::Statements) && rule.metric != native
            {
                return Err(GateError::NoMetric {
                    rule: rule.to_string(),
                    language,
                    metric: rule.metric,
                    native,
                });
            }
        }
        let globs = glob
            .map(|glob| glob_set(&[glob]))
            .transpose()
            .map_err(|source| GateError::BadGlob {
                rule: rule.to_string(),
                source,
            })?;
        let selected = Selected {
            component,
            glob: globs,
        };
        if let Some(glob) = glob
            && selected.files(summary).next().is_none()
        {
            return Err(GateError::NoFile {
                rule: rule.to_string(),
                glob: glob.clone(),
            });
        }
        Ok(selected)
    }

    fn files<'s>(
        &'s self,
        summary: &'s Summary,
    ) -> impl Iterator<Item = (&'s Component, &'s crate::FileNumbers)> {
        summary.files().filter(|(component, file)| {
            self.component
                .is_none_or(|only| only.name == component.name)
                && self
                    .glob
                    .as_ref()
                    .is_none_or(|glob| glob.is_match(&file.path))
        })
    }

    /// What is proven and what is possible.
    fn ratios(&self, summary: &Summary, metric: Metric) -> (Ratio, Ratio) {
        if self.glob.is_none() {
            let (actual, possible) = match self.component {
                Some(component) => (&component.metrics, &component.possible),
                None => (&summary.metrics, &summary.possible),
            };
            return (metric.of(actual), metric.of(possible));
        }
        let (mut actual, mut possible) = (Ratio::default(), Ratio::default());
        for (_, file) in self.files(summary) {
            actual += metric.of(&file.metrics);
            possible += metric.of(&file.possible());
        }
        (actual, possible)
    }
}

impl Metric {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Metric; 4] = [
        Metric::Lines,
        Metric::Functions,
        Metric::Regions,
        Metric::Statements,
    ];

    /// This one of several numbers.
    pub fn of(self, metrics: &Metrics) -> Ratio {
        match self {
            Metric::Lines => metrics.lines,
            Metric::Functions => metrics.functions,
            Metric::Regions => metrics.regions,
            Metric::Statements => metrics.statements,
        }
    }

    /// `lines`, and `line` for one of them.
    pub fn word(self, number: u64) -> &'static str {
        match (self, number) {
            (Metric::Lines, 1) => "line",
            (Metric::Lines, _) => "lines",
            (Metric::Functions, 1) => "function",
            (Metric::Functions, _) => "functions",
            (Metric::Regions, 1) => "region",
            (Metric::Regions, _) => "regions",
            (Metric::Statements, 1) => "statement",
            (Metric::Statements, _) => "statements",
        }
    }
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word(2))
    }
}

impl std::str::FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Metric::ALL
            .into_iter()
            .find(|metric| metric.word(2) == text)
            .ok_or_else(|| {
                format!("expected lines, functions, regions or statements, found `{text}`")
            })
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scope::Composition => f.write_str("composition"),
            Scope::Component(name) => f.write_str(name),
            Scope::Path {
                glob,
                component: None,
            } => f.write_str(glob),
            Scope::Path {
                glob,
                component: Some(name),
            } => write!(f, "{name} {glob}"),
        }
    }
}

/// `composition lines ≥ 75 %`.
impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ≥ {} %", self.scope, self.metric, self.min)
    }
}

impl Judgement {
    /// `gate.json`: pretty, with a final newline.
    pub fn to_json(&self) -> String {
        // Keys are strings and nothing is a NaN, so there is nothing to fail.
        let mut json = serde_json::to_string_pretty(self).expect("a judgement is always JSON");
        json.push('\n');
        json
    }

    /// The rules that are not met.
    pub fn failed(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.is_failed())
    }

    /// The rules that only lost evidence could meet.
    pub fn open(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.is_open())
    }

    /// Whether more is lost than the policy bears.
    pub fn is_beyond_policy(&self) -> bool {
        self.losses > self.allowed_losses
    }
}

impl Outcome {
    /// What is proven does not reach the threshold, and what was lost could.
    pub fn is_open(&self) -> bool {
        let lost = self.possible.covered.saturating_sub(self.actual.covered);
        !self.passed && lost > 0 && lost >= self.missing
    }

    /// Nothing that was lost could reach the threshold.
    pub fn is_failed(&self) -> bool {
        !self.passed && !self.is_open()
    }
}
