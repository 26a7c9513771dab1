//! The watch over the pods of a composition, from before deployment until
//! everything is stopped.

pub(crate) mod book;
mod injection;
pub mod observed;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1 as core;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use podcov_process::{Cancel, Progress};
use podcov_profile::ledger::Finding;
use podcov_profile::names::Kind;

use self::book::Book;
pub(crate) use self::injection::AGENT_LABEL;
pub use self::injection::Injects;
use self::observed::{Observed, Pod};
use crate::deploy::Workload;
pub use crate::overlay::COMPONENT_ANNOTATION;
use crate::target::{Error, SILENCE, Target, ask, runtime, said};

/// A component, and how its pods are recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its name.
    pub name: String,
    /// Its part in the composition.
    pub kind: Kind,
    /// The names of its images: the one in production and the measured one.
    pub images: Vec<String>,
}

/// Numbers for a status line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Pods that are there and have not ended.
    pub pods: usize,
    /// Those of them that are ready.
    pub ready: usize,
    /// Starts of containers after the first, over all pods that ever were.
    pub restarts: u32,
}

/// Watches until it is finished or dropped.
pub struct Watcher {
    book: Arc<Mutex<Book>>,
    watched: Vec<Watched>,
    // Dropping it ends the watch.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Watcher {
    /// Begins to watch the pods of all namespaces, and returns once those that
    /// are there are known, so that no later one can be missed.
    ///
    /// With `injects`, pods are expected to be patched by a webhook: who is not
    /// gets a reason. Namespaces are watched then, too, whose labels are among
    /// the reasons; without the right to, the reasons say less.
    pub fn start(
        target: &Target,
        run: &str,
        watched: Vec<Watched>,
        injects: Option<Injects>,
        progress: Arc<dyn Progress>,
        cancel: &Cancel,
    ) -> Result<Watcher, Error> {
        let runtime = runtime()?;
        let client = runtime.block_on(async {
            let client = target.client().await?;
            // The watch itself repeats for ever; a wrong address or missing
            // rights are to be told at once.
            let pods: Api<core::Pod> = Api::all(client.clone());
            let one = kube::api::ListParams::default().limit(1);
            ask("list pods of all namespaces", cancel, || pods.list(&one)).await?;
            Ok::<_, Error>(client)
        })?;
        let watcher = Watcher::over(runtime, client, run, watched, injects, progress, SILENCE);
        while !watcher.book().is_current() {
            cancel.sleep(Duration::from_millis(20))?;
            if let Some(lost) = watcher.lost() {
                return Err(Error::Gone(lost));
            }
        }
        Ok(watcher)
    }

    pub(crate) fn over(
        runtime: tokio::runtime::Runtime,
        client: Client,
        run: &str,
        watched: Vec<Watched>,
        injects: Option<Injects>,
        progress: Arc<dyn Progress>,
        silence: Duration,
    ) -> Watcher {
        let is_injected = injects.is_some();
        let book = Arc::new(Mutex::new(Book::new(run, watched.clone(), injects)));
        if is_injected {
            runtime.spawn(follow_namespaces(client.clone(), Arc::clone(&book)));
        }
        runtime.spawn(follow(client, Arc::clone(&book), progress, silence));
        Watcher {
            book,
            watched,
            runtime: Some(runtime),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    /// The webhook is about to be removed.
    pub fn injection_ends(&self) {
        if let Some(injection) = &mut self.book().injection {
            injection.ends();
        }
    }

    /// What was seen so far.
    pub fn snapshot(&self) -> Observed {
        self.book().observed()
    }

    /// Ends the watch.
    pub fn finish(mut self) -> Observed {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.snapshot()
    }

    /// Why the cluster does not answer, while it does not.
    pub fn lost(&self) -> Option<String> {
        self.book().lost.clone()
    }

    /// Numbers for a status line.
    pub fn live(&self) -> Live {
        let book = self.book();
        let mut live = Live::default();
        for pod in book.pods() {
            let restarts = pod
                .containers
                .iter()
                .filter_map(|container| container.restarts);
            live.restarts += restarts.sum::<u32>();
            if is_live(pod) {
                live.pods += 1;
                live.ready += usize::from(pod.ready);
            }
        }
        live
    }

    /// Which part in the composition the pod plays, if it has one.
    pub(crate) fn kind_of(&self, pod: &Pod) -> Option<Kind> {
        let kind = |name: &str| self.watched.iter().find(|w| w.name == name).map(|w| w.kind);
        pod.containers
            .iter()
            .find_map(|container| kind(&container.component))
    }

    /// Which part a workload of the rendering plays: by what its annotations
    /// say, else by its images.
    pub(crate) fn kind_of_workload(&self, workload: &Workload) -> Option<Kind> {
        let watched = || self.watched.iter();
        let is_named = |watched: &&Watched| workload.components.contains(&watched.name);
        let has_image = |watched: &&Watched| {
            let mut images = workload.images.iter();
            images.any(|image| watched.images.contains(image))
        };
        let found = watched()
            .find(is_named)
            .or_else(|| watched().find(has_image));
        found.map(|watched| watched.kind)
    }

    pub(crate) fn pod(&self, uid: &str) -> Option<Pod> {
        self.book().pod(uid).cloned()
    }

    /// The pods that are there.
    pub(crate) fn remaining(&self) -> Vec<Pod> {
        self.book()
            .pods()
            .filter(|pod| !pod.gone)
            .cloned()
            .collect()
    }

    /// Says that a pod is gone that the watch did not see go.
    pub(crate) fn mark_gone(&self, uid: &str) {
        self.book().mark_gone(uid);
    }

    /// Adds something that the user should know to what was observed.
    pub(crate) fn find(&self, kind: &str, text: String) {
        self.book().find(Finding {
            kind: kind.to_owned(),
            text,
        });
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    // A panic elsewhere leaves the book as it was: worth reading.
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pod that is there and has not ended.
pub(crate) fn is_live(pod: &Pod) -> bool {
    !pod.gone && !matches!(pod.phase.as_str(), "Succeeded" | "Failed")
}

async fn follow(
    client: Client,
    book: Arc<Mutex<Book>>,
    progress: Arc<dyn Progress>,
    silence: Duration,
) {
    let pods: Api<core::Pod> = Api::all(client.clone());
    let stream = watcher::watcher(pods, watcher::Config::default()).backoff(Soon);
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => {
                let mut book = lock(&book);
                book.lost = None;
                match event {
                    Event::Init => book.list_begins(),
                    Event::InitApply(pod) | Event::Apply(pod) => book.seen(&pod),
                    Event::InitDone => book.list_ends(),
                    Event::Delete(pod) => book.deleted(&pod),
                }
            }
            Err(error) => {
                lock(&book).watch_failed(&reason(&error));
                probe(&client, &book, progress.as_ref(), silence).await;
            }
        }
    }
}

/// What a namespace was like last is known of those, too, that are gone.
async fn follow_namespaces(client: Client, book: Arc<Mutex<Book>>) {
    let namespaces: Api<core::Namespace> = Api::all(client);
    let stream = watcher::watcher(namespaces, watcher::Config::default()).default_backoff();
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.next().await {
        let Ok(Event::InitApply(namespace) | Event::Apply(namespace)) = event else {
            continue;
        };
        if let Some(injection) = &mut lock(&book).injection {
            injection.namespace_seen(&namespace);
        }
    }
}

/// kube's own backoff waits up to 30 s; a pod can live and die in that. What
/// keeps a dead server from being asked all the time is [`probe`].
struct Soon;

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(200))
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {}
}

/// After a failure of the watch: waits until the server answers, so that the
/// watch is taken up at once and not at the end of a backoff; and says when it
/// does not.
async fn probe(client: &Client, book: &Mutex<Book>, progress: &dyn Progress, silence: Duration) {
    let begin = tokio::time::Instant::now();
    let since = jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string();
    loop {
        let answer = tokio::time::timeout(Duration::from_secs(5), client.apiserver_version());
        let why = match answer.await {
            Ok(Ok(_)) => break,
            Ok(Err(error)) => said(&error),
            Err(_) => "no answer within 5 s".to_owned(),
        };
        if begin.elapsed() >= silence {
            let text = format!("no answer from its API since {since}: {why}");
            let mut book = lock(book);
            if book.lost.is_none() {
                progress.note(&format!("the cluster went away: {text}"));
            }
            book.lost = Some(text);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    lock(book).lost = None;
}

fn reason(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => said(error),
        watcher::Error::WatchError(status) => status.message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
#[path = "watch/tests.rs"]
mod tests;
