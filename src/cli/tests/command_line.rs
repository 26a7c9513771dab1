//! podcov as a user starts it, as far as no cluster is needed: real programs,
//! real profiles, real exit statuses.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn podcov(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_podcov"))
        .current_dir(dir)
        .args(args)
        .env_remove("LLVM_PROFILE_FILE")
        .env_remove("GOCOVERDIR")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A cargo package whose program calls `tick` as often as it is told.
fn rust_program(dir: &Path) {
    write(
        dir,
        "Cargo.toml",
        "[package]\nname = \"ticker\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n",
    );
    write(
        dir,
        "src/main.rs",
        "fn tick() {\n    std::hint::black_box(());\n}\n\nfn never() {\n    println!(\"never\");\n}\n\n\
         fn main() {\n    let times: u32 = std::env::args().nth(1).unwrap().parse().unwrap();\n    \
         for _ in 0..times {\n        tick();\n    }\n    if times == 99 {\n        never();\n    }\n    \
         if std::env::args().nth(2).is_some() {\n        std::process::exit(7);\n    }\n}\n",
    );
}

#[test]
fn without_configuration_the_remedy_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let output = podcov(dir.path(), &["run"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("podcov init"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_run_that_has_nothing_to_deploy_builds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "podcov.toml",
        "[composition]\nname = \"nothing-to-deploy\"\n[[component]]\nname = \"x\"\nlanguage = \"go\"\n",
    );
    let output = podcov(dir.path(), &["run"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("nothing to deploy") && !said.contains("build"),
        "{said}"
    );
}

#[test]
fn a_step_without_the_one_before_says_which_to_run() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "podcov.toml",
        "[composition]\nname = \"x\"\n[[component]]\nname = \"x\"\nlanguage = \"go\"\n",
    );
    let output = podcov(dir.path(), &["merge"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("podcov build"),
        "{}",
        text(&output.stderr)
    );
}

/// `podcov doctor` on programs of either kind, and one that is tried.
#[test]
fn doctor_says_what_would_lose_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(
        root,
        "server.rs",
        "fn main() {\n    loop {\n        std::thread::sleep(std::time::Duration::from_millis(5));\n    }\n}\n",
    );
    let build = |name: &str, flags: &[&str]| {
        let built = Command::new("rustc")
            .current_dir(root)
            .args(["--edition", "2024", "-o", name, "server.rs"])
            .args(flags)
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", text(&built.stderr));
    };
    let id = "link-arg=-Wl,--build-id=sha1";
    let kept = "llvm-args=-runtime-counter-relocation";
    build("plain", &[]);
    build("exit", &["-Cinstrument-coverage", "-C", id]);
    build("kept", &["-Cinstrument-coverage", "-C", id, "-C", kept]);
    let doctor = |status: i32, args: &[&str]| {
        let output = podcov(root, &[&["doctor"], args].concat());
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(
            output.status.code(),
            Some(status),
            "{args:?}: {stdout}{stderr}"
        );
        (stdout, stderr)
    };
    let (stdout, stderr) = doctor(4, &["plain"]);
    assert!(stdout.contains("✗ a program without coverage"), "{stdout}");
    assert!(
        stdout.contains("→ build it with the variables of `podcov env"),
        "{stdout}"
    );
    assert!(
        stderr.contains("1 of 1 check would lose evidence"),
        "{stderr}"
    );
    let (stdout, _) = doctor(0, &["kept", "exit"]);
    assert!(
        stdout.contains("✓ LLVM counters, in a file while it runs"),
        "{stdout}"
    );
    assert!(
        stdout.contains("! LLVM counters that are written when it ends by itself"),
        "{stdout}"
    );

    // Neither has a handler for SIGTERM: one loses nothing by it, the other all.
    let (stdout, _) = doctor(0, &["--for", "1s", "--", "./kept"]);
    assert!(
        stdout.contains("✓ while it runs, counts are on the disk (1 file)"),
        "{stdout}"
    );
    assert!(
        stdout.contains("after SIGTERM, which it has no handler for"),
        "{stdout}"
    );
    assert!(stdout.contains("✓ it left counts (1 file)"), "{stdout}");
    let (stdout, _) = doctor(4, &["--for", "1s", "--format", "json", "--", "./exit"]);
    let answer: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let checks = answer["checks"].as_array().unwrap();
    let bad: Vec<_> = checks
        .iter()
        .filter(|check| check["level"] == "bad")
        .collect();
    assert!(
        !bad.is_empty() && bad.iter().all(|check| check["remedy"].is_string()),
        "{stdout}"
    );
    doctor(2, &["--", "./nowhere"]);
}

/// The program of [`rust_program`], as the user's own cargo builds it with
/// `podcov env`.
fn built_with_env(root: &Path) -> String {
    rust_program(root);
    let podcov_exe = env!("CARGO_BIN_EXE_podcov");
    let build = format!(
        "eval \"$('{podcov_exe}' env --language rust --dynamic)\" && cargo build --quiet --offline && \
         find \"$CARGO_TARGET_DIR\" -name ticker -type f -perm -u+x -path '*debug/ticker' > where"
    );
    let built = Command::new("sh")
        .current_dir(root)
        .arg("-ec")
        .arg(build)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", text(&built.stderr));
    let program = std::fs::read_to_string(root.join("where")).unwrap();
    program
        .lines()
        .next()
        .expect("the built program")
        .to_owned()
}

/// `podcov exec` twice into one folder: counts add up, the command's exit
/// status is kept.
#[test]
fn exec_measures_a_program_built_with_env() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let program = built_with_env(root);

    let first = podcov(root, &["exec", "--evidence", "e", "--", &program, "3"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let second = podcov(
        root,
        &["exec", "--evidence", "e", "--", &program, "4", "fail"],
    );
    assert_eq!(second.status.code(), Some(7), "{}", text(&second.stderr));
    assert!(
        text(&second.stderr).contains("ticker  "),
        "{}",
        text(&second.stderr)
    );

    let coverage = std::fs::read_to_string(root.join("e/coverage/coverage.json")).unwrap();
    let coverage: serde_json::Value = serde_json::from_str(&coverage).unwrap();
    let file = &coverage["components"][0]["binaries"][0]["files"][0];
    let functions = file["functions"].as_array().unwrap();
    let count = |name: &str| {
        let function = functions
            .iter()
            .find(|f| f["name"].as_str().unwrap().ends_with(name));
        function.unwrap()["count"].as_u64().unwrap()
    };
    assert_eq!(count("tick"), 7);
    assert_eq!(count("never"), 0);
    assert!(root.join("e/report/index.html").is_file());

    assert_eq!(text(&second.stdout), "", "stdout is the command's");

    // The same profiles, as if another tool had collected them.
    let profiles: Vec<String> = find(&root.join("e/evidence"), ".profraw");
    let mut args = vec!["import", "--evidence", "i", "--object", &program];
    args.extend(profiles.iter().map(String::as_str));
    let imported = podcov(root, &args);
    assert_eq!(
        imported.status.code(),
        Some(0),
        "{}",
        text(&imported.stderr)
    );
    let lcov = std::fs::read_to_string(root.join("i/report/lcov.info")).unwrap();
    assert!(lcov.contains("FNDA:7,ticker::tick\n"), "{lcov}");
}

/// A Go test that wrote no profile, as without `-test.coverprofile`: the report
/// says that nothing was left, and is there.
#[test]
fn a_go_test_that_left_nothing_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(root, "go.mod", "module example.org/tick\n\ngo 1.24\n");
    write(
        root,
        "tick.go",
        "package tick\n\nfunc Tick() int { return 1 }\n",
    );
    let test = "package tick\n\nimport \"testing\"\n\nfunc TestTick(t *testing.T) { Tick() }\n";
    write(root, "tick_test.go", test);
    let built = Command::new("go")
        .current_dir(root)
        .args(["test", "-c", "-cover", "-o", "tick.test", "."])
        .output()
        .expect("go is installed: see https://go.dev/doc/install");
    assert!(built.status.success(), "{}", text(&built.stderr));
    let run = podcov(root, &["exec", "--evidence", "e", "--", "./tick.test"]);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    let ledger = std::fs::read_to_string(root.join("e/ledger.json")).unwrap();
    assert!(ledger.contains("\"no-meta-data\""), "{ledger}");
    assert!(root.join("e/report/summary.json").is_file());
}

fn find(dir: &Path, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(find(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path.to_string_lossy().into_owned());
        }
    }
    found
}

/// A server is ended by a signal to podcov; it gets the signal, and what it
/// left is collected.
#[test]
fn a_signal_ends_the_command_and_not_the_collecting() {
    let dir = tempfile::tempdir().unwrap();
    let script = "trap 'echo ended > \"$PODCOV_DIR/x.profraw\"; exit 9' TERM; echo up; \
                  while :; do sleep 0.1; done";
    let mut child = Command::new(env!("CARGO_BIN_EXE_podcov"))
        .current_dir(dir.path())
        .args(["exec", "--evidence", "e", "--", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    let killed = Command::new("kill").arg(child.id().to_string()).status();
    assert!(killed.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(9), "{said}");
    let ledger = std::fs::read_to_string(dir.path().join("e/ledger.json")).expect(&said);
    assert!(ledger.contains("x.profraw"), "{ledger}");
}

#[test]
fn a_reader_that_has_enough_is_no_fault() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["schema", "completions bash"] {
        let script = format!(
            "set -o pipefail; '{}' {command} | head -1",
            env!("CARGO_BIN_EXE_podcov")
        );
        let output = Command::new("bash").arg("-c").arg(script).output().unwrap();
        assert_eq!(text(&output.stderr), "");
        assert_eq!(output.status.code(), Some(0));
    }
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_podcov"))
        .current_dir(dir.path())
        .arg("schema")
        .stdout(full)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1), "a full disk went unnoticed");
}

#[test]
fn a_run_id_cannot_leave_the_folder_of_runs() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "a/podcov.toml",
        "[composition]\nname = \"x\"\n[[component]]\nname = \"x\"\nlanguage = \"go\"\n",
    );
    let output = podcov(&dir.path().join("a"), &["--run", "../../out", "build"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(!dir.path().join("out").exists());
}

#[test]
fn init_describes_a_cargo_package() {
    let dir = tempfile::tempdir().unwrap();
    rust_program(dir.path());
    write(
        dir.path(),
        "manifests/kustomization.yaml",
        "resources: [deployment.yaml]\n",
    );
    write(
        dir.path(),
        "manifests/deployment.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: ticker}\nspec:\n  selector: \
         {matchLabels: {app: t}}\n  template:\n    metadata: {labels: {app: t}}\n    spec:\n      \
         containers:\n      - {name: main, image: 'example.org/ticker:1'}\n",
    );
    let output = podcov(dir.path(), &["init", "--xtask"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let toml = std::fs::read_to_string(dir.path().join("podcov.toml")).unwrap();
    for line in [
        "image = \"example.org/ticker:1\"",
        "workloads = [\"Deployment/ticker:main\"]",
        "kustomization = \"manifests\"",
    ] {
        assert!(toml.contains(line), "{line} is not in\n{toml}");
    }
    for file in [
        "xtask/src/main.rs",
        "overlays/profile/kustomization.yaml",
        ".cargo/config.toml",
    ] {
        assert!(dir.path().join(file).is_file(), "{file}");
    }
    let again = podcov(dir.path(), &["init"]);
    assert_eq!(
        again.status.code(),
        Some(2),
        "an existing file was overwritten"
    );
}

const RUN: &str = "20260101-000000-aaaa";

#[test]
fn an_id_that_a_run_has_is_not_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "podcov.toml",
        "[composition]\nname = \"x\"\n[[component]]\nname = \"x\"\nlanguage = \"go\"\n",
    );
    write(dir.path(), &format!("profiles/{RUN}/ledger.json"), "{}");
    let output = podcov(dir.path(), &["build", "--run", RUN]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("already") && said.contains("help:"), "{said}");
}

#[test]
fn nobody_touches_a_cluster_that_a_run_in_another_folder_uses() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "podcov.toml",
        "[composition]\nname = \"in-use\"\n[cluster]\nprovider = \"embedded\"\n\
         [[component]]\nname = \"x\"\nlanguage = \"go\"\n",
    );
    write(dir.path(), &format!("profiles/{RUN}/run.json"), "{}");
    let lock = "cache/podcov/in-use/in-use/.lock";
    write(
        dir.path(),
        lock,
        r#"{"pid": 7, "run": "theirs", "since": "then"}"#,
    );
    let held = std::fs::File::open(dir.path().join(lock)).unwrap();
    held.lock().unwrap();
    for command in [
        &["cluster", "down"] as &[&str],
        &["deploy"],
        &["test"],
        &["stop"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_podcov"))
            .current_dir(dir.path())
            .args(command)
            .env("XDG_CACHE_HOME", dir.path().join("cache"))
            .output()
            .unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
        assert!(said.contains("run theirs"), "{command:?}: {said}");
    }
}

/// A run by hand, one piece of whose evidence is damaged after it was collected.
#[test]
fn the_steps_tell_of_a_loss_and_judge_nothing_that_does_not_belong_together() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let program = built_with_env(root);
    let config = |more: &str| {
        let text = "[composition]\nname = \"x\"\n[[component]]\nname = \"ticker\"\n\
                    language = \"rust\"\n[[gate]]\nmetric = \"lines\"\nmin = 1\n";
        write(root, "podcov.toml", &format!("{text}{more}"));
    };
    config("");
    let run = format!("profiles/{RUN}");
    for times in ["3", "4"] {
        let output = podcov(root, &["exec", "--evidence", &run, "--", &program, times]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let check = |args: &[&str], code: i32, says: &str| {
        let output = podcov(root, args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?} does not say {says}: {said}");
    };
    check(&["gate"], 0, "");
    let profiles = find(&root.join(&run).join("evidence"), ".profraw");
    let file = std::fs::OpenOptions::new().write(true).open(&profiles[0]);
    file.unwrap().set_len(100).unwrap();
    check(&["merge"], 0, "1 file refused");
    check(&["gate"], 0, "rejected");
    check(&["report"], 0, "rejected");

    // The account is made anew, and knows of one more; the coverage does not.
    let again = root
        .join(&run)
        .join("evidence/_host/exec_again/ticker/20260101T000000.000Z-0000");
    std::fs::create_dir_all(&again).unwrap();
    std::fs::copy(&profiles[1], again.join("1.profraw")).unwrap();
    check(&["collect"], 0, "3 incarnations");
    check(&["gate"], 2, "podcov merge");
    check(&["report"], 2, "podcov merge");
    check(&["merge"], 0, "2 profiles");
    check(&["gate"], 0, "");

    // A rule on files that are not there does not cost the report.
    std::fs::remove_dir_all(root.join(&run).join("report")).unwrap();
    config("[[gate]]\npath = \"no/such/*.rs\"\nmetric = \"lines\"\nmin = 1\n");
    check(&["report"], 2, "no counted file fits");
    assert!(root.join(&run).join("report/index.html").is_file());

    // An account of the imported alone would lose the others.
    let import = [
        "import",
        "--evidence",
        &run,
        "--object",
        &program,
        &profiles[1],
    ];
    check(&import, 2, "expected a folder without evidence");
}
