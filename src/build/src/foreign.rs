//! Bundles of programs that somebody else built: a Makefile, Bazel, ko, a
//! Dockerfile, with the variables of `podcov env` or flags of their own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use podcov_process::Run;
use podcov_profile::bundle::{Binary, Bundle, Mode, SCHEMA};
use podcov_profile::go::files::read_meta;
use podcov_profile::names::{Kind, Language};
use serde::Deserialize;
use walkdir::WalkDir;

use crate::error::AtPath;
use crate::keep::{Keep, Snapshot};
use crate::program::{self, Program};
use crate::{Context, Error, git, go};

/// What is known of a program beside its file.
#[derive(Clone, Debug, Default)]
pub struct Foreign {
    /// Name of the component; default: that of the first program.
    pub component: Option<String>,
    /// Its part in the composition; default: operator.
    pub kind: Option<Kind>,
    /// Where its sources are; default: the repository around the current
    /// folder, or that folder.
    pub source_root: Option<PathBuf>,
    /// Starts of paths as the program has them, and the folder below the
    /// source root that each stands for: for what was compiled elsewhere, such
    /// as `/src` in a Dockerfile.
    pub path_map: Vec<(String, String)>,
}

/// Makes the bundle of programs that are already there. All belong to one
/// component and are of one language.
pub fn bundle(binaries: &[PathBuf], foreign: &Foreign, ctx: &Context) -> Result<Bundle, Error> {
    let mut programs = Vec::new();
    for path in binaries {
        ctx.cancel.check()?;
        ctx.progress.status(&format!("reading {}", path.display()));
        let program = program::inspect(path)?;
        programs.push((path, language_of(path, &program)?, program));
    }
    let Some((first, language, _)) = programs.first() else {
        return Err(Error::configuration(
            "bundle",
            "expected at least one program, found none",
        ));
    };
    let language = *language;
    if let Some((path, other, _)) = programs.iter().find(|(_, other, _)| *other != language) {
        let what = format!(
            "expected {language} like {}, found {other}",
            first.display()
        );
        return Err(Error::program(path, what));
    }
    let component = foreign
        .component
        .clone()
        .unwrap_or_else(|| file_name(first));
    let root = source_root(foreign)?;
    let keep = Keep::begin(ctx.bundles, &component)?;
    let mut kept = Vec::new();
    let mut toolchain = String::new();
    for (path, _, program) in &programs {
        let name = file_name(path);
        if kept.iter().any(|other: &Binary| other.name == name) {
            let what = format!("two programs are called `{name}`; give each its own `--component`");
            return Err(Error::configuration(&component, what));
        }
        let (in_bundle, sha256) = keep.binary(path, &name)?;
        let mut binary = Binary {
            name,
            identity: program.build_id.clone(),
            other_identities: Vec::new(),
            path: in_bundle,
            sha256,
            arch: program.arch.clone(),
            mode: Mode::AtExit,
            interval_ms: None,
        };
        if language == Language::Rust {
            // With no symbols left nobody can tell. A program without
            // relocation loses everything in continuous mode; one with it
            // loses nothing but the continuity at its end.
            if program.llvm_relocation == Some(true) {
                binary.mode = Mode::Continuous;
            }
            if let Some(identity) = &binary.identity {
                keep.mapping(&binary.path, identity)?;
            }
            toolchain = rustc_version(path)?;
        } else {
            go_facts(path, program, &keep, &mut binary, ctx)?;
            toolchain = go_version(path, ctx)
                .map(|v| v.toolchain())
                .unwrap_or_default();
        }
        kept.push(binary);
    }
    let (commit, dirty) = git::state(&root, ctx.cancel);
    ctx.progress.status("keeping the sources");
    let snapshot = match language {
        Language::Rust => rust_sources(&root, foreign),
        Language::Go => go_sources(&root, foreign, &keep),
    };
    let bundle = Bundle {
        schema: SCHEMA,
        component,
        language,
        kind: foreign.kind.unwrap_or(Kind::Operator),
        binaries: kept,
        llvm_major: llvm_major(language, &toolchain, &root, ctx),
        toolchain,
        commit,
        dirty,
        image: None,
        sources: snapshot.keep(&keep)?,
    };
    keep.finish(&bundle)?;
    Ok(bundle)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The language of an instrumented program; what is missing otherwise.
fn language_of(path: &Path, program: &Program) -> Result<Language, Error> {
    let wrong = |what: &str| Err(Error::program(path, what));
    if program.go {
        if program.go_coverage {
            return Ok(Language::Go);
        }
        return wrong(
            "expected a program built with coverage, found a Go program without; build it with \
             the variables of `podcov env --language go`, and see that -coverpkg names its main \
             package",
        );
    }
    if !program.llvm_counters {
        return wrong(
            "expected a program built with coverage, found none of its sections; build it with \
             the variables of `podcov env --language rust`",
        );
    }
    if !program.llvm_mapping {
        return wrong(
            "expected a coverage mapping (section __llvm_covmap), found counters only; it was \
             built for optimisation (-C profile-generate) or the section was removed",
        );
    }
    if program.build_id.is_none() {
        return wrong(
            "expected a build id, found none; link with `-C link-arg=-Wl,--build-id=sha1`, as \
             `podcov env --language rust` does",
        );
    }
    Ok(Language::Rust)
}

/// Identities and mode of a Go program. It is started only where podcov's
/// files are in it, because any other would run main.
fn go_facts(
    path: &Path,
    program: &Program,
    keep: &Keep,
    binary: &mut Binary,
    ctx: &Context,
) -> Result<(), Error> {
    let bytes = fs::read(path).at("read", path)?;
    let made = program::go_made(&bytes);
    binary.identity = None;
    if made.hooked && program::runs_here(&program.arch) {
        let absolute = path.canonicalize().at("find", path)?;
        binary.identity = go::identify(&absolute, keep, ctx)?;
    }
    (binary.mode, binary.interval_ms) = made.counting().mode(made.is_test);
    let build_id = program.go_build_id.clone();
    if made.is_test {
        binary
            .other_identities
            .extend(std::mem::replace(&mut binary.identity, build_id));
    } else {
        binary.other_identities.extend(build_id);
    }
    if binary.identity.is_none() {
        ctx.progress.note(&format!(
            "{}: which evidence is its own is known only after its first run; a build with the \
             variables of `podcov env --language go` knows it before",
            path.display()
        ));
    }
    Ok(())
}

/// `go version -m -json`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct GoVersion {
    go_version: String,
    settings: Vec<GoSetting>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct GoSetting {
    key: String,
    value: String,
}

impl GoVersion {
    fn toolchain(&self) -> String {
        let setting = |key: &str| {
            let found = self.settings.iter().find(|setting| setting.key == key);
            found.map_or("?", |setting| &setting.value)
        };
        format!(
            "go version {} {}/{}",
            self.go_version,
            setting("GOOS"),
            setting("GOARCH")
        )
    }
}

fn go_version(path: &Path, ctx: &Context) -> Option<GoVersion> {
    let run = Run::new("go")
        .args(["version", "-m", "-json"])
        .arg(path)
        .cancel(ctx.cancel);
    serde_json::from_slice(&run.run().ok()?.stdout).ok()
}

/// "rustc 1.95.0 (59807616e 2026-04-14)" from what the compiler left in the
/// program; empty if that was removed.
fn rustc_version(path: &Path) -> Result<String, Error> {
    const START: &[u8] = b"rustc version ";
    let bytes = fs::read(path).at("read", path)?;
    let Some(at) = bytes
        .windows(START.len())
        .position(|window| window == START)
    else {
        return Ok(String::new());
    };
    let rest = &bytes[at + START.len()..];
    let end = rest
        .iter()
        .position(|byte| *byte == b')' || *byte == 0 || !byte.is_ascii());
    let text = String::from_utf8_lossy(&rest[..end.unwrap_or(0)]);
    Ok(format!(
        "rustc {text}{}",
        if text.contains('(') { ")" } else { "" }
    ))
}

/// LLVM's version if the rustc in use here is the one that built it.
fn llvm_major(language: Language, toolchain: &str, root: &Path, ctx: &Context) -> Option<u32> {
    if language != Language::Rust {
        return None;
    }
    let run = Run::new("rustc")
        .arg("-vV")
        .current_dir(root)
        .cancel(ctx.cancel);
    let text = run.run().ok()?.text();
    let same = !toolchain.is_empty() && text.lines().next() == Some(toolchain);
    let llvm = text
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    llvm.split('.').next().filter(|_| same)?.parse().ok()
}

fn source_root(foreign: &Foreign) -> Result<PathBuf, Error> {
    if let Some(root) = &foreign.source_root {
        return root.canonicalize().at("find the source root", root);
    }
    let here = Path::new(".").canonicalize().at("find", Path::new("."))?;
    let repository = here.ancestors().find(|dir| dir.join(".git").exists());
    Ok(repository.unwrap_or(&here).to_owned())
}

/// Files below `root` that a programmer wrote.
fn files(root: &Path, extension: &'static str) -> impl Iterator<Item = PathBuf> {
    // By what they hold, because packages may have any name: cargo's outputs,
    // and the sources in bundles of earlier runs.
    let is_made = |dir: &Path| {
        let mut marks = ["CACHEDIR.TAG", "bundle.json"].iter();
        marks.any(|mark| dir.join(mark).is_file())
    };
    let skipped = ["node_modules", "testdata"];
    let walk = WalkDir::new(root)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(move |entry| {
            let name = entry.file_name().to_string_lossy();
            entry.depth() == 0
                || !(name.starts_with('.')
                    || skipped.contains(&name.as_ref())
                    || entry.file_type().is_dir() && is_made(entry.path()))
        });
    walk.filter_map(Result::ok)
        .filter(move |entry| {
            entry.file_type().is_file()
                && entry
                    .path()
                    .extension()
                    .is_some_and(|found| found == extension)
        })
        .map(walkdir::DirEntry::into_path)
}

fn begin(root: &Path, foreign: &Foreign) -> Snapshot {
    let mut snapshot = Snapshot::below(root);
    for (from, to) in &foreign.path_map {
        snapshot.rule(from.as_str(), to.as_str());
    }
    snapshot
}

fn rust_sources(root: &Path, foreign: &Foreign) -> Snapshot {
    let mut snapshot = begin(root, foreign);
    for file in files(root, "rs") {
        if let Some(name) = snapshot.relative(&file) {
            snapshot.add(name, file);
        }
    }
    snapshot
}

/// Sources of all modules below `root`; of those only what is counted, if the
/// meta-data say so.
fn go_sources(root: &Path, foreign: &Foreign, keep: &Keep) -> Snapshot {
    let mut snapshot = begin(root, foreign);
    for file in files(root, "mod").filter(|file| file.file_name() == Some("go.mod".as_ref())) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let module = text.lines().find_map(|line| line.strip_prefix("module "));
        let dir = file.parent().and_then(|dir| snapshot.relative(dir));
        if let (Some(module), Some(dir)) = (module, dir) {
            snapshot.rule(module.trim().trim_matches('"'), dir);
        }
    }
    snapshot.sort_rules();
    let counted = counted_files(&keep.dir().join("meta"));
    let counted: Option<BTreeSet<String>> = counted.map(|names| {
        names
            .iter()
            .filter_map(|name| snapshot.name_of(name))
            .collect()
    });
    for file in files(root, "go") {
        let Some(name) = snapshot.relative(&file) else {
            continue;
        };
        let wanted = match &counted {
            Some(counted) => counted.contains(&name),
            None => !name.ends_with("_test.go"),
        };
        if wanted {
            snapshot.add(name, file);
        }
    }
    snapshot
}

/// The files that the meta-data in `dir` name; `None` without any.
fn counted_files(dir: &Path) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir).ok()?.flatten() {
        let meta = read_meta(&fs::read(entry.path()).ok()?).ok()?;
        names.extend(meta.functions().map(|function| function.file().to_owned()));
    }
    Some(names).filter(|names| !names.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_no_source_whatever_it_is_called() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        for name in [
            "src/profiles/a.rs",
            "src/target/b.rs",
            "target/CACHEDIR.TAG",
            "target/debug/build/x.rs",
            "e/bundle/op/bundle.json",
            "e/bundle/op/src/src/y.rs",
            ".git/z.rs",
        ] {
            write(name);
        }
        let found: Vec<_> = files(dir.path(), "rs").collect();
        let expected = ["src/profiles/a.rs", "src/target/b.rs"].map(|name| dir.path().join(name));
        assert_eq!(found, expected);
    }
}
