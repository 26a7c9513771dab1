//! Runs cargo and listens to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cargo_metadata::diagnostic::DiagnosticLevel;
use cargo_metadata::{Message, Metadata, MetadataCommand, PackageId};
use podcov_process::{Cancel, Run};
use podcov_profile::bundle::Mode;
use sha2::{Digest, Sha256};

use super::profiles::Profiles;
use super::select::Selection;
use super::toolchain::Toolchain;
use crate::error::AtPath;
use crate::lock::{self, Lock};
use crate::{Component, Context, Error, keep, wrapper};

/// Part of the name of the target folder; raise it when the wrapper's flags
/// change, because cargo does not see them.
pub(crate) const FLAGS_VERSION: u32 = 1;
/// Names the program to be RUSTC_WRAPPER where podcov is used as a library.
pub(crate) const WRAPPER_EXE: &str = "PODCOV_EXE";
/// How much of the compiler's errors is shown.
const SHOWN_LINES: usize = 60;

/// What cargo left.
#[derive(Default)]
pub(super) struct Built {
    pub(super) executable: PathBuf,
    /// Where build scripts wrote, by package.
    pub(super) out_dirs: BTreeMap<PackageId, PathBuf>,
    /// Libraries, by package.
    pub(super) libraries: BTreeMap<PackageId, PathBuf>,
    /// Keeps the program what it is as long as it is looked at.
    #[allow(dead_code, reason = "held, not read")]
    pub(super) lock: Option<Lock>,
}

/// What cargo knows of a workspace, for the platform `target`.
pub(crate) fn metadata(
    component: &Component,
    manifest: &Path,
    target: Option<&str>,
    cancel: &Cancel,
) -> Result<Metadata, Error> {
    let dir = manifest.parent().unwrap_or(manifest);
    let mut command = MetadataCommand::new();
    command
        .manifest_path(manifest)
        .cargo_path("cargo")
        .current_dir(dir);
    let mut options: Vec<String> = Vec::new();
    if let Some(target) = target {
        options.extend(["--filter-platform".to_owned(), target.to_owned()]);
    }
    if !component.features.is_empty() {
        let features = qualified_features(component);
        options.extend(["--features".to_owned(), features.join(",")]);
    }
    command.other_options(options);
    let command = command.cargo_command();
    let run = Run::new(command.get_program())
        .args(command.get_args())
        .current_dir(dir);
    let done = component.environment(run).cancel(cancel).run()?;
    let text = done.text();
    let json = text
        .lines()
        .find(|line| line.starts_with('{'))
        .unwrap_or_default();
    MetadataCommand::parse(json).map_err(|error| Error::Answer {
        tool: "cargo metadata",
        what: error.to_string(),
    })
}

/// In a workspace, a feature belongs to a package.
fn qualified_features(component: &Component) -> Vec<String> {
    let qualify = |feature: &String| match &component.package {
        Some(package) if !feature.contains('/') => format!("{package}/{feature}"),
        _ => feature.clone(),
    };
    component.features.iter().map(qualify).collect()
}

/// The program that acts as RUSTC_WRAPPER: podcov itself, or what [`WRAPPER_EXE`]
/// names in `env` or in podcov's own environment.
pub(crate) fn find_wrapper(env: &[(String, String)]) -> Result<PathBuf, Error> {
    let asked = env.iter().rev().find(|(key, _)| key == WRAPPER_EXE);
    match asked
        .map(|(_, path)| path.into())
        .or_else(|| std::env::var_os(WRAPPER_EXE))
    {
        Some(path) => Ok(path.into()),
        None => std::env::current_exe().at("find", Path::new("podcov's own program")),
    }
}

/// Where instrumented output goes. Everything that cargo itself tells apart
/// (sources, features, profiles, the marks of what is counted) may share it.
fn target_dir(component: &Component, ctx: &Context, toolchain: &Toolchain) -> PathBuf {
    let mut hasher = Sha256::new();
    hasher.update(format!(
        "{FLAGS_VERSION}\n{}\n{}",
        toolchain.verbose, toolchain.target
    ));
    hasher.update(if component.statically {
        "\nstatic"
    } else {
        "\ndynamic"
    });
    ctx.cache
        .join(format!("rust-{}", &keep::hex(&hasher.finalize())[..12]))
}

pub(super) fn build(
    component: &Component,
    ctx: &Context,
    metadata: &Metadata,
    selection: &Selection,
    toolchain: &Toolchain,
    manifest: &Path,
) -> Result<Built, Error> {
    let target_dir = target_dir(component, ctx, toolchain);
    let lock = lock::hold(&target_dir, ctx)?;
    let target_dir = target_dir.canonicalize().at("find", &target_dir)?;
    let profile = component.cargo_profile.as_deref().unwrap_or("release");
    let profiles = Profiles::read(metadata.workspace_root.as_std_path(), profile);
    let mut run = Run::new("cargo")
        .args(["build", "--message-format=json", "--profile", profile])
        .args(["--target", &toolchain.target])
        .args([
            "--package",
            &selection.package.id.repr,
            "--bin",
            &selection.binary,
        ])
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target_dir);
    if !component.features.is_empty() {
        run = run.args(["--features", &qualified_features(component).join(",")]);
    }
    for package in &selection.counted {
        let (spec, codegen_units) = profiles.of(package);
        let mode = component.mode.unwrap_or(Mode::Continuous);
        let mark = wrapper::Marker {
            mode,
            codegen_units,
        }
        .encode();
        let spec = spec.replace('\\', "\\\\").replace('"', "\\\"");
        run = run.arg("--config");
        run = run.arg(format!(
            "profile.{profile}.package.\"{spec}\".codegen-units={mark}"
        ));
    }
    if toolchain.has_build_dir {
        run = run.env("CARGO_BUILD_BUILD_DIR", &target_dir);
    }
    let log = Mutex::new(Log::default());
    let result = component
        .environment(run)
        .current_dir(manifest.parent().unwrap_or(manifest))
        .env("RUSTC_WRAPPER", find_wrapper(&component.env)?)
        .env(wrapper::ENABLED, "1")
        .env(
            wrapper::STATIC,
            if component.statically { "1" } else { "0" },
        )
        .env(
            wrapper::NEXT,
            toolchain.wrapper.as_deref().unwrap_or(Path::new("")),
        )
        .env_remove(wrapper::CRATES)
        // "132/210" comes from cargo's progress bar and from nowhere else.
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "120")
        .env("CARGO_TERM_COLOR", "never")
        .cancel(ctx.cancel)
        .each_line(|line| {
            if let Ok(mut log) = log.lock()
                && let Some(status) = log.line(line, &selection.binary)
            {
                ctx.progress.status(&status);
            }
        })
        .run();
    let log = log
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    match result {
        Ok(_) => {}
        Err(podcov_process::Error::Failed { .. }) => {
            return Err(compile_error(component, log.errors()));
        }
        Err(error) => return Err(error.into()),
    }
    let mut built = log.built;
    if built.executable.as_os_str().is_empty() {
        let what = format!("no message about the program `{}`", selection.binary);
        return Err(Error::Answer {
            tool: "cargo build",
            what,
        });
    }
    built.lock = Some(lock);
    Ok(built)
}

fn compile_error(component: &Component, mut output: String) -> Error {
    if component.statically && output.contains("linking with") {
        output += "\nhint: podcov links everything into one program; a library that only exists \
                   as .so needs `static = false`";
    }
    if output.contains("profiler_builtins") {
        output += "\nhint: this rustc has no profiler runtime; use a toolchain of rustup's";
    }
    Error::Compile {
        component: component.name.clone(),
        tool: "cargo build",
        output,
    }
}

/// What cargo says while it builds.
#[derive(Default)]
struct Log {
    built: Built,
    rendered: Vec<String>,
    plain: Vec<String>,
    progress: Option<(u32, u32)>,
}

impl Log {
    /// Takes a line of stdout (JSON) or stderr; gives what there is to tell.
    fn line(&mut self, line: &str, binary: &str) -> Option<String> {
        if line.starts_with('{') {
            if let Ok(message) = serde_json::from_str::<Message>(line) {
                self.message(message, binary);
            }
            return None;
        }
        // The bar is redrawn in place; what counts comes after the last \r.
        for part in line.split('\r') {
            if let Some(progress) = bar(part) {
                self.progress = Some(progress);
            }
        }
        let text = strip_control(line.rsplit('\r').next().unwrap_or(line));
        let text = text.trim();
        if let Some(what) = text.strip_prefix("Compiling ") {
            let what = what.split(" (").next().unwrap_or(what);
            return Some(match self.progress {
                Some((done, all)) => format!("compiling {what} ({done}/{all})"),
                None => format!("compiling {what}"),
            });
        }
        if let Some(what) = text
            .strip_prefix("Downloading ")
            .or(text.strip_prefix("Downloaded "))
        {
            return Some(format!("downloading {what}"));
        }
        if text.starts_with("Blocking ") {
            return Some("waiting for another cargo in the same folder".to_owned());
        }
        if !text.is_empty() && bar(text).is_none() {
            self.plain.push(text.to_owned());
        }
        None
    }

    fn message(&mut self, message: Message, binary: &str) {
        match message {
            Message::CompilerMessage(message) => {
                let level = message.message.level;
                if matches!(level, DiagnosticLevel::Error | DiagnosticLevel::Ice) {
                    self.rendered.extend(message.message.rendered);
                }
            }
            Message::CompilerArtifact(artifact) => {
                if let Some(program) = &artifact.executable
                    && artifact.target.is_bin()
                    && artifact.target.name == binary
                {
                    self.built.executable = program.clone().into();
                }
                let library = artifact
                    .filenames
                    .iter()
                    .find(|f| f.extension() == Some("rlib"));
                if let Some(library) = library {
                    self.built
                        .libraries
                        .insert(artifact.package_id, library.clone().into());
                }
            }
            Message::BuildScriptExecuted(script) => {
                self.built
                    .out_dirs
                    .insert(script.package_id, script.out_dir.into());
            }
            _ => {}
        }
    }

    /// The compiler's errors, or what cargo said if there is none.
    fn errors(&self) -> String {
        let from = if self.rendered.is_empty() {
            &self.plain
        } else {
            &self.rendered
        };
        let text = from.join("\n");
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        if lines.len() <= SHOWN_LINES {
            return lines.join("\n");
        }
        // The first error causes the others; the last lines say how many.
        let (first, last) = (&lines[..SHOWN_LINES - 10], &lines[lines.len() - 10..]);
        let left_out = lines.len() - SHOWN_LINES;
        format!(
            "{}\n… {left_out} lines …\n{}",
            first.join("\n"),
            last.join("\n")
        )
    }
}

/// "Building [==>  ] 12/210: kube" → (12, 210).
fn bar(text: &str) -> Option<(u32, u32)> {
    let (_, rest) = text.split_once("Building [")?;
    let numbers = rest
        .split_once("] ")?
        .1
        .split([':', ' ', '\u{1b}'])
        .next()?;
    let (done, all) = numbers.split_once('/')?;
    Some((done.trim().parse().ok()?, all.trim().parse().ok()?))
}

/// Without terminal sequences such as "erase the line".
fn strip_control(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            if chars.next_if_eq(&'[').is_some() {
                while chars.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
            }
        } else if !c.is_control() || c == '\t' {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_has_crate_and_numbers() {
        let mut log = Log::default();
        let line = "    Building [=>      ] 12/210: a, b\r\u{1b}[K   Compiling kube v5.0.0 (/x y)";
        assert_eq!(
            log.line(line, "op").as_deref(),
            Some("compiling kube v5.0.0 (12/210)")
        );
        assert!(log.errors().is_empty());
    }

    #[test]
    fn long_errors_keep_their_beginning_and_end() {
        let log = Log {
            plain: (0..200).map(|n| n.to_string()).collect(),
            ..Log::default()
        };
        let text = log.errors();
        assert!(
            text.starts_with("0\n1\n") && text.ends_with("\n199"),
            "{text}"
        );
        assert!(text.contains("… 140 lines …"));
    }
}
