//! The step that runs the e2e command.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant};

use podcov_cluster::provider::Cluster;
use podcov_cluster::watch::Watcher;
use podcov_process::Error;
use podcov_profile::bundle::Bundle;

use crate::config::RunnerName;
use crate::e2e::Suite;
use crate::exit::{Exit, Failure, OrExit};
use crate::phases::output::{Reader, Said};
use crate::recording::Recording;
use crate::session::Session;
use crate::ui::human_bytes;

/// How long a cluster stays lost before the suite is ended: the watch calls it
/// lost after 20 s of silence, and a suite may restart its API server.
const PATIENCE: Duration = Duration::from_secs(10);

/// Since when the cluster is lost.
#[derive(Default)]
struct Gone(Cell<Option<Instant>>);

impl Gone {
    /// The reason to give up, if it was there long enough.
    fn since(&self, lost: Option<String>) -> Option<String> {
        let since = lost
            .as_ref()
            .map(|_| self.0.get().unwrap_or_else(Instant::now));
        self.0.set(since);
        lost.filter(|_| since.is_some_and(|since| since.elapsed() >= PATIENCE))
    }
}

/// Runs the e2e command.
pub fn test(
    session: &Session,
    cluster: &dyn Cluster,
    bundles: &[Bundle],
    watcher: Option<&Watcher>,
    instead: &[OsString],
) -> Result<(), Failure> {
    let typed = &session.config.file.e2e;
    let command: Vec<OsString> = match instead {
        [] => typed.command.iter().map(OsString::from).collect(),
        words => words.to_vec(),
    };
    if command.is_empty() {
        session
            .ui
            .say("  ! e2e         there is no `[e2e] command`; nothing exercises the composition");
        return Ok(());
    }
    let step = session.ui.step("e2e", "starting");
    let logs = session.run.logs();
    fs_err::create_dir_all(&logs).or_exit(Exit::Fault)?;
    let log = logs.join("e2e.log");
    let directory = match &typed.directory {
        Some(dir) => session.config.path(dir.get_ref()),
        None => session.config.root.clone(),
    };
    let mut env = cluster.environment().or_exit(Exit::Cluster)?;
    crate::host::put_clients_on_path(session, bundles, &mut env)?;
    env.push(("PODCOV_RUN".into(), session.run.id().into()));
    env.push(("PODCOV_RUN_DIR".into(), session.run.path.clone().into()));
    let recording = Recording::start(session)?;
    env.push(recording.variable());
    env.extend(
        typed
            .env
            .iter()
            .map(|(key, value)| (key.into(), value.into())),
    );
    let size = podcov_cluster::collect::size::EvidenceSize::start(&session.run.evidence());
    let beside = || {
        let pods = watcher.map_or(String::new(), |w| format!(" · pods {}", w.live().pods));
        format!("{pods} · evidence {}", human_bytes(size.bytes()))
    };
    let gone = Gone::default();
    let lost = || gone.since(watcher.and_then(Watcher::lost));
    let threads = env.iter().find(|(key, _)| key == "RUST_TEST_THREADS");
    let threads = threads.map(|(_, value)| value.clone());
    let threads = threads.or_else(|| std::env::var_os("RUST_TEST_THREADS"));
    let words = command.iter().filter_map(|word| word.to_str());
    let reader = Reader::new(
        typed.phases,
        words,
        threads.as_deref().and_then(OsStr::to_str),
    );
    let is_off = typed.phases == RunnerName::Off;
    let hear = |said: &Said<'_>| {
        if !is_off {
            recording.hear(said);
        }
    };
    let suite = Suite {
        reader,
        hear: &hear,
        command: &command,
        directory: &directory,
        env,
        timeout: session.config.e2e_timeout,
        log: &log,
        end_when: &lost,
    };
    let outcome = suite.run(&step, beside, &session.cancel);
    let recorded = recording.end();
    match &outcome {
        // A script names no tests.
        Ok(outcome) if outcome.good && outcome.passed == 0 => step.done("the command succeeded"),
        Ok(outcome) if outcome.good => step.done(format!("{} passed", outcome.passed)),
        Ok(outcome) => step.fail(format!(
            "{} passed, {} failed: {}",
            outcome.passed,
            outcome.failed.len(),
            outcome.failed.join(", ")
        )),
        Err(Error::Ended { .. }) => step.fail("ended, because the cluster went away"),
        Err(_) => step.fail("did not end by itself"),
    }
    if let Err(Error::Ended { why, .. }) = &outcome {
        return Err(Failure::new(
            Exit::Cluster,
            format!("the cluster went away while the e2e command ran: {why}"),
        )
        .help(format!("its output so far is in {}", log.display())));
    }
    let outcome = outcome.or_exit(Exit::E2e)?;
    if outcome.good {
        return recorded.map(drop);
    }
    Err(Failure::new(Exit::E2e, "the e2e command failed")
        .help(format!("its output is in {}", log.display())))
}
