//! The recorder: while the suite runs, it writes down what was counted between
//! the starts and ends of its phases.
//!
//! Who calls waits until the counters are read, so that what comes behind a
//! mark is not counted before it. What a runner's output tells comes a moment
//! after the fact; the phases say which of both it was.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use podcov_cluster::collect::snapshot::Snapshots;
use podcov_process::write_atomic;
use podcov_profile::phases::mark::MAX_TEXT;
use podcov_profile::phases::{By, Event, Kind, Mark, Phase, Phases, What};

use crate::exit::{Exit, Failure, OrExit};
use output::{Ran, Said};

pub mod endpoint;
pub mod output;

/// A test that starts so soon behind a mark starts at that mark: between two
/// tests of one runner nothing happens, and a look at the counters would only
/// take away from the second what it had begun.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Writes marks; may be called from several threads.
pub struct Recorder {
    state: Mutex<State>,
}

struct State {
    snapshots: Snapshots,
    dir: PathBuf,
    begin: Instant,
    /// Of each mark its number and when its counters had been read.
    marks: Vec<(u32, Instant)>,
    number: u32,
    open: Vec<Open>,
    /// Since when tests may run whose starts are not seen.
    group: u32,
    /// The mark at which the last test ended that the output told of.
    ended: u32,
    /// The suite calls for its tests: what its output says of them says less.
    calls: bool,
    /// Nobody is to write marks any more.
    is_over: bool,
    /// What was written so far, without counts.
    told: Vec<Mark>,
}

struct Open {
    kind: Kind,
    by: By,
    name: String,
    /// It is told at its end, when it began: at the mark of this number.
    since: Option<u32>,
}

/// Why a mark cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It makes no sense.
    #[error("{0}")]
    Sense(String),
    /// It makes sense, and cannot be written.
    #[error("{0}")]
    Fault(String),
}

impl Recorder {
    /// Begins: what was counted until now belongs to no phase. Marks go to
    /// `dir`, behind those that are there.
    pub fn start(evidence: &Path, dir: &Path) -> Result<Recorder, Failure> {
        let mut snapshots = Snapshots::new(evidence).or_exit(Exit::Fault)?;
        snapshots.take().or_exit(Exit::Fault)?;
        let told = earlier(dir)?;
        let number = told.last().map_or(0, |mark| mark.number);
        // What a killed recorder left open was not open all the time since.
        let before = Phases::new(&told);
        let began = told.last().map_or(0, |mark| mark.at);
        let mut state = State {
            snapshots,
            dir: dir.to_owned(),
            begin: Instant::now() - Duration::from_millis(began),
            marks: vec![(number, Instant::now())],
            number,
            open: Vec::new(),
            group: number,
            ended: number,
            calls: false,
            is_over: false,
            told,
        };
        let left: Vec<Event> = before
            .left_open()
            .map(|phase| event(phase.kind, phase.by, &phase.name, What::End))
            .collect();
        if !left.is_empty() {
            state
                .mark(left)
                .map_err(|why| Failure::new(Exit::Fault, why))?;
        }
        Ok(Recorder {
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic in another thread leaves marks that are whole.
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A phase starts.
    pub fn begin(&self, kind: Kind, name: &str, namespace: Option<&str>) -> Result<(), Refused> {
        let mut state = self.state();
        let wrong = |what: String| Err(Refused::Sense(what));
        if name.is_empty() || name.len() > MAX_TEXT || name.contains(char::is_control) {
            return wrong(format!(
                "expected a name of 1 to {MAX_TEXT} bytes, without control characters"
            ));
        }
        if let Some(namespace) = namespace
            && (namespace.is_empty() || namespace.contains('/') || namespace.len() > 253)
        {
            return wrong(format!("`{namespace}` is no name of a namespace"));
        }
        if kind == Kind::Test && !state.calls {
            state.calls = true;
            while let Some(index) = state.open.iter().position(|open| open.by == By::Output) {
                state.close(index)?;
            }
        }
        if state.position(kind, name).is_some() {
            return wrong(format!("the {} `{name}` is open already", kind.word()));
        }
        let namespace = namespace.map(str::to_owned);
        state.mark(vec![event(kind, By::Call, name, What::Start { namespace })])?;
        state.opened(kind, By::Call, name, None);
        Ok(())
    }

    /// A phase ends: the one of this name, or the last one that was started by
    /// a call.
    pub fn end(&self, name: Option<&str>) -> Result<String, Refused> {
        let mut state = self.state();
        let mut called = state.open.iter().enumerate().rev();
        let found = called.find(|(_, open)| match name {
            Some(name) => open.name == name,
            None => open.by == By::Call,
        });
        let Some((index, _)) = found else {
            let names: Vec<_> = state
                .open
                .iter()
                .map(|open| format!("`{}`", open.name))
                .collect();
            let names = if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            };
            return Err(Refused::Sense(match name {
                Some(name) => format!("no phase `{name}` is open; open: {names}"),
                None => "no phase is open".to_owned(),
            }));
        };
        state.close(index)
    }

    /// What the output of the suite says.
    pub fn hear(&self, said: &Said<'_>) -> Result<(), Refused> {
        let mut state = self.state();
        if state.calls {
            return Ok(());
        }
        match said {
            Said::Total(_) => {
                // Tests start from here on.
                if state.number == 0 || !state.is_just_marked() {
                    state.mark(Vec::new())?;
                }
                state.group = state.number;
                state.ended = state.number;
            }
            Said::Starts(name) | Said::Continues(name) => {
                if state.position(Kind::Test, name).is_some() {
                    return Ok(());
                }
                let mut since = None;
                if state.number > 0 && state.is_just_marked() {
                    since = Some(state.number);
                } else {
                    let what = What::Start { namespace: None };
                    state.mark(vec![event(Kind::Test, By::Output, name, what)])?;
                }
                state.opened(Kind::Test, By::Output, name, since);
            }
            Said::Pauses(name) => {
                if let Some(index) = state.position(Kind::Test, name) {
                    state.close(index)?;
                }
            }
            Said::Ends { name, ran, passed } => {
                if let Some(index) = state.position(Kind::Test, name) {
                    state.close(index)?;
                    state.ended = state.number;
                    return Ok(());
                }
                if passed.is_none() {
                    // It was skipped.
                    return Ok(());
                }
                let since = match ran {
                    Ran::Alone => state.ended,
                    Ran::For(time) => state.number_at(Instant::now().checked_sub(*time)),
                    Ran::Unknown => state.group,
                };
                state.mark(vec![event(
                    Kind::Test,
                    By::Output,
                    name,
                    What::Ran { since },
                )])?;
                state.ended = state.number;
            }
        }
        Ok(())
    }

    /// The end: closes what is open, and gives all phases. Who comes later is
    /// refused.
    pub fn finish(&self) -> Result<Vec<Phase>, Failure> {
        let mut state = self.state();
        if state.number > 0 {
            let left: Vec<Event> = state.open.iter().map(Open::end).collect();
            state
                .mark(left)
                .map_err(|why| Failure::new(Exit::Fault, why))?;
            state.open.clear();
        }
        state.is_over = true;
        Ok(Phases::new(&state.told).all().to_vec())
    }
}

impl State {
    fn mark(&mut self, events: Vec<Event>) -> Result<(), Refused> {
        if self.is_over {
            return Err(Refused::Sense("the suite has ended".to_owned()));
        }
        let fault = |what: String| Refused::Fault(what);
        let mark = Mark {
            number: self.number + 1,
            at: u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX),
            events,
            files: self
                .snapshots
                .take()
                .map_err(|error| fault(error.to_string()))?,
        };
        let name = format!("{:06}.mark", mark.number);
        let path = self.dir.join(name);
        let wrong =
            |error: std::io::Error| fault(format!("cannot write `{}`: {error}", path.display()));
        fs_err::create_dir_all(&self.dir).map_err(wrong)?;
        write_atomic(&path, &mark.to_bytes()).map_err(wrong)?;
        self.number = mark.number;
        self.marks.push((mark.number, Instant::now()));
        self.told.push(Mark {
            files: Vec::new(),
            ..mark
        });
        Ok(())
    }

    fn position(&self, kind: Kind, name: &str) -> Option<usize> {
        let is_it = |open: &Open| open.kind == kind && open.name == name;
        self.open.iter().position(is_it)
    }

    fn opened(&mut self, kind: Kind, by: By, name: &str, since: Option<u32>) {
        let name = name.to_owned();
        self.open.push(Open {
            kind,
            by,
            name,
            since,
        });
    }

    fn close(&mut self, index: usize) -> Result<String, Refused> {
        // It stays open where that cannot be written down.
        self.mark(vec![self.open[index].end()])?;
        Ok(self.open.remove(index).name)
    }

    fn is_just_marked(&self) -> bool {
        self.marks
            .last()
            .is_some_and(|(_, at)| at.elapsed() < AT_ONCE)
    }

    /// The last mark before a time.
    fn number_at(&self, time: Option<Instant>) -> u32 {
        let before = |(_, at): &&(u32, Instant)| time.is_some_and(|time| *at <= time);
        let first = self.marks.first().map_or(0, |(number, _)| *number);
        self.marks
            .iter()
            .rev()
            .find(before)
            .map_or(first, |(number, _)| *number)
    }
}

impl Open {
    fn end(&self) -> Event {
        let what = match self.since {
            Some(since) => What::Ran { since },
            None => What::End,
        };
        event(self.kind, self.by, &self.name, what)
    }
}

fn event(kind: Kind, by: By, name: &str, what: What) -> Event {
    Event {
        kind,
        by,
        name: name.to_owned(),
        what,
    }
}

/// The marks of an earlier `podcov test` of the same run, without counts.
fn earlier(dir: &Path) -> Result<Vec<Mark>, Failure> {
    let mut marks = Vec::new();
    let entries = match fs_err::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(marks),
        entries => entries.or_exit(Exit::Fault)?,
    };
    for entry in entries {
        let path = entry.or_exit(Exit::Fault)?.path();
        if path.extension().is_some_and(|end| end == "mark") {
            let bytes = fs_err::read(&path).or_exit(Exit::Fault)?;
            let mark = Mark::read(&bytes, &podcov_profile::Limits::default());
            let mark = mark.map_err(|error| {
                Failure::new(Exit::Fault, format!("`{}`: {error}", path.display()))
                    .help("remove the folder: the run then has no phases so far")
            })?;
            marks.push(Mark {
                files: Vec::new(),
                ..mark
            });
        }
    }
    marks.sort_by_key(|mark| mark.number);
    Ok(marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(act: impl FnOnce(&Recorder)) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let evidence = dir.path().join("evidence");
        std::fs::create_dir(&evidence).unwrap();
        let recorder = Recorder::start(&evidence, &dir.path().join("phases")).unwrap();
        act(&recorder);
        let all = recorder.finish().unwrap();
        assert!(recorder.begin(Kind::Test, "late", None).is_err());
        let shown = all.iter().map(|phase| {
            let shared: Vec<_> = phase.shared_with.iter().map(String::as_str).collect();
            format!("{} {:?} {}", phase.name, phase.by, shared.join(","))
        });
        shown.collect()
    }

    fn ends(name: &'static str, passed: Option<bool>, ran: Ran) -> Said<'static> {
        let name = name.into();
        Said::Ends { name, passed, ran }
    }

    #[test]
    fn a_suite_that_calls_for_its_tests_is_not_read() {
        let all = phases(|recorder| {
            recorder.hear(&Said::Total(3)).unwrap();
            recorder.hear(&Said::Starts("a".into())).unwrap();
            recorder.begin(Kind::Test, "a", None).unwrap();
            recorder.end(None).unwrap();
            recorder.hear(&ends("a", Some(true), Ran::Unknown)).unwrap();
            recorder.begin(Kind::Test, "b", None).unwrap();
            recorder.end(None).unwrap();
            recorder.hear(&ends("b", Some(true), Ran::Unknown)).unwrap();
        });
        assert_eq!(all, ["a Call ", "b Call "]);
    }

    #[test]
    fn a_skipped_test_reaches_nothing() {
        let all = phases(|recorder| {
            recorder.hear(&Said::Total(2)).unwrap();
            recorder.hear(&ends("ignored", None, Ran::Unknown)).unwrap();
            recorder
                .hear(&ends("ran", Some(true), Ran::Unknown))
                .unwrap();
        });
        assert_eq!(all, ["ran Output "]);
    }

    #[test]
    fn a_test_that_ran_alone_began_where_the_one_before_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let (evidence, marks) = (dir.path().join("evidence"), dir.path().join("phases"));
        std::fs::create_dir(&evidence).unwrap();
        let recorder = Recorder::start(&evidence, &marks).unwrap();
        recorder.hear(&Said::Total(2)).unwrap();
        recorder.hear(&ends("a", Some(true), Ran::Alone)).unwrap();
        recorder.begin(Kind::Phase, "upgrade", None).unwrap();
        recorder.hear(&ends("b", Some(true), Ran::Alone)).unwrap();
        recorder.finish().unwrap();
        let all = Phases::new(&earlier(&marks).unwrap());
        // 1 the total, 2 the end of a, 3 the phase, 4 the end of b.
        let keys = |number| -> Vec<String> {
            let keys = all.keys(number, "n", None);
            keys.iter().map(ToString::to_string).collect()
        };
        assert_eq!(keys(2), ["test:a", "phase-outside"]);
        assert_eq!(keys(3), ["test:b", "phase-outside"]);
        assert_eq!(keys(4), ["phase:upgrade", "test:b"]);
    }

    #[test]
    fn a_phase_whose_end_cannot_be_written_stays_open() {
        let dir = tempfile::tempdir().unwrap();
        let (evidence, marks) = (dir.path().join("evidence"), dir.path().join("phases"));
        std::fs::create_dir(&evidence).unwrap();
        let recorder = Recorder::start(&evidence, &marks).unwrap();
        recorder.begin(Kind::Phase, "a", None).unwrap();
        std::fs::rename(&marks, dir.path().join("away")).unwrap();
        std::fs::write(&marks, "no folder").unwrap();
        assert!(recorder.end(Some("a")).is_err());
        std::fs::remove_file(&marks).unwrap();
        std::fs::rename(dir.path().join("away"), &marks).unwrap();
        assert_eq!(recorder.end(Some("a")).unwrap(), "a");
    }
}
