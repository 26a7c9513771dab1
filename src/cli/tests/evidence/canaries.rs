//! What a profile knows of the process and of this machine stays where it is:
//! words that are nobody's business go into the command line, the environment
//! and the folders of real programs, which are built, run and reported, and
//! then every file that podcov made is searched for them.
//!
//! Needs `go` and `rustc`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::lab::tree;

const ARGUMENT: &str = "canary-argument-5e1d";
const FILE: &str = "canary-file-77c2";
const VARIABLE: &str = "canary-variable-90ab";
const FOLDER: &str = "canary-folder-c3f4";
const PROGRAMS: &str = "canary-programs-18d0";
const ALL: [&str; 5] = [ARGUMENT, FILE, VARIABLE, FOLDER, PROGRAMS];

const GO: &str = r#"package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Println(len(os.Args), len(os.Getenv("SECRET")))
	}
}
"#;

const RUST: &str = r#"mod part;

fn main() {
    if std::env::args().count() > 1 {
        println!("{}", part::length("SECRET"));
    }
}
"#;

const PART: &str = r#"pub fn length(name: &str) -> usize {
    std::env::var(name).map_or(0, |value| value.len())
}
"#;

struct Project {
    dir: tempfile::TempDir,
}

impl Project {
    fn new() -> Project {
        let project = Project {
            dir: tempfile::tempdir().unwrap(),
        };
        let files = [
            ("go/go.mod", "module example.org/op\n\ngo 1.24\n"),
            ("go/main.go", GO),
            ("rust/src/main.rs", RUST),
            ("rust/src/part.rs", PART),
        ];
        for (name, text) in files {
            let path = project.sources().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::create_dir_all(project.programs()).unwrap();
        project
    }

    fn sources(&self) -> PathBuf {
        self.dir.path().join(FOLDER)
    }

    fn programs(&self) -> PathBuf {
        self.dir.path().join(PROGRAMS)
    }

    /// What is searched.
    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn build(&self) {
        let go = Command::new("go")
            .current_dir(self.sources().join("go"))
            .env("GOWORK", "off")
            .args(["build", "-cover", "-o"])
            .arg(self.programs().join("goer"))
            .arg(".")
            .status();
        assert!(go.expect("go is needed").success());
        let rust = Command::new("rustc")
            .args([
                "-C",
                "instrument-coverage",
                "-C",
                "link-arg=-Wl,--build-id=sha1",
                "-o",
            ])
            .arg(self.programs().join("ruster"))
            .arg(self.sources().join("rust/src/main.rs"))
            .status();
        assert!(rust.expect("rustc is needed").success());
    }

    fn podcov(&self, words: &[&str]) {
        let output = Command::new(env!("CARGO_BIN_EXE_podcov"))
            .current_dir(self.sources())
            .env("SECRET", VARIABLE)
            .env("HOME", self.dir.path().join(FILE))
            .args(["--quiet"])
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
    }

    /// Runs a program under `podcov exec`; gives the folder of its run.
    fn exec(&self, name: &str, source_root: &str) -> PathBuf {
        let run = self.dir.path().join("runs").join(name);
        let program = self.programs().join(name);
        let root = self.sources().join(source_root);
        self.podcov(&[
            "exec",
            "--evidence",
            text(&run),
            "--source-root",
            text(&root),
            "--",
            text(&program),
            ARGUMENT,
            text(&self.dir.path().join(FILE)),
        ]);
        run
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The canaries in the bytes.
fn found(bytes: &[u8]) -> Vec<&'static str> {
    let has = |canary: &&str| {
        bytes
            .windows(canary.len())
            .any(|part| part == canary.as_bytes())
    };
    ALL.into_iter().filter(|canary| has(canary)).collect()
}

#[test]
fn nothing_of_the_process_and_of_the_machine_reaches_what_is_published() {
    let project = Project::new();
    project.build();
    let mut leaks = Vec::new();
    let mut searched = 0;
    for (name, root) in [("goer", "go"), ("ruster", "rust")] {
        let run = project.exec(name, root);
        let root = project.sources().join(root);
        let evidence = run.join("evidence");
        let program = project.programs().join(name);
        // The test would prove nothing if nothing were there to be found.
        let kept: Vec<u8> = tree(&run.join("evidence"))
            .into_values()
            .flatten()
            .collect();
        let expected = if name == "goer" {
            [ARGUMENT, PROGRAMS]
        } else {
            [PROGRAMS, PROGRAMS]
        };
        assert!(
            expected.iter().all(|canary| found(&kept).contains(canary)),
            "{name}"
        );

        let out = project.out().join(name);
        fs::create_dir_all(&out).unwrap();
        let store = out.join("all.podcov");
        let reading = ["--object", text(&program), text(&evidence)];
        let is_go = name == "goer";
        let mut read: Vec<&str> = reading.to_vec();
        if is_go {
            read.drain(..2);
        }
        let with = |words: &[&str]| {
            let mut all = words.to_vec();
            all.push("--tolerate");
            all.extend(&read);
            project.podcov(&all);
        };
        with(&["merge", "--format", "podcov", "-o", text(&store)]);
        let merged = out.join("merged");
        let format = if is_go { "covdata" } else { "profdata" };
        with(&["merge", "--format", format, "-o", text(&merged)]);
        let mut formats = vec!["lcov", "cobertura", "codecov", "json"];
        formats.push(if is_go { "go-cover" } else { "llvm-json" });
        for format in formats {
            let to = out.join(format);
            let root = ["--source-root", text(&root), "-o", text(&to)];
            with(&[&["export", "--format", format][..], &root].concat());
        }
        let made = [
            out,
            run.join("coverage"),
            run.join("report"),
            run.join("quarantine"),
        ];
        let files = made.iter().flat_map(|dir| {
            let named = move |(name, bytes)| (format!("{}/{name}", dir.display()), bytes);
            tree(dir).into_iter().map(named)
        });
        let ledger = run.join("ledger.json");
        let ledger = (text(&ledger).to_owned(), fs::read(&ledger).unwrap());
        for (name, bytes) in files.chain([ledger]) {
            // For llvm-cov by hand on this machine: it knows the sources by
            // the names that the program has.
            if name.ends_with("/sources.rsp") {
                continue;
            }
            searched += 1;
            let found = found(&bytes);
            if !found.is_empty() {
                leaks.push(format!("{name}: {found:?}"));
            }
        }
    }
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
    assert!(searched > 40, "{searched} files were searched");
}
