//! `podcov init`: looks at a repository and writes what it needs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use podcov_cluster::discover::{self, Container};
use podcov_process::{Run, find_program};
use podcov_profile::names::{Kind, Language};

use crate::args::Init;
use crate::config::FILE_NAME;
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// The overlay components, as `overlays/` has them.
const OVERLAY_COMPONENTS: &[(&str, &str)] = &[
    (
        "environment/environment.yaml",
        include_str!("../../../../overlays/environment/environment.yaml"),
    ),
    (
        "environment/kustomization.yaml",
        include_str!("../../../../overlays/environment/kustomization.yaml"),
    ),
    (
        "environment/replacements.yaml",
        include_str!("../../../../overlays/environment/replacements.yaml"),
    ),
    (
        "profile-volume/kustomization.yaml",
        include_str!("../../../../overlays/profile-volume/kustomization.yaml"),
    ),
    (
        "profile-volume/replacements.yaml",
        include_str!("../../../../overlays/profile-volume/replacements.yaml"),
    ),
    (
        "profile-volume/volume.yaml",
        include_str!("../../../../overlays/profile-volume/volume.yaml"),
    ),
];

/// A program of the repository.
struct Program {
    name: String,
    language: Language,
    kind: Kind,
    /// Cargo.toml, or the folder of the Go module; relative.
    manifest: PathBuf,
    /// cargo package, or Go's main package.
    package: String,
    container: Option<Container>,
}

/// Runs the command.
pub fn init(args: &Init, ui: &Ui) -> Result<Exit, Failure> {
    let root = args.dir.canonicalize().map_err(|error| {
        Failure::new(
            Exit::Usage,
            format!("cannot look at `{}`: {error}", args.dir.display()),
        )
    })?;
    let mut programs = rust_programs(&root, ui);
    programs.extend(go_programs(&root, ui));
    if programs.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            format!("found no program in `{}`", args.dir.display()),
        )
        .help("expected a Cargo.toml with a binary, or a go.mod with a main package"));
    }
    let manifests = discover::manifests(&root);
    let kustomization = manifests.kustomizations.first().cloned();
    let containers = kustomization
        .as_deref()
        .and_then(|dir| discover::rendered(&find_program("kubectl")?, dir))
        .unwrap_or(manifests.containers);
    assign(&mut programs, &containers);
    for program in &programs {
        let Program {
            name,
            language,
            kind,
            ..
        } = program;
        ui.say(format!(
            "found   {language} program `{name}`  → component ({kind})"
        ));
        if let Some(container) = &program.container {
            let Container {
                kind,
                workload,
                name,
                image,
                ..
            } = container;
            ui.say(format!(
                "found   {kind}/{workload} container {name}, image {image}"
            ));
        }
    }
    let e2e = e2e_command(&root);
    let below = |path: &Path| path.strip_prefix(&root).unwrap_or(path).to_path_buf();
    let text = podcov_toml(
        &root,
        &programs,
        kustomization.as_deref().map(below),
        &containers,
        &e2e,
    );
    let mut files = vec![(PathBuf::from(FILE_NAME), text)];
    if let Some(dir) = &kustomization {
        files.extend(overlay_files(&below(dir)));
    }
    if args.xtask {
        files.extend(xtask_files());
    }
    write_files(&root, &files, args.force, ui)?;
    ignore(&root, ui)?;
    if args.xtask {
        alias(&root, ui)?;
    }
    if e2e.is_empty() {
        ui.say("found   no e2e command  → fill in `[e2e] command`");
    }
    ui.say("next    read podcov.toml, then `podcov run`");
    Ok(Exit::Fine)
}

fn rust_programs(root: &Path, ui: &Ui) -> Vec<Program> {
    if !root.join("Cargo.toml").is_file() {
        return Vec::new();
    }
    let run = Run::new("cargo")
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(root);
    let Ok(done) = run.run() else {
        ui.say("note    `cargo metadata` failed; Rust programs were not looked at");
        return Vec::new();
    };
    let metadata: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap_or_default();
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let uses = |name: &str| {
            let dependencies = package["dependencies"].as_array();
            dependencies
                .into_iter()
                .flatten()
                .any(|d| d["name"] == name)
        };
        let kind = if uses("kube") {
            Kind::Operator
        } else {
            Kind::Client
        };
        let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap_or_default());
        for target in package["targets"].as_array().into_iter().flatten() {
            let bin = target["kind"]
                .as_array()
                .is_some_and(|k| k.iter().any(|k| k == "bin"));
            let name = target["name"].as_str().unwrap_or_default();
            if bin && name != "xtask" {
                found.push(Program {
                    name: name.to_owned(),
                    language: Language::Rust,
                    kind,
                    manifest: manifest
                        .strip_prefix(root)
                        .unwrap_or(&manifest)
                        .to_path_buf(),
                    package: package["name"].as_str().unwrap_or_default().to_owned(),
                    container: None,
                });
            }
        }
    }
    found
}

fn go_programs(root: &Path, ui: &Ui) -> Vec<Program> {
    let mut modules: Vec<PathBuf> = Vec::new();
    for dir in std::iter::once(root.to_path_buf()).chain(sub_folders(root)) {
        if dir.join("go.mod").is_file() {
            modules.push(dir);
        }
    }
    let mut found = Vec::new();
    for module in modules {
        let format = "{{if eq .Name \"main\"}}{{.Dir}}\t{{.Module.Path}}{{end}}";
        let run = Run::new("go")
            .args(["list", "-e", "-f", format, "./..."])
            .current_dir(&module);
        let Ok(done) = run.run() else {
            ui.say(format!(
                "note    `go list` failed in {}; it was not looked at",
                module.display()
            ));
            continue;
        };
        let go_mod = fs_err::read_to_string(module.join("go.mod")).unwrap_or_default();
        let operator = go_mod.contains("sigs.k8s.io/controller-runtime");
        for line in done.text().lines() {
            let Some((dir, path)) = line.split_once('\t') else {
                continue;
            };
            let below = Path::new(dir)
                .strip_prefix(&module)
                .unwrap_or(Path::new(""));
            let helper = ["hack", "tools", "test", "tests", "examples"];
            if below
                .iter()
                .next()
                .is_some_and(|first| helper.iter().any(|h| first == *h))
            {
                continue;
            }
            // `cmd/main.go` and `main.go` are the module's own program.
            let generic = ["", "cmd", "manager", "main", "operator"];
            let last = below.file_name().map(|n| n.to_string_lossy().into_owned());
            let name = last
                .filter(|n| !generic.contains(&n.as_str()))
                .unwrap_or_else(|| {
                    let base = path
                        .rsplit('/')
                        .find(|part| !is_version(part))
                        .unwrap_or(path);
                    base.to_owned()
                });
            found.push(Program {
                name: component_name(&name),
                language: Language::Go,
                kind: if operator {
                    Kind::Operator
                } else {
                    Kind::Client
                },
                manifest: module.strip_prefix(root).unwrap_or(&module).to_path_buf(),
                package: format!("./{}", below.display()),
                container: None,
            });
        }
    }
    found
}

fn sub_folders(root: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = fs_err::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()))
        .map(|entry| entry.path())
        .filter(|path| !path.ends_with("vendor") && !path.ends_with("node_modules"))
        .collect();
    folders.sort();
    folders
}

fn is_version(part: &str) -> bool {
    part.strip_prefix('v')
        .is_some_and(|n| n.chars().all(|c| c.is_ascii_digit()) && !n.is_empty())
}

fn component_name(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    lower.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "-")
}

/// Gives each program the container that most likely runs it: one whose image,
/// workload or container has its name, else the only one left.
fn assign(programs: &mut [Program], containers: &[Container]) {
    for program in programs.iter_mut() {
        let name = &program.name;
        program.container = containers
            .iter()
            .find(|c| image_name(&c.image) == name || c.workload == *name || c.name == *name)
            .cloned();
    }
    let taken: Vec<Container> = programs
        .iter()
        .filter_map(|p| p.container.clone())
        .collect();
    let mut free = containers
        .iter()
        .filter(|c| !taken.contains(c) && c.kind != "Job");
    let mut without = programs.iter_mut().filter(|p| p.container.is_none());
    if let (Some(container), None) = (free.next(), free.next())
        && let (Some(program), None) = (without.next(), without.next())
    {
        program.container = Some(container.clone());
        program.kind = Kind::Operator;
    }
}

/// The last part of an image's name, without tag and digest.
fn image_name(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split(['@', ':']).next().unwrap_or(last)
}

fn e2e_command(root: &Path) -> Vec<String> {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect();
    if root.join("tests/e2e.rs").is_file() || root.join("tests/e2e/main.rs").is_file() {
        return words("cargo test --test e2e");
    }
    if root.join("test/e2e").is_dir() && root.join("go.mod").is_file() {
        return words("go test ./test/e2e/... -v");
    }
    Vec::new()
}

fn quote(text: &str) -> String {
    // TOML's basic strings escape as JSON's do.
    serde_json::Value::String(text.to_owned()).to_string()
}

fn podcov_toml(
    root: &Path,
    programs: &[Program],
    kustomization: Option<PathBuf>,
    containers: &[Container],
    e2e: &[String],
) -> String {
    let name = root
        .file_name()
        .map_or("composition".to_owned(), |n| n.to_string_lossy().into());
    let mut text = String::new();
    let out = &mut text;
    let _ = writeln!(
        out,
        "# What podcov measures here. `podcov schema` prints the JSON schema of this file.\n"
    );
    let _ = writeln!(
        out,
        "[composition]\n# Everything below is counted together under this name."
    );
    let _ = writeln!(out, "name = {}", quote(&component_name(&name)));
    for program in programs {
        let Program {
            name,
            language,
            kind,
            manifest,
            package,
            container,
        } = program;
        let _ = writeln!(
            out,
            "\n[[component]]\nname = {}",
            quote(&component_name(name))
        );
        let _ = writeln!(out, "language = \"{language}\"");
        let _ = writeln!(
            out,
            "# operator: runs by itself; client: drives the others; workload: is created by one of them."
        );
        let _ = writeln!(out, "kind = \"{kind}\"");
        if *language == Language::Rust {
            let _ = writeln!(out, "manifest = {}", quote(&manifest.display().to_string()));
            let _ = writeln!(
                out,
                "package = {}\nbinary = {}",
                quote(package),
                quote(name)
            );
            let _ = writeln!(
                out,
                "# crates = [\"…\"]     # the crates to count; default: the members of the workspace"
            );
        } else {
            if !manifest.as_os_str().is_empty() {
                let _ = writeln!(out, "manifest = {}", quote(&manifest.display().to_string()));
            }
            let _ = writeln!(out, "package = {}", quote(package));
            let _ = writeln!(
                out,
                "# coverpkg = [\"./...\"]   # the packages to count; the main package always is"
            );
        }
        match container {
            Some(container) => {
                let _ = writeln!(
                    out,
                    "# The image as your manifests name it; the measured one is called …-profile and never replaces it."
                );
                let _ = writeln!(out, "image = {}", quote(&container.image));
                let workload = format!(
                    "{}/{}:{}",
                    container.kind, container.workload, container.name
                );
                let _ = writeln!(out, "workloads = [{}]", quote(&workload));
            }
            None => {
                let _ = writeln!(
                    out,
                    "# image = \"…\"         # set it if the program runs in pods, as your manifests name it"
                );
            }
        }
    }
    let _ = writeln!(
        out,
        "\n[cluster]\n# auto: kind if Docker and kind are here, else a Kubernetes that podcov brings (Linux, root)."
    );
    let _ = writeln!(out, "provider = \"auto\"\n\n[deploy]");
    match kustomization {
        Some(dir) => {
            let _ = writeln!(out, "# Your kustomization; it is left as it is.");
            let _ = writeln!(out, "kustomization = {}", quote(&dir.display().to_string()));
        }
        None => {
            let mut files: Vec<&Path> = containers.iter().map(|c| c.file.as_path()).collect();
            files.dedup();
            let below = |f: &&Path| quote(&f.strip_prefix(root).unwrap_or(f).display().to_string());
            let list: Vec<String> = files.iter().map(below).collect();
            let _ = writeln!(
                out,
                "# Your manifests, or `kustomization = \"folder\"`.\nmanifests = [{}]",
                list.join(", ")
            );
        }
    }
    let words: Vec<String> = e2e.iter().map(|word| quote(word)).collect();
    let _ = writeln!(
        out,
        "\n[e2e]\n# Runs with KUBECONFIG set, and with kubectl and the measured clients on PATH."
    );
    let _ = writeln!(out, "command = [{}]\ntimeout = \"30m\"", words.join(", "));
    let _ = writeln!(
        out,
        "\n[filter]\n# Patterns of paths that are not counted.\nexclude = [\"**/zz_generated*\"]"
    );
    let _ = writeln!(
        out,
        "\n# Thresholds; the exit status is 3 when one is missed.\n# [[gate]]\n# metric = \"lines\"       # lines, functions, regions (Rust), statements (Go)\n# min = 70.0\n# component = \"…\"       # default: the whole composition; or path = \"src/**\""
    );
    text
}

/// The overlay for use by hand; `podcov run` makes its own from podcov.toml.
fn overlay_files(kustomization: &Path) -> Vec<(PathBuf, String)> {
    let up: String = ["..", ".."].join("/");
    let base = format!("{up}/{}", kustomization.display());
    let mut files = vec![(
        PathBuf::from("overlays/profile/kustomization.yaml"),
        format!(
            "# Your kustomization with a profile volume under every pod, for `kubectl apply -k`.\n\
             # `podcov run` does not need it: `podcov overlay` makes an exact one for each run.\n\
             apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- {base}\n- settings.yaml\n\
             components:\n- components/environment\n- components/profile-volume\n"
        ),
    )];
    for (path, text) in OVERLAY_COMPONENTS {
        files.push((
            Path::new("overlays/profile/components").join(path),
            (*text).to_owned(),
        ));
    }
    files.push((
        PathBuf::from("overlays/profile/settings.yaml"),
        include_str!("../../../../overlays/example/settings.yaml").to_owned(),
    ));
    files
}

fn xtask_files() -> Vec<(PathBuf, String)> {
    let manifest = "[package]\nname = \"xtask\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n# Not a member of a workspace above it.\n[workspace]\n";
    vec![
        (PathBuf::from("xtask/Cargo.toml"), manifest.to_owned()),
        (
            PathBuf::from("xtask/src/main.rs"),
            include_str!("init_xtask.rs.txt").to_owned(),
        ),
    ]
}

fn write_files(
    root: &Path,
    files: &[(PathBuf, String)],
    force: bool,
    ui: &Ui,
) -> Result<(), Failure> {
    let there: Vec<&PathBuf> = files
        .iter()
        .map(|f| &f.0)
        .filter(|f| root.join(f).exists())
        .collect();
    if let (Some(first), false) = (there.first(), force) {
        return Err(Failure::new(
            Exit::Usage,
            format!("`{}` is there already", first.display()),
        )
        .help("nothing was written; `--force` overwrites it"));
    }
    for (path, text) in files {
        let full = root.join(path);
        let made = full.parent().map_or(Ok(()), fs_err::create_dir_all);
        made.and_then(|()| fs_err::write(&full, text))
            .map_err(|error| {
                Failure::new(
                    Exit::Usage,
                    format!("cannot write `{}`: {error}", full.display()),
                )
            })?;
        ui.say(format!(
            "wrote   {} ({} lines)",
            path.display(),
            text.lines().count()
        ));
    }
    Ok(())
}

fn append(root: &Path, file: &str, lines: &[&str], ui: &Ui) -> Result<(), Failure> {
    let path = root.join(file);
    let mut text = fs_err::read_to_string(&path).unwrap_or_default();
    let missing: Vec<&&str> = lines
        .iter()
        .filter(|l| !text.lines().any(|have| have == **l))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for line in &missing {
        text.push_str(line);
        text.push('\n');
    }
    let made = path.parent().map_or(Ok(()), fs_err::create_dir_all);
    made.and_then(|()| fs_err::write(&path, text))
        .map_err(|e| {
            Failure::new(
                Exit::Usage,
                format!("cannot write `{}`: {e}", path.display()),
            )
        })?;
    ui.say(format!("wrote   {file} (+{})", missing.len()));
    Ok(())
}

fn ignore(root: &Path, ui: &Ui) -> Result<(), Failure> {
    append(root, ".gitignore", &["/profiles/", "/.podcov/"], ui)
}

fn alias(root: &Path, ui: &Ui) -> Result<(), Failure> {
    let path = root.join(".cargo/config.toml");
    let text = fs_err::read_to_string(&path).unwrap_or_default();
    let line = "xtask = \"run --quiet --manifest-path xtask/Cargo.toml --\"";
    if text.contains("xtask =") {
        return Ok(());
    }
    if text.contains("[alias]") {
        ui.say(format!(
            "next    add to [alias] in .cargo/config.toml: {line}"
        ));
        return Ok(());
    }
    append(root, ".cargo/config.toml", &["[alias]", line], ui)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_names_lose_registry_tag_and_digest() {
        for image in [
            "op",
            "op:dev",
            "localhost:5000/x/op:1",
            "r.example/op@sha256:00",
        ] {
            assert_eq!(image_name(image), "op", "{image}");
        }
    }

    #[test]
    fn a_version_suffix_is_no_name() {
        assert!(is_version("v2"));
        assert!(!is_version("v"));
        assert!(!is_version("vault"));
    }
}
