//! A small language for what happened to pods: builds what the watch saw and
//! what lies in the profile volume, so that each test reads as a story.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use podcov_cluster::collect::{Gather, Limits, collect};
use podcov_cluster::watch::observed::{Container, Observed, Pod, SCHEMA, Start};
use podcov_process::{Cancel, Silent};
use podcov_profile::bundle::{self, Binary, Bundle, Image, Mode, Sources};
use podcov_profile::ledger::{Cause, Fate, File, Incarnation, Ledger};
use podcov_profile::names::{Kind, Language};
use podcov_profile::{Identity, classify};
use serde_json::json;
use tempfile::TempDir;

pub const RUN: &str = "20261121-090000-test";

/// A file that a real program wrote, see the profile crate's fixtures.
pub fn fixture(path: &str) -> Vec<u8> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profile/tests/fixtures");
    fs::read(fixtures.join(path)).unwrap()
}

pub fn profraw() -> Vec<u8> {
    fixture("rust/plain.profraw")
}

pub const GO_HASH: &str = "365db558e60f45db96600bc1c17ccd6e";

pub fn covmeta() -> (String, Vec<u8>) {
    let name = format!("covmeta.{GO_HASH}");
    let bytes = fixture(&format!("go/{name}"));
    (name, bytes)
}

/// Name and content of a counter file of the process `pid`.
pub fn covcounters(pid: u64, nanos: u64) -> (String, Vec<u8>) {
    let file = format!("go/covcounters.{GO_HASH}.2384.1795257547508204385");
    (
        format!("covcounters.{GO_HASH}.{pid}.{nanos}"),
        fixture(&file),
    )
}

/// Name and content of the file that the process `pid`, which started at
/// `nanos`, maps over its counters.
pub fn covlive(pid: u64, nanos: u64) -> (String, Vec<u8>) {
    let mut bytes = fixture("go-live/covlive");
    let word = |bytes: &[u8], at: usize| {
        let word = bytes[at..at + 4].try_into().unwrap();
        u32::from_le_bytes(word) as usize
    };
    let seal = |part: &mut [u8]| {
        let (sealed, sum) = part.split_at_mut(part.len() - 8);
        let fnv = sealed.iter().fold(0xcbf2_9ce4_8422_2325u64, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
        sum.copy_from_slice(&fnv.to_le_bytes());
    };
    bytes[24..32].copy_from_slice(&pid.to_le_bytes());
    bytes[32..40].copy_from_slice(&nanos.to_le_bytes());
    let (header, second) = (word(&bytes, 12), word(&bytes, 16));
    seal(&mut bytes[..header]);
    let end = second + word(&bytes, second + 8);
    let hash = u128::from_str_radix(GO_HASH, 16).unwrap().to_be_bytes();
    bytes[second + 16..second + 32].copy_from_slice(&hash);
    seal(&mut bytes[second..end]);
    (format!("covlive.{pid}.{nanos}"), bytes)
}

fn bundle(component: &str, language: Language, identity: Identity) -> Bundle {
    Bundle {
        schema: bundle::SCHEMA,
        component: component.into(),
        language,
        kind: Kind::Operator,
        binaries: vec![Binary {
            name: component.into(),
            identity: Some(identity),
            other_identities: vec![],
            path: format!("bin/{component}"),
            sha256: String::new(),
            arch: "x86_64".into(),
            mode: Mode::Continuous,
            interval_ms: None,
        }],
        toolchain: String::new(),
        llvm_major: None,
        commit: None,
        dirty: false,
        image: Some(Image {
            production: format!("localhost/{component}:dev"),
            reference: image(component),
            digest: String::new(),
            archive: String::new(),
            entrypoint: vec![],
        }),
        sources: Sources::default(),
    }
}

fn image(component: &str) -> String {
    format!("localhost/{component}-profile:dev")
}

pub fn bundles() -> Vec<Bundle> {
    let rust = classify("a.profraw", &profraw()).identities.remove(0);
    let go = Identity::Covmeta(GO_HASH.into());
    vec![
        bundle("rusty", Language::Rust, rust),
        bundle("goer", Language::Go, go),
    ]
}

pub struct Scenario {
    temp: TempDir,
    pub observed: Observed,
    clock: u32,
    run: String,
    component: String,
    /// The folder of the present start, once something is in it.
    dir: Option<PathBuf>,
    is_seen: bool,
    limits: Limits,
    earlier: Option<Ledger>,
}

pub fn scenario() -> Scenario {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("evidence")).unwrap();
    let observed = Observed {
        schema: SCHEMA,
        run: RUN.into(),
        ..Observed::default()
    };
    Scenario {
        temp,
        observed,
        clock: 0,
        run: RUN.into(),
        component: String::new(),
        dir: None,
        is_seen: true,
        limits: Limits::default(),
        earlier: None,
    }
}

impl Scenario {
    pub fn evidence(&self) -> PathBuf {
        self.temp.path().join("evidence")
    }

    fn now(&self) -> String {
        let (minutes, seconds) = (self.clock / 60, self.clock % 60);
        format!("2026-11-21T09:{minutes:02}:{seconds:02}Z")
    }

    /// A pod that the watch sees.
    pub fn pod(mut self, name: &str) -> Self {
        self.is_seen = true;
        self.observed.pods.push(Pod {
            namespace: "sites".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
            phase: "Running".into(),
            ..Pod::default()
        });
        self
    }

    /// A pod that comes and goes while the watch is down.
    pub fn unseen_pod(mut self, name: &str) -> Self {
        self = self.pod(name);
        self.is_seen = false;
        self
    }

    /// A container that runs the component.
    pub fn runs(mut self, component: &str) -> Self {
        self.component = component.into();
        let (name, image) = ("main".into(), image(component));
        let container = Container {
            name,
            component: component.into(),
            image,
            ..Default::default()
        };
        self.observed
            .pods
            .last_mut()
            .unwrap()
            .containers
            .push(container);
        self
    }

    pub fn with_image(mut self, image: &str) -> Self {
        self.container().image = image.into();
        self
    }

    fn container(&mut self) -> &mut Container {
        self.observed
            .pods
            .last_mut()
            .unwrap()
            .containers
            .last_mut()
            .unwrap()
    }

    fn last_start(&mut self) -> &mut Start {
        self.container()
            .starts
            .last_mut()
            .expect("a start was not written")
    }

    /// The container starts (again).
    pub fn starts(mut self) -> Self {
        self.clock += 10;
        self.dir = None;
        let now = self.now();
        let container = self.container();
        let number = container.restarts.map_or(0, |restarts| restarts + 1);
        container.restarts = Some(number);
        let container_id = format!("containerd://{number}");
        let start = Start {
            number,
            container_id,
            started: Some(now),
            ..Start::default()
        };
        container.starts.push(start);
        self
    }

    /// The watch did not see this start.
    pub fn unnoticed(mut self) -> Self {
        self.container().starts.pop();
        self
    }

    /// The container's program cannot be started.
    pub fn cannot_start(self) -> Self {
        let mut this = self.starts();
        let start = this.last_start();
        start.started = None;
        (start.ended, start.code) = (true, Some(128));
        start.reason = Some("StartError".into());
        start.message = Some("exec: no such file".into());
        this
    }

    fn folder(&mut self) -> PathBuf {
        if let Some(dir) = &self.dir {
            return dir.clone();
        }
        let (minutes, seconds) = (self.clock / 60, self.clock % 60);
        let pod = self.observed.pods.last().unwrap();
        let id = format!(
            "20261121T09{minutes:02}{seconds:02}.250Z-00{:02x}",
            self.clock
        );
        let dir = self
            .evidence()
            .join(&pod.namespace)
            .join(format!("{}_{}", pod.name, pod.uid));
        let dir = dir.join("main").join(id);
        fs::create_dir_all(&dir).unwrap();
        self.dir = Some(dir.clone());
        dir
    }

    /// The launcher makes the folder and its record.
    pub fn launches(mut self) -> Self {
        let dir = self.folder();
        let bundle = bundles()
            .into_iter()
            .find(|bundle| bundle.component == self.component);
        let identity = bundle.and_then(|bundle| bundle.binaries[0].identity.clone());
        let start = self.now().replace('Z', ".250Z");
        let record = json!({"schema": 1, "run": self.run, "component": self.component,
            "identity": identity, "program": "/app/x", "pid": 7, "start": start});
        fs::write(dir.join("start.json"), record.to_string()).unwrap();
        self
    }

    /// A file in the folder of the present start, after its launcher's record.
    pub fn writes(mut self, name: &str, bytes: &[u8]) -> Self {
        if self.dir.is_none() {
            self = self.launches();
        }
        self.writes_alone(name, bytes)
    }

    /// The same without a record.
    pub fn writes_alone(mut self, name: &str, bytes: &[u8]) -> Self {
        let path = self.folder().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    /// The same, of a pair.
    pub fn writes_file(self, (name, bytes): (String, Vec<u8>)) -> Self {
        self.writes(&name, &bytes)
    }

    /// The same, of a snapshot.
    pub fn snapshots(self, (name, bytes): (String, Vec<u8>)) -> Self {
        self.writes(&format!("live/{name}"), &bytes)
    }

    /// It ends by itself, and the launcher says so.
    pub fn exits(self, code: i32) -> Self {
        let this = self.records_exit(json!({"code": code}));
        this.ends(code, if code == 0 { "Completed" } else { "Error" })
    }

    /// The launcher's record of the end.
    pub fn records_exit(mut self, how: serde_json::Value) -> Self {
        self.clock += 5;
        let (code, signal) = (&how["code"], &how["signal"]);
        let record = json!({"schema": 1, "code": code, "signal": signal, "end": self.now()});
        fs::write(self.folder().join("exit.json"), record.to_string()).unwrap();
        self
    }

    /// The whole container is killed; nothing can say so but the cluster.
    pub fn killed(mut self, reason: &str) -> Self {
        self.clock += 5;
        self.ends(137, reason)
    }

    /// What the cluster says of its end.
    pub fn ends(mut self, code: i32, reason: &str) -> Self {
        let now = self.now();
        let start = self.last_start();
        (start.ended, start.code) = (true, Some(code));
        start.finished = Some(now);
        start.reason = Some(reason.into());
        self
    }

    pub fn says(mut self, message: &str) -> Self {
        self.last_start().message = Some(message.into());
        self
    }

    /// What follows is of another run.
    pub fn in_run(mut self, run: &str) -> Self {
        self.run = run.into();
        self
    }

    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// For what the language has no word for: the folder of the last start.
    pub fn by_hand(mut self, act: impl FnOnce(&Path)) -> Self {
        act(&self.folder());
        self
    }

    /// Pods that the watch did not see are taken out of what it saw.
    pub fn forget_unseen(mut self) -> Self {
        if !self.is_seen {
            self.observed.pods.pop();
        }
        self
    }

    /// It is collected once, and something happens to the folder of the last
    /// start, or to all that is above it.
    pub fn collected_before(self, act: impl FnOnce(&Path)) -> Self {
        let mut this = self.forget_unseen();
        this.is_seen = true;
        this.earlier = Some(collect_once(&this, None));
        act(&this.folder());
        this
    }

    pub fn collect(self) -> Collected {
        let this = self.forget_unseen();
        let (quarantine, evidence) = (this.quarantine(), this.evidence());
        let before = snapshot(&evidence);
        let earlier = this.earlier.as_ref();
        let ledger = collect_once(&this, earlier);
        assert_eq!(
            collect_once(&this, earlier),
            ledger,
            "twice the same input, another account"
        );
        assert_eq!(
            collect_once(&this, Some(&ledger)),
            ledger,
            "collected again, another account"
        );
        assert_eq!(snapshot(&evidence), before, "evidence was changed");
        let collected = Collected {
            ledger,
            quarantine,
            evidence,
            _temp: this.temp,
        };
        collected.check_sums();
        collected
    }

    fn quarantine(&self) -> PathBuf {
        self.temp.path().join("quarantine")
    }
}

fn collect_once(scenario: &Scenario, earlier: Option<&Ledger>) -> Ledger {
    collect(&Gather {
        run: RUN,
        evidence: &scenario.evidence(),
        quarantine: &scenario.quarantine(),
        logs: None,
        bundles: &bundles(),
        observed: &scenario.observed,
        earlier,
        limits: scenario.limits.clone(),
        progress: &Silent,
        cancel: &Cancel::new(),
    })
    .unwrap()
}

/// Every file below a folder and its bytes; links and pipes by name alone.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = walkdir::WalkDir::new(dir).into_iter().map(Result::unwrap);
    let entries = entries.filter(|entry| !entry.file_type().is_dir());
    let bytes = |entry: &walkdir::DirEntry| {
        let small = entry.metadata().is_ok_and(|meta| meta.len() < 1 << 20);
        if entry.file_type().is_file() && small {
            fs::read(entry.path()).unwrap()
        } else {
            vec![]
        }
    };
    entries
        .map(|entry| (entry.path().to_owned(), bytes(&entry)))
        .collect()
}

pub struct Collected {
    pub ledger: Ledger,
    pub quarantine: PathBuf,
    evidence: PathBuf,
    _temp: TempDir,
}

impl Collected {
    /// Each file in the folder of an incarnation that counts is in the ledger
    /// once.
    fn check_sums(&self) {
        let counted = self.ledger.incarnations.iter().flat_map(|row| &row.files);
        let counted = counted.filter(|file| file.cause != Some(Cause::Removed));
        let mut counted: Vec<&str> = counted.map(|file| file.path.as_str()).collect();
        counted.sort_unstable();
        let folders: Vec<PathBuf> = self.ledger.incarnations.iter().filter_map(folder).collect();
        let found = snapshot(&self.evidence);
        let found = found
            .keys()
            .map(|path| path.strip_prefix(&self.evidence).unwrap());
        let mut found: Vec<&str> = found
            .filter(|path| folders.iter().any(|folder| path.starts_with(folder)))
            .map(|path| path.to_str().unwrap())
            .collect();
        found.sort_unstable();
        assert_eq!(
            counted, found,
            "files in the ledger, and files in the folders"
        );
        let sum: usize = self.ledger.fates().values().sum();
        assert_eq!(sum, self.ledger.incarnations.len());
    }

    /// The fates of the incarnations, in the ledger's order.
    #[track_caller]
    pub fn expect(self, fates: &[Fate]) -> Self {
        let found: Vec<Fate> = self
            .ledger
            .incarnations
            .iter()
            .map(|row| row.fate)
            .collect();
        assert_eq!(found, fates, "{:#?}", self.ledger);
        self
    }

    /// The fate of the one file with this name.
    #[track_caller]
    pub fn expect_file(self, name: &str, fate: Fate) -> Self {
        assert_eq!(self.file(name).fate, fate, "{:#?}", self.file(name));
        self
    }

    /// The cause of an incarnation's loss.
    #[track_caller]
    pub fn expect_cause(self, row: usize, cause: Cause) -> Self {
        let row = &self.ledger.incarnations[row];
        assert_eq!(row.cause, Some(cause), "{row:#?}");
        assert!(!row.reason.is_empty(), "{row:#?}");
        self
    }

    #[track_caller]
    pub fn expect_reason(self, row: usize, text: &str) -> Self {
        let reason = &self.ledger.incarnations[row].reason;
        assert!(reason.contains(text), "`{reason}` has no `{text}`");
        self
    }

    /// One finding of this kind, with this text in it.
    #[track_caller]
    pub fn expect_finding(self, kind: &str, text: &str) -> Self {
        let findings = &self.ledger.findings;
        let has = findings
            .iter()
            .filter(|f| f.kind == kind && f.text.contains(text))
            .count();
        assert_eq!(has, 1, "{kind}, {text} in {findings:#?}");
        self
    }

    #[track_caller]
    pub fn expect_no_findings(self) -> Self {
        assert!(
            self.ledger.findings.is_empty(),
            "{:#?}",
            self.ledger.findings
        );
        self
    }

    #[track_caller]
    pub fn file(&self, name: &str) -> &File {
        let mut files = self.ledger.incarnations.iter().flat_map(|row| &row.files);
        files
            .find(|file| file.path.ends_with(&format!("/{name}")))
            .unwrap()
    }
}

fn folder(row: &Incarnation) -> Option<PathBuf> {
    let id = row.id.as_ref()?;
    let pod = format!("{}_{}", row.pod, row.pod_uid);
    Some(
        Path::new(&row.namespace)
            .join(pod)
            .join(&row.container)
            .join(id),
    )
}

impl Scenario {
    /// It ends with this termination message and leaves no folder.
    pub fn exits_silently(self, message: &str) -> Self {
        self.ends(0, "Completed").says(message)
    }
}
