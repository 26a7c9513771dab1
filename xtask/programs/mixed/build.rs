//! Compiles the C part with the clang of rustc's LLVM, instrumented as the
//! Rust part is.

use std::path::Path;
use std::process::Command;

fn run(command: &mut Command) {
    let status = command.status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "{command:?}: {status:?}; apt-get install clang-22 llvm-22"
    );
}

fn main() {
    println!("cargo::rerun-if-changed=part.c");
    let out = std::env::var("OUT_DIR").unwrap();
    let (object, archive) = (
        Path::new(&out).join("part.o"),
        Path::new(&out).join("libpart.a"),
    );
    let mut clang = Command::new("clang-22");
    clang.args(["-c", "-g0", "-O1", "-fPIC", "-fprofile-instr-generate"]);
    clang.args(["-fcoverage-mapping", "-fcoverage-mcdc", "part.c", "-o"]);
    run(clang.arg(&object));
    run(Command::new("llvm-ar-22").arg("rcs").arg(&archive).arg(&object));
    println!("cargo::rustc-link-search=native={out}");
    println!("cargo::rustc-link-lib=static=part");
}
