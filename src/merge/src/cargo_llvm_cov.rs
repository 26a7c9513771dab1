//! To and from cargo-llvm-cov, unmodified.
//!
//! `cargo llvm-cov report` merges `*.profraw` right in its target folder
//! (`target/llvm-cov-target`, or what `CARGO_LLVM_COV_TARGET_DIR` says) and
//! reports on the executables below `debug/` in it that are called after a
//! package or target of the workspace, with or without `-<hex>` behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use podcov_process::{Cancel, Progress, Run};
use podcov_profile::bundle::{self, Binary, Bundle, Mode, SourceFile, Sources};
use podcov_profile::ledger::{Ended, Fate, File, Format, Incarnation, Ledger};
use podcov_profile::llvm::export::Export;
use podcov_profile::names::{Kind, Language};
use podcov_profile::{Identity, Problem, classify, elf};
use sha2::{Digest, Sha256};

use crate::quarantine::relative;
use crate::tools::ensure_llvm;
use crate::{Error, make_dir, remove_if_there};

/// What was laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaidOut {
    /// How many profiles.
    pub profiles: usize,
    /// How many programs.
    pub programs: usize,
    /// The command that reports on them, for the folder of the workspace.
    pub command: String,
}

impl std::fmt::Display for LaidOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = |number: usize| if number == 1 { "" } else { "s" };
        let LaidOut {
            profiles,
            programs,
            command,
        } = self;
        let (some, more) = (plural(*profiles), plural(*programs));
        write!(
            f,
            "{profiles} profile{some} of {programs} program{more}: {command}"
        )
    }
}

/// Copies the Rust profiles of a merged run that count, and the programs they
/// come from, into `dir` as cargo-llvm-cov expects them in its target folder.
///
/// What an earlier call left there is removed; what others left is not, and
/// counts with it. Call it after [`crate::merge`], which decides what counts.
pub fn lay_out_for_cargo_llvm_cov(
    ledger: &Ledger,
    components: &[(Bundle, PathBuf)],
    evidence: &Path,
    dir: &Path,
) -> Result<LaidOut, Error> {
    let debug = dir.join("debug");
    make_dir(&debug)?;
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let path = entry.map_err(Error::io("list", dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(PREFIX) && name.ends_with(".profraw") {
            remove_if_there(&path)?;
        }
    }
    let rust = components
        .iter()
        .filter(|(bundle, _)| bundle.language == Language::Rust);
    let mut programs = 0;
    for (bundle, from) in rust {
        for binary in &bundle.binaries {
            let Some(identity) = &binary.identity else {
                continue;
            };
            let hash: String = identity.hex().chars().take(16).collect();
            let to = debug.join(format!("{}-{hash}", binary.name));
            fs::copy(from.join(&binary.path), &to).map_err(Error::io("copy a program to", &to))?;
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&to, mode).map_err(Error::io("make executable", &to))?;
            programs += 1;
        }
    }
    let mut profiles = 0;
    for file in ledger
        .incarnations
        .iter()
        .flat_map(|incarnation| &incarnation.files)
    {
        if file.fate != Fate::Merged || file.format != Format::Profraw {
            continue;
        }
        let Some(path) = relative(&file.path) else {
            continue;
        };
        let from = evidence.join(path);
        let to = dir.join(format!("{PREFIX}{profiles:06}.profraw"));
        fs::copy(&from, &to).map_err(Error::io("copy evidence to", &to))?;
        profiles += 1;
    }
    let words = Run::new("cargo")
        .args(["llvm-cov", "report"])
        .command_line();
    let target = Run::new(format!("CARGO_LLVM_COV_TARGET_DIR={}", dir.display())).command_line();
    Ok(LaidOut {
        profiles,
        programs,
        command: format!("env {target} {words}"),
    })
}

const PREFIX: &str = "podcov-";

/// Profiles and the program they come from that podcov did not make.
#[derive(Clone, Copy, Debug)]
pub struct Import<'a> {
    /// Name of the component they become.
    pub component: &'a str,
    /// Its part in the composition.
    pub kind: Kind,
    /// The instrumented program.
    pub program: &'a Path,
    /// The folder whose sources count.
    pub root: &'a Path,
    /// `*.profraw` and `*.profdata` files, or folders of them.
    pub profiles: &'a [PathBuf],
    /// LLVM's major version in the compiler that made the program.
    pub llvm_major: u32,
    /// The run they become a part of.
    pub run: &'a str,
    /// Its folder of bundles; `<component>` is made below.
    pub bundles: &'a Path,
    /// Its folder of evidence.
    pub evidence: &'a Path,
}

/// What was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The bundle made for the program; not yet written as `bundle.json`.
    pub bundle: Bundle,
    /// Its folder, which holds the program and the sources.
    pub dir: PathBuf,
    /// How many profiles were copied to the evidence.
    pub profiles: usize,
}

/// Takes profiles of a program that somebody else built and ran, such as those
/// of `cargo llvm-cov show-env`, as evidence of a run.
///
/// The program and the sources that its coverage mapping names below
/// [`Import::root`] become a bundle, the profiles an incarnation in the ledger.
/// Where the linker wrote no build id, profiles do not say what they come from
/// and the caller's word is taken; the program is then called by its SHA-256.
pub fn import(
    import: Import<'_>,
    ledger: &mut Ledger,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Imported, Error> {
    let (bundle, dir) = bundle_of(&import, progress, cancel)?;
    let identity = bundle.binaries[0].identity.clone();
    let id = format!("import-{}", import.component);
    let place = format!("_host/import_{}/{}/{id}", import.run, import.component);
    let to = import.evidence.join(&place);
    make_dir(&to)?;
    let mut files = Vec::new();
    for (number, from) in find_profiles(import.profiles)?.iter().enumerate() {
        cancel.check()?;
        let bytes = fs::read(from).map_err(Error::io("read", from))?;
        // Profiles of several folders may have one name.
        let own = from.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{number:06}-{own}");
        fs::write(to.join(&name), &bytes).map_err(Error::io("write", &to.join(&name)))?;
        let classified = classify(&name, &bytes);
        let fate = match classified.problem {
            None => Fate::Merged,
            Some(Problem::Empty) => Fate::Empty,
            Some(_) => Fate::Rejected,
        };
        files.push(File {
            path: format!("{place}/{name}"),
            format: classified.format,
            size: bytes.len() as u64,
            sha256: sha256(&bytes),
            identity: classified.identities.into_iter().next(),
            fate,
            cause: classified.problem.as_ref().map(Problem::cause),
            reason: classified
                .problem
                .map(|p| p.to_string())
                .unwrap_or_default(),
        });
    }
    let profiles = files.len();
    ledger.incarnations.push(Incarnation {
        component: import.component.to_owned(),
        namespace: "_host".to_owned(),
        pod: "import".to_owned(),
        pod_uid: import.run.to_owned(),
        container: import.component.to_owned(),
        id: Some(id),
        restart: None,
        phase: None,
        identity,
        start: None,
        end: None,
        ended: Ended::default(),
        interval_ms: None,
        fate: Fate::Collected,
        cause: None,
        reason: String::new(),
        files,
    });
    Ok(Imported {
        bundle,
        dir,
        profiles,
    })
}

fn find_profiles(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let (mut raw, mut indexed) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(path).map_err(Error::io("list", path))? {
            let file = entry.map_err(Error::io("list", path))?.path();
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("profraw") => raw.push(file),
                Some("profdata") => indexed.push(file),
                _ => {}
            }
        }
        // A merged profile beside raw ones was made of them, and would count
        // them twice.
        found.extend(if raw.is_empty() { indexed } else { raw });
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Makes the folder of a bundle from a program: what its mapping names below
/// the root are its sources.
fn bundle_of(
    import: &Import<'_>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(Bundle, PathBuf), Error> {
    let bytes = fs::read(import.program).map_err(Error::io("read", import.program))?;
    let wrong = |what: String| Error::Program {
        path: import.program.to_owned(),
        what,
    };
    let program = elf::read(&bytes).map_err(|error| wrong(error.to_string()))?;
    let sha256 = sha256(&bytes);
    let identity = program
        .build_id
        .unwrap_or_else(|| Identity::BuildId(sha256.clone()));
    let llvm = ensure_llvm(import.llvm_major, false, progress, cancel)?;
    let run = Run::new(&llvm.cov)
        .args([
            "export",
            "--format=text",
            "--summary-only",
            "--empty-profile",
        ])
        .arg(import.program)
        .cancel(cancel);
    let export: Export =
        serde_json::from_slice(&run.run()?.stdout).map_err(|error| Error::Output {
            tool: "llvm-cov export".to_owned(),
            what: error.to_string(),
        })?;
    let root = import
        .root
        .canonicalize()
        .map_err(Error::io("find", import.root))?;
    let dir = import.bundles.join(import.component);
    let name = import
        .program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let path = format!("bin/{name}");
    make_dir(&dir.join("bin"))?;
    let to = dir.join(&path);
    fs::copy(import.program, &to).map_err(Error::io("copy the program to", &to))?;
    let mut sources = Sources {
        root: root.display().to_string(),
        ..Sources::default()
    };
    let all: Vec<&str> = export
        .data
        .iter()
        .flat_map(|data| &data.files)
        .map(|f| f.filename.as_str())
        .collect();
    for file in all {
        let Some(path) = sources.relative(file) else {
            continue;
        };
        let Ok(text) = fs::read(file) else { continue };
        let to = dir.join("src").join(&path);
        make_dir(to.parent().unwrap_or(&dir))?;
        fs::write(&to, &text).map_err(Error::io("write", &to))?;
        sources.files.push(SourceFile {
            path,
            sha256: self::sha256(&text),
        });
    }
    sources.files.sort();
    sources.files.dedup();
    let bundle = Bundle {
        schema: bundle::SCHEMA,
        component: import.component.to_owned(),
        language: Language::Rust,
        kind: import.kind,
        binaries: vec![Binary {
            name,
            identity: Some(identity),
            other_identities: vec![],
            path,
            sha256,
            arch: program.arch,
            mode: Mode::AtExit,
            interval_ms: None,
        }],
        toolchain: "not known: imported".to_owned(),
        llvm_major: Some(import.llvm_major),
        commit: None,
        dirty: false,
        image: None,
        sources,
    };
    Ok((bundle, dir))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
