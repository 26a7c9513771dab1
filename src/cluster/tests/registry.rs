//! Pushing to a real registry: the program of the CNCF distribution project,
//! built from its Go module, on this machine's loopback.

#[path = "registry/program.rs"]
mod program;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use podcov_cluster::registry::{Pushed, Registry};
use podcov_process::{Cancel, Silent};
use program::program;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// `team` with the password `secret`, as htpasswd writes it (bcrypt).
const HTPASSWD: &str = "team:$2a$04$J/0viDHmljafEiPvTr5iKexFDJgKbjsZew2cms14fn4lEe67ykIWC\n";

/// A registry that runs for as long as this is there.
struct Server {
    child: Child,
    host: String,
    dir: tempfile::TempDir,
}

impl Server {
    /// Starts one; `http` is more of that part of its configuration, `more` of
    /// the rest.
    fn start(http: &str, more: &str) -> Server {
        let dir = tempfile::tempdir().unwrap();
        // Free for the moment in which the registry takes it.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        drop(listener);
        let data = dir.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{accesslog: {{disabled: false}}, level: warn}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '{host}', {http}}}\n{more}\n",
            data.display()
        );
        let config = dir.path().join("config.yaml");
        std::fs::write(&config, text).unwrap();
        let log = || {
            File::options()
                .create(true)
                .append(true)
                .open(dir.path().join("log"))
                .unwrap()
        };
        let child = Command::new(program())
            .env("OTEL_TRACES_EXPORTER", "none")
            .arg("serve")
            .arg(&config)
            .stdout(log())
            .stderr(log())
            .spawn()
            .unwrap();
        let server = Server { child, host, dir };
        let begin = Instant::now();
        while TcpStream::connect(&server.host).is_err() {
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "{}",
                server.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// The requests that write.
    fn writes(&self) -> usize {
        let writes = ["\"POST ", "\"PATCH ", "\"PUT "];
        let is_write = |line: &&str| writes.iter().any(|word| line.contains(word));
        self.log().lines().filter(is_write).count()
    }

    /// What it has at a path below `/v2/`, asked for without podcov's client.
    fn get(&self, path: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        write!(
            stream,
            "GET /v2/{path} HTTP/1.0\r\nAccept: application/vnd.oci.image.manifest.v1+json\r\n\r\n"
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let status = String::from_utf8_lossy(&answer[..head]).into_owned();
        assert!(status.starts_with("HTTP/1.0 200"), "{path}: {status}");
        answer.split_off(head + 4)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

/// The archive of an image with these layers; gives its digest, too.
fn image(dir: &Path, layers: &[Vec<u8>]) -> (PathBuf, String) {
    let descriptor = |kind: &str, bytes: &[u8]| {
        json!({"mediaType": format!("application/vnd.oci.image.{kind}"),
               "digest": digest(bytes), "size": bytes.len()})
    };
    let ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    let config = json!({"architecture": "amd64", "os": "linux",
                        "rootfs": {"type": "layers", "diff_ids": ids}});
    let config = serde_json::to_vec(&config).unwrap();
    let of_layers: Vec<Value> = layers
        .iter()
        .map(|l| descriptor("layer.v1.tar", l))
        .collect();
    let manifest = json!({"schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", &config), "layers": of_layers});
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let index =
        json!({"schemaVersion": 2, "manifests": [descriptor("manifest.v1+json", &manifest)]});
    let index = serde_json::to_vec(&index).unwrap();
    let of_manifest = digest(&manifest);
    let path = dir.join(format!("{}.tar", &of_manifest[7..19]));
    let mut tar = tar::Builder::new(File::create(&path).unwrap());
    let mut add = |name: String, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    let blob = |bytes: &[u8]| format!("blobs/{}", digest(bytes).replace(':', "/"));
    for bytes in layers.iter().chain([&config, &manifest]) {
        add(blob(bytes), bytes);
    }
    add("index.json".to_owned(), &index);
    tar.finish().unwrap();
    (path, of_manifest)
}

/// A layer of several chunks whose bytes do not repeat.
fn layer(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let byte = |_| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as u8
    };
    (0..len).map(byte).collect()
}

fn push(registry: &str, archive: &Path) -> Result<Pushed, String> {
    let registry: Registry = registry.parse().unwrap();
    registry
        .push(
            archive,
            "ghcr.io/acme/op-profile:dev",
            &Silent,
            &Cancel::new(),
        )
        .map_err(|error| error.to_string())
}

#[test]
fn an_image_arrives_as_it_is_and_is_sent_once() {
    let server = Server::start("", "");
    let dir = tempfile::tempdir().unwrap();
    let (base, first, second) = (layer(1, 3_000_000), layer(2, 700_001), layer(3, 9));
    let (archive, of_image) = image(dir.path(), &[base.clone(), first.clone()]);
    let registry = format!("{}/team", server.host);

    // Looking writes nothing.
    let named: Registry = registry.parse().unwrap();
    let reference = "ghcr.io/acme/op-profile:dev";
    let look = || {
        named
            .look(&archive, reference, &Silent, &Cancel::new())
            .unwrap()
    };
    let before = look();
    assert_eq!((before.there, server.writes()), (0, 0));

    let pushed = push(&registry, &archive).unwrap();
    assert_eq!(pushed, before);
    assert!(pushed.sent > 3_700_001, "{pushed:?}");
    let manifest = server.get("team/op-profile/manifests/dev");
    assert_eq!(digest(&manifest), of_image);
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    for (entry, bytes) in layers.iter().zip([&base, &first]) {
        let path = format!(
            "team/op-profile/blobs/{}",
            entry["digest"].as_str().unwrap()
        );
        assert!(server.get(&path) == **bytes, "{path}");
    }
    let config = manifest["config"]["digest"].as_str().unwrap();
    assert_eq!(
        digest(&server.get(&format!("team/op-profile/blobs/{config}"))),
        config
    );

    let writes = server.writes();
    assert!(writes > 0, "{}", server.log());
    let again = push(&registry, &archive).unwrap();
    assert_eq!(
        again,
        Pushed {
            sent: 0,
            there: pushed.sent
        }
    );
    assert_eq!(look(), again);
    assert_eq!(server.writes(), writes, "{}", server.log());

    // Another image on the same base, under the same tag.
    let (archive, other) = image(dir.path(), &[base, second]);
    let pushed = push(&registry, &archive).unwrap();
    assert_eq!(pushed.there, 3_000_000);
    assert!(pushed.sent < 1000, "{pushed:?}");
    assert_eq!(digest(&server.get("team/op-profile/manifests/dev")), other);
    // The one before is still there for pods that have it by its digest.
    let path = format!("team/op-profile/manifests/{of_image}");
    assert_eq!(digest(&server.get(&path)), of_image);
}

const INNER: &str = "PODCOV_TEST_REGISTRY";

/// Runs a test again with variables of its own; gives what it prints.
fn with(test: &str, server: &str, variables: &[(&str, &Path)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(INNER, server)
        // Not the way to this machine itself.
        .envs(["HTTP_PROXY", "HTTPS_PROXY"].map(|name| (name, "http://127.0.0.1:9")));
    for name in [
        "HOME",
        "DOCKER_CONFIG",
        "REGISTRY_AUTH_FILE",
        "XDG_RUNTIME_DIR",
        "SSL_CERT_FILE",
    ] {
        command.env_remove(name);
    }
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    errors.into_owned()
}

/// What the inner test does: pushes a small image and says how it went.
fn push_and_tell(server: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (archive, _) = image(dir.path(), &[layer(4, 1000)]);
    match push(server, &archive) {
        Ok(pushed) => eprintln!("pushed {}", pushed.sent),
        Err(error) => eprintln!("{error}"),
    }
}

#[test]
fn the_login_is_that_of_docker_and_its_lack_is_told() {
    const TEST: &str = "the_login_is_that_of_docker_and_its_lack_is_told";
    if let Ok(server) = std::env::var(INNER) {
        return push_and_tell(&server);
    }
    let dir = tempfile::tempdir().unwrap();
    let htpasswd = dir.path().join("htpasswd");
    std::fs::write(&htpasswd, HTPASSWD).unwrap();
    let auth = format!(
        "auth: {{htpasswd: {{realm: test, path: {}}}}}",
        htpasswd.display()
    );
    let server = Server::start("", &auth);
    let registry = format!("{}/team", server.host);
    let nobody = with(TEST, &registry, &[("HOME", dir.path())]);
    let remedy = format!("`docker login {}`", server.host);
    assert!(
        nobody.contains("wants a login, and there is none"),
        "{nobody}"
    );
    assert!(nobody.contains(&remedy), "{nobody}");
    // `team:wrong` and `team:secret` in base64.
    for (auth, expected) in [
        ("dGVhbTp3cm9uZw==", "does not take the login of `team`"),
        ("dGVhbTpzZWNyZXQ=", "pushed "),
    ] {
        let config = json!({"auths": {&server.host: {"auth": auth}}}).to_string();
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        let said = with(TEST, &registry, &[("DOCKER_CONFIG", dir.path())]);
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains(auth) && !said.contains("wrong"), "{said}");
    }
}

#[test]
fn tls_is_checked_and_what_is_wrong_with_it_is_told() {
    const TEST: &str = "tls_is_checked_and_what_is_wrong_with_it_is_told";
    if let Ok(server) = std::env::var(INNER) {
        return push_and_tell(&server);
    }
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(vec![]).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let of_authority = authority.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let authority = write("ca.pem", of_authority);
    let (certificate, key) = (
        write("tls.pem", certificate.pem()),
        write("key.pem", key.serialize_pem()),
    );
    let (certificate, key) = (certificate.display(), key.display());
    let server = Server::start(
        &format!("tls: {{certificate: {certificate}, key: {key}}}"),
        "",
    );
    let registry = format!("https://{}/team", server.host);
    let said = with(TEST, &registry, &[]);
    assert!(said.contains("no trusted connection to"), "{said}");
    assert!(said.contains("SSL_CERT_FILE"), "{said}");
    let said = with(TEST, &registry, &[("SSL_CERT_FILE", &authority)]);
    assert!(said.contains("pushed "), "{said}");

    let plain = Server::start("", "");
    let said = with(TEST, &format!("https://{}/team", plain.host), &[]);
    assert!(said.contains("does not speak TLS"), "{said}");
    assert!(
        said.contains(&format!("`registry = \"http://{}/…\"`", plain.host)),
        "{said}"
    );
}

#[test]
fn nobody_there_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let dir = tempfile::tempdir().unwrap();
    let (archive, _) = image(dir.path(), &[layer(5, 10)]);
    let error = push(&format!("{host}/team"), &archive).unwrap_err();
    assert!(
        error.contains(&format!("no connection to `{host}`")),
        "{error}"
    );
    assert!(
        error.contains("Connection refused") && error.contains("NO_PROXY"),
        "{error}"
    );
}

/// The program above has no rule by which it says 403 or 404 to a push; others
/// have. This one answers every request that writes with one status.
fn refusing(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(listener);
    std::thread::spawn(move || {
        for stream in asked.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let (status, body) = match head.split(' ').next() {
                Some("POST") => (status, body),
                _ if head.contains(" /v2/ ") => ("200 OK", "{}"),
                _ => ("404 Not Found", ""),
            };
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
    });
    host
}

#[test]
fn a_refusal_is_told_in_the_registrys_words_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, _) = image(dir.path(), &[layer(6, 10)]);
    let denied = r#"{"errors":[{"code":"DENIED","message":"requested access is denied"}]}"#;
    let host = refusing("403 Forbidden", denied);
    let error = push(&format!("{host}/team"), &archive).unwrap_err();
    let expected = format!(
        "cannot push `{host}/team/op-profile:dev`: `{host}` does not let anyone without a login \
         write to `team/op-profile` (status 403 requested access is denied); get the right to push \
         there, or name another path in `[cluster] registry`"
    );
    assert_eq!(error, expected);
    let unknown = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such project"}]}"#;
    let host = refusing("404 Not Found", unknown);
    let error = push(&format!("{host}/team"), &archive).unwrap_err();
    assert!(
        error.contains("(status 404 no such project); create the repository"),
        "{error}"
    );
}

#[test]
fn a_request_to_stop_ends_a_push() {
    let server = Server::start("", "");
    let dir = tempfile::tempdir().unwrap();
    let (archive, _) = image(dir.path(), &[layer(7, 10)]);
    let cancel = Cancel::new();
    cancel.set();
    let registry: Registry = format!("{}/team", server.host).parse().unwrap();
    let stopped = registry.push(&archive, "op-profile:1", &Silent, &cancel);
    assert!(matches!(
        stopped.unwrap_err(),
        podcov_cluster::registry::Error::Cancelled(_)
    ));
    assert_eq!(server.writes(), 0);
}
