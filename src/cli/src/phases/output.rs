//! What the output of the usual runners says of their tests.
//!
//! | runner | starts | ends |
//! |---|---|---|
//! | `go test -v`, `-json` | seen, and pauses | seen |
//! | `ginkgo -v` | seen, one process | seen |
//! | `cargo test` | not seen; one by one with `--test-threads=1` | seen |
//! | `cargo nextest` | told by how long it took | seen |
//! | `pytest -v` | one by one, but for `pytest-xdist` | seen |
//! | TAP | one by one | seen |

use std::time::Duration;

use serde::Deserialize;

use crate::config::RunnerName;

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Said<'l> {
    /// So many tests follow.
    Total(usize),
    /// A test starts.
    Starts(std::borrow::Cow<'l, str>),
    /// A parallel test waits for others.
    Pauses(std::borrow::Cow<'l, str>),
    /// It goes on.
    Continues(std::borrow::Cow<'l, str>),
    /// A test has ended.
    Ends {
        /// Its name.
        name: std::borrow::Cow<'l, str>,
        /// What came of it; `None` for one that was skipped.
        passed: Option<bool>,
        /// When it ran, where its start was not seen.
        ran: Ran,
    },
}

/// When a test ran whose end was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ran {
    /// Since the test before it ended.
    Alone,
    /// So long.
    For(Duration),
    /// Some time since the runner began.
    Unknown,
}

/// Reads output line by line.
#[derive(Debug, Default)]
pub struct Reader {
    runner: RunnerName,
    /// cargo test runs one test at a time.
    is_serial: bool,
    /// The test of cargo's whose line what it wrote has broken.
    broken: Option<String>,
    /// The first package of `go test -json`; others are named with theirs.
    package: Option<String>,
    is_tap: bool,
    /// The test of `go test` that ginkgo runs in.
    outer: Option<String>,
    ginkgo: Ginkgo,
}

/// Where in ginkgo's output we are.
#[derive(Debug, Default)]
enum Ginkgo {
    #[default]
    Elsewhere,
    /// Behind a rule of dashes.
    Rule,
    /// Behind a line that may be the name of a spec.
    Name(String),
    /// In a spec.
    Inside(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GoEvent {
    action: String,
    package: Option<String>,
    test: Option<String>,
}

impl Reader {
    /// For a runner that is started by this command, with these variables.
    pub fn new<'w>(
        runner: RunnerName,
        words: impl IntoIterator<Item = &'w str>,
        threads: Option<&str>,
    ) -> Reader {
        // A command for a shell has all of them in one word.
        let words = words.into_iter().flat_map(str::split_whitespace);
        let words: Vec<&str> = words.collect();
        let is_one = |word: &&str| *word == "--test-threads=1";
        Reader {
            runner,
            is_serial: words.iter().any(is_one)
                || words.windows(2).any(|two| two == ["--test-threads", "1"])
                || threads == Some("1"),
            ..Reader::default()
        }
    }

    /// What a line says, if it says something.
    pub fn read<'l>(&mut self, line: &'l str) -> Option<Said<'l>> {
        use RunnerName::{Auto, CargoTest, Ginkgo, GoTest, Nextest, Off, Pytest, Tap};
        let is = |runner| self.runner == runner || matches!(self.runner, Auto | Off);
        let (cargo, nextest, go) = (is(CargoTest), is(Nextest), is(GoTest));
        let (ginkgo, pytest, tap) = (is(Ginkgo), is(Pytest), is(Tap));
        let said = cargo.then(|| self.cargo_test(line)).flatten();
        let said = said.or_else(|| nextest.then(|| nextest_line(line)).flatten());
        let said = said.or_else(|| go.then(|| self.go_test(line)).flatten());
        let said = said.or_else(|| pytest.then(|| pytest_line(line)).flatten());
        let said = said.or_else(|| tap.then(|| self.tap(line)).flatten());
        said.or_else(|| ginkgo.then(|| self.ginkgo(line)).flatten())
    }

    fn cargo_test<'l>(&mut self, line: &'l str) -> Option<Said<'l>> {
        let line = line.trim();
        let ran = if self.is_serial {
            Ran::Alone
        } else {
            Ran::Unknown
        };
        if matches!(line, "ok" | "FAILED")
            && let Some(name) = self.broken.take()
        {
            return Some(Said::Ends {
                name: name.into(),
                passed: Some(line == "ok"),
                ran,
            });
        }
        if let Some(rest) = line.strip_prefix("running ") {
            let number = rest.strip_suffix(" tests").or(rest.strip_suffix(" test"))?;
            return number.parse().ok().map(Said::Total);
        }
        let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
        // With --nocapture what the test wrote stands before the result, which
        // then has a line of its own.
        self.broken = None;
        let passed = match result.split([' ', ',']).next()? {
            "ok" => Some(true),
            "FAILED" => Some(false),
            "ignored" => None,
            _ => {
                self.broken = self.is_serial.then(|| name.to_owned());
                return None;
            }
        };
        Some(ends(name, passed, ran))
    }

    fn go_test<'l>(&mut self, line: &'l str) -> Option<Said<'l>> {
        let trimmed = line.trim();
        if trimmed.starts_with("{\"") && trimmed.contains("\"Action\"") {
            return self.go_json(trimmed);
        }
        let first = |rest: &'l str| -> Option<std::borrow::Cow<'l, str>> {
            rest.trim_start().split(' ').next().map(Into::into)
        };
        let after = |head| trimmed.strip_prefix(head).and_then(first);
        if let Some(name) = after("=== RUN ") {
            self.outer = Some(name.to_string());
            return Some(Said::Starts(name));
        }
        if let Some(name) = after("=== PAUSE ") {
            return Some(Said::Pauses(name));
        }
        if let Some(name) = after("=== CONT ") {
            return Some(Said::Continues(name));
        }
        for (head, passed) in [
            ("--- PASS: ", Some(true)),
            ("--- FAIL: ", Some(false)),
            ("--- SKIP: ", None),
        ] {
            if let Some(name) = after(head) {
                self.outer = None;
                let ran = Ran::Unknown;
                return Some(Said::Ends { name, passed, ran });
            }
        }
        None
    }

    fn go_json(&mut self, line: &str) -> Option<Said<'static>> {
        let event: GoEvent = serde_json::from_str(line).ok()?;
        let package = event.package.unwrap_or_default();
        let test = event.test?;
        let first = self.package.get_or_insert_with(|| package.clone());
        let name = match *first == package {
            true => test,
            false => format!("{package} {test}"),
        };
        let ended = |passed| Said::Ends {
            name: name.clone().into(),
            passed,
            ran: Ran::Unknown,
        };
        match event.action.as_str() {
            "run" => Some(Said::Starts(name.into())),
            "pause" => Some(Said::Pauses(name.into())),
            "cont" => Some(Said::Continues(name.into())),
            "pass" => Some(ended(Some(true))),
            "fail" => Some(ended(Some(false))),
            "skip" => Some(ended(None)),
            _ => None,
        }
    }

    fn tap<'l>(&mut self, line: &'l str) -> Option<Said<'l>> {
        if let Some(plan) = line.strip_prefix("1..") {
            let number = plan.split(' ').next()?.parse().ok()?;
            self.is_tap = true;
            return Some(Said::Total(number));
        }
        self.is_tap |= line.starts_with("TAP version ") || self.runner == RunnerName::Tap;
        if !self.is_tap {
            return None;
        }
        let (rest, passed) = match line.strip_prefix("not ok ") {
            Some(rest) => (rest, false),
            None => (line.strip_prefix("ok ")?, true),
        };
        let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        number.parse::<u64>().ok()?;
        let (name, directive) = rest.split_once(" # ").unwrap_or((rest, ""));
        let name = name.trim_start_matches("- ").trim();
        let name = if name.is_empty() { number } else { name };
        let is_skipped = directive.to_ascii_lowercase().starts_with("skip");
        Some(ends(name, (!is_skipped).then_some(passed), Ran::Alone))
    }

    /// A rule of dashes, the name of the spec, the place of its source; what it
    /// writes; at its end a dot with the time. With several processes all of
    /// that comes when it has ended, the dot first.
    fn ginkgo(&mut self, line: &str) -> Option<Said<'static>> {
        let line = line.trim();
        if line.len() >= 30 && line.bytes().all(|byte| byte == b'-') {
            if !matches!(self.ginkgo, Ginkgo::Inside(_)) {
                self.ginkgo = Ginkgo::Rule;
            }
            return None;
        }
        match std::mem::take(&mut self.ginkgo) {
            Ginkgo::Rule if !line.is_empty() && ended(line).is_none() && !line.starts_with('[') => {
                let outer = self.outer.iter().map(|outer| format!("{outer}/"));
                self.ginkgo = Ginkgo::Name(outer.collect::<String>() + line);
                None
            }
            Ginkgo::Name(name) if is_place(line) => {
                self.ginkgo = Ginkgo::Inside(name.clone());
                Some(Said::Starts(name.into()))
            }
            Ginkgo::Inside(name) => {
                let Some(passed) = ended(line) else {
                    self.ginkgo = Ginkgo::Inside(name);
                    return None;
                };
                Some(Said::Ends {
                    name: name.into(),
                    passed,
                    ran: Ran::Unknown,
                })
            }
            _ => None,
        }
    }
}

/// `• [0.012 seconds]`, `• [FAILED] [1.000 seconds]`, `S [SKIPPED] …`.
fn ended(line: &str) -> Option<Option<bool>> {
    let rest = line.strip_prefix('•').or(line.strip_prefix("S "))?;
    if !rest.contains(" seconds]") {
        return None;
    }
    Some(match rest {
        rest if rest.contains("[SKIPPED]") => None,
        rest => Some(
            !["[FAILED]", "[PANICKED]", "[TIMEDOUT]", "[INTERRUPTED]"]
                .iter()
                .any(|word| rest.contains(word)),
        ),
    })
}

fn is_place(line: &str) -> bool {
    let number = line.rsplit_once(".go:").map(|(_, number)| number);
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

fn ends(name: &str, passed: Option<bool>, ran: Ran) -> Said<'_> {
    Said::Ends {
        name: name.into(),
        passed,
        ran,
    }
}

/// `    PASS [   0.005s] (1/3) crate::binary test`.
fn nextest_line(line: &str) -> Option<Said<'_>> {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix("Starting ") {
        let (number, rest) = rest.split_once(' ')?;
        return rest
            .starts_with("test")
            .then_some(Said::Total(number.parse().ok()?));
    }
    let (passed, rest) = [("PASS [", true), ("FAIL [", false)]
        .into_iter()
        .find_map(|(head, passed)| Some((passed, line.strip_prefix(head)?)))?;
    let (time, rest) = rest.split_once("s]")?;
    let seconds: f64 = time.trim().parse().ok()?;
    let ran = Duration::try_from_secs_f64(seconds).map_or(Ran::Unknown, Ran::For);
    Some(ends(rest.trim().rsplit(' ').next()?, Some(passed), ran))
}

/// `tests/test_a.py::test_x PASSED   [ 50%]`, and with xdist
/// `[gw0] [ 50%] PASSED tests/test_a.py::test_x`.
fn pytest_line(line: &str) -> Option<Said<'_>> {
    let line = line.trim();
    let collected = line.strip_prefix("collecting ... ").unwrap_or(line);
    if let Some(rest) = collected.strip_prefix("collected ") {
        let (number, rest) = rest.split_once(' ')?;
        return rest
            .starts_with("item")
            .then_some(Said::Total(number.parse().ok()?));
    }
    let outcome = |word: &str| match word {
        // That it failed was expected: it ran, and is as it should be.
        "PASSED" | "XPASS" | "XFAIL" => Some(Some(true)),
        "FAILED" | "ERROR" => Some(Some(false)),
        "SKIPPED" => Some(None),
        _ => None,
    };
    if line.starts_with("[gw") {
        let (_, rest) = line.split_once("%] ")?;
        let (word, name) = rest.split_once(' ')?;
        return Some(ends(name.trim(), outcome(word)?, Ran::Unknown));
    }
    // The summary at the end has the outcome first, and no percentage.
    let (start, percent) = line.rsplit_once('[')?;
    percent.strip_suffix("%]")?;
    let mut words = start.trim_end().rsplitn(2, ' ');
    let mut word = words.next()?;
    let mut name = words.next()?;
    if let Some((before, _)) = start.split_once(" SKIPPED (") {
        (name, word) = (before, "SKIPPED");
    }
    name.contains("::")
        .then(|| ends(name.trim(), outcome(word).flatten(), Ran::Alone))
        .filter(|_| outcome(word).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each thing said in a line of its own: `+` starts, `-` ends, `…` pauses,
    /// `>` goes on, with how the time of a test is known.
    fn said(mut reader: Reader, output: &str) -> Vec<String> {
        let mut all = Vec::new();
        for line in output.lines() {
            all.extend(reader.read(line).map(|said| match said {
                Said::Total(number) => format!("{number}"),
                Said::Starts(name) => format!("+ {name}"),
                Said::Pauses(name) => format!("… {name}"),
                Said::Continues(name) => format!("> {name}"),
                Said::Ends { name, passed, ran } => format!("- {name} {passed:?} {ran:?}"),
            }));
        }
        all
    }

    fn auto(output: &str) -> Vec<String> {
        said(Reader::default(), output)
    }

    #[test]
    fn cargo_test_tells_ends_and_with_one_thread_also_starts() {
        let output = "running 3 tests\ntest a::b ... ok\ntest c - should panic ... FAILED\n\
                      test d ... ignored, no cluster\ntest result: FAILED. 1 passed\n";
        let parallel = [
            "3",
            "- a::b Some(true) Unknown",
            "- c - should panic Some(false) Unknown",
            "- d None Unknown",
        ];
        assert_eq!(auto(output), parallel);
        let words = ["cargo", "test", "--", "--test-threads=1"];
        let serial = said(Reader::new(RunnerName::Auto, words, None), output);
        assert_eq!(serial[1], "- a::b Some(true) Alone");
        let many = ["sh", "-c", "cargo test -- --test-threads=16"];
        let many = said(Reader::new(RunnerName::Auto, many, None), output);
        assert_eq!(many, parallel);
        let by_variable = Reader::new(RunnerName::CargoTest, ["cargo", "test"], Some("1"));
        assert_eq!(said(by_variable, output), serial);
    }

    #[test]
    fn nextest_tells_how_long_each_took() {
        let output = "    Starting 2 tests across 1 binary\n        PASS [   0.105s] (1/2) e2e::e2e scaling\n\
                      \x20       FAIL [   2.000s] (2/2) e2e::e2e tls\n";
        let all = [
            "2",
            "- scaling Some(true) For(105ms)",
            "- tls Some(false) For(2s)",
        ];
        assert_eq!(auto(output), all);
    }

    #[test]
    fn go_test_tells_pauses() {
        let output = "=== RUN   TestA\n=== PAUSE TestA\n=== RUN   TestB\n=== RUN   TestB/x\n\
                      --- PASS: TestB (0.00s)\n    --- PASS: TestB/x (0.00s)\n=== CONT  TestA\n\
                      --- SKIP: TestA (0.01s)\nok  \texample.org/x\t0.1s\n";
        let all = [
            "+ TestA",
            "… TestA",
            "+ TestB",
            "+ TestB/x",
            "- TestB Some(true) Unknown",
            "- TestB/x Some(true) Unknown",
            "> TestA",
            "- TestA None Unknown",
        ];
        assert_eq!(auto(output), all);
    }

    #[test]
    fn go_test_json_names_the_package_where_there_are_several() {
        let line = |action, package, test| {
            format!("{{\"Time\":\"t\",\"Action\":\"{action}\",\"Package\":\"{package}\"{test}}}\n")
        };
        let test = ",\"Test\":\"TestA\"";
        let output = line("start", "x", "")
            + &line("run", "x", test)
            + &line("run", "y", test)
            + &line(
                "output",
                "x",
                ",\"Test\":\"TestA\",\"Output\":\"=== RUN   TestZ\\n\"",
            )
            + &line("fail", "y", test)
            + &line("pass", "x", test);
        let all = [
            "+ TestA",
            "+ y TestA",
            "- y TestA Some(false) Unknown",
            "- TestA Some(true) Unknown",
        ];
        assert_eq!(auto(&output), all);
    }

    /// As ginkgo 2.2x wrote it, below `go test -v`.
    #[test]
    fn cargo_test_tells_ends_behind_what_a_test_wrote() {
        let output = "running 2 tests\ntest a ... it wrote this\nand that\nok\ntest b ... ok\nok\n";
        let serial = || Reader::new(RunnerName::CargoTest, ["--test-threads=1"], None);
        let expected = ["2", "- a Some(true) Alone", "- b Some(true) Alone"];
        assert_eq!(said(serial(), output), expected);
        let failed = "test a ... thread panicked\nFAILED\n";
        assert_eq!(said(serial(), failed), ["- a Some(false) Alone"]);
    }

    #[test]
    fn ginkgo_tells_specs_within_their_go_test() {
        let rule = "------------------------------\n";
        let output = format!(
            "=== RUN   TestG\nRunning Suite: G Suite - /g\n=======\n\nWill run 3 of 4 specs\n{rule}\
             Books long is a novel\n/g/g_test.go:15\n  STEP: opening @ 11/25/26\n  hello\n\
             • [0.000 seconds]\n{rule}Books long fails\n/g/g_test.go:16\n  STEP: opening\n\
             • [FAILED] [0.000 seconds]\nBooks long [It] fails\n/g/g_test.go:16\n\n\
             \x20 [FAILED] Expected\n{rule}P [PENDING]\nBooks long pends\n/g/g_test.go:17\n{rule}\
             Books long skips\n/g/g_test.go:18\n  [SKIPPED] in [It]\nS [SKIPPED] [0.000 seconds]\n\
             Books long [It] skips\n/g/g_test.go:18\n{rule}\nSummarizing 1 Failure:\n\
             --- FAIL: TestG (0.00s)\n"
        );
        let all = [
            "+ TestG",
            "+ TestG/Books long is a novel",
            "- TestG/Books long is a novel Some(true) Unknown",
            "+ TestG/Books long fails",
            "- TestG/Books long fails Some(false) Unknown",
            "+ TestG/Books long skips",
            "- TestG/Books long skips None Unknown",
            "- TestG Some(false) Unknown",
        ];
        assert_eq!(auto(&output), all);
    }

    /// As pytest 9 wrote it.
    #[test]
    fn pytest_tells_ends_one_by_one_or_of_several_workers() {
        let output = "collecting ... collected 3 items\n\n\
                      t_test.py::test_a PASSED                         [ 33%]\n\
                      t_test.py::test_b[x y] FAILED                    [ 66%]\n\
                      t_test.py::test_c SKIPPED (no)                   [100%]\n\
                      FAILED t_test.py::test_b - assert 0\n\
                      [gw0] [ 50%] PASSED t_test.py::test_d \n";
        let all = [
            "3",
            "- t_test.py::test_a Some(true) Alone",
            "- t_test.py::test_b[x y] Some(false) Alone",
            "- t_test.py::test_c None Alone",
            "- t_test.py::test_d Some(true) Unknown",
        ];
        assert_eq!(auto(output), all);
    }

    #[test]
    fn tap_is_known_by_its_plan() {
        let output = "ok 1 - not yet\n1..3\nok 1 - a b\nnot ok 2 c\nok 3 - d # SKIP no\n# ok 4\n";
        let all = [
            "3",
            "- a b Some(true) Alone",
            "- c Some(false) Alone",
            "- d None Alone",
        ];
        assert_eq!(auto(output), all);
    }

    #[test]
    fn a_runner_that_is_named_is_the_only_one() {
        let reader = Reader::new(RunnerName::Pytest, ["pytest"], None);
        assert_eq!(said(reader, "=== RUN   TestA\ntest a ... ok\n"), [""; 0]);
    }
}
