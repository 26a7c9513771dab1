//! The programs of a repository, and the containers that run them.

use std::path::{Path, PathBuf};

use podcov_cluster::discover::Container;
use podcov_process::Run;
use podcov_profile::names::{Kind, Language};

use crate::ui::Ui;

/// A program of the repository.
#[derive(Clone, Debug)]
pub struct Program {
    /// What the component will be called.
    pub name: String,
    /// Rust: what cargo calls the program. Go: as the container starts it.
    pub binary: Option<String>,
    /// What it is written in.
    pub language: Language,
    /// What it is to the composition.
    pub kind: Kind,
    /// Cargo.toml, or the folder of the Go module; relative.
    pub manifest: PathBuf,
    /// cargo package, or Go's main package.
    pub package: String,
    /// What runs it.
    pub container: Option<Container>,
    /// Where the container's `command` has it, if that is not the default.
    pub place: Option<String>,
}

/// The programs of the cargo workspace at `root`.
pub fn rust(root: &Path, ui: &Ui) -> Vec<Program> {
    if !root.join("Cargo.toml").is_file() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for package in packages(root, ui) {
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
            let name = target["name"].as_str().unwrap_or_default();
            if !is_kind(target, "bin") || name == "xtask" {
                continue;
            }
            if is_generator(name) {
                ui.say(format!(
                    "note    rust program `{name}` looks like a generator and was left out"
                ));
                continue;
            }
            found.push(Program {
                name: component_name(name),
                binary: Some(name.to_owned()),
                language: Language::Rust,
                kind,
                manifest: manifest
                    .strip_prefix(root)
                    .unwrap_or(&manifest)
                    .to_path_buf(),
                package: package["name"].as_str().unwrap_or_default().to_owned(),
                container: None,
                place: None,
            });
        }
    }
    found
}

/// What cargo knows of the workspace at `root`.
pub fn packages(root: &Path, ui: &Ui) -> Vec<serde_json::Value> {
    let metadata = |offline: &[&str]| {
        let args = ["metadata", "--no-deps", "--format-version", "1"];
        Run::new("cargo")
            .args(args)
            .args(offline)
            .current_dir(root)
            .run()
    };
    let done = match metadata(&["--offline"]) {
        Ok(done) => done,
        Err(error) => {
            ui.say(format!("note    Rust programs were not looked at: {error}"));
            return Vec::new();
        }
    };
    let metadata: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap_or_default();
    metadata["packages"].as_array().cloned().unwrap_or_default()
}

/// Whether cargo calls a target this.
pub fn is_kind(target: &serde_json::Value, kind: &str) -> bool {
    target["kind"]
        .as_array()
        .is_some_and(|kinds| kinds.iter().any(|k| k == kind))
}

/// The programs of the Go modules at `root` and in the folders of it.
pub fn go(root: &Path, ui: &Ui) -> Vec<Program> {
    let mut modules: Vec<PathBuf> = Vec::new();
    for dir in std::iter::once(root.to_path_buf()).chain(sub_folders(root)) {
        if dir.join("go.mod").is_file() {
            modules.push(dir);
        }
    }
    let mut found = Vec::new();
    for module in modules {
        // It may have to download every dependency first.
        let step = ui.step("look", "go list");
        let format = "{{if eq .Name \"main\"}}{{.Dir}}\t{{.Module.Path}}{{end}}";
        let run = Run::new("go")
            .args(["list", "-e", "-f", format, "./..."])
            .current_dir(&module);
        let done = run.run();
        let text = match &done {
            Ok(done) => done.text(),
            Err(error) => {
                step.warn(format!("{} was not looked at: {error}", module.display()));
                continue;
            }
        };
        step.done("go list");
        let go_mod = fs_err::read_to_string(module.join("go.mod")).unwrap_or_default();
        let operator = go_mod.contains("sigs.k8s.io/controller-runtime");
        for line in text.lines() {
            let Some((dir, path)) = line.split_once('\t') else {
                continue;
            };
            let below = Path::new(dir)
                .strip_prefix(&module)
                .unwrap_or(Path::new(""));
            const HELPERS: [&str; 6] = ["hack", "tools", "test", "tests", "examples", "e2e"];
            if below.iter().any(|part| HELPERS.iter().any(|h| part == *h)) {
                continue;
            }
            // `cmd/main.go` and `main.go` are the module's own program.
            let last = below.file_name().map(|n| n.to_string_lossy().into_owned());
            let name = last.filter(|n| !is_generic(n)).unwrap_or_else(|| {
                let base = path.rsplit('/').find(|part| !is_version(part));
                base.unwrap_or(path).to_owned()
            });
            if is_generator(&name) {
                ui.say(format!(
                    "note    go program `{name}` looks like a generator and was left out"
                ));
                continue;
            }
            found.push(Program {
                name: component_name(&name),
                binary: None,
                language: Language::Go,
                kind: if operator {
                    Kind::Operator
                } else {
                    Kind::Client
                },
                manifest: module.strip_prefix(root).unwrap_or(&module).to_path_buf(),
                package: format!("./{}", below.display()),
                container: None,
                place: None,
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

/// A folder that says nothing of the program in it.
fn is_generic(folder: &str) -> bool {
    ["", "cmd", "manager", "main", "operator", "controller"].contains(&folder)
}

/// Programs that write manifests or code run on developers' machines only.
fn is_generator(name: &str) -> bool {
    let mut words = name.split(['-', '_']);
    words.any(|w| w == "generate" || w == "generator" || w.ends_with("gen") || w == "gencrd")
}

/// A name that components may have.
pub fn component_name(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    lower.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "-")
}

/// Gives components names of their own.
pub fn tell_apart(programs: &mut [Program]) {
    for index in 1..programs.len() {
        let taken = |name: &str, before: &[Program]| before.iter().any(|p| p.name == name);
        let wanted = programs[index].name.clone();
        let mut name = wanted.clone();
        let mut number = 2;
        while taken(&name, &programs[..index]) {
            name = format!("{wanted}-{number}");
            number += 1;
        }
        programs[index].name = name;
    }
}

/// Gives each program the container that most likely runs it: one that starts
/// it by its name, or whose image, workload or container has its name, else
/// the only one left.
pub fn assign(programs: &mut [Program], containers: &[Container]) {
    for program in programs.iter_mut() {
        let name = &program.name;
        let fits = |c: &&Container| {
            image_name(&c.image) == name
                || c.workload == *name
                || c.name == *name
                || started(c) == program.binary.as_deref().or(Some(name))
        };
        program.container = containers.iter().find(fits).cloned();
    }
    let taken: Vec<Container> = programs
        .iter()
        .filter_map(|p| p.container.clone())
        .collect();
    let mut free = containers
        .iter()
        .filter(|c| !taken.contains(c) && c.kind != "Job");
    if let (Some(container), None) = (free.next(), free.next()) {
        let mut without: Vec<&mut Program> = programs
            .iter_mut()
            .filter(|p| p.container.is_none())
            .collect();
        // Of several, the one that a scaffold makes is the operator.
        let own = |program: &Program| {
            program.language == Language::Go
                && is_generic(program.package.rsplit(['/', '.']).next().unwrap_or(""))
        };
        if without.len() > 1 && without.iter().filter(|p| own(p)).count() == 1 {
            without.retain(|p| own(p));
        }
        if let [program] = &mut without[..] {
            program.container = Some(container.clone());
        }
    }
    let runs = programs.iter().any(|p| p.container.is_some());
    for program in programs {
        match &program.container {
            Some(container) => {
                if !["Job", "CronJob"].contains(&container.kind.as_str()) {
                    program.kind = Kind::Operator;
                }
                if program.language == Language::Go {
                    program.binary = started(container).map(str::to_owned);
                }
                let binary = program.binary.as_deref().unwrap_or(&program.name);
                program.place = container
                    .command
                    .first()
                    .filter(|_| started(container).is_some())
                    .map(|command| match command.contains('/') {
                        true => command.clone(),
                        false => format!("/app/{command}"),
                    })
                    .filter(|place| place.starts_with('/') && *place != format!("/app/{binary}"));
            }
            // Where the others have pods, what has none is run by somebody.
            None if runs => program.kind = Kind::Client,
            None => {}
        }
    }
}

/// The program that a container's `command` names, unless that is a shell's.
fn started(container: &Container) -> Option<&str> {
    let command = container.command.first()?;
    let name = command.rsplit('/').next()?;
    let others = ["sh", "bash", "ash", "env", "tini", "dumb-init"];
    (!name.is_empty() && !name.contains('$') && !others.contains(&name)).then_some(name)
}

/// The last part of an image's name, without tag and digest.
pub fn image_name(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split(['@', ':']).next().unwrap_or(last)
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

    #[test]
    fn generators_are_told_from_operators() {
        for name in ["crdgen", "gen_crd-gen", "codegen", "crd-generator"] {
            assert!(is_generator(name), "{name}");
        }
        for name in ["controller", "general", "genesis-operator"] {
            assert!(!is_generator(name), "{name}");
        }
    }

    fn program(name: &str, language: Language, package: &str) -> Program {
        Program {
            name: name.into(),
            binary: (language == Language::Rust).then(|| name.into()),
            language,
            kind: Kind::Operator,
            manifest: PathBuf::new(),
            package: package.into(),
            container: None,
            place: None,
        }
    }

    fn container(workload: &str, name: &str, image: &str, command: &[&str]) -> Container {
        Container {
            file: PathBuf::new(),
            kind: "Deployment".into(),
            workload: workload.into(),
            name: name.into(),
            image: image.into(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            path: "/spec/template/spec/containers/0".into(),
        }
    }

    #[test]
    fn a_scaffolded_operator_gets_its_program_where_the_command_wants_it() {
        let mut programs = [
            program("memcached", Language::Go, "./cmd"),
            program("ctl", Language::Go, "./cmd/ctl"),
        ];
        let manager = container(
            "p-controller-manager",
            "manager",
            "controller:1",
            &["/manager"],
        );
        assign(&mut programs, std::slice::from_ref(&manager));
        assert_eq!(programs[0].container, Some(manager));
        assert_eq!(programs[0].binary.as_deref(), Some("manager"));
        assert_eq!(programs[0].place.as_deref(), Some("/manager"));
        assert_eq!(programs[1].container, None);
        assert_eq!(programs[1].kind, Kind::Client);
    }

    #[test]
    fn a_command_tells_which_program_a_container_runs() {
        let mut programs = [
            Program {
                kind: Kind::Client,
                ..program("op", Language::Rust, "op")
            },
            program("web", Language::Rust, "web"),
        ];
        let containers = [
            container("a", "main", "all:1", &["/usr/bin/web"]),
            container("b", "main", "all:1", &["op"]),
            container("c", "side", "proxy:1", &["/bin/sh", "-c", "op"]),
        ];
        assign(&mut programs, &containers);
        assert_eq!(programs[0].container.as_ref().unwrap().workload, "b");
        assert_eq!(programs[0].kind, Kind::Operator);
        assert_eq!(programs[0].place, None);
        assert_eq!(programs[1].place.as_deref(), Some("/usr/bin/web"));
    }

    #[test]
    fn two_programs_of_one_name_are_told_apart() {
        let mut programs =
            ["op", "op", "op-2", "op"].map(|name| program(name, Language::Rust, name));
        tell_apart(&mut programs);
        let names: Vec<_> = programs.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["op", "op-2", "op-2-2", "op-3"]);
    }
}
