//! One file per group of commands; this one leads to them.

mod change;
mod create;
mod export;
mod look;
mod wait;

use crate::cli::{Arguments, Command, State, Switch};
use crate::connect::Connection;

/// Does what was asked for.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let at = Connection::open(arguments.namespace).await?;
    match arguments.command {
        Command::Create(wish) => create::create(&at, &wish).await,
        Command::Apply { file } => create::apply(&at, &file).await,
        Command::List { all, output } => look::list(&at, all, output).await,
        Command::Describe { name } => look::describe(&at, &name).await,
        Command::Wait {
            name,
            state,
            timeout,
        } => wait::wait(&at, &name, state, timeout).await,
        Command::Check { name } => look::check(&at, &name).await,
        Command::Scale { name, replicas } => change::scale(&at, &name, replicas).await,
        Command::Maintenance { name, switch } => {
            change::maintenance(&at, &name, switch == Switch::On).await
        }
        Command::Page { name, path, text } => {
            change::page(&at, &name, &path, text.as_deref()).await
        }
        Command::Audit { name, token } => change::audit(&at, &name, &token).await,
        Command::Export { name, json } => export::export(&at, &name, json).await,
        Command::Delete {
            name,
            wait,
            ignore_missing,
        } => change::delete(&at, &name, wait, ignore_missing).await,
        Command::Seed {
            name,
            host,
            timeout,
        } => {
            create::seed(&at, &name, &host).await?;
            wait::wait(&at, &name, State::Ready, timeout).await
        }
    }
}
