//! The second process, which becomes the component.

use alloc::ffi::CString;
use alloc::string::String;
use alloc::vec::Vec;

use rustix::process::{
    Signal, getpgid, getpgrp, getpid, getppid, set_parent_process_death_signal, setpgid,
};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use crate::environment::Environment;
use crate::incarnation::{self, Place};
use crate::options::Options;
use crate::{environment, json, program, say, supervise, system, time};

/// One start of the component.
pub struct Start<'a> {
    pub options: &'a Options,
    pub env: &'a Environment,
    pub place: &'a Place,
    /// The incarnation's folder, if there is one.
    pub folder: Option<String>,
    /// Milliseconds since 1970.
    pub time: u64,
}

impl Start<'_> {
    /// In the second process: becomes the component under the supervisor
    /// `parent`. Comes back with a status only if that fails.
    pub fn second(&self, parent: i32) -> i32 {
        own_group();
        // Outside a container nothing else would end the component when its
        // launcher is killed. Inside, the end of process 1 does.
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        if getppid().map_or(0, |pid| pid.as_raw_nonzero().get()) != parent {
            return program::NOT_EXECUTABLE; // It was killed before the line above.
        }
        self.become_component()
    }

    /// The same without a supervisor.
    pub fn become_component(&self) -> i32 {
        let dir = self.folder.as_deref().filter(|dir| match self.begin(dir) {
            Ok(()) => true,
            Err(reason) => {
                say::loudly(self.env, &alloc::format!("no evidence: {reason}"));
                false
            }
        });
        let (changes, notes) = environment::changes(dir, &self.options.profile_name, self.env);
        notes.iter().for_each(|note| say::quietly(note));
        let fail = |(status, message): program::Failure| {
            say::loudly(self.env, &message);
            status
        };
        let file = match program::find(self.options.program, self.env.get("PATH")) {
            Ok(file) => file,
            Err(failure) => return fail(failure),
        };
        // What came from the command line and the environment holds no null.
        let strings = |texts: Vec<Vec<u8>>| -> Vec<CString> {
            texts
                .into_iter()
                .filter_map(|text| CString::new(text).ok())
                .collect()
        };
        let name = [self.options.program.to_vec()];
        let given = self.options.arguments.iter();
        let arguments = given.filter_map(|text| environment::argument(text, dir));
        let arguments = strings(name.into_iter().chain(arguments).collect());
        let variables = strings(self.env.with(&changes));
        let Ok(path) = CString::new(file.clone()) else {
            return program::NOT_FOUND;
        };
        // A mask outlives exec, and so would deafen the component.
        supervise::unblock_signals();
        fail(program::failure(
            &file,
            system::exec(&path, &arguments, &variables),
        ))
    }

    /// Writes `start.json`.
    fn begin(&self, dir: &str) -> Result<(), String> {
        let Start {
            options,
            env,
            place,
            ..
        } = self;
        let component = component(options, env);
        let incarnation = dir.rsplit('/').next().unwrap_or_default();
        let text = json::object(&[
            ("schema", "1".into()),
            (
                "run",
                json::string(&env.text("PODCOV_RUN").unwrap_or_default()),
            ),
            (
                "component",
                json::string(component.as_deref().unwrap_or(&place.container)),
            ),
            ("namespace", json::string(&place.namespace)),
            ("pod", json::string(&place.pod)),
            ("pod_uid", json::string(&place.uid)),
            ("container", json::string(&place.container)),
            ("incarnation", json::string(incarnation)),
            ("identity", json::optional(options.identity.as_deref())),
            (
                "program",
                json::string(&String::from_utf8_lossy(options.program)),
            ),
            ("pid", json::number(Some(getpid().as_raw_nonzero().get()))),
            ("start", json::string(&time::rfc3339(self.time))),
            ("phase", json::optional(env.text("PODCOV_PHASE").as_deref())),
            ("launcher", json::string(env!("CARGO_PKG_VERSION"))),
        ]);
        incarnation::write(dir, "start.json", &text)
    }
}

/// A group of its own, so that a signal to the launcher's group reaches the
/// component once, through the launcher, and not a second time by itself: a
/// second SIGTERM makes many operators give up their clean shutdown.
fn own_group() {
    let before = getpgrp();
    if setpgid(None, None).is_err() {
        return;
    }
    // On a terminal it takes over the foreground from the launcher. SIGTTOU is
    // blocked since the start, else asking for it would stop this process.
    let terminal = system::standard(0);
    if tcgetpgrp(terminal).is_ok_and(|foreground| foreground == before)
        && let Ok(own) = getpgid(None)
    {
        let _ = tcsetpgrp(terminal, own);
    }
}

/// What the image says it holds counts more than what the pod says it runs.
pub fn component(options: &Options, env: &Environment) -> Option<String> {
    options
        .component
        .clone()
        .or_else(|| env.text("PODCOV_COMPONENT"))
}
