//! What every step of a run shares.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use podcov_cluster::store::{RunDir, RunLock, read_json, run_id, write_json_atomic};
use podcov_process::Cancel;
use podcov_profile::bundle::Bundle;
use serde::{Deserialize, Serialize};

use crate::args::Global;
use crate::config::{Config, FILE_NAME};
use crate::exit::{Exit, Failure, OrExit};
use crate::ui::Ui;

/// Configuration, talk, and the run that is worked on. While it lives, no
/// other podcov works on a run of the same folder.
pub struct Session {
    /// `podcov.toml`.
    pub config: Config,
    /// The talk on stderr.
    pub ui: Arc<Ui>,
    /// Set by Ctrl-C.
    pub cancel: Cancel,
    /// The run.
    pub run: RunDir,
    /// `None` where nothing is written.
    _lock: Option<RunLock>,
}

/// Which run a command works on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// A new one.
    New,
    /// The one that `--run` names, or the newest.
    Named,
    /// As `Named`, or a new one if there is none.
    Any,
}

/// `run.json`: what a run was. Times are in the talk and not here, so that
/// what is reported does not depend on them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of this JSON.
    pub schema: u32,
    /// The run's id.
    pub run: String,
    /// podcov's version.
    pub podcov: String,
    /// Name of the composition.
    pub composition: String,
    /// The components, in order.
    pub components: Vec<String>,
    /// Their images.
    pub images: Vec<String>,
    /// Where it ran: `embedded Kubernetes v1.34.4`.
    pub cluster: Option<String>,
    /// Steps that were done, with seconds.
    pub steps: Vec<(String, f64)>,
    /// Phases of the suite, with their times in milliseconds since its start.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub phases: serde_json::Value,
    /// The exit status, once there is one.
    pub exit: Option<u8>,
}

impl Session {
    /// Reads the configuration and opens or begins a run.
    pub fn open(global: &Global, which: Which) -> Result<Session, Failure> {
        let ui = Arc::new(Ui::new(global.quiet));
        let file = config_file(global)?;
        let config = Config::load(&file)?;
        let profiles = profiles(global, &config)?;
        if let Some(id) = &global.run {
            check_run_id(id)?;
        }
        let there = match &global.run {
            Some(id) if which != Which::New => {
                let run = RunDir::open(profiles.join(id)).or_exit(Exit::Usage);
                let help = "a run is named by its folder; without `--run` it is the newest";
                Some(run.map_err(|failure| failure.help(help))?)
            }
            Some(id) if profiles.join(id).exists() => {
                let message = format!("there is a run `{id}` already");
                return Err(Failure::new(Exit::Usage, message).help(format!(
                    "give the new one another id, or remove `{}`",
                    profiles.join(id).display()
                )));
            }
            _ => RunDir::newest(&profiles).or_exit(Exit::Fault)?,
        };
        let new_id = global.run.clone().unwrap_or_else(run_id);
        let run_name = match (&there, which) {
            (Some(run), Which::Named | Which::Any) => run.id(),
            _ => new_id.clone(),
        };
        let lock = RunLock::acquire(&profiles, &run_name).or_exit(Exit::Usage)?;
        let run = match (there, which) {
            (Some(run), Which::Named | Which::Any) => run,
            (None, Which::Named) => {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("there is no run in `{}`", profiles.display()),
                )
                .help("`podcov build` begins one, `podcov run` does all of it"));
            }
            _ => RunDir::create(&profiles, &new_id).or_exit(Exit::Fault)?,
        };
        let cancel = Cancel::new();
        crate::interrupt::on_interrupt(&cancel);
        Ok(Session {
            config,
            ui,
            cancel,
            run,
            _lock: Some(lock),
        })
    }

    /// A session that only looks, and so also works while another podcov
    /// works on the run: the one that was named, the newest, or an empty one
    /// in `scratch`.
    pub fn look(global: &Global, scratch: &Path) -> Result<Session, Failure> {
        let config = Config::load(&config_file(global)?)?;
        let profiles = profiles(global, &config)?;
        let run = match &global.run {
            Some(id) => {
                check_run_id(id)?;
                Some(RunDir::open(profiles.join(id)).or_exit(Exit::Usage)?)
            }
            None => RunDir::newest(&profiles).or_exit(Exit::Fault)?,
        };
        let run = match run {
            Some(run) => run,
            None => RunDir::open(scratch).or_exit(Exit::Fault)?,
        };
        let cancel = Cancel::new();
        crate::interrupt::on_interrupt(&cancel);
        Ok(Session {
            config,
            ui: Arc::new(Ui::new(global.quiet)),
            cancel,
            run,
            _lock: None,
        })
    }

    /// A session over the run folder `dir`, for a command that needs no
    /// configuration; what the folder holds is added to.
    pub fn bare(dir: &Path, quiet: bool) -> Result<Session, Failure> {
        let dir = std::path::absolute(dir).or_exit(Exit::Usage)?;
        fs_err::create_dir_all(&dir).or_exit(Exit::Usage)?;
        let run = RunDir::open(&dir).or_exit(Exit::Usage)?;
        run.make_evidence().or_exit(Exit::Usage)?;
        let lock = RunLock::acquire(&dir, &run.id()).or_exit(Exit::Usage)?;
        let here = std::env::current_dir().or_exit(Exit::Usage)?;
        let cancel = Cancel::new();
        crate::interrupt::on_interrupt(&cancel);
        Ok(Session {
            config: Config::bare("exec", here)?,
            ui: Arc::new(Ui::new(quiet)),
            cancel,
            run,
            _lock: Some(lock),
        })
    }

    /// Output that is kept from run to run.
    pub fn cache(&self) -> PathBuf {
        self.config.root.join(".podcov")
    }

    /// The bundles that the build of this run left, in the order of
    /// `podcov.toml`.
    pub fn bundles(&self) -> Result<Vec<Bundle>, Failure> {
        let names = self.config.file.components.iter().map(|c| c.name.get_ref());
        let read = |name: &String| read_bundle(&self.run.bundle().join(name));
        names.map(read).collect()
    }

    /// Name of the cluster.
    pub fn cluster_name(&self) -> &str {
        self.config
            .file
            .cluster
            .name
            .as_deref()
            .unwrap_or(self.config.name())
    }

    /// The right to run in the cluster: two runs in one would measure each
    /// other, even from different folders.
    pub fn hold_cluster(&self) -> Result<RunLock, Failure> {
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let base = base.or_else(home).unwrap_or_else(std::env::temp_dir);
        let dir = base.join("podcov/in-use").join(self.cluster_name());
        RunLock::acquire(&dir, &self.run.id())
            .or_exit(Exit::Usage)
            .map_err(|failure| {
                failure.help(
                    "wait for it, end it, or give this run a cluster of its own: `[cluster] name`",
                )
            })
    }

    /// What `run.json` says so far.
    pub fn record(&self) -> RunRecord {
        read_json(&self.run.run_json()).unwrap_or_else(|_| RunRecord {
            schema: 1,
            run: self.run.id(),
            podcov: env!("CARGO_PKG_VERSION").to_owned(),
            composition: self.config.name().to_owned(),
            components: self
                .config
                .file
                .components
                .iter()
                .map(|c| c.name.get_ref().clone())
                .collect(),
            ..RunRecord::default()
        })
    }

    /// Changes `run.json`.
    pub fn update_record(&self, change: impl FnOnce(&mut RunRecord)) -> Result<(), Failure> {
        let mut record = self.record();
        change(&mut record);
        write_json_atomic(&self.run.run_json(), &record).or_exit(Exit::Fault)
    }
}

/// The folder that runs are kept below.
fn profiles(global: &Global, config: &Config) -> Result<PathBuf, Failure> {
    match &global.profiles {
        Some(dir) => std::path::absolute(dir).or_exit(Exit::Usage),
        None => Ok(config.root.join("profiles")),
    }
}

/// A run's id names a folder, and is a label of pods.
fn check_run_id(id: &str) -> Result<(), Failure> {
    let end = |c: char| c.is_ascii_alphanumeric();
    let good = id.starts_with(end)
        && id.ends_with(end)
        && id.len() <= 63
        && id.chars().all(|c| end(c) || "-_.".contains(c));
    if good {
        return Ok(());
    }
    Err(
        Failure::new(Exit::Usage, format!("`{id}` cannot be the id of a run"))
            .help("use up to 63 letters, digits, `-`, `_` and `.`"),
    )
}

/// Reads `bundle.json` of a bundle's folder.
pub fn read_bundle(dir: &Path) -> Result<Bundle, Failure> {
    let file = dir.join("bundle.json");
    if !file.exists() {
        let component = dir
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        return Err(Failure::new(
            Exit::Build,
            format!(
                "there is no bundle of `{component}`: expected `{}`",
                file.display()
            ),
        )
        .help("run `podcov build`, or `podcov bundle` if you built it yourself"));
    }
    let bundle: Bundle = read_json(&file).or_exit(Exit::Build)?;
    if bundle.schema > podcov_profile::bundle::SCHEMA {
        return Err(Failure::new(
            Exit::Build,
            format!(
                "`{}` has schema {}, this podcov knows up to {}",
                file.display(),
                bundle.schema,
                podcov_profile::bundle::SCHEMA
            ),
        ));
    }
    Ok(bundle)
}

fn config_file(global: &Global) -> Result<PathBuf, Failure> {
    if let Some(file) = &global.config {
        return Ok(file.clone());
    }
    let here = std::env::current_dir().or_exit(Exit::Usage)?;
    Config::find(&here).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!("there is no {FILE_NAME} in this folder or above it"),
        )
        .help("`podcov init` writes one; `--config FILE` names one elsewhere")
    })
}
