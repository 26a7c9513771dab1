//! A running node: finding it, telling how it is, ending it.
//!
//! Process 1 of a node is found by its command line, which names the state
//! folder; so it is found whatever became of the podcov that started it, and
//! no file with a process number can be wrong.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Deserialize;

use super::files;
use crate::provider::Error;

/// What process 1 of a node calls itself.
const INIT_NAME: &str = "podcov-node";
/// How long the kernel may take to end all processes of a node, and to remove
/// its link.
const ENDS: Duration = Duration::from_secs(30);
/// How long the machine may take to notice the end of a process.
const REAPED: Duration = Duration::from_secs(3);
/// So many failed starts of one process are not a matter of time any more.
const HOPELESS: u32 = 6;

/// `status.json`, as process 1 writes it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Report {
    /// In the order of their start.
    pub processes: Vec<Process>,
}

/// One process of the node.
#[derive(Debug, Deserialize)]
pub(crate) struct Process {
    /// Such as `kubelet`.
    pub name: String,
    /// `waiting`, `running`, `ready` or `failed`.
    pub state: String,
    /// How often it ended and was started again.
    pub restarts: u32,
    /// Why it failed last.
    #[serde(default)]
    pub detail: String,
}

impl Report {
    /// The last one of the node.
    pub fn read(state: &Path) -> Report {
        let text = fs::read_to_string(state.join("status.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Whether all of it works.
    pub fn all_ready(&self) -> bool {
        !self.processes.is_empty() && self.processes.iter().all(|p| p.state == "ready")
    }

    /// Names of what is not ready yet.
    pub fn pending(&self) -> Vec<&str> {
        self.processes
            .iter()
            .filter(|p| p.state != "ready")
            .map(|p| p.name.as_str())
            .collect()
    }

    /// One that fails again and again.
    pub fn hopeless(&self) -> Option<&Process> {
        self.processes
            .iter()
            .find(|p| p.state == "failed" && p.restarts >= HOPELESS)
    }

    /// What is not well, each with the end of its log.
    pub fn complaints(&self, state: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        for process in self.processes.iter().filter(|p| p.state != "ready") {
            lines.push(process.describe());
            if process.state != "waiting" {
                let log = state.join("log").join(format!("{}.log", process.name));
                lines.extend(
                    files::tail(&log, 6)
                        .into_iter()
                        .map(|line| format!("  {line}")),
                );
            }
        }
        lines
    }
}

impl Process {
    /// In a line.
    pub fn describe(&self) -> String {
        let detail = if self.detail.is_empty() {
            String::new()
        } else {
            format!(" ({})", self.detail)
        };
        match self.restarts {
            0 => format!("{} {}{detail}", self.name, self.state),
            times => format!(
                "{} {}, started again {times} times{detail}",
                self.name, self.state
            ),
        }
    }
}

/// Process 1 of the node with this state folder, as the host counts.
pub(crate) fn find(state: &Path) -> Option<Pid> {
    let wanted = command_line(state);
    let processes = fs::read_dir("/proc").ok()?;
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .find(|pid| is_node(*pid, &wanted) && !is_elsewhere(*pid, state))
        .and_then(Pid::from_raw)
}

fn command_line(state: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    [
        INIT_NAME.as_bytes(),
        b"\0",
        state.as_os_str().as_bytes(),
        b"\0",
    ]
    .concat()
}

/// The machine's process 1 inherited it and reaps it in its own time, or never:
/// then it stays a line in `ps`.
fn wait_until_reaped(pid: Pid) {
    let entry = format!("/proc/{}", pid.as_raw_nonzero());
    let begin = Instant::now();
    while Path::new(&entry).exists() && begin.elapsed() < REAPED {
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn is_node(pid: i32, wanted: &[u8]) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|found| found == wanted)
}

/// Whether the folder that the process names is another one than ours: a podcov
/// in a container has its own at the same path.
fn is_elsewhere(pid: i32, state: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    let theirs = PathBuf::from(format!("/proc/{pid}/root{}", state.display()));
    match (identity(&theirs), identity(state)) {
        (Ok(theirs), Ok(ours)) => theirs != ours,
        (Ok(_), Err(_)) => true,
        // Somebody removed the folder under a running node.
        (Err(_), _) => false,
    }
}

/// Ends the node if there is one. When its process 1 is killed the kernel kills
/// all others of the PID namespace; with the last one the mounts and the
/// network namespace go.
pub(crate) fn end(state: &Path, link: &str) -> Result<(), Error> {
    while let Some(pid) = find(state) {
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        // The number may have got a new owner before the handle was there.
        if !is_node(pid.as_raw_nonzero().get(), &command_line(state)) {
            continue;
        }
        let failed = |errno: rustix::io::Errno| Error::io("end the node of", state)(errno.into());
        match pidfd_send_signal(&handle, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let limit = rustix::event::Timespec {
            tv_sec: ENDS.as_secs() as i64,
            tv_nsec: 0,
        };
        let ready = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit));
        if ready.map_err(failed)? > 0 {
            wait_until_reaped(pid);
        } else {
            return Err(Error::Other(format!(
                "expected the processes of the node {} to end, but process {} did not in {} s; \
                 one of them may be stuck in the kernel (state D in `ps`)",
                state.display(),
                pid.as_raw_nonzero(),
                ENDS.as_secs()
            )));
        }
    }
    // The kernel removes a network namespace some time after its last process.
    let link = Path::new("/sys/class/net").join(link);
    let begin = Instant::now();
    while link.exists() {
        if begin.elapsed() > ENDS {
            return Err(Error::Other(format!(
                "expected the kernel to remove the link {}, but it is still there; \
                 something holds the network namespace of the node",
                link.display()
            )));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_what_is_missing_and_why() {
        let text = r#"{"processes":[
            {"name":"etcd","state":"ready","restarts":0},
            {"name":"kubelet","state":"failed","restarts":7,"detail":"exited with 1"}]}"#;
        let report: Report = serde_json::from_str(text).unwrap();
        assert!(!report.all_ready());
        assert_eq!(report.pending(), ["kubelet"]);
        assert_eq!(
            report.hopeless().unwrap().describe(),
            "kubelet failed, started again 7 times (exited with 1)"
        );
    }

    #[test]
    fn no_report_is_not_ready() {
        assert!(!Report::read(Path::new("/nonexistent")).all_ready());
    }
}
