//! `podcov show`: sources with the count of every line.

use std::collections::BTreeMap;
use std::fmt::Write;

use podcov_profile::finding::{Finding, Kind};
use podcov_profile::llvm::model::Detail;
use podcov_profile::model::{File, Line, Region, RegionKind};

use crate::args::{Color, Global, Show};
use crate::evidence::measure::{Measured, Wanted, measured};
use crate::evidence::names::Names;
use crate::evidence::read::Buffer;
use crate::evidence::tell::{list, verdict};
use crate::exit::{Exit, Failure};
use crate::print;

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const BOLD: &str = "1";
const DIM: &str = "2";
const REVERSED_RED: &str = "41;97";

/// Runs the command.
pub fn show(global: &Global, args: &Show) -> Result<Exit, Failure> {
    let mut measured = measured(
        &args.paths,
        &args.reading,
        &args.selection,
        Wanted::Files(Detail::Regions),
    )?;
    let names = Names::new(&args.selection)?;
    let color = match args.color {
        Color::Auto => console::colors_enabled(),
        Color::Always => true,
        Color::Never => false,
    };
    let mut buffer = Buffer::default();
    let mut notes = Vec::new();
    for (path, views) in files(&measured) {
        for file in views {
            if args.missed
                && file
                    .lines
                    .iter()
                    .all(|line| line.count > 0 && !line.partial)
            {
                continue;
            }
            let source = source(&names, &path, &mut buffer);
            if source.is_none() {
                let text = "its text is not there; name its folder with --source-root";
                notes.push(Finding::new(Kind::Note, &path, text));
            }
            print::out(page(&path, &file, source.as_deref(), args.regions, color))?;
        }
    }
    measured.findings.extend(notes);
    list(&measured.findings, global.quiet);
    verdict(&measured.findings, measured.used, args.reading.tolerate)
}

/// Files by path; several of one path, where builds do not agree on it.
fn files(measured: &Measured) -> BTreeMap<String, Vec<File>> {
    let mut files: BTreeMap<String, Vec<File>> = BTreeMap::new();
    for file in measured.files() {
        files.entry(file.path.clone()).or_default().push(file);
    }
    for (path, lines) in &measured.reports.files {
        let line = |(number, count): (&u32, &u64)| Line {
            number: *number,
            count: *count,
            partial: lines.partial.contains(number),
        };
        let file = File {
            path: path.clone(),
            lines: lines.lines.iter().map(line).collect(),
            ..File::default()
        };
        files.entry(path.clone()).or_default().push(file);
    }
    files
}

fn source(names: &Names, path: &str, buffer: &mut Buffer) -> Option<String> {
    let places = names.places(path);
    let mut found = places.iter().filter(|place| place.is_file());
    let bytes = buffer.read(found.next()?).ok()?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

fn paint(text: &str, code: &str, color: bool) -> String {
    match color && !text.is_empty() {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

/// One file. Without its text, its lines are told by number.
fn page(path: &str, file: &File, source: Option<&str>, regions: bool, color: bool) -> String {
    let lines: BTreeMap<u32, &Line> = file.lines.iter().map(|line| (line.number, line)).collect();
    let missed = missed(file);
    let mut text = paint(&print::visible(path), BOLD, color);
    text.push_str(":\n");
    let mut row = |number: u32, content: &str| {
        let line = lines.get(&number);
        let (count, code) = match line {
            None => (String::new(), DIM),
            Some(line) if line.count == 0 => ("0".to_owned(), RED),
            Some(line) if line.partial => (short(line.count), YELLOW),
            Some(line) => (short(line.count), GREEN),
        };
        let spans = missed.get(&number).map_or(&[][..], Vec::as_slice);
        let content = match line {
            Some(line) if line.count == 0 => paint(content, RED, color),
            Some(_) if regions && color => marked(content, spans),
            _ => content.to_owned(),
        };
        let count = paint(&format!("{count:>8}"), code, color);
        let _ = writeln!(text, "{number:>6}|{count}|{content}");
        if regions && !color && line.is_some_and(|line| line.count > 0) && !spans.is_empty() {
            let _ = writeln!(text, "{:>6}|{:>8}|{}", "", "", carets(spans));
        }
    };
    match source {
        Some(source) => {
            for (number, content) in (1u32..).zip(source.lines()) {
                row(number, &print::visible(&content.replace('\t', "    ")));
            }
        }
        None => lines.keys().for_each(|number| row(*number, "")),
    }
    text.push('\n');
    text
}

/// `1234567` as `1.23M`, as llvm-cov shows it.
fn short(count: u64) -> String {
    let units = [
        (1e18, "E"),
        (1e15, "P"),
        (1e12, "T"),
        (1e9, "G"),
        (1e6, "M"),
        (1e3, "k"),
    ];
    let value = count as f64;
    match units.iter().find(|(unit, _)| value >= *unit) {
        Some((unit, letter)) => format!("{:.2}{letter}", (value / unit * 100.0).floor() / 100.0),
        None => count.to_string(),
    }
}

type Spans = BTreeMap<u32, Vec<(u32, u32)>>;

/// Columns of parts that did not run, by line; a part may reach to the end.
fn missed(file: &File) -> Spans {
    let mut spans = Spans::new();
    let all = file.functions.iter().flat_map(|function| &function.regions);
    let code = all.filter(|region| region.kind == RegionKind::Code && region.count == 0);
    for region in code {
        let Region {
            start_line,
            start_column,
            end_line,
            end_column,
            ..
        } = *region;
        // Lines between are missed as a whole.
        for number in [start_line, end_line] {
            let from = if number == start_line {
                start_column
            } else {
                1
            };
            let to = if number == end_line {
                end_column
            } else {
                u32::MAX
            };
            let of_line = spans.entry(number).or_default();
            if from < to && !of_line.contains(&(from, to)) {
                of_line.push((from, to));
            }
        }
    }
    spans.values_mut().for_each(|spans| spans.sort_unstable());
    spans
}

/// Bytes of the profile's columns as places in a text; a column within a
/// character is that character's.
fn marked(content: &str, spans: &[(u32, u32)]) -> String {
    let mut text = String::new();
    let mut rest = 0;
    for (from, to) in spans {
        let place = |column: u32| {
            let at = (column as usize).saturating_sub(1).min(content.len());
            (0..=at)
                .rev()
                .find(|at| content.is_char_boundary(*at))
                .unwrap_or(0)
        };
        let (from, to) = (place(*from).max(rest), place(*to));
        if from >= to {
            continue;
        }
        text.push_str(&content[rest..from]);
        text.push_str(&paint(&content[from..to], REVERSED_RED, true));
        rest = to;
    }
    text.push_str(&content[rest..]);
    text
}

fn carets(spans: &[(u32, u32)]) -> String {
    let mut line = String::new();
    for (from, to) in spans {
        let start = (*from as usize).saturating_sub(1);
        // A part that reaches to the end is marked where it begins.
        let end = if *to == u32::MAX {
            start + 1
        } else {
            (*to as usize).saturating_sub(1)
        };
        // No terminal is wider.
        for at in line.chars().count()..end.min(4096) {
            line.push(if at < start { ' ' } else { '^' });
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_short() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1.00k"),
            (1_239_999, "1.23M"),
        ];
        for (count, expected) in cases {
            assert_eq!(short(count), expected);
        }
    }

    #[test]
    fn parts_that_did_not_run_are_marked() {
        assert_eq!(carets(&[(3, 5), (6, 7)]), "  ^^ ^");
        assert_eq!(marked("abä", &[(2, 4)]), "a\x1b[41;97mb\x1b[0mä");
    }
}
