//! Which program of a workspace to build and which packages to count.

use std::collections::{BTreeSet, HashMap};

use cargo_metadata::{DependencyKind, Metadata, Package, PackageId};

use crate::{Component, Error};

/// What cargo is asked for.
pub(super) struct Selection<'a> {
    pub(super) package: &'a Package,
    pub(super) binary: String,
    /// The packages to count, by id; never empty.
    pub(super) counted: Vec<&'a Package>,
}

pub(super) fn select<'a>(
    component: &Component,
    metadata: &'a Metadata,
) -> Result<Selection<'a>, Error> {
    let (package, binary) = program(component, metadata)?;
    let reachable = reachable(metadata, &package.id);
    let counted = counted(component, metadata, &reachable, &package.name)?;
    Ok(Selection {
        package,
        binary,
        counted,
    })
}

fn binaries(package: &Package) -> impl Iterator<Item = &str> {
    package
        .targets
        .iter()
        .filter(|t| t.is_bin())
        .map(|t| t.name.as_str())
}

fn program<'a>(
    component: &Component,
    metadata: &'a Metadata,
) -> Result<(&'a Package, String), Error> {
    let wrong = |what: String| Error::configuration(&component.name, what);
    let members: Vec<&Package> = metadata.workspace_packages();
    let candidates: Vec<&Package> = match &component.package {
        Some(name) => {
            let found: Vec<_> = members
                .iter()
                .copied()
                .filter(|p| *p.name == *name)
                .collect();
            if found.is_empty() {
                let names = members.iter().map(|p| p.name.as_str());
                return Err(wrong(format!(
                    "expected a package `{name}` in the workspace {}, found none{}",
                    metadata.workspace_root,
                    nearest(name, names)
                )));
            }
            found
        }
        None => metadata.root_package().map_or(members, |root| vec![root]),
    };
    let all: Vec<(&Package, &str)> = candidates
        .iter()
        .flat_map(|p| binaries(p).map(move |binary| (*p, binary)))
        .collect();
    let list = || {
        let items = all
            .iter()
            .map(|(p, binary)| format!("`{binary}` (package {})", p.name));
        items.collect::<Vec<_>>().join(", ")
    };
    if all.is_empty() {
        let names: Vec<_> = candidates.iter().map(|p| p.name.as_str()).collect();
        return Err(wrong(format!(
            "expected a program, found only libraries in package `{}`; an operator is a binary \
             crate: set `package` to the one with its main.rs",
            names.join("`, `")
        )));
    }
    let pick = |name: &str| -> Vec<_> { all.iter().filter(|(_, b)| *b == name).collect() };
    let found = match (&component.binary, &all[..]) {
        (Some(name), _) => pick(name),
        (None, [one]) => vec![one],
        (None, _) => {
            let default_run = candidates.iter().filter_map(|p| p.default_run.as_deref());
            let mut names = default_run.chain([component.name.as_str()]);
            names
                .find_map(|name| Some(pick(name)).filter(|f| f.len() == 1))
                .unwrap_or_default()
        }
    };
    match found[..] {
        [(package, binary)] => Ok((package, (*binary).to_owned())),
        [] => Err(wrong(match &component.binary {
            Some(name) => format!(
                "expected a program `{name}`, found {}{}",
                list(),
                nearest(name, all.iter().map(|(_, b)| *b))
            ),
            None => format!(
                "several programs could be meant: {}; set `binary` to one",
                list()
            ),
        })),
        _ => Err(wrong(format!(
            "several packages have it: {}; set `package` to one",
            list()
        ))),
    }
}

/// The packages that are linked into `from`, without what only builds or
/// tests it.
fn reachable<'a>(metadata: &'a Metadata, from: &'a PackageId) -> BTreeSet<&'a PackageId> {
    let Some(resolve) = &metadata.resolve else {
        return BTreeSet::from([from]);
    };
    let nodes: HashMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut seen = BTreeSet::from([from]);
    let mut open = vec![from];
    while let Some(id) = open.pop() {
        for dep in nodes.get(id).into_iter().flat_map(|node| &node.deps) {
            let normal = dep
                .dep_kinds
                .iter()
                .any(|kind| kind.kind == DependencyKind::Normal);
            if normal && seen.insert(&dep.pkg) {
                open.push(&dep.pkg);
            }
        }
    }
    seen
}

fn counted<'a>(
    component: &Component,
    metadata: &'a Metadata,
    reachable: &BTreeSet<&PackageId>,
    program: &str,
) -> Result<Vec<&'a Package>, Error> {
    let linked = || {
        metadata
            .packages
            .iter()
            .filter(|p| reachable.contains(&p.id))
    };
    if component.crates.is_empty() {
        return Ok(linked()
            .filter(|p| metadata.workspace_members.contains(&p.id))
            .collect());
    }
    let mut counted: Vec<&Package> = Vec::new();
    for name in &component.crates {
        let before = counted.len();
        counted.extend(linked().filter(|p| same_crate(&p.name, name)));
        if counted.len() > before {
            continue;
        }
        let elsewhere = metadata.packages.iter().any(|p| same_crate(&p.name, name));
        let what = if elsewhere {
            format!("crate `{name}` to count is in the workspace but not in program `{program}`")
        } else {
            format!("expected a crate `{name}` to count in program `{program}`, found none")
        };
        let hint = nearest(name, linked().map(|p| p.name.as_str()));
        return Err(Error::configuration(
            &component.name,
            format!("`crates`: {what}{hint}"),
        ));
    }
    counted.sort_by(|a, b| a.id.cmp(&b.id));
    counted.dedup_by(|a, b| a.id == b.id);
    Ok(counted)
}

/// For a build that somebody else runs: the packages named, or all of the
/// workspace.
pub(crate) fn members_or_named(
    crates: &[String],
    metadata: &Metadata,
) -> Result<Vec<String>, Error> {
    if crates.is_empty() {
        return Ok(metadata
            .workspace_packages()
            .iter()
            .map(|p| p.name.to_string())
            .collect());
    }
    let find = |name: &String| {
        let found = metadata.packages.iter().find(|p| same_crate(&p.name, name));
        found.map(|p| p.name.to_string()).ok_or_else(|| {
            let hint = nearest(name, metadata.packages.iter().map(|p| p.name.as_str()));
            let what = format!("expected a crate `{name}` to count, found none{hint}");
            Error::configuration("env", what)
        })
    };
    crates.iter().map(find).collect()
}

/// Cargo says `my-crate`, sources say `my_crate`; people say either.
fn same_crate(package: &str, asked: &str) -> bool {
    package.replace('-', "_") == asked.replace('-', "_")
}

/// "; did you mean `x`?", or the names there are if none is close.
pub(crate) fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> String {
    let names: BTreeSet<&str> = names.collect();
    let best = names
        .iter()
        .map(|other| (strsim::jaro_winkler(name, other), other));
    match best.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, other)) if score > 0.8 => format!("; did you mean `{other}`?"),
        _ if names.len() > 12 || names.is_empty() => String::new(),
        _ => format!(
            "; there is {}",
            names.into_iter().collect::<Vec<_>>().join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_gets_a_suggestion() {
        let names = ["website-operator", "webserver", "sitectl"];
        let hint = nearest("website-opertor", names.into_iter());
        assert_eq!(hint, "; did you mean `website-operator`?");
        assert_eq!(
            nearest("zzz", names.into_iter()),
            "; there is sitectl, webserver, website-operator"
        );
    }
}
