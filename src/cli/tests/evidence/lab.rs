//! A run as the pods left it, small enough to be worked on thousands of times.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// Relative path and bytes of every file below a folder.
pub type Tree = BTreeMap<String, Vec<u8>>;

pub const RUN: &str = "20261121-090000-test";
const GO_HASH: &str = "365db558e60f45db96600bc1c17ccd6e";
const C_ID: &str = "build-id:ddcbb3c787e4dd70c8f83e9d4886a4e25300a82a";

/// A small generator of numbers, so that each case can be named by its seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for at in (1..all.len()).rev() {
            all.swap(at, self.roll(at + 1));
        }
    }
}

/// A project with one run whose components are built and have run.
pub struct Lab {
    dir: tempfile::TempDir,
}

fn fixture(path: &str) -> Vec<u8> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profile/tests/fixtures");
    fs::read(fixtures.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

impl Lab {
    /// `policy` is that of `[evidence]`; beside four incarnations that count
    /// there are some whose profile is damaged, each in another way.
    pub fn new(policy: &str, damaged: usize) -> Lab {
        let lab = Lab {
            dir: tempfile::tempdir().unwrap(),
        };
        lab.set_policy(policy);
        lab.write("project/go.mod", b"module example.org/op\n\ngo 1.24\n");
        let go = ("goer", "go", format!("covmeta:{GO_HASH}"), "main.go");
        lab.bundle(go, "/project", "example.org/op", &fixture("go/main.go"));
        let meta = fixture(&format!("go/covmeta.{GO_HASH}"));
        lab.write_run(&format!("bundle/goer/meta/covmeta.{GO_HASH}"), &meta);
        let c = ("crust", "rust", C_ID.to_owned(), "branches.c");
        lab.bundle(c, "/src", "/src", &fixture("programs/branches.c"));
        lab.write_run("bundle/crust/bin/crust", &fixture("programs/branches.o"));

        let profile = fixture("programs/branches.profraw");
        let counters = ["2384.1795257547508204385", "2388.1795257547510821171"];
        for (number, name) in counters.iter().enumerate() {
            let name = format!("covcounters.{GO_HASH}.{name}");
            let dir = lab.incarnation("goer", number);
            lab.write_run(&format!("{dir}/covmeta.{GO_HASH}"), &meta);
            lab.write_run(&format!("{dir}/{name}"), &fixture(&format!("go/{name}")));
        }
        for number in 0..2 {
            let dir = lab.incarnation("crust", number);
            lab.write_run(&format!("{dir}/1_0.profraw"), &profile);
        }
        for number in 0..damaged {
            let dir = lab.incarnation("crust", 2 + number);
            let cut = &profile[..profile.len() - 8 * (1 + number % 40)];
            lab.write_run(&format!("{dir}/1_0.profraw"), cut);
        }
        lab
    }

    pub fn set_policy(&self, policy: &str) {
        let text = format!(
            "[composition]\nname = \"lab\"\n\n\
             [[component]]\nname = \"goer\"\nlanguage = \"go\"\nmanifest = \"project\"\n\n\
             [[component]]\nname = \"crust\"\nlanguage = \"rust\"\n\n\
             [evidence]\npolicy = \"{policy}\"\n"
        );
        self.write("podcov.toml", text.as_bytes());
    }

    fn bundle(
        &self,
        (name, language, identity, source): (&str, &str, String, &str),
        root: &str,
        from: &str,
        text: &[u8],
    ) {
        let bundle = json!({
            "schema": 1, "component": name, "language": language, "kind": "operator",
            "binaries": [{
                "name": name, "identity": identity, "other_identities": [],
                "path": format!("bin/{name}"), "sha256": "", "arch": "x86_64",
                "mode": "continuous",
            }],
            "toolchain": "", "llvm_major": 22, "commit": null, "dirty": false, "image": null,
            "sources": {
                "root": root, "path_map": [{"from": from, "to": ""}],
                "files": [{"path": source, "sha256": ""}],
            },
        });
        let dir = format!("bundle/{name}");
        self.write_run(&format!("{dir}/bundle.json"), bundle.to_string().as_bytes());
        self.write_run(&format!("{dir}/src/{source}"), text);
    }

    /// The folder of a new incarnation that ended well, with the launcher's
    /// records.
    fn incarnation(&self, component: &str, number: usize) -> String {
        let (minute, second) = (number / 60, number % 60);
        let id = format!(
            "20261121T09{minute:02}{second:02}.000Z-00{:02x}",
            number % 256
        );
        let dir = format!("evidence/lab/{component}-{number}_uid-{component}-{number}/main/{id}");
        let time = |millis: u32| format!("2026-11-21T09:{minute:02}:{second:02}.{millis:03}Z");
        let identity = match component {
            "goer" => format!("covmeta:{GO_HASH}"),
            _ => C_ID.to_owned(),
        };
        let start = json!({"schema": 1, "run": RUN, "component": component,
            "identity": identity, "program": "/app/x", "start": time(0)});
        let exit = json!({"schema": 1, "code": 0, "signal": null, "end": time(900)});
        self.write_run(&format!("{dir}/start.json"), start.to_string().as_bytes());
        self.write_run(&format!("{dir}/exit.json"), exit.to_string().as_bytes());
        dir
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn run_dir(&self) -> PathBuf {
        self.root().join("profiles").join(RUN)
    }

    /// Writes a file of the run.
    pub fn write_run(&self, path: &str, bytes: &[u8]) {
        self.write(&format!("profiles/{RUN}/{path}"), bytes);
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// podcov in the project, with these words.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podcov"));
        command
            .current_dir(self.root())
            .args(["--quiet"])
            .args(words)
            .stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PODCOV_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs podcov, which must end with this status; gives what it said.
    #[track_caller]
    pub fn podcov(&self, words: &[&str], status: i32) -> String {
        let Output {
            status: found,
            stdout,
            stderr,
        } = self.command(words).output().unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        );
        assert_eq!(found.code(), Some(status), "{words:?}: {said}");
        said
    }

    /// Collects, merges and reports, all of which must be fine.
    #[track_caller]
    pub fn report(&self) {
        for step in ["collect", "merge", "report"] {
            self.podcov(&[step], 0);
        }
    }

    /// The evidence, by path below its folder.
    pub fn evidence(&self) -> Tree {
        tree(&self.run_dir().join("evidence"))
    }

    /// A file's place in the evidence.
    pub fn evidence_path(&self, path: &str) -> PathBuf {
        self.run_dir().join("evidence").join(path)
    }

    pub fn json(&self, path: &str) -> Value {
        let path = self.run_dir().join(path);
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&bytes).unwrap()
    }

    /// What podcov made of the evidence, and the evidence.
    pub fn made(&self) -> Tree {
        let mut all = tree(&self.run_dir());
        // Seconds of each step.
        all.remove("run.json");
        all
    }
}

pub fn tree(dir: &Path) -> Tree {
    let mut all = Tree::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().display().to_string();
                all.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    all
}

/// Makes `to` a copy of `from`.
pub fn copy(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    fs::create_dir_all(to).unwrap();
    for (name, bytes) in tree(from) {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Names of files in which two trees differ.
pub fn differences(one: &Tree, other: &Tree) -> Vec<String> {
    let names = one.keys().chain(other.keys());
    let mut names: Vec<String> = names
        .filter(|name| one.get(*name) != other.get(*name))
        .cloned()
        .collect();
    names.sort();
    names.dedup();
    names
}
