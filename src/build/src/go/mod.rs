//! Go components: the go command, with files of podcov's beside those of the
//! standard library.

pub(crate) mod list;
pub(crate) mod overlay;
mod sources;
mod test_main;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use podcov_process::Run;
use podcov_profile::Identity;
use podcov_profile::bundle::{Binary, Bundle, SCHEMA};
use podcov_profile::names::Language;

use crate::error::AtPath;
use crate::keep::Keep;
use crate::program::{self, Program};
use crate::{Component, Context, Error, GoBuild, git, lock};
use list::{Go, GoEnv, Package};
use overlay::{Counting, Overlay};

/// How long a program may take to start when it is asked what it is.
const IDENTIFY: Duration = Duration::from_secs(30);
/// How much of the compiler's errors is shown.
const SHOWN_LINES: usize = 60;

/// Builds a component and keeps what a report needs of it.
pub(crate) fn build(component: &Component, ctx: &Context) -> Result<Bundle, Error> {
    let mut tags = component.tags.clone();
    if let GoBuild::TestMain { tag: Some(tag), .. } = &component.go_build
        && !tags.contains(tag)
    {
        tags.push(tag.clone());
    }
    let dir = module_dir(component)?;
    let mut go = Go {
        component,
        dir,
        tags,
        cancel: ctx.cancel,
        goroot: None,
    };
    ctx.progress.status("reading the module");
    let env = go.settle(ctx.cache)?;
    let main = go.main_package()?;
    let patterns = patterns(component);
    let (counted, packages) = go.counted(&main, &patterns)?;
    let job = Job {
        go: &go,
        env: &env,
        main: &main,
        patterns: &patterns,
        packages,
        ctx,
    };
    let _lock = lock::hold(&job.cache(), ctx)?;
    let (file, counting) = job.compile()?;

    let program = program::inspect(&file)?;
    if !program.go_coverage {
        let what = "expected Go's coverage runtime, found none although `-cover` was given";
        return Err(Error::program(&file, what));
    }
    let keep = Keep::begin(ctx.bundles, &component.name)?;
    let covmeta = match counting.is_some() && program::runs_here(&program.arch) {
        true => identify(&file, &keep, ctx)?,
        false => None,
    };
    let name = job.program_name().to_owned();
    let (path, sha256) = keep.binary(&file, &name)?;
    let (identity, other_identities) = identities(component, &program, covmeta);
    ctx.progress.status("keeping the sources");
    let sources = sources::snapshot(component, &env, &counted).keep(&keep)?;
    let (commit, dirty) = git::state(env.gomod.parent().unwrap_or(&go.dir), ctx.cancel);
    let is_test = matches!(component.go_build, GoBuild::TestMain { .. });
    let (mode, interval_ms) = counting.unwrap_or(Counting::AtExit).mode(is_test);
    let arch = program.arch;
    let bundle = Bundle {
        schema: SCHEMA,
        component: component.name.clone(),
        language: Language::Go,
        kind: component.kind,
        binaries: vec![Binary {
            name,
            identity,
            other_identities,
            path,
            sha256,
            arch,
            mode,
            interval_ms,
        }],
        toolchain: format!("go version {} {}/{}", env.goversion, env.goos, env.goarch),
        llvm_major: None,
        commit,
        dirty,
        image: None,
        sources,
    };
    crate::finish(component, keep, bundle, ctx)
}

fn module_dir(component: &Component) -> Result<PathBuf, Error> {
    let path = match &component.manifest {
        Some(path) => component.root.join(path),
        None => component.root.clone(),
    };
    let dir = if path.is_file() {
        path.parent().unwrap_or(&path).to_owned()
    } else {
        path
    };
    dir.canonicalize().map_err(|error| {
        let what = format!(
            "expected the folder of a Go module at {}, found none ({error}); set `manifest` to it, \
             relative to podcov.toml",
            dir.display()
        );
        Error::configuration(&component.name, what)
    })
}

/// What to count: what was asked for, or the module.
pub(crate) fn patterns(component: &Component) -> Vec<String> {
    match &component.coverpkg[..] {
        [] => vec!["./...".to_owned()],
        asked => asked.to_vec(),
    }
}

/// The value of `-coverpkg`. Main is always there: without it Go instruments
/// the others, links no runtime for them, and says nothing.
pub(crate) fn coverpkg(main: &str, patterns: &[String]) -> String {
    let mut all = vec![main];
    all.extend(
        patterns
            .iter()
            .map(String::as_str)
            .filter(|pattern| *pattern != main),
    );
    all.join(",")
}

fn identities(
    component: &Component,
    program: &Program,
    covmeta: Option<Identity>,
) -> (Option<Identity>, Vec<Identity>) {
    let build_id = program.go_build_id.clone();
    match component.go_build {
        // A text profile has no hash in it; the launcher says what it started.
        GoBuild::TestMain { .. } => (build_id, covmeta.into_iter().collect()),
        GoBuild::Cover => (covmeta, build_id.into_iter().collect()),
    }
}

/// One compilation.
struct Job<'a> {
    go: &'a Go<'a>,
    env: &'a GoEnv,
    main: &'a Package,
    patterns: &'a [String],
    packages: usize,
    ctx: &'a Context<'a>,
}

impl Job<'_> {
    fn program_name(&self) -> &str {
        let asked = self.go.component.binary.as_deref();
        asked.unwrap_or_else(|| list::program_name(&self.main.import_path))
    }

    /// Where this component's program and overlay are kept.
    fn cache(&self) -> PathBuf {
        self.ctx
            .cache
            .join(format!("go-{}", self.go.component.name))
    }

    /// Compiles with podcov's files, or with fewer or none of them if they do
    /// not fit this release of Go. Gives the program and what is in it.
    fn compile(&self) -> Result<(PathBuf, Option<Counting>), Error> {
        let component = self.go.component;
        for how in Counting::wanted(component.mode) {
            let mut overlay = self.base_overlay()?;
            let version = &self.env.goversion;
            let refused = match overlay.coverage(&self.env.goroot, version, *how) {
                Err(reason) => reason,
                Ok(()) => match self.compile_with(overlay) {
                    Err(Error::Compile { output, .. }) if output.contains("zz_podcov") => output,
                    other => return other.map(|file| (file, Some(*how))),
                },
            };
            self.ctx
                .progress
                .note(&how.refused(&component.name, version, &refused));
        }
        Ok((self.compile_with(self.base_overlay()?)?, None))
    }

    /// The user's overlay, and the test that calls main if there is none.
    fn base_overlay(&self) -> Result<Overlay, Error> {
        let mut overlay = Overlay::default();
        for flag in list::split_flags(&self.env.goflags) {
            if let Some(file) = flag.trim_start_matches('-').strip_prefix("overlay=") {
                overlay.include(&self.go.dir.join(file))?;
            }
        }
        if let GoBuild::TestMain { run, tag } = &self.go.component.go_build {
            test_main::provide(self.go, self.main, run, tag.as_deref(), &mut overlay)?;
        }
        Ok(overlay)
    }

    fn compile_with(&self, overlay: Overlay) -> Result<PathBuf, Error> {
        let component = self.go.component;
        let cache = self.cache();
        let cache = cache.canonicalize().at("find", &cache)?;
        let overlay = overlay.write(&cache.join("overlay"))?;
        let file = cache.join(self.program_name());
        let (tool, command): (_, &[&str]) = match component.go_build {
            GoBuild::Cover => ("go build", &["build"]),
            GoBuild::TestMain { .. } => ("go test -c", &["test", "-c"]),
        };
        let mut run = self.go.run(command);
        if let Some(flags) = &component.ldflags {
            run = run.arg(format!("-ldflags={flags}"));
        }
        let run = run
            .args(["-v", "-cover", "-covermode=atomic"])
            .arg(format!(
                "-coverpkg={}",
                coverpkg(&self.main.import_path, self.patterns)
            ))
            .arg("-overlay")
            .arg(&overlay)
            .arg("-o")
            .arg(&file)
            .arg(&self.main.import_path);
        let log = Mutex::new(Log {
            packages: self.packages,
            ..Log::default()
        });
        let result = run
            .each_line(|line| {
                if let Ok(mut log) = log.lock()
                    && let Some(status) = log.line(line)
                {
                    self.ctx.progress.status(&status);
                }
            })
            .run();
        let log = log
            .into_inner()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        match result {
            Ok(_) => Ok(file),
            Err(podcov_process::Error::Failed { .. }) => Err(Error::Compile {
                component: component.name.clone(),
                tool,
                output: log.errors(component),
            }),
            Err(error) => Err(error.into()),
        }
    }
}

/// What the go command says while it builds with `-v`: the packages it
/// compiles, and errors.
#[derive(Default)]
struct Log {
    packages: usize,
    compiled: usize,
    lines: Vec<String>,
}

impl Log {
    fn line(&mut self, line: &str) -> Option<String> {
        if let Some(what) = line.strip_prefix("go: downloading ") {
            return Some(format!("downloading {what}"));
        }
        let is_package = !line.is_empty()
            && !line.starts_with(['#', '\t', ' '])
            && !line.contains([' ', ':'])
            && !line.contains(".go");
        if is_package {
            self.compiled += 1;
            let (done, all) = (self.compiled, self.packages.max(self.compiled));
            return Some(format!("compiling {line} ({done} of at most {all})"));
        }
        self.lines.push(line.to_owned());
        None
    }

    fn errors(mut self, component: &Component) -> String {
        let left_out = self.lines.len().saturating_sub(SHOWN_LINES);
        self.lines.truncate(SHOWN_LINES);
        let mut text = self.lines.join("\n");
        if left_out > 0 {
            text += &format!("\n… {left_out} more lines");
        }
        if component.statically && text.contains("build constraints exclude all Go files") {
            text += "\nhint: podcov builds with CGO_ENABLED=0; a package that needs cgo needs \
                     `static = false`";
        }
        text
    }
}

/// Starts the program just far enough to write its coverage meta-data into
/// the bundle: all but main's own code is initialised, main is not reached.
pub(crate) fn identify(
    program: &Path,
    keep: &Keep,
    ctx: &Context,
) -> Result<Option<Identity>, Error> {
    ctx.progress
        .status("asking the program for its coverage meta-data");
    let meta = keep.dir().join("meta");
    let meta = meta.canonicalize().at("find", &meta)?;
    let result = Run::new(program)
        .env("PODCOV_META_ONLY", &meta)
        .env_remove("PODCOV_DIR")
        .env_remove("GOCOVERDIR")
        .current_dir(&meta)
        .cancel(ctx.cancel)
        .timeout(IDENTIFY)
        .run();
    let reason = match result {
        Ok(_) => match covmeta_in(&meta) {
            Some(identity) => return Ok(Some(identity)),
            None => "it left no covmeta file".to_owned(),
        },
        Err(podcov_process::Error::Cancelled(cancelled)) => return Err(cancelled.into()),
        Err(error) => error.to_string(),
    };
    ctx.progress.note(&format!(
        "{}: cannot know before it runs which evidence is its own; a package does something at \
         initialisation that ends it: {reason}",
        program.display()
    ));
    Ok(None)
}

fn covmeta_in(dir: &Path) -> Option<Identity> {
    let names = std::fs::read_dir(dir)
        .ok()?
        .flatten()
        .map(|entry| entry.file_name());
    let mut hashes = names.filter_map(|name| {
        let hash = name.to_str()?.strip_prefix("covmeta.")?.to_owned();
        format!("covmeta:{hash}").parse().ok()
    });
    hashes.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_is_counted_once() {
        let patterns = ["./...".to_owned(), "example.org/m".to_owned()];
        assert_eq!(coverpkg("example.org/m", &patterns), "example.org/m,./...");
    }

    #[test]
    fn packages_are_progress_and_errors_are_errors() {
        let mut log = Log {
            packages: 9,
            ..Log::default()
        };
        let status = log.line("k8s.io/api/core/v1");
        assert_eq!(
            status.as_deref(),
            Some("compiling k8s.io/api/core/v1 (1 of at most 9)")
        );
        for line in ["# example.org/m", "./main.go:3:5: undefined: x"] {
            assert_eq!(log.line(line), None);
        }
        assert_eq!(log.lines.len(), 2);
    }
}
