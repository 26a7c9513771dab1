//! Clusters by kind: Kubernetes in Docker containers.
//!
//! The folder for evidence is mounted into the node when the cluster is made
//! (`kind-config/podcov.yaml`); it cannot be changed later.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use podcov_process::{Cancel, Progress, Run, find_program};
use serde::Deserialize;

use crate::api;
use crate::embedded::{built_kubectl, own_kubectl};
use crate::provider::{Cluster, Error, EvidenceDir, Provider, Settings, State, Status};

const CONFIG: &str = include_str!("../../../kind-config/podcov.yaml");
/// Where the node has the profile volume, in our configuration and in a user's.
const ON_NODES: &str = "/podcov/evidence";
/// Fetching the node image is part of it.
const COMES_UP: Duration = Duration::from_secs(900);

/// See the module.
#[derive(Debug)]
pub struct Kind {
    name: String,
    evidence: PathBuf,
    /// What is mounted: `evidence` or a folder above it.
    mounted: PathBuf,
    scratch: PathBuf,
    config: Option<PathBuf>,
    image: Option<String>,
}

impl Kind {
    /// The cluster by this name, there or not.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(Error::io("resolve", path));
        let evidence = absolute(&settings.evidence)?;
        let mounted = match &settings.runs {
            Some(runs) => absolute(runs)?,
            None => evidence.clone(),
        };
        if !evidence.starts_with(&mounted) {
            return Err(Error::Other(format!(
                "expected the evidence folder {} to be below {}",
                evidence.display(),
                mounted.display()
            )));
        }
        Ok(Kind {
            name: settings.name,
            evidence,
            mounted,
            scratch: absolute(&settings.scratch)?,
            config: settings.kind_config,
            image: settings.kind_image,
        })
    }

    /// The configuration as kind gets it.
    fn render(&self) -> Result<String, Error> {
        let template = match &self.config {
            Some(path) => fs::read_to_string(path).map_err(Error::io("read", path))?,
            None => CONFIG.to_owned(),
        };
        if !template.contains("{evidence}") {
            return Err(Error::Other(format!(
                "expected an extraMount with `hostPath: \"{{evidence}}\"` and `containerPath: \
                 {ON_NODES}` in {}, found none",
                self.config
                    .as_deref()
                    .unwrap_or(Path::new("kind-config/podcov.yaml"))
                    .display()
            )));
        }
        // Inside the quotes of a YAML string, JSON's escapes mean the same.
        let evidence = serde_json::Value::from(self.mounted.to_string_lossy()).to_string();
        Ok(template
            .replace("{evidence}", evidence.trim_matches('"'))
            .replace("{name}", &self.name))
    }

    fn config_file(&self) -> PathBuf {
        self.scratch.join("kind.yaml")
    }

    fn create(&self) -> Run<'static> {
        let run = kind(&["create", "cluster", "--name", &self.name])
            .arg("--config")
            .arg(self.config_file())
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(["--wait", "180s"]);
        match &self.image {
            Some(image) => run.args(["--image", image]),
            None => run,
        }
    }

    fn delete(&self) -> Run<'static> {
        kind(&["delete", "cluster", "--name", &self.name])
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
    }

    fn load(&self, archive: &Path) -> Run<'static> {
        kind(&["load", "image-archive"])
            .arg(archive)
            .args(["--name", &self.name])
    }

    fn node(&self) -> String {
        format!("{}-control-plane", self.name)
    }

    fn exists(&self) -> Result<bool, Error> {
        let clusters = kind(&["get", "clusters"]).run()?.text();
        Ok(clusters.lines().any(|line| line.trim() == self.name))
    }

    /// A cluster that is there already may have been made for another folder.
    fn sees_evidence(&self) -> Result<(), Error> {
        let inspect = ["inspect", "--format", "{{json .Mounts}}", &self.node()];
        let mounts = Run::new("docker").args(inspect).run()?.text();
        match mounted(&mounts) {
            Some(source) if source == self.mounted => Ok(()),
            found => Err(Error::Other(format!(
                "expected cluster `{}` to have {} mounted on {ON_NODES}, found {}; \
                 take it down first: `kind delete cluster --name {}`",
                self.name,
                self.mounted.display(),
                found.map_or("nothing there".to_owned(), |path| path
                    .display()
                    .to_string()),
                self.name
            ))),
        }
    }
}

impl Cluster for Kind {
    fn name(&self) -> &str {
        &self.name
    }

    fn provider(&self) -> Provider {
        Provider::Kind
    }

    fn up(&self, progress: &dyn Progress, cancel: &Cancel) -> Result<(), Error> {
        needs()?;
        ensure_kubectl(progress, cancel)?;
        fs::create_dir_all(&self.evidence).map_err(Error::io("make", &self.evidence))?;
        fs::set_permissions(&self.evidence, fs::Permissions::from_mode(0o1777))
            .map_err(Error::io("open for all users", &self.evidence))?;
        fs::create_dir_all(&self.scratch).map_err(Error::io("make", &self.scratch))?;
        if self.exists()? {
            self.sees_evidence()?;
            let export = kind(&["export", "kubeconfig", "--name", &self.name]);
            export
                .arg("--kubeconfig")
                .arg(self.kubeconfig())
                .cancel(cancel)
                .run()?;
            return Ok(());
        }
        let file = self.config_file();
        fs::write(&file, self.render()?).map_err(Error::io("write", &file))?;
        let made = self
            .create()
            .cancel(cancel)
            .timeout(COMES_UP)
            .each_line(|line| progress.status(line.trim()))
            .run();
        if let Err(error) = made {
            // kind cleans up after its own failures, not after a signal.
            self.delete().run()?;
            return Err(error.into());
        }
        Ok(())
    }

    fn down(&self, progress: &dyn Progress) -> Result<(), Error> {
        needs()?;
        progress.status(&format!("deleting kind cluster `{}`", self.name));
        self.delete().run()?;
        for file in [self.config_file(), self.kubeconfig()] {
            let _ = fs::remove_file(file);
        }
        Ok(())
    }

    fn status(&self) -> Result<Status, Error> {
        needs()?;
        if !self.exists()? {
            return Ok(Status {
                state: State::Absent,
                version: None,
                detail: Vec::new(),
            });
        }
        let export = kind(&["export", "kubeconfig", "--name", &self.name]);
        export.arg("--kubeconfig").arg(self.kubeconfig()).run()?;
        api::status(&self.name, &self.kubeconfig(), None)
    }

    fn kubeconfig(&self) -> PathBuf {
        self.scratch.join("kubeconfig")
    }

    fn load_image(
        &self,
        archive: &Path,
        refs: &[String],
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        progress.status(&format!("loading {}", refs.join(", ")));
        self.load(archive).cancel(cancel).run()?;
        let list = [
            "exec",
            &self.node(),
            "ctr",
            "--namespace",
            "k8s.io",
            "images",
            "list",
            "-q",
        ];
        let list = Run::new("docker").args(list).cancel(cancel).run()?.text();
        crate::embedded::all_there(&list, refs, archive)
    }

    fn evidence(&self) -> EvidenceDir {
        let below = self
            .evidence
            .strip_prefix(&self.mounted)
            .unwrap_or(Path::new(""));
        EvidenceDir {
            // A path that ends in "/" is another one to Kubernetes.
            on_nodes: Path::new(ON_NODES)
                .components()
                .chain(below.components())
                .collect(),
            local: self.evidence.clone(),
        }
    }

    fn kubectl(&self) -> Result<PathBuf, Error> {
        any_kubectl()
    }

    fn architecture(&self) -> Result<String, Error> {
        api::architecture(&self.name, &self.kubeconfig(), None)
    }
}

/// Builds a kubectl where the machine has none.
pub(crate) fn ensure_kubectl(progress: &dyn Progress, cancel: &Cancel) -> Result<(), Error> {
    if find_program("kubectl").is_none() {
        own_kubectl(progress, cancel)?;
    }
    Ok(())
}

/// The machine's kubectl, or ours.
pub(crate) fn any_kubectl() -> Result<PathBuf, Error> {
    find_program("kubectl")
        .or_else(built_kubectl)
        .ok_or_else(|| {
            Error::Other(
                "expected `kubectl` on PATH, found none; `podcov cluster up` builds one".into(),
            )
        })
}

fn kind(words: &[&str]) -> Run<'static> {
    Run::new("kind").args(words).timeout(COMES_UP)
}

fn needs() -> Result<(), Error> {
    let missing: Vec<String> = [
        ("docker", "docker: https://docs.docker.com/engine/install"),
        (
            "kind",
            "kind: https://kind.sigs.k8s.io/docs/user/quick-start",
        ),
    ]
    .iter()
    .filter(|(program, _)| find_program(program).is_none())
    .map(|(_, how)| (*how).to_owned())
    .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::Missing { missing })
    }
}

/// What of the host is mounted for evidence, by `docker inspect`.
fn mounted(mounts: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Mount {
        source: PathBuf,
        destination: PathBuf,
    }
    let mounts: Vec<Mount> = serde_json::from_str(mounts).ok()?;
    mounts
        .into_iter()
        .find(|m| m.destination == Path::new(ON_NODES))
        .map(|m| m.source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Kind {
        let mut settings = Settings::new("shop", "/data/it's \"here\"/evidence");
        settings.scratch = "/data/run".into();
        Kind::new(settings).unwrap()
    }

    #[test]
    fn commands_are_those_of_kind() {
        let kind = cluster();
        assert_eq!(
            kind.create().command_line(),
            "kind create cluster --name shop --config /data/run/kind.yaml \
             --kubeconfig /data/run/kubeconfig --wait 180s"
        );
        assert_eq!(
            kind.delete().command_line(),
            "kind delete cluster --name shop --kubeconfig /data/run/kubeconfig"
        );
        assert_eq!(
            kind.load(Path::new("/a.tar")).command_line(),
            "kind load image-archive /a.tar --name shop"
        );
        let kind = Kind {
            image: Some("kindest/node:v1.34.0".into()),
            ..kind
        };
        assert!(
            kind.create()
                .command_line()
                .ends_with("--image kindest/node:v1.34.0")
        );
    }

    #[test]
    fn the_configuration_mounts_the_evidence_folder_whatever_its_name() {
        let text = cluster().render().unwrap();
        let config: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).unwrap();
        let mount = &config["nodes"][0]["extraMounts"][0];
        assert_eq!(
            mount["hostPath"].as_str(),
            Some("/data/it's \"here\"/evidence")
        );
        assert_eq!(mount["containerPath"].as_str(), Some(ON_NODES));
        assert_eq!(
            config["apiVersion"].as_str(),
            Some("kind.x-k8s.io/v1alpha4")
        );
    }

    #[test]
    fn a_cluster_that_is_kept_serves_every_run_below_the_mounted_folder() {
        let mut settings = Settings::new("shop", "/data/profiles/run-1/evidence");
        settings.runs = Some("/data/profiles".into());
        let kind = Kind::new(settings.clone()).unwrap();
        assert!(
            kind.render()
                .unwrap()
                .contains("hostPath: \"/data/profiles\"")
        );
        let on_nodes = kind.evidence().on_nodes;
        assert_eq!(on_nodes.to_str(), Some("/podcov/evidence/run-1/evidence"));
        settings.runs = Some("/elsewhere".into());
        assert!(Kind::new(settings).is_err());
    }

    #[test]
    fn a_configuration_without_the_mount_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "kind: Cluster\n").unwrap();
        let kind = Kind {
            config: Some(file.path().to_owned()),
            ..cluster()
        };
        assert!(
            kind.render()
                .unwrap_err()
                .to_string()
                .contains("expected an extraMount")
        );
    }

    #[test]
    fn the_mount_of_a_cluster_that_is_there_is_read_from_docker() {
        let mounts = r#"[{"Type":"volume","Source":"/v","Destination":"/var"},
            {"Type":"bind","Source":"/e","Destination":"/podcov/evidence","RW":true}]"#;
        assert_eq!(mounted(mounts), Some("/e".into()));
        assert_eq!(mounted("[]"), None);
    }
}
