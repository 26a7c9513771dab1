//! Writes a bundle's folder: everything goes to a folder beside it that takes
//! its place when it is complete.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use podcov_profile::bundle::{Bundle, PathRule, SourceFile, Sources, mapping_path};
use podcov_profile::llvm::object;
use podcov_profile::{Identity, Limits};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::error::AtPath;

/// Names of components are names of folders and images.
pub(crate) fn check_name(component: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if component.is_empty() || component.starts_with('.') || !component.chars().all(plain) {
        let what = "its name must be letters, digits, `-`, `_` and `.`, because folders and \
                    images are called by it";
        return Err(Error::configuration(component, what));
    }
    Ok(())
}

/// A bundle being written.
pub(crate) struct Keep {
    partial: PathBuf,
    place: PathBuf,
}

impl Keep {
    /// Begins the bundle of `component` in `bundles`.
    pub(crate) fn begin(bundles: &Path, component: &str) -> Result<Self, Error> {
        check_name(component)?;
        let partial = bundles.join(format!(".{component}.partial"));
        remove(&partial)?;
        for dir in ["bin", "meta", "src"] {
            let dir = partial.join(dir);
            fs::create_dir_all(&dir).at("create", &dir)?;
        }
        // A module of its own: else `./...` of the module around `profiles/`
        // would find its own packages again in every run's sources.
        let module = bundles.join("go.mod");
        fs::write(&module, "module podcov.invalid/sources\n").at("write", &module)?;
        Ok(Keep {
            partial,
            place: bundles.join(component),
        })
    }

    /// The folder as long as it is not complete.
    pub(crate) fn dir(&self) -> &Path {
        &self.partial
    }

    /// Keeps a program; gives its path in the bundle and its SHA-256.
    ///
    /// A copy (which the file system may make by sharing blocks), not a hard
    /// link: a later build may write into its output in place.
    pub(crate) fn binary(&self, file: &Path, name: &str) -> Result<(String, String), Error> {
        let path = format!("bin/{name}");
        let to = self.partial.join(&path);
        fs::copy(file, &to).at("copy", file)?;
        Ok((path, sha256_of(&to)?))
    }

    /// Keeps the coverage mapping of an LLVM program that is kept at `path`, by
    /// which its profiles can be read without it.
    pub(crate) fn mapping(&self, path: &str, identity: &Identity) -> Result<(), Error> {
        let program = self.partial.join(path);
        let bytes = fs::read(&program).at("read", &program)?;
        let wrong = |what: String| Error::Program {
            path: program.clone(),
            what,
        };
        let objects = object::read(bytes.as_slice(), path, None, &Limits::default());
        let objects = objects.map_err(|error| wrong(error.to_string()))?;
        let [object] = objects.as_slice() else {
            return Err(wrong("expected one program, found an archive".to_owned()));
        };
        let to = self.partial.join(mapping_path(identity));
        let mut file = Vec::new();
        let made = object.to_mapping_file(&mut file);
        made.at("describe", &program)?;
        let dir = self.partial.join("mapping");
        fs::create_dir_all(&dir).at("create", &dir)?;
        fs::write(&to, file).at("write", &to)
    }

    /// Keeps sources: what each is called below the sources' root, and where
    /// it is now. One that cannot be read (it was there when it was compiled)
    /// is left out; a report then shows numbers without text.
    pub(crate) fn sources(
        &self,
        files: &BTreeMap<String, PathBuf>,
    ) -> Result<Vec<SourceFile>, Error> {
        let mut kept = Vec::with_capacity(files.len());
        for (name, file) in files {
            let Ok(bytes) = fs::read(file) else { continue };
            let to = self.partial.join("src").join(name);
            if let Some(dir) = to.parent() {
                fs::create_dir_all(dir).at("create", dir)?;
            }
            fs::write(&to, &bytes).at("write", &to)?;
            kept.push(SourceFile {
                path: name.clone(),
                sha256: hex(&Sha256::digest(&bytes)),
            });
        }
        Ok(kept)
    }

    /// Writes `bundle.json` and puts the folder in its place.
    pub(crate) fn finish(self, bundle: &Bundle) -> Result<(), Error> {
        let file = self.partial.join("bundle.json");
        let mut text = serde_json::to_vec_pretty(bundle).map_err(|error| Error::Answer {
            tool: "serde_json",
            what: error.to_string(),
        })?;
        text.push(b'\n');
        fs::write(&file, text).at("write", &file)?;
        remove(&self.place)?;
        fs::rename(&self.partial, &self.place).at("rename", &self.partial)
    }
}

fn remove(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", dir),
        _ => Ok(()),
    }
}

/// SHA-256 of a file, hex.
pub(crate) fn sha256_of(file: &Path) -> Result<String, Error> {
    let mut reader = fs::File::open(file).at("read", file)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match reader.read(&mut buffer).at("read", file)? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Collects source files under the names a report gives them.
pub(crate) struct Snapshot {
    root: PathBuf,
    rules: Vec<PathRule>,
    files: BTreeMap<String, PathBuf>,
}

impl Snapshot {
    /// Sources that a report names relative to `root`.
    pub(crate) fn below(root: &Path) -> Self {
        Snapshot {
            root: root.to_owned(),
            rules: Vec::new(),
            files: BTreeMap::new(),
        }
    }

    /// What a profile says starts with `from` is called `to` plus the rest.
    pub(crate) fn rule(&mut self, from: impl Into<String>, to: impl Into<String>) {
        let rule = PathRule {
            from: from.into(),
            to: to.into(),
        };
        if !self.rules.contains(&rule) {
            self.rules.push(rule);
        }
    }

    /// The name of a folder relative to the root, if it is below it.
    pub(crate) fn relative(&self, path: &Path) -> Option<String> {
        let rest = path.strip_prefix(&self.root).ok()?;
        Some(rest.to_string_lossy().into_owned())
    }

    /// Adds the file `path` under `name`.
    pub(crate) fn add(&mut self, name: String, path: PathBuf) {
        self.files.insert(name, path);
    }

    /// Adds a file that profiles call by its absolute path.
    pub(crate) fn add_absolute(&mut self, path: &Path) {
        if let Some(name) = path.to_str().and_then(|text| self.name_of(text)) {
            self.add(name, path.to_owned());
        }
    }

    /// What a report calls the file that a profile calls `path`.
    pub(crate) fn name_of(&self, path: &str) -> Option<String> {
        self.sources(Vec::new()).relative(path)
    }

    fn sources(&self, files: Vec<SourceFile>) -> Sources {
        let root = self.root.to_string_lossy().into_owned();
        Sources {
            root,
            path_map: self.rules.clone(),
            files,
        }
    }

    /// Fixes the order of the rules: the longest start fits first.
    pub(crate) fn sort_rules(&mut self) {
        let key = |rule: &PathRule| (std::cmp::Reverse(rule.from.len()), rule.from.clone());
        self.rules.sort_by_key(key);
    }

    /// Writes what was collected.
    pub(crate) fn keep(mut self, keep: &Keep) -> Result<Sources, Error> {
        self.sort_rules();
        let files = keep.sources(&self.files)?;
        Ok(self.sources(files))
    }
}

/// The folder that names in a report are relative to: the deepest one that
/// holds the composition's folder, the build's own (`workspace`) and all
/// further folders of sources, as long as it is no larger than the repository
/// or the composition; else `workspace`.
pub(crate) fn source_root(composition: &Path, workspace: &Path, further: &[&Path]) -> PathBuf {
    let all = further.iter().copied().chain([composition, workspace]);
    let mut common = workspace.to_owned();
    for dir in all {
        while !dir.starts_with(&common) {
            if !common.pop() {
                return workspace.to_owned();
            }
        }
    }
    let in_repository = common.ancestors().any(|dir| dir.join(".git").exists());
    let small = in_repository || common == composition || common == workspace;
    if small { common } else { workspace.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_relative_to_what_holds_composition_and_workspace() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let at = |path: &str| root.join(path);
        assert_eq!(source_root(&at("a"), &at("a/op"), &[]), at("a"));
        assert_eq!(source_root(&at("a/op/e2e"), &at("a/op"), &[]), at("a/op"));
        // Nothing says that `root` is one project…
        assert_eq!(source_root(&at("a"), &at("b"), &[]), at("b"));
        // …until it is a repository.
        fs::create_dir(at(".git")).unwrap();
        assert_eq!(source_root(&at("a"), &at("b"), &[&at("c")]), root);
    }

    #[test]
    fn kept_go_sources_are_no_packages_of_the_module_around() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let bundles = root.join("profiles/r/bundle");
        let keep = Keep::begin(&bundles, "op").unwrap();
        fs::write(root.join("go.mod"), "module example.org/op\n\ngo 1.21\n").unwrap();
        fs::write(root.join("main.go"), "package main\n\nfunc main() {}\n").unwrap();
        fs::create_dir(&keep.place).unwrap();
        fs::copy(root.join("main.go"), keep.place.join("main.go")).unwrap();
        let list = podcov_process::Run::new("go").args(["list", "./..."]);
        let found = list.current_dir(root).run().unwrap().text();
        assert_eq!(found, "example.org/op\n");
    }

    #[test]
    fn a_component_cannot_leave_the_folder_of_bundles() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", "..", "../x", "a/b", ".hidden"] {
            assert!(Keep::begin(dir.path(), name).is_err(), "{name}");
        }
    }
}
