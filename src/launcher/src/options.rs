//! The command line.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Continuous mode, and processes of one program share a file.
const PROFILE_NAME: &str = "%m%c.profraw";

const HELP: &str = "\
Starts a component and leaves a record of its start and its end.

Usage: podcov-launcher [OPTIONS] -- PROGRAM [ARGUMENT]...

  --component NAME        what the component is called in the composition
  --identity ID           what its evidence is recognised by, build-id:...
  --profile-name PATTERN  name of LLVM's profiles (default %m%c.profraw)
  --version, --help

In an ARGUMENT, @PODCOV_DIR@ stands for the folder of this start.
Ends as PROGRAM ends; 126 if it cannot be executed, 127 if it is not there.
";

/// What the launcher is asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Supervise a program.
    Run(Options),
    /// Say something and end.
    Print(String),
}

/// What is to be started, and as what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub component: Option<String>,
    pub identity: Option<String>,
    pub profile_name: String,
    pub program: &'static [u8],
    pub arguments: Vec<&'static [u8]>,
}

impl Options {
    /// Reads the arguments without the program's own name.
    pub fn parse(arguments: impl IntoIterator<Item = &'static [u8]>) -> Result<Command, String> {
        let mut options = Options {
            profile_name: PROFILE_NAME.to_owned(),
            ..Options::default()
        };
        let mut arguments = arguments.into_iter();
        loop {
            let Some(argument) = arguments.next() else {
                return Err("expected `-- PROGRAM`, found the end of the command line".to_owned());
            };
            let text = String::from_utf8_lossy(argument);
            let (name, joined) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (&*text, None),
            };
            let mut value = || {
                let next = || {
                    arguments
                        .next()
                        .map(|value| String::from_utf8_lossy(value).into_owned())
                };
                joined
                    .clone()
                    .or_else(next)
                    .ok_or_else(|| format!("{name} needs a value"))
            };
            match name {
                "--component" => options.component = Some(value()?),
                "--identity" => options.identity = Some(value()?),
                "--profile-name" => options.profile_name = value()?,
                "--version" => {
                    return Ok(Command::Print(format!(
                        "podcov-launcher {}\n",
                        env!("CARGO_PKG_VERSION")
                    )));
                }
                "--help" | "-h" => return Ok(Command::Print(HELP.to_owned())),
                "--" => break,
                _ => return Err(format!("unknown argument `{text}` before `--`, see --help")),
            }
        }
        options.program = arguments
            .next()
            .ok_or("expected a program after `--`, found nothing")?;
        options.arguments = arguments.collect();
        Ok(Command::Run(options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Command, String> {
        Options::parse(line.iter().map(|word| word.to_string().leak().as_bytes()))
    }

    #[test]
    fn the_program_keeps_its_own_arguments() {
        let line = [
            "--component",
            "op",
            "--identity=build-id:1",
            "--",
            "x",
            "--",
            "--help",
        ];
        let Ok(Command::Run(options)) = parse(&line) else {
            panic!()
        };
        assert_eq!(options.component.as_deref(), Some("op"));
        assert_eq!(options.identity.as_deref(), Some("build-id:1"));
        assert_eq!(options.profile_name, PROFILE_NAME);
        assert_eq!(options.program, b"x");
        assert_eq!(options.arguments, [&b"--"[..], b"--help"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, named) in [
            (&[][..], "end of the command line"),
            (&["--"], "after `--`"),
            (&["server"], "`server`"),
            (&["--component"], "--component"),
        ] {
            let message = parse(line).unwrap_err();
            assert!(message.contains(named), "{message}");
        }
    }
}
