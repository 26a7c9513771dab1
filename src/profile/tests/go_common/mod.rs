//! Go programs and Go's own tools, for the tests of its formats.
#![allow(dead_code, reason = "each test uses another part")]

pub mod make;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use podcov_profile::go::counters::is_counters;
use podcov_profile::go::meta::{Meta, is_meta, read_meta};
use podcov_profile::go::sum::Sum;

/// Runs Go, which has to be there: a test that is skipped proves nothing.
pub fn go<S: AsRef<OsStr>>(dir: &Path, args: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::new("go");
    command.current_dir(dir).env("GOWORK", "off").args(args);
    command
        .env_remove("GOFLAGS")
        .output()
        .unwrap_or_else(|error| panic!("go is needed, from https://go.dev/dl: {error}"))
}

/// What Go prints when all is well.
pub fn go_text(dir: &Path, args: &[&str]) -> String {
    let output = go(dir, args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "go {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// What `go tool covdata` makes of folders of files.
pub fn covdata(args: &[&str]) -> String {
    go_text(Path::new("."), &[&["tool", "covdata"], args].concat())
}

/// A copy of the program in `fixtures/go-tour`, in a folder of its own.
pub struct Tour {
    dir: tempfile::TempDir,
}

impl Tour {
    pub fn new() -> Tour {
        let dir = tempfile::tempdir().unwrap();
        let tour = Tour { dir };
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/go-tour");
        copy(&from, &tour.path("src"));
        tour
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub fn text(&self, path: &str) -> String {
        self.path(path).to_str().unwrap().to_owned()
    }

    /// Builds the program in the folder `src`, called `program`.
    pub fn build(&self, src: &str, program: &str, flags: &[&str]) -> PathBuf {
        let out = self.text(program);
        let args = [&["build", "-cover", "-o", &out], flags, &["."]].concat();
        go_text(&self.path(src), &args);
        self.path(program)
    }

    /// Runs a program once, with its counters in the folder `out`.
    pub fn run(&self, program: &Path, out: &str, args: &[&str]) {
        fs::create_dir_all(self.path(out)).unwrap();
        let output = Command::new(program)
            .args(args)
            .env("GOCOVERDIR", self.path(out))
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    }

    /// The files of a folder by name: meta-data, then counters.
    pub fn read(&self, out: &str) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let entries = fs::read_dir(self.path(out)).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let (mut metas, mut counters) = (Vec::new(), Vec::new());
        for path in paths {
            let bytes = fs::read(path).unwrap();
            if is_meta(&bytes) {
                metas.push(bytes);
            } else if is_counters(&bytes) {
                counters.push(bytes);
            }
        }
        (metas, counters)
    }

    /// The one build of a folder, and the files of its counters.
    pub fn read_one(&self, out: &str) -> (Meta, Vec<Vec<u8>>) {
        let (metas, counters) = self.read(out);
        assert_eq!(metas.len(), 1);
        (read_meta(&metas[0]).unwrap(), counters)
    }
}

pub fn sum<'m>(meta: &'m Meta, counters: &[Vec<u8>]) -> Sum<'m> {
    let mut sum = Sum::new(meta);
    for bytes in counters {
        sum.add(bytes).unwrap();
    }
    sum
}

/// Lines in an order that does not depend on how Go's sort breaks ties.
pub fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

pub fn fixture(path: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}
