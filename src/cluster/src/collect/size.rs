//! How large the evidence is while a run goes on, for a status line.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use walkdir::WalkDir;

/// Pods write in bursts; one look after a burst is enough.
const DEBOUNCE: Duration = Duration::from_millis(500);
/// Evidence can grow unheard: counters in a shared mapping, a folder made and
/// filled before it was watched, a network file system.
const RECONCILE: Duration = Duration::from_secs(10);

/// The size of an evidence folder, kept up to date until it is dropped.
#[derive(Debug)]
pub struct EvidenceSize {
    bytes: Arc<AtomicU64>,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl EvidenceSize {
    /// Begins to follow the folder. Where changes cannot be heard of, it is
    /// looked through from time to time.
    pub fn start(evidence: &Path) -> EvidenceSize {
        let bytes = Arc::new(AtomicU64::new(measure(evidence)));
        let (end, ended) = channel::<()>();
        let (tell, heard) = channel::<()>();
        let shared = Arc::clone(&bytes);
        let evidence: PathBuf = evidence.to_owned();
        let thread = std::thread::spawn(move || {
            let watcher = notify::recommended_watcher(move |_| {
                let _ = tell.send(());
            });
            let watcher = watcher.and_then(|mut watcher| {
                watcher
                    .watch(&evidence, RecursiveMode::Recursive)
                    .map(|()| watcher)
            });
            // Held for its life; without it `heard` is closed and only the
            // regular look remains.
            let _watcher = watcher.ok();
            loop {
                match heard.recv_timeout(RECONCILE) {
                    Err(RecvTimeoutError::Disconnected) => {
                        if !matches!(
                            ended.recv_timeout(RECONCILE),
                            Err(RecvTimeoutError::Timeout)
                        ) {
                            return;
                        }
                    }
                    Ok(()) | Err(RecvTimeoutError::Timeout) => {
                        if !matches!(ended.recv_timeout(DEBOUNCE), Err(RecvTimeoutError::Timeout)) {
                            return;
                        }
                        while heard.try_recv().is_ok() {}
                    }
                }
                shared.store(measure(&evidence), Ordering::Relaxed);
            }
        });
        EvidenceSize {
            bytes,
            end: Some(end),
            thread: Some(thread),
        }
    }

    /// Bytes of all files, as of a moment ago.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for EvidenceSize {
    fn drop(&mut self) {
        // Closing the channel is the request; the thread hears it within its
        // next look and is not waited for.
        drop(self.end.take());
        drop(self.thread.take());
    }
}

fn measure(evidence: &Path) -> u64 {
    let entries = WalkDir::new(evidence).into_iter().filter_map(Result::ok);
    let files = entries.filter(|entry| entry.file_type().is_file());
    files
        .filter_map(|entry| entry.metadata().ok())
        .map(|meta| meta.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_heard_of() {
        let temp = tempfile::tempdir().unwrap();
        let size = EvidenceSize::start(temp.path());
        assert_eq!(size.bytes(), 0);
        // The thread has to have begun to listen; a second file in a new
        // folder is heard of in any case.
        std::thread::sleep(Duration::from_millis(200));
        std::fs::create_dir(temp.path().join("a")).unwrap();
        std::fs::write(temp.path().join("a/b"), [0; 1000]).unwrap();
        let end = std::time::Instant::now() + RECONCILE / 2;
        while size.bytes() != 1000 {
            assert!(
                std::time::Instant::now() < end,
                "found {} bytes",
                size.bytes()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
