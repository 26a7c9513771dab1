//! A copy of the tiny composition, a cluster of its own, and podcov as a user
//! starts it there.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A run of the tiny composition takes seconds, but the first one on a machine
/// builds Kubernetes.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// The composition in a folder of its own; its cluster goes with it.
pub struct Project {
    pub dir: tempfile::TempDir,
    pub cluster: String,
}

/// How a podcov ended.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub elapsed: Duration,
}

/// A podcov that runs.
pub struct Running {
    child: Child,
    out: PathBuf,
    begin: Instant,
}

impl Project {
    /// `letter` tells the clusters of this process apart.
    pub fn new(letter: char) -> Project {
        Project::of("whole_product/composition", letter)
    }

    /// The same of another folder with a composition.
    pub fn of(folder: &str, letter: char) -> Project {
        let dir = tempfile::tempdir().unwrap();
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let source = tests.join(folder);
        copy(&source, dir.path());
        let project = Project {
            dir,
            cluster: format!("t-{}-{letter}", std::process::id()),
        };
        project.edit("podcov.toml", &[("CLUSTER", &project.cluster)]);
        project.derive("podcov.toml", "cluster.toml", &[]);
        project
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        let path = self.path(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Replaces texts in a file; each must be there.
    pub fn edit(&self, name: &str, changes: &[(&str, &str)]) {
        self.derive(name, name, changes);
    }

    /// Writes `to` as `from` with texts replaced; each must be there.
    pub fn derive(&self, from: &str, to: &str, changes: &[(&str, &str)]) {
        let mut text = self.read(from);
        for (old, new) in changes {
            assert!(text.contains(old), "`{old}` is not in {from}");
            text = text.replace(old, new);
        }
        std::fs::write(self.path(to), text).unwrap();
    }

    /// Writes `to` as podcov.toml with some of the components and manifests,
    /// and with texts replaced; each must be there.
    pub fn part(
        &self,
        to: &str,
        components: &[&str],
        manifests: &[&str],
        changes: &[(&str, &str)],
    ) {
        let text = self.read("podcov.toml");
        let mut tables = text.split("\n[").map(|table| format!("\n[{table}"));
        let mut kept = tables.next().unwrap().replacen("\n[", "", 1);
        for table in tables {
            let is_left_out = table.starts_with("\n[[component]]")
                && !components
                    .iter()
                    .any(|name| table.contains(&format!("name = \"{name}\"")));
            kept += if is_left_out { "" } else { &table };
        }
        let quoted = manifests
            .iter()
            .map(|name| format!("\"manifests/{name}.yaml\""));
        let manifests = format!("manifests = [{}]", quoted.collect::<Vec<_>>().join(", "));
        self.write(to, &kept);
        self.edit(to, &[("kustomization = \"manifests\"", &manifests)]);
        self.edit(to, changes);
    }

    /// Starts podcov. `config` is the configuration's file without `.toml`;
    /// each has runs of its own, `profiles-<config>`.
    pub fn start(&self, config: &str, words: &[&str]) -> Running {
        let count = std::fs::read_dir(self.dir.path()).unwrap().count();
        let out = self.path(&format!("output-{count}"));
        std::fs::create_dir(&out).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_podcov"));
        command
            .current_dir(self.dir.path())
            .args(["--config", &format!("{config}.toml")])
            .args(["--profiles", &format!("profiles-{config}")])
            .args(words)
            .stdin(Stdio::null())
            .stdout(File::create(out.join("stdout")).unwrap())
            .stderr(File::create(out.join("stderr")).unwrap());
        for (key, _) in std::env::vars_os() {
            let name = key.to_string_lossy();
            let is_coverage = matches!(&*name, "LLVM_PROFILE_FILE" | "GOCOVERDIR");
            // Those that cargo set for this test are not a user's.
            if is_coverage || name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
                command.env_remove(&key);
            }
        }
        Running {
            child: command.spawn().unwrap(),
            out,
            begin: Instant::now(),
        }
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Runs podcov to its end.
    pub fn podcov(&self, config: &str, words: &[&str]) -> Ended {
        self.start(config, words).wait()
    }

    /// The folder of the only run of a configuration.
    pub fn run_dir(&self, config: &str) -> PathBuf {
        let profiles = self.path(&format!("profiles-{config}"));
        let entries = std::fs::read_dir(&profiles).unwrap().map(|e| e.unwrap());
        let mut runs: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        runs.retain(|path| path.is_dir());
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs.remove(0)
    }

    /// A JSON file of the only run of a configuration.
    pub fn json(&self, config: &str, name: &str) -> Value {
        read_json(&self.run_dir(config).join(name))
    }

    /// Where the cluster keeps its state while it is there.
    pub fn state(&self) -> PathBuf {
        Path::new("/var/lib/podcov/clusters").join(&self.cluster)
    }
}

impl Project {
    /// The host's end of the link to the node.
    pub fn link(&self) -> String {
        let node = read_json(&self.state().join("node.json"));
        let link = node["host_link"].as_str().unwrap();
        assert!(Path::new("/sys/class/net").join(link).exists(), "{link}");
        link.to_owned()
    }

    /// Process 1 of the node, as this machine numbers it.
    pub fn node(&self) -> u32 {
        let command = format!("podcov-node\0{}\0", self.state().display());
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let is_node =
            |dir: &Path| std::fs::read(dir.join("cmdline")).is_ok_and(|c| c == command.as_bytes());
        let mut found = processes.filter(|entry| is_node(&entry.path()));
        let node = found.next().expect("the node's process 1").file_name();
        node.to_string_lossy().parse().unwrap()
    }
}

/// A mounted file system; it goes with this.
pub struct Disk(PathBuf);

impl Project {
    /// Mounts a file system of 40 MB.
    pub fn small_disk(&self, name: &str) -> Disk {
        let path = self.path(name);
        std::fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=40m", "tmpfs"])
            .arg(&path);
        assert!(mount.status().unwrap().success(), "{mount:?}");
        Disk(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A panic while panicking would hide the first.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if self.state().exists() {
            self.podcov("cluster", &["cluster", "down"]);
        }
    }
}

impl Running {
    /// Waits for the end, but not for ever.
    pub fn wait(mut self) -> Ended {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if self.begin.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                let (_, stderr) = self.output();
                panic!("podcov is not done after {PATIENCE:?}:\n{stderr}");
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let (stdout, stderr) = self.output();
        Ended {
            status,
            stdout,
            stderr,
            elapsed: self.begin.elapsed(),
        }
    }

    /// Waits until `there` gives something, while podcov runs.
    pub fn until<T>(&mut self, what: &str, there: impl Fn(&Running) -> Option<T>) -> T {
        loop {
            if let Some(found) = there(self) {
                return found;
            }
            let (_, stderr) = self.output();
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("podcov ended ({status}) before {what}:\n{stderr}");
            }
            if self.begin.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("no {what} after {PATIENCE:?}:\n{stderr}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until stderr has this text.
    pub fn until_says(&mut self, text: &str) {
        self.until(text, |running| {
            running.output().1.contains(text).then_some(())
        });
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        signal("INT", self.child.id());
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn output(&self) -> (String, String) {
        let read = |name| {
            let bytes = std::fs::read(self.out.join(name)).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        (read("stdout"), read("stderr"))
    }
}

impl Ended {
    /// Checks the exit status; everything that podcov said is in the panic.
    #[track_caller]
    pub fn expect(self, code: i32) -> Ended {
        assert_eq!(
            self.status.code(),
            Some(code),
            "{}\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Checks what stderr says.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Ended {
        for text in texts {
            assert!(
                self.stderr.contains(text),
                "`{text}` is not in\n{}",
                self.stderr
            );
        }
        self
    }
}

/// Sends a signal to one process.
pub fn signal(name: &str, pid: u32) {
    let script = "kill -s \"$0\" \"$1\"";
    let mut kill = Command::new("sh");
    let status = kill.args(["-c", script, name, &pid.to_string()]).status();
    assert!(status.unwrap().success(), "cannot send {name} to {pid}");
}

pub fn read_json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// What the machine shows of a cluster: processes, mounts, control groups, its
/// link, its folder; a line each.
pub fn traces(cluster: &str, link: Option<&str>) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if entry.file_name() != "self" && command.contains(cluster) {
            found.push(format!("process {}: {command}", entry.path().display()));
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(
        mounts
            .lines()
            .filter(|line| line.contains(cluster))
            .map(str::to_owned),
    );
    let state = Path::new("/var/lib/podcov/clusters").join(cluster);
    let groups = below(Path::new("/sys/fs/cgroup"), 3);
    let links = link.map(|link| Path::new("/sys/class/net").join(link));
    found.extend(
        groups
            .into_iter()
            .filter(|path| path.to_string_lossy().contains(cluster))
            .chain([state, Path::new("/run/netns").join(cluster)])
            .chain(links)
            .filter(|path| path.exists())
            .map(|path| path.display().to_string()),
    );
    found
}

fn below(dir: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if depth > 1 {
                found.extend(below(&entry.path(), depth - 1));
            }
            found.push(entry.path());
        }
    }
    found
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
