//! Rust: profiles of LLVM, by podcov's engine or by LLVM's tools.

mod native;
mod phases;
mod tools;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use podcov_profile::model::{Binary, File};
use podcov_profile::reach::Reach;

use crate::evidence::{Build, Piece};
use crate::tools::{Llvm, command_line, ensure_llvm, find_llvm};
use crate::{Backend, Error, Work, write_atomic};

/// LLVM of the oldest raw format that can be read, for a bundle that does not
/// say which LLVM made it.
const OLDEST: u32 = 14;

const MERGE: [&str; 6] = [
    "merge",
    "--sparse",
    "-f",
    "profiles.list",
    "-o",
    "merged.profdata",
];

/// What a backend makes of a build.
struct Merged {
    /// How many files were merged into `merged.profdata`.
    profiles: usize,
    /// Name in a report and name in the mapping of each file that counts.
    counted: BTreeMap<String, String>,
    files: Vec<File>,
    reach: Reach,
}

pub(crate) fn merge(work: &mut Work<'_>, build: &Build) -> Result<Binary, Error> {
    let required = work.bundle.llvm_major.unwrap_or(OLDEST);
    let (llvm, merged) = match work.backend {
        Backend::Native => {
            // Only for the commands that give the same numbers by hand.
            let llvm = find_llvm(required, work.cancel).unwrap_or_else(|_| Llvm {
                profdata: PathBuf::from("llvm-profdata"),
                cov: PathBuf::from("llvm-cov"),
                major: required,
                origin: "not found",
            });
            (llvm, native::merge(work, build)?)
        }
        Backend::Tools { install } => {
            let llvm = ensure_llvm(required, install, work.progress, work.cancel)?;
            let merged = tools::merge(work, build, &llvm)?;
            (llvm, merged)
        }
    };
    let binary = &work.bundle.binaries[build.binary];
    keep_commands(work, &llvm, &program(work, build), &merged)?;
    Ok(Binary {
        name: binary.name.clone(),
        identity: build.identity.clone(),
        profiles: merged.profiles as u64,
        files: merged.files,
        reach: merged.reach,
    })
}

/// The program as the bundle keeps it.
fn program(work: &Work<'_>, build: &Build) -> PathBuf {
    let binary = &work.bundle.binaries[build.binary];
    work.bundle_dir.join(&binary.path)
}

/// Which files count, by their name in a report, out of those that the mapping
/// names.
fn counted<'n>(
    work: &mut Work<'_>,
    build: &Build,
    names: impl Iterator<Item = &'n str>,
) -> BTreeMap<String, String> {
    let mut counted = BTreeMap::new();
    for file in names {
        if let Some(name) = work.filter.counted(&work.bundle.sources, file)
            && let Some(other) = counted.insert(name.clone(), file.to_owned())
        {
            let text = format!(
                "{}: `{other}` and `{file}` are both `{name}`; only one counts",
                work.bundle.component
            );
            work.find("source-twice", text);
        }
    }
    if counted.is_empty() {
        let text = format!(
            "{} ({}): none of the sources that LLVM's coverage mapping names is one of the bundle's",
            work.bundle.component, build.identity
        );
        work.find("no-sources", text);
    }
    counted
}

/// Keeps what `llvm-profdata merge` reads: the profiles that count.
fn keep_list(work: &Work<'_>, pieces: &[&Piece]) -> Result<(), Error> {
    // A line is `weight,path`, so that a comma in a path does no harm.
    let line = |piece: &&Piece| format!("1,{}\n", from(&work.out, &piece.path).display());
    let list: String = pieces.iter().map(line).collect();
    write_atomic(&work.out.join("profiles.list"), list.as_bytes())
}

/// Keeps which files `llvm-cov` is to look at. By response file: a command line
/// has no room for thousands of paths.
fn keep_sources(work: &Work<'_>, counted: &BTreeMap<String, String>) -> Result<(), Error> {
    let quoted =
        |path: &String| format!("\"{}\"\n", path.replace('\\', r"\\").replace('"', "\\\""));
    let sources: String = counted.values().map(quoted).collect();
    let text = format!("--sources\n{sources}");
    write_atomic(&work.out.join("sources.rsp"), text.as_bytes())
}

/// What `llvm-cov` is told of program and profile.
fn program_and_profile(work: &Work<'_>, program: &Path, profiles: usize) -> [String; 2] {
    let profile = match profiles {
        0 => "--empty-profile",
        _ => "--instr-profile=merged.profdata",
    };
    [
        from(&work.out, program).display().to_string(),
        profile.to_owned(),
    ]
}

/// Keeps the commands of LLVM's tools that give the same numbers by hand.
fn keep_commands(
    work: &Work<'_>,
    llvm: &Llvm,
    program: &Path,
    merged: &Merged,
) -> Result<(), Error> {
    let mut commands = Vec::new();
    if merged.profiles > 0 {
        commands.push(command_line(&llvm.profdata, &MERGE));
    }
    if !merged.counted.is_empty() {
        let report: Vec<String> = ["report".to_owned()]
            .into_iter()
            .chain(program_and_profile(work, program, merged.profiles))
            .collect();
        commands.push(command_line(&llvm.cov, &report) + " @sources.rsp");
    }
    work.keep_commands(&commands)
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
