//! The talk on stderr: one line a step, live while it runs.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use console::style;
use indicatif::{ProgressBar, ProgressStyle};
use podcov_process::Progress;

use crate::print::talk;

/// On a pipe, a step that goes on says so this often.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// Prints steps. On a terminal the current one moves; on a pipe a line comes
/// when a step begins, every now and then, and when it ends.
pub struct Ui {
    terminal: bool,
    quiet: bool,
    times: Mutex<Vec<(String, Duration)>>,
    /// The line that moves, while there is one; other lines go above it.
    moving: Mutex<Option<ProgressBar>>,
}

/// A step that runs; ends by [`Step::done`], [`Step::warn`] or [`Step::fail`].
pub struct Step<'a> {
    ui: &'a Ui,
    name: String,
    about: Mutex<String>,
    begin: Instant,
    bar: Option<ProgressBar>,
    last: Mutex<Instant>,
}

impl Ui {
    /// Decides by what stderr is.
    pub fn new(quiet: bool) -> Self {
        let terminal = console::Term::stderr().is_term() && !quiet;
        Ui {
            terminal,
            quiet,
            times: Mutex::default(),
            moving: Mutex::default(),
        }
    }

    /// Something that is not a step's.
    pub fn say(&self, text: impl std::fmt::Display) {
        if self.quiet {
            return;
        }
        match self.moving.lock().ok().and_then(|bar| bar.clone()) {
            Some(bar) => bar.suspend(|| talk(text)),
            None => talk(text),
        }
    }

    /// Begins a step.
    pub fn step(&self, name: &str, about: &str) -> Step<'_> {
        let bar = self.terminal.then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(look) =
                ProgressStyle::with_template("  {spinner} {prefix:11} {wide_msg} {elapsed}")
            {
                bar.set_style(look);
            }
            bar.set_prefix(name.to_owned());
            bar.set_message(about.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            if let Ok(mut moving) = self.moving.lock() {
                *moving = Some(bar.clone());
            }
            bar
        });
        if !self.terminal && !self.quiet {
            talk(format_args!("  … {name:<11} {about}"));
        }
        Step {
            ui: self,
            name: name.to_owned(),
            about: Mutex::new(about.to_owned()),
            begin: Instant::now(),
            bar,
            last: Mutex::new(Instant::now()),
        }
    }

    /// How long each step took so far, in their order.
    pub fn times(&self) -> Vec<(String, Duration)> {
        self.times
            .lock()
            .map(|times| times.clone())
            .unwrap_or_default()
    }
}

impl Step<'_> {
    /// It is done; `about` says what came of it.
    pub fn done(self, about: impl std::fmt::Display) {
        self.end(style("✔").green().for_stderr(), about);
    }

    /// It is done, and the user should look at it.
    pub fn warn(self, about: impl std::fmt::Display) {
        self.end(style("!").yellow().bold().for_stderr(), about);
    }

    /// It failed; the error itself is told elsewhere.
    pub fn fail(self, about: impl std::fmt::Display) {
        self.end(style("✘").red().for_stderr(), about);
    }

    /// `done` or `fail`, as the result is.
    pub fn end_with<T, E>(self, result: &Result<T, E>, about: impl Fn(&T) -> String) {
        match result {
            Ok(value) => self.done(about(value)),
            Err(_) => self.fail("failed"),
        }
    }

    fn end(self, sign: impl std::fmt::Display, about: impl std::fmt::Display) {
        let took = self.begin.elapsed();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            if let Ok(mut moving) = self.ui.moving.lock() {
                *moving = None;
            }
        }
        if !self.ui.quiet {
            let time = style(human_time(took)).dim().for_stderr();
            talk(format_args!("  {sign} {:<11} {about}  {time}", self.name));
        }
        if let Ok(mut times) = self.ui.times.lock() {
            times.push((self.name, took));
        }
    }
}

impl Progress for Step<'_> {
    fn status(&self, text: &str) {
        if let Ok(mut about) = self.about.lock() {
            text.clone_into(&mut about);
        }
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        } else if let Ok(mut last) = self.last.lock()
            && last.elapsed() > HEARTBEAT
        {
            *last = Instant::now();
            if !self.ui.quiet {
                talk(format_args!(
                    "    {:<11} {text}  {}",
                    self.name,
                    human_time(self.begin.elapsed())
                ));
            }
        }
    }

    fn note(&self, text: &str) {
        self.ui.note(text);
    }
}

/// For work that outlives a step, such as the watch over pods.
impl Progress for Ui {
    fn status(&self, _: &str) {}

    fn note(&self, text: &str) {
        self.say(format!("    {text}"));
    }
}

/// `0.1s`, `42s`, `1m 12s`, `2h 03m`.
pub fn human_time(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `512 B`, `31 kB`, `2.4 MB`.
pub fn human_bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// `1 pod`, `2 pods`.
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let cases = [
            (83, "0.1s"),
            (41_900, "41s"),
            (72_000, "1m 12s"),
            (7_380_000, "2h 03m"),
        ];
        for (millis, expected) in cases {
            assert_eq!(human_time(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(count(1, "pod"), "1 pod");
        assert_eq!(count(0, "pod"), "0 pods");
    }
}
