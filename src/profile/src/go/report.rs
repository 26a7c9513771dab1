//! What `go tool covdata` says of counters: `textfmt`, `percent`, `func` and
//! `pkglist`.
//!
//! Units are listed by package, file, first line, last line, first column,
//! last column and statements; units of one function that are alike in all of
//! it are one, with the sum of their counts (`internal/coverage/cformat/format.go`,
//! Go 1.26). Go leaves the order of units that are alike, but of different
//! functions, to chance; here the name of the function decides.
//!
//! The total of [`Report::functions`] counts every statement, those in function
//! literals at package level too, as `covdata func` does. `go tool cover -func`
//! has only what is inside of declared functions, so its total is another where
//! there are such literals.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::go::combine::Clash;
use crate::go::meta::{Function, Granularity, Mode, Unit};
use crate::go::sum::Sum;
use crate::go::text::{Block, Conflict, Profile, Span};
use crate::model::Ratio;

/// The units of some builds.
#[derive(Clone, Debug)]
pub struct Report<'s, 'm> {
    sums: Vec<&'s Sum<'m>>,
    /// The least and the greatest mode of the builds.
    modes: (Mode, Mode),
    packages: BTreeMap<&'m str, Vec<Row>>,
}

/// A unit, by where it is found.
#[derive(Clone, Copy, Debug)]
struct Row {
    sum: u32,
    function: u32,
    unit: u32,
    count: u32,
}

/// A line of `go tool covdata func`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionLine<'m> {
    /// Import path and file name.
    pub file: &'m str,
    /// First line of its first unit.
    pub line: u32,
    /// Name of the function.
    pub name: &'m str,
    /// Statements of it.
    pub statements: Ratio,
}

/// One line of a text profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextLine<'m> {
    /// Import path and file name.
    pub file: &'m str,
    /// The unit.
    pub unit: Unit,
    /// How often it ran.
    pub count: u32,
}

impl<'s, 'm> Report<'s, 'm> {
    /// A report on builds, whose packages are joined by import path. Builds of
    /// several modes say together what ran, and not how often, as in Go.
    ///
    /// # Errors
    /// When one has a counter a block and another one a function.
    pub fn new(sums: impl IntoIterator<Item = &'s Sum<'m>>) -> Result<Report<'s, 'm>, Clash> {
        let mut known: Option<Granularity> = None;
        let mut report = Report {
            sums: Vec::new(),
            modes: (Mode::Set, Mode::Set),
            packages: BTreeMap::new(),
        };
        for sum in sums {
            let meta = sum.meta();
            if known.is_none() {
                report.modes = (meta.mode, meta.mode);
            }
            let granularity = *known.get_or_insert(meta.granularity);
            if granularity != meta.granularity {
                return Err(Clash::Granularity {
                    known: granularity,
                    other: meta.granularity,
                });
            }
            let (least, most) = report.modes;
            report.modes = (least.min(meta.mode), most.max(meta.mode));
            report.collect(sum);
        }
        report.join();
        Ok(report)
    }

    fn collect(&mut self, sum: &'s Sum<'m>) {
        let number = self.sums.len() as u32;
        self.sums.push(sum);
        let mut next = 0u32;
        for package in sum.meta().packages() {
            let rows = self.packages.entry(package.path()).or_default();
            for function in package.functions() {
                for unit in function.place() {
                    rows.push(Row {
                        sum: number,
                        function: next,
                        unit: unit as u32,
                        count: sum.counts().get(unit).copied().unwrap_or(0),
                    });
                }
                next += 1;
            }
        }
    }

    fn join(&mut self) {
        let (_, mode) = self.modes;
        let mut packages = std::mem::take(&mut self.packages);
        for rows in packages.values_mut() {
            rows.sort_unstable_by(|a, b| self.compare(a, b));
            rows.dedup_by(|next, first| {
                let same = self.compare(next, first).is_eq();
                if same {
                    first.count = mode.add(first.count, next.count);
                }
                same
            });
        }
        self.packages = packages;
    }

    fn function(&self, row: &Row) -> Option<Function<'m>> {
        let sum = self.sums.get(row.sum as usize)?;
        sum.meta().function_at(row.function as usize)
    }

    fn unit(&self, row: &Row) -> Option<Unit> {
        let sum = self.sums.get(row.sum as usize)?;
        sum.meta().units().get(row.unit as usize).copied()
    }

    fn compare(&self, a: &Row, b: &Row) -> Ordering {
        let key = |row: &Row| {
            let unit = self.unit(row);
            unit.map(|u| {
                (
                    u.start_line,
                    u.end_line,
                    u.start_column,
                    u.end_column,
                    u.statements,
                )
            })
        };
        let (one, other) = (self.function(a), self.function(b));
        let file = |function: &Option<Function<'m>>| function.map(|f| f.file());
        let name = |function: &Option<Function<'m>>| function.map(|f| (f.name(), f.is_literal()));
        (file(&one).cmp(&file(&other)))
            .then_with(|| key(a).cmp(&key(b)))
            .then_with(|| name(&one).cmp(&name(&other)))
    }

    /// How the counts count.
    ///
    /// # Errors
    /// When the builds do not count alike: then there is no text profile of
    /// them. A [`Combination`](crate::go::combine::Combination) has one.
    pub fn mode(&self) -> Result<Mode, Clash> {
        match self.modes {
            (least, most) if least == most => Ok(most),
            (known, other) => Err(Clash::Mode { known, other }),
        }
    }

    /// Import paths of all packages, as `pkglist` has them.
    pub fn packages(&self) -> impl ExactSizeIterator<Item = &'m str> + '_ {
        self.packages.keys().copied()
    }

    /// The lines of `textfmt`.
    pub fn lines(&self) -> impl Iterator<Item = TextLine<'m>> + '_ {
        self.packages.values().flatten().filter_map(|row| {
            Some(TextLine {
                file: self.function(row)?.file(),
                unit: self.unit(row)?,
                count: row.count,
            })
        })
    }

    /// Writes a text profile, as `textfmt` does; `go tool cover` reads it.
    ///
    /// # Errors
    /// What `out` says, or that there is no one [`Report::mode`].
    pub fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let mode = self.mode().map_err(io::Error::other)?;
        writeln!(out, "mode: {}", mode.word())?;
        for TextLine { file, unit, count } in self.lines() {
            let statements = unit.statements;
            writeln!(out, "{file}:{} {statements} {count}", Span::from(unit))?;
        }
        Ok(())
    }

    /// The text profile as a value, by file and place.
    ///
    /// # Errors
    /// When a place has two numbers of statements, as `//line` can make it, or
    /// there is no one [`Report::mode`].
    pub fn to_profile(&self) -> Result<Profile, Conflict> {
        let (known, mode) = self.modes;
        if known != mode {
            return Err(Conflict::Mode { known, other: mode });
        }
        let mut profile = Profile::new(mode);
        for TextLine { file, unit, count } in self.lines() {
            let block = Block {
                statements: unit.statements,
                count: u64::from(count),
            };
            profile.add(file, unit.into(), block)?;
        }
        Ok(profile)
    }

    /// Statements that ran, package by package, as `percent` has them. A
    /// package may have none.
    pub fn percent(&self) -> impl Iterator<Item = (&'m str, Ratio)> + '_ {
        let packages = self.packages.iter();
        packages.map(|(path, rows)| {
            let each = rows.iter().map(|row| self.statements(row));
            (*path, each.fold(Ratio::default(), add))
        })
    }

    /// Statements of all packages.
    pub fn total(&self) -> Ratio {
        let each = self.percent().map(|(_, statements)| statements);
        each.fold(Ratio::default(), add)
    }

    fn statements(&self, row: &Row) -> Ratio {
        let all = self.unit(row).map_or(0, |unit| u64::from(unit.statements));
        Ratio::new(if row.count > 0 { all } else { 0 }, all)
    }

    /// The functions as `func` lists them: those that have a name, with the
    /// literals inside of them. Where units of two functions take turns, a
    /// function is listed again each time. Go joins functions of one name that
    /// follow each other, such as `init` at the end of one file and at the
    /// start of the next; here a file ends a function.
    pub fn functions(&self) -> Vec<FunctionLine<'m>> {
        let mut lines = Vec::new();
        for rows in self.packages.values() {
            let mut last: Option<(Function<'m>, FunctionLine<'m>)> = None;
            for row in rows {
                let (Some(function), Some(unit)) = (self.function(row), self.unit(row)) else {
                    continue;
                };
                let statements = self.statements(row);
                let key = |f: &Function<'m>| (f.file(), f.name(), f.is_literal());
                match &mut last {
                    Some((known, line)) if key(known) == key(&function) => {
                        line.statements += statements;
                    }
                    _ => {
                        let line = FunctionLine {
                            file: function.file(),
                            line: unit.start_line,
                            name: function.name(),
                            statements,
                        };
                        lines.extend(named(last.replace((function, line))));
                    }
                }
            }
            lines.extend(named(last));
        }
        lines
    }
}

fn add(mut sum: Ratio, one: Ratio) -> Ratio {
    sum += one;
    sum
}

fn named<'m>(line: Option<(Function<'m>, FunctionLine<'m>)>) -> Option<FunctionLine<'m>> {
    let (function, line) = line?;
    (!function.is_literal()).then_some(line)
}
