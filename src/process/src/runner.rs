use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Read, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::watchdog::Watchdog;
use crate::{Cancel, Cancelled};

/// How long a child may take over SIGTERM before it gets SIGKILL.
const GRACE: Duration = Duration::from_secs(10);
/// How much of an output is kept for an error message.
const TAIL_LINES: usize = 40;
/// How long output is still read when the child has ended, but something that
/// it left in the background (a port-forward of a test suite) has its pipes.
const LEFTOVERS: Duration = Duration::from_secs(1);
/// Between two looks at a pipe that is empty: the first, and the longest.
const READ_PAUSE: Range<Duration> = Duration::from_micros(200)..Duration::from_millis(20);

/// Why a child process gave no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not there or may not be executed.
    #[error("cannot start `{program}`: {source}")]
    Start {
        /// As it was asked for.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ended with something else than 0.
    #[error("`{command}` {ended}{}", tail_text(.tail))]
    Failed {
        /// The command line, escaped for a shell.
        command: String,
        /// "exited with 2", "was ended by signal 9".
        ended: String,
        /// Exit status, if it was not a signal.
        code: Option<i32>,
        /// The last lines it wrote, stdout and stderr as they came.
        tail: Vec<String>,
    },
    /// It took longer than it was given.
    #[error("`{command}` took longer than {} s{}", .limit.as_secs(), tail_text(.tail))]
    Timeout {
        /// The command line, escaped for a shell.
        command: String,
        /// What it was given.
        limit: Duration,
        /// The last lines it wrote.
        tail: Vec<String>,
    },
    /// It was ended because it could not do its work any more.
    #[error("`{command}` was ended: {why}")]
    Ended {
        /// The command line, escaped for a shell.
        command: String,
        /// What [`Run::end_when`] said.
        why: String,
    },
    /// The user asked to stop; the child is gone.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// Reading from or waiting for the child failed.
    #[error("cannot talk to `{command}`: {source}")]
    Io {
        /// The command line, escaped for a shell.
        command: String,
        /// What the system said.
        source: std::io::Error,
    },
}

fn tail_text(tail: &[String]) -> String {
    tail.iter()
        .fold(String::new(), |text, line| text + "\n    " + line)
}

/// What a child left.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status; success, unless [`Run::allow_failure`] was asked for.
    pub status: ExitStatus,
    /// All of its stdout, unless lines were streamed or it went to a file.
    pub stdout: Vec<u8>,
    /// All of its stderr, unless lines were streamed or it went to a file.
    pub stderr: Vec<u8>,
    /// How long it ran.
    pub elapsed: Duration,
}

impl Finished {
    /// stdout as text, bad UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

type LineSink<'a> = Box<dyn FnMut(&str) + Send + 'a>;
type Reason<'a> = Box<dyn Fn() -> Option<String> + 'a>;

/// A child process to be: program, arguments, environment, and what becomes
/// of its output.
pub struct Run<'a> {
    command: Command,
    cancel: Option<Cancel>,
    timeout: Option<Duration>,
    allow_failure: bool,
    input: Option<Vec<u8>>,
    lines: Option<LineSink<'a>>,
    end_when: Option<Reason<'a>>,
    outlives: bool,
}

impl<'a> Run<'a> {
    /// Starts the description of a run of `program`, looked up on PATH.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.process_group(0);
        Run {
            command,
            cancel: None,
            timeout: None,
            allow_failure: false,
            input: None,
            lines: None,
            end_when: None,
            outlives: true,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Removes a variable.
    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(key);
        self
    }

    /// Where it runs.
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Ends the child (SIGTERM to its group, then SIGKILL) when `cancel` is set.
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Ends the child when it takes longer than `limit`.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Ends the child as soon as `reason` gives one; it is asked all the time.
    pub fn end_when(mut self, reason: impl Fn() -> Option<String> + 'a) -> Self {
        self.end_when = Some(Box::new(reason));
        self
    }

    /// Ends the child's group when this process dies in whatever way, SIGKILL
    /// included. Needs `sh`.
    pub fn end_with_us(mut self) -> Self {
        self.outlives = false;
        self
    }

    /// A status other than 0 is a result, not an error.
    pub fn allow_failure(mut self) -> Self {
        self.allow_failure = true;
        self
    }

    /// What it reads from stdin; nothing by default.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.command.stdin(Stdio::piped());
        self.input = Some(bytes.into());
        self
    }

    /// Gives each line of stdout and stderr to `sink` as it comes, instead of
    /// keeping them all.
    pub fn each_line(mut self, sink: impl FnMut(&str) + Send + 'a) -> Self {
        self.lines = Some(Box::new(sink));
        self
    }

    /// The command line as one could type it.
    pub fn command_line(&self) -> String {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        words
            .map(|word| shell_word(&word.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Result<Finished, Error> {
        if let Some(cancel) = &self.cancel {
            cancel.check()?;
        }
        let command = self.command_line();
        let begin = Instant::now();
        let mut child = self.command.spawn().map_err(|source| Error::Start {
            program: self.command.get_program().to_string_lossy().into_owned(),
            source,
        })?;
        let io = |source| Error::Io {
            command: command.clone(),
            source,
        };
        let watchdog = match self.outlives {
            true => None,
            // A child without one runs as well, but is not what was asked for.
            false => match Watchdog::over(Pid::from_child(&child)) {
                Ok(watchdog) => Some(watchdog),
                Err(source) => {
                    end_group(&mut child).map_err(io)?;
                    return Err(Error::Start {
                        program: "sh".to_owned(),
                        source,
                    });
                }
            },
        };
        let ends = Ends {
            cancel: self.cancel.as_ref(),
            timeout: self.timeout,
            reason: self.end_when.take(),
        };
        let tail = Arc::new(Mutex::new(Vec::<String>::new()));
        let streaming = self.lines.is_some();
        let sink = Mutex::new(self.lines.take());
        let stdin = child.stdin.take();
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let gone = OnceLock::new();
        let (status, stdout, stderr) = std::thread::scope(|scope| {
            if let (Some(mut pipe), Some(bytes)) = (stdin, self.input.take()) {
                // A child that does not read its input to the end is no error.
                scope.spawn(move || pipe.write_all(&bytes));
            }
            let read_out = scope.spawn(|| drain(out, streaming, &sink, &tail, &gone));
            let read_err = scope.spawn(|| drain(err, streaming, &sink, &tail, &gone));
            let status = wait(&mut child, &ends);
            let _ = gone.set(Instant::now());
            let stdout = read_out.join().unwrap_or_default();
            let stderr = read_err.join().unwrap_or_default();
            (status, stdout, stderr)
        });
        drop(watchdog);
        let tail = std::mem::take(&mut *tail.lock().unwrap_or_else(|e| e.into_inner()));
        match status.map_err(io)? {
            Ended::Itself(status) if status.success() || self.allow_failure => Ok(Finished {
                status,
                stdout,
                stderr,
                elapsed: begin.elapsed(),
            }),
            Ended::Itself(status) => Err(Error::Failed {
                command,
                ended: describe(status),
                code: status.code(),
                tail,
            }),
            Ended::Cancelled => Err(Cancelled.into()),
            Ended::Reason(why) => Err(Error::Ended { command, why }),
            Ended::Timeout(limit) => Err(Error::Timeout {
                command,
                limit,
                tail,
            }),
        }
    }
}

/// What ends a child before it ends by itself.
struct Ends<'e, 'a> {
    cancel: Option<&'e Cancel>,
    timeout: Option<Duration>,
    reason: Option<Reason<'a>>,
}

enum Ended {
    Itself(ExitStatus),
    Cancelled,
    Reason(String),
    Timeout(Duration),
}

fn wait(child: &mut Child, ends: &Ends<'_, '_>) -> std::io::Result<Ended> {
    let begin = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ended::Itself(status));
        }
        if ends.cancel.is_some_and(Cancel::is_set) {
            end_group(child)?;
            return Ok(Ended::Cancelled);
        }
        if let Some(why) = ends.reason.as_ref().and_then(|reason| reason()) {
            end_group(child)?;
            return Ok(Ended::Reason(why));
        }
        if let Some(limit) = ends.timeout.filter(|limit| begin.elapsed() > *limit) {
            end_group(child)?;
            return Ok(Ended::Timeout(limit));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// SIGTERM to the child's group, SIGKILL to it when that took too long.
fn end_group(child: &mut Child) -> std::io::Result<()> {
    let group = Pid::from_child(child);
    let _ = kill_process_group(group, Signal::TERM);
    let begin = Instant::now();
    while begin.elapsed() < GRACE {
        if child.try_wait()?.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // Grandchildren may still hold the pipes; the readers would wait for them.
    let _ = kill_process_group(group, Signal::KILL);
    child.wait().map(drop)
}

/// Reads a pipe to its end, or until the child is gone and what it left
/// running only holds the pipe.
fn drain(
    pipe: Option<impl Read + AsFd>,
    streaming: bool,
    sink: &Mutex<Option<LineSink<'_>>>,
    tail: &Mutex<Vec<String>>,
    gone: &OnceLock<Instant>,
) -> Vec<u8> {
    let mut all = Vec::new();
    let Some(mut pipe) = pipe else { return all };
    // Without it a read would wait for the last holder of the pipe.
    let _ = fcntl_getfl(&pipe).and_then(|flags| fcntl_setfl(&pipe, flags | OFlags::NONBLOCK));
    let take = |line: &[u8]| {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches(['\n', '\r']);
        if let Ok(mut tail) = tail.lock() {
            if tail.len() == TAIL_LINES {
                tail.remove(0);
            }
            tail.push(text.to_owned());
        }
        if streaming
            && let Ok(mut sink) = sink.lock()
            && let Some(sink) = sink.as_mut()
        {
            sink(text);
        }
    };
    let mut line = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let mut pause = READ_PAUSE.start;
    loop {
        let is_left = gone.get().is_some_and(|gone| gone.elapsed() > LEFTOVERS);
        match pipe.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                pause = READ_PAUSE.start;
                let bytes = &buffer[..count];
                for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                    line.extend_from_slice(part);
                    if part.ends_with(b"\n") {
                        take(&line);
                        line.clear();
                    }
                }
                if !streaming {
                    all.extend_from_slice(bytes);
                }
                if is_left {
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && !is_left => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(READ_PAUSE.end);
            }
            Err(_) => break,
        }
    }
    if !line.is_empty() {
        take(&line);
    }
    all
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

/// `word` as one word of a POSIX shell.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The first executable file called `name` in the folders of PATH and the
/// system's own (`/usr/sbin`, `/sbin`, which a user's PATH often lacks).
pub fn find_program(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(more)
        .map(|dir| dir.join(name))
        .find(|file| {
            file.metadata()
                .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status_come_back() {
        let done = Run::new("sh")
            .args(["-c", "echo out; echo err >&2"])
            .run()
            .unwrap();
        assert_eq!(done.text(), "out\n");
        assert_eq!(done.stderr, b"err\n");
    }

    #[test]
    fn a_failure_shows_command_status_and_last_lines() {
        let error = Run::new("sh")
            .args(["-c", "echo why >&2; exit 3"])
            .run()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c 'echo why >&2; exit 3'` exited with 3\n    why"
        );
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Run::new("podcov-no-such-program").run().unwrap_err();
        assert!(
            matches!(error, Error::Start { program, .. } if program == "podcov-no-such-program")
        );
    }

    #[test]
    fn lines_are_given_as_they_come() {
        let mut lines = Vec::new();
        Run::new("printf")
            .arg("a\\nb\\n")
            .each_line(|l| lines.push(l.to_owned()))
            .run()
            .unwrap();
        assert_eq!(lines, ["a", "b"]);
    }

    #[test]
    fn a_time_limit_ends_the_whole_group() {
        let begin = Instant::now();
        let run = Run::new("sh").args(["-c", "sleep 60 & sleep 60"]);
        let error = run.timeout(Duration::from_millis(200)).run().unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }));
        assert!(begin.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn a_reason_ends_the_child_and_is_told() {
        let begin = Instant::now();
        let reason = || (begin.elapsed() > Duration::from_millis(100)).then(|| "no more".into());
        let error = Run::new("sleep").arg("60").end_when(reason).run();
        assert_eq!(
            error.unwrap_err().to_string(),
            "`sleep 60` was ended: no more"
        );
    }

    #[test]
    fn a_quoted_word_is_what_it_was() {
        for text in ["", "plain", "two words", "it's", "$HOME `x` \"y\" \\"] {
            let script = format!("printf %s {}", shell_word(text));
            let done = Run::new("sh").arg("-c").arg(script).run().unwrap();
            assert_eq!(done.text(), text);
        }
    }

    #[test]
    fn what_a_child_leaves_running_is_not_waited_for() {
        let begin = Instant::now();
        let done = Run::new("sh")
            .args(["-c", "sleep 20 & echo started; printf rest"])
            .run()
            .unwrap();
        assert_eq!(done.text(), "started\nrest");
        assert!(begin.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn large_output_comes_whole_and_fast() {
        let begin = Instant::now();
        let done = Run::new("head").args(["-c", "50000000", "/dev/zero"]).run();
        assert_eq!(done.unwrap().stdout.len(), 50_000_000);
        assert!(begin.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn a_request_to_stop_ends_the_child() {
        let cancel = Cancel::new();
        let setter = cancel.clone();
        let timer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            setter.set();
        });
        let error = Run::new("sleep")
            .arg("60")
            .cancel(&cancel)
            .run()
            .unwrap_err();
        assert!(matches!(error, Error::Cancelled(_)));
        timer.join().unwrap();
    }

    #[test]
    fn input_reaches_the_child() {
        assert_eq!(
            Run::new("cat").input("hello").run().unwrap().text(),
            "hello"
        );
    }
}
