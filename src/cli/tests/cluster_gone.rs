//! `podcov test` on a cluster that goes away, which is an API server of a few
//! answers in this process. The environment has a proxy that nobody answers.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use podcov_profile::bundle::{self, Bundle, Sources};
use podcov_profile::names::{Kind, Language};
use serde_json::{Value, json};

/// Answers until it is dropped; then nobody listens any more.
struct ApiServer {
    address: String,
    gone: Arc<AtomicBool>,
    listens: Option<std::thread::JoinHandle<()>>,
}

impl ApiServer {
    fn start() -> ApiServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let gone = Arc::new(AtomicBool::new(false));
        let is_gone = Arc::clone(&gone);
        let listens = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if is_gone.load(Ordering::SeqCst) {
                    break;
                }
                let is_gone = Arc::clone(&is_gone);
                // A client that hangs up is its own affair.
                std::thread::spawn(move || answer(&stream.unwrap(), &is_gone).ok());
            }
        });
        ApiServer {
            address,
            gone,
            listens: Some(listens),
        }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
        self.listens.take().unwrap().join().unwrap();
    }
}

fn answer(mut stream: &TcpStream, gone: &AtomicBool) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let path = request.split(' ').nth(1).unwrap_or_default();
    if path.contains("watch=true") {
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        while !gone.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        return Ok(());
    }
    let list = |kind: &str, items: Value| {
        json!({"apiVersion": "v1", "kind": kind, "items": items,
            "metadata": {"resourceVersion": "1"}})
    };
    let value = match path.split('?').next().unwrap_or_default() {
        "/version" => json!({"major": "1", "minor": "34", "gitVersion": "v1.34.4",
            "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "",
            "compiler": "", "platform": ""}),
        "/api/v1/nodes" => {
            let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
            list(
                "NodeList",
                json!([{"metadata": {"name": "n"}, "status": ready}]),
            )
        }
        "/api/v1/pods" => list("PodList", json!([])),
        other => panic!("nobody was to ask for {other}"),
    };
    let body = value.to_string();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

/// A built composition on that cluster, whose suite is a shell script.
struct Project {
    dir: tempfile::TempDir,
    server: Option<ApiServer>,
}

impl Project {
    fn new(script: &str) -> Project {
        let dir = tempfile::tempdir().unwrap();
        let server = ApiServer::start();
        let project = Project { dir, server: None };
        project.write(
            "kubeconfig",
            &json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "c",
                "clusters": [{"name": "c",
                    "cluster": {"server": format!("http://{}", server.address)}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            })
            .to_string(),
        );
        let script = json!(["sh", "-c", script]);
        project.write(
            "podcov.toml",
            &format!(
                "[composition]\nname = \"x\"\n[[component]]\nname = \"x\"\nlanguage = \"go\"\n\
                 [cluster]\nprovider = \"existing\"\nkubeconfig = \"kubeconfig\"\n\
                 [e2e]\ncommand = {script}\ntimeout = \"10m\"\n"
            ),
        );
        let bundle = Bundle {
            schema: bundle::SCHEMA,
            component: "x".to_owned(),
            language: Language::Go,
            kind: Kind::Operator,
            binaries: vec![],
            toolchain: String::new(),
            llvm_major: None,
            commit: None,
            dirty: false,
            image: None,
            sources: Sources::default(),
        };
        let run = "profiles/20260101-000000-aaaa";
        fs::create_dir_all(project.path(run).join("evidence")).unwrap();
        project.write(
            &format!("{run}/bundle/x/bundle.json"),
            &serde_json::to_string(&bundle).unwrap(),
        );
        Project {
            server: Some(server),
            ..project
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Starts `podcov test`; the script has to make the file `started`.
    fn test(&self) -> Child {
        let said = fs::File::create(self.path("said")).unwrap();
        let nobody = "http://127.0.0.1:9";
        let child = Command::new(env!("CARGO_BIN_EXE_podcov"))
            .arg("test")
            .current_dir(self.dir.path())
            // The right to a cluster is kept there by name, and the tests have
            // clusters of one name.
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("HTTPS_PROXY", nobody)
            .env("https_proxy", nobody)
            .env("HTTP_PROXY", nobody)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .unwrap();
        until("the suite starts", || {
            let failed = self.said().contains("error");
            assert!(!failed, "{}", self.said());
            self.path("started").exists()
        });
        child
    }

    fn said(&self) -> String {
        fs::read_to_string(self.path("said")).unwrap()
    }

    /// The process that the script named in a file.
    fn pid(&self, name: &str) -> String {
        fs::read_to_string(self.path(name))
            .unwrap()
            .trim()
            .to_owned()
    }
}

#[track_caller]
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process that nobody has waited for yet is dead all the same.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| &rest[..1]);
    state.is_some_and(|state| !matches!(state, "Z" | "X"))
}

const HANGS: &str = "echo $$ > pid; sleep 600 & echo $! > grandchild; touch started; wait";
const WAITS: &str = "touch started; while [ ! -e go ]; do sleep 0.1; done; exit $(cat go)";

#[test]
fn a_suite_that_hangs_on_a_dead_cluster_is_ended_with_6() {
    let mut project = Project::new(HANGS);
    let mut podcov = project.test();
    project.server = None;
    let begin = Instant::now();
    let status = podcov.wait().unwrap();
    let said = project.said();
    assert_eq!(status.code(), Some(6), "{said}");
    assert!(
        said.contains("the cluster went away while the e2e command ran"),
        "{said}"
    );
    assert!(said.contains("no answer from its API since"), "{said}");
    assert!(
        begin.elapsed() < Duration::from_secs(90),
        "{:?}",
        begin.elapsed()
    );
    assert!(!lives(&project.pid("pid")) && !lives(&project.pid("grandchild")));
}

#[test]
fn a_suite_that_fails_without_its_cluster_gives_6_and_else_5() {
    for (own, code) in [("1", 6), ("0", 0), ("1", 5)] {
        let mut project = Project::new(WAITS);
        let mut podcov = project.test();
        if code == 6 {
            project.server = None;
        }
        // Whole at once: the script reads it as soon as it is there.
        project.write("soon", own);
        fs::rename(project.path("soon"), project.path("go")).unwrap();
        let status = podcov.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{}", project.said());
        let went = "the cluster went away; the e2e command failed";
        assert_eq!(
            project.said().contains(went),
            code == 6,
            "{}",
            project.said()
        );
    }
}

#[test]
fn a_killed_podcov_leaves_no_suite_running() {
    let project = Project::new(HANGS);
    let mut podcov = project.test();
    let pids = [project.pid("pid"), project.pid("grandchild")];
    assert!(pids.iter().all(|pid| lives(pid)), "{pids:?}");
    podcov.kill().unwrap();
    podcov.wait().unwrap();
    until("the suite is gone", || !pids.iter().any(|pid| lives(pid)));
}
