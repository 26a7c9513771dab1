//! What would lose the evidence of pods that are there, with the remedy.

use std::path::Path;

use k8s_openapi::api::core::v1 as core;
use kube::Api;
use kube::api::ListParams;
use podcov_process::Cancel;
use serde::Serialize;

use crate::logs;
use crate::overlay::{COMPONENT_ANNOTATION, LAUNCHER, MIN_GRACE_SECONDS, RUN_ANNOTATION, VOLUME};
use crate::target::{Error, Target, ask, runtime};
use crate::watch::{Watched, book, observed};

/// Lines of a log that are looked through for the launcher's word: it speaks
/// first.
const LOG_LINES: i64 = 2000;
/// What the launcher says where nothing can be written.
const NO_EVIDENCE: &str = "podcov-launcher: no evidence: ";
/// The number of the signal that asks a process to end.
const SIGTERM: u32 = 15;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is about: `component website-operator`, `pod shop/web-0 container web`.
    pub subject: String,
    /// How it is.
    pub level: Level,
    /// What was found.
    pub text: String,
    /// What to do about it; empty where nothing is to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// How what was looked at is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Good,
    /// It cannot be told, or it can lose evidence in some cases.
    Warning,
    /// It loses evidence.
    Bad,
}

impl Check {
    /// As it should be.
    pub fn good(subject: &str, text: impl Into<String>) -> Check {
        Check::new(subject, Level::Good, text, "")
    }

    /// It can lose evidence, or cannot be told.
    pub fn warning(subject: &str, text: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check::new(subject, Level::Warning, text, remedy)
    }

    /// It loses evidence.
    pub fn bad(subject: &str, text: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check::new(subject, Level::Bad, text, remedy)
    }

    fn new(
        subject: &str,
        level: Level,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Check {
        Check {
            subject: subject.to_owned(),
            level,
            text: text.into(),
            remedy: remedy.into(),
        }
    }
}

/// What is known of the run whose pods are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Looked<'a> {
    /// Its components, and how their pods are recognised.
    pub watched: &'a [Watched],
    /// The images that are measured; others of a component are production's.
    pub profile_images: &'a [String],
    /// Its evidence folder, where this machine has one.
    pub evidence: Option<&'a Path>,
}

/// Looks at every pod of the composition, in all namespaces.
pub fn pods(target: &Target, looked: Looked, cancel: &Cancel) -> Result<Vec<Check>, Error> {
    runtime()?.block_on(async {
        let client = target.client().await?;
        let all: Api<core::Pod> = Api::all(client.clone());
        let params = ListParams::default();
        let list = ask("list pods of all namespaces", cancel, || all.list(&params)).await?;
        let mut checks = Vec::new();
        for pod in &list.items {
            for (container, component) in containers(pod, looked.watched) {
                let subject = subject(pod, &container.name);
                let of_pod = Measured {
                    pod,
                    container,
                    component,
                    subject: &subject,
                };
                checks.extend(of_pod.manifest(looked.profile_images));
                checks.extend(of_pod.state());
                let known = observed::Pod {
                    namespace: pod.metadata.namespace.clone().unwrap_or_default(),
                    name: pod.metadata.name.clone().unwrap_or_default(),
                    ..observed::Pod::default()
                };
                let lines = Some(LOG_LINES);
                let log = logs::fetch(&client, &known, &container.name, false, lines, cancel).await;
                checks.extend(of_pod.evidence(looked.evidence, &log.unwrap_or_default()));
                checks.extend(of_pod.signals());
            }
        }
        Ok(checks)
    })
}

fn subject(pod: &core::Pod, container: &str) -> String {
    let meta = &pod.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or("default");
    let name = meta.name.as_deref().unwrap_or("?");
    format!("pod {namespace}/{name} container {container}")
}

/// The containers of a pod that run a component, by what the pod says and by
/// its images.
fn containers<'a>(
    pod: &'a core::Pod,
    watched: &'a [Watched],
) -> Vec<(&'a core::Container, &'a str)> {
    let Some(spec) = &pod.spec else { return vec![] };
    let annotations = pod.metadata.annotations.as_ref();
    let init = spec.init_containers.iter().flatten();
    init.chain(&spec.containers)
        .filter_map(|container| {
            let key = format!("{COMPONENT_ANNOTATION}{}", container.name);
            let said = annotations
                .and_then(|all| all.get(&key))
                .map(String::as_str);
            let image = container.image.as_deref().unwrap_or_default();
            let by_image = watched.iter().find(|watched| {
                watched
                    .images
                    .iter()
                    .any(|name| book::same_image(name, image))
            });
            let component = said.or(by_image.map(|watched| watched.name.as_str()))?;
            Some((container, component))
        })
        .collect()
}

/// A container that runs a component.
struct Measured<'a> {
    pod: &'a core::Pod,
    container: &'a core::Container,
    component: &'a str,
    subject: &'a str,
}

impl Measured<'_> {
    fn good(&self, text: impl Into<String>) -> Check {
        Check::good(self.subject, text)
    }

    fn warning(&self, text: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check::warning(self.subject, text, remedy)
    }

    fn bad(&self, text: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check::bad(self.subject, text, remedy)
    }

    fn env(&self, name: &str) -> bool {
        self.container
            .env
            .iter()
            .flatten()
            .any(|env| env.name == name)
    }

    /// What the pod asks for.
    fn manifest(&self, profile_images: &[String]) -> Vec<Check> {
        let mut checks = Vec::new();
        let image = self.container.image.as_deref().unwrap_or_default();
        let component = self.component;
        let is_profile = profile_images
            .iter()
            .any(|name| book::same_image(name, image));
        if !is_profile && !profile_images.is_empty() {
            checks.push(self.bad(
                format!("runs `{image}`, which is not the profile image of `{component}`"),
                "apply the profile overlay of the run (`podcov deploy`); where an operator or a \
                 package manager makes the pod, see `created_by` and injection in podcov.toml",
            ));
            return checks;
        }
        let mount = self
            .container
            .volume_mounts
            .iter()
            .flatten()
            .find(|mount| mount.name == VOLUME);
        let spec = self.pod.spec.as_ref();
        let volume = spec
            .and_then(|spec| spec.volumes.as_ref())
            .and_then(|volumes| volumes.iter().find(|volume| volume.name == VOLUME));
        match (mount, volume) {
            (Some(mount), Some(_)) if mount.read_only == Some(true) => checks.push(self.bad(
                format!(
                    "mounts the profile volume at {} read-only",
                    mount.mount_path
                ),
                "take `readOnly` out of the mount: every start writes a folder of its own there",
            )),
            (Some(mount), Some(_)) => {
                checks.push(self.good(format!("profile volume at {}", mount.mount_path)));
            }
            _ => checks.push(self.bad(
                format!("has no profile volume: expected a mount called `{VOLUME}`"),
                "apply the profile overlay (`podcov overlay`, or by hand those in overlays/)",
            )),
        }
        if !self.env("PODCOV_VOLUME") {
            checks.push(self.warning(
                "PODCOV_VOLUME is not set, so evidence says neither its pod nor its run",
                "apply the profile overlay: it sets the variables of the launcher",
            ));
        }
        for name in ["GOCOVERDIR", "LLVM_PROFILE_FILE"] {
            if self.env(name) {
                checks.push(self.bad(
                    format!("{name} is set by the pod itself, and evidence goes where it says"),
                    "take it out of the manifest: the launcher sets it to a folder of each process' own",
                ));
            }
        }
        if let Some(first) = self.container.command.iter().flatten().next()
            && first != LAUNCHER
        {
            checks.push(self.bad(
                format!("its `command` starts `{first}` and so goes past the launcher"),
                format!("begin the command with `{LAUNCHER} --`, as the overlay does"),
            ));
        }
        let grace = spec
            .and_then(|spec| spec.termination_grace_period_seconds)
            .unwrap_or(30);
        if grace < i64::from(MIN_GRACE_SECONDS) {
            checks.push(self.warning(
                format!("has {grace} s to end; what is written only at the end may be cut off"),
                format!("set `terminationGracePeriodSeconds` to {MIN_GRACE_SECONDS} or more"),
            ));
        }
        checks
    }

    /// What became of it.
    fn state(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        let Some(status) = self.status() else {
            return checks;
        };
        let state = status.state.as_ref();
        if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
            let reason = waiting.reason.as_deref().unwrap_or("something");
            let message = waiting.message.as_deref().unwrap_or_default();
            let remedy = match reason {
                "ErrImageNeverPull" | "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" => {
                    "bring the profile image to the nodes: `podcov deploy` loads it, `[cluster] \
                     load_image` says how on a cluster of your own"
                }
                "CrashLoopBackOff" => "`kubectl logs --previous` says why it ends",
                _ => "`kubectl describe pod` says more",
            };
            checks.push(self.warning(format!("waits: {reason} {message}").trim_end(), remedy));
        }
        let last = status
            .last_state
            .as_ref()
            .and_then(|state| state.terminated.as_ref());
        let ended = state.and_then(|state| state.terminated.as_ref()).or(last);
        if let Some(ended) = ended {
            let reason = ended.reason.as_deref().unwrap_or_default();
            match (reason, ended.exit_code) {
                ("OOMKilled", _) => checks.push(self.warning(
                    "was killed for lack of memory: what is written only at the end is lost then",
                    "raise its memory limit, or use `mode = \"continuous\"`, which survives",
                )),
                (_, 137) => checks.push(self.warning(
                    "was killed (exit status 137): by force, or because its time to end was over",
                    "raise `terminationGracePeriodSeconds`, see that it ends on SIGTERM, or use \
                     `mode = \"continuous\"`, which survives",
                )),
                _ => {}
            }
        }
        checks
    }

    fn status(&self) -> Option<&core::ContainerStatus> {
        let status = self.pod.status.as_ref()?;
        let init = status.init_container_statuses.iter().flatten();
        let main = status.container_statuses.iter().flatten();
        init.chain(main)
            .find(|status| status.name == self.container.name)
    }

    fn is_running(&self) -> bool {
        let state = self.status().and_then(|status| status.state.as_ref());
        state.is_some_and(|state| state.running.is_some())
    }

    /// Whether evidence comes: by the launcher's word and by what is there.
    fn evidence(&self, evidence: Option<&Path>, log: &str) -> Vec<Check> {
        if let Some(line) = log.lines().find_map(|line| line.split_once(NO_EVIDENCE)) {
            let user = self
                .container
                .security_context
                .as_ref()
                .and_then(|c| c.run_as_user);
            let of_pod = self
                .pod
                .spec
                .as_ref()
                .and_then(|spec| spec.security_context.as_ref());
            let user = user.or(of_pod.and_then(|context| context.run_as_user));
            let user = user.map_or("the image's user".to_owned(), |user| format!("user {user}"));
            return vec![self.bad(
                format!("the launcher could not write as {user}: {}", line.1),
                "the folder behind the profile volume must be there, writable for every user \
                 (mode 1777), and not full",
            )];
        }
        let meta = &self.pod.metadata;
        let (Some(evidence), true) = (evidence, self.is_running()) else {
            return vec![];
        };
        let pod = format!(
            "{}_{}",
            meta.name.as_deref().unwrap_or_default(),
            meta.uid.as_deref().unwrap_or_default()
        );
        let folder = evidence
            .join(meta.namespace.as_deref().unwrap_or_default())
            .join(pod)
            .join(&self.container.name);
        let starts = std::fs::read_dir(&folder).map_or(0, |entries| entries.flatten().count());
        let run = meta
            .annotations
            .as_ref()
            .and_then(|all| all.get(RUN_ANNOTATION));
        match (starts, run) {
            (0, Some(run)) => vec![self.bad(
                format!("runs, and left nothing in {} (run {run})", folder.display()),
                "see that the node's folder is this machine's (`[cluster] node_dir`), and that the \
                 image starts the launcher",
            )],
            (0, None) => vec![self.bad(
                "runs, and says of no run that it belongs to it",
                "apply the profile overlay of the run",
            )],
            (starts, _) => vec![self.good(format!("writes evidence ({starts} so far)"))],
        }
    }

    /// Whether its process reacts to SIGTERM: only where the node is this
    /// machine.
    fn signals(&self) -> Vec<Check> {
        let id = self
            .status()
            .and_then(|status| status.container_id.as_deref());
        let Some(id) = id.and_then(|id| id.split_once("://")).map(|(_, id)| id) else {
            return vec![];
        };
        match term(Path::new("/proc"), id) {
            Some(Term::Caught) => vec![self.good("ends on SIGTERM by itself")],
            Some(Term::Default) => vec![self.warning(
                "has no handler for SIGTERM: it ends at once and does not clean up",
                "with `mode = \"continuous\"` nothing is lost by it; with `at-exit` all is: handle \
                 SIGTERM",
            )],
            Some(Term::Ignored) => vec![self.warning(
                "ignores SIGTERM: it is killed when its time to end is over",
                "handle SIGTERM; with `mode = \"continuous\"` nothing is lost by it",
            )],
            None => vec![],
        }
    }
}

/// What SIGTERM does to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// It has a handler, or waits for it.
    Caught,
    /// It ends, at once.
    Default,
    /// Nothing.
    Ignored,
}

/// What SIGTERM does to the program of a container whose processes are this
/// machine's; not to the launcher, which passes it on.
fn term(proc: &Path, container: &str) -> Option<Term> {
    let entries = std::fs::read_dir(proc).ok()?;
    for entry in entries.flatten() {
        let dir = entry.path();
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
        let command = std::fs::read(dir.join("cmdline")).unwrap_or_default();
        let is_launcher = command.split(|byte| *byte == 0).next() == Some(LAUNCHER.as_bytes());
        if !is_launcher && !command.is_empty() && read("cgroup").contains(container) {
            return term_of_status(&read("status"));
        }
    }
    None
}

/// By the masks in `/proc/PID/status`, see proc_pid_status(5).
pub fn term_of_status(status: &str) -> Option<Term> {
    let has = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let mask = u64::from_str_radix(line.trim(), 16).ok()?;
        Some(mask >> (SIGTERM - 1) & 1 == 1)
    };
    Some(if has("SigCgt:")? || has("SigBlk:")? {
        Term::Caught
    } else if has("SigIgn:")? {
        Term::Ignored
    } else {
        Term::Default
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use podcov_profile::names::Kind;
    use serde_json::json;

    fn pod(change: impl FnOnce(&mut serde_json::Value)) -> core::Pod {
        let mut pod = json!({
            "metadata": {"name": "web-0", "namespace": "shop", "uid": "u1",
                "annotations": {"podcov.dev/run": "r1", "podcov.dev/component.web": "web"}},
            "spec": {
                "terminationGracePeriodSeconds": 30,
                "containers": [{"name": "web", "image": "web-profile:1",
                    "env": [{"name": "PODCOV_VOLUME", "value": "/podcov/profile"}],
                    "volumeMounts": [{"name": VOLUME, "mountPath": "/podcov/profile"}]}],
                "volumes": [{"name": VOLUME, "hostPath": {"path": "/e"}}],
            },
            "status": {"containerStatuses": [{"name": "web", "image": "", "imageID": "",
                "ready": true, "restartCount": 0, "state": {"running": {}}}]},
        });
        change(&mut pod);
        serde_json::from_value(pod).unwrap()
    }

    fn checks(pod: &core::Pod, evidence: Option<&Path>, log: &str) -> Vec<Check> {
        let watched = [Watched {
            name: "web".into(),
            kind: Kind::Operator,
            images: vec!["web:1".into(), "web-profile:1".into()],
        }];
        let found = containers(pod, &watched);
        let [(container, component)] = found.as_slice() else {
            panic!("one container")
        };
        let subject = subject(pod, &container.name);
        let measured = Measured {
            pod,
            container,
            component,
            subject: &subject,
        };
        let mut checks = measured.manifest(&["web-profile:1".into()]);
        checks.extend(measured.state());
        checks.extend(measured.evidence(evidence, log));
        checks
    }

    #[test]
    fn a_pod_that_leaves_evidence_is_good() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(
            dir.path()
                .join("shop/web-0_u1/web/20260101T000000.000Z-0001"),
        )
        .unwrap();
        let checks = checks(&pod(|_| ()), Some(dir.path()), "hello\n");
        assert!(
            checks.iter().all(|check| check.level == Level::Good),
            "{checks:?}"
        );
        assert_eq!(checks.len(), 2);
    }

    #[test]
    fn what_loses_evidence_is_bad_and_has_a_remedy() {
        let spec = |path: &'static str, value: serde_json::Value| {
            move |pod: &mut serde_json::Value| *pod.pointer_mut(path).unwrap() = value
        };
        let container = "/spec/containers/0";
        type Change = Box<dyn FnOnce(&mut serde_json::Value)>;
        let cases: [(Change, &str); 6] = [
            (
                Box::new(spec("/spec/containers/0/image", json!("web:1"))),
                "not the profile image",
            ),
            (
                Box::new(spec("/spec/containers/0/volumeMounts", json!([]))),
                "no profile volume",
            ),
            (
                Box::new(spec(
                    "/spec/containers/0/volumeMounts/0",
                    json!({"name": VOLUME,
                    "mountPath": "/podcov/profile", "readOnly": true}),
                )),
                "read-only",
            ),
            (
                Box::new(move |pod| {
                    pod.pointer_mut(container).unwrap()["env"] =
                        json!([{"name": "GOCOVERDIR", "value": "/x"}, {"name": "PODCOV_VOLUME"}]);
                }),
                "GOCOVERDIR is set",
            ),
            (
                Box::new(move |pod| {
                    pod.pointer_mut(container).unwrap()["command"] = json!(["/app/web"]);
                }),
                "goes past the launcher",
            ),
            (Box::new(|_| ()), "left nothing in"),
        ];
        let empty = tempfile::tempdir().unwrap();
        for (change, expected) in cases {
            let found = checks(&pod(change), Some(empty.path()), "");
            let bad: Vec<_> = found
                .iter()
                .filter(|check| check.level == Level::Bad)
                .collect();
            assert!(
                bad.iter().any(|check| check.text.contains(expected)),
                "{expected}: {found:?}"
            );
            assert!(bad.iter().all(|check| !check.remedy.is_empty()), "{bad:?}");
        }
    }

    #[test]
    fn the_launchers_word_is_believed() {
        let log =
            "podcov-launcher: no evidence: cannot create /podcov/profile/shop: Permission denied\n";
        let found = checks(&pod(|_| ()), None, log);
        let check = found.last().unwrap();
        assert_eq!(check.level, Level::Bad);
        assert!(check.text.contains("Permission denied"), "{check:?}");
    }

    #[test]
    fn a_killed_container_is_told() {
        let found = checks(
            &pod(|pod| {
                pod["status"]["containerStatuses"][0]["lastState"] =
                    json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
            }),
            None,
            "",
        );
        assert!(
            found
                .iter()
                .any(|check| check.text.contains("lack of memory")),
            "{found:?}"
        );
    }

    #[test]
    fn what_a_signal_does_is_in_the_masks() {
        let status = |blocked: &str, ignored: &str, caught: &str| {
            format!("Name:\tx\nSigBlk:\t{blocked}\nSigIgn:\t{ignored}\nSigCgt:\t{caught}\n")
        };
        let (no, yes) = ("0000000000000000", "0000000000004000");
        assert_eq!(term_of_status(&status(no, no, yes)), Some(Term::Caught));
        assert_eq!(term_of_status(&status(yes, no, no)), Some(Term::Caught));
        assert_eq!(term_of_status(&status(no, yes, no)), Some(Term::Ignored));
        assert_eq!(term_of_status(&status(no, no, no)), Some(Term::Default));
        assert_eq!(term_of_status(""), None);
    }
}
