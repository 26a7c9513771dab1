//! The launcher as images hold it, started the way pods start it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// Builds it small and static, once.
pub fn launcher() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("launcher");
        let output = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--profile",
                "launcher",
                "--target",
                &target,
            ])
            .args([
                "--manifest-path",
                concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
            ])
            .arg("--target-dir")
            .arg(&dir)
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            .env_remove("RUSTC_WRAPPER")
            .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        dir.join(target).join("launcher/podcov-launcher")
    })
}

/// As `podcov-build` builds it.
const FLAGS: [&str; 4] = [
    "-Ctarget-feature=+crt-static",
    "-Crelocation-model=static",
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-nostdlib",
];

/// A profile volume and a place for the termination message.
pub struct Pod {
    pub dir: TempDir,
}

impl Pod {
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let pod = Pod { dir };
        fs::set_permissions(pod.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(pod.volume()).unwrap();
        fs::set_permissions(pod.volume(), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::write(pod.message_file(), "").unwrap();
        fs::set_permissions(pod.message_file(), fs::Permissions::from_mode(0o666)).unwrap();
        // The target folder may be closed to other users.
        fs::copy(launcher(), pod.path("launcher")).unwrap();
        pod
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn volume(&self) -> PathBuf {
        self.path("volume")
    }

    fn message_file(&self) -> PathBuf {
        self.path("message")
    }

    /// The termination message.
    pub fn message(&self) -> String {
        fs::read_to_string(self.message_file()).unwrap()
    }

    /// A command in the environment that the overlay sets.
    pub fn command(&self, program: &str) -> Command {
        // A CI may have started us with SIGINT ignored, which is inherited and
        // which a shell cannot undo.
        let mut command = Command::new("env");
        command.args(["--default-signal", program]);
        for name in ["LLVM_PROFILE_FILE", "GOCOVERDIR", "PODCOV_DIR"] {
            command.env_remove(name);
        }
        command
            .env("PODCOV_RUN", "run-1")
            .env("PODCOV_COMPONENT", "op")
            .env("PODCOV_NAMESPACE", "default")
            .env("PODCOV_POD", "web-0")
            .env("PODCOV_POD_UID", "u-1")
            .env("PODCOV_CONTAINER", "manager")
            .env("PODCOV_VOLUME", self.volume())
            .env("TERMINATION_LOG", self.message_file())
            .env("LAUNCHER", self.path("launcher"))
            .stdin(Stdio::null());
        command
    }

    /// The launcher, to be given arguments.
    pub fn launcher(&self) -> Command {
        self.command(self.path("launcher").to_str().unwrap())
    }

    /// Runs a shell script under the launcher.
    pub fn sh(&self, script: &str) -> Output {
        self.launcher()
            .args(["--", "sh", "-c", script])
            .output()
            .unwrap()
    }

    /// The folders of all starts, oldest first.
    pub fn starts(&self) -> Vec<PathBuf> {
        let container = self.volume().join("default/web-0_u-1/manager");
        let Ok(dir) = fs::read_dir(container) else {
            return Vec::new();
        };
        let mut starts: Vec<_> = dir.map(|entry| entry.unwrap().path()).collect();
        starts.sort();
        starts
    }

    /// The only start there is.
    pub fn start(&self) -> PathBuf {
        let starts = self.starts();
        assert_eq!(starts.len(), 1, "{starts:?}");
        starts[0].clone()
    }
}

pub fn json(path: &Path) -> Value {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A child whose lines can be waited for.
pub struct Talking {
    pub child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Talking {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Talking { child, lines }
    }

    pub fn line(&mut self) -> String {
        self.lines.next().expect("a line").unwrap()
    }

    /// All lines that are still to come.
    pub fn rest(&mut self) -> Vec<String> {
        self.lines.by_ref().map(|line| line.unwrap()).collect()
    }

    /// Lines up to the one that ends with `end`; the terminal echoes others.
    pub fn wait_for(&mut self, end: &str) {
        while !self.line().trim_end().ends_with(end) {}
    }

    pub fn signal(&self, name: &str) {
        signal(name, &self.child.id().to_string());
    }
}

pub fn signal(name: &str, to: &str) {
    let kill = Command::new("sh")
        .args(["-c", &format!("kill -{name} {to}")])
        .status();
    assert!(kill.unwrap().success());
}
