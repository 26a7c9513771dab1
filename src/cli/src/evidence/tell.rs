//! Findings on stderr, and what they mean for the exit status.

use std::collections::{BTreeMap, BTreeSet};

use podcov_profile::finding::{Finding, Kind};

use crate::exit::{Exit, Failure};
use crate::print::{talk, visible};

/// Of findings that change no number, so many of a kind are told.
const NOTES: usize = 5;

/// Lists findings: what was set aside a line each, and of what changes no
/// number the first of each kind.
pub fn list(findings: &[Finding], quiet: bool) {
    let mut told: BTreeMap<Kind, usize> = BTreeMap::new();
    for finding in findings {
        let is_loss = finding.kind.is_loss();
        if !is_loss {
            let told = told.entry(finding.kind).or_default();
            *told += 1;
            if quiet || *told > NOTES {
                continue;
            }
        }
        let mark = match is_loss {
            true => console::style("!").for_stderr().yellow().bold(),
            false => console::style("·").for_stderr().dim(),
        };
        talk(format_args!("  {mark} {}", visible(&finding.to_string())));
    }
    for (kind, number) in told {
        if let Some(more) = number.checked_sub(NOTES).filter(|more| *more > 0 && !quiet) {
            talk(format_args!("  · {}: and {more} more", kind.word()));
        }
    }
}

/// What the command ends with, given what was set aside and how much counts.
/// Its results were written before.
pub fn verdict(findings: &[Finding], used: u64, tolerate: bool) -> Result<Exit, Failure> {
    let lost = findings.iter().filter(|finding| finding.kind.is_loss());
    // Of one file there can be much to tell.
    let lost: BTreeSet<&str> = lost.map(|finding| finding.path.as_str()).collect();
    let any = !lost.is_empty();
    let lost = crate::ui::count(lost.len(), "file");
    match (used, any) {
        (0, false) => Err(Failure::new(Exit::Nothing, "there is no file in the input")),
        (0, true) => Err(Failure::new(
            Exit::Nothing,
            format!("nothing usable in the input: {lost} set aside"),
        )),
        (_, true) if !tolerate => Err(Failure::new(
            Exit::Incomplete,
            format!("the result is incomplete: {lost} set aside"),
        )
        .help("what and why is above; --tolerate accepts it")),
        _ => Ok(Exit::Fine),
    }
}
