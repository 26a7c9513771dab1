//! The command line.

use std::ffi::OsString;

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
    /// Become the program: the launcher started by the launcher.
    Stage(Stage),
    /// Say something and end.
    Print(String),
}

/// What is to be started, and as what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub component: Option<String>,
    pub identity: Option<String>,
    pub profile_name: String,
    pub program: OsString,
    pub arguments: Vec<OsString>,
}

/// What the supervisor tells the stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    pub options: Options,
    /// The incarnation's folder, if there is one.
    pub folder: Option<String>,
    /// Milliseconds since 1970.
    pub start: u64,
    /// The supervisor.
    pub parent: i32,
}

/// First argument of the stage; start, parent and folder follow.
const STAGE: &str = "--stage";

impl Options {
    /// Reads the arguments without the program's own name.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
        let mut options = Options {
            profile_name: PROFILE_NAME.to_owned(),
            ..Options::default()
        };
        let mut arguments = arguments.into_iter();
        let mut stage = None;
        loop {
            let Some(argument) = arguments.next() else {
                return Err("expected `-- PROGRAM`, found the end of the command line".to_owned());
            };
            let text = argument.to_string_lossy().into_owned();
            let (name, joined) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text.as_str(), None),
            };
            let mut value = || {
                let next = || {
                    arguments
                        .next()
                        .map(|value| value.to_string_lossy().into_owned())
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
                STAGE => {
                    let start = value()?.parse().map_err(|_| "bad start")?;
                    let parent = value()?.parse().map_err(|_| "bad parent")?;
                    let folder = Some(value()?).filter(|folder| !folder.is_empty());
                    stage = Some((start, parent, folder));
                }
                "--" => break,
                _ => return Err(format!("unknown argument `{text}` before `--`, see --help")),
            }
        }
        options.program = arguments
            .next()
            .ok_or("expected a program after `--`, found nothing")?;
        options.arguments = arguments.collect();
        Ok(match stage {
            Some((start, parent, folder)) => Command::Stage(Stage {
                options,
                folder,
                start,
                parent,
            }),
            None => Command::Run(options),
        })
    }
}

impl Stage {
    /// The arguments that [`Options::parse`] reads as this.
    pub fn arguments(&self) -> Vec<OsString> {
        let Stage {
            options,
            folder,
            start,
            parent,
        } = self;
        let folder = folder.as_deref().unwrap_or_default();
        let mut line: Vec<OsString> = vec![
            STAGE.into(),
            start.to_string().into(),
            parent.to_string().into(),
            folder.into(),
        ];
        for (name, value) in [
            ("--component", &options.component),
            ("--identity", &options.identity),
        ] {
            line.extend(value.iter().flat_map(|value| [name.into(), value.into()]));
        }
        line.extend([
            "--profile-name".into(),
            (&options.profile_name).into(),
            "--".into(),
        ]);
        line.push(options.program.clone());
        line.extend(options.arguments.iter().cloned());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Command, String> {
        Options::parse(line.iter().map(OsString::from))
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
        assert_eq!(options.program, "x");
        assert_eq!(options.arguments, ["--", "--help"]);
        for folder in [None, Some("/v/a b".to_owned())] {
            let stage = Stage {
                options: options.clone(),
                folder,
                start: 12,
                parent: 7,
            };
            assert_eq!(Options::parse(stage.arguments()), Ok(Command::Stage(stage)));
        }
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
