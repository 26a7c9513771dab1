//! The report as pages for a browser: one folder that works from the file
//! system, without a server and without a script.
//!
//! Everything is escaped by the templates, none of which may switch that off;
//! pages are named by number, never by what a source or a pod is called.

mod component;
mod highlight;
mod incarnations;
mod overview;
mod parts;
mod source;
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};

use handlebars::{Handlebars, RenderError, TemplateError};
use serde::Serialize;

use podcov_profile::bundle::Bundle;

use crate::gate::Judgement;
use crate::report::Report;
use crate::write::{Input, Sources};

const STYLE: &str = include_str!("html/style.css");
const ICON: &str = include_str!("html/icon.svg");

/// Why a page could not be made: a fault of podcov's own.
#[derive(Debug, thiserror::Error)]
pub enum HtmlError {
    /// A template is broken.
    #[error("built-in template does not compile")]
    Template(#[from] Box<TemplateError>),
    /// A template and its data do not fit.
    #[error("built-in template `{template}` does not fit its data")]
    Render {
        /// Which one.
        template: &'static str,
        /// What is missing.
        source: Box<RenderError>,
    },
}

/// What the pages are made of.
pub(crate) struct Pages<'a> {
    report: &'a Report,
    judgement: Option<&'a Judgement>,
    bundles: &'a [Bundle],
    sources: &'a dyn Sources,
    /// There is a `coverage.out`.
    has_go: bool,
    templates: Handlebars<'static>,
}

/// What every page has.
#[derive(Serialize)]
struct Page<T> {
    /// Way to the folder of `index.html`: empty or `../`.
    root: &'static str,
    title: String,
    composition: String,
    run: String,
    crumbs: Vec<parts::Link>,
    version: &'static str,
    #[serde(flatten)]
    content: T,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(input: &Input<'a>) -> Result<Self, HtmlError> {
        let mut templates = Handlebars::new();
        templates.set_strict_mode(true);
        for (name, text) in [
            ("head", include_str!("html/templates/head.hbs")),
            ("foot", include_str!("html/templates/foot.hbs")),
            ("bar", include_str!("html/templates/bar.hbs")),
            ("numbers", include_str!("html/templates/numbers.hbs")),
            ("cards", include_str!("html/templates/cards.hbs")),
            ("lost", include_str!("html/templates/lost.hbs")),
            ("unreached", include_str!("html/templates/unreached.hbs")),
            ("lifetimes", include_str!("html/templates/lifetimes.hbs")),
            ("overview", include_str!("html/templates/overview.hbs")),
            ("component", include_str!("html/templates/component.hbs")),
            (
                "incarnations",
                include_str!("html/templates/incarnations.hbs"),
            ),
            ("source", include_str!("html/templates/source.hbs")),
            ("tests", include_str!("html/templates/tests.hbs")),
            ("test", include_str!("html/templates/test.hbs")),
        ] {
            templates
                .register_template_string(name, text)
                .map_err(Box::new)?;
        }
        Ok(Pages {
            report: input.report,
            judgement: input.judgement,
            bundles: input.bundles,
            sources: input.sources,
            has_go: !input.go_profiles.is_empty(),
            templates,
        })
    }

    /// Makes each page and hands it to `emit` with its path, on all processors:
    /// what is in a page does not depend on the others.
    pub(crate) fn render<E: From<HtmlError> + Send>(
        &self,
        emit: impl Fn(&str, &str) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        emit("assets/style.css", STYLE)?;
        emit("assets/icon.svg", ICON)?;
        emit("index.html", &self.overview()?)?;
        emit("incarnations.html", &self.incarnations()?)?;
        if !self.report.phases.is_empty() {
            emit("tests.html", &self.tests()?)?;
        }
        for index in 0..self.report.phases.len() {
            emit(&tests::test_page(index), &self.test(index)?)?;
        }
        for index in 0..self.report.summary.components.len() {
            emit(&parts::component_page(index), &self.component(index)?)?;
        }
        let files = self.report.files.len();
        let next = AtomicUsize::new(0);
        let work = || -> Result<(), E> {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= files {
                    return Ok(());
                }
                let written = self
                    .source(index)
                    .map_err(E::from)
                    .and_then(|page| emit(&parts::file_page(index), &page));
                if written.is_err() {
                    // The others stop at their next page.
                    next.store(files, Ordering::Relaxed);
                    return written;
                }
            }
        };
        let workers = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(files / 8 + 1);
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
            let own = work();
            others.into_iter().fold(own, |result, other| {
                result.and(
                    other
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                )
            })
        })
    }

    fn page<T: Serialize>(
        &self,
        template: &'static str,
        title: &str,
        crumbs: Vec<parts::Link>,
        content: T,
    ) -> Result<String, HtmlError> {
        let summary = &self.report.summary;
        let page = Page {
            root: if matches!(template, "overview" | "incarnations" | "tests") {
                ""
            } else {
                "../"
            },
            title: title.to_owned(),
            composition: crate::format::visible(&summary.composition),
            run: crate::format::visible(&summary.run),
            crumbs,
            version: env!("CARGO_PKG_VERSION"),
            content,
        };
        self.templates
            .render(template, &page)
            .map_err(|error| HtmlError::Render {
                template,
                source: Box::new(error),
            })
    }

    fn bundle(&self, component: &str) -> Option<&'a Bundle> {
        self.bundles
            .iter()
            .find(|bundle| bundle.component == component)
    }
}
