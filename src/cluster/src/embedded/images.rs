//! Getting images from archives into the node's container runtime.

use std::path::Path;
use std::time::Duration;

use podcov_process::{Cancel, Run, find_program};

use crate::provider::Error;

/// A big image on a busy disk.
const LIMIT: Duration = Duration::from_secs(600);

/// Imports the archive and makes sure that all of `refs` are there then.
pub(crate) fn import(
    socket: &Path,
    archive: &Path,
    refs: &[String],
    cancel: &Cancel,
) -> Result<(), Error> {
    if !archive.is_file() {
        return Err(Error::Other(format!(
            "expected an image archive at {}, found no file; build the images first",
            archive.display()
        )));
    }
    ctr(socket)
        .args(["images", "import"])
        .arg(archive)
        .cancel(cancel)
        .run()?;
    let list = ctr(socket)
        .args(["images", "list", "-q"])
        .cancel(cancel)
        .run()?
        .text();
    all_there(&list, refs, archive)
}

/// Checks the runtime's list of names, one a line, for those of an archive.
pub(crate) fn all_there(list: &str, refs: &[String], archive: &Path) -> Result<(), Error> {
    let there: Vec<&str> = list.lines().map(str::trim).collect();
    match refs
        .iter()
        .find(|name| !there.contains(&full_name(name).as_str()))
    {
        None => Ok(()),
        Some(name) => Err(Error::Other(format!(
            "expected the image `{name}` from {}, found {}; \
             the archive's own name for it has to be the one the manifests use",
            archive.display(),
            if there.is_empty() {
                "no image".to_owned()
            } else {
                there.join(", ")
            }
        ))),
    }
}

fn ctr(socket: &Path) -> Run<'static> {
    // A user's PATH may lack the system's own folders.
    Run::new(find_program("ctr").unwrap_or_else(|| "ctr".into()))
        .arg("--address")
        .arg(socket)
        .args(["--namespace", "k8s.io"])
        .timeout(LIMIT)
}

/// The name by which the runtime files an image: with registry and tag.
/// `nginx` means `docker.io/library/nginx:latest`.
fn full_name(name: &str) -> String {
    let is_registry = |part: &str| part.contains(['.', ':']) || part == "localhost";
    let name = match name.split_once('/') {
        None => format!("docker.io/library/{name}"),
        Some((first, _)) if is_registry(first) => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
    };
    let last = name.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) {
        name
    } else {
        name + ":latest"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_the_runtime_does() {
        for (short, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("me/app:1", "docker.io/me/app:1"),
            ("localhost/app:dev", "localhost/app:dev"),
            ("host:5000/app", "host:5000/app:latest"),
            ("example.com/a/b@sha256:00", "example.com/a/b@sha256:00"),
        ] {
            assert_eq!(full_name(short), full);
        }
    }
}
