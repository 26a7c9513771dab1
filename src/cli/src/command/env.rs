//! `podcov env`: what makes somebody else's build an instrumented one.

use std::path::PathBuf;

use podcov_build::EnvOptions;
use podcov_process::Cancel;
use podcov_profile::bundle::Mode;
use podcov_profile::names;

use crate::args::{Env, Global, Language};
use crate::exit::{Exit, Failure, OrExit};
use crate::interrupt::on_interrupt;
use crate::print;
use crate::ui::Ui;
use podcov_process::shell_word;

/// Runs the command.
pub fn env(global: &Global, args: &Env) -> Result<Exit, Failure> {
    let language = match args.language {
        Language::Rust => names::Language::Rust,
        Language::Go => names::Language::Go,
    };
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(".podcov/env"));
    let out = std::path::absolute(out).or_exit(Exit::Usage)?;
    let options = EnvOptions {
        dir: std::env::current_dir().or_exit(Exit::Usage)?,
        crates: args.crates.clone(),
        coverpkg: args.coverpkg.clone(),
        mode: args.at_exit.then_some(Mode::AtExit),
        statically: !args.dynamic,
        wrapper: None,
    };
    let cancel = Cancel::new();
    on_interrupt(&cancel);
    let ui = Ui::new(global.quiet);
    let variables = podcov_build::env(language, &out, &options, &ui, &cancel);
    for (key, value) in variables.or_exit(Exit::Build)? {
        print::out(format_args!("export {key}={}\n", shell_word(&value)))?;
    }
    Ok(Exit::Fine)
}
