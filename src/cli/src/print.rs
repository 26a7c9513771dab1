//! Everything that is printed is printed here. `println!` panics when nobody reads any
//! more (`podcov report | head -1`, a terminal that was closed), which in the
//! middle of a run would leave its cluster behind.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use crate::exit::{Exit, Failure};

/// Data, for stdout. A reader that has read enough is no fault; a full disk is.
pub fn out(text: impl Display) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Fault,
            format!("cannot write to stdout: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Where the results of a command go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// As a rule: they are data.
    Stdout,
    /// Where stdout is that of the measured command.
    Stderr,
}

impl To {
    /// Writes results.
    pub fn write(self, text: impl Display) -> Result<(), Failure> {
        match self {
            To::Stdout => out(text),
            To::Stderr => {
                let _ = write!(std::io::stderr().lock(), "{text}");
                Ok(())
            }
        }
    }

    /// Whether they are coloured there.
    pub fn colors(self) -> bool {
        match self {
            To::Stdout => console::colors_enabled(),
            To::Stderr => console::colors_enabled_stderr(),
        }
    }
}

/// Talk, a line of it, for stderr. If nobody listens, the work goes on.
pub fn talk(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A text that came from a file, for a terminal: what would move the cursor or
/// change colours is shown instead of done.
pub fn visible(text: &str) -> String {
    let shown = |c: char| match c {
        '\u{7f}' => '␡',
        c if (c as u32) < 0x20 => char::from_u32(0x2400 + c as u32).unwrap_or('·'),
        c if c.is_control() => '·',
        c => c,
    };
    text.chars().map(shown).collect()
}
