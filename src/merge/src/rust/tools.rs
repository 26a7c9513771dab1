//! `llvm-profdata merge` and `llvm-cov export`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use podcov_process::{Error as RunError, Run};
use podcov_profile::go::lines::lines_within;
use podcov_profile::llvm::demangle::{common_name, crate_of, demangle};
use podcov_profile::llvm::export::{Export, groups, lines};
use podcov_profile::model::{File, Function, Metrics};
use podcov_profile::reach::Reach;
use podcov_profile::{Identity, elf};

use super::{MERGE, Merged, counted, keep_list, keep_sources, program, program_and_profile};
use crate::evidence::{Build, Piece, refuse};
use crate::tools::Llvm;
use crate::{Error, Work};

pub(super) fn merge(work: &mut Work<'_>, build: &Build, llvm: &Llvm) -> Result<Merged, Error> {
    let program = program(work, build);
    check_program(&program, &build.identity)?;
    let profiles = merge_profiles(work, llvm, &build.pieces)?;
    let common = program_and_profile(work, &program, profiles);
    let all = export(work, llvm, &common, &["--summary-only"])?;
    let files = all.data.iter().flat_map(|data| &data.files);
    let counted = counted(work, build, files.map(|file| file.filename.as_str()));
    let mut files = Vec::new();
    if !counted.is_empty() {
        keep_sources(work, &counted)?;
        let exported = export(work, llvm, &common, &["@sources.rsp"])?;
        files = model(
            &exported,
            &counted,
            &work.bundle.binaries[build.binary].name,
        );
    }
    Ok(Merged {
        profiles,
        counted,
        files,
        reach: Reach::new(),
    })
}

/// A program without its coverage mapping, or one of another build, would
/// silently count as nothing.
fn check_program(path: &Path, identity: &Identity) -> Result<(), Error> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let wrong = |what: String| Error::Program {
        path: path.to_owned(),
        what,
    };
    let program = elf::read(&bytes).map_err(|error| wrong(error.to_string()))?;
    if !program.llvm_mapping {
        return Err(wrong(
            "it holds no coverage mapping (sections __llvm_covmap and __llvm_covfun): \
             build it with `podcov build`, and do not remove sections from it"
                .to_owned(),
        ));
    }
    if let (Identity::BuildId(_), Some(found)) = (identity, &program.build_id)
        && found != identity
    {
        return Err(wrong(format!(
            "it is the build {found}, the bundle says {identity}"
        )));
    }
    Ok(())
}

/// Merges the profiles that can be, refuses the others, and gives how many
/// were merged into `merged.profdata`.
fn merge_profiles(work: &mut Work<'_>, llvm: &Llvm, pieces: &[Piece]) -> Result<usize, Error> {
    if pieces.is_empty() {
        return Ok(0);
    }
    let every: Vec<&Piece> = pieces.iter().collect();
    let mut good = every.clone();
    let first = try_merge(work, llvm, &every)?;
    if let Err(error) = first {
        let mut bad = Vec::new();
        find_bad(work, llvm, &every, error, &mut bad)?;
        for (piece, reason) in &bad {
            refuse(work.ledger, work.quarantine, piece, reason)?;
        }
        good.retain(|piece| !bad.iter().any(|(bad, _)| bad.path == piece.path));
        if good.is_empty() {
            return Ok(0);
        }
        // Each is good alone; if they are not together, no choice among them
        // would be an honest one.
        try_merge(work, llvm, &good)??;
    }
    Ok(good.len())
}

type Tried = Result<(), RunError>;

/// Merges profiles. The inner error is the tool's word on them.
fn try_merge(work: &mut Work<'_>, llvm: &Llvm, pieces: &[&Piece]) -> Result<Tried, Error> {
    keep_list(work, pieces)?;
    let run = Run::new(&llvm.profdata)
        .args(MERGE)
        .current_dir(&work.out)
        .cancel(work.cancel);
    match run.run() {
        Ok(done) => {
            warnings(work, "llvm-profdata", &done.stderr);
            Ok(Ok(()))
        }
        Err(error @ (RunError::Failed { .. } | RunError::Timeout { .. })) => Ok(Err(error)),
        Err(error) => Err(error.into()),
    }
}

/// Finds the profiles that the tool refuses, by halves.
fn find_bad<'p>(
    work: &mut Work<'_>,
    llvm: &Llvm,
    pieces: &[&'p Piece],
    error: RunError,
    bad: &mut Vec<(&'p Piece, String)>,
) -> Result<(), Error> {
    if let [piece] = pieces {
        bad.push((piece, reason(&error)));
        return Ok(());
    }
    let (left, right) = pieces.split_at(pieces.len() / 2);
    for half in [left, right] {
        if let Err(error) = try_merge(work, llvm, half)? {
            find_bad(work, llvm, half, error, bad)?;
        }
    }
    Ok(())
}

/// What a tool said was wrong, without the paths of this machine.
fn reason(error: &RunError) -> String {
    let (ended, tail) = match error {
        RunError::Failed { ended, tail, .. } => (ended.as_str(), tail),
        RunError::Timeout { tail, .. } => ("took too long", tail),
        other => return other.to_string(),
    };
    let said = tail.iter().find_map(|line| {
        let line = line
            .strip_prefix("error: ")
            .or_else(|| line.strip_prefix("warning: "))?;
        // Behind the path comes what is wrong; the last line only counts.
        line.split_once(": ").map(|(_, what)| what)
    });
    match said {
        Some(said) => format!("llvm-profdata refuses it: {said}"),
        None => format!("llvm-profdata {ended} over it"),
    }
}

/// What tools warn of changes the numbers, so it is a finding.
fn warnings(work: &mut Work<'_>, tool: &str, stderr: &[u8]) {
    let component = work.bundle.component.clone();
    for line in String::from_utf8_lossy(stderr)
        .lines()
        .filter(|line| !line.trim().is_empty())
    {
        work.find(tool, format!("{component}: {}", line.trim()));
    }
}

fn export(
    work: &mut Work<'_>,
    llvm: &Llvm,
    common: &[String],
    more: &[&str],
) -> Result<Export, Error> {
    let run = Run::new(&llvm.cov)
        .args([
            "export",
            "--format=text",
            "--skip-expansions",
            "--skip-branches",
        ])
        .args(common)
        .args(more)
        .current_dir(&work.out)
        .cancel(work.cancel);
    let done = run.run()?;
    warnings(work, "llvm-cov", &done.stderr);
    let wrong = |what: String| Error::Output {
        tool: "llvm-cov export".to_owned(),
        what,
    };
    let export: Export =
        serde_json::from_slice(&done.stdout).map_err(|error| wrong(error.to_string()))?;
    export.check().map_err(wrong)?;
    Ok(export)
}

/// The files of an export, under the names of the report.
fn model(export: &Export, counted: &BTreeMap<String, String>, program: &str) -> Vec<File> {
    let mut files = Vec::new();
    for data in &export.data {
        let mut functions_of = groups(&data.functions);
        let by_name: BTreeMap<&str, _> = data
            .files
            .iter()
            .map(|file| (file.filename.as_str(), file))
            .collect();
        for (path, filename) in counted {
            let Some(file) = by_name.get(filename.as_str()) else {
                continue;
            };
            let lines = lines(&file.segments);
            let groups = functions_of.remove(filename.as_str()).unwrap_or_default();
            let mut crates: BTreeMap<String, usize> = BTreeMap::new();
            let mut functions = Vec::new();
            for group in groups.into_values() {
                let names: Vec<String> = group.names.iter().map(|name| demangle(name)).collect();
                if let Some(krate) = names.first().and_then(|name| crate_of(name)) {
                    *crates.entry(krate.to_owned()).or_default() += 1;
                }
                functions.push(Function {
                    name: common_name(&names),
                    start: group.start,
                    end: group.end,
                    count: group.count,
                    lines: lines_within(&lines, group.start, group.end),
                    ..Function::default()
                });
            }
            let most = crates.into_iter().max_by_key(|(_, number)| *number);
            files.push(File {
                path: path.clone(),
                package: most.map_or_else(|| program.replace('-', "_"), |(name, _)| name),
                metrics: Metrics {
                    lines: file.summary.lines.into(),
                    functions: file.summary.functions.into(),
                    regions: file.summary.regions.into(),
                    instantiations: file.summary.instantiations.into(),
                    ..Metrics::default()
                },
                lines,
                functions,
                branches: Vec::new(),
            });
        }
    }
    files
}
