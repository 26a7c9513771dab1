//! An unmodified cargo-llvm-cov reads what we collected, and we read what it
//! made. It is installed from the registry once if it is not there.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::{LLVM, TestRun, build_id, llvm, run};
use podcov_merge::{Import, import, lay_out_for_cargo_llvm_cov};
use podcov_process::{Cancel, Silent, find_program};
use podcov_profile::llvm::export::Export;
use podcov_profile::model::{Binary, Ratio};
use podcov_profile::names::{Kind, Language};

const VERSION: &str = "0.9.1";

const MANIFEST: &str = r#"[package]
name = "tiny-op"
version = "0.1.0"
edition = "2024"

[workspace]
"#;

const MAIN: &str = r#"mod work;

fn main() {
    for argument in std::env::args().skip(1) {
        println!("{}", work::twice(&argument));
    }
}
"#;

const WORK: &str = r#"pub fn twice<T: std::fmt::Display>(what: &T) -> String {
    let text = what.to_string();
    if text.is_empty() {
        return never();
    }
    format!("{text}{text}")
}

fn never() -> String {
    "never".to_owned()
}
"#;

/// The program, from PATH or from a folder of ours that is kept between runs.
fn cargo_llvm_cov() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(found) = find_program("cargo-llvm-cov") {
            return found;
        }
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tools");
        let program = cache.join("bin/cargo-llvm-cov");
        if !program.is_file() {
            run(Command::new("cargo")
                .args([
                    "install",
                    "cargo-llvm-cov",
                    "--locked",
                    "--version",
                    VERSION,
                    "--root",
                ])
                .arg(&cache));
        }
        program
    })
}

/// cargo-llvm-cov in a workspace, with tools that are there: it would install
/// rustup's otherwise.
fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(cargo_llvm_cov());
    command.arg("llvm-cov").args(args).current_dir(dir);
    command
        .env("LLVM_COV", llvm("cov"))
        .env("LLVM_PROFDATA", llvm("profdata"));
    for variable in [
        "CARGO_TARGET_DIR",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WRAPPER",
    ] {
        command.env_remove(variable);
    }
    command
}

fn project(test: &TestRun) -> PathBuf {
    let files = [
        ("Cargo.toml", MANIFEST),
        ("src/main.rs", MAIN),
        ("src/work.rs", WORK),
    ];
    test.project("op", &files)
}

type Numbers = Vec<(String, Ratio, Ratio, Ratio)>;

fn ours(binary: &Binary) -> Numbers {
    let numbers = |f: &podcov_profile::model::File| {
        (
            f.path.clone(),
            f.metrics.lines,
            f.metrics.functions,
            f.metrics.regions,
        )
    };
    binary.files.iter().map(numbers).collect()
}

fn theirs(json: &[u8], root: &Path) -> Numbers {
    let export: Export = serde_json::from_slice(json).unwrap();
    let root = format!("{}/", root.canonicalize().unwrap().display());
    let files = export.data.iter().flat_map(|data| &data.files);
    let mut all: Numbers = files
        .map(|f| {
            let path = f
                .filename
                .strip_prefix(&root)
                .unwrap_or(&f.filename)
                .to_owned();
            let s = f.summary;
            (path, s.lines.into(), s.functions.into(), s.regions.into())
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn cargo_llvm_cov_reports_on_what_we_collected() {
    let mut test = TestRun::new();
    let dir = project(&test);
    let flags = "-Cinstrument-coverage -Cllvm-args=-runtime-counter-relocation \
                 -Clink-arg=-Wl,--build-id=sha1";
    run(Command::new("cargo")
        .args(["build", "--offline", "--target-dir"])
        .arg(test.path("build"))
        .current_dir(&dir)
        .env("RUSTFLAGS", flags));
    let program = test.path("build/debug/tiny-op");
    test.component(
        "op",
        Language::Rust,
        &program,
        Some(build_id(&program)),
        vec![],
    );
    // The bundle says what cargo calls the program.
    test.components[0].0.binaries[0].name = "tiny-op".to_owned();
    for args in [&["a"][..], &["b", "c"], &[]] {
        let life = test.incarnation("op");
        run(Command::new(&program)
            .args(args)
            .env("LLVM_PROFILE_FILE", life.join("%m%c.profraw")));
    }
    let empty = test.incarnation("op");
    fs::write(empty.join("x.profraw"), b"").unwrap();
    test.collect();
    let coverage = test.merge();

    let target = test.path("op/target/llvm-cov-target");
    let lay_out = || {
        let evidence = test.path("evidence");
        lay_out_for_cargo_llvm_cov(&test.ledger, &test.components, &evidence, &target).unwrap()
    };
    lay_out();
    // A second time must not double what is there.
    let laid_out = lay_out();
    assert_eq!((laid_out.profiles, laid_out.programs), (3, 1));
    let json = run(&mut command(&dir, &["report", "--json"])).stdout;
    let expected = ours(&coverage.components[0].binaries[0]);
    assert_eq!(expected.len(), 2);
    assert_eq!(theirs(&json, &dir), expected);
    let export: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let functions = export["data"][0]["functions"].as_array().unwrap();
    let main = functions
        .iter()
        .find(|f| f["name"].as_str().unwrap().ends_with("tiny_op4main"));
    assert_eq!(main.unwrap()["count"], 3);
}

#[test]
fn what_cargo_llvm_cov_made_is_imported() {
    let mut test = TestRun::new();
    let dir = project(&test);
    // As its documentation tells: evaluate show-env, build, run, report.
    let env = run(&mut command(&dir, &["show-env", "--sh"])).stdout;
    let script = format!(
        "{}\ncargo build --offline -q && ./target/debug/tiny-op a b && ./target/debug/tiny-op",
        String::from_utf8(env).unwrap()
    );
    let mut shell = Command::new("sh");
    run(shell
        .args(["-ec", &script])
        .current_dir(&dir)
        .env_remove("CARGO_TARGET_DIR"));
    let mut report = command(&dir, &["report", "--json"]);
    let json = run(report.env("CARGO_LLVM_COV_TARGET_DIR", dir.join("target"))).stdout;
    let expected = theirs(&json, &dir);
    assert_eq!(expected.len(), 2);

    // The raw profiles as they lie in the target folder, and the merged one.
    let merged = dir.join("target/op.profdata");
    assert!(merged.is_file());
    for profiles in [dir.join("target"), merged] {
        test.ledger.incarnations.clear();
        let imported = import(
            Import {
                component: "imported",
                kind: Kind::Operator,
                program: &dir.join("target/debug/tiny-op"),
                root: &dir,
                profiles: &[profiles],
                llvm_major: LLVM,
                run: "test",
                bundles: &test.path("bundle"),
                evidence: &test.path("evidence"),
            },
            &mut test.ledger,
            &Silent,
            &Cancel::new(),
        )
        .unwrap();
        assert!(imported.profiles > 0);
        test.components = vec![(imported.bundle, imported.dir)];
        let coverage = test.merge();
        assert_eq!(
            coverage.components[0].incarnations_lost, 0,
            "{:?}",
            test.ledger
        );
        let binary = &coverage.components[0].binaries[0];
        assert_eq!(ours(binary), expected);
        let main = binary.files[0]
            .functions
            .iter()
            .find(|f| f.name == "tiny_op::main")
            .unwrap();
        assert_eq!(main.count, 2);
    }
}
