//! What kind itself makes of our configuration and commands. Docker is a script
//! that writes down what kind asks it for: its real one is not everywhere.

use std::path::Path;
use std::process::Command;

use podcov_cluster::provider::{Provider, Settings, State, select};
use podcov_process::{Cancel, Run, Silent};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kind");
const INNER: &str = "PODCOV_TEST_KIND_FOLDER";

/// Runs this test again with kind and the script first on PATH.
fn with_kind(test: &str) {
    let folder = tempfile::tempdir().unwrap();
    let kind = folder.path().join("kind");
    Run::new("go")
        .args(["build", "-o", kind.to_str().unwrap(), "sigs.k8s.io/kind"])
        .current_dir(FOLDER)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .run()
        .unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(
            "PATH",
            format!("{}:{FOLDER}:{path}", folder.path().display()),
        )
        .env("PODCOV_TEST_DOCKER_LOG", folder.path().join("docker.log"))
        .env(INNER, folder.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn kind_takes_our_configuration_and_mounts_the_evidence() {
    let Some(folder) = std::env::var_os(INNER) else {
        return with_kind("kind_takes_our_configuration_and_mounts_the_evidence");
    };
    let folder = Path::new(&folder);
    let mut settings = Settings::new("shop", folder.join("evidence"));
    settings.provider = Provider::Kind;
    settings.kind_image = Some("kindest/node:v1.34.0".into());
    settings.scratch = folder.join("run");
    let cluster = select(settings).unwrap();
    assert_eq!(cluster.status().unwrap().state, State::Absent);
    let error = cluster.up(&Silent, &Cancel::new()).unwrap_err().to_string();
    assert!(error.contains("no containers in this test"), "{error}");
    let asked = std::fs::read_to_string(folder.join("docker.log")).unwrap();
    let run = asked.lines().find(|line| line.starts_with("run ")).unwrap();
    let mount = format!(
        "--volume={}:/podcov/evidence",
        folder.join("evidence").display()
    );
    assert!(run.contains(&mount), "{run}");
    assert!(run.contains("--name shop-control-plane"), "{run}");
    assert!(run.contains("kindest/node:v1.34.0"), "{run}");
    cluster.down(&Silent).unwrap();
    assert!(!folder.join("run/kind.yaml").exists());
}

#[test]
fn a_configuration_that_kind_refuses_is_told_in_its_words() {
    let Some(folder) = std::env::var_os(INNER) else {
        return with_kind("a_configuration_that_kind_refuses_is_told_in_its_words");
    };
    let folder = Path::new(&folder);
    let config = folder.join("theirs.yaml");
    let text = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n  - role: control-plane\n    \
                extraMount: [{hostPath: \"{evidence}\"}]\n";
    std::fs::write(&config, text).unwrap();
    let mut settings = Settings::new("shop", folder.join("evidence"));
    settings.provider = Provider::Kind;
    settings.kind_config = Some(config);
    settings.scratch = folder.join("run");
    let error = select(settings)
        .unwrap()
        .up(&Silent, &Cancel::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("field extraMount not found"), "{error}");
}
