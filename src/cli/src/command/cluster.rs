//! `podcov cluster …`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use podcov_cluster::provider::State;

use crate::args::{Cluster, Global};
use crate::exit::{Exit, Failure, OrExit};
use crate::print;
use crate::session::{Session, Which};
use crate::steps;
use podcov_process::shell_word;

/// Runs the command.
pub fn cluster(global: &Global, command: &Cluster) -> Result<Exit, Failure> {
    let session = Session::open(global, Which::Any)?;
    match command {
        Cluster::Up => {
            let _alone = session.hold_cluster()?;
            steps::cluster_up(&session, true)?;
            session
                .ui
                .say("next    `podcov cluster kubectl get pods -A`, `podcov cluster down`");
        }
        Cluster::Down => {
            let _alone = session.hold_cluster()?;
            steps::cluster_down(&session, steps::cluster(&session, true)?.as_ref())?;
        }
        Cluster::Status => return status(&session),
        Cluster::Env => {
            for (key, value) in steps::cluster_there(&session)?
                .environment()
                .or_exit(Exit::Cluster)?
            {
                print::out(format_args!(
                    "export {}={}\n",
                    key.display(),
                    shell_word(&value.to_string_lossy())
                ))?;
            }
        }
        Cluster::Kubectl { args } => return Err(kubectl(session, args)),
    }
    Ok(Exit::Fine)
}

fn status(session: &Session) -> Result<Exit, Failure> {
    let cluster = steps::cluster(session, true)?;
    let status = cluster.status().or_exit(Exit::Cluster)?;
    let version = status.version.unwrap_or_default();
    print::out(format_args!(
        "{} {} is {} {version}\n",
        cluster.provider(),
        cluster.name(),
        status.state
    ))?;
    for line in &status.detail {
        print::out(format_args!("  {line}\n"))?;
    }
    Ok(if status.state == State::Ready {
        Exit::Fine
    } else {
        Exit::Cluster
    })
}

/// Becomes kubectl; returns only when it could not.
fn kubectl(session: Session, args: &[OsString]) -> Failure {
    let found = steps::cluster_there(&session).and_then(|cluster| {
        Ok((
            cluster.kubectl().or_exit(Exit::Cluster)?,
            cluster.environment().or_exit(Exit::Cluster)?,
        ))
    });
    let (program, env) = match found {
        Ok(found) => found,
        Err(failure) => return failure,
    };
    // kubectl may run for hours (`get -w`); others can work on runs meanwhile.
    drop(session);
    let error = std::process::Command::new(&program)
        .args(args)
        .envs(env)
        .exec();
    Failure::new(
        Exit::Cluster,
        format!("cannot start `{}`: {error}", program.display()),
    )
}
