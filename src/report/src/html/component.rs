//! A component's page: its packages and files, its builds, its incarnations.

use serde::Serialize;

use super::parts::{self, Lifetime, Link, LossView, Number, Numbers, UnreachedView};
use super::{HtmlError, Pages};
use crate::format::{plural, thousands, visible};

/// How many never-reached functions the page names.
const MOST: usize = 20;

#[derive(Serialize)]
struct ComponentView {
    name: String,
    kind: String,
    language: String,
    cards: Vec<Number>,
    packages: Vec<PackageView>,
    builds: Vec<BuildView>,
    unreached: Vec<UnreachedView>,
    losses: Vec<LossView>,
    bounds: Option<String>,
    lifetimes: Vec<Lifetime>,
    toolchain: Option<String>,
    commit: Option<String>,
    dirty: bool,
    image: Option<String>,
}

#[derive(Serialize)]
struct PackageView {
    anchor: String,
    name: String,
    files_total: String,
    numbers: Numbers,
    rows: Vec<FileRow>,
}

/// A file, or a folder that the files below it are in.
#[derive(Serialize)]
struct FileRow {
    folder: Option<String>,
    name: String,
    href: String,
    build: Option<String>,
    partial: Option<String>,
    numbers: Option<Numbers>,
}

#[derive(Serialize)]
struct BuildView {
    name: String,
    identity: String,
    profiles: String,
}

impl Pages<'_> {
    pub(super) fn component(&self, index: usize) -> Result<String, HtmlError> {
        let report = self.report;
        let component = &report.summary.components[index];
        let mut next_file = report.summary.components[..index]
            .iter()
            .map(|c| c.files().count())
            .sum::<usize>();
        let first_file = next_file;

        let mut packages = Vec::new();
        for (number, package) in component.packages.iter().enumerate() {
            let mut rows = Vec::new();
            let mut folder = None;
            for file in &package.files {
                let (dir, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
                if folder != Some(dir) {
                    folder = Some(dir);
                    rows.push(FileRow {
                        folder: Some(if dir.is_empty() {
                            "./".into()
                        } else {
                            visible(dir) + "/"
                        }),
                        name: String::new(),
                        href: String::new(),
                        build: None,
                        partial: None,
                        numbers: None,
                    });
                }
                rows.push(FileRow {
                    folder: None,
                    name: visible(name),
                    href: format!("../{}", parts::file_page(next_file)),
                    build: file.build.as_ref().map(parts::short_identity),
                    partial: (file.partial_lines > 0)
                        .then(|| plural(file.partial_lines, "line in part", "lines in part")),
                    numbers: Some(parts::file_numbers(file)),
                });
                next_file += 1;
            }
            packages.push(PackageView {
                anchor: format!("p{}", number + 1),
                name: visible(&package.name),
                files_total: plural(package.files.len() as u64, "file", "files"),
                numbers: parts::numbers(&package.metrics, &package.possible()),
                rows,
            });
        }

        let bundle = self.bundle(&component.name);
        let own = component
            .files()
            .enumerate()
            .map(|(i, file)| (first_file + i, component, file));
        let view = ComponentView {
            name: visible(&component.name),
            kind: component.kind.to_string(),
            language: component.language.to_string(),
            cards: parts::cards(&component.metrics, &component.possible),
            packages,
            builds: component
                .builds
                .iter()
                .map(|build| BuildView {
                    name: visible(&build.name),
                    identity: build.identity.to_string(),
                    profiles: thousands(build.profiles),
                })
                .collect(),
            unreached: parts::largest_unreached(own, "../", MOST),
            losses: report
                .summary
                .losses
                .iter()
                .filter(|loss| loss.component == component.name)
                .map(parts::loss)
                .collect(),
            bounds: component.is_uncertain().then(|| {
                format!(
                    "lines {} proven, {} possible",
                    crate::format::percent(component.metrics.lines),
                    crate::format::percent(component.possible.lines)
                )
            }),
            lifetimes: report
                .ledger
                .incarnations
                .iter()
                .filter(|incarnation| incarnation.component == component.name)
                .map(parts::lifetime)
                .collect(),
            toolchain: bundle.map(|bundle| visible(&bundle.toolchain)),
            commit: bundle
                .and_then(|bundle| bundle.commit.as_deref())
                .map(visible),
            dirty: bundle.is_some_and(|bundle| bundle.dirty),
            image: bundle
                .and_then(|bundle| bundle.image.as_ref())
                .map(|image| visible(&image.reference)),
        };
        let title = format!("{} · coverage", view.name);
        let crumbs = vec![Link {
            text: view.name.clone(),
            href: None,
        }];
        self.page("component", &title, crumbs, view)
    }
}
