//! Programs, their profiles, and what llvm-cov-22 says of both.

use std::path::{Path, PathBuf};
use std::process::Command;

use podcov_profile::Limits;
use podcov_profile::llvm::coverage::{Coverage, Evidence, Options};
use podcov_profile::llvm::indexed;
use podcov_profile::llvm::json::JsonOptions;
use podcov_profile::llvm::lcov::LcovOptions;
use podcov_profile::llvm::mapping::{Mapping, Paths};
use podcov_profile::llvm::object::{self, Object};
use podcov_profile::llvm::profile::Profile;

/// Runs a program that a package of the distribution has.
pub fn run(command: &mut Command, package: &str) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; install it: `apt-get install {package}`")
    });
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

pub fn rustc() -> Command {
    Command::new("rustc")
}

/// A folder with sources, programs and a profile of them.
pub struct Build {
    dir: tempfile::TempDir,
}

impl Build {
    pub fn new(sources: &[(&str, &str)]) -> Build {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in sources {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Build { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn rustc(&self, args: &[&str]) -> &Build {
        let mut command = rustc();
        command.current_dir(self.dir()).args(args);
        run(
            command.args(["--edition=2024", "-Cinstrument-coverage", "-Awarnings"]),
            "rustc",
        );
        self
    }

    pub fn clang(&self, args: &[&str]) -> &Build {
        self.compile("clang-19", args)
    }

    pub fn compile(&self, compiler: &str, args: &[&str]) -> &Build {
        let mut command = Command::new(compiler);
        command.current_dir(self.dir()).args(args);
        command.args(["-fprofile-instr-generate", "-fcoverage-mapping", "-w"]);
        run(&mut command, "clang-19");
        self
    }

    /// Runs a program, which may fail, and keeps its profile.
    pub fn run(&self, program: &str, args: &[&str]) -> &Build {
        let mut command = Command::new(self.path(program));
        command.current_dir(self.dir()).args(args);
        command.env("LD_LIBRARY_PATH", self.dir());
        command.env("LLVM_PROFILE_FILE", format!("{program}-%p.profraw"));
        command.output().unwrap();
        self
    }

    /// Merges the profiles of some programs, and gives the result.
    pub fn merge(&self, programs: &[&str], to: &str) -> Profile {
        let mut raw: Vec<PathBuf> = std::fs::read_dir(self.dir())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                let of = |program: &&&str| name.starts_with(&format!("{program}-"));
                name.ends_with(".profraw") && programs.iter().any(|p| of(&p))
            })
            .collect();
        raw.sort();
        assert!(!raw.is_empty());
        run(
            Command::new("llvm-profdata-22")
                .current_dir(self.dir())
                .args(["merge", "-o", to])
                .args(raw),
            "llvm-22",
        );
        self.profile(to)
    }

    pub fn profile(&self, name: &str) -> Profile {
        indexed::read(&self.bytes(name), &Limits::default())
            .unwrap()
            .profile
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// What llvm-cov-22 exports.
    pub fn llvm_cov(&self, objects: &[&str], profile: &str, args: &[&str]) -> Vec<u8> {
        let mut command = Command::new("llvm-cov-22");
        command.current_dir(self.dir()).arg("export").args(args);
        command.args(["-instr-profile", profile]);
        let (first, rest) = objects.split_first().unwrap();
        command.arg(first);
        for object in rest {
            command.args(["-object", object]);
        }
        run(&mut command, "llvm-22")
    }

    /// Holds everything we write against llvm-cov.
    pub fn check(&self, objects: &[&str], profile: &str) -> Coverage {
        let counts = self.profile(profile);
        let bytes: Vec<Vec<u8>> = objects.iter().map(|name| self.bytes(name)).collect();
        let coverage = coverage(&bytes, &counts);
        for args in JSON {
            let theirs = self.llvm_cov(objects, profile, args);
            same(&json(&coverage, args), &theirs, args);
        }
        for args in LCOV {
            let mut all = vec!["-format=lcov"];
            all.extend(*args);
            let theirs = self.llvm_cov(objects, profile, &all);
            same(&lcov(&coverage, args), &theirs, args);
        }
        coverage
    }
}

const JSON: &[&[&str]] = &[
    &[],
    &["-summary-only"],
    &["-skip-functions", "-skip-expansions"],
];
const LCOV: &[&[&str]] = &[
    &[],
    &["-summary-only"],
    &["-skip-functions"],
    &["-skip-branches"],
];

pub fn json(coverage: &Coverage, args: &[&str]) -> Vec<u8> {
    let options = JsonOptions {
        summary_only: args.contains(&"-summary-only"),
        skip_functions: args.contains(&"-skip-functions"),
        skip_expansions: args.contains(&"-skip-expansions"),
    };
    let mut out = Vec::new();
    coverage.write_json(&options, &mut out).unwrap();
    out
}

pub fn lcov(coverage: &Coverage, args: &[&str]) -> Vec<u8> {
    let options = LcovOptions {
        summary_only: args.contains(&"-summary-only"),
        skip_functions: args.contains(&"-skip-functions"),
        skip_branches: args.contains(&"-skip-branches"),
        distinct_lines: false,
    };
    let mut out = Vec::new();
    coverage.write_lcov(&options, &mut out).unwrap();
    out
}

/// Equal bytes, or the first place where they are not.
pub fn same(ours: &[u8], theirs: &[u8], what: &[&str]) {
    let equal = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
    if equal == ours.len() && equal == theirs.len() {
        return;
    }
    let near = |bytes: &[u8]| {
        let end = bytes.len().min(equal + 200);
        String::from_utf8_lossy(&bytes[equal.saturating_sub(200)..end]).into_owned()
    };
    panic!(
        "{what:?}: at byte {equal}\n ours: {}\ntheirs: {}",
        near(ours),
        near(theirs)
    );
}

/// All objects share the profile, as with `llvm-cov -object`.
pub fn coverage(objects: &[Vec<u8>], profile: &Profile) -> Coverage {
    let limits = Limits::default();
    let objects: Vec<Object<'_>> = objects
        .iter()
        .flat_map(|bytes| object::read(bytes.as_slice(), "object", None, &limits).unwrap())
        .collect();
    let mappings: Vec<Mapping<'_>> = objects
        .iter()
        .map(|object| Mapping::read(object, Paths::default(), &limits).unwrap())
        .collect();
    let mappings: Vec<&Mapping<'_>> = mappings.iter().collect();
    let evidence = Evidence {
        mappings: &mappings,
        profile,
    };
    Coverage::new(&[evidence], &Options::default()).unwrap()
}

/// Each program with a profile of its own.
pub fn apart(build: &Build, programs: &[(&str, &Profile)]) -> Coverage {
    let limits = Limits::default();
    let bytes: Vec<Vec<u8>> = programs.iter().map(|(name, _)| build.bytes(name)).collect();
    let objects: Vec<_> = bytes
        .iter()
        .flat_map(|bytes| object::read(bytes.as_slice(), "object", None, &limits).unwrap())
        .collect();
    assert_eq!(objects.len(), programs.len());
    let mappings: Vec<Mapping<'_>> = objects
        .iter()
        .map(|object| Mapping::read(object, Paths::default(), &limits).unwrap())
        .collect();
    let mappings: Vec<[&Mapping<'_>; 1]> = mappings.iter().map(|mapping| [mapping]).collect();
    let evidence: Vec<Evidence<'_, '_>> = mappings
        .iter()
        .zip(programs)
        .map(|(mappings, (_, profile))| Evidence { mappings, profile })
        .collect();
    Coverage::new(&evidence, &Options::default()).unwrap()
}
