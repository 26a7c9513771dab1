//! Programs and profiles of LLVM.

use std::collections::BTreeSet;

use podcov_profile::finding::{Finding, Kind};
use podcov_profile::llvm::mapping::{Mapping, Paths};
use podcov_profile::llvm::profile::{Counts, Profile};
use podcov_profile::llvm::{object, raw};
use podcov_profile::{Limits, elf};
use serde_json::{Value, json};

use super::Described;
use crate::evidence::input::Source;
use crate::evidence::objects::{self, is_program};
use crate::evidence::read::open;

/// Numbers of counters.
#[derive(Default)]
pub struct Counters {
    counters: u64,
    reached: u64,
    total: u64,
    max: u64,
}

impl Counters {
    /// Takes one in.
    pub fn add(&mut self, count: u64) {
        self.counters += 1;
        self.reached += u64::from(count > 0);
        self.total = self.total.saturating_add(count);
        self.max = self.max.max(count);
    }

    /// As facts.
    pub fn tell(&self, described: &mut Described) {
        described.fact("counters", self.counters);
        described.fact("counters_reached", self.reached);
        described.fact("total_count", self.total);
        described.fact("largest_count", self.max);
    }
}

/// The names of variant flags.
pub fn variants(flags: u64) -> Vec<&'static str> {
    let names = [
        (55, "loop entries"),
        (56, "IR"),
        (57, "context-sensitive"),
        (58, "entry first"),
        (59, "correlated"),
        (60, "byte coverage"),
        (61, "function entry only"),
        (62, "memory profile"),
        (63, "temporal"),
    ];
    let set = names.iter().filter(|(bit, _)| flags >> bit & 1 == 1);
    set.map(|(_, name)| *name).collect()
}

/// A program, library, archive or mapping file; `None` where it is none of it.
pub fn program(source: &Source) -> Result<Option<Described>, Finding> {
    let path = source.path.display().to_string();
    let failed = |error: std::io::Error| Finding::new(Kind::Unreadable, &path, error.to_string());
    let (file, size) = open(&source.path).map_err(failed)?;
    if !is_program(&file).map_err(failed)? {
        return Ok(None);
    }
    let mut described = Described::new(&path, size);
    described.kind = "program";
    let cache = ::object::ReadCache::new(file);
    let limits = Limits::default();
    // What kind of program it is matters more than that it has no mapping.
    match objects::program(&source.path) {
        Ok(program) => facts(&program, &mut described),
        Err(text) => {
            described.fact("program", text);
        }
    }
    let objects = match object::read(&cache, &path, None, &limits) {
        Ok(objects) => objects,
        Err(error) => {
            let mut finding = Finding::parse(&path, &error);
            let is_go = described.facts.contains_key("go_coverage");
            if error.kind == podcov_profile::error::Kind::Unsupported {
                finding.kind = if is_go { Kind::Note } else { Kind::NoMapping };
            }
            if !(is_go && finding.kind == Kind::Note) {
                described.findings.push(finding);
            }
            return Ok(Some(described));
        }
    };
    let mut mapped = Vec::new();
    for one in &objects {
        let sections = json!({
            "covmap_bytes": one.covmap.len(),
            "covfun_bytes": one.covfun.len(),
            "names_bytes": one.names.len(),
        });
        let name = one.member.clone().unwrap_or_default();
        match Mapping::read(one, Paths::default(), &limits) {
            Ok(mapping) => mapped.push(json!({
                "member": name,
                "identity": one.identity.as_ref().map(ToString::to_string),
                "functions": mapping.len(),
                "files": mapping.files().len(),
                "sections": sections,
            })),
            Err(error) => {
                described.findings.push(Finding::parse(&path, &error));
                mapped.push(json!({ "member": name, "sections": sections }));
            }
        }
    }
    described.fact("mapping", Value::Array(mapped));
    Ok(Some(described))
}

fn facts(program: &elf::Program, described: &mut Described) {
    described.fact("architecture", program.arch.as_str());
    for id in [&program.build_id, &program.go_build_id]
        .into_iter()
        .flatten()
    {
        described.fact("identity", id.to_string());
    }
    let language = match (program.llvm_mapping, program.go) {
        (true, _) => "llvm",
        (false, true) => "go",
        (false, false) => "unknown",
    };
    described.fact("language", language);
    described.fact("instrumented", program.is_instrumented());
    if program.go {
        described.fact("go_coverage", program.go_coverage);
    }
    if let Some(relocation) = program.llvm_relocation.filter(|_| program.llvm_counters) {
        described.fact("survives_kill", relocation);
    }
    if !program.is_instrumented() {
        let text = "a program that was built without coverage";
        let path = described.path.clone();
        described
            .findings
            .push(Finding::new(Kind::NoMapping, path, text));
    }
}

/// A raw profile.
pub fn raw_profile(bytes: &[u8], described: &mut Described) {
    described.kind = "llvm-raw-profile";
    let limits = Limits::default();
    let path = described.path.clone();
    let (mut number, mut functions) = (0u64, 0u64);
    let mut ids = BTreeSet::new();
    let mut counters = Counters::default();
    for part in raw::parts(bytes, &limits) {
        let part = match part {
            Ok(part) => part,
            Err(error) => {
                described.findings.push(Finding::parse(&path, &error));
                break;
            }
        };
        if number == 0 {
            described.fact("version", part.version());
            described.fact("variants", variants(part.variants()));
            described.fact("bits", if part.is_64_bit() { 64 } else { 32 });
            described.fact("endian", format!("{:?}", part.endian()).to_lowercase());
        }
        number += 1;
        functions += part.functions() as u64;
        ids.extend(part.build_ids().iter().map(ToString::to_string));
        part.counts(0..part.counters())
            .for_each(|count| counters.add(count));
        if let Err(error) = part.profile(&limits) {
            described.findings.push(Finding::parse(&path, &error));
        }
    }
    if number > 0 {
        described.fact("profiles", number);
        identity(&ids, described);
        described.fact("functions", functions);
        counters.tell(described);
    }
}

fn identity(ids: &BTreeSet<String>, described: &mut Described) {
    match ids.is_empty() {
        false => described.fact("identity", ids.iter().cloned().collect::<Vec<_>>()),
        true => described.fact("identity", "none: it was linked without a build id"),
    }
}

/// The counts of a profile.
pub fn profile(profile: &Profile, described: &mut Described) {
    described.fact("variants", variants(profile.variants));
    let ids = profile.binary_ids.iter().map(ToString::to_string).collect();
    identity(&ids, described);
    described.fact("functions", profile.functions.len());
    let ran = |counts: &&Counts| !counts.is_zero();
    described.fact(
        "functions_reached",
        profile.functions.values().filter(ran).count(),
    );
    let mut counters = Counters::default();
    let all = profile
        .functions
        .values()
        .flat_map(|counts| &counts.counters);
    all.for_each(|count| counters.add(*count));
    counters.tell(described);
}
