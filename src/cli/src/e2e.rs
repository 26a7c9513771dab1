//! Running the e2e command and following its output.

use fs_err::File;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use podcov_process::{Cancel, Error, Progress, Run};

use crate::phases::output::{Reader, Said};

/// What is run, and with what.
pub struct Suite<'a> {
    /// Program and arguments.
    pub command: &'a [OsString],
    /// Where.
    pub directory: &'a Path,
    /// Variables beside podcov's own.
    pub env: Vec<(OsString, OsString)>,
    /// How long it may take.
    pub timeout: Duration,
    /// Where its output goes.
    pub log: &'a Path,
    /// Understands its output.
    pub reader: Reader,
    /// Hears what its output says.
    pub hear: &'a (dyn Fn(&Said<'_>) + Sync),
    /// Why it need not go on, once there is a reason.
    pub end_when: &'a dyn Fn() -> Option<String>,
}

/// How a suite ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Tests that its output says have passed.
    pub passed: usize,
    /// Tests that its output says have failed.
    pub failed: Vec<String>,
    /// Its exit status was 0.
    pub good: bool,
}

impl Suite<'_> {
    /// Runs it. `beside` is asked for what else to show, such as the pods.
    pub fn run(
        self,
        progress: &dyn Progress,
        beside: impl Fn() -> String + Sync,
        cancel: &Cancel,
    ) -> Result<Outcome, Error> {
        let Some((program, args)) = self.command.split_first() else {
            return Ok(Outcome {
                passed: 0,
                failed: vec![],
                good: true,
            });
        };
        let mut log = File::create(self.log).map_err(|source| Error::Io {
            command: self.log.display().to_string(),
            source,
        })?;
        let mut tally = Tally::default();
        let (mut reader, hear) = (self.reader, self.hear);
        let mut run = Run::new(program)
            .args(args)
            .current_dir(self.directory)
            .timeout(self.timeout)
            .allow_failure()
            .end_when(self.end_when)
            // Nobody would be there to end it.
            .end_with_us()
            .cancel(cancel);
        for (key, value) in self.env {
            run = run.env(key, value);
        }
        let finished = run
            .each_line(|line| {
                // A full disk must not end the suite; the status tells.
                let _ = writeln!(log, "{line}");
                if let Some(said) = reader.read(line) {
                    hear(&said);
                    tally.count(&said);
                }
                let beside = beside();
                progress.status(&format!("{}{beside}", tally.show(line)));
            })
            .run()?;
        Ok(Outcome {
            passed: tally.passed,
            failed: tally.failed,
            good: finished.status.success(),
        })
    }
}

/// Counts tests in the output of the usual runners.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
    current: String,
    total: usize,
}

impl Tally {
    fn count(&mut self, said: &Said<'_>) {
        match said {
            Said::Total(n) => self.total += n,
            Said::Starts(name) => name.as_ref().clone_into(&mut self.current),
            Said::Ends { name, passed, .. } => {
                match passed {
                    Some(true) => self.passed += 1,
                    Some(false) => self.failed.push(name.to_string()),
                    None => {}
                }
                name.as_ref().clone_into(&mut self.current);
            }
            Said::Pauses(_) | Said::Continues(_) => {}
        }
    }

    fn show(&self, line: &str) -> String {
        let done = self.passed + self.failed.len();
        if done + self.total == 0 && self.current.is_empty() {
            return line.trim().chars().take(60).collect();
        }
        let of = if self.total > 0 {
            format!(" of {}", self.total)
        } else {
            String::new()
        };
        format!("{done}{of} · {}", self.current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use podcov_process::Silent;

    fn tally(output: &str) -> Tally {
        let mut tally = Tally::default();
        let mut reader = Reader::default();
        let said = output.lines().filter_map(|line| reader.read(line));
        said.for_each(|said| tally.count(&said));
        tally
    }

    #[test]
    fn the_usual_runners_are_understood() {
        let cargo = tally("running 2 tests\ntest a::b ... ok\ntest c ... FAILED\n");
        assert_eq!(
            (cargo.total, cargo.passed, cargo.failed),
            (2, 1, vec!["c".to_owned()])
        );
        let go = tally("=== RUN   TestA\n    --- PASS: TestA/x (0.00s)\n--- FAIL: TestB (1.00s)\n");
        assert_eq!((go.passed, go.failed), (1, vec!["TestB".to_owned()]));
        let nextest =
            tally("    PASS [   0.1s] e2e::e2e scaling\n    FAIL [   2.0s] e2e::e2e tls\n");
        assert_eq!(
            (nextest.passed, nextest.failed),
            (1, vec!["tls".to_owned()])
        );
    }

    #[test]
    fn a_failing_suite_is_an_outcome_and_its_output_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("e2e.log");
        let script = "echo 'test x ... FAILED'; echo $PODCOV_RUN >&2; exit 3";
        let suite = Suite {
            command: &["sh".into(), "-c".into(), script.into()],
            directory: dir.path(),
            env: vec![("PODCOV_RUN".into(), "r1".into())],
            timeout: Duration::from_secs(20),
            log: &log,
            reader: Reader::default(),
            hear: &|_| (),
            end_when: &|| None,
        };
        let outcome = suite.run(&Silent, String::new, &Cancel::new()).unwrap();
        assert_eq!(
            outcome,
            Outcome {
                passed: 0,
                failed: vec!["x".into()],
                good: false
            }
        );
        let mut lines: Vec<String> = fs_err::read_to_string(&log)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        assert_eq!(lines, ["r1", "test x ... FAILED"]);
    }
}
