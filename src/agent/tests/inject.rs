//! The webhook as a process, asked over TLS as the API server does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use podcov_overlay::webhook::Settings;
use podcov_overlay::{Component, Spec, Unseen};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const HOST: &str = "inject.podcov-hook-websites.svc";

/// The process, with what it takes to trust it.
struct Webhook {
    child: Child,
    address: String,
    roots: RootCertStore,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings() -> Settings {
    let component = Component {
        name: "webserver".into(),
        unseen: Unseen::Injected,
        image: Some("localhost/webserver:dev".into()),
        profile_image: Some("localhost/webserver-profile:dev".into()),
        workloads: vec![],
        created_by: None,
        programs: None,
    };
    Settings {
        id: "settings-1".into(),
        composition: "websites".into(),
        namespaces: vec![],
        until: None,
        spec: Spec::new("run-1", "/evidence", vec![component]),
    }
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podcov-agent"));
    command.arg("inject").env("PODCOV_INJECT_DIR", dir);
    command.env("PODCOV_LISTEN", "127.0.0.1:0");
    command.stderr(Stdio::piped());
    command
}

impl Webhook {
    fn start(dir: &Path) -> Webhook {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        std::fs::write(dir.join("tls.crt"), certificate.pem()).unwrap();
        std::fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
        let settings = serde_json::to_vec(&settings()).unwrap();
        std::fs::write(dir.join("settings.json"), settings).unwrap();
        let mut child = command(dir).spawn().unwrap();
        let mut said = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut said).unwrap();
        let (_, address) = said.trim_end().rsplit_once(' ').unwrap();
        let address = address.to_owned();
        // What it says later must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Webhook {
            child,
            address,
            roots,
        }
    }

    /// Sends bytes over a connection of their own; gives status and body.
    fn send(&self, request: &[u8]) -> (u16, String) {
        let config = ClientConfig::builder()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        let host = ServerName::try_from(HOST).unwrap();
        let session = ClientConnection::new(Arc::new(config), host).unwrap();
        let stream = TcpStream::connect(&self.address).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        // It may say no before it has heard everything.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).unwrap_or("0");
        (status.parse().unwrap(), body.to_owned())
    }

    fn post(&self, path: &str, body: &[u8]) -> (u16, String) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.send(&[head.as_bytes(), body].concat())
    }
}

#[test]
fn pods_are_patched_over_tls_and_anything_else_is_answered_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut webhook = Webhook::start(dir.path());
    let healthy = webhook.send(
        format!("GET /healthz HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n").as_bytes(),
    );
    assert_eq!(healthy, (200, "ok".to_owned()));

    let review = json!({"request": {"uid": "u-1", "namespace": "sites",
        "resource": {"resource": "pods"}, "object": {"metadata": {"name": "web"}, "spec":
        {"containers": [{"name": "web", "image": "localhost/webserver:dev"}]}}}});
    let (status, body) = webhook.post("/review", review.to_string().as_bytes());
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(answer["response"]["uid"], "u-1");
    assert_eq!(answer["response"]["patchType"], "JSONPatch");

    let (status, body) = webhook.post("/review", b"{\"request\": ");
    assert!(
        status == 400 && body.contains("expected an AdmissionReview as JSON"),
        "{body}"
    );
    let (status, body) = webhook.post("/review", b"{}");
    assert!(
        status == 400 && body.contains("expected an AdmissionReview with"),
        "{body}"
    );
    assert_eq!(webhook.post("/", b"").0, 404);

    // More than there can be, claimed or sent, is not made room for.
    let begin = format!("POST /review HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n");
    let claimed = format!("{begin}content-length: {}\r\n\r\n", u64::MAX / 2);
    assert_eq!(webhook.send(claimed.as_bytes()).0, 413);
    let mut sent = format!("{begin}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..5 {
        sent.extend(b"100000\r\n");
        sent.extend(vec![b' '; 1 << 20]);
        sent.extend(b"\r\n");
    }
    let (status, body) = webhook.send(&[&sent[..], b"0\r\n\r\n"].concat());
    assert!(
        status == 400 && body.contains("length limit exceeded"),
        "{status} {body}"
    );

    let pid = webhook.child.id().to_string();
    let told = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(told.success());
    assert!(webhook.child.wait().unwrap().success());
}

#[test]
fn what_it_cannot_start_with_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let output = command(dir.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        said.contains("cannot read ") && said.contains("settings.json"),
        "{said}"
    );
}
