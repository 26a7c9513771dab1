//! Logs of the containers of a composition, kept with the run.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1 as core;
use kube::api::LogParams;
use kube::{Api, Client};
use podcov_process::{Cancel, Progress};

use crate::store;
use crate::target::{Error, Target, ask, runtime};
use crate::watch::observed::{Container, Observed, Pod};

/// How much of one log is kept.
const LIMIT: i64 = 4 << 20;
/// How much of a log is looked through for the launcher's word.
const LOOK: u64 = 64 << 10;

/// Saves the logs of the pods that are still there, the containers' previous
/// starts included, below `dir`: `<namespace>/<pod>_<uid>/<container>.<start>.log`.
/// What cannot be had is left out; says how many were saved.
pub fn save(
    target: &Target,
    observed: &Observed,
    dir: &Path,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<usize, Error> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let client = target.client().await?;
        let mut saved = 0;
        for pod in observed.remaining() {
            progress.status(&format!(
                "saving the logs of {}/{}",
                pod.namespace, pod.name
            ));
            for container in &pod.containers {
                saved += save_container(&client, pod, container, dir, cancel).await?;
            }
        }
        Ok(saved)
    })
}

pub(crate) async fn save_container(
    client: &Client,
    pod: &Pod,
    container: &Container,
    dir: &Path,
    cancel: &Cancel,
) -> Result<usize, Error> {
    let Some(last) = container.restarts else {
        return Ok(0);
    };
    let previous = last.checked_sub(1).map(|number| (number, true));
    let mut saved = 0;
    for (number, is_previous) in [Some((last, false)), previous].into_iter().flatten() {
        match fetch(client, pod, &container.name, is_previous, None, cancel).await {
            Ok(text) if text.is_empty() => {}
            Ok(text) => {
                store::write_atomic(&path(dir, pod, container, number), text.as_bytes())?;
                saved += 1;
            }
            // The pod is gone, or the node has thrown its log away.
            Err(Error::Api { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(saved)
}

/// A container's log, or its last `lines`.
pub(crate) async fn fetch(
    client: &Client,
    pod: &Pod,
    container: &str,
    previous: bool,
    lines: Option<i64>,
    cancel: &Cancel,
) -> Result<String, Error> {
    let pods: Api<core::Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let params = LogParams {
        container: Some(container.to_owned()),
        previous,
        tail_lines: lines,
        limit_bytes: Some(LIMIT),
        ..LogParams::default()
    };
    let action = format!("read the log of {}/{}", pod.namespace, pod.name);
    ask(&action, cancel, || pods.logs(&pod.name, &params)).await
}

fn path(dir: &Path, pod: &Pod, container: &Container, number: u32) -> PathBuf {
    dir.join(&pod.namespace)
        .join(format!("{}_{}", pod.name, pod.uid))
        .join(format!("{}.{number}.log", container.name))
}

/// The beginning of the log of one start, if it was saved: the launcher speaks
/// before its program does.
pub(crate) fn find(dir: &Path, pod: &Pod, container: &Container, number: u32) -> Option<String> {
    use std::io::Read;
    let file = std::fs::File::open(path(dir, pod, container, number)).ok()?;
    let mut bytes = Vec::new();
    file.take(LOOK).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
