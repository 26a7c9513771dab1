//! What a start leaves on the profile volume, and what happens when it cannot.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

use common::{Pod, json, text};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_start_has_its_own_folder_and_says_what_it_is() {
    let pod = Pod::new();
    let output = pod
        .launcher()
        .args([
            "--component",
            "from-image",
            "--identity",
            "build-id:0a",
            "--",
        ])
        .args([
            "sh",
            "-c",
            "echo $$ $PODCOV_DIR $GOCOVERDIR $LLVM_PROFILE_FILE $0 $1",
        ])
        .args([
            "-test.coverprofile=@PODCOV_DIR@/coverage.out",
            "$(NOT_OURS)",
        ])
        .output()
        .unwrap();
    let start = pod.start();
    let dir = start.to_str().unwrap();
    let told = json(&start.join("start.json"));
    let pid = told["pid"].as_i64().unwrap();
    assert_eq!(
        text(&output.stdout),
        format!(
            "{pid} {dir} {dir} {dir}/%m%c.profraw -test.coverprofile={dir}/coverage.out $(NOT_OURS)\n"
        )
    );
    let incarnation = start.file_name().unwrap().to_str().unwrap();
    for (key, value) in [
        ("run", "run-1"),
        ("component", "from-image"),
        ("namespace", "default"),
        ("pod", "web-0"),
        ("pod_uid", "u-1"),
        ("container", "manager"),
        ("incarnation", incarnation),
        ("identity", "build-id:0a"),
        ("program", "sh"),
        ("launcher", env!("CARGO_PKG_VERSION")),
    ] {
        assert_eq!(told[key], value);
    }
    // 20261121T104550.123Z-0a1b, and the same moment in start.json.
    let moment = told["start"].as_str().unwrap().replace(['-', ':'], "");
    assert_eq!(incarnation.len(), 25);
    assert!(incarnation.starts_with(&format!("{moment}-")));
    assert_eq!(json(&start.join("exit.json"))["start"], told["start"]);
    assert_eq!(
        fs::read_dir(&start).unwrap().count(),
        2,
        "no partial files are left"
    );
}

#[test]
fn two_starts_are_two_incarnations() {
    let pod = Pod::new();
    let children: Vec<_> = (0..8)
        .map(|_| pod.launcher().args(["--", "true"]).spawn().unwrap())
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(pod.starts().len(), 8);
}

#[test]
fn containers_of_different_users_and_umasks_share_a_pod() {
    let pod = Pod::new();
    for user in ["65532", "1000", "0"] {
        let output = pod
            .command("setpriv")
            .args([
                "--reuid",
                user,
                "--regid",
                user,
                "--clear-groups",
                "sh",
                "-c",
            ])
            .arg("umask 077; exec \"$LAUNCHER\" -- sh -c 'umask; id -u; echo x > $PODCOV_DIR/x'")
            .output()
            .expect("apt-get install util-linux");
        assert_eq!(
            text(&output.stdout),
            format!("0077\n{user}\n"),
            "{}",
            text(&output.stderr)
        );
        assert_eq!(text(&output.stderr), "");
    }
    assert_eq!(pod.starts().len(), 3);
    for (start, user) in pod.starts().iter().zip([65532, 1000, 0]) {
        assert_eq!(
            (mode(start), start.metadata().unwrap().uid()),
            (0o777, user)
        );
        for name in ["start.json", "exit.json"] {
            assert_eq!(mode(&start.join(name)), 0o644);
        }
        let shared = start.ancestors().skip(1).take(3);
        assert!(shared.map(mode).all(|mode| mode == 0o1777));
    }
}

fn runs_without_evidence(pod: &Pod, output: &Output, reason: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert_eq!(text(&output.stdout), "ran with and /dev/null\n");
    assert!(
        said.starts_with("podcov-launcher: no evidence: ") && said.contains(reason),
        "{said}"
    );
    assert!(
        said.starts_with(&pod.message()) && !pod.message().is_empty(),
        "{}",
        pod.message()
    );
}

const COMPONENT: &str = "echo ran with $PODCOV_DIR and $LLVM_PROFILE_FILE; exit 7";

#[test]
fn without_a_volume_the_component_runs() {
    let pod = Pod::new();
    fs::remove_dir(pod.volume()).unwrap();
    runs_without_evidence(&pod, &pod.sh(COMPONENT), "not mounted");
}

#[test]
fn on_a_volume_it_may_not_write_to_the_component_runs() {
    let pod = Pod::new();
    fs::set_permissions(pod.volume(), fs::Permissions::from_mode(0o755)).unwrap();
    let output = pod
        .command("setpriv")
        .args(["--reuid", "65532", "--regid", "65532", "--clear-groups"])
        .arg(pod.path("launcher"))
        .args(["--", "sh", "-c", COMPONENT])
        .output()
        .unwrap();
    runs_without_evidence(&pod, &output, "Permission denied");
}

/// Runs `script` in a mount namespace where the volume is one page large.
fn on_a_small_volume(pod: &Pod, script: &str) -> Output {
    let mount = "mount -t tmpfs -o size=4k,mode=1777 none \"$PODCOV_VOLUME\" && ";
    let mut command = pod.command("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg(format!("{mount}{script}"))
        .arg("sh")
        .arg(COMPONENT);
    command.output().unwrap()
}

#[test]
fn on_a_full_volume_the_component_runs() {
    let pod = Pod::new();
    let script = "head -c 4096 /dev/zero > \"$PODCOV_VOLUME/fill\"; \"$LAUNCHER\" -- sh -c \"$1\"";
    let output = on_a_small_volume(&pod, script);
    runs_without_evidence(&pod, &output, "start.json: No space left on device");
}

#[test]
fn a_volume_that_is_full_at_the_end_does_not_change_the_status() {
    // The one page goes to start.json.
    let pod = Pod::new();
    let output = on_a_small_volume(&pod, "\"$LAUNCHER\" -- sh -c 'exit 7'");
    assert_eq!(output.status.code(), Some(7));
    let said = text(&output.stderr);
    assert!(
        said.contains("no exit record: cannot write") && said.contains("No space"),
        "{said}"
    );
    assert_eq!(pod.message(), said);
}

#[test]
fn variables_of_the_user_are_replaced_and_said() {
    let pod = Pod::new();
    let mut command = pod.launcher();
    command
        .env("GOCOVERDIR", "/mine")
        .args(["--", "sh", "-c", "echo $GOCOVERDIR"]);
    let output = command.output().unwrap();
    let dir = pod.start().display().to_string();
    assert_eq!(text(&output.stdout).trim(), dir);
    let expected = format!("podcov-launcher: GOCOVERDIR was `/mine`; it is {dir} for this run\n");
    assert_eq!(text(&output.stderr), expected);
}

#[test]
fn counts_of_a_rust_program_survive_sigkill() {
    let pod = Pod::new();
    // 54,321 times, which no other counter reaches and no other bytes spell.
    let source = "#[inline(never)]\nfn step(n: u64) -> u64 { std::hint::black_box(n + 1) }\n\
                  fn main() { let mut n = 0; for _ in 0..54_321 { n = step(n); } \
                  let pid = std::process::id().to_string(); \
                  let _ = std::process::Command::new(\"kill\").args([\"-9\", &pid]).status(); \
                  std::thread::sleep(std::time::Duration::from_secs(60)); println!(\"{n}\"); }\n";
    fs::write(pod.path("main.rs"), source).unwrap();
    let rustc = Command::new("rustc")
        .args(["--edition=2024", "-O", "-Cinstrument-coverage", "-o"])
        .args([
            "program",
            "-Cllvm-args=-runtime-counter-relocation",
            "main.rs",
        ])
        .current_dir(pod.dir.path())
        .status();
    assert!(rustc.unwrap().success());
    let status = pod
        .launcher()
        .arg("--")
        .arg(pod.path("program"))
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(9));
    let start = pod.start();
    assert_eq!(json(&start.join("exit.json"))["signal"], 9);
    let is_profile = |path: &Path| path.extension().is_some_and(|e| e == "profraw");
    let entries = fs::read_dir(&start)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let profiles: Vec<_> = entries.filter(|path| is_profile(path)).collect();
    assert_eq!(profiles.len(), 1);
    let bytes = fs::read(&profiles[0]).unwrap();
    let found = bytes
        .windows(8)
        .any(|word| word == 54_321_u64.to_ne_bytes());
    assert!(found, "the count is not in {}", profiles[0].display());
}

#[test]
fn a_go_program_leaves_its_counters() {
    let pod = Pod::new();
    fs::write(pod.path("go.mod"), "module example.org/x\n\ngo 1.21\n").unwrap();
    fs::write(
        pod.path("main.go"),
        "package main\n\nfunc main() { println(\"ran\") }\n",
    )
    .unwrap();
    let go = Command::new("go")
        .args(["build", "-cover", "-o", "program", "."])
        .current_dir(pod.dir.path())
        .status();
    assert!(go.expect("go starts; install it from go.dev").success());
    let output = pod
        .launcher()
        .arg("--")
        .arg(pod.path("program"))
        .output()
        .unwrap();
    assert_eq!(text(&output.stderr), "ran\n");
    let names: Vec<_> = fs::read_dir(pod.start())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for start in ["covmeta.", "covcounters."] {
        assert!(
            names.iter().any(|name| name.starts_with(start)),
            "{names:?}"
        );
    }
}
