//! Writing Cobertura XML that `coverage-04.dtd` accepts.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::model::Ratio;
use crate::neutral::{FileLines, LineCoverage};

/// What a report says beside the counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Seconds since 1970. The document type requires it, and a report that is
    /// to be the same each time has 0.
    pub timestamp: u64,
    /// Folders that the names of files are relative to.
    pub sources: Vec<String>,
}

/// A report. One class is one file; a file without a package is in one that is
/// called like its folder. A method has one line, its first, with the number
/// of its calls. Rates have four digits and are cut, so that 1 is whole; of
/// nothing they are 0.
///
/// ```
/// # use podcov_profile::{cobertura, lcov};
/// let parsed = lcov::parse(b"SF:src/a.rs\nDA:1,3\nDA:2,0\nend_of_record\n")?;
/// let xml = cobertura::text(&parsed.coverage, &cobertura::Options::default());
/// assert!(xml.contains(r#"<line number="1" hits="3"/>"#));
/// # Ok::<(), podcov_profile::ParseError>(())
/// ```
pub fn text(coverage: &LineCoverage, options: &Options) -> String {
    let mut packages: BTreeMap<&str, Vec<(&str, Class<'_>)>> = BTreeMap::new();
    for (path, file) in &coverage.files {
        let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
        let package = if file.package.is_empty() {
            folder
        } else {
            &file.package
        };
        packages
            .entry(package)
            .or_default()
            .push((path, Class::of(file)));
    }
    let classes = || packages.values().flatten();
    let lines = sum(classes().map(|(_, class)| class.lines()));
    let branches = sum(classes().map(|(_, class)| class.branches()));
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE coverage SYSTEM \
         \"http://cobertura.sourceforge.net/xml/coverage-04.dtd\">\n",
    );
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "<coverage {} lines-covered=\"{}\" lines-valid=\"{}\" branches-covered=\"{}\" \
         branches-valid=\"{}\" complexity=\"0\" version=\"podcov {}\" timestamp=\"{}\">",
        rates(lines, branches),
        lines.covered,
        lines.total,
        branches.covered,
        branches.total,
        env!("CARGO_PKG_VERSION"),
        options.timestamp,
    );
    out.push_str("  <sources>\n");
    for source in &options.sources {
        let _ = writeln!(out, "    <source>{}</source>", Escaped(source));
    }
    out.push_str("  </sources>\n  <packages>\n");
    for (name, classes) in &packages {
        let lines = sum(classes.iter().map(|(_, class)| class.lines()));
        let branches = sum(classes.iter().map(|(_, class)| class.branches()));
        let _ = writeln!(
            out,
            "    <package name=\"{}\" {} complexity=\"0\">\n      <classes>",
            Escaped(name),
            rates(lines, branches),
        );
        for (path, class) in classes {
            class.write(&mut out, path);
        }
        out.push_str("      </classes>\n    </package>\n");
    }
    out.push_str("  </packages>\n</coverage>\n");
    out
}

struct Class<'a> {
    file: &'a FileLines,
    /// Of the lines that have code.
    branches: BTreeMap<u32, Ratio>,
}

impl<'a> Class<'a> {
    fn of(file: &'a FileLines) -> Self {
        let mut branches = file.branches_by_line();
        branches.retain(|line, _| file.lines.contains_key(line));
        Class { file, branches }
    }

    fn lines(&self) -> Ratio {
        self.file.line_ratio()
    }

    fn branches(&self) -> Ratio {
        sum(self.branches.values().copied())
    }

    fn write(&self, out: &mut String, path: &str) {
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        let _ = writeln!(
            out,
            "        <class name=\"{}\" filename=\"{}\" {} complexity=\"0\">\n          <methods>",
            Escaped(name),
            Escaped(path),
            rates(self.lines(), self.branches()),
        );
        for (id, calls) in &self.file.functions {
            let rate = u8::from(calls.count > 0);
            let _ = writeln!(
                out,
                "            <method name=\"{}\" signature=\"\" line-rate=\"{rate}\" \
                 branch-rate=\"{rate}\" complexity=\"0\">\n              <lines><line \
                 number=\"{}\" hits=\"{}\"/></lines>\n            </method>",
                Escaped(if id.name.is_empty() { "?" } else { &id.name }),
                id.start.max(1),
                calls.count,
            );
        }
        out.push_str("          </methods>\n          <lines>\n");
        for (number, hits) in &self.file.lines {
            let _ = write!(out, "            <line number=\"{number}\" hits=\"{hits}\"");
            let _ = match self.branches.get(number) {
                None => writeln!(out, "/>"),
                Some(ratio) => writeln!(
                    out,
                    " branch=\"true\" condition-coverage=\"{}% ({}/{})\"/>",
                    u128::from(ratio.covered) * 100 / u128::from(ratio.total.max(1)),
                    ratio.covered,
                    ratio.total,
                ),
            };
        }
        out.push_str("          </lines>\n        </class>\n");
    }
}

fn sum(all: impl Iterator<Item = Ratio>) -> Ratio {
    all.fold(Ratio::default(), |mut sum, one| {
        sum += one;
        sum
    })
}

fn rates(lines: Ratio, branches: Ratio) -> String {
    format!(
        "line-rate=\"{}\" branch-rate=\"{}\"",
        rate(lines),
        rate(branches)
    )
}

/// `0.6666`.
fn rate(ratio: Ratio) -> String {
    if ratio.total == 0 || ratio.covered == 0 {
        return "0".to_owned();
    }
    if ratio.covered >= ratio.total {
        return "1".to_owned();
    }
    let digits = u128::from(ratio.covered) * 10_000 / u128::from(ratio.total);
    format!("0.{digits:04}")
}

/// A text in an element or an attribute. Characters that XML 1.0 has no way to
/// write are shown by their pictures.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&apos;")?,
                '\t' | '\n' | '\r' | '\u{7f}'..='\u{9f}' => write!(f, "&#{};", u32::from(c))?,
                '\0'..='\u{1f}' => {
                    let picture = char::from_u32(0x2400 + u32::from(c));
                    f.write_char(picture.unwrap_or('\u{fffd}'))?;
                }
                '\u{fffe}' | '\u{ffff}' => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
