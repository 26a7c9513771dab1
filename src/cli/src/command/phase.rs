//! `podcov phase`: says to the recorder of a run that a phase starts or ends.

use podcov_cluster::store::RunDir;

use crate::args::{Global, Phase};
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit};
use crate::phases::endpoint::{NOT_THERE, Said, of_run, tell};

/// The variable that the suite has.
pub const URL: &str = "PODCOV_PHASE_URL";

/// Says it.
pub fn phase(global: &Global, args: &Phase) -> Result<Exit, Failure> {
    let url = match std::env::var(URL) {
        // A run that is named is meant, whoever started this command.
        Ok(url) if !url.is_empty() && global.run.is_none() => url,
        _ => url_of_run(global)?,
    };
    match args {
        Phase::Start {
            name,
            kind,
            namespace,
        } => {
            let said = Said {
                name: name.clone(),
                kind: Some(kind.word().to_owned()),
                namespace: namespace.clone(),
            };
            tell(&url, "start", &said)?;
        }
        Phase::End { name } => {
            let said = Said {
                name: name.clone().unwrap_or_default(),
                ..Said::default()
            };
            tell(&url, "end", &said)?;
        }
    }
    Ok(Exit::Fine)
}

/// Without the lock of the run, which its recorder has.
fn url_of_run(global: &Global) -> Result<String, Failure> {
    let here = std::env::current_dir().or_exit(Exit::Usage)?;
    let file = global.config.clone().or_else(|| Config::find(&here));
    let root = file
        .as_deref()
        .and_then(std::path::Path::parent)
        .map(|dir| here.join(dir));
    let profiles = match &global.profiles {
        Some(dir) => dir.clone(),
        None => root.unwrap_or(here).join("profiles"),
    };
    let run = match &global.run {
        Some(id) => Some(RunDir::open(profiles.join(id)).or_exit(Exit::Usage)?),
        None => RunDir::newest(&profiles).or_exit(Exit::Fault)?,
    };
    let Some(run) = run else {
        let what = format!("there is no run in `{}`", profiles.display());
        return Err(Failure::new(Exit::Usage, what).help(NOT_THERE));
    };
    of_run(&run.phases()).ok_or_else(|| {
        let what = format!("the run {} is not in its test step", run.id());
        Failure::new(Exit::Usage, what).help(NOT_THERE)
    })
}
