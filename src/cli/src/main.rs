//! podcov: coverage of end-to-end runs of Kubernetes operators.
//!
//! This file parses the command line and prints errors; `run.rs` is the
//! pipeline, `steps.rs` its steps, `command/` the rest.
#![forbid(unsafe_code)]

mod args;
mod command;
mod config;
mod e2e;
mod evidence;
mod exit;
mod go_profiles;
mod host;
mod interrupt;
mod merged;
mod phases;
mod print;
mod program;
mod recording;
mod reporting;
mod run;
mod session;
mod steps;
mod ui;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command};
use crate::exit::{Exit, Failure};
use crate::session::{Session, Which};

fn main() -> ExitCode {
    if podcov_build::is_rustc_wrapper() {
        return podcov_build::rustc_wrapper(std::env::args_os().skip(1));
    }
    let cli = Cli::parse();
    match dispatch(&cli) {
        Ok(code) => code,
        Err(mut failure) => {
            if interrupt::came() {
                failure.exit = Exit::Interrupted;
            }
            tell(&failure);
            failure.exit.into()
        }
    }
}

fn dispatch(cli: &Cli) -> Result<ExitCode, Failure> {
    let global = &cli.global;
    let exit = match &cli.command {
        Command::Init(args) => command::init::init(args, &ui::Ui::new(global.quiet))?,
        Command::Run(args) => {
            let session = Session::open(global, Which::New)?;
            let options = run::Options {
                keep_cluster: args.keep_cluster,
                backend: args.backend,
                e2e: args.e2e.clone(),
            };
            run::whole(&session, &options)?
        }
        Command::Exec(args) => return command::exec::exec(global, args).map(ExitCode::from),
        Command::Build => command::single::build(global)?,
        Command::Overlay => command::single::overlay(global)?,
        Command::Cluster { command } => command::cluster::cluster(global, command)?,
        Command::Inject { command } => command::inject::inject(global, command)?,
        Command::Deploy(args) if args.dry_run => command::dry_run::deploy(global, args.format)?,
        Command::Deploy(_) => command::single::deploy(global)?,
        Command::Rbac(args) => command::rbac::rbac(global, args)?,
        Command::Test(args) => command::single::test(global, &args.e2e)?,
        Command::Phase { phase } => command::phase::phase(global, phase)?,
        Command::Stop => command::single::stop(global)?,
        Command::Collect => command::single::collect(global)?,
        Command::Merge(args) if args.paths.is_empty() => command::single::merge(global, args)?,
        Command::Merge(args) => command::merge::merge(global, args)?,
        Command::Export(args) => command::export::export(global, args)?,
        Command::Show(args) => command::show::show(global, args)?,
        Command::Summary(args) => command::summary::summary(global, args)?,
        Command::Diff(args) => command::diff::diff(global, args)?,
        Command::Inspect(args) => command::inspect::inspect(global, args)?,
        Command::Report(args) => command::single::report(global, args.format)?,
        Command::Gate => command::single::gate(global)?,
        Command::Doctor(args) => command::doctor::doctor(global, args)?,
        Command::Env(args) => command::env::env(&cli.global, args)?,
        Command::Bundle(args) => command::bundle::bundle(global, args)?,
        Command::Import(args) => command::import::import(global, args)?,
        Command::Schema => {
            print::out(format_args!("{:#}\n", config::schema()))?;
            Exit::Fine
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "podcov", &mut script);
            print::out(String::from_utf8_lossy(&script))?;
            Exit::Fine
        }
    };
    Ok(exit.into())
}

fn tell(failure: &Failure) {
    let style = |text: &str| console::style(text.to_owned()).for_stderr().bold();
    print::talk(format_args!(
        "{}: {}",
        style("error").red(),
        failure.message
    ));
    if let Some(help) = &failure.help {
        print::talk(format_args!("{}: {help}", style("help").cyan()));
    }
    print::talk(format_args!("(exit {})", failure.exit as u8));
}
