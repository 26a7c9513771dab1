//! Rust: `llvm-profdata merge` and `llvm-cov export`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use podcov_process::{Error as RunError, Run};
use podcov_profile::go::lines::lines_within;
use podcov_profile::ledger::Fate;
use podcov_profile::llvm::demangle::{common_name, crate_of, demangle};
use podcov_profile::llvm::export::{Export, groups, lines};
use podcov_profile::model::{Binary, File, Function, Metrics};
use podcov_profile::reach::Reach;
use podcov_profile::{Identity, elf};

use crate::evidence::{Build, Piece, refuse};
use crate::tools::{Llvm, command_line, ensure_llvm};
use crate::{Error, Work, write_atomic};

/// LLVM of the oldest raw format that can be read, for a bundle that does not
/// say which LLVM made it.
const OLDEST: u32 = 14;

pub(crate) fn merge(work: &mut Work<'_>, build: &Build) -> Result<Binary, Error> {
    let binary = &work.bundle.binaries[build.binary];
    let program = work.bundle_dir.join(&binary.path);
    check_program(&program, &build.identity)?;
    let required = work.bundle.llvm_major.unwrap_or(OLDEST);
    let llvm = ensure_llvm(required, work.install_tools, work.progress, work.cancel)?;
    let mut commands = Vec::new();
    let good = merge_profiles(work, &llvm, &build.pieces, &mut commands)?;
    let program = from(&work.out, &program);
    let profile = match good {
        0 => vec!["--empty-profile".to_owned()],
        _ => vec!["--instr-profile=merged.profdata".to_owned()],
    };
    let common: Vec<String> = [program.display().to_string()]
        .into_iter()
        .chain(profile)
        .collect();

    let all = export(work, &llvm, &common, &["--summary-only"])?;
    let mut counted = BTreeMap::new();
    for file in all.data.iter().flat_map(|data| &data.files) {
        if let Some(name) = work.filter.counted(&work.bundle.sources, &file.filename)
            && let Some(other) = counted.insert(name.clone(), file.filename.clone())
        {
            let text = format!(
                "{}: `{other}` and `{}` are both `{name}`; only one counts",
                work.bundle.component, file.filename
            );
            work.find("source-twice", text);
        }
    }
    let files = if counted.is_empty() {
        let text = format!(
            "{} ({}): none of the sources that LLVM's coverage mapping names is one of the bundle's",
            work.bundle.component, build.identity
        );
        work.find("no-sources", text);
        Vec::new()
    } else {
        // By response file: a command line has no room for thousands of paths.
        let quoted =
            |path: &String| format!("\"{}\"\n", path.replace('\\', r"\\").replace('"', "\\\""));
        let sources: String = counted.values().map(quoted).collect();
        write_atomic(
            &work.out.join("sources.rsp"),
            format!("--sources\n{sources}").as_bytes(),
        )?;
        let report: Vec<String> = ["report"]
            .into_iter()
            .chain(common.iter().map(String::as_str))
            .map(String::from)
            .collect();
        commands.push(command_line(&llvm.cov, &report) + " @sources.rsp");
        let exported = export(work, &llvm, &common, &["@sources.rsp"])?;
        model(&exported, &counted, &binary.name)
    };
    work.keep_commands(&commands)?;
    Ok(Binary {
        name: binary.name.clone(),
        identity: build.identity.clone(),
        profiles: good as u64,
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
fn merge_profiles(
    work: &mut Work<'_>,
    llvm: &Llvm,
    pieces: &[Piece],
    commands: &mut Vec<String>,
) -> Result<usize, Error> {
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
            refuse(work.ledger, work.quarantine, piece, Fate::Rejected, reason)?;
        }
        good.retain(|piece| !bad.iter().any(|(bad, _)| bad.path == piece.path));
        if good.is_empty() {
            return Ok(0);
        }
        // Each is good alone; if they are not together, no choice among them
        // would be an honest one.
        try_merge(work, llvm, &good)??;
    }
    commands.push(command_line(&llvm.profdata, &MERGE));
    Ok(good.len())
}

const MERGE: [&str; 6] = [
    "merge",
    "--sparse",
    "-f",
    "profiles.list",
    "-o",
    "merged.profdata",
];

type Merged = Result<(), RunError>;

/// Merges profiles. The inner error is the tool's word on them.
fn try_merge(work: &mut Work<'_>, llvm: &Llvm, pieces: &[&Piece]) -> Result<Merged, Error> {
    // A line is `weight,path`, so that a comma in a path does no harm.
    let line = |piece: &&Piece| format!("1,{}\n", from(&work.out, &piece.path).display());
    let list: String = pieces.iter().map(line).collect();
    write_atomic(&work.out.join("profiles.list"), list.as_bytes())?;
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

/// A path as seen from a folder, so that what is kept holds no name of this
/// machine's folders.
pub(crate) fn from(dir: &Path, path: &Path) -> PathBuf {
    let absolute = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path));
    let (Ok(dir), Ok(to)) = (absolute(dir), absolute(path)) else {
        return path.to_owned();
    };
    let shared = dir
        .components()
        .zip(to.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = dir.components().skip(shared).map(|_| Path::new(".."));
    up.chain(
        to.components()
            .skip(shared)
            .map(|part| Path::new(part.as_os_str())),
    )
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_a_folder() {
        assert_eq!(
            from(
                Path::new("/x/run/coverage/a"),
                Path::new("/x/run/evidence/b")
            ),
            Path::new("../../evidence/b")
        );
    }
}
