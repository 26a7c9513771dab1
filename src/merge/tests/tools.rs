//! Which of several LLVMs is taken, and how a missing one is installed. The
//! programs are fakes in a PATH of their own, so each case runs in a process
//! of its own: this test, started again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use podcov_merge::tools::ensure_llvm;
use podcov_process::{Cancel, Progress};

const CHILD: &str = "PODCOV_TEST_CHILD";

struct Notes(Mutex<Vec<String>>);

impl Progress for Notes {
    fn status(&self, _: &str) {}
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

/// In the child: says what was found.
fn child() {
    // The test's name is on the line before.
    println!();
    let notes = Notes(Mutex::new(Vec::new()));
    match ensure_llvm(22, true, &notes, &Cancel::new()) {
        Ok(llvm) => println!(
            "found {} {} {}",
            llvm.major,
            llvm.origin,
            llvm.cov.display()
        ),
        Err(error) => println!("error {error}"),
    }
    for note in notes.0.into_inner().unwrap() {
        println!("note {note}");
    }
}

fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn tools(dir: &Path, suffix: &str, version: &str) {
    for tool in ["llvm-cov", "llvm-profdata"] {
        let text = format!("echo 'Debian LLVM version {version}'");
        script(&dir.join(format!("{tool}{suffix}")), &text);
    }
}

/// Runs the child with a PATH of only `dir` and a rustc whose libraries are
/// in `dir/rust/lib`.
fn find(dir: &Path, more: &[(&str, &str)]) -> String {
    let rustc = dir.join("rustc");
    script(&rustc, &format!("echo {}/rust/lib", dir.display()));
    fs::create_dir_all(dir.join("rust/lib")).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_nearest_llvm_is_taken", "--nocapture"]);
    command
        .env_clear()
        .env(CHILD, "1")
        .env("PATH", dir)
        .env("RUSTC", &rustc);
    command.envs(more.iter().copied().collect::<BTreeMap<_, _>>());
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let words = ["found ", "error ", "note "];
    let said = output
        .lines()
        .filter(|line| words.iter().any(|word| line.starts_with(word)));
    said.collect::<Vec<_>>()
        .join("\n")
        .replace(&dir.display().to_string(), "")
}

#[test]
fn the_nearest_llvm_is_taken() {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let missing = "error expected llvm-profdata and llvm-cov of LLVM 22 or newer, found";
    assert!(find(dir, &[]).starts_with(&format!("{missing} none: run `rustup component add")));
    tools(dir, "", "14.0.6");
    assert!(find(dir, &[]).starts_with(&format!("{missing} LLVM 14 (PATH): ")));
    tools(dir, "-24", "24.1.0");
    assert_eq!(find(dir, &[]), "found 24 PATH /llvm-cov-24");
    // Older than needed is no candidate, nearer is.
    tools(dir, "-21", "21.1.8");
    tools(dir, "-23", "23.0.1");
    assert_eq!(find(dir, &[]), "found 23 PATH /llvm-cov-23");
    // rustup's, whatever its version is called.
    tools(&dir.join("rust/bin"), "", "22.1.2-rust-1.95.0-stable");
    assert_eq!(
        find(dir, &[]),
        "found 22 rustup's llvm-tools /rust/lib/../bin/llvm-cov"
    );
    // What the user names goes before all.
    tools(&dir.join("own"), "", "25.0.0");
    let own = ["llvm-cov", "llvm-profdata"].map(|tool| dir.join("own").join(tool));
    let own = own.map(|path| path.display().to_string());
    let named = [
        ("LLVM_COV", own[0].as_str()),
        ("LLVM_PROFDATA", own[1].as_str()),
    ];
    assert_eq!(
        find(dir, &named),
        "found 25 LLVM_COV and LLVM_PROFDATA /own/llvm-cov"
    );
}

#[test]
fn what_is_missing_is_installed_where_that_is_one_command() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    // A package that is known only after an update.
    script(
        &dir.join("apt-cache"),
        &format!("test -e {}/updated", dir.display()),
    );
    let install = format!(
        "echo \"$@\" >> {0}/log\n\
         case \"$1\" in update) : > {0}/updated ;;\n\
         install) for t in llvm-cov llvm-profdata; do\n\
         printf '#!/bin/sh\\necho LLVM version 22.1.8\\n' > {0}/$t-22; /bin/chmod +x {0}/$t-22\n\
         done ;; esac",
        dir.display()
    );
    script(&dir.join("apt-get"), &install);
    let found = find(dir, &[]);
    if !is_root() {
        assert!(found.starts_with("error "), "{found}");
        return;
    }
    assert!(
        found.starts_with("found 22 PATH /llvm-cov-22\nnote installing llvm-22"),
        "{found}"
    );
    let log = fs::read_to_string(dir.join("log")).unwrap();
    assert_eq!(log, "update\ninstall -y --no-install-recommends llvm-22\n");
}

/// Only root may install; what another user gets is the remedy.
fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let uid = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .unwrap();
    uid.split_whitespace().nth(1) == Some("0")
}
