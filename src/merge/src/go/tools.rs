//! `go tool covdata`.

use std::fs;
use std::path::{Path, PathBuf};

use podcov_process::{Error as RunError, Run};
use podcov_profile::go::files::Name;
use podcov_profile::go::text::Profile;

use super::{Counted, MERGE, Metas, TEXTFMT, stage};
use crate::evidence::refuse;
use crate::tools::find_go;
use crate::{Error, Work, write_atomic};

/// Merges counters with `go tool covdata`; gives the text profile it makes of
/// them, and how many files it was made of.
pub(super) fn merge(
    work: &mut Work<'_>,
    metas: &Metas,
    counted: &mut Vec<Counted<'_>>,
) -> Result<Profile, Error> {
    let go = find_go()?;
    stage(work, metas, counted)?;
    let merged = covdata(work, &go, &MERGE)?;
    if let Err(error) = merged {
        // Our reader is stricter than Go's, so this says that Go's changed.
        let bad = find_bad(work, &go, metas, counted)?;
        if bad.is_empty() {
            return Err(error.into());
        }
        for (path, reason) in &bad {
            if let Some(bad) = counted.iter().find(|c| c.piece.path == *path) {
                refuse(work.ledger, work.quarantine, bad.piece, reason)?;
            }
        }
        counted.retain(|c| !bad.iter().any(|(path, _)| c.piece.path == *path));
        stage(work, metas, counted)?;
        covdata(work, &go, &MERGE)??;
    }
    // Go names the result after the time; the same input must give the same.
    let merged = work.out.join("merged");
    for entry in fs::read_dir(&merged).map_err(Error::io("list", &merged))? {
        let path = entry.map_err(Error::io("list", &merged))?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if let Some(Name::Counters { hash, .. }) = Name::parse(&name) {
            let to = merged.join(format!("covcounters.{hash}.0.0"));
            fs::rename(&path, &to).map_err(Error::io("rename", &path))?;
        }
    }
    for (command, file) in [("percent", "percent.txt"), ("func", "func.txt")] {
        let done = covdata(work, &go, &[command, "-i", "merged"])??;
        write_atomic(&work.out.join(file), &done)?;
    }
    covdata(work, &go, &TEXTFMT)??;
    let path = work.out.join("covdata.txt");
    let text = fs::read(&path).map_err(Error::io("read", &path))?;
    let profile = Profile::parse(&text).map_err(|error| Error::Output {
        tool: "go tool covdata textfmt".to_owned(),
        what: error.to_string(),
    })?;
    Ok(profile)
}

/// Runs `go tool covdata` in the build's folder. The inner error is its word
/// on the files.
fn covdata(
    work: &mut Work<'_>,
    go: &Path,
    args: &[&str],
) -> Result<Result<Vec<u8>, RunError>, Error> {
    let run = Run::new(go)
        .args(["tool", "covdata"])
        .args(args)
        .current_dir(&work.out)
        // A module or workspace that happens to be around us is not ours.
        .env("GOWORK", "off")
        .env_remove("GOFLAGS")
        .env_remove("GOCOVERDIR")
        .cancel(work.cancel);
    match run.run() {
        Ok(done) => {
            let component = work.bundle.component.clone();
            for line in String::from_utf8_lossy(&done.stderr).lines() {
                work.find("go-covdata", format!("{component}: {line}"));
            }
            Ok(Ok(done.stdout))
        }
        Err(error @ RunError::Failed { .. }) => Ok(Err(error)),
        Err(error) => Err(error.into()),
    }
}

/// The counters that `covdata` refuses, each tried alone.
fn find_bad(
    work: &mut Work<'_>,
    go: &Path,
    metas: &Metas,
    counted: &[Counted<'_>],
) -> Result<Vec<(PathBuf, String)>, Error> {
    let mut bad = Vec::new();
    for one in counted {
        stage(work, metas, std::slice::from_ref(one))?;
        if let Err(RunError::Failed { ended, tail, .. }) = covdata(work, go, &MERGE)? {
            let said = tail.last().map(String::as_str).unwrap_or("it said nothing");
            bad.push((
                one.piece.path.clone(),
                format!("go tool covdata {ended}: {said}"),
            ));
        }
    }
    Ok(bad)
}
