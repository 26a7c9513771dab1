//! The programs of the node, built from the Go module in `src/kubernetes` once
//! per version and kept in the user's cache.
//!
//! The sources travel inside podcov, so an installed one works without the
//! repository. The folder is `<digest of sources>-<Go version>`; without Go any
//! build of the same sources will do.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use podcov_process::{Cancel, Progress, Run, find_program};
use sha2::{Digest, Sha256};

use super::lock::Lock;
use super::pause_image;
use crate::provider::Error;

macro_rules! sources {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../kubernetes/", $path)))),*]
    };
}

/// The Go module, file by file.
const SOURCES: &[(&str, &str)] = sources![
    "go.mod",
    "go.sum",
    "main.go",
    "node/inside.go",
    "node/keeper.go",
    "node/main.go",
    "node/probe.go",
    "node/start.go",
    "pause/main.go",
];

/// The names that the one program of Kubernetes answers to.
const APPLETS: &[&str] = &[
    "coredns",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
];

/// Built programs of a node.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    folder: PathBuf,
}

impl Program {
    /// The one that is a whole Kubernetes, by the name of one of its parts.
    pub fn applet(&self, name: &str) -> PathBuf {
        self.folder.join("components").join(name)
    }

    /// The one that makes a node's namespaces and keeps its processes.
    pub fn node(&self) -> PathBuf {
        self.folder.join("node")
    }

    /// A folder for PATH: `kubectl` and nothing else.
    pub fn path_folder(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// Archive of the image that holds a pod's namespaces.
    pub fn pause_archive(&self) -> PathBuf {
        self.folder.join("pause.tar")
    }

    /// What tells this build from others.
    pub fn key(&self) -> String {
        self.folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

/// The version of Kubernetes that is embedded, such as `v1.34.4`.
pub(crate) fn version() -> &'static str {
    let of_line = |line: &'static str| line.trim().strip_prefix("k8s.io/kubernetes ");
    SOURCES[0].1.lines().find_map(of_line).unwrap_or("v0.0.0")
}

/// The programs if they are built.
pub(crate) fn built() -> Option<Program> {
    let root = cache().ok()?;
    let digest = digest();
    let found = match go_version() {
        Ok(go) => root.join(format!("{digest}-{go}")),
        Err(_) => fs::read_dir(&root)
            .ok()?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| {
                path.file_name()
                    .is_some_and(|n| is_build_of(n.to_str(), &digest))
            })?,
    };
    found.is_dir().then_some(Program { folder: found })
}

fn is_build_of(name: Option<&str>, digest: &str) -> bool {
    name.and_then(|name| name.strip_prefix(digest))
        .is_some_and(|rest| rest.starts_with("-go"))
}

/// Builds the programs, unless they are there. Of several processes one builds
/// and the others wait.
pub(crate) fn build(progress: &dyn Progress, cancel: &Cancel) -> Result<Program, Error> {
    if let Some(program) = built() {
        return Ok(program);
    }
    let go = go_version()?;
    let root = cache()?;
    fs::create_dir_all(&root).map_err(Error::io("make", &root))?;
    let folder = root.join(format!("{}-{go}", digest()));
    let _lock = Lock::take(&root, cancel, || {
        progress.status("another podcov is building Kubernetes; waiting for it");
    })?;
    if !folder.is_dir() {
        compile(&root, &folder, progress, cancel)?;
    }
    Ok(Program { folder })
}

fn compile(
    root: &Path,
    folder: &Path,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(), Error> {
    progress.note(&format!(
        "building Kubernetes {} from source, once: about 5 minutes on two cores",
        version()
    ));
    // What an interrupted build left; the lock says that nobody is at it.
    for entry in fs::read_dir(root)
        .map_err(Error::io("read", root))?
        .flatten()
    {
        if entry.file_name().to_string_lossy().starts_with("partial-") {
            fs::remove_dir_all(entry.path()).map_err(Error::io("remove", entry.path()))?;
        }
    }
    let partial = tempfile::Builder::new()
        .prefix("partial-")
        .tempdir_in(root)
        .map_err(Error::io("make a folder in", root))?;
    let source = partial.path().join("source");
    for (path, text) in SOURCES {
        write(&source.join(path), text.as_bytes())?;
    }
    let packages = count_packages(&source, cancel, progress)?;
    let begin = Instant::now();
    let mut done = 0_usize;
    let flags = link_flags();
    let output = format!("{}/", partial.path().display());
    go(&source)
        .args([
            "build",
            "-v",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags",
            &flags,
        ])
        .args(["-o", &output, ".", "./node", "./pause"])
        .cancel(cancel)
        .each_line(|line| {
            done += usize::from(!line.contains(' '));
            progress.status(&format!(
                "Kubernetes {}: {done} of {packages} packages, {} s",
                version(),
                begin.elapsed().as_secs()
            ));
        })
        .run()?;
    progress.status("Kubernetes is built");
    link(partial.path(), "bin", "kubectl")?;
    for applet in APPLETS {
        link(partial.path(), "components", applet)?;
    }
    pause_image::write(
        &partial.path().join("pause"),
        &partial.path().join("pause.tar"),
    )?;
    let partial = partial.keep();
    fs::rename(&partial, folder).map_err(Error::io("rename a finished build to", folder))
}

/// How many packages there are to build at most; fetches the modules first.
fn count_packages(source: &Path, cancel: &Cancel, progress: &dyn Progress) -> Result<usize, Error> {
    progress.status("fetching the Go modules of Kubernetes");
    let (mut modules, mut packages) = (0_usize, 0_usize);
    go(source)
        .args(["list", "-deps", ".", "./node", "./pause"])
        .cancel(cancel)
        .each_line(|line| {
            if line.starts_with("go: downloading ") {
                modules += 1;
                progress.status(&format!("fetching the Go modules of Kubernetes: {modules}"));
            } else if !line.starts_with("go: ") {
                packages += 1;
            }
        })
        .run()?;
    Ok(packages)
}

/// A run of Go that the user's settings for other work do not change.
fn go(source: &Path) -> Run<'static> {
    Run::new("go")
        .current_dir(source)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off")
        .env_remove("GOOS")
        .env_remove("GOARCH")
        .env_remove("GOEXPERIMENT")
        .env_remove("GOCOVERDIR")
}

/// Without its version in the program, nodes report a placeholder.
fn link_flags() -> String {
    let version = version();
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or("0"), numbers.next().unwrap_or("0"));
    let set = [
        "k8s.io/component-base/version",
        "k8s.io/client-go/pkg/version",
    ]
    .map(|package| {
        format!(
            "-X {package}.gitVersion={version} -X {package}.gitMajor={major} \
             -X {package}.gitMinor={minor} -X {package}.gitTreeState=clean"
        )
    });
    format!("-s -w {}", set.join(" "))
}

fn link(folder: &Path, below: &str, name: &str) -> Result<(), Error> {
    let place = folder.join(below);
    fs::create_dir_all(&place).map_err(Error::io("make", &place))?;
    let link = place.join(name);
    symlink("../kubernetes", &link).map_err(Error::io("link", &link))
}

fn write(path: &Path, text: &[u8]) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(Error::io("make", parent))?;
    }
    fs::write(path, text).map_err(Error::io("write", path))
}

fn digest() -> String {
    let mut hash = Sha256::new();
    for (path, text) in SOURCES {
        hash.update(format!("{path}\0{}\0", text.len()));
        hash.update(text);
    }
    hash.update(link_flags());
    hash.finalize()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// `go1.26.8`, asked in a folder where no go.mod can change the answer.
fn go_version() -> Result<String, Error> {
    if find_program("go").is_none() {
        return Err(Error::Missing {
            missing: vec![format!(
                "go, 1.26 or newer, to build Kubernetes {} once: https://go.dev/dl",
                version()
            )],
        });
    }
    let limit = Duration::from_secs(60);
    let run = Run::new("go")
        .args(["env", "GOVERSION"])
        .current_dir("/")
        .timeout(limit)
        .run()?;
    Ok(run.text().trim().to_owned())
}

/// `podcov/kubernetes` in the user's cache.
fn cache() -> Result<PathBuf, Error> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let expected =
        "expected HOME or XDG_CACHE_HOME to say where the user's cache is, found neither";
    Ok(base
        .ok_or_else(|| Error::Other(expected.into()))?
        .join("podcov/kubernetes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_go_file_of_the_module_travels_with_podcov() {
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kubernetes");
        let mut found: Vec<String> = walkdir::WalkDir::new(&module)
            .into_iter()
            .filter_entry(|e| e.depth() == 0 || !e.path().join("go.mod").exists())
            .map(|entry| entry.unwrap().into_path())
            .filter(|path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                ["go.mod", "go.sum"].contains(&name)
                    || name.ends_with(".go") && !name.ends_with("_test.go")
            })
            .map(|path| {
                path.strip_prefix(&module)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        found.sort();
        assert_eq!(
            found,
            SOURCES.iter().map(|(path, _)| *path).collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_version_comes_from_the_module() {
        assert!(version().starts_with("v1."), "{}", version());
        assert!(link_flags().contains(&format!("version.gitVersion={}", version())));
    }

    #[test]
    fn a_build_is_known_by_its_digest() {
        assert!(is_build_of(Some("abc-go1.26.8"), "abc"));
        assert!(!is_build_of(Some("abcd-go1.26.8"), "abc"));
        assert!(!is_build_of(Some("partial-abc"), "abc"));
    }
}
