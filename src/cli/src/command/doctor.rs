//! `podcov doctor`: what would lose evidence, and what to do about it.

mod composition;
mod program;
mod trial;

use console::style;
use podcov_cluster::doctor::{Check, Level};
use serde::Serialize;

use crate::args::{Doctor, Global, TextOrJson};
use crate::exit::{Exit, Failure};
use crate::print::{self, visible};
use crate::ui::count;

/// Runs the command.
pub fn doctor(global: &Global, args: &Doctor) -> Result<Exit, Failure> {
    let checks = if !args.command.is_empty() {
        trial::checks(args)?
    } else if !args.paths.is_empty() {
        args.paths
            .iter()
            .flat_map(|path| program::path(path))
            .collect()
    } else {
        composition::checks(global)?
    };
    if checks.is_empty() {
        return Err(Failure::new(Exit::Nothing, "there is nothing to look at"));
    }
    match args.format {
        TextOrJson::Json => print::out(json(&checks)?)?,
        TextOrJson::Text => print::out(text(&checks))?,
    }
    let of = |level| checks.iter().filter(|check| check.level == level).count();
    let (bad, warnings) = (of(Level::Bad), of(Level::Warning));
    if bad > 0 {
        let all = count(checks.len(), "check");
        let failure = Failure::new(
            Exit::Incomplete,
            format!("{bad} of {all} would lose evidence"),
        );
        return Err(failure.help("the remedy is below each"));
    }
    if args.format == TextOrJson::Text && !global.quiet {
        print::talk(match warnings {
            0 => "nothing would lose evidence".to_owned(),
            some => format!(
                "nothing is sure to lose evidence, {}",
                count(some, "warning")
            ),
        });
    }
    Ok(Exit::Fine)
}

fn json(checks: &[Check]) -> Result<String, Failure> {
    #[derive(Serialize)]
    struct All<'a> {
        schema: u32,
        checks: &'a [Check],
    }
    let all = All { schema: 1, checks };
    let json = serde_json::to_string_pretty(&all);
    json.map(|json| json + "\n")
        .map_err(|error| Failure::new(Exit::Fault, error))
}

/// A line for each check, under what it is about, and one for its remedy.
fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    let mut subject = "";
    for check in checks {
        if check.subject != subject {
            subject = &check.subject;
            text.push_str(&format!("{}\n", style(visible(subject)).bold()));
        }
        let mark = match check.level {
            Level::Good => style("✓").green(),
            Level::Warning => style("!").yellow(),
            Level::Bad => style("✗").red(),
        };
        text.push_str(&format!("  {mark} {}\n", visible(&check.text)));
        if !check.remedy.is_empty() {
            text.push_str(&format!("    {} {}\n", style("→").cyan(), check.remedy));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_told_under_its_subject_with_its_remedy() {
        console::set_colors_enabled(false);
        let checks = [
            Check::good("component a", "is instrumented"),
            Check::bad("component a", "lacks\x1b[2J a build id", "link with one"),
            Check::warning("machine", "cannot be told", "look"),
        ];
        let expected = "component a\n  ✓ is instrumented\n  ✗ lacks␛[2J a build id\n    \
                        → link with one\nmachine\n  ! cannot be told\n    → look\n";
        assert_eq!(text(&checks), expected);
    }
}
