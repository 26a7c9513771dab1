//! A run on disk, made of real programs' evidence.
#![allow(dead_code, reason = "each test uses another part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use podcov_merge::{Backend, Error, Job, merge};
use podcov_process::{Cancel, Silent};
use podcov_profile::bundle::{self, Bundle, Mode, PathRule, SourceFile, Sources};
use podcov_profile::ledger::{Ended, Fate, File, Format, Incarnation, Ledger};
use podcov_profile::model::Coverage;
use podcov_profile::names::{Kind, Language};
use podcov_profile::reach::Reach;
use podcov_profile::{Identity, Problem, classify, elf};
use sha2::{Digest, Sha256};

pub const LLVM: u32 = 22;

pub struct TestRun {
    pub dir: tempfile::TempDir,
    pub ledger: Ledger,
    pub components: Vec<(Bundle, PathBuf)>,
}

pub fn run(command: &mut Command) -> Output {
    let output = try_run(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

pub fn try_run(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Debian's tool of the LLVM that rustc 1.95 has. Not found is a failure: a
/// test that is skipped proves nothing.
pub fn llvm(tool: &str) -> PathBuf {
    let name = format!("llvm-{tool}-{LLVM}");
    podcov_process::find_program(&name).unwrap_or_else(|| {
        panic!("{name} is needed: apt-get install --no-install-recommends llvm-{LLVM}")
    })
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn sources(dir: &Path, root: &Path, rules: Vec<PathRule>) -> Sources {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(dir.join("src")) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(dir.join("src")).unwrap();
            let sha256 = sha256(&fs::read(entry.path()).unwrap());
            files.push(SourceFile {
                path: path.display().to_string(),
                sha256,
            });
        }
    }
    files.sort();
    Sources {
        root: root.display().to_string(),
        path_map: rules,
        files,
    }
}

impl TestRun {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        TestRun {
            dir,
            ledger: Ledger::default(),
            components: Vec::new(),
        }
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Writes a project's files to `<name>/`, which is also what the bundle
    /// takes for the sources.
    pub fn project(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let dir = self.path(name);
        for (path, text) in files {
            for path in [
                dir.join(path),
                self.path("bundle").join(name).join("src").join(path),
            ] {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        }
        dir
    }

    /// Adds a component whose program is at `program`.
    pub fn component(
        &mut self,
        name: &str,
        language: Language,
        program: &Path,
        identity: Option<Identity>,
        rules: Vec<PathRule>,
    ) {
        let dir = self.path("bundle").join(name);
        fs::create_dir_all(dir.join("bin")).unwrap();
        let path = format!("bin/{}", program.file_name().unwrap().display());
        fs::copy(program, dir.join(&path)).unwrap();
        let binary = bundle::Binary {
            name: name.to_owned(),
            identity,
            other_identities: vec![],
            path,
            sha256: sha256(&fs::read(program).unwrap()),
            arch: "x86_64".to_owned(),
            mode: Mode::Continuous,
            interval_ms: None,
        };
        let root = self.path(name);
        if let Some((bundle, _)) = self
            .components
            .iter_mut()
            .find(|(b, _)| b.component == name)
        {
            bundle.binaries.push(binary);
            return;
        }
        let bundle = Bundle {
            schema: bundle::SCHEMA,
            component: name.to_owned(),
            language,
            kind: Kind::Operator,
            binaries: vec![binary],
            toolchain: String::new(),
            llvm_major: (language == Language::Rust).then_some(LLVM),
            commit: None,
            dirty: false,
            image: None,
            sources: sources(&dir, &root, rules),
        };
        self.components.push((bundle, dir));
    }

    /// The folder of a new incarnation in the evidence.
    pub fn incarnation(&mut self, component: &str) -> PathBuf {
        let number = self.ledger.incarnations.len();
        let id = format!("20260101T000000.000Z-{number:04x}");
        let dir = self.path(&format!("evidence/test/{component}_uid-{number}/main/{id}"));
        fs::create_dir_all(&dir).unwrap();
        self.ledger.incarnations.push(Incarnation {
            component: component.to_owned(),
            namespace: "test".to_owned(),
            pod: component.to_owned(),
            pod_uid: format!("uid-{number}"),
            container: "main".to_owned(),
            id: Some(id),
            restart: Some(0),
            phase: None,
            identity: None,
            start: None,
            end: None,
            ended: Ended::default(),
            interval_ms: None,
            fate: Fate::Collected,
            cause: None,
            reason: String::new(),
            files: vec![],
        });
        dir
    }

    /// Reads the evidence into the ledger, as the collector does.
    pub fn collect(&mut self) {
        let evidence = self.path("evidence");
        for incarnation in &mut self.ledger.incarnations {
            let dir = format!(
                "{}/{}_{}/{}/{}",
                incarnation.namespace,
                incarnation.pod,
                incarnation.pod_uid,
                incarnation.container,
                incarnation.id.as_deref().unwrap()
            );
            incarnation.files.clear();
            for entry in walkdir::WalkDir::new(evidence.join(&dir)).sort_by_file_name() {
                let entry = entry.unwrap();
                if !entry.file_type().is_file() {
                    continue;
                }
                let path = entry
                    .path()
                    .strip_prefix(&evidence)
                    .unwrap()
                    .display()
                    .to_string();
                let bytes = fs::read(entry.path()).unwrap();
                let it = classify(&path, &bytes);
                let fate = match (&it.problem, it.format) {
                    (_, Format::Record) => Fate::Record,
                    (None, _) => Fate::Merged,
                    (Some(Problem::Empty), _) => Fate::Empty,
                    (Some(_), _) => Fate::Rejected,
                };
                incarnation.files.push(File {
                    path,
                    format: it.format,
                    size: bytes.len() as u64,
                    sha256: sha256(&bytes),
                    identity: it.identities.into_iter().next(),
                    fate,
                    cause: it.problem.as_ref().map(Problem::cause),
                    reason: it
                        .problem
                        .map(|problem| problem.to_string())
                        .unwrap_or_default(),
                });
            }
        }
    }

    pub fn merge(&mut self) -> Coverage {
        self.merge_with(&[], &[])
    }

    pub fn merge_with(&mut self, include: &[String], exclude: &[String]) -> Coverage {
        self.try_merge(include, exclude)
            .unwrap_or_else(|error| panic!("{error}: {error:?}"))
    }

    /// Merges natively; LLVM's and Go's own tools must come to the same.
    pub fn try_merge(&mut self, include: &[String], exclude: &[String]) -> Result<Coverage, Error> {
        let mut other = self.ledger.clone();
        let out = self.dir.path();
        let tools = Backend::Tools { install: false };
        let by_tools = self.merge_by(tools, &mut other, &out.join("tools"), include, exclude);
        let mut ledger = std::mem::take(&mut self.ledger);
        let merged = self.merge_by(
            Backend::Native,
            &mut ledger,
            &out.join("coverage"),
            include,
            exclude,
        );
        self.ledger = ledger;
        match (&merged, by_tools) {
            (Ok(native), Ok(tools)) => {
                assert_eq!(comparable(native), comparable(&tools));
                assert_eq!(self.ledger.file_fates(), other.file_fates());
                assert_eq!(self.ledger.fates(), other.fates());
            }
            (Err(_), Err(_)) => {}
            (native, tools) => panic!("native: {native:?}\ntools: {tools:?}"),
        }
        merged
    }

    /// Merges natively alone: the tools need what is missing.
    pub fn merge_natively(&self) -> Result<Coverage, Error> {
        let out = self.dir.path().join("native");
        self.merge_by(Backend::Native, &mut self.ledger.clone(), &out, &[], &[])
    }

    fn merge_by(
        &self,
        backend: Backend,
        ledger: &mut Ledger,
        out: &Path,
        include: &[String],
        exclude: &[String],
    ) -> Result<Coverage, Error> {
        let job = Job {
            composition: "test",
            components: self.components.clone(),
            evidence: &self.dir.path().join("evidence"),
            ledger,
            out,
            quarantine: &self.dir.path().join("quarantine"),
            phases: &self.dir.path().join("phases"),
            include,
            exclude,
            backend,
        };
        merge(job, &Silent, &Cancel::new())
    }

    /// The fates of an incarnation's files by name.
    pub fn fates(&self, incarnation: usize) -> Vec<(String, Fate)> {
        let files = &self.ledger.incarnations[incarnation].files;
        let name = |file: &File| file.path.rsplit('/').next().unwrap_or_default().to_owned();
        files.iter().map(|file| (name(file), file.fate)).collect()
    }
}

/// What both backends know: the tools tell neither regions nor who reached what.
fn comparable(coverage: &Coverage) -> Coverage {
    let mut coverage = coverage.clone();
    let binaries = coverage.components.iter_mut().flat_map(|c| &mut c.binaries);
    for binary in binaries {
        binary.reach = Reach::new();
        for file in &mut binary.files {
            file.branches.clear();
            for function in &mut file.functions {
                function.regions.clear();
                function.instances.clear();
            }
        }
    }
    coverage
}

pub fn build_id(program: &Path) -> Identity {
    let program = elf::read(&fs::read(program).unwrap()).unwrap();
    program.build_id.expect("a program linked with --build-id")
}
