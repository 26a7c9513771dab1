//! Where the suite says that a phase starts or ends: HTTP on loopback.
//!
//! `POST <PODCOV_PHASE_URL>/start` with the name as the body, or with JSON
//! `{"name": …, "kind": "test"|"phase", "namespace": …}`; `POST …/end` with the
//! name, or without for the last one. The answer comes when the counters have
//! been read: 204, or a text that says why not. The path holds a secret, for
//! others on the machine reach loopback, too.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use podcov_profile::phases::Kind;
use serde::{Deserialize, Serialize};

use super::{Recorder, Refused};
use crate::exit::{Exit, Failure, OrExit};

/// Whoever connects and says nothing is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// No request is larger.
const MAX_REQUEST: usize = 64 << 10;

/// Where the recorder listens, as the run's folder tells it.
const FILE: &str = "recorder.json";

#[derive(Serialize, Deserialize)]
struct Address {
    url: String,
}

/// What a request says of a phase.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Said {
    /// Its name; empty at the end: the last one.
    pub name: String,
    /// `test` or `phase`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The namespace that is its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// The endpoint, until it is dropped.
pub struct Endpoint {
    /// What `PODCOV_PHASE_URL` is set to.
    pub url: String,
    port: u16,
    file: PathBuf,
    ended: Arc<AtomicBool>,
}

impl Endpoint {
    /// Listens, and says in `dir` where.
    pub fn start(recorder: Arc<Recorder>, dir: &Path) -> Result<Endpoint, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).or_exit(Exit::Fault)?;
        let port = listener.local_addr().or_exit(Exit::Fault)?.port();
        let secret = secret().or_exit(Exit::Fault)?;
        let url = format!("http://127.0.0.1:{port}/{secret}");
        fs_err::create_dir_all(dir).or_exit(Exit::Fault)?;
        let file = dir.join(FILE);
        let address = Address { url: url.clone() };
        write_private(&file, &address).or_exit(Exit::Fault)?;
        let ended = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ended);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), recorder, secret) =
                    (stream, Arc::clone(&recorder), secret.clone())
                else {
                    continue;
                };
                // A mark waits for the one before it, not its connection.
                std::thread::spawn(move || serve(stream, &recorder, &secret));
            }
        });
        Ok(Endpoint {
            url,
            port,
            file,
            ended,
        })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = fs_err::remove_file(&self.file);
        // The thread hears it at the next connection.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn secret() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    fs_err::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Only the user who runs podcov may read it.
fn write_private(file: &Path, address: &Address) -> std::io::Result<()> {
    use fs_err::os::unix::fs::OpenOptionsExt;
    let new = file.with_extension("new");
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    serde_json::to_writer(options.open(&new)?, address)?;
    fs_err::rename(&new, file)
}

fn serve(mut stream: TcpStream, recorder: &Recorder, secret: &str) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let _ = stream.set_write_timeout(Some(PATIENCE));
    let (status, text) = match read_request(&mut stream) {
        Ok((method, path, body)) => answer(recorder, secret, &method, &path, &body),
        Err(why) => ("400 Bad Request", why),
    };
    let text = if text.is_empty() { text } else { text + "\n" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        text.len()
    );
    let _ = stream.write_all((head + &text).as_bytes());
}

fn answer(
    recorder: &Recorder,
    secret: &str,
    method: &str,
    path: &str,
    body: &[u8],
) -> (&'static str, String) {
    let Some(what) = path
        .strip_prefix('/')
        .and_then(|path| path.strip_prefix(secret))
    else {
        return (
            "404 Not Found",
            "no phase here: use PODCOV_PHASE_URL as it is".to_owned(),
        );
    };
    if method != "POST" {
        return ("405 Method Not Allowed", "use POST".to_owned());
    }
    let said = match parse(body) {
        Ok(said) => said,
        Err(why) => return ("400 Bad Request", why),
    };
    let done = match what {
        "/start" => match kind(said.kind.as_deref()) {
            Ok(kind) => recorder.begin(kind, &said.name, said.namespace.as_deref()),
            Err(why) => Err(Refused::Sense(why)),
        },
        "/end" => {
            let name = Some(said.name.as_str()).filter(|name| !name.is_empty());
            recorder.end(name).map(drop)
        }
        _ => return ("404 Not Found", "expected /start or /end".to_owned()),
    };
    match done {
        Ok(()) => ("204 No Content", String::new()),
        Err(Refused::Sense(why)) => ("409 Conflict", why),
        Err(Refused::Fault(why)) => ("500 Internal Server Error", why),
    }
}

/// The kind that a word means.
pub fn kind(word: Option<&str>) -> Result<Kind, String> {
    let word = word.unwrap_or(Kind::Phase.word());
    let known = Kind::ALL.into_iter().find(|kind| kind.word() == word);
    known.ok_or_else(|| format!("expected the kind `test` or `phase`, found `{word}`"))
}

fn parse(body: &[u8]) -> Result<Said, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8".to_owned())?;
    let text = text.trim();
    if text.starts_with('{') {
        return serde_json::from_str(text).map_err(|error| format!("the body: {error}"));
    }
    Ok(Said {
        name: text.to_owned(),
        ..Said::default()
    })
}

type Request = (String, String, Vec<u8>);

fn read_request(stream: &mut TcpStream) -> Result<Request, String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        let parsed = request.parse(&bytes).map_err(|error| error.to_string())?;
        if let httparse::Status::Complete(head) = parsed {
            let length = request
                .headers
                .iter()
                .find(|h| h.name.eq_ignore_ascii_case("content-length"));
            let length = match length {
                None => 0,
                Some(header) => std::str::from_utf8(header.value)
                    .ok()
                    .and_then(|text| text.trim().parse::<usize>().ok())
                    .ok_or("a length that is no number")?,
            };
            if length > MAX_REQUEST {
                return Err(format!("{length} bytes are more than a name"));
            }
            if bytes.len() >= head + length {
                let method = request.method.unwrap_or_default().to_owned();
                let path = request.path.unwrap_or_default().to_owned();
                return Ok((method, path, bytes[head..head + length].to_vec()));
            }
        }
        if bytes.len() > 2 * MAX_REQUEST {
            return Err("more bytes than a name needs".to_owned());
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Err("the request ends in the middle".to_owned()),
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The address that a run's recorder listens at, if it does.
pub fn of_run(dir: &Path) -> Option<String> {
    let bytes = fs_err::read(dir.join(FILE)).ok()?;
    serde_json::from_slice::<Address>(&bytes)
        .ok()
        .map(|address| address.url)
}

/// Says something to a recorder; the error is what it answers.
pub fn tell(url: &str, what: &str, said: &Said) -> Result<(), Failure> {
    let wrong = |why: String| Failure::new(Exit::Usage, why);
    let gone = |error: std::io::Error| {
        wrong(format!("nothing records phases at {url}: {error}")).help(NOT_THERE)
    };
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| wrong(format!("expected http://…, found `{url}`")))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let body = serde_json::to_string(said).or_exit(Exit::Fault)?;
    let mut stream = TcpStream::connect(host).map_err(gone)?;
    let request = format!(
        "POST /{path}/{what} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).map_err(gone)?;
    let mut answer = Vec::new();
    stream
        .take(MAX_REQUEST as u64)
        .read_to_end(&mut answer)
        .map_err(gone)?;
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(&answer);
    let Ok(httparse::Status::Complete(head)) = parsed else {
        return Err(wrong(format!(
            "what answers at {url} is no recorder of phases"
        )));
    };
    let text = String::from_utf8_lossy(&answer[head..]).trim().to_owned();
    match response.code {
        Some(200..=299) => Ok(()),
        Some(500..) => Err(Failure::new(Exit::Fault, text)),
        _ => Err(wrong(text)),
    }
}

/// What to do where no recorder is.
pub const NOT_THERE: &str =
    "phases are recorded while `podcov test`, the e2e step of `podcov run` or `podcov exec` runs";
