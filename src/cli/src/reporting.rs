//! From coverage to the report's folder, the table and the verdict.

use std::path::PathBuf;

use podcov_profile::bundle::Bundle;
use podcov_profile::ledger::Ledger;
use podcov_profile::model::Coverage;
use podcov_report as report;

use crate::config::{Gate, MetricName, Policy};
use crate::exit::{Exit, Failure, OrExit};
use crate::print::To;
use crate::session::Session;
use crate::ui::count;

/// A report that was written.
pub struct Made {
    /// The page to open.
    pub index: PathBuf,
    /// The numbers.
    pub report: report::Report,
    /// What the gate says.
    pub judgement: report::Judgement,
}

/// Writes the report's folder.
pub fn write(
    session: &Session,
    bundles: &[Bundle],
    coverage: &Coverage,
    ledger: &Ledger,
) -> Result<Made, Failure> {
    let whole = numbers(session, coverage, ledger)?;
    let judgement = judged(session, &whole);
    let sources = |component: &str, path: &str| {
        fs_err::read(session.run.bundle().join(component).join("src").join(path)).ok()
    };
    let go_profiles = crate::go_profiles::read(session, coverage)?;
    let input = report::Input {
        report: &whole,
        judgement: judgement.as_ref().ok(),
        sources: &sources,
        bundles,
        go_profiles: &go_profiles,
    };
    let written = report::write_all(&session.run.report(), &input).or_exit(Exit::Fault)?;
    // A rule that cannot be judged must not cost the report of a long run.
    let index = written.index;
    let judgement = judgement.map_err(|failure| {
        failure.help(format!(
            "the report is there without a verdict: {}",
            index.display()
        ))
    })?;
    Ok(Made {
        index,
        report: whole,
        judgement,
    })
}

/// The numbers and the verdict, with nothing written.
pub fn judge(
    session: &Session,
    coverage: &Coverage,
    ledger: &Ledger,
) -> Result<(report::Report, report::Judgement), Failure> {
    let whole = numbers(session, coverage, ledger)?;
    let judgement = judged(session, &whole)?;
    Ok((whole, judgement))
}

fn numbers(
    session: &Session,
    coverage: &Coverage,
    ledger: &Ledger,
) -> Result<report::Report, Failure> {
    let typed = &session.config.file.filter;
    let filter = report::Filter::new(&typed.include, &typed.exclude).or_exit(Exit::Usage)?;
    Ok(report::Report::new(coverage, ledger, &filter))
}

fn judged(session: &Session, whole: &report::Report) -> Result<report::Judgement, Failure> {
    let typed = &session.config.file;
    let rules: Vec<report::Rule> = typed.gates.iter().map(rule).collect();
    let policy = match typed.evidence.policy {
        Policy::Complete => report::Policy { allowed_losses: 0 },
        Policy::Tolerate => report::Policy {
            allowed_losses: u64::MAX,
        },
    };
    report::judge(&whole.summary, &rules, policy).or_exit(Exit::Usage)
}

fn rule(gate: &Gate) -> report::Rule {
    let component = gate.component.as_ref().map(|name| name.get_ref().clone());
    report::Rule {
        scope: match (&gate.path, component) {
            (Some(glob), component) => report::Scope::Path {
                glob: glob.clone(),
                component,
            },
            (None, Some(component)) => report::Scope::Component(component),
            (None, None) => report::Scope::Composition,
        },
        metric: match gate.metric.get_ref() {
            MetricName::Lines => report::Metric::Lines,
            MetricName::Functions => report::Metric::Functions,
            MetricName::Regions => report::Metric::Regions,
            MetricName::Statements => report::Metric::Statements,
        },
        min: *gate.min.get_ref(),
    }
}

/// Fails if evidence is lost and the policy wants all of it.
pub fn complete(session: &Session, summary: &report::Summary) -> Result<Exit, Failure> {
    let wants_all = session.config.file.evidence.policy == Policy::Complete;
    match wants_all && !summary.complete {
        true => Err(incomplete(summary.losses.len())),
        false => Ok(Exit::Fine),
    }
}

fn incomplete(losses: usize) -> Failure {
    let lost = count(losses.max(1), "piece");
    let message = format!("evidence is incomplete: {lost} of it lost");
    Failure::new(Exit::Incomplete, message).help(
        "the ledger says why; `[evidence] policy = \"tolerate\"` gives a verdict all the same",
    )
}

/// Tells what was lost and what that means for the numbers.
pub fn tell_losses(session: &Session, whole: &report::Report) {
    let losses = report::loss_text(&whole.summary, console::colors_enabled_stderr());
    if !losses.is_empty() {
        session.ui.say(losses);
    }
}

/// Prints losses, table and verdict; gives the exit status that they mean.
pub fn show(session: &Session, made: &Made, to: To) -> Result<Exit, Failure> {
    tell_losses(session, &made.report);
    session.ui.say("");
    to.write(report::table(&made.report.summary, to.colors()))?;
    verdict(session, &made.judgement, to)
}

/// Prints the verdict and gives its exit status.
pub fn verdict(session: &Session, judgement: &report::Judgement, to: To) -> Result<Exit, Failure> {
    if judgement.outcomes.is_empty() {
        session
            .ui
            .say("\n      no thresholds: add a `[[gate]]` to podcov.toml");
    } else {
        let text = report::gate_text(judgement, to.colors());
        to.write(format_args!("\n{text}"))?;
    }
    match judgement.verdict {
        report::Verdict::Pass => Ok(Exit::Fine),
        report::Verdict::Fail => {
            let failed = judgement.failed().count();
            let all = judgement.outcomes.len();
            Err(Failure::new(
                Exit::Gate,
                format!("gate: {failed} of {all} rules failed"),
            ))
        }
        report::Verdict::Incomplete => {
            if !judgement.is_beyond_policy() {
                let (open, all) = (judgement.open().count(), judgement.outcomes.len());
                let message = format!(
                    "gate: no verdict on {open} of {all} rules: only lost evidence could meet them"
                );
                return Err(Failure::new(Exit::Incomplete, message).help(
                    "the ledger says what was lost and why; a lower `min` can be met by what is proven",
                ));
            }
            let losses = usize::try_from(judgement.losses).unwrap_or(usize::MAX);
            Err(incomplete(losses))
        }
    }
}
