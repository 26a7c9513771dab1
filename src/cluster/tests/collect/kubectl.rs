//! What a test says to its cluster.

use std::time::Duration;

use podcov_cluster::provider::Cluster;
use podcov_process::{Finished, Run};

/// Runs kubectl, which has to succeed.
pub fn kubectl(cluster: &dyn Cluster, words: &[&str], input: &str) -> Finished {
    let mut run = Run::new(cluster.kubectl().unwrap())
        .args(words)
        .input(input);
    for (key, value) in cluster.environment().unwrap() {
        run = run.env(key, value);
    }
    run.timeout(Duration::from_secs(120)).run().unwrap()
}
