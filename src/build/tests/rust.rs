//! Rust components: real crates, real cargo.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Project, failure, names};
use podcov_profile::Identity;
use podcov_profile::bundle::Mode;
use podcov_profile::names::Language;

const APP: &str = "
    fn main() {
        let n = std::env::args().count();
        println!(\"{}\", if n > 1 { app::twice(n) } else { app::once(n) });
        if std::env::var_os(\"DIE\").is_some() {
            let me = std::process::id().to_string();
            std::process::Command::new(\"kill\").args([\"-9\", &me]).status().unwrap();
        }
    }";

fn single() -> Project {
    Project::new(&[
        (
            "Cargo.toml",
            "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
        ),
        ("src/main.rs", APP),
        (
            "src/lib.rs",
            "include!(concat!(env!(\"OUT_DIR\"), \"/made.rs\"));\n\
             pub fn once(n: usize) -> usize { n }\n",
        ),
        (
            "build.rs",
            "fn main() { let out = std::env::var(\"OUT_DIR\").unwrap();
             std::fs::write(out + \"/made.rs\", \"pub fn twice(n: usize) -> usize { 2 * n }\")
                 .unwrap(); }",
        ),
    ])
}

fn workspace() -> Project {
    Project::new(&[
        (
            "Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"operator\", \"client\", \"shared\"]\n",
        ),
        (
            "operator/Cargo.toml",
            "[package]\nname = \"my-operator\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
             [dependencies]\nmy-shared = { path = \"../shared\" }\n",
        ),
        (
            "operator/src/main.rs",
            "fn main() { println!(\"{}\", my_shared::answer()); }",
        ),
        (
            "client/Cargo.toml",
            "[package]\nname = \"my-client\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
             [dependencies]\nmy-shared = { path = \"../shared\" }\n",
        ),
        (
            "client/src/main.rs",
            "fn main() { println!(\"{}\", my_shared::answer()); }",
        ),
        (
            "shared/Cargo.toml",
            "[package]\nname = \"my-shared\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
        ),
        ("shared/src/lib.rs", "pub fn answer() -> u32 { 42 }"),
    ])
}

fn profiled(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("LLVM_PROFILE_FILE", dir.join("%m%c.profraw"));
    command
}

/// Whether the bytes of `text` are in the file.
fn holds(file: &Path, text: &str) -> bool {
    let bytes = std::fs::read(file).unwrap();
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[test]
fn a_single_crate_counts_through_a_kill() {
    let project = single();
    let bundle = project
        .build(&project.component("app", Language::Rust))
        .unwrap();
    let binary = &bundle.binaries[0];
    assert_eq!(binary.mode, Mode::Continuous);
    let Some(Identity::BuildId(id)) = &binary.identity else {
        panic!("{:?}", binary.identity)
    };
    assert_eq!(id.len(), 40);

    let evidence = project.evidence("killed");
    let status = profiled(&project.program(&bundle), &evidence)
        .env("DIE", "1")
        .status()
        .unwrap();
    assert_eq!(status.code(), None, "killed");
    let files = names(&evidence);
    assert_eq!(files.len(), 1, "{files:?}");
    // An instrumented program that is killed without the mapping leaves nothing.
    let profile = std::fs::read(evidence.join(&files[0])).unwrap();
    let build_id: Vec<u8> = (0..20)
        .map(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16).unwrap())
        .collect();
    assert!(
        profile.windows(20).any(|window| window == build_id),
        "build id in the profile"
    );

    let sources: Vec<_> = bundle
        .sources
        .files
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(
        sources,
        ["_generated/app/made.rs", "src/lib.rs", "src/main.rs"]
    );
    for file in sources {
        assert!(
            project.path("bundle/app/src").join(file).is_file(),
            "{file}"
        );
    }
    let library = project.root.join("src/lib.rs");
    assert_eq!(
        bundle
            .sources
            .relative(library.to_str().unwrap())
            .as_deref(),
        Some("src/lib.rs")
    );
    // Static: nothing to bring along into an empty image.
    let loader = Command::new("ldd")
        .arg(project.program(&bundle))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&loader.stdout) + String::from_utf8_lossy(&loader.stderr);
    assert!(
        text.contains("statically linked") || text.contains("not a dynamic"),
        "{text}"
    );
    assert!(
        !project.root.join("target").exists(),
        "the user's own target folder"
    );
}

#[test]
fn only_what_is_asked_for_is_counted_and_shared_by_components() {
    let project = workspace();
    let mut operator = project.component("operator", Language::Rust);
    operator.binary = Some("my-operator".to_owned());
    operator.crates = vec!["my-operator".to_owned()];
    let only = project.build(&operator).unwrap();
    let paths = |bundle: &podcov_profile::bundle::Bundle| {
        bundle
            .sources
            .files
            .iter()
            .map(|file| file.path.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(paths(&only), ["operator/src/main.rs"]);

    operator.name = "both".to_owned();
    operator.crates = Vec::new();
    let both = project.build(&operator).unwrap();
    assert_eq!(paths(&both), ["operator/src/main.rs", "shared/src/lib.rs"]);
    assert_ne!(only.binaries[0].identity, both.binaries[0].identity);

    // The counted functions are named in the profile of a run.
    for (bundle, counted) in [(&only, false), (&both, true)] {
        let evidence = project.evidence(&format!("run-{}", bundle.component));
        assert!(
            profiled(&project.program(bundle), &evidence)
                .status()
                .unwrap()
                .success()
        );
        let file = evidence.join(&names(&evidence)[0]);
        assert_eq!(
            functions(&file),
            if counted { 2 } else { 1 },
            "{}",
            bundle.component
        );
    }

    // Both variants stay: neither build makes the other's old.
    operator.name = "operator".to_owned();
    operator.crates = vec!["my_operator".to_owned()];
    let again = project.build(&operator).unwrap();
    assert_eq!(again.binaries, only.binaries);
    assert_eq!(
        names(&project.path("cache")).len(),
        1,
        "one target folder for both"
    );
}

/// The number of functions (`NumData`) in a raw profile's header.
fn functions(profile: &Path) -> u64 {
    let bytes = std::fs::read(profile).unwrap();
    // magic, version, size of build ids, number of data records
    u64::from_le_bytes(bytes[24..32].try_into().unwrap())
}

#[test]
fn at_exit_and_dynamic_are_there_for_who_asks() {
    let project = single();
    let mut component = project.component("app", Language::Rust);
    component.mode = Some(Mode::AtExit);
    component.statically = false;
    component.image = Some(podcov_build::ImageSpec::new("localhost/app:dev"));
    let bundle = project.build(&component).unwrap();
    assert_eq!(bundle.binaries[0].mode, Mode::AtExit);
    let program = project.program(&bundle);
    let facts = podcov_profile::elf::read(&std::fs::read(&program).unwrap()).unwrap();
    assert_eq!(facts.llvm_relocation, Some(false));
    assert!(holds(&program, "/ld-linux"), "a dynamic loader");
    let evidence = project.evidence("exit");
    let mut run = Command::new(&program);
    run.env("LLVM_PROFILE_FILE", evidence.join("%p.profraw"));
    assert!(run.status().unwrap().success());
    assert_eq!(names(&evidence).len(), 1);
    // The launcher's default name would lose everything.
    let words = bundle.image.unwrap().entrypoint;
    let name = words
        .iter()
        .position(|word| word == "--profile-name")
        .unwrap();
    assert_eq!(words[name + 1], "%m.profraw");
}

#[test]
fn the_users_own_flags_stay() {
    let project = single();
    let manifest = std::fs::read_to_string(project.root.join("Cargo.toml")).unwrap();
    let own = "[profile.dev]\ncodegen-units = 2\n[profile.dev.package.app]\nopt-level = 1\n";
    project.write("Cargo.toml", &(manifest + own));
    project.write(
        ".cargo/config.toml",
        "[build]\nrustflags = [\"--cfg\", \"mine\"]\n",
    );
    project.write(
        "src/main.rs",
        "#![allow(unexpected_cfgs)]\nfn main() { assert!(cfg!(mine) && cfg!(coverage)); \
         assert_eq!(app::once(1), 1); }",
    );
    let bundle = project
        .build(&project.component("app", Language::Rust))
        .unwrap();
    let evidence = project.evidence("run");
    assert!(
        profiled(&project.program(&bundle), &evidence)
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_wrapper_that_was_there_stays() {
    use std::os::unix::fs::PermissionsExt;
    let project = single();
    let log = project.path("log");
    let script = format!("#!/bin/sh\necho \"$@\" >> {}\nexec \"$@\"\n", log.display());
    project.write("wrapper.sh", &script);
    let wrapper = project.root.join("wrapper.sh");
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!("[build]\nrustc-wrapper = \"{}\"\n", wrapper.display());
    project.write(".cargo/config.toml", &config);
    project
        .build(&project.component("app", Language::Rust))
        .unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    let app = log
        .lines()
        .find(|line| line.contains("--crate-name app"))
        .unwrap();
    assert!(app.contains("-C instrument-coverage"), "{app}");
    assert!(!app.contains("codegen-units"), "{app}");
}

#[test]
fn a_dependency_outside_the_workspace_can_be_counted() {
    let project = workspace();
    let shared = Project::new(&[
        (
            "Cargo.toml",
            "[package]\nname = \"my-shared\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
        ),
        ("src/lib.rs", "mod answer;\npub use answer::answer;"),
        ("src/answer.rs", "pub fn answer() -> u32 { 42 }"),
    ]);
    project.write(
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"operator\"]\n",
    );
    let manifest = format!(
        "[package]\nname = \"my-operator\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
         [dependencies]\nmy-shared = {{ path = \"{}\" }}\n",
        shared.root.display()
    );
    project.write("operator/Cargo.toml", &manifest);
    let mut component = project.component("operator", Language::Rust);
    component.crates = vec!["my-shared".to_owned()];
    let bundle = project.build(&component).unwrap();
    let paths: Vec<_> = bundle
        .sources
        .files
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    let names = [
        "_path/my-shared-0.1.0/src/answer.rs",
        "_path/my-shared-0.1.0/src/lib.rs",
    ];
    assert_eq!(paths, names);
    let file = shared.root.join("src/answer.rs");
    assert_eq!(
        bundle.sources.relative(file.to_str().unwrap()).as_deref(),
        Some(names[0])
    );
    // Main is not counted and still starts the runtime.
    let evidence = project.evidence("run");
    assert!(
        profiled(&project.program(&bundle), &evidence)
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(functions(&evidence.join(&common::names(&evidence)[0])), 1);
}

#[test]
fn what_does_not_fit_is_said_with_what_would() {
    let project = workspace();
    let check = |change: &dyn Fn(&mut podcov_build::Component), expected: &str| {
        let mut component = project.component("x", Language::Rust);
        change(&mut component);
        let text = failure(project.build(&component));
        assert!(text.contains(expected), "expected `{expected}` in: {text}");
    };
    check(
        &|_| {},
        "several programs could be meant: `my-client` (package my-client), `my-op",
    );
    check(
        &|c| c.binary = Some("my-operatr".into()),
        "did you mean `my-operator`?",
    );
    check(
        &|c| c.package = Some("my-shared".into()),
        "found only libraries in package `my-shared`",
    );
    check(
        &|c| c.package = Some("my-share".into()),
        "did you mean `my-shared`?",
    );
    check(
        &|c| c.manifest = Some("nowhere/Cargo.toml".into()),
        "expected a Cargo.toml at ",
    );
    let operator = |crates: &str| {
        let crates = vec![crates.to_owned()];
        move |c: &mut podcov_build::Component| {
            c.package = Some("my-operator".into());
            c.crates = crates.clone();
        }
    };
    check(&operator("my-shard"), "did you mean `my-shared`?");
    check(
        &operator("my-client"),
        "is in the workspace but not in program",
    );
    project.write(
        "shared/src/lib.rs",
        "pub fn answer() -> u32 { \"no number\" }",
    );
    let text = "expected `u32`, found `&str`";
    check(&|c| c.binary = Some("my-operator".into()), text);
}
