//! What the tests of builds share: small projects in a temporary folder.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod truth;

use std::path::{Path, PathBuf};
use std::process::Command;

use podcov_build::{Component, Context, Error, build};
use podcov_process::{Cancel, Silent};
use podcov_profile::bundle::Bundle;
use podcov_profile::names::Language;

/// A folder with sources, a cache and bundles.
pub struct Project {
    dir: tempfile::TempDir,
    pub root: PathBuf,
}

impl Project {
    /// Writes `files` (path and text) to a new folder.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("sources");
        let project = Project { dir, root };
        for (path, text) in files {
            project.write(path, text);
        }
        project
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn component(&self, name: &str, language: Language) -> Component {
        let mut component = Component::new(name, language, &self.root);
        // Fewer passes of the compiler: tests look at counters, not at speed.
        component.cargo_profile = Some("dev".to_owned());
        let wrapper = env!("CARGO_BIN_EXE_podcov-rustc-wrapper");
        component
            .env
            .push(("PODCOV_EXE".to_owned(), wrapper.to_owned()));
        component
    }

    pub fn build(&self, component: &Component) -> Result<Bundle, Error> {
        let (cache, bundles) = (self.path("cache"), self.path("bundle"));
        let cancel = Cancel::new();
        let (cache, bundles) = (cache.as_path(), bundles.as_path());
        build(
            component,
            &Context {
                cache,
                bundles,
                progress: &Silent,
                cancel: &cancel,
            },
        )
    }

    /// A path beside the sources.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.with_file_name(name)
    }

    /// The program in a bundle.
    pub fn program(&self, bundle: &Bundle) -> PathBuf {
        self.path("bundle")
            .join(&bundle.component)
            .join(&bundle.binaries[0].path)
    }

    /// A new empty folder for evidence.
    pub fn evidence(&self, name: &str) -> PathBuf {
        let dir = self.path(name);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }
}

/// The names of the files in `dir`, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A program that is not there fails the test and says how to get it.
pub fn need(program: &str, how: &str) -> Command {
    assert!(
        podcov_process::find_program(program).is_some(),
        "this test needs `{program}`: {how}"
    );
    Command::new(program)
}

/// The text of the error that a build must give.
pub fn failure(result: Result<Bundle, Error>) -> String {
    match result {
        Ok(bundle) => panic!("expected an error, found {bundle:#?}"),
        Err(error) => error.to_string(),
    }
}
