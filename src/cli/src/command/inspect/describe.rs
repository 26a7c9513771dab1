//! What bytes are and hold.

use std::collections::BTreeSet;

use podcov_profile::finding::{Finding, Kind};
use podcov_profile::go::counters::{CounterFile, Item, is_counters};
use podcov_profile::go::files::Name;
use podcov_profile::go::live::{Block, Live, is_live};
use podcov_profile::go::meta::{is_meta, read_meta};
use podcov_profile::go::text;
use podcov_profile::llvm::profile::ShapeConflict;
use podcov_profile::llvm::{indexed, raw, text as llvm_text};
use podcov_profile::store::{Store, is_store};
use podcov_profile::{Limits, ParseError};
use serde_json::{Value, json};

use super::llvm::{self, Counters};
use super::{Described, reports, unknown};
use crate::evidence::worker::empty;

/// Describes the file at `path` that holds `bytes`.
pub fn bytes(path: &str, bytes: &[u8]) -> Described {
    let mut described = Described::new(path, bytes.len() as u64);
    let one = &mut described;
    match () {
        () if bytes.is_empty() => {
            one.kind = "empty";
            one.findings.push(empty(path));
        }
        () if raw::is_raw(bytes) => llvm::raw_profile(bytes, one),
        () if indexed::is_indexed(bytes) => indexed_profile(bytes, one),
        () if is_meta(bytes) => meta(bytes, one),
        () if is_counters(bytes) => counters(bytes, one),
        () if is_live(bytes) => live(bytes, one),
        () if text::is_text(bytes) => go_text(bytes, one),
        () if is_store(bytes) => store(bytes, one),
        () if llvm_text::is_text(bytes) => llvm_text_profile(bytes, one),
        () if reports::describe(bytes, one) => {}
        () => one.findings.push(unknown(path)),
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    if Name::parse(name) == Some(Name::Leftover) {
        let text = "the process was stopped while it wrote this file";
        one.findings.push(Finding::new(Kind::Truncated, path, text));
    }
    described
}

fn wrong(error: &ParseError, one: &mut Described) {
    one.findings.push(Finding::parse(one.path.clone(), error));
}

fn indexed_profile(bytes: &[u8], one: &mut Described) {
    one.kind = "llvm-indexed-profile";
    let version = bytes.get(8..16).and_then(|bytes| bytes.try_into().ok());
    if let Some(version) = version.map(u64::from_le_bytes) {
        one.fact("version", version & 0xffff_ffff);
        one.fact("variants", llvm::variants(version));
    }
    match indexed::read(bytes, &Limits::default()) {
        Err(error) => wrong(&error, one),
        Ok(read) => {
            llvm::profile(&read.profile, one);
            shapes(&read.conflicts, one);
        }
    }
}

fn llvm_text_profile(bytes: &[u8], one: &mut Described) {
    one.kind = "llvm-text-profile";
    match llvm_text::read(bytes, &Limits::default()) {
        Err(error) => wrong(&error, one),
        Ok((profile, conflicts)) => {
            llvm::profile(&profile, one);
            shapes(&conflicts, one);
        }
    }
}

fn shapes(conflicts: &[ShapeConflict], one: &mut Described) {
    for conflict in conflicts {
        let text = format!(
            "function {:016x} in two shapes, of {:?} and {:?} counters",
            conflict.function.name, conflict.known, conflict.other
        );
        let path = one.path.clone();
        one.findings.push(Finding::new(Kind::Shape, path, text));
    }
}

fn meta(bytes: &[u8], one: &mut Described) {
    one.kind = "go-meta-data";
    let meta = match read_meta(bytes) {
        Ok(meta) => meta,
        Err(error) => return wrong(&error, one),
    };
    one.fact("version", 1);
    one.fact("identity", format!("covmeta:{}", meta.hash));
    one.fact("mode", meta.mode.word());
    one.fact("granularity", meta.granularity.word());
    one.fact("packages", meta.packages().len());
    one.fact("functions", meta.functions().len());
    one.fact("units", meta.units().len());
    let statements: u64 = meta
        .units()
        .iter()
        .map(|unit| u64::from(unit.statements))
        .sum();
    one.fact("statements", statements);
    let name = one.path.rsplit('/').next().unwrap_or_default();
    if let Some(Name::Meta { hash }) = Name::parse(name)
        && hash != meta.hash
    {
        let text = format!("meta-data of covmeta.{}", meta.hash);
        let finding = Finding::new(Kind::Malformed, one.path.clone(), text);
        one.findings
            .push(finding.expected(format!("those of covmeta.{hash}, as it is called")));
    }
}

fn counters(bytes: &[u8], one: &mut Described) {
    one.kind = "go-counters";
    let file = match CounterFile::parse(bytes) {
        Ok(file) => file,
        Err(error) => return wrong(&error, one),
    };
    one.fact("version", 1);
    one.fact("identity", format!("covmeta:{}", file.hash));
    one.fact("flavour", format!("{:?}", file.flavour).to_lowercase());
    one.fact("segments", file.segments);
    let (mut functions, mut counters) = (0u64, Counters::default());
    let (mut targets, mut arguments) = (BTreeSet::new(), 0);
    let visited = file.visit(|item| {
        match item {
            Item::Segment(segment) => {
                let origin = &segment.origin;
                let part = |part: &Option<String>| part.clone().unwrap_or_default();
                targets.insert(format!("{}/{}", part(&origin.os), part(&origin.arch)));
                arguments = arguments.max(origin.arguments);
            }
            Item::Function(entry) => {
                functions += 1;
                let counts = entry.counts.iter();
                counts.for_each(|count| counters.add(u64::from(*count)));
            }
        }
        Ok::<(), ParseError>(())
    });
    if let Err(error) = visited {
        return wrong(&error, one);
    }
    one.fact("target", targets.into_iter().collect::<Vec<_>>());
    if arguments > 0 {
        // What they are is not told: there may be secrets among them.
        one.fact("command_line", format!("{arguments} arguments"));
    }
    one.fact("functions", functions);
    counters.tell(one);
}

fn live(bytes: &[u8], one: &mut Described) {
    one.kind = "go-live-counters";
    match Live::parse(bytes) {
        Err(error) => wrong(&error, one),
        Ok(live) => {
            one.fact("version", 1);
            if let Some(identity) = live.identity() {
                one.fact("identity", identity.to_string());
            }
            match live.mode {
                Some(mode) => one.fact("mode", mode.word()),
                None => one.fact("state", "ended before all its packages were there"),
            }
            one.fact("toolchain", live.go_version);
            one.fact("process", live.pid);
            one.fact("started", live.started);
            let words: Vec<usize> = live.blocks.iter().map(Block::words).collect();
            one.fact("words", words);
            one.fact(
                "words_in_use",
                live.blocks.iter().map(Block::words_in_use).sum::<usize>(),
            );
        }
    }
}

fn go_text(bytes: &[u8], one: &mut Described) {
    one.kind = "go-text-profile";
    let profile = match text::Profile::parse(bytes) {
        Ok(profile) => profile,
        Err(error) => return wrong(&error, one),
    };
    one.fact(
        "identity",
        "none: a text profile does not say what it is of",
    );
    one.fact("mode", profile.mode.word());
    one.fact("files", profile.files.len());
    let blocks = || profile.files.values().flat_map(|blocks| blocks.values());
    let statements: u64 = blocks().map(|block| u64::from(block.statements)).sum();
    one.fact("statements", statements);
    let mut counters = Counters::default();
    blocks().for_each(|block| counters.add(block.count));
    counters.tell(one);
}

fn store(bytes: &[u8], one: &mut Described) {
    one.kind = "podcov";
    let version = bytes.get(8..12).and_then(|bytes| bytes.try_into().ok());
    if let Some(version) = version.map(u32::from_le_bytes) {
        one.fact("version", version);
    }
    let store = match Store::read(bytes, &Limits::default()) {
        Ok(store) => store,
        Err(error) => return wrong(&error, one),
    };
    one.fact("pieces_of_evidence", store.len());
    one.fact("distinct_counts", store.vectors());
    let (mut processes, mut runs) = (BTreeSet::new(), BTreeSet::new());
    let mut pieces = vec![0u64; store.shapes().len()];
    for piece in store.pieces() {
        processes.insert(piece.key.incarnation());
        runs.insert(piece.key.run);
        if let Some(pieces) = pieces.get_mut(piece.shape) {
            *pieces += 1;
        }
    }
    one.fact("incarnations", processes.len());
    runs.remove("");
    one.fact("runs", runs.into_iter().collect::<Vec<_>>());
    let programs = store.shapes().iter().zip(pieces).map(|(named, pieces)| {
        json!({
            "program": named.shape().program().to_string(),
            "slots": named.shape().slots(),
            "pieces": pieces,
        })
    });
    let programs: Vec<Value> = programs.collect();
    one.fact("programs", programs);
}
