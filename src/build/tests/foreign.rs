//! Builds that podcov does not run: `podcov env`, the build, `podcov bundle`.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Project, failure, names, need};
use podcov_build::{Context, EnvOptions, Error, Foreign, bundle, env};
use podcov_process::{Cancel, Silent};
use podcov_profile::Identity;
use podcov_profile::bundle::{Bundle, Mode};
use podcov_profile::names::Language;

fn variables(project: &Project, language: Language) -> Vec<(String, String)> {
    let options = EnvOptions {
        dir: project.root.clone(),
        crates: Vec::new(),
        coverpkg: Vec::new(),
        mode: None,
        statically: language == Language::Go,
        wrapper: Some(env!("CARGO_BIN_EXE_podcov-rustc-wrapper").into()),
    };
    // A name that a shell, make or go would take for two.
    env(
        language,
        &project.path("with space"),
        &options,
        &Silent,
        &Cancel::new(),
    )
    .unwrap()
}

fn value(variables: &[(String, String)], key: &str) -> String {
    let found = variables.iter().find(|(name, _)| name == key);
    found
        .unwrap_or_else(|| panic!("{key} in {variables:?}"))
        .1
        .clone()
}

fn bundled(project: &Project, program: &Path) -> Result<Bundle, Error> {
    let (cache, bundles) = (project.path("cache"), project.path("bundle"));
    let cancel = Cancel::new();
    let (cache, bundles) = (cache.as_path(), bundles.as_path());
    let ctx = Context {
        cache,
        bundles,
        progress: &Silent,
        cancel: &cancel,
    };
    let foreign = Foreign {
        source_root: Some(project.root.clone()),
        ..Foreign::default()
    };
    bundle(&[program.to_owned()], &foreign, &ctx)
}

fn rust_workspace() -> Project {
    Project::new(&[
        (
            "Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"app\"]\n",
        ),
        (
            "app/Cargo.toml",
            "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
        ),
        ("app/src/main.rs", "fn main() { println!(\"hello\"); }"),
        (
            "app/build.rs",
            "fn main() { println!(\"cargo::rerun-if-changed=build.rs\"); }",
        ),
    ])
}

#[test]
fn a_cargo_build_of_somebody_else_can_be_bundled() {
    let project = rust_workspace();
    let variables = variables(&project, Language::Rust);
    assert_eq!(value(&variables, "CARGO_LLVM_COV_SHOW_ENV"), "1");
    let built = Command::new("cargo")
        .arg("build")
        .envs(variables.iter().cloned())
        .current_dir(&project.root)
        .status()
        .unwrap();
    assert!(built.success());
    let target = PathBuf::from(value(&variables, "CARGO_TARGET_DIR"));
    assert_eq!(
        value(&variables, "CARGO_LLVM_COV_TARGET_DIR"),
        target.to_str().unwrap()
    );
    assert!(!project.root.join("target").exists());
    let program = target.join("debug/app");
    let bundle = bundled(&project, &program).unwrap();
    let binary = &bundle.binaries[0];
    assert_eq!(
        (bundle.component.as_str(), binary.mode),
        ("app", Mode::Continuous)
    );
    assert!(matches!(binary.identity, Some(Identity::BuildId(_))));
    assert!(
        bundle.toolchain.starts_with("rustc 1."),
        "{}",
        bundle.toolchain
    );
    assert!(bundle.llvm_major.is_some());
    let paths: Vec<_> = bundle
        .sources
        .files
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(paths, ["app/build.rs", "app/src/main.rs"]);

    // Run in the same shell, it leaves its profile where cargo-llvm-cov looks.
    assert!(
        Command::new(&program)
            .envs(variables)
            .status()
            .unwrap()
            .success()
    );
    let profiles: Vec<_> = names(&target)
        .into_iter()
        .filter(|n| n.ends_with(".profraw"))
        .collect();
    assert!(
        matches!(&profiles[..], [one] if one.starts_with("sources-")),
        "{profiles:?}"
    );
}

#[test]
fn a_go_build_of_somebody_else_can_be_bundled() {
    need("go", "install Go from https://go.dev/dl");
    let project = Project::new(&[
        ("op/go.mod", "module example.org/op\n\ngo 1.22\n"),
        (
            "op/main.go",
            "package main\n\nimport \"example.org/op/a\"\n\nfunc main() { a.A() }\n",
        ),
        ("op/a/a.go", "package a\n\nfunc A() {}\n"),
        ("op/b/b.go", "package b\n\nfunc B() {}\n"),
    ]);
    let options = EnvOptions {
        dir: project.root.join("op"),
        crates: Vec::new(),
        coverpkg: vec!["./a".to_owned()],
        mode: None,
        statically: true,
        wrapper: None,
    };
    let out = project.path("with space");
    let variables = env(Language::Go, &out, &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!(value(&variables, "CGO_ENABLED"), "0");
    let build = |name: &str, main: &[&str]| {
        let program = project.path(name);
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .args(main)
            .envs(variables.clone())
            .current_dir(project.root.join("op"))
            .status()
            .unwrap();
        assert!(built.success());
        bundled(&project, &program).unwrap()
    };
    // As scaffolds have it in their Makefile: main has no import path then.
    let of_file = build("op-of-file", &["main.go"]);
    let main = of_file
        .sources
        .files
        .iter()
        .find(|file| file.path == "op/main.go");
    assert!(main.is_some(), "{:?}", of_file.sources.files);
    let bundle = build("op-built", &[]);
    let binary = &bundle.binaries[0];
    assert_eq!(binary.mode, Mode::Continuous);
    assert!(matches!(binary.identity, Some(Identity::Covmeta(_))));
    assert!(
        bundle.toolchain.starts_with("go version go1."),
        "{}",
        bundle.toolchain
    );
    let paths: Vec<_> = bundle
        .sources
        .files
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(paths, ["op/a/a.go", "op/main.go"]);
    assert_eq!(
        bundle.sources.relative("example.org/op/a/a.go").as_deref(),
        Some("op/a/a.go")
    );
}

#[test]
fn a_program_without_coverage_is_refused_with_the_reason() {
    need("go", "install Go from https://go.dev/dl");
    let project = Project::new(&[
        ("go.mod", "module example.org/op\n\ngo 1.22\n"),
        ("main.go", "package main\n\nfunc main() {}\n"),
        ("main.rs", "fn main() {}"),
    ]);
    let run = |program: &str, args: &[&str]| {
        let status = Command::new(program)
            .args(args)
            .current_dir(&project.root)
            .status()
            .unwrap();
        assert!(status.success(), "{program} {args:?}");
    };
    run("go", &["build", "-o", "plain-go", "."]);
    run("rustc", &["main.rs", "-o", "plain-rust"]);
    let link = "-Clink-arg=-Wl,--build-id=none";
    run(
        "rustc",
        &["main.rs", "-Cinstrument-coverage", link, "-o", "no-id"],
    );
    let check = |name: &str, expected: &str| {
        let text = failure(bundled(&project, &project.root.join(name)));
        assert!(text.contains(expected), "expected `{expected}` in: {text}");
    };
    check(
        "plain-go",
        "found a Go program without; build it with the variables of",
    );
    check("plain-rust", "found none of its sections; build it with");
    check("no-id", "expected a build id, found none");
    check("main.rs", "expected an ELF program");
    check("nowhere", "cannot read");
}
