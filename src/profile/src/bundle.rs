//! What a build keeps so that a report never guesses.

use serde::{Deserialize, Serialize};

use crate::Identity;
use crate::names::{Kind, Language};

/// Version of the bundle's JSON; readers refuse a newer one.
pub const SCHEMA: u32 = 1;

/// `bundle/<component>/bundle.json`: one component as it was built. All paths
/// are relative to the folder that holds it, unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// The component's name in `podcov.toml`.
    pub component: String,
    /// Its language.
    pub language: Language,
    /// Its part in the composition.
    pub kind: Kind,
    /// The programs built for it, normally one.
    pub binaries: Vec<Binary>,
    /// "rustc 1.95.0 (59807616e 2026-04-14)", "go version go1.26.8 linux/amd64".
    pub toolchain: String,
    /// LLVM's major version for Rust, which decides the tools that can read
    /// the profiles.
    pub llvm_major: Option<u32>,
    /// Commit the sources were at; `None` outside a git checkout.
    pub commit: Option<String>,
    /// The sources differed from the commit.
    pub dirty: bool,
    /// The image the binaries went into.
    pub image: Option<Image>,
    /// Where the sources were and what they are called in a report.
    pub sources: Sources,
}

/// One instrumented program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binary {
    /// File name of the program.
    pub name: String,
    /// What its evidence is recognised by. `None` where it cannot be known
    /// before the program ran (Go, built for another machine).
    pub identity: Option<Identity>,
    /// Further identities of the same program: one made by `go test -c`
    /// has a meta-data hash, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_identities: Vec<Identity>,
    /// `bin/<name>`.
    pub path: String,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// `x86_64`, `aarch64`.
    pub arch: String,
    /// How its counters reach the disk.
    pub mode: Mode,
    /// With [`Mode::Ticker`]: how much of what a killed process counted last
    /// may be lost, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u32>,
}

/// How counters reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Counters live in a shared mapping of a file: LLVM's profile, or
    /// `covlive` of Go.
    Continuous,
    /// Go, of a release whose counters podcov cannot map: a snapshot at least
    /// every [`Binary::interval_ms`], and at exit.
    #[serde(alias = "snapshots")]
    Ticker,
    /// Only when the program ends by itself.
    AtExit,
    /// `go test -c`: a text profile when the test that runs main returns.
    TestMain,
}

/// The image of a component that is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// What production calls it: `localhost/website-operator:dev`.
    pub production: String,
    /// What ours is called: `localhost/website-operator-profile:dev`.
    pub reference: String,
    /// `sha256:…` of the manifest.
    pub digest: String,
    /// The archive that containerd, kind and docker load; relative to the
    /// bundle's folder.
    pub archive: String,
    /// The image's entry point.
    pub entrypoint: Vec<String>,
}

/// The sources a build read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// Absolute folder that paths in a report are relative to.
    pub root: String,
    /// Rewrites from what the coverage mapping says to a path below `root`:
    /// a prefix and what takes its place. The first that fits counts. For Go:
    /// module path and module folder.
    pub path_map: Vec<PathRule>,
    /// The counted source files, as kept below `src/`.
    pub files: Vec<SourceFile>,
}

/// One rewrite of the start of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRule {
    /// What the path starts with.
    pub from: String,
    /// What is put in its place; relative to the root of the sources.
    pub to: String,
}

/// One file of the source snapshot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceFile {
    /// Relative to the root of the sources, and below `src/` in the bundle.
    pub path: String,
    /// SHA-256 of its bytes, hex.
    pub sha256: String,
}

/// Where in a bundle the coverage mapping of an LLVM program is kept, which
/// explains its profiles when the program is gone. For its layout see
/// [`mapping_file`](crate::llvm::mapping_file).
pub fn mapping_path(identity: &Identity) -> String {
    format!("mapping/{}.mapping", identity.dir_name())
}

impl Bundle {
    /// The binary with this identity.
    pub fn binary(&self, identity: &Identity) -> Option<&Binary> {
        self.binaries.iter().find(|binary| {
            binary.identity.as_ref() == Some(identity) || binary.other_identities.contains(identity)
        })
    }
}

impl Sources {
    /// What a report calls the file that a profile calls `path`: rewritten by
    /// the first rule that fits, else relative to the root, else `None`.
    pub fn relative(&self, path: &str) -> Option<String> {
        let rewritten = self.path_map.iter().find_map(|rule| rule.apply(path));
        rewritten.or_else(|| below(path, &self.root).map(str::to_owned))
    }
}

impl PathRule {
    /// The path rewritten, or `None` where the rule does not fit.
    pub fn apply(&self, path: &str) -> Option<String> {
        let rest = below(path, &self.from)?;
        let to = self.to.trim_end_matches('/');
        Some(if to.is_empty() {
            rest.to_owned()
        } else {
            format!("{to}/{rest}")
        })
    }
}

/// The part of a path below a folder, by whole components.
fn below<'a>(path: &'a str, from: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(from)?;
    (from.is_empty() || from.ends_with('/') || rest.starts_with('/'))
        .then(|| rest.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_rewritten_by_whole_components() {
        let rule = |from: &str, to: &str| PathRule {
            from: from.into(),
            to: to.into(),
        };
        let sources = Sources {
            root: "/src/app".into(),
            path_map: vec![rule("example.org/op", "op"), rule("/build", "")],
            files: vec![],
        };
        let cases = [
            ("example.org/op/main.go", Some("op/main.go")),
            ("example.org/operator/main.go", None),
            ("/build/a.rs", Some("a.rs")),
            ("/src/app/src/main.rs", Some("src/main.rs")),
            ("/src/apple/main.rs", None),
        ];
        for (path, expected) in cases {
            assert_eq!(sources.relative(path).as_deref(), expected, "{path}");
        }
    }
}
