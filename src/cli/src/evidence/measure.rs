//! From counts to what was covered: the one value that summary, show, diff and
//! the exports of lines read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use podcov_profile::combine::combine;
use podcov_profile::finding::{Finding, Kind};
use podcov_profile::go::lines::{self, functions};
use podcov_profile::go::report::Report;
use podcov_profile::go::text;
use podcov_profile::llvm::coverage::{Coverage as LlvmCoverage, Evidence, Options};
use podcov_profile::llvm::finding::Finding as LlvmFinding;
use podcov_profile::llvm::mapping::{Mapping, Paths};
use podcov_profile::llvm::model::Detail;
use podcov_profile::llvm::profile::Profile;
use podcov_profile::merge::ProgramCounts;
use podcov_profile::model::{Binary, Component, Coverage, File, SCHEMA};
use podcov_profile::names::{Kind as ComponentKind, Language};
use podcov_profile::neutral::LineCoverage;
use podcov_profile::store::{MetaShape, Program};
use podcov_profile::{Identity, Limits};

use super::gather::{Gathered, Plan};
use super::names::Names;
use super::objects::{Files, Objects};
use super::reports;
use crate::args::{Reading, Selection};
use crate::exit::Failure;

/// Of a program with very many functions that do not fit, so many are told.
const FUNCTIONS_TOLD: usize = 20;

/// What was covered.
pub struct Measured {
    /// By program, from profiles and counters.
    pub coverage: Coverage,
    /// From reports of lines.
    pub reports: LineCoverage,
    /// Blocks of Go programs.
    pub go: Vec<text::Profile>,
    /// What was set aside, ordered.
    pub findings: Vec<Finding>,
    /// How many files count.
    pub used: u64,
}

/// Sees the joined functions of all programs of LLVM.
pub type Look<'l> = dyn FnMut(&LlvmCoverage) -> Result<(), Failure> + 'l;

/// What a caller wants of programs of LLVM.
pub enum Wanted<'l> {
    /// The files of a report.
    Files(Detail),
    /// Their functions, and no files.
    Functions(&'l mut Look<'l>),
    /// Their functions where there is nothing but LLVM's in the input, else
    /// files.
    FunctionsAlone(&'l mut Look<'l>),
}

/// Reads what is named and measures it.
pub fn measured(
    paths: &[PathBuf],
    reading: &Reading,
    selection: &Selection,
    wanted_of_llvm: Wanted<'_>,
) -> Result<Measured, Failure> {
    let names = Names::new(selection)?;
    let files = Files::open(&reading.objects)?;
    let mut findings = Vec::new();
    let objects = files.read(&mut findings);
    let wanted = objects.wanted(&mut findings);
    let mut plan = Plan::new(paths, reading, wanted.clone())?;
    plan.findings.append(&mut findings);
    // Counters of Go name their build, too, and objects say nothing of them.
    if let Some(wanted) = &mut plan.known.wanted {
        let metas = plan.known.metas.keys();
        wanted.extend(metas.map(|hash| Identity::Covmeta(hash.clone())));
    }
    let gathered = plan.gather();
    let mut measured = Measured {
        coverage: Coverage {
            schema: SCHEMA,
            ..Coverage::default()
        },
        reports: LineCoverage::default(),
        go: Vec::new(),
        findings: gathered.findings.clone(),
        used: gathered.used,
    };
    let reports = measured.programs(gathered, &objects, &names, wanted_of_llvm)?;
    if measured.coverage.components.is_empty() && reports == 0 {
        measured.used = 0;
    }
    measured.findings.sort();
    measured.findings.dedup();
    Ok(measured)
}

impl Measured {
    /// The source files of all programs. A source that several programs were
    /// built from is one file; builds of different sources have each its own.
    pub fn files(&self) -> Vec<File> {
        let components = self.coverage.components.iter();
        let binaries = components.flat_map(|component| &component.binaries);
        let of_binaries: Vec<_> = binaries.map(|binary| &binary.files[..]).collect();
        let combined = combine(&of_binaries).into_iter();
        combined.map(|combined| combined.file).collect()
    }

    /// Everything, by line.
    pub fn lines(&self) -> LineCoverage {
        let mut lines = LineCoverage::of(&self.coverage, &BTreeMap::new());
        lines.absorb(&self.reports);
        lines
    }

    /// Takes all in; gives how many reports were read.
    fn programs(
        &mut self,
        gathered: Gathered,
        objects: &Objects<'_>,
        names: &Names,
        wanted: Wanted<'_>,
    ) -> Result<u64, Failure> {
        let Gathered {
            counted, reports, ..
        } = gathered;
        let is_llvm = |counts: &ProgramCounts| matches!(counts, ProgramCounts::Llvm(_));
        let is_alone = reports.is_empty() && counted.iter().all(|one| is_llvm(&one.counts));
        let wanted = match wanted {
            Wanted::FunctionsAlone(look) if is_alone => Wanted::Functions(look),
            Wanted::FunctionsAlone(_) => Wanted::Files(Detail::Regions),
            other => other,
        };
        let mut llvm = Vec::new();
        let mut components: BTreeMap<(Language, String), Vec<Binary>> = BTreeMap::new();
        for one in counted {
            match one.counts {
                ProgramCounts::Llvm(profile) => llvm.push((one.program, one.pieces, profile)),
                ProgramCounts::Go(shape, values) => {
                    if let Some((name, binary)) = self.go(&shape, &values, one.pieces, names) {
                        components
                            .entry((Language::Go, name))
                            .or_default()
                            .push(binary);
                    }
                }
                ProgramCounts::GoText(profile) => {
                    let id = Identity::GoBuildId(text_id(&one.program));
                    let files = go_files(&profile, None, names);
                    let binary = binary("text profile", id, one.pieces, files);
                    let key = (Language::Go, "text profile".to_owned());
                    components.entry(key).or_default().push(binary);
                    self.go.push(renamed(profile, names));
                }
            }
        }
        if !llvm.is_empty() || !objects.objects.is_empty() {
            for (name, binary) in self.llvm(llvm, objects, names, wanted)? {
                components
                    .entry((Language::Rust, name))
                    .or_default()
                    .push(binary);
            }
        }
        for ((language, name), binaries) in components {
            let pieces = binaries.iter().map(|binary| binary.profiles).sum();
            self.coverage.components.push(Component {
                name,
                language,
                kind: ComponentKind::Operator,
                binaries,
                incarnations_collected: pieces,
                incarnations_lost: 0,
            });
        }
        let mut read_reports = 0;
        for (path, bytes) in reports {
            match reports::read(&path, &bytes, names) {
                Err(finding) => self.findings.push(finding),
                Ok(read) => {
                    self.used += 1;
                    read_reports += 1;
                    self.findings.extend(read.findings);
                    self.reports.absorb(&read.lines);
                    self.coverage.components.extend(read.components);
                }
            }
        }
        self.coverage.components.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(read_reports)
    }

    fn go(
        &mut self,
        shape: &MetaShape,
        values: &[u64],
        pieces: u64,
        names: &Names,
    ) -> Option<(String, Binary)> {
        let sum = shape.sum(values);
        let id = Identity::Covmeta(shape.meta.hash.clone());
        let text = |why: String| Finding::new(Kind::Malformed, id.to_string(), why);
        let profile = Report::new([&sum])
            .map_err(|clash| text(clash.to_string()))
            .and_then(|report| report.to_profile().map_err(|why| text(why.to_string())));
        let profile = match profile {
            Ok(profile) => profile,
            Err(finding) => {
                self.findings.push(finding);
                return None;
            }
        };
        let mut packages = shape.meta.packages();
        let main = packages.clone().find(|package| package.name() == "main");
        let package = main.or_else(|| packages.next());
        let name = package.map_or_else(|| shape.meta.hash.clone(), |one| one.path().to_owned());
        let files = go_files(&profile, Some(shape), names);
        self.go.push(renamed(profile, names));
        Some((name.clone(), binary(&name, id, pieces, files)))
    }

    fn llvm(
        &mut self,
        profiles: Vec<(Program, u64, Profile)>,
        objects: &Objects<'_>,
        names: &Names,
        wanted: Wanted<'_>,
    ) -> Result<Vec<(String, Binary)>, Failure> {
        let rename = |name: &str| names.shown(name);
        let mut mappings = Vec::new();
        for (path, object) in &objects.objects {
            let paths = Paths {
                remap: (!names.is_plain()).then_some(&rename),
                ..Paths::default()
            };
            match Mapping::read(object, paths, &Limits::default()) {
                Ok(mapping) => mappings.push((path.as_str(), mapping)),
                Err(error) => self.findings.push(Finding::parse(path, &error)),
            }
        }
        let groups = self.pair(profiles, &mappings);
        let keep = |name: &str| names.keeps(name);
        let options = Options { keep: Some(&keep) };
        let mut evidence = Vec::new();
        let mut parts: Vec<Vec<&Mapping<'_>>> = Vec::new();
        for group in &groups {
            parts.push(
                group
                    .objects
                    .iter()
                    .map(|index| &mappings[*index].1)
                    .collect(),
            );
        }
        for (group, mappings) in groups.iter().zip(&parts) {
            evidence.push(Evidence {
                mappings,
                profile: &group.profile,
            });
        }
        let mut binaries = Vec::new();
        let detail = match wanted {
            Wanted::Files(detail) => Some(detail),
            Wanted::Functions(look) | Wanted::FunctionsAlone(look) => {
                if self.used > 0 && !evidence.is_empty() {
                    let path = mappings.first().map_or("", |(path, _)| path);
                    match LlvmCoverage::new(&evidence, &options) {
                        Ok(all) => {
                            self.findings.extend(told(path, all.findings()));
                            look(&all)?;
                        }
                        Err(error) => self.findings.push(Finding::parse(path, &error)),
                    }
                }
                None
            }
        };
        for (group, evidence) in groups.iter().zip(&evidence) {
            let first = group.objects.first().and_then(|index| mappings.get(*index));
            let Some((path, mapping)) = first else {
                continue;
            };
            let name = path.rsplit('/').next().unwrap_or(path).to_owned();
            let unknown = || Identity::BuildId("00".to_owned());
            let id = mapping.identity().cloned().unwrap_or_else(unknown);
            let Some(detail) = detail else {
                binaries.push((name.clone(), binary(&name, id, group.pieces, Vec::new())));
                continue;
            };
            let coverage = match LlvmCoverage::new(&[*evidence], &options) {
                Ok(coverage) => coverage,
                Err(error) => {
                    self.findings.push(Finding::parse(*path, &error));
                    continue;
                }
            };
            self.findings.extend(told(path, coverage.findings()));
            let kept: Vec<(u32, String)> = coverage
                .kept_files()
                .map(|(file, name)| (file, name.to_owned()))
                .collect();
            let mut files: Vec<File> = kept
                .iter()
                .map(|(file, path)| coverage.model(*file, path, &name, detail))
                .collect();
            files.sort_by(|a, b| a.path.cmp(&b.path));
            binaries.push((name.clone(), binary(&name, id, group.pieces, files)));
        }
        Ok(binaries)
    }

    /// Profiles with the programs they are of. What has no other is told.
    fn pair(
        &mut self,
        profiles: Vec<(Program, u64, Profile)>,
        mappings: &[(&str, Mapping<'_>)],
    ) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for (program, pieces, profile) in profiles {
            let fits = |mapping: &Mapping<'_>| match (&program, mapping.identity()) {
                (Program::Llvm(ids), Some(id)) => ids.contains(id),
                (Program::Llvm(_), None) | (_, _) => true,
            };
            let objects: BTreeSet<usize> = (0..mappings.len())
                .filter(|index| fits(&mappings[*index].1))
                .collect();
            if objects.is_empty() {
                let found = format!(
                    "{} of this build",
                    crate::ui::count(pieces as usize, "profile")
                );
                let finding = Finding::new(Kind::NoMapping, program.to_string(), found);
                self.findings
                    .push(finding.expected("its program as --object"));
                continue;
            }
            let mut whole = Group {
                objects,
                pieces,
                profile,
            };
            // Programs that share a profile are seen together.
            let (joined, others) = groups
                .into_iter()
                .partition(|group: &Group| !group.objects.is_disjoint(&whole.objects));
            groups = others;
            for group in joined {
                whole.objects.extend(group.objects);
                whole.pieces += group.pieces;
                for conflict in whole.profile.absorb(group.profile) {
                    let name = conflict.function.name;
                    let text = format!("function {name:016x} in two shapes");
                    let path = program.to_string();
                    self.findings.push(Finding::new(Kind::Shape, path, text));
                }
            }
            groups.push(whole);
        }
        for (index, (path, mapping)) in mappings.iter().enumerate() {
            if groups.iter().any(|group| group.objects.contains(&index)) {
                continue;
            }
            let id = mapping.identity().map(ToString::to_string);
            let text = "no profile of this program";
            let finding = Finding::new(Kind::NoProfile, *path, text);
            self.findings.push(match id {
                Some(id) => finding.expected(format!("profiles of {id}")),
                None => finding,
            });
        }
        groups.sort_by(|a, b| a.objects.cmp(&b.objects));
        groups
    }
}

/// Programs that share counts.
struct Group {
    objects: BTreeSet<usize>,
    pieces: u64,
    profile: Profile,
}

fn told<'f>(path: &'f str, findings: &'f [LlvmFinding]) -> impl Iterator<Item = Finding> + 'f {
    let more = findings.len().saturating_sub(FUNCTIONS_TOLD);
    let more = (more > 0).then(|| {
        let text = format!("and {}", crate::ui::count(more, "more function"));
        Finding::new(Kind::Function, path, text)
    });
    let shown = findings.iter().take(FUNCTIONS_TOLD).map(move |finding| {
        let kind = match finding {
            // The count is there, and no line is lost.
            LlvmFinding::Negative { .. } => Kind::Note,
            _ => Kind::Function,
        };
        Finding::new(kind, path, finding.to_string())
    });
    shown.chain(more)
}

fn text_id(program: &Program) -> String {
    match program {
        Program::GoText(hash) => hash.clone(),
        _ => "00".to_owned(),
    }
}

fn binary(name: &str, identity: Identity, profiles: u64, files: Vec<File>) -> Binary {
    Binary {
        name: name.to_owned(),
        identity,
        profiles,
        files,
        reach: Default::default(),
    }
}

fn renamed(profile: text::Profile, names: &Names) -> text::Profile {
    let mut out = text::Profile::new(profile.mode);
    for (file, blocks) in profile.files {
        let shown = names.shown(&file);
        if names.keeps(&shown) {
            out.files.insert(shown, blocks);
        }
    }
    out
}

/// Files of Go, with their blocks as regions.
fn go_files(profile: &text::Profile, shape: Option<&MetaShape>, names: &Names) -> Vec<File> {
    let placed = shape
        .map(|shape| functions(&shape.meta))
        .unwrap_or_default();
    let mut packages: BTreeMap<&str, &str> = BTreeMap::new();
    for package in shape.into_iter().flat_map(|shape| shape.meta.packages()) {
        for function in package.functions() {
            packages.insert(function.file(), package.path());
        }
    }
    let mut files = Vec::new();
    for (file, blocks) in &profile.files {
        let shown = names.shown(file);
        if !names.keeps(&shown) {
            continue;
        }
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let package = packages.get(file.as_str()).copied().unwrap_or(folder);
        let placed = placed.get(file.as_str());
        files.push(lines::file(
            shown,
            package.to_owned(),
            blocks,
            placed.map_or(&[], Vec::as_slice),
        ));
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}
