//! Findings on stderr, and what they mean for the exit status.

use podcov_profile::finding::Finding;

use crate::exit::{Exit, Failure};
use crate::print::talk;

/// Lists findings, a line each.
pub fn list(findings: &[Finding], quiet: bool) {
    for finding in findings {
        let is_loss = finding.kind.is_loss();
        if quiet && !is_loss {
            continue;
        }
        let mark = match is_loss {
            true => console::style("!").for_stderr().yellow().bold(),
            false => console::style("·").for_stderr().dim(),
        };
        talk(format_args!("  {mark} {finding}"));
    }
}

/// What the command ends with, given what was set aside and how much counts.
/// Its results were written before.
pub fn verdict(findings: &[Finding], used: u64, tolerate: bool) -> Result<Exit, Failure> {
    let lost = findings.iter().filter(|finding| finding.kind.is_loss());
    let lost = crate::ui::count(lost.count(), "file");
    let any = findings.iter().any(|finding| finding.kind.is_loss());
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
