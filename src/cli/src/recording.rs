//! The recorder of phases beside a command that runs.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use podcov_profile::phases::Phase;

use crate::command::phase::URL;
use crate::exit::{Exit, Failure};
use crate::phases::Recorder;
use crate::phases::endpoint::Endpoint;
use crate::phases::output::Said;
use crate::session::Session;

/// A recorder with its endpoint.
pub struct Recording<'s> {
    session: &'s Session,
    recorder: Arc<Recorder>,
    endpoint: Endpoint,
    has_failed: AtomicBool,
}

impl<'s> Recording<'s> {
    /// Begins to record.
    pub fn start(session: &'s Session) -> Result<Recording<'s>, Failure> {
        let dir = session.run.phases();
        let recorder = Arc::new(Recorder::start(&session.run.evidence(), &dir)?);
        Ok(Recording {
            session,
            endpoint: Endpoint::start(Arc::clone(&recorder), &dir)?,
            recorder,
            has_failed: AtomicBool::new(false),
        })
    }

    /// The variable by which the command finds it.
    pub fn variable(&self) -> (OsString, OsString) {
        (URL.into(), self.endpoint.url.clone().into())
    }

    /// What the command's output says. A mark that cannot be made is no reason
    /// to end a suite; it is told once.
    pub fn hear(&self, said: &Said<'_>) {
        if let Err(why) = self.recorder.hear(said)
            && !self.has_failed.swap(true, Ordering::Relaxed)
        {
            self.session
                .ui
                .say(format!("  ! phases      not all are recorded: {why}"));
        }
    }

    /// Ends; the phases go to `run.json`.
    pub fn end(self) -> Result<Vec<Phase>, Failure> {
        drop(self.endpoint);
        let phases = self.recorder.finish()?;
        if !phases.is_empty() {
            let told = serde_json::to_value(&phases).map_err(|e| Failure::new(Exit::Fault, e))?;
            self.session.update_record(|record| record.phases = told)?;
        }
        Ok(phases)
    }
}
