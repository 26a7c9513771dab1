//! Finds the sources of counted packages and what a report calls them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, Package};

use super::cargo::Built;
use super::select::Selection;
use crate::Component;
use crate::keep::{Snapshot, source_root};

pub(super) fn snapshot(
    component: &Component,
    metadata: &Metadata,
    selection: &Selection,
    built: &Built,
) -> Snapshot {
    let workspace = metadata.workspace_root.as_std_path();
    let composition = component
        .root
        .canonicalize()
        .unwrap_or_else(|_| component.root.clone());
    let is_path = |package: &&&Package| package.source.is_none();
    let local: Vec<_> = selection
        .counted
        .iter()
        .filter(is_path)
        .map(|p| folder(p))
        .collect();
    let root = source_root(&composition, workspace, &local);

    let mut snapshot = Snapshot::below(&root);
    for package in &selection.counted {
        let dir = folder(package);
        if !dir.starts_with(&root) {
            let place = if package.source.is_some() {
                "_registry"
            } else {
                "_path"
            };
            let name = format!("{place}/{}-{}", package.name, package.version);
            snapshot.rule(dir.to_string_lossy(), name);
        }
        if let Some(out_dir) = built.out_dirs.get(&package.id) {
            snapshot.rule(
                out_dir.to_string_lossy(),
                format!("_generated/{}", package.name),
            );
        }
    }
    snapshot.sort_rules();
    for file in compiled_files(metadata, selection, built) {
        snapshot.add_absolute(&file);
    }
    snapshot
}

fn folder(package: &Package) -> &Path {
    package
        .manifest_path
        .parent()
        .map_or(Path::new("/"), |dir| dir.as_std_path())
}

/// The `.rs` files that went into counted packages: what rustc itself wrote
/// down when it compiled them.
fn compiled_files(metadata: &Metadata, selection: &Selection, built: &Built) -> BTreeSet<PathBuf> {
    let counted = |package: &Package| selection.counted.iter().any(|p| p.id == package.id);
    let mut files = BTreeSet::new();
    for library in selection
        .counted
        .iter()
        .filter_map(|p| built.libraries.get(&p.id))
    {
        // libNAME-HASH.rlib has its list in NAME-HASH.d
        let name = library.file_stem().unwrap_or_default().to_string_lossy();
        let name = name.strip_prefix("lib").unwrap_or(&name);
        let list = library.with_file_name(format!("{name}.d"));
        files.extend(listed(&list, metadata.workspace_root.as_std_path()));
    }
    // The program's own list holds all local packages, counted or not.
    let list = built.executable.with_extension("d");
    let owner = |file: &Path| {
        let owners = metadata
            .packages
            .iter()
            .filter(|p| file.starts_with(folder(p)));
        owners.max_by_key(|package| folder(package).as_os_str().len())
    };
    let build_scripts: Vec<&Path> = selection
        .counted
        .iter()
        .flat_map(|p| &p.targets)
        .filter(|target| target.is_custom_build())
        .map(|target| target.src_path.as_std_path())
        .collect();
    let program = listed(&list, metadata.workspace_root.as_std_path());
    files.extend(program.into_iter().filter(|file| {
        let out_dir = built.out_dirs.iter().find(|(_, dir)| file.starts_with(dir));
        let ours = match out_dir {
            Some((package, _)) => selection.counted.iter().any(|p| p.id == *package),
            None => owner(file).is_none_or(counted),
        };
        ours && !build_scripts.contains(&file.as_path())
    }));
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    files
}

/// The prerequisites in a `.d` file, which is in the syntax of make.
fn listed(list: &Path, relative_to: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(list).unwrap_or_default();
    let names = text
        .lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| l.split_once(": "));
    names
        .flat_map(|(_, names)| words(names))
        .map(|name| relative_to.join(name))
        .collect()
}

/// Words between spaces; `\ ` is a space within one.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let last = words.len() - 1;
        match c {
            '\\' if chars.next_if_eq(&' ').is_some() => words[last].push(' '),
            ' ' => words.push(String::new()),
            c => words[last].push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_spaces_stay_whole() {
        assert_eq!(words(r"/a\ b/c.rs  /d.rs"), ["/a b/c.rs", "/d.rs"]);
    }
}
