//! Every `--help`, as a user reads it.

use std::process::Command;

fn help(words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podcov"));
    let output = command
        .args(words)
        .arg("--help")
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_command_explains_itself() {
    let commands: &[&[&str]] = &[
        &[],
        &["init"],
        &["run"],
        &["exec"],
        &["build"],
        &["overlay"],
        &["cluster"],
        &["cluster", "kubectl"],
        &["inject"],
        &["inject", "install"],
        &["deploy"],
        &["rbac"],
        &["test"],
        &["phase"],
        &["phase", "start"],
        &["phase", "end"],
        &["stop"],
        &["collect"],
        &["merge"],
        &["export"],
        &["show"],
        &["summary"],
        &["diff"],
        &["inspect"],
        &["report"],
        &["gate"],
        &["env"],
        &["bundle"],
        &["completions"],
    ];
    let all: Vec<String> = commands
        .iter()
        .map(|words| format!("$ podcov {} --help\n{}", words.join(" "), help(words)))
        .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(env!("CARGO_BIN_EXE_podcov"))
            .args(["completions", shell])
            .output()
            .unwrap();
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("collect"),
            "{shell}"
        );
    }
}
