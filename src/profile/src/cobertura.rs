//! Cobertura XML, as gocover-cobertura, cargo-llvm-cov, lcov_cobertura,
//! coverage.py, istanbul and others write it.
//!
//! | element | attributes that count |
//! |---|---|
//! | `coverage` | none: all totals follow from the lines |
//! | `sources/source` | text: a folder that file names may be relative to |
//! | `packages/package` | `name` |
//! | `classes/class` | `filename`; several classes may be of one file |
//! | `methods/method` | `name`; its first line is where it begins and how often it was called |
//! | `lines/line` | `number`, `hits`, `branch`, `condition-coverage="50% (1/2)"` |
//!
//! The document type is read over, entities other than XML's own five are
//! refused, and nothing outside of the file is ever asked for. Source:
//! `coverage-04.dtd` of Cobertura 2.1 and what the tools above write.

use std::collections::BTreeMap;

use quick_xml::Reader as XmlReader;
use quick_xml::encoding::Decoder;
use quick_xml::events::{BytesStart, Event};

use crate::error::{Kind, ParseError};
use crate::neutral::{
    BranchId, Budget, FileLines, Findings, FunctionId, LineCoverage, Parsed, brief, count, number,
    shown,
};

mod write;

pub use write::{Options, text};

/// Elements are nested 9 deep.
const DEPTH: usize = 32;
/// A line has at most 8 attributes in any tool's output.
const ATTRIBUTES: usize = 32;
/// Ways out of the conditions of one line.
const BRANCHES: u32 = 4096;

/// Whether bytes begin like a Cobertura report.
pub fn is_cobertura(bytes: &[u8]) -> bool {
    let bytes = bytes.get(..8192).unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    let root = |text: &str| text.contains("<coverage") && !text.contains("<project");
    text.trim_start_matches('\u{feff}')
        .trim_start()
        .starts_with('<')
        && root(&text)
}

/// Reads a report. Names of files are as the report has them; the folders they
/// may be relative to are the [`Parsed::roots`].
///
/// A line that several classes of a file have is one line, and its count the
/// largest of them. Of conditions a report tells only how many ways out were
/// taken: the first so many count as taken, once.
///
/// ```
/// let xml = br#"<coverage><packages><package name="a"><classes>
///     <class name="a" filename="a.py"><methods/><lines>
///     <line number="1" hits="3"/></lines></class></classes></package></packages></coverage>"#;
/// let parsed = podcov_profile::cobertura::parse(xml)?;
/// assert_eq!(parsed.coverage.files["a.py"].lines[&1], 3);
/// # Ok::<(), podcov_profile::ParseError>(())
/// ```
pub fn parse(bytes: &[u8]) -> Result<Parsed, ParseError> {
    if bytes.is_empty() {
        return Err(ParseError::empty("a report has elements, this has no byte"));
    }
    if bytes.starts_with(b"\xfe\xff") || bytes.starts_with(b"\xff\xfe") {
        let len = bytes.len() as u64;
        return Err(ParseError {
            kind: Kind::Unsupported,
            what: "expected UTF-8, found UTF-16".to_owned(),
            offset: 0,
            len,
        });
    }
    let mut xml = XmlReader::from_reader(bytes);
    xml.config_mut().expand_empty_elements = true;
    let mut document = Document {
        at: 0,
        len: bytes.len() as u64,
        is_ascii: bytes.is_ascii(),
        decoder: xml.decoder(),
        budget: Budget::of(bytes),
        findings: Findings::default(),
        stack: Vec::new(),
        is_report: false,
        roots: Vec::new(),
        package: String::new(),
        class: None,
        method: None,
        files: BTreeMap::new(),
    };
    loop {
        document.at = xml.buffer_position();
        let event = xml.read_event().map_err(|error| {
            let kind = if matches!(error, quick_xml::Error::Syntax(_)) {
                Kind::Truncated
            } else {
                Kind::Malformed
            };
            document.error_at(kind, xml.error_position(), format!("no XML: {error}"))
        })?;
        if let Event::Eof = event {
            return document.finish();
        }
        document.event(event)?;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Coverage,
    Sources,
    Source,
    Packages,
    Package,
    Classes,
    Class,
    Methods,
    Method,
    MethodLines,
    MethodLine,
    Lines,
    Line,
    Other,
}

impl Element {
    fn below(parent: Option<Element>, name: &[u8]) -> Element {
        match (parent, name) {
            (None, b"coverage") => Element::Coverage,
            (Some(Element::Coverage), b"sources") => Element::Sources,
            (Some(Element::Sources), b"source") => Element::Source,
            (Some(Element::Coverage), b"packages") => Element::Packages,
            (Some(Element::Packages), b"package") => Element::Package,
            (Some(Element::Package), b"classes") => Element::Classes,
            (Some(Element::Classes), b"class") => Element::Class,
            (Some(Element::Class), b"methods") => Element::Methods,
            (Some(Element::Methods), b"method") => Element::Method,
            (Some(Element::Method), b"lines") => Element::MethodLines,
            (Some(Element::MethodLines), b"line") => Element::MethodLine,
            (Some(Element::Class), b"lines") => Element::Lines,
            (Some(Element::Lines), b"line") => Element::Line,
            _ => Element::Other,
        }
    }
}

struct Document {
    /// Where the event begins that is read.
    at: u64,
    len: u64,
    is_ascii: bool,
    decoder: Decoder,
    budget: Budget,
    findings: Findings,
    stack: Vec<Element>,
    is_report: bool,
    roots: Vec<String>,
    package: String,
    class: Option<Class>,
    method: Option<Method>,
    files: BTreeMap<String, Gathered>,
}

#[derive(Default)]
struct Class {
    filename: String,
    own: Gathered,
    /// Lines of its methods, for reports whose classes have none of their own.
    of_methods: Gathered,
}

struct Method {
    name: String,
    /// Number and hits of its first line, and the number of its last.
    place: Option<(u32, u64, u32)>,
}

#[derive(Default)]
struct Gathered {
    file: FileLines,
    /// Ways out that were taken, and all, by line.
    conditions: BTreeMap<u32, (u32, u32)>,
}

impl Gathered {
    fn raise(&mut self, other: Gathered) {
        for (number, hits) in other.file.lines {
            let known = self.file.lines.entry(number).or_default();
            *known = hits.max(*known);
        }
        for (number, (taken, all)) in other.conditions {
            let known = self.conditions.entry(number).or_default();
            *known = (taken.max(known.0), all.max(known.1));
        }
        for (id, calls) in other.file.functions {
            let known = self.file.functions.entry(id).or_default();
            known.end = known.end.max(calls.end);
            known.count = known.count.max(calls.count);
        }
    }
}

impl Document {
    fn event(&mut self, event: Event<'_>) -> Result<(), ParseError> {
        match event {
            Event::Decl(decl) => {
                let encoding = decl.encoding().and_then(Result::ok);
                let is_utf8 = encoding.as_deref().is_none_or(|encoding| {
                    encoding.eq_ignore_ascii_case(b"utf-8")
                        || encoding.eq_ignore_ascii_case(b"utf8")
                        || encoding.eq_ignore_ascii_case(b"us-ascii")
                });
                if !is_utf8 && !self.is_ascii {
                    let found = shown(encoding.as_deref().unwrap_or_default());
                    let what = format!("expected UTF-8, found {found}");
                    return Err(self.error_at(Kind::Unsupported, self.at, what));
                }
                Ok(())
            }
            Event::Start(element) => self.start(&element),
            Event::End(_) => self.end(),
            Event::Text(text) if self.stack.last() == Some(&Element::Source) => {
                let text = text
                    .decode()
                    .map_err(|error| self.error(error.to_string()))?;
                self.source(&text)
            }
            Event::CData(text) if self.stack.last() == Some(&Element::Source) => {
                let text = text
                    .decode()
                    .map_err(|error| self.error(error.to_string()))?;
                self.source(&text)
            }
            Event::GeneralRef(reference) => {
                let name = reference
                    .decode()
                    .map_err(|error| self.error(error.to_string()))?;
                let character = reference.resolve_char_ref();
                let character = character.map_err(|error| self.error(error.to_string()))?;
                let known = match character {
                    Some(character) => Some(character.to_string()),
                    None => quick_xml::escape::resolve_xml_entity(&name).map(str::to_owned),
                };
                match known {
                    Some(text) if self.stack.last() == Some(&Element::Source) => self.source(&text),
                    Some(_) => Ok(()),
                    None => {
                        let name = shown(name.as_bytes());
                        Err(self.error(format!("entity `&{name};` is not expanded")))
                    }
                }
            }
            _ => Ok(()),
        }
    }

    fn source(&mut self, text: &str) -> Result<(), ParseError> {
        self.budget.charge(text.len() as u64, self.at)?;
        if let Some(root) = self.roots.last_mut() {
            root.push_str(text);
        }
        Ok(())
    }

    fn start(&mut self, start: &BytesStart<'_>) -> Result<(), ParseError> {
        if self.stack.len() >= DEPTH {
            let what = format!("elements nested more than {DEPTH} deep");
            return Err(self.error_at(Kind::TooLarge, self.at, what));
        }
        let parent = self.stack.last().copied();
        let name = start.local_name();
        let element = Element::below(parent, name.as_ref());
        if parent.is_none() && (element == Element::Other || self.is_report) {
            let found = shown(name.as_ref());
            return Err(self.error(format!("expected one `<coverage>`, found `<{found}>`")));
        }
        self.stack.push(element);
        match element {
            Element::Coverage => self.is_report = true,
            Element::Source => {
                self.budget.charge(64, self.at)?;
                self.roots.push(String::new());
            }
            Element::Package => {
                let [name] = self.attributes(start, ["name"])?;
                self.package = name.unwrap_or_default();
            }
            Element::Class => {
                let [filename] = self.attributes(start, ["filename"])?;
                let filename = filename.filter(|name| !name.is_empty());
                let filename = filename.ok_or_else(|| self.error("a class without `filename`"))?;
                self.class = Some(Class {
                    filename,
                    ..Class::default()
                });
            }
            Element::Method => {
                let [name] = self.attributes(start, ["name"])?;
                let name = name.filter(|name| !name.is_empty());
                let name = name.ok_or_else(|| self.error("a method without `name`"))?;
                self.method = Some(Method { name, place: None });
            }
            Element::MethodLine | Element::Line => self.line(element, start)?,
            _ => {}
        }
        Ok(())
    }

    fn line(&mut self, element: Element, start: &BytesStart<'_>) -> Result<(), ParseError> {
        let names = ["number", "hits", "branch", "condition-coverage"];
        let [at_line, hits, branch, conditions] = self.attributes(start, names)?;
        let text = at_line.unwrap_or_default();
        let Some(line) = number(text.trim().as_bytes()) else {
            return Err(self.error(format!("`{}` is no line number", shown(text.as_bytes()))));
        };
        let text = hits.unwrap_or_default();
        let hits = count(text.trim().as_bytes(), self.at, &mut self.findings);
        let Some(hits) = hits else {
            return Err(self.error(format!("`{}` are no hits", shown(text.as_bytes()))));
        };
        if line == 0 {
            let text = || "line 0 is no line".to_owned();
            self.findings.note("line-zero", self.at, text);
            return Ok(());
        }
        if let (Element::MethodLine, Some(method)) = (element, &mut self.method) {
            method.place = Some(match method.place {
                Some((first, hits, last)) if first <= line => (first, hits, last.max(line)),
                Some((.., last)) => (line, hits, last),
                None => (line, hits, line),
            });
        }
        let is_branch = branch.is_some_and(|branch| branch.trim().eq_ignore_ascii_case("true"));
        let conditions = match conditions.filter(|_| is_branch) {
            Some(text) => match fraction(&text) {
                Some(fraction) if fraction.1 <= BRANCHES => Some(fraction),
                Some((_, all)) => {
                    let what = format!("a line with {all} branches, the limit is {BRANCHES}");
                    return Err(self.error_at(Kind::TooLarge, self.at, what));
                }
                None => None,
            },
            None => None,
        };
        if is_branch && conditions.is_none() {
            let text = || "a branch without `(taken/all)` is read over".to_owned();
            self.findings.note("branch-without-numbers", self.at, text);
        }
        let Some(class) = &mut self.class else {
            return Ok(());
        };
        let into = match element {
            Element::Line => &mut class.own,
            _ => &mut class.of_methods,
        };
        let known = into.file.lines.insert(line, hits);
        match known {
            None => self.budget.charge(2 * Budget::LINE, self.at)?,
            Some(known) => {
                into.file.lines.insert(line, known.max(hits));
            }
        }
        if let Some((taken, all)) = conditions {
            let known = into.conditions.entry(line).or_default();
            *known = (taken.max(known.0), all.max(known.1));
            self.budget.charge(Budget::LINE, self.at)?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), ParseError> {
        match self.stack.pop() {
            Some(Element::Method) => {
                let (Some(method), Some(class)) = (self.method.take(), &mut self.class) else {
                    return Ok(());
                };
                let (start, count, end) = method.place.unwrap_or((0, 0, 0));
                if start == 0 {
                    let text = || format!("method `{}` has no line", shown(method.name.as_bytes()));
                    self.findings.note("function-without-place", self.at, text);
                }
                let cost = Budget::FUNCTION + method.name.len() as u64;
                self.budget.charge(cost, self.at)?;
                let name = method.name;
                // A single line says where it begins and not where it ends.
                let end = if end == start { 0 } else { end };
                class
                    .own
                    .file
                    .add_function(FunctionId { start, name }, end, count);
            }
            Some(Element::Class) => {
                let Some(mut class) = self.class.take() else {
                    return Ok(());
                };
                if class.own.file.lines.is_empty() {
                    class.own.raise(class.of_methods);
                }
                let file = match self.files.get_mut(&class.filename) {
                    Some(file) => file,
                    None => {
                        let cost =
                            Budget::FILE + (class.filename.len() + self.package.len()) as u64;
                        self.budget.charge(cost, self.at)?;
                        self.files.entry(class.filename).or_default()
                    }
                };
                if file.file.package.is_empty() || self.package < file.file.package {
                    file.file.package.clone_from(&self.package);
                }
                file.raise(class.own);
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Parsed, ParseError> {
        if !self.stack.is_empty() {
            let what = "it ends inside of an element".to_owned();
            return Err(self.error_at(Kind::Truncated, self.at, what));
        }
        if !self.is_report {
            return Err(self.error("expected `<coverage>`, found no element"));
        }
        let mut coverage = LineCoverage::default();
        for (path, mut gathered) in std::mem::take(&mut self.files) {
            for (line, (taken, all)) in gathered.conditions {
                self.budget
                    .charge(u64::from(all) * Budget::BRANCH, self.at)?;
                let hits = gathered.file.lines.get(&line).copied().unwrap_or(0);
                if taken < all && hits > 0 {
                    gathered.file.partial.insert(line);
                }
                for branch in 0..all {
                    let id = BranchId {
                        line,
                        block: 0,
                        branch,
                        exception: false,
                    };
                    let evaluated = hits > 0 || taken > 0;
                    let count = evaluated.then_some(u64::from(branch < taken));
                    gathered.file.branches.insert(id, count);
                }
            }
            coverage.files.insert(path, gathered.file);
        }
        let roots = self.roots.into_iter().map(|root| root.trim().to_owned());
        Ok(Parsed {
            coverage,
            roots: roots.filter(|root| !root.is_empty()).collect(),
            findings: self.findings.0,
        })
    }

    /// The values of some attributes.
    fn attributes<const N: usize>(
        &self,
        start: &BytesStart<'_>,
        names: [&str; N],
    ) -> Result<[Option<String>; N], ParseError> {
        let mut values = [const { None }; N];
        // Its own check for duplicates takes the square of their number.
        for (number, attribute) in start.attributes().with_checks(false).enumerate() {
            if number >= ATTRIBUTES {
                let what = format!("an element with more than {ATTRIBUTES} attributes");
                return Err(self.error_at(Kind::TooLarge, self.at, what));
            }
            let attribute = attribute.map_err(|error| self.error(error.to_string()))?;
            let index = names
                .iter()
                .position(|name| name.as_bytes() == attribute.key.as_ref());
            if let Some(value) = index.and_then(|index| values.get_mut(index)) {
                let text = attribute.decode_and_unescape_value(self.decoder);
                *value = Some(
                    text.map_err(|error| self.error(error.to_string()))?
                        .into_owned(),
                );
            }
        }
        Ok(values)
    }

    fn error(&self, what: impl Into<String>) -> ParseError {
        self.error_at(Kind::Malformed, self.at, what.into())
    }

    fn error_at(&self, kind: Kind, offset: u64, what: String) -> ParseError {
        ParseError {
            kind,
            what: brief(&what),
            offset,
            len: self.len,
        }
    }
}

/// 1 and 2 of `50% (1/2)`.
fn fraction(text: &str) -> Option<(u32, u32)> {
    let (_, rest) = text.split_once('(')?;
    let (numbers, _) = rest.split_once(')')?;
    let (taken, all) = numbers.split_once('/')?;
    let taken = number(taken.trim().as_bytes())?;
    let all = number(all.trim().as_bytes())?;
    (taken <= all).then_some((taken, all))
}
