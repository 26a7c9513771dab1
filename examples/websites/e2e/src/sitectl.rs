//! The client, as a user has it on PATH.

use std::process::Stdio;

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::World;

/// What it said.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit status.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl World {
    /// Runs `sitectl` in this namespace; it must succeed.
    ///
    /// # Errors
    /// When it is not there or does not succeed.
    pub async fn sitectl(&self, words: &[&str]) -> anyhow::Result<String> {
        let output = self.try_sitectl(words, "").await?;
        ensure!(output.code == 0, "sitectl {words:?} failed: {output:?}");
        Ok(output.stdout)
    }

    /// Runs `sitectl` in this namespace with something to read.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn try_sitectl(&self, words: &[&str], input: &str) -> anyhow::Result<Output> {
        let mut child = Command::new("sitectl")
            .args(["--namespace", &self.namespace])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("could not start sitectl; `cargo build -p sitectl` and put it on PATH")?;
        let mut stdin = child
            .stdin
            .take()
            .context("sitectl has no standard input")?;
        // It may end without reading.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child
            .wait_with_output()
            .await
            .context("could not wait for sitectl")?;
        Ok(Output {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}
