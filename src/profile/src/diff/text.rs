//! A difference for terminals: plain text, stable, the largest picture first.

use std::fmt::{self, Write};

use super::{Change, Diff, FileDiff, Status};
use crate::model::Ratio;
use crate::neutral::on_one_line;

impl Diff {
    /// As text with a line for each number, file and function that changed.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        if self.before == self.after {
            writeln!(out, "{}", on_one_line(&self.after))?;
        } else {
            writeln!(
                out,
                "{} -> {}",
                on_one_line(&self.before),
                on_one_line(&self.after)
            )?;
        }
        numbers(out, "  ", &self.metrics)?;
        for component in &self.components {
            let word = word(component.status);
            if component.status == Status::Kept && component.files.is_empty() {
                continue;
            }
            writeln!(out, "\n{}{word}", on_one_line(&component.name))?;
            numbers(out, "  ", &component.metrics)?;
            for file in &component.files {
                file.write(out)?;
            }
        }
        if self.is_empty() {
            out.push_str("\nnothing differs\n");
        }
        Ok(())
    }
}

impl FileDiff {
    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "  {}{}", on_one_line(&self.path), word(self.status))?;
        let Change { before, after } = self.metrics;
        writeln!(out, "    lines      {}", change(before.lines, after.lines))?;
        for (what, ranges) in [("reached", &self.reached), ("lost", &self.lost)] {
            if !ranges.is_empty() {
                writeln!(out, "    {what:<10} {}", Ranges(ranges))?;
            }
        }
        if self.edited {
            let (new, gone) = (self.new_lines, self.gone_lines);
            writeln!(
                out,
                "    edited     {}/{} new lines reached, {}/{} are gone",
                new.covered, new.total, gone.covered, gone.total
            )?;
        }
        for function in &self.functions {
            let what = match (function.before, function.after) {
                (_, Some(true)) if function.status == Status::New => "new, reached",
                (_, Some(false)) if function.status == Status::New => "new, not reached",
                (_, None) => "removed",
                (_, Some(true)) => "reached",
                (_, Some(false)) => "lost",
            };
            let name = on_one_line(&function.name);
            writeln!(out, "    fn {name}:{} {what}", function.line)?;
        }
        Ok(())
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Kept => "",
        Status::New => " (new)",
        Status::Removed => " (removed)",
    }
}

/// The metrics that either has.
fn numbers(out: &mut String, indent: &str, change_of: &Change) -> fmt::Result {
    let pairs = change_of
        .before
        .named()
        .into_iter()
        .zip(change_of.after.named());
    for ((name, before), (_, after)) in pairs {
        if !(before.is_nothing() && after.is_nothing()) {
            writeln!(out, "{indent}{name:<14} {}", change(before, after))?;
        }
    }
    Ok(())
}

/// `50.0 % -> 62.5 % (4/8 -> 5/8)`, and `50.0 % (4/8)` where nothing changed.
fn change(before: Ratio, after: Ratio) -> String {
    let percent = |ratio: Ratio| match ratio.tenths() {
        Some(tenths) => format!("{}.{} %", tenths / 10, tenths % 10),
        None => "-".to_owned(),
    };
    let fraction = |ratio: Ratio| format!("{}/{}", ratio.covered, ratio.total);
    if before == after {
        return format!("{} ({})", percent(after), fraction(after));
    }
    format!(
        "{} -> {} ({} -> {})",
        percent(before),
        percent(after),
        fraction(before),
        fraction(after)
    )
}

/// `3-7, 9`.
struct Ranges<'a>(&'a [(u32, u32)]);

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (from, to)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            if from == to {
                write!(f, "{from}")?;
            } else {
                write!(f, "{from}-{to}")?;
            }
        }
        Ok(())
    }
}
