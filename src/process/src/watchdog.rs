use std::io::{Result, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;

/// Ends a process group when the one who holds its pipe is gone.
///
/// PR_SET_PDEATHSIG reaches only the child, not what a test runner started,
/// goes with the thread that made the child, and is lost in a set-user-ID
/// program; setting it takes unsafe code between fork and exec, too. A pipe is
/// closed by the system in whatever way its holder dies.
const SCRIPT: &str = r#"
read -r word && exit 0
kill -s TERM -- "-$1" 2>/dev/null || exit 0
n=0
while [ $n -lt 50 ] && kill -s 0 -- "-$1" 2>/dev/null; do
    sleep 0.1
    n=$((n + 1))
done
kill -s KILL -- "-$1" 2>/dev/null
"#;

/// A process that ends a group unless it is dropped before.
pub(crate) struct Watchdog(Child);

impl Watchdog {
    pub(crate) fn over(group: Pid) -> Result<Watchdog> {
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "podcov-watchdog"])
            .arg(group.as_raw_nonzero().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What is sent to our own group is not meant for it.
            .process_group(0);
        command.spawn().map(Watchdog)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let told = self
            .0
            .stdin
            .take()
            .map(|mut pipe| pipe.write_all(b"done\n"));
        if !matches!(told, Some(Ok(()))) {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use crate::Run;

    const DIR: &str = "PODCOV_TEST_TO_BE_KILLED";

    /// A process that nobody has waited for yet is dead all the same.
    fn lives(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, rest)| &rest[..1]);
        state.is_some_and(|state| !matches!(state, "Z" | "X"))
    }

    fn until(what: &str, mut is: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !is() {
            assert!(begin.elapsed() < Duration::from_secs(30), "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The child, and what it started, one of them deaf to SIGTERM.
    fn child(dir: &Path) -> Run<'static> {
        let script = "echo $$ > a; (trap '' TERM; exec sleep 120) & echo $! > b; wait";
        Run::new("sh").args(["-c", script]).current_dir(dir)
    }

    #[test]
    fn a_killed_parent_takes_what_it_started_along() {
        // This test once more, in a process that can be killed.
        if let Some(dir) = std::env::var_os(DIR) {
            let done = child(Path::new(&dir)).end_with_us().run();
            panic!("nobody killed us: {done:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let mut parent = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "watchdog::tests::a_killed_parent_takes_what_it_started_along",
            ])
            .env(DIR, dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let pid = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        until("the child starts", || pid("b").ends_with('\n'));
        let pids = [pid("a"), pid("b")].map(|pid| pid.trim().to_owned());
        assert!(pids.iter().all(|pid| lives(pid)), "{pids:?}");
        parent.kill().unwrap();
        parent.wait().unwrap();
        until("both are gone", || !pids.iter().any(|pid| lives(pid)));
    }

    #[test]
    fn what_a_child_leaves_running_is_not_touched_when_it_ends_by_itself() {
        let done = Run::new("sh").args(["-c", "sleep 30 >/dev/null 2>&1 & echo $!"]);
        let done = done.end_with_us().run().unwrap().text();
        let pid = done.trim();
        std::thread::sleep(Duration::from_millis(300));
        assert!(lives(pid));
        Run::new("kill").arg(pid).run().unwrap();
    }
}
