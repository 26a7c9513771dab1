//! Finds the sources of counted packages and what a report calls them.

use std::path::{Path, PathBuf};

use super::list::{GoEnv, Package};
use crate::Component;
use crate::keep::{Snapshot, source_root};

/// Coverage meta-data calls a file by its package's import path; the rules
/// turn the start of it into a folder.
pub(super) fn snapshot(component: &Component, env: &GoEnv, counted: &[Package]) -> Snapshot {
    let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let composition = canonical(&component.root);
    let module = canonical(env.gomod.parent().unwrap_or(&composition));
    let local = counted
        .iter()
        .filter(|p| is_local(p))
        .map(|p| canonical(&base(p).1));
    let local: Vec<PathBuf> = local.collect();
    let local: Vec<&Path> = local.iter().map(PathBuf::as_path).collect();
    let root = source_root(&composition, &module, &local);

    let mut snapshot = Snapshot::below(&root);
    for package in counted {
        let (from, dir) = base(package);
        let to = snapshot
            .relative(&canonical(&dir))
            .unwrap_or_else(|| outside(package, &from));
        for name in package.go_files.iter().chain(&package.cgo_files) {
            let rest = package
                .import_path
                .strip_prefix(&from)
                .unwrap_or(&package.import_path);
            let parts = [to.as_str(), rest.trim_matches('/'), name];
            let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            snapshot.add(parts.join("/"), package.dir.join(name));
        }
        snapshot.rule(from, to);
    }
    snapshot
}

/// Sources that belong to the user: of a main module, of a workspace, or
/// replaced by a folder.
fn is_local(package: &Package) -> bool {
    package.module.as_ref().is_some_and(|module| {
        let replaced = module
            .replace
            .as_ref()
            .is_some_and(|r| r.version.is_empty());
        module.main || replaced
    })
}

/// The start of import paths that stands for a folder: module path and module
/// folder, or the package's own without a module (standard library).
fn base(package: &Package) -> (String, PathBuf) {
    let own = || (package.import_path.clone(), package.dir.clone());
    let Some(module) = &package.module else {
        return own();
    };
    let Some(below) = package.import_path.strip_prefix(&module.path) else {
        return own();
    };
    let below = below.trim_start_matches('/');
    // Taken from the package's folder: a vendored module has no other.
    let text = package.dir.to_string_lossy();
    match text.strip_suffix(below) {
        Some(dir) => (
            module.path.clone(),
            PathBuf::from(dir.trim_end_matches('/')),
        ),
        None => own(),
    }
}

/// A name for what is not below the root.
fn outside(package: &Package, from: &str) -> String {
    match &package.module {
        None => format!("_goroot/src/{from}"),
        Some(module) => {
            let replaced = module.replace.as_deref().unwrap_or(module);
            let version = if replaced.version.is_empty() {
                "local"
            } else {
                &replaced.version
            };
            format!("_modules/{from}@{version}")
        }
    }
}
