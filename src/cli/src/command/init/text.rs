//! The text of the new `podcov.toml`.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use podcov_profile::names::Language;

use super::programs::{Program, component_name};
use super::suite::Suite;

/// What is to be applied.
#[derive(Clone, Debug)]
pub enum Deploy {
    /// A folder with a kustomization.
    Kustomization {
        /// The folder.
        dir: PathBuf,
        /// Whether the names of its objects are known.
        rendered: bool,
    },
    /// Files, in this order.
    Manifests(Vec<PathBuf>),
}

/// All that the text is made of.
pub struct Found<'a> {
    /// The repository.
    pub root: &'a Path,
    /// Its programs.
    pub programs: &'a [Program],
    /// What is applied.
    pub deploy: &'a Deploy,
    /// Helm charts.
    pub charts: &'a [PathBuf],
    /// What exercises the composition.
    pub suite: &'a Suite,
}

/// The file, with comments.
pub fn podcov_toml(found: &Found<'_>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut text, found);
    text
}

fn quote(text: &str) -> String {
    // TOML's basic strings escape as JSON's do.
    serde_json::Value::String(text.to_owned()).to_string()
}

fn write_all(out: &mut String, found: &Found<'_>) -> fmt::Result {
    let name = found
        .root
        .file_name()
        .map_or("composition".to_owned(), |n| n.to_string_lossy().into());
    writeln!(
        out,
        "# What podcov measures here. `podcov schema` prints the JSON schema of this file.\n\n\
         [composition]\n# Everything below is counted together under this name.\nname = {}",
        quote(&component_name(&name))
    )?;
    let named = !matches!(
        found.deploy,
        Deploy::Kustomization {
            rendered: false,
            ..
        }
    );
    for program in found.programs {
        component(out, program, named)?;
    }
    writeln!(
        out,
        "\n[cluster]\n\
         # auto: kind if Docker and kind are here, else a Kubernetes that podcov brings (Linux, root).\n\
         provider = \"auto\"\n\
         # A cluster that exists already (docs/guide/existing.md); its nodes pull from the registry:\n\
         # provider = \"existing\"\n# context = \"…\"\n# registry = \"registry.example/team\"\n\n[deploy]"
    )?;
    deploy(out, found)?;
    writeln!(
        out,
        "# Pods of the composition's images that no manifest shows are patched when they are created:\n\
         # created: those of workloads with `created_by = {{ component = \"…\" }}`; all: those of every\n\
         # component with an image, as it takes where a package manager takes changes back; off.\n\
         inject = \"created\""
    )?;
    writeln!(
        out,
        "\n[e2e]\n# Runs with KUBECONFIG set, and with kubectl and the measured clients on PATH."
    )?;
    for line in &found.suite.about {
        writeln!(out, "# {line}")?;
    }
    let words: Vec<String> = found.suite.command.iter().map(|word| quote(word)).collect();
    writeln!(out, "command = [{}]\ntimeout = \"30m\"", words.join(", "))?;
    writeln!(
        out,
        "\n[filter]\n# Patterns of paths that are not counted.\nexclude = [\"**/zz_generated*\"]\n\n\
         # Thresholds; the exit status is 3 when one is missed.\n# [[gate]]\n\
         # metric = \"lines\"       # lines, functions, regions (Rust), statements (Go)\n\
         # min = 70.0\n# component = \"…\"       # default: the whole composition; or path = \"src/**\""
    )
}

fn component(out: &mut String, program: &Program, named: bool) -> fmt::Result {
    let Program {
        name,
        language,
        kind,
        manifest,
        package,
        binary,
        container,
        place,
    } = program;
    writeln!(
        out,
        "\n[[component]]\nname = {}\nlanguage = \"{language}\"",
        quote(name)
    )?;
    writeln!(
        out,
        "# operator: runs by itself; client: drives the others; workload: is created by one of them.\n\
         kind = \"{kind}\""
    )?;
    if *language == Language::Rust || !manifest.as_os_str().is_empty() {
        writeln!(out, "manifest = {}", quote(&manifest.display().to_string()))?;
    }
    writeln!(out, "package = {}", quote(package))?;
    if let Some(binary) = binary {
        writeln!(out, "binary = {}", quote(binary))?;
    }
    writeln!(
        out,
        "{}",
        match language {
            Language::Rust =>
                "# crates = [\"…\"]     # the crates to count; default: the members of the workspace",
            Language::Go =>
                "# coverpkg = [\"./...\"]   # the packages to count; the main package always is",
        }
    )?;
    let Some(container) = container else {
        return writeln!(
            out,
            "# image = \"…\"         # set it if the program runs in pods, as your manifests name it;\n\
             # if nothing of the e2e command runs it, leave the component out"
        );
    };
    writeln!(
        out,
        "# The image as your manifests name it; the measured one is called …-profile and never replaces it.\n\
         image = {}",
        quote(&container.image)
    )?;
    if let Some(place) = place {
        writeln!(
            out,
            "# Where the image has the program, because the manifest's `command` says so.\n\
             image_build = {{ program = {} }}",
            quote(place)
        )?;
    }
    if named {
        let workload = format!(
            "{}/{}:{}",
            container.kind, container.workload, container.name
        );
        writeln!(out, "workloads = [{}]", quote(&workload))?;
    }
    Ok(())
}

fn deploy(out: &mut String, found: &Found<'_>) -> fmt::Result {
    let below = |path: &Path| {
        let below = path.strip_prefix(found.root).unwrap_or(path);
        // The root itself is a folder, too.
        match below.as_os_str().is_empty() {
            true => ".".to_owned(),
            false => below.display().to_string(),
        }
    };
    match found.deploy {
        Deploy::Kustomization { dir, .. } => writeln!(
            out,
            "# Your kustomization; it is left as it is.\nkustomization = {}",
            quote(&below(dir))
        ),
        Deploy::Manifests(files) => {
            if let (true, Some(chart)) = (files.is_empty(), found.charts.first()) {
                writeln!(
                    out,
                    "# From your chart: helm template {} > podcov-manifests.yaml, and name that file here.",
                    below(chart)
                )?;
            }
            let files: Vec<String> = files.iter().map(|file| quote(&below(file))).collect();
            writeln!(
                out,
                "# Your manifests, in the order in which they are applied; or `kustomization = \"folder\"`.\n\
                 manifests = [{}]",
                files.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use podcov_cluster::discover::Container;
    use podcov_profile::names::Kind;

    use super::*;

    #[test]
    fn it_is_read_back_as_it_was_meant() {
        let program = Program {
            name: "memcached".into(),
            binary: Some("manager".into()),
            language: Language::Go,
            kind: Kind::Operator,
            manifest: PathBuf::new(),
            package: "./cmd".into(),
            container: Some(Container {
                file: PathBuf::new(),
                kind: "Deployment".into(),
                workload: "p-controller-manager".into(),
                name: "manager".into(),
                image: "controller:latest".into(),
                command: vec!["/manager".into()],
                path: String::new(),
            }),
            place: Some("/manager".into()),
        };
        let suite = Suite {
            command: vec!["sh".into(), "-c".into(), "a \"b\"".into()],
            about: vec!["why".into()],
        };
        let deploy = Deploy::Manifests(vec!["/r/yaml/crd.yaml".into(), "/r/yaml/d.yaml".into()]);
        let found = Found {
            root: Path::new("/r"),
            programs: &[program],
            deploy: &deploy,
            charts: &[],
            suite: &suite,
        };
        let text = podcov_toml(&found);
        let file: crate::config::File = toml::from_str(&text).unwrap();
        let component = &file.components[0];
        assert_eq!(component.image_build.program.as_deref(), Some("/manager"));
        assert_eq!(
            component.workloads[0].get_ref(),
            "Deployment/p-controller-manager:manager"
        );
        let manifests: Vec<_> = file
            .deploy
            .manifests
            .iter()
            .map(|m| m.get_ref().clone())
            .collect();
        assert_eq!(
            manifests,
            [Path::new("yaml/crd.yaml"), Path::new("yaml/d.yaml")]
        );
        assert_eq!(file.e2e.command[2], "a \"b\"");
        assert!(text.contains("# why\ncommand"), "{text}");
    }
}
