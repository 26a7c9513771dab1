//! The overlay of manifests, rendered with kubectl.

use std::path::{Path, PathBuf};

use podcov_process::{Cancel, Progress};
use serde_json::Value;

use super::kubectl::Kubectl;
use super::plan::Plan;
use super::{Error, Patched, Spec, template, write};

/// What the overlay goes on top of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// A folder with a kustomization.
    Kustomization(PathBuf),
    /// Manifests, or folders of them, as given to `kubectl apply -f`.
    Manifests(Vec<PathBuf>),
}

/// An overlay that was written, and what comes out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The folder for `kubectl apply -k`.
    pub kustomization: PathBuf,
    /// All objects, for `kubectl apply -f -`.
    pub yaml: String,
    /// The same objects as values, as kubectl reads them.
    pub objects: Vec<Value>,
    /// The objects as they are without the overlay, in the order of the base.
    pub base: Vec<Value>,
    /// The containers that are measured, in the order of the objects.
    pub patched: Vec<Patched>,
    /// What the user should know, in sentences.
    pub warnings: Vec<String>,
}

/// Writes the overlay of `spec` on `base` into `out_dir` and renders it with
/// `kubectl`. What an earlier overlay left in `out_dir` is replaced; a folder
/// that holds another kustomization is an error.
pub fn render(
    base: &Base,
    spec: &Spec,
    kubectl: &Path,
    out_dir: &Path,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Rendered, Error> {
    let kubectl = Kubectl {
        program: kubectl,
        cancel,
    };
    progress.status("rendering the manifests");
    let mut objects = match base {
        Base::Kustomization(dir) => kubectl.objects(&kubectl.kustomize(dir)?)?,
        Base::Manifests(paths) => kubectl.objects_of(paths)?,
    };
    objects.iter_mut().for_each(template::strip_build_metadata);
    if objects.is_empty() {
        let base = match base {
            Base::Kustomization(dir) => dir.display().to_string(),
            Base::Manifests(paths) => {
                let paths: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
                paths.join(", ")
            }
        };
        return Err(Error::EmptyBase { base });
    }
    let plan = Plan::new(spec, objects)?;
    progress.status("writing the overlay");
    write::overlay(out_dir, base, &plan)?;
    progress.status("rendering the overlay");
    let yaml = kubectl.kustomize(out_dir)?;
    let objects = kubectl.objects(&yaml)?;
    plan.check(objects.clone())?;
    Ok(Rendered {
        kustomization: out_dir.to_owned(),
        yaml,
        objects,
        base: plan.base,
        patched: plan.patched,
        warnings: plan.warnings,
    })
}
