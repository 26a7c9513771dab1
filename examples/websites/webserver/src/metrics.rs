//! Counts of requests.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one process.
#[derive(Debug, Default)]
pub struct Metrics {
    visits: AtomicU64,
    synthetic: AtomicU64,
    by_class: [AtomicU64; 4],
    bytes: AtomicU64,
    handshake_failures: AtomicU64,
}

impl Metrics {
    /// Counts one request for the site.
    pub fn record_visit(&self) -> u64 {
        self.visits.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts one request of a synthetic monitor. Called exactly once for each of them, and for
    /// nothing else; the count test of the e2e suite relies on it.
    pub fn record_synthetic(&self) -> u64 {
        self.synthetic.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts an answer.
    pub fn record_answer(&self, status: u16, bytes: usize) {
        let class = usize::from(status / 100).clamp(2, 5) - 2;
        self.by_class[class].fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts a client that could not agree on TLS.
    pub fn record_handshake_failure(&self) {
        self.handshake_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// All of it, in the text format of Prometheus.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, labels: &str, value: &AtomicU64| {
            let value = value.load(Ordering::Relaxed);
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{name}{labels} {value}");
        };
        line("webserver_visits_total", "", &self.visits);
        line("webserver_synthetic_total", "", &self.synthetic);
        for (class, count) in (2..).zip(&self.by_class) {
            line(
                "webserver_answers_total",
                &format!("{{class=\"{class}xx\"}}"),
                count,
            );
        }
        line("webserver_body_bytes_total", "", &self.bytes);
        line(
            "webserver_handshake_failures_total",
            "",
            &self.handshake_failures,
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_class() {
        let metrics = Metrics::default();
        assert_eq!(metrics.record_visit(), 1);
        assert_eq!(metrics.record_visit(), 2);
        metrics.record_answer(200, 10);
        metrics.record_answer(404, 5);
        let text = metrics.render();
        for line in [
            "webserver_visits_total 2",
            "webserver_answers_total{class=\"2xx\"} 1",
            "webserver_answers_total{class=\"4xx\"} 1",
            "webserver_body_bytes_total 15",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
