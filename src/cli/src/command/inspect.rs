//! `podcov inspect`: what files are, what they hold and what is wrong with
//! them. A damaged file is told as far as it can be read.

mod describe;
mod llvm;
mod reports;

use podcov_profile::finding::{Finding, Kind};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::args::{Global, Inspect, TextOrJson};
use crate::evidence::input::{self, Source};
use crate::evidence::read::Buffer;
use crate::evidence::tell::list;
use crate::exit::{Exit, Failure};
use crate::print;

/// What is known of one file.
#[derive(Debug, Serialize)]
pub struct Described {
    /// As it was named.
    pub path: String,
    /// What it is: `llvm-raw-profile`; `unknown` where nothing tells.
    pub kind: &'static str,
    /// Bytes.
    pub size: u64,
    /// What its kind has: versions, identity, counts.
    #[serde(flatten)]
    pub facts: Map<String, Value>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

impl Described {
    /// A file of which nothing is known yet.
    pub fn new(path: &str, size: u64) -> Self {
        Described {
            path: path.to_owned(),
            kind: "unknown",
            size,
            facts: Map::new(),
            findings: Vec::new(),
        }
    }

    /// Adds a fact.
    pub fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.insert(name.to_owned(), value.into());
    }
}

/// Runs the command.
pub fn inspect(global: &Global, args: &Inspect) -> Result<Exit, Failure> {
    let input = input::find(&args.paths)?;
    let mut described = Vec::new();
    let mut buffer = Buffer::default();
    if input.stdin {
        described.push(match buffer.read_stdin() {
            Ok(bytes) => describe::bytes("-", bytes),
            Err(finding) => unread("-", 0, finding),
        });
    }
    for source in &input.files {
        described.push(file(source, &mut buffer));
    }
    let all = described.len();
    let wrong = |one: &&Described| one.findings.iter().any(|finding| finding.kind.is_loss());
    let wrong = described.iter().filter(wrong).count();
    match args.format {
        TextOrJson::Json => {
            #[derive(Serialize)]
            struct All<'a> {
                files: &'a [Described],
                findings: &'a [Finding],
            }
            let all = All {
                files: &described,
                findings: &input.findings,
            };
            let json = serde_json::to_string_pretty(&all)
                .map_err(|error| Failure::new(Exit::Fault, error))?;
            print::out(format_args!("{json}\n"))?;
        }
        TextOrJson::Text => {
            for one in &described {
                print::out(text(one))?;
            }
            list(&input.findings, global.quiet);
        }
    }
    let unopened = input.findings.iter().any(|finding| finding.kind.is_loss());
    match (all - wrong, wrong) {
        (0, 0) => Err(Failure::new(Exit::Nothing, "there is no file in the input")),
        (0, _) => Err(Failure::new(
            Exit::Nothing,
            format!("no sound file among {}", crate::ui::count(all, "file")),
        )),
        (_, 0) if !unopened => Ok(Exit::Fine),
        _ => Err(Failure::new(
            Exit::Incomplete,
            format!(
                "something is wrong with {wrong} of {}",
                crate::ui::count(all, "file")
            ),
        )),
    }
}

fn file(source: &Source, buffer: &mut Buffer) -> Described {
    let path = source.path.display().to_string();
    match llvm::program(source) {
        Ok(Some(described)) => return described,
        Ok(None) => {}
        Err(finding) => return unread(&path, source.size, finding),
    }
    match buffer.read(&source.path) {
        Ok(bytes) => describe::bytes(&path, bytes),
        Err(finding) => unread(&path, source.size, finding),
    }
}

fn unread(path: &str, size: u64, finding: Finding) -> Described {
    let mut described = Described::new(path, size);
    described.findings.push(finding);
    described
}

/// For people: a line with what it is, one for each fact, one for each finding.
fn text(one: &Described) -> String {
    let path = print::visible(&one.path);
    let mut text = format!("{path}: {}, {} bytes\n", one.kind, one.size);
    let width = one.facts.keys().map(String::len).max().unwrap_or(0);
    for (name, value) in &one.facts {
        let label = name.replace('_', " ");
        match value {
            Value::Array(values) if values.len() > 1 => {
                let mut label = label.as_str();
                for value in values {
                    text.push_str(&format!("  {label:width$}  {}\n", plain(value)));
                    label = "";
                }
            }
            value => text.push_str(&format!("  {label:width$}  {}\n", plain(value))),
        }
    }
    for finding in &one.findings {
        let mark = if finding.kind.is_loss() { "!" } else { "·" };
        let finding = print::visible(&without_path(finding));
        text.push_str(&format!("  {mark} {finding}\n"));
    }
    text
}

fn without_path(finding: &Finding) -> String {
    let text = finding.to_string();
    match text.strip_prefix(&format!("{}: ", finding.path)) {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => print::visible(text),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields =
                fields.map(|(name, value)| format!("{} {}", name.replace('_', " "), plain(value)));
            fields.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// What no format fits.
pub fn unknown(path: &str) -> Finding {
    let found = "no format of coverage that podcov knows";
    Finding::new(Kind::Unknown, path, found)
        .expected("a profile, counters, meta-data, a program, a report or a podcov file")
}
