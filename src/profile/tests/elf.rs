//! Programs made by the real compilers say what they are.

use std::path::Path;
use std::process::Command;

use podcov_profile::elf;
use podcov_profile::llvm::raw;

const RUST: &str = "fn main() { println!(\"{}\", std::env::args().count()); }";

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn rustc(dir: &Path, flags: &[&str]) -> elf::Program {
    std::fs::write(dir.join("main.rs"), RUST).unwrap();
    let mut command = Command::new("rustc");
    run(command
        .current_dir(dir)
        .args(["main.rs", "-o", "program"])
        .args(flags));
    elf::read(&std::fs::read(dir.join("program")).unwrap()).unwrap()
}

#[test]
fn rust_programs() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let instrument = "-Cinstrument-coverage";
    let relocation = "-Cllvm-args=-runtime-counter-relocation";
    let id = "-Clink-arg=-Wl,--build-id=sha1";

    let plain = rustc(dir, &[]);
    assert!(!plain.is_instrumented() && !plain.llvm_mapping && !plain.go);
    assert!(plain.interpreter.is_some() && !plain.is_static());
    assert!(
        plain.needed.contains(&"libc.so.6".to_owned()),
        "{:?}",
        plain.needed
    );
    assert_eq!(plain.arch, std::env::consts::ARCH);

    let instrumented = rustc(dir, &[instrument, id]);
    assert!(instrumented.is_instrumented());
    assert_eq!(instrumented.llvm_relocation, Some(false));

    let continuous = rustc(dir, &[instrument, relocation, id]);
    assert_eq!(continuous.llvm_relocation, Some(true));
    let profile = dir.join("one.profraw");
    run(Command::new(dir.join("program")).env("LLVM_PROFILE_FILE", &profile));
    let profile = std::fs::read(profile).unwrap();
    let limits = podcov_profile::Limits::default();
    let part = raw::parts(&profile, &limits).next().unwrap().unwrap();
    assert_eq!(
        part.build_ids(),
        continuous.build_id.into_iter().collect::<Vec<_>>()
    );

    let flags = [
        "-Ctarget-feature=+crt-static",
        "-Cstrip=symbols",
        instrument,
        relocation,
        id,
    ];
    let stripped = rustc(dir, &flags);
    assert!(stripped.is_instrumented() && stripped.is_static());
    assert_eq!(stripped.llvm_relocation, None);
}

#[test]
fn go_programs() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/go");
    for name in ["main.go", "main_test.go", "go.mod"] {
        std::fs::copy(format!("{source}/{name}"), dir.join(name)).unwrap();
    }
    let go = |args: &[&str]| {
        run(Command::new("go").current_dir(dir).args(args));
        elf::read(&std::fs::read(dir.join("program")).unwrap()).unwrap()
    };
    let plain = go(&["build", "-o", "program", "."]);
    assert!(plain.go && !plain.is_instrumented());
    let flags = ["build", "-cover", "-ldflags=-s -w", "-o", "program", "."];
    let covered = go(&flags);
    assert!(covered.go && covered.is_instrumented() && !covered.llvm_mapping);
    assert_ne!(plain.go_build_id, covered.go_build_id);
    let test = go(&["test", "-c", "-cover", "-o", "program", "."]);
    assert!(test.is_instrumented() && test.go_build_id.is_some());
}

#[test]
fn what_is_no_program_is_refused_without_panic() {
    for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", &[0; 200]] {
        assert!(elf::read(bytes).is_err());
    }
    let program = std::fs::read("/bin/true").unwrap();
    // All of the header, then samples of the rest.
    for len in (0..0x400).chain((0x400..program.len()).step_by(97)) {
        let _ = elf::read(&program[..len]);
    }
    for at in (0..0x400).chain(program.len().saturating_sub(0x800)..program.len()) {
        let mut program = program.clone();
        for value in [0, 0x7f, 0xff] {
            program[at] = value;
            let _ = elf::read(&program);
        }
    }
}
