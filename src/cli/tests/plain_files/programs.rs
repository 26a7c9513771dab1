//! Programs that are built once, and what their runs leave.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

pub const SOURCE: &str = "fn even(number: u32) -> bool {
    number % 2 == 0
}

fn label(number: u32) -> &'static str {
    if even(number) { \"even\" } else { \"odd\" }
}

fn never() {
    println!(\"never\");
}

fn main() {
    let numbers = std::env::args().skip(1).map(|text| text.parse::<u32>().unwrap());
    for number in numbers {
        println!(\"{}\", label(number));
        if number == 99 {
            never();
        }
    }
}
";

pub const GO_SOURCE: &str = "package main

import (
	\"fmt\"
	\"os\"
)

func label(word string) string {
	if len(word)%2 == 0 {
		return \"even\"
	}
	return \"odd\"
}

func main() {
	for _, word := range os.Args[1:] {
		fmt.Println(label(word))
	}
}
";

pub fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        text(&output.stderr)
    );
    output
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// podcov, as it ends.
pub fn podcov(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_podcov"))
        .current_dir(dir)
        .args(args)
        .env_remove("LLVM_PROFILE_FILE")
        .env_remove("GOCOVERDIR")
        .output()
        .unwrap()
}

/// podcov, where it has to end with this status; gives stdout and stderr.
pub fn expect(status: i32, dir: &Path, args: &[&str]) -> (Vec<u8>, String) {
    let output = podcov(dir, args);
    let said = text(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(status),
        "podcov {args:?}\n{said}"
    );
    (output.stdout, said)
}

/// Debian's tool of the LLVM that rustc has. Not found is a failure: a test
/// that is skipped proves nothing.
pub fn llvm(tool: &str) -> Command {
    let name = format!("llvm-{tool}-22");
    let found = Command::new(&name).arg("--version").output();
    assert!(
        found.is_ok(),
        "{name} is needed: apt-get install --no-install-recommends llvm-22"
    );
    Command::new(name)
}

struct Built {
    dir: tempfile::TempDir,
}

fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("src")).unwrap();
        let source = dir.path().join("src/labels.rs");
        for (name, text) in [
            ("labels", SOURCE.to_owned()),
            (
                "changed",
                SOURCE.replace("number % 2 == 0", "number & 1 == 0 || number == 7"),
            ),
        ] {
            fs::write(&source, text).unwrap();
            let mut rustc = Command::new("rustc");
            rustc
                .args([
                    "--edition",
                    "2024",
                    "-C",
                    "instrument-coverage",
                    "-C",
                    "debuginfo=0",
                ])
                .args(["-C", "link-arg=-Wl,--build-id"])
                .arg("-o")
                .arg(dir.path().join(name))
                .arg(&source);
            run(&mut rustc);
        }
        fs::write(&source, SOURCE).unwrap();
        fs::create_dir(dir.path().join("go")).unwrap();
        fs::write(
            dir.path().join("go/go.mod"),
            "module example.org/words\n\ngo 1.21\n",
        )
        .unwrap();
        fs::write(dir.path().join("go/main.go"), GO_SOURCE).unwrap();
        let mut go = Command::new("go");
        go.current_dir(dir.path().join("go"))
            .args(["build", "-cover", "-o", "../words", "."]);
        run(&mut go);
        Built { dir }
    })
}

/// An instrumented program: `labels`, `changed` (another build of it) or
/// `words` (Go).
pub fn program(name: &str) -> PathBuf {
    built().dir.path().join(name)
}

/// Where the sources of `labels` are.
pub fn rust_sources() -> PathBuf {
    built().dir.path().join("src")
}

/// Where the sources of `words` are.
pub fn go_sources() -> PathBuf {
    built().dir.path().join("go")
}

/// A folder in which programs leave their profiles.
pub struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    pub fn new() -> Lab {
        Lab {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn at(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// Runs a program of Rust, which leaves `profile`.
    pub fn rust(&self, name: &str, profile: &str, args: &[&str]) {
        let mut command = Command::new(program(name));
        command
            .args(args)
            .env("LLVM_PROFILE_FILE", self.at(profile));
        run(&mut command);
    }

    /// Runs the program of Go, which leaves its files in `folder`.
    pub fn go(&self, folder: &str, args: &[&str]) {
        fs::create_dir_all(self.at(folder)).unwrap();
        let mut command = Command::new(program("words"));
        command.args(args).env("GOCOVERDIR", self.at(folder));
        run(&mut command);
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.at(name), bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.at(name)).unwrap()
    }

    /// podcov in this folder, ending with this status.
    pub fn expect(&self, status: i32, args: &[&str]) -> (Vec<u8>, String) {
        expect(status, self.path(), args)
    }

    /// What an indexed profile says, in LLVM's words.
    pub fn profdata_text(&self, name: &str) -> String {
        let mut show = llvm("profdata");
        show.args(["merge", "-text", "-o", "-"]).arg(self.at(name));
        text(&run(&mut show).stdout)
    }
}
