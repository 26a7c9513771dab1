//! A cluster that somebody else made and keeps: podcov only uses it.

use std::fs;
use std::path::{Path, PathBuf};

use kube::config::Kubeconfig;
use podcov_process::{Cancel, Progress, Run};

use crate::kind::{any_kubectl, ensure_kubectl};
use crate::provider::{Cluster, Error, EvidenceDir, ImageLoad, Provider, Settings, State, Status};
use crate::{api, embedded};

/// See the module.
#[derive(Debug)]
pub struct Existing {
    name: String,
    evidence: EvidenceDir,
    scratch: PathBuf,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    image_load: Option<ImageLoad>,
}

impl Existing {
    /// The cluster of the settings' kubeconfig and context.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        if let Some(ImageLoad::Command(words)) = &settings.image_load {
            check_command(words)?;
        }
        let absolute = |path: &Path| std::path::absolute(path).map_err(Error::io("resolve", path));
        let local = absolute(&settings.evidence)?;
        Ok(Existing {
            name: settings.context.clone().unwrap_or(settings.name),
            evidence: EvidenceDir {
                on_nodes: settings.node_dir.unwrap_or_else(|| local.clone()),
                local,
            },
            scratch: absolute(&settings.scratch)?,
            kubeconfig: settings.kubeconfig,
            context: settings.context,
            image_load: settings.image_load,
        })
    }

    /// Writes the kubeconfig with the wanted context as its current one. A
    /// user's own file stays as it is.
    fn write_kubeconfig(&self) -> Result<(), Error> {
        let source = self
            .kubeconfig
            .clone()
            .unwrap_or_else(|| PathBuf::from("$KUBECONFIG"));
        let unusable = |error| Error::Kubeconfig {
            path: source.clone(),
            source: Box::new(error),
        };
        let mut config = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        }
        .map_err(unusable)?;
        if let Some(context) = &self.context {
            let known: Vec<&str> = config.contexts.iter().map(|c| c.name.as_str()).collect();
            if !known.contains(&context.as_str()) {
                return Err(Error::Other(format!(
                    "expected the context `{context}` in {}, found {}",
                    source.display(),
                    if known.is_empty() {
                        "none".to_owned()
                    } else {
                        known.join(", ")
                    }
                )));
            }
            config.current_context = Some(context.clone());
        }
        if config.current_context.is_none() {
            return Err(Error::Other(format!(
                "expected a current context in {}, found none; name one: \
                 `context = \"…\"` in [cluster]",
                source.display()
            )));
        }
        let text = serde_yaml_ng::to_string(&config)
            .map_err(|error| Error::Other(format!("cannot write a kubeconfig: {error}")))?;
        fs::create_dir_all(&self.scratch).map_err(Error::io("make", &self.scratch))?;
        embedded::write_private(&self.kubeconfig(), &text)
    }
}

impl Cluster for Existing {
    fn name(&self) -> &str {
        &self.name
    }

    fn provider(&self) -> Provider {
        Provider::Existing
    }

    fn up(&self, progress: &dyn Progress, cancel: &Cancel) -> Result<(), Error> {
        ensure_kubectl(progress, cancel)?;
        if !self.evidence.local.is_dir() {
            return Err(Error::Other(format!(
                "expected the folder {} that the nodes have at {}, found none on this machine; \
                 make it with mode 1777 where both see it (NFS, a mount of the nodes' disk, …) \
                 and say by `node_dir` in [cluster] what the nodes call it",
                self.evidence.local.display(),
                self.evidence.on_nodes.display()
            )));
        }
        self.write_kubeconfig()?;
        progress.status(&format!("asking cluster `{}` for its version", self.name));
        cancel.check()?;
        let status = api::status(&self.name, &self.kubeconfig(), None)?;
        match status.state {
            State::Ready => Ok(()),
            _ => Err(Error::NotReady {
                cluster: self.name.clone(),
                reason: "no node of it is ready".into(),
                detail: status.detail,
            }),
        }
    }

    /// Only the copy of the kubeconfig goes: the cluster is not ours.
    fn down(&self, _: &dyn Progress) -> Result<(), Error> {
        match fs::remove_file(self.kubeconfig()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", self.kubeconfig())(error))
            }
            _ => Ok(()),
        }
    }

    fn status(&self) -> Result<Status, Error> {
        self.write_kubeconfig()?;
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
        match &self.image_load {
            Some(ImageLoad::Preloaded) => Ok(()),
            Some(ImageLoad::Command(words)) => {
                progress.status(&format!("loading {}", refs.join(", ")));
                load_command(words, archive, refs).cancel(cancel).run()?;
                Ok(())
            }
            None => Err(Error::Other(format!(
                "expected to be told how images get into cluster `{}`; set in [cluster] \
                 `load_image = [\"…\", \"{{archive}}\"]`",
                self.name
            ))),
        }
    }

    fn evidence(&self) -> EvidenceDir {
        self.evidence.clone()
    }

    fn kubectl(&self) -> Result<PathBuf, Error> {
        any_kubectl()
    }

    fn architecture(&self) -> Result<String, Error> {
        api::architecture(&self.name, &self.kubeconfig(), None)
    }
}

fn check_command(words: &[String]) -> Result<(), Error> {
    if words.iter().skip(1).any(|word| word.contains("{archive}")) {
        return Ok(());
    }
    Err(Error::Other(format!(
        "expected `load_image` to be a command with `{{archive}}` among its arguments, found {words:?}"
    )))
}

fn load_command(words: &[String], archive: &Path, refs: &[String]) -> Run<'static> {
    let archive = archive.display().to_string();
    let fill = |word: &String| {
        word.replace("{archive}", &archive)
            .replace("{refs}", &refs.join(","))
    };
    let mut words = words.iter().map(fill);
    Run::new(words.next().unwrap_or_default()).args(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_load_command_is_filled_in() {
        let command = words(&["push", "--from={archive}", "--as", "{refs}"]);
        let run = load_command(&command, Path::new("/a b.tar"), &words(&["x:1", "y:1"]));
        assert_eq!(run.command_line(), "push '--from=/a b.tar' --as x:1,y:1");
    }

    #[test]
    fn a_load_command_without_the_archive_is_refused() {
        assert!(check_command(&words(&["push"])).is_err());
        assert!(check_command(&words(&["{archive}"])).is_err());
        assert!(check_command(&words(&["push", "{archive}"])).is_ok());
    }

    const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: one, context: {cluster: c, user: u}}, {name: two, context: {cluster: c, user: u}}]
current-context: one
";

    fn cluster(context: &str, folder: &Path) -> Existing {
        let file = folder.join("theirs");
        fs::write(&file, KUBECONFIG).unwrap();
        let mut settings = Settings::new("x", folder.join("evidence"));
        settings.kubeconfig = Some(file);
        settings.context = Some(context.to_owned());
        Existing::new(settings).unwrap()
    }

    #[test]
    fn the_wanted_context_becomes_the_current_one_of_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let cluster = cluster("two", folder.path());
        fs::write(cluster.kubeconfig(), "").unwrap();
        cluster.write_kubeconfig().unwrap();
        let mode = fs::metadata(cluster.kubeconfig()).unwrap().permissions();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
            0o600
        );
        let ours = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
        assert_eq!(ours.current_context.as_deref(), Some("two"));
        assert_eq!(
            fs::read_to_string(folder.path().join("theirs")).unwrap(),
            KUBECONFIG
        );
    }

    #[test]
    fn an_unknown_context_is_told_with_the_known_ones() {
        let folder = tempfile::tempdir().unwrap();
        let error = cluster("three", folder.path())
            .write_kubeconfig()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`three`") && error.contains("found one, two"),
            "{error}"
        );
    }
}
