//! What kubectl makes of kustomizations and manifests. Asked without a
//! cluster: no kubeconfig is given to it.

use std::path::{Path, PathBuf};

use podcov_process::{Cancel, Run};
use serde_json::Value;

use super::Error;

/// The kubectl to ask.
pub(super) struct Kubectl<'a> {
    pub(super) program: &'a Path,
    pub(super) cancel: &'a Cancel,
}

impl Kubectl<'_> {
    fn run(&self) -> Run<'_> {
        Run::new(self.program)
            .env("KUBECONFIG", "/dev/null")
            .cancel(self.cancel)
    }

    /// `kubectl kustomize DIR`.
    pub(super) fn kustomize(&self, dir: &Path) -> Result<String, Error> {
        let done = self.run().arg("kustomize").arg(dir).run()?;
        Ok(done.text())
    }

    /// The objects in `yaml`, lists taken apart.
    pub(super) fn objects(&self, yaml: &str) -> Result<Vec<Value>, Error> {
        let run = self.identity().args(["-f", "-"]).input(yaml);
        objects(run)
    }

    /// The objects in files and folders, read as `kubectl apply -f` does.
    pub(super) fn objects_of(&self, paths: &[PathBuf]) -> Result<Vec<Value>, Error> {
        let mut run = self.identity();
        for path in paths {
            run = run.arg("-f").arg(path);
        }
        objects(run)
    }

    /// A command that changes nothing and prints each object as JSON. So what
    /// is bare `on` or `0755` in the YAML means here what it means to kubectl.
    fn identity(&self) -> Run<'_> {
        self.run()
            .args(["patch", "--local", "--type=merge", "-p={}", "-o=json"])
    }
}

fn objects(run: Run<'_>) -> Result<Vec<Value>, Error> {
    let done = run.allow_failure().run()?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        if said.contains("no objects passed") {
            return Ok(Vec::new());
        }
        // Its output is no part of the message: what it read before.
        return Err(Error::Unreadable {
            said: said.trim().to_owned(),
        });
    }
    let mut all = Vec::new();
    for object in serde_json::Deserializer::from_slice(&done.stdout).into_iter() {
        all.push(object.map_err(|source| Error::Answer { source })?);
    }
    Ok(all)
}
