//! `podcov init`: looks at a repository and writes what it needs.

mod by_hand;
mod programs;
mod suite;
mod text;

use std::path::{Path, PathBuf};

use podcov_cluster::discover::{self, Container, Manifests};

use crate::args::Init;
use crate::config::FILE_NAME;
use crate::exit::{Exit, Failure};
use crate::ui::Ui;
use programs::Program;
use text::{Deploy, Found};

/// How many kustomizations are rendered in search of one with workloads.
const TRIED: usize = 8;

/// Runs the command.
pub fn init(args: &Init, ui: &Ui) -> Result<Exit, Failure> {
    let root = args.dir.canonicalize().map_err(|error| {
        Failure::new(
            Exit::Usage,
            format!("cannot look at `{}`: {error}", args.dir.display()),
        )
    })?;
    let mut programs = programs::rust(&root, ui);
    programs.extend(programs::go(&root, ui));
    if programs.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            format!("found no program in `{}`", args.dir.display()),
        )
        .help("expected a Cargo.toml with a binary, or a go.mod with a main package"));
    }
    programs::tell_apart(&mut programs);
    let manifests = discover::manifests(&root);
    let (deploy, containers) = to_deploy(&manifests, ui);
    programs::assign(&mut programs, &containers);
    say_programs(&programs, &containers, ui);
    let suite = suite::find(&root, &manifests.samples, ui);
    let found = Found {
        root: &root,
        programs: &programs,
        deploy: &deploy,
        charts: &manifests.charts,
        suite: &suite,
    };
    let mut files = vec![(PathBuf::from(FILE_NAME), text::podcov_toml(&found))];
    if let Deploy::Kustomization { dir, .. } = &deploy {
        let below = dir.strip_prefix(&root).unwrap_or(dir);
        files.extend(by_hand::files(below, &programs));
    }
    if args.xtask {
        files.extend(xtask_files());
    }
    write_files(&root, &files, args.force, ui)?;
    ignore(&root, ui)?;
    if args.xtask {
        alias(&root, ui)?;
    }
    match (suite.about.first(), suite.command.is_empty()) {
        (_, true) => ui.say("found   no e2e command  → fill in `[e2e] command`"),
        (Some(_), _) => ui.say("note    `[e2e] command` applies your samples; it says why"),
        _ => {}
    }
    ui.say("next    read podcov.toml, then `podcov run`");
    Ok(Exit::Fine)
}

/// What is applied, and the containers in it.
fn to_deploy(manifests: &Manifests, ui: &Ui) -> (Deploy, Vec<Container>) {
    let candidates = manifests.kustomizations.iter();
    match (discover::kubectl(), manifests.kustomizations.first()) {
        (Some(kubectl), _) => {
            for dir in candidates.take(TRIED) {
                let containers = discover::rendered(&kubectl, dir).unwrap_or_default();
                if !containers.is_empty() {
                    let dir = dir.clone();
                    return (
                        Deploy::Kustomization {
                            dir,
                            rendered: true,
                        },
                        containers,
                    );
                }
            }
        }
        (None, Some(dir)) => {
            ui.say(format!(
                "note    without kubectl, {} was not rendered: check `image` in podcov.toml",
                dir.display()
            ));
            let dir = dir.clone();
            let containers = manifests.containers.clone();
            return (
                Deploy::Kustomization {
                    dir,
                    rendered: false,
                },
                containers,
            );
        }
        (None, None) => {}
    }
    (
        Deploy::Manifests(manifests.files.clone()),
        manifests.containers.clone(),
    )
}

fn say_programs(programs: &[Program], containers: &[Container], ui: &Ui) {
    for program in programs {
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
    let free = |c: &&Container| !programs.iter().any(|p| p.container.as_ref() == Some(c));
    for Container {
        kind,
        workload,
        name,
        image,
        ..
    } in containers.iter().filter(free)
    {
        ui.say(format!(
            "note    {kind}/{workload} container {name}, image {image}: no program was found for it"
        ));
    }
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
