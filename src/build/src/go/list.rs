//! What the go command knows of modules and packages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use podcov_process::{Cancel, Run};
use serde::Deserialize;

use crate::error::AtPath;
use crate::rust::nearest;
use crate::{Component, Error};

/// Go's settings in the component's folder.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE", default)]
pub(crate) struct GoEnv {
    pub(crate) goversion: String,
    pub(crate) goroot: PathBuf,
    pub(crate) gomod: PathBuf,
    pub(crate) gomodcache: PathBuf,
    pub(crate) goflags: String,
    pub(crate) goos: String,
    pub(crate) goarch: String,
    #[serde(rename = "CGO_ENABLED")]
    pub(crate) cgo_enabled: String,
}

/// A package as `go list -json` tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Package {
    pub(crate) import_path: String,
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) standard: bool,
    pub(crate) module: Option<Module>,
    pub(crate) go_files: Vec<String>,
    pub(crate) cgo_files: Vec<String>,
    pub(crate) test_go_files: Vec<String>,
    pub(crate) error: Option<PackageError>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Module {
    pub(crate) path: String,
    pub(crate) version: String,
    pub(crate) main: bool,
    pub(crate) replace: Option<Box<Module>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct PackageError {
    pub(crate) err: String,
}

const FIELDS: &str = "-json=ImportPath,Name,Dir,Standard,Module,GoFiles,CgoFiles,TestGoFiles,Error";

/// The go command in a folder, with the component's environment and tags.
pub(crate) struct Go<'a> {
    pub(crate) component: &'a Component,
    pub(crate) dir: PathBuf,
    pub(crate) tags: Vec<String>,
    pub(crate) cancel: &'a Cancel,
    /// The toolchain to use, if it is not the one that `go` is by itself.
    pub(crate) goroot: Option<PathBuf>,
}

impl Go<'_> {
    /// `go` with what is the same for every call.
    pub(crate) fn run(&self, command: &[&str]) -> Run<'_> {
        let mut run = match &self.goroot {
            None => Run::new("go"),
            Some(goroot) => Run::new(goroot.join("bin/go")),
        };
        run = run.args(command);
        if !self.tags.is_empty() && command != ["env", "-json"] {
            run = run.arg(format!("-tags={}", self.tags.join(",")));
        }
        // Containers run Linux, whatever builds them.
        run = run.env("GOOS", "linux");
        if self.component.statically {
            run = run.env("CGO_ENABLED", "0");
        }
        run = self.component.environment(run);
        if let Some(goroot) = &self.goroot {
            run = run.env("GOROOT", goroot).env("GOTOOLCHAIN", "local");
        }
        run.current_dir(&self.dir).cancel(self.cancel)
    }

    pub(crate) fn env(&self) -> Result<GoEnv, Error> {
        let run = self.run(&["env", "-json"]).run();
        let install = "install Go (https://go.dev/dl)";
        let text = run
            .map_err(|e| Error::tool(&self.component.name, e, install))?
            .text();
        let env: GoEnv = serde_json::from_str(&text).map_err(|error| Error::Answer {
            tool: "go env",
            what: error.to_string(),
        })?;
        if env.gomod.as_os_str().is_empty() || env.gomod == Path::new("/dev/null") {
            let what = format!(
                "expected a Go module, found no go.mod in {} or above; set `manifest` to the \
                 folder of the module, relative to podcov.toml",
                self.dir.display()
            );
            return Err(Error::configuration(&self.component.name, what));
        }
        Ok(env)
    }

    /// Go's settings, with a toolchain that can be given an overlay.
    ///
    /// A toolchain that go.mod asks for is kept among the modules, and nothing
    /// there may be overlaid (since Go 1.25). It may under another name, so
    /// `cache` gets a link to it.
    pub(crate) fn settle(&mut self, cache: &Path) -> Result<GoEnv, Error> {
        let env = self.env()?;
        if !self.tags.is_empty() {
            // `-tags` on the command line takes the place of one in GOFLAGS.
            for flag in split_flags(&env.goflags) {
                if let Some(tags) = flag.trim_start_matches('-').strip_prefix("tags=") {
                    self.tags.extend(tags.split(',').map(str::to_owned));
                }
            }
        }
        if !env.goroot.starts_with(&env.gomodcache) || env.gomodcache.as_os_str().is_empty() {
            return Ok(env);
        }
        std::fs::create_dir_all(cache).at("create", cache)?;
        let cache = cache.canonicalize().at("find", cache)?;
        let link = cache.join(format!("goroot-{}", env.goversion));
        if std::fs::read_link(&link).ok().as_ref() != Some(&env.goroot) {
            let new = cache.join(format!("goroot-{}.{}", env.goversion, std::process::id()));
            std::os::unix::fs::symlink(&env.goroot, &new).at("link", &new)?;
            std::fs::rename(&new, &link).at("rename", &new)?;
        }
        self.goroot = Some(link);
        self.env()
    }

    /// The packages that `patterns` match. A pattern that matches nothing
    /// adds nothing.
    pub(crate) fn list(&self, options: &[&str], patterns: &[&str]) -> Result<Vec<Package>, Error> {
        let command: Vec<&str> = ["list", "-e", FIELDS]
            .iter()
            .chain(options)
            .copied()
            .collect();
        let text = self.run(&command).arg("--").args(patterns).run()?.text();
        serde_json::Deserializer::from_str(&text)
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(|error| Error::Answer {
                tool: "go list",
                what: error.to_string(),
            })
    }

    /// The main package to build.
    pub(crate) fn main_package(&self) -> Result<Package, Error> {
        let wrong = |what: String| Error::configuration(&self.component.name, what);
        if let Some(asked) = &self.component.package {
            if asked.ends_with(".go") {
                let what = format!(
                    "`package`: expected a package such as `./cmd/manager`, found the file \
                     `{asked}`"
                );
                return Err(wrong(what));
            }
            let found = self.list(&[], &[asked])?;
            let [package] = &found[..] else {
                let what = format!(
                    "`package`: expected one package, `{asked}` is {}",
                    found.len()
                );
                return Err(wrong(what));
            };
            if let Some(error) = &package.error
                && package.name.is_empty()
            {
                let mains = self.mains().unwrap_or_default();
                let hint = nearest(asked, mains.iter().map(|p| p.import_path.as_str()));
                let text = error.err.trim().replace('\n', " ");
                return Err(wrong(format!("`package`: {text}{hint}")));
            }
            if package.name != "main" {
                let what = format!(
                    "`package`: expected a main package, found `{}` (package {}) in {}",
                    package.import_path,
                    package.name,
                    package.dir.display()
                );
                return Err(wrong(what));
            }
            return Ok(package.clone());
        }
        let mains = self.mains()?;
        let called = |name: &str| {
            let mut found = mains
                .iter()
                .filter(|p| program_name(&p.import_path) == name);
            found.next().filter(|_| found.next().is_none()).cloned()
        };
        match &mains[..] {
            [] => Err(wrong(format!(
                "expected a main package below {}, found none",
                self.dir.display()
            ))),
            [one] => Ok(one.clone()),
            several => {
                let names = self.component.binary.iter().chain([&self.component.name]);
                names
                    .into_iter()
                    .find_map(|name| called(name))
                    .ok_or_else(|| {
                        let list: Vec<_> = several.iter().map(|p| p.import_path.as_str()).collect();
                        wrong(format!(
                            "several programs could be meant: {}; set `package` to one",
                            list.join(", ")
                        ))
                    })
            }
        }
    }

    /// The path of the module in the folder.
    pub(crate) fn module_path(&self) -> Result<String, Error> {
        let text = self.run(&["list", "-m"]).run()?.text();
        // A workspace has several; each is a line.
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// Patterns that mean the same in every folder.
    pub(crate) fn absolute_patterns(&self, patterns: &[String]) -> Result<Vec<String>, Error> {
        let module = self.module_path()?;
        let absolute = |pattern: &String| match pattern.strip_prefix("./") {
            Some("") => module.clone(),
            Some(rest) => format!("{module}/{rest}"),
            None if pattern == "." => module.clone(),
            None => pattern.clone(),
        };
        Ok(patterns.iter().map(absolute).collect())
    }

    pub(crate) fn mains(&self) -> Result<Vec<Package>, Error> {
        let mut all = self.list(&[], &["./..."])?;
        all.retain(|package| package.name == "main");
        Ok(all)
    }

    /// The packages to count, all of them linked into `main`, and how many
    /// packages that program has in all.
    pub(crate) fn counted(
        &self,
        main: &Package,
        patterns: &[String],
    ) -> Result<(Vec<Package>, usize), Error> {
        let linked = self.list(&["-deps"], &[&main.import_path])?;
        let mut wanted: BTreeSet<String> = BTreeSet::from([main.import_path.clone()]);
        for pattern in patterns {
            let matched = self.list(&[], &[pattern])?;
            let before = wanted.len();
            let fits = |p: &&Package| linked.iter().any(|l| l.import_path == p.import_path);
            let is_main = matched.iter().any(|p| p.import_path == main.import_path);
            wanted.extend(matched.iter().filter(fits).map(|p| p.import_path.clone()));
            let already = matched.iter().any(|p| wanted.contains(&p.import_path));
            if wanted.len() == before && !is_main && !already {
                let names = linked.iter().filter(|p| !p.standard);
                let hint = nearest(pattern, names.map(|p| p.import_path.as_str()));
                let what = format!(
                    "`coverpkg`: expected `{pattern}` to match packages of `{}`, found none{hint}",
                    main.import_path
                );
                return Err(Error::configuration(&self.component.name, what));
            }
        }
        let all = linked.len();
        let counted = linked
            .into_iter()
            .filter(|p| wanted.contains(&p.import_path))
            .collect();
        Ok((counted, all))
    }
}

/// What `go build` would call the program: the last part of the import path,
/// or the one before a version.
pub(crate) fn program_name(import_path: &str) -> &str {
    let mut parts = import_path.rsplit('/');
    let last = parts.next().unwrap_or(import_path);
    let is_version = last
        .strip_prefix('v')
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
    match parts.next() {
        Some(before) if is_version => before,
        _ => last,
    }
}

/// GOFLAGS as the go command splits them: spaces, with ' and " around what
/// holds spaces.
pub(crate) fn split_flags(text: &str) -> Vec<String> {
    let mut flags = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let quoted = matches!(first, '\'' | '"')
            .then(|| rest[1..].split_once(first))
            .flatten();
        let (flag, after) = match quoted {
            Some((flag, after)) => (flag, after),
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        flags.push(flag.to_owned());
        rest = after.trim_start();
    }
    flags
}

/// The other direction of [`split_flags`].
pub(crate) fn join_flags(flags: &[String]) -> String {
    let quote = |flag: &String| {
        if !flag.contains([' ', '\t', '\'', '"']) {
            flag.clone()
        } else if flag.contains('\'') {
            format!("\"{flag}\"")
        } else {
            format!("'{flag}'")
        }
    };
    flags.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_called_as_go_calls_them() {
        assert_eq!(program_name("example.org/op/cmd/manager"), "manager");
        assert_eq!(program_name("example.org/tool/v2"), "tool");
        assert_eq!(program_name("vet"), "vet");
    }

    #[test]
    fn flags_with_spaces_survive() {
        let flags = split_flags("-mod=vendor  '-ldflags=-s -w' -overlay=x");
        assert_eq!(flags, ["-mod=vendor", "-ldflags=-s -w", "-overlay=x"]);
        assert_eq!(split_flags(&join_flags(&flags)), flags);
    }
}
