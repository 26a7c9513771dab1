//! What is typed in `podcov.toml`; the doc comments are the JSON schema's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use podcov_profile::names::{Kind, Language};
use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

/// What was typed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// What is measured together.
    pub composition: Composition,
    /// The programs of the composition.
    #[serde(default, rename = "component")]
    pub components: Vec<Component>,
    /// Where it runs.
    #[serde(default)]
    pub cluster: Cluster,
    /// How it gets into the cluster.
    #[serde(default)]
    pub deploy: Deploy,
    /// What exercises it.
    #[serde(default)]
    pub e2e: E2e,
    /// How it is stopped.
    #[serde(default)]
    pub stop: Stop,
    /// What is counted.
    #[serde(default)]
    pub filter: Filter,
    /// What is demanded of the evidence.
    #[serde(default)]
    pub evidence: Evidence,
    /// The thresholds.
    #[serde(default, rename = "gate")]
    pub gates: Vec<Gate>,
}

/// What is measured together.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Composition {
    /// Name of the composition, in reports and of the cluster.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
}

/// One program.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Its name, unique in the composition.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// The language it is written in.
    #[schemars(with = "LanguageName")]
    pub language: Language,
    /// What it is to the composition: runs by itself, drives the others, or
    /// is created by one of them. Default: operator.
    #[serde(default = "operator")]
    #[schemars(with = "KindName")]
    pub kind: Kind,
    /// Rust: path of its `Cargo.toml`. Go: folder of its module. Relative to
    /// `podcov.toml`; default: the folder of `podcov.toml`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub manifest: Option<Spanned<PathBuf>>,
    /// Rust: the cargo package. Go: the main package, such as `./cmd/manager`.
    #[serde(default)]
    pub package: Option<String>,
    /// Name of the program; default: the only one of the package.
    #[serde(default)]
    pub binary: Option<String>,
    /// Rust: the crates to count; default: the members of the workspace.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub crates: Option<Spanned<Vec<String>>>,
    /// Go: the packages to count; the main package is always one of them.
    /// Default: `["./..."]`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub coverpkg: Option<Spanned<Vec<String>>>,
    /// Go: `cover` (`go build -cover`), or `test-main` (`go test -c` with a
    /// test that calls `main`).
    #[serde(default)]
    #[schemars(with = "Option<GoBuildName>")]
    pub build: Option<Spanned<GoBuildName>>,
    /// Go, `test-main`: the build tag of the file with the test.
    /// Default: `testrunmain`.
    #[serde(default)]
    pub test_main_tag: Option<String>,
    /// Build tags (Go) or cargo features (Rust).
    #[serde(default)]
    pub features: Vec<String>,
    /// Rust: the cargo profile; default: `dev`.
    #[serde(default)]
    pub cargo_profile: Option<String>,
    /// When counters reach the disk: `continuous` (default), at every moment, so that a
    /// kill loses none; or `at-exit`, only when the program ends by itself.
    #[serde(default)]
    pub mode: Option<ModeName>,
    /// Link statically, so that an image from scratch can run it.
    #[serde(default = "yes", rename = "static")]
    pub statically: bool,
    /// The production image. Ours gets the suffix `-profile`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub image: Option<Spanned<String>>,
    /// How the image is made.
    #[serde(default)]
    pub image_build: ImageBuild,
    /// Which containers run it: `Kind/name` or `Kind/name:container`.
    /// Default: every container whose image is `image`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub workloads: Vec<Spanned<String>>,
    /// The operator that creates its pods. The webhook patches them by their
    /// image, or, where it is named, an option of the operator does.
    #[serde(default)]
    #[schemars(with = "Option<CreatedBy>")]
    pub created_by: Option<Spanned<CreatedBy>>,
    /// Variables for the build.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// An operator that creates pods, and its option for them, if it has one.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatedBy {
    /// The operator that creates the pods.
    pub component: String,
    /// Its variable that takes a strategic-merge patch of the pod template.
    /// Default: it has none, and the webhook patches the pods.
    #[serde(default)]
    pub env: Option<String>,
    /// With `env`: the container in the created pods.
    #[serde(default)]
    pub container: Option<String>,
}

/// How the image of a component is made.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageBuild {
    /// `podcov` (default) needs no daemon; the others build your Dockerfile.
    #[serde(default)]
    pub builder: BuilderName,
    /// Base: a folder with an OCI layout, or an image archive.
    #[serde(default)]
    pub base: Option<PathBuf>,
    /// The Dockerfile, for the other builders. Default: `Dockerfile`.
    #[serde(default)]
    pub dockerfile: Option<PathBuf>,
    /// The build context, for the other builders. Default: `.`.
    #[serde(default)]
    pub context: Option<PathBuf>,
    /// Where the program is in the image, if the manifests' `command` names
    /// a path. Default: `/app/<binary>`.
    #[serde(default)]
    pub program: Option<String>,
    /// More files: from this machine to a path in the image.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// The user; default `65532:65532`.
    #[serde(default)]
    pub user: Option<String>,
    /// Arguments after the program, as CMD would give.
    #[serde(default)]
    pub args: Vec<String>,
}

/// Where the composition runs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// `auto` takes an existing cluster if one is named here, kind if Docker
    /// and kind are there, else the embedded one.
    #[serde(default)]
    pub provider: Provider,
    /// Name of the cluster; default: the composition's.
    #[serde(default)]
    pub name: Option<String>,
    /// existing: the kubeconfig.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// existing: the context in it.
    #[serde(default)]
    pub context: Option<String>,
    /// existing: the command that brings an image there, with `{archive}` and
    /// `{refs}` in it; none: the images are there or the nodes pull them.
    #[serde(default)]
    pub load_image: Vec<String>,
    /// existing, kind: podcov pushes the profile images there, and the nodes pull
    /// them: `registry.example/team`. Logged in with what `docker login` or
    /// `podman login` left here; plain http only on loopback or as
    /// `http://registry.example/team`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub registry: Option<Spanned<String>>,
    /// existing: the folder of runs (`profiles`) as the nodes see it; default:
    /// the same path.
    #[serde(default)]
    pub node_dir: Option<PathBuf>,
    /// kind: a configuration of your own to start from.
    #[serde(default)]
    pub kind_config: Option<PathBuf>,
    /// kind: the image of its nodes, which is the version of Kubernetes:
    /// `kindest/node:v1.34.0`. Default: kind's own.
    #[serde(default)]
    pub kind_image: Option<String>,
}

/// How the composition gets into the cluster.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    /// Folder with your kustomization; it is left as it is.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub kustomization: Option<Spanned<PathBuf>>,
    /// Plain manifests, instead of a kustomization.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub manifests: Vec<Spanned<PathBuf>>,
    /// Which pods a webhook in the cluster patches when they are created:
    /// `created` (default), those of components whose `created_by` names no
    /// option of the operator; `all`, those of every component with an
    /// `image`, also where a package manager takes changes back; `off`.
    #[serde(default)]
    pub inject: InjectName,
    /// The namespaces in which it does, besides those of your manifests: names,
    /// or beginnings of names with `*` behind. Default: every namespace in a
    /// cluster that podcov makes, none in an existing one.
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub inject_namespaces: Option<Spanned<Vec<String>>>,
    /// How long pods may take to become ready. Default: `3m`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub timeout: Option<Spanned<String>>,
}

/// What exercises the composition.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct E2e {
    /// Program and arguments. It finds `KUBECONFIG`, and on `PATH` a `kubectl`, this `podcov`
    /// and the measured clients.
    #[serde(default)]
    pub command: Vec<String>,
    /// Where it runs; default: the folder of `podcov.toml`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub directory: Option<Spanned<PathBuf>>,
    /// Variables for it.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Whose output tells which test runs, so that the report says which lines
    /// each test reached. `auto` (default) knows the runners by what they
    /// write; `off` records only what the suite says itself (`podcov phase`).
    #[serde(default)]
    pub phases: RunnerName,
    /// How long it may take. Default: `30m`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub timeout: Option<Spanned<String>>,
}

/// How the composition is stopped.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// How long custom resources and pods may take to go. Default: `90s`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub timeout: Option<Spanned<String>>,
}

/// What is counted.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Only files whose path fits one of these patterns.
    #[serde(default)]
    pub include: Vec<String>,
    /// No files whose path fits one of these patterns.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// What is demanded of the evidence.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// `tolerate` (default): lost evidence is told, and gives exit status 4
    /// only where a threshold hangs on it; `complete`: it always does.
    #[serde(default)]
    pub policy: Policy,
}

/// A threshold.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// What is counted.
    #[schemars(with = "MetricName")]
    pub metric: Spanned<MetricName>,
    /// The least percentage.
    #[schemars(with = "f64")]
    pub min: Spanned<f64>,
    /// Only this component.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub component: Option<Spanned<String>>,
    /// Only files whose path fits this pattern.
    #[serde(default)]
    pub path: Option<String>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        #[allow(missing_docs, reason = "the words are their own explanation")]
        pub enum $name { $($(#[$variant_doc])* $variant),* }
    };
}
words!(
    /// The languages.
    LanguageName { #[default] Rust, Go });
words!(
    /// The parts a component can play.
    KindName { #[default] Operator, Client, Workload });
words!(
    /// The ways to build Go.
    GoBuildName { #[default] Cover, TestMain });
words!(
    /// When counters reach the disk.
    ModeName { #[default] Continuous, AtExit });
words!(
    /// What makes images.
    BuilderName { #[default] Podcov, Docker, Podman, Buildah });
words!(
    /// Runners whose output is understood.
    RunnerName { #[default] Auto, Off, CargoTest, Nextest, GoTest, Ginkgo, Pytest, Tap });
words!(
    /// Where a cluster comes from.
    Provider { #[default] Auto, Embedded, Kind, Existing });
words!(
    /// Which pods are patched when they are created.
    InjectName { #[default] Created, All, Off });
words!(
    /// What lost evidence means.
    Policy { #[default] Tolerate, Complete });
words!(
    /// What a threshold counts.
    MetricName { #[default] Lines, Functions, Regions, Statements });

fn operator() -> Kind {
    Kind::Operator
}

fn yes() -> bool {
    true
}
