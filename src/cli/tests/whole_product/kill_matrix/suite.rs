//! Makes pods and ends them.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::ends::{By, ENDS, pod};
use super::truth::{Counts, by_hand};
use crate::project::{Project, signal};

/// Containers of a pod that are killed at random.
const IN_A_POD: usize = 10;
/// Longest that one runs before, in microseconds.
const LONGEST: u64 = 250_000;
/// As a pod of the matrix may take to come to its end: kubelet looks after
/// volumes that are too full every ten seconds, and starts what ended twice
/// after ten.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the cluster is, as the e2e command was told.
pub struct Suite {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    truth: PathBuf,
    node: u32,
}

/// A container of the suite.
pub struct Container {
    pub component: String,
    pub pod: String,
    pub name: String,
    /// What the ledger has to call its end; empty if anything will do.
    pub told: &'static str,
    /// Processes of each life that count.
    pub processes: usize,
    /// Threads that may have been in a block when it was ended.
    pub threads: u64,
    pub may_be_lost: bool,
}

impl Container {
    /// What its processes counted, one after the other.
    pub fn by_hand(&self, project: &Project) -> Vec<Counts> {
        by_hand(&project.path("truth").join(&self.pod).join(&self.name))
    }

    /// Whether it was killed at a random instant.
    pub fn is_random(&self) -> bool {
        self.pod.contains("-random-")
    }
}

impl Suite {
    /// Once the e2e command runs.
    pub fn begun(project: &Project) -> Option<Suite> {
        let text = std::fs::read_to_string(project.path("began")).ok()?;
        let mut lines = text.lines();
        let truth = project.path("truth");
        std::fs::create_dir_all(&truth).unwrap();
        Some(Suite {
            kubectl: lines.next()?.into(),
            kubeconfig: lines.next()?.into(),
            truth,
            node: project.node(),
        })
    }

    /// Ends pods in every way; gives their containers.
    pub fn act(&self, kills: usize) -> Vec<Container> {
        let mut all = Vec::new();
        let begin = Instant::now();
        let took = |what: &str| eprintln!("{what}: {} s", begin.elapsed().as_secs());
        for end in &ENDS {
            for component in end.languages {
                let name = format!("{component}-{}", end.name);
                let is_ended =
                    !matches!(end.by, By::Itself) || matches!(end.args[0], "eat" | "fill");
                all.push(Container {
                    told: end.told,
                    processes: end.processes,
                    threads: if is_ended && end.args[1] == "0" { 2 } else { 0 },
                    ..self.make(component, &name, end.args)
                });
            }
        }
        for component in ["rust-at-exit", "go-at-exit"] {
            for (end, may_be_lost) in [("clean", false), ("kill", true)] {
                let name = format!("{component}-{end}");
                all.push(Container {
                    may_be_lost,
                    ..self.make(component, &name, &[end, "1000", "2"])
                });
            }
        }
        for end in &ENDS {
            for component in end.languages {
                self.end(&format!("{component}-{}", end.name), end.by);
            }
        }
        took("deleted");
        let random = std::thread::scope(|scope| {
            let random =
                ["rust", "go"].map(|component| scope.spawn(move || self.kill(component, kills)));
            random.map(|random| random.join().unwrap())
        });
        all.extend(random.into_iter().flatten());
        took("killed");
        self.wait_for_the_rest();
        took("ended by themselves");
        all.extend(self.stop_the_node());
        took("node stopped");
        all
    }

    fn kubectl(&self, words: &[&str], input: &str) -> String {
        let mut command = Command::new(&self.kubectl);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .args(["--namespace", "truth"])
            .args(words);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A pod of one container.
    fn make(&self, component: &str, name: &str, args: &[&str]) -> Container {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self.make_all(component, name, &[("main".to_owned(), args)])
            .remove(0)
    }

    fn make_all(
        &self,
        component: &str,
        name: &str,
        containers: &[(String, Vec<String>)],
    ) -> Vec<Container> {
        let dir = self.truth.join(name);
        for (container, _) in containers {
            let dir = dir.join(container);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o777)).unwrap();
        }
        let object = pod(component, name, containers, &dir.display().to_string());
        self.kubectl(&["create", "--filename", "-"], &object.to_string());
        let made = |(container, _): &(String, Vec<String>)| Container {
            component: component.to_owned(),
            pod: name.to_owned(),
            name: container.clone(),
            told: "",
            processes: 1,
            threads: 0,
            may_be_lost: false,
        };
        containers.iter().map(made).collect()
    }

    fn end(&self, name: &str, by: By) {
        let options = match by {
            By::Itself => return,
            By::Delete(options) => options,
            By::Restarts => {
                until(name, || self.counting(name).len() > 2);
                &["--grace-period=1"]
            }
        };
        let is_handled = name.ends_with("-handled");
        until(name, || {
            let steps = self.counting(name);
            steps
                .iter()
                .any(|steps| *steps > 0 && (!is_handled || *steps == 2000))
        });
        let mut words = vec!["delete", "pod", name, "--wait=false"];
        words.extend(options);
        self.kubectl(&words, "");
    }

    /// Steps that the processes of a pod of one container made, so far.
    fn counting(&self, name: &str) -> Vec<u64> {
        let counts = by_hand(&self.truth.join(name).join("main"));
        counts.iter().map(|counts| counts["step"]).collect()
    }

    /// SIGKILL to programs and to their launchers, at random instants.
    fn kill(&self, component: &str, kills: usize) -> Vec<Container> {
        let mut random = Random::new(component);
        let mut all = Vec::new();
        for number in 0..kills / IN_A_POD {
            let name = format!("{component}-random-{number}");
            let tag = |container: usize| format!("#{}-{name}-{container}#", self.node);
            let containers = (0..IN_A_POD).map(|at| {
                let args = ["step", "0", "2", &tag(at)].map(str::to_owned);
                (format!("c{at}"), args.into())
            });
            let containers = containers.collect::<Vec<_>>();
            let made = self.make_all(component, &name, &containers);
            all.extend(made.into_iter().map(|container| Container {
                told: "signal 9",
                threads: 2,
                ..container
            }));
            let mut to_come: BTreeSet<usize> = (0..IN_A_POD).collect();
            let mut to_end: Vec<(Instant, u32)> = Vec::new();
            let begin = Instant::now();
            while !(to_come.is_empty() && to_end.is_empty()) {
                assert!(
                    begin.elapsed() < PATIENCE,
                    "{name}: {to_come:?} did not start"
                );
                let processes = if to_come.is_empty() {
                    vec![]
                } else {
                    processes()
                };
                to_come.retain(|container| {
                    let tag = tag(*container);
                    let own: Vec<_> = processes
                        .iter()
                        .filter(|(_, command)| command.contains(&tag))
                        .collect();
                    let of = |is: bool| {
                        own.iter()
                            .find(|(_, command)| command.starts_with("/podcov/launcher\0") == is)
                    };
                    let Some((program, _)) = of(false) else {
                        return true;
                    };
                    // Process 1 of the container takes all others with it.
                    let (pid, _) = of(random.below(2) == 0)
                        .copied()
                        .unwrap_or(&(*program, String::new()))
                        .clone();
                    to_end.push((
                        Instant::now() + Duration::from_micros(random.below(LONGEST)),
                        pid,
                    ));
                    false
                });
                to_end.retain(|(when, pid)| {
                    let is_time = Instant::now() >= *when;
                    if is_time {
                        signal("KILL", *pid);
                    }
                    !is_time
                });
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        all
    }

    /// kubelet and containerd are killed while programs count; the node starts
    /// them again.
    fn stop_the_node(&self) -> Vec<Container> {
        let made: Vec<Container> = ["rust", "go"]
            .map(|component| {
                let name = format!("{component}-node-stop");
                Container {
                    threads: 2,
                    told: "signal 15",
                    ..self.make(component, &name, &["step", "0", "2"])
                }
            })
            .into();
        for container in &made {
            until(&container.pod, || {
                self.counting(&container.pod).iter().any(|steps| *steps > 0)
            });
        }
        let before: Vec<u64> = made
            .iter()
            .flat_map(|one| self.counting(&one.pod))
            .collect();
        let services = || {
            let mut found = children(self.node);
            found.retain(|(_, command)| {
                let program = command.split('\0').next().unwrap_or_default();
                matches!(program.rsplit('/').next(), Some("kubelet" | "containerd"))
            });
            found.into_iter().map(|(pid, _)| pid).collect::<Vec<u32>>()
        };
        let killed = services();
        assert_eq!(killed.len(), 2, "{:?}", children(self.node));
        killed.iter().for_each(|pid| signal("KILL", *pid));
        until("kubelet and containerd again", || {
            let now = services();
            now.len() == 2 && now.iter().all(|pid| !killed.contains(pid))
        });
        // A node that works makes a pod.
        let probe = self.make("rust", "rust-after-node-stop", &["clean", "1000", "2"]);
        until("a pod after that", || self.counting(&probe.pod) == [2000]);
        for container in &made {
            let after = self.counting(&container.pod);
            assert_eq!(after.len(), 1, "{} was started again", container.pod);
            assert!(before.iter().all(|steps| *steps < after[0]), "it went on");
            self.kubectl(
                &[
                    "delete",
                    "pod",
                    &container.pod,
                    "--wait=false",
                    "--grace-period=1",
                ],
                "",
            );
        }
        for container in &made {
            until(&container.pod, || self.pod(&container.pod).is_none());
        }
        made.into_iter().chain([probe]).collect()
    }

    fn pod(&self, name: &str) -> Option<Value> {
        let text = self.kubectl(
            &["get", "pod", name, "--ignore-not-found", "--output", "json"],
            "",
        );
        serde_json::from_str(&text).ok()
    }

    /// Until nothing runs.
    fn wait_for_the_rest(&self) {
        until("the end of all pods", || {
            let text = self.kubectl(&["get", "pods", "--output", "json"], "");
            let list: Value = serde_json::from_str(&text).unwrap();
            let pods = list["items"].as_array().unwrap();
            let is_over = |pod: &Value| {
                matches!(
                    pod["status"]["phase"].as_str(),
                    Some("Succeeded" | "Failed")
                )
            };
            pods.iter().all(is_over)
        });
    }
}

/// All processes with their command lines.
fn processes() -> Vec<(u32, String)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    let with = |pid: u32| {
        let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&bytes).into_owned()))
    };
    pids.filter_map(with).collect()
}

/// The processes that another started.
fn children(parent: u32) -> Vec<(u32, String)> {
    let mut all = processes();
    all.retain(|(pid, _)| {
        let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
        let fields = stat.unwrap_or_default();
        let after = fields.rsplit(") ").next().unwrap_or_default().to_owned();
        after.split(' ').nth(1) == Some(&parent.to_string())
    });
    all
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "waited for too long: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Instants that nobody chose.
struct Random(u64);

impl Random {
    fn new(salt: &str) -> Random {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let seed = now.as_nanos() as u64 ^ (salt.len() as u64) << 40;
        eprintln!("seed of {salt}: {seed}");
        Random(seed | 1)
    }

    /// xorshift64, by Marsaglia.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
