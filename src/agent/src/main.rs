//! podcov's program for the cluster: one static file in an image from scratch,
//! started under one of several subcommands. Settings come as environment
//! variables, because podcov itself writes the manifests that start it.
#![forbid(unsafe_code)]

mod inject;

use std::process::ExitCode;

/// A subcommand: its name, what it does in a line, and what runs it. The error
/// says what was expected, what was found and what to do.
struct Command {
    name: &'static str,
    about: &'static str,
    run: fn() -> Result<(), String>,
}

/// All of them, in the order of the help.
const COMMANDS: &[Command] = &[
    Command {
        name: "inject",
        about: "patches pods that are being created, as the API server's webhook",
        run: inject::main,
    },
    Command {
        name: "version",
        about: "prints the version of podcov that it belongs to",
        run: || {
            println!("podcov-agent {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        },
    },
];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (name, more) = (arguments.next().unwrap_or_default(), arguments.next());
    let found = COMMANDS
        .iter()
        .find(|command| name == command.name && more.is_none());
    let Some(command) = found else {
        eprint!("{}", help());
        return ExitCode::from(2);
    };
    match (command.run)() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("podcov-agent {}: {reason}", command.name);
            ExitCode::FAILURE
        }
    }
}

fn help() -> String {
    let mut text = String::from("usage: podcov-agent SUBCOMMAND\n\n");
    for command in COMMANDS {
        text += &format!("  {:10} {}\n", command.name, command.about);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_has_a_name_of_its_own_in_the_help() {
        let mut names: Vec<_> = COMMANDS.iter().map(|command| command.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), COMMANDS.len());
        for command in COMMANDS {
            assert!(help().contains(&format!("  {:10} {}", command.name, command.about)));
        }
    }
}
