//! What the user's profile says about packages that get podcov's mark.

use std::path::Path;

use cargo_metadata::Package;
use toml::{Table, Value};

/// A profile of the workspace and those it inherits from, nearest first.
///
/// Only the workspace's manifest and the environment are asked. Profiles in
/// `.cargo/config.toml` are rare, and a `codegen-units` that is missed changes
/// speed, not counts.
pub(super) struct Profiles {
    chain: Vec<Table>,
    from_env: Option<u32>,
}

impl Profiles {
    pub(super) fn read(workspace: &Path, profile: &str) -> Self {
        let variable = profile.to_uppercase().replace('-', "_");
        let from_env = std::env::var(format!("CARGO_PROFILE_{variable}_CODEGEN_UNITS"));
        let from_env = from_env.ok().and_then(|text| text.parse().ok());
        let text = std::fs::read_to_string(workspace.join("Cargo.toml")).unwrap_or_default();
        let manifest: Table = text.parse().unwrap_or_default();
        let profiles = manifest.get("profile").and_then(Value::as_table);
        let mut chain = Vec::new();
        let mut name = Some(profile.to_owned());
        while let Some(found) = name.take().filter(|_| chain.len() < 10) {
            let Some(table) = profiles
                .and_then(|p| p.get(&found))
                .and_then(Value::as_table)
            else {
                break;
            };
            name = table
                .get("inherits")
                .and_then(Value::as_str)
                .map(str::to_owned);
            chain.push(table.clone());
        }
        Profiles { chain, from_env }
    }

    /// What to call a package in an override, and the `codegen-units` it has
    /// without ours. Where the user overrides the package already, cargo takes
    /// no second override by another name.
    pub(super) fn of(&self, package: &Package) -> (String, Option<u32>) {
        let overrides = |profile: &'_ Table| {
            let all = profile
                .get("package")
                .and_then(Value::as_table)
                .into_iter()
                .flatten();
            let names = all.filter_map(|(spec, table)| {
                let table = table.as_table().filter(|_| is_spec_of(spec, package))?;
                Some((spec.clone(), units(table)))
            });
            names.collect::<Vec<_>>()
        };
        let found: Vec<_> = self.chain.iter().flat_map(overrides).collect();
        let of_package = found.iter().find_map(|(_, units)| *units);
        let of_profile = || self.chain.iter().find_map(units);
        let spec = found
            .first()
            .map_or_else(|| package.id.repr.clone(), |(spec, _)| spec.clone());
        (spec, of_package.or(self.from_env).or_else(of_profile))
    }
}

fn units(table: &Table) -> Option<u32> {
    table.get("codegen-units")?.as_integer()?.try_into().ok()
}

/// `name`, `name@1`, `name@1.2.3`, `name:1.2.3` or the whole id.
fn is_spec_of(spec: &str, package: &Package) -> bool {
    if spec == package.id.repr {
        return true;
    }
    let (name, version) = match spec.split_once(['@', ':']) {
        Some((name, version)) => (name, Some(version)),
        None => (spec, None),
    };
    let full = package.version.to_string();
    let fits = |version: &str| {
        full.strip_prefix(version)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    package.name == name && version.is_none_or(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(manifest: &str, profile: &str, expected: (&str, Option<u32>)) {
        let json = r#"{"name": "op", "version": "1.2.3", "id": "path+file:///op#1.2.3",
            "dependencies": [], "targets": [], "features": {}, "manifest_path": "/op/Cargo.toml"}"#;
        let package: Package = serde_json::from_str(json).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("Cargo.toml"), manifest).unwrap();
        let (spec, units) = Profiles::read(dir.path(), profile).of(&package);
        assert_eq!((spec.as_str(), units), expected, "{manifest}");
    }

    #[test]
    fn what_the_user_set_is_found() {
        let id = "path+file:///op#1.2.3";
        check("", "release", (id, None));
        let inherits =
            "[profile.release]\ncodegen-units = 3\n[profile.fast]\ninherits = \"release\"";
        check(inherits, "fast", (id, Some(3)));
        check(inherits, "dev", (id, None));
        let package = "[profile.dev]\ncodegen-units = 3\n[profile.dev.package.op]\nopt-level = 1";
        check(package, "dev", ("op", Some(3)));
        let version = "[profile.dev.package.\"op@1.2\"]\ncodegen-units = 5";
        check(version, "dev", ("op@1.2", Some(5)));
        check(
            "[profile.dev.package.\"op@1.3\"]\ncodegen-units = 5",
            "dev",
            (id, None),
        );
        check(
            "[profile.dev.package.\"*\"]\ncodegen-units = 5",
            "dev",
            (id, None),
        );
    }
}
