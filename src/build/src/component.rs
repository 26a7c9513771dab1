//! What a build is asked for.

use std::path::{Path, PathBuf};

use podcov_process::{Cancel, Progress, Run};
use podcov_profile::bundle::Mode;
use podcov_profile::names::{Kind, Language};

/// One component to build: an entry of `podcov.toml` with its defaults put in.
#[derive(Clone, Debug)]
pub struct Component {
    /// Its name in the composition; also the name of its bundle's folder.
    pub name: String,
    /// Decides how it is built.
    pub language: Language,
    /// Its part in the composition.
    pub kind: Kind,
    /// The folder of `podcov.toml`; other paths are relative to it.
    pub root: PathBuf,
    /// Rust: `Cargo.toml`. Go: the folder of the module. Default: `root`'s.
    pub manifest: Option<PathBuf>,
    /// Rust: the cargo package. Go: the main package, e.g. `./cmd/manager`.
    pub package: Option<String>,
    /// The program's name. Rust: the binary target; Go: what the file is
    /// called (default: what `go build` would call it).
    pub binary: Option<String>,
    /// Rust: the packages to count. Default: the members of the workspace.
    pub crates: Vec<String>,
    /// Go: the packages to count; main is always among them. Default: the
    /// packages of the module.
    pub coverpkg: Vec<String>,
    /// Go: how the program is made.
    pub go_build: GoBuild,
    /// Rust: the cargo profile. Default: `release`, which is what images hold.
    pub cargo_profile: Option<String>,
    /// Rust: cargo features to switch on.
    pub features: Vec<String>,
    /// How counters reach the disk, if not in the best way there is; only
    /// [`Mode::AtExit`] makes a difference.
    pub mode: Option<Mode>,
    /// Link everything into the program, so that it runs in an empty image.
    pub statically: bool,
    /// The image to make of it.
    pub image: Option<crate::ImageSpec>,
    /// Go: build tags.
    pub tags: Vec<String>,
    /// Go: linker flags, as one would give them to `go build -ldflags`.
    pub ldflags: Option<String>,
    /// Environment of the build, on top of podcov's own.
    pub env: Vec<(String, String)>,
}

/// How a Go program is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum GoBuild {
    /// `go build -cover`.
    #[default]
    Cover,
    /// `go test -c` of a test that calls main: the way before Go 1.20.
    TestMain {
        /// Build tag of the file that has the test. Without it the file is
        /// taken to be there in every build.
        tag: Option<String>,
        /// The test's name.
        run: String,
    },
}

impl GoBuild {
    /// The test that calls main where nothing else is said.
    pub const TEST: &str = "TestRunMain";

    /// Arguments that come before the program's own. The launcher puts the
    /// incarnation's folder in, so each start writes a profile of its own.
    pub(crate) fn arguments(&self) -> Vec<String> {
        match self {
            GoBuild::Cover => Vec::new(),
            GoBuild::TestMain { run, .. } => vec![
                format!("-test.run=^{run}$"),
                "-test.coverprofile=@PODCOV_DIR@/coverage.out".to_owned(),
            ],
        }
    }
}

impl Component {
    /// A component with nothing but defaults.
    pub fn new(name: &str, language: Language, root: &Path) -> Self {
        Component {
            name: name.to_owned(),
            language,
            kind: Kind::Operator,
            root: root.to_owned(),
            manifest: None,
            package: None,
            binary: None,
            crates: Vec::new(),
            coverpkg: Vec::new(),
            go_build: GoBuild::Cover,
            cargo_profile: None,
            features: Vec::new(),
            mode: None,
            statically: true,
            image: None,
            tags: Vec::new(),
            ldflags: None,
            env: Vec::new(),
        }
    }
}

impl Component {
    /// Gives `run` the component's environment.
    pub(crate) fn environment<'a>(&self, run: Run<'a>) -> Run<'a> {
        self.env
            .iter()
            .fold(run, |run, (key, value)| run.env(key, value))
    }
}

/// What all builds of a composition share.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Instrumented output and overlays, kept from run to run: `.podcov/`.
    pub cache: &'a Path,
    /// Where bundles go: `…/bundle`.
    pub bundles: &'a Path,
    /// Where to say how far it is.
    pub progress: &'a dyn Progress,
    /// Ends the build when set.
    pub cancel: &'a Cancel,
}
