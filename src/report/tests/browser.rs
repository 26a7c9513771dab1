//! The report in a real browser, from the file system.

mod common;

use std::path::Path;
use std::process::Command;

use common::websites;
use podcov_report::{Filter, Input, NoSources, Report, write_all};

/// The page as Chromium understood it. `--dump-dom` prints it after loading.
fn dom(page: &Path) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg("--dump-dom")
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("this test needs a browser: apt-get install chromium");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_browser_shows_the_numbers_of_the_summary_without_a_server() {
    let (coverage, ledger) = websites();
    let report = Report::new(&coverage, &ledger, &Filter::default());
    let folder = tempfile::tempdir().unwrap();
    let input = Input {
        report: &report,
        judgement: None,
        sources: &NoSources,
        bundles: &[],
        go_profiles: &[],
    };
    let written = write_all(&folder.path().join("report"), &input).unwrap();
    let page = dom(&written.index);
    for component in &report.summary.components {
        let lines = component.metrics.lines;
        let fraction = format!("{}/{}", lines.covered, lines.total);
        let shown = page.replace(',', "");
        assert!(page.contains(component.name.as_str()), "{}", component.name);
        assert!(shown.contains(&fraction), "{} {fraction}", component.name);
    }
    // The first link to a source page leads to one.
    let link = page
        .split("href=\"f/")
        .nth(1)
        .and_then(|rest| rest.split(['"', '#']).next());
    let source = written
        .index
        .with_file_name("f")
        .join(link.expect("a link to a source page"));
    assert!(dom(&source).contains("</html>"));
}
