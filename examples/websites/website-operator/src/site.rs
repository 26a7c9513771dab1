//! From a specification to the file that the web server reads, with the checks that a schema
//! cannot make.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use website_api::{Redirect, WebsiteSpec};

/// Largest site file: a ConfigMap can hold a mebibyte, and its own fields need room.
pub const MAX_SITE_BYTES: usize = 900 * 1024;

/// Headers that the server sets itself, or that would break the connection.
const RESERVED_HEADERS: [&str; 6] = [
    "connection",
    "content-length",
    "content-type",
    "etag",
    "location",
    "transfer-encoding",
];

/// The file, as `webserver` reads it (a test holds the two together).
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SiteFile<'a> {
    host: &'a str,
    title: &'a str,
    maintenance: bool,
    pages: &'a BTreeMap<String, String>,
    redirects: &'a [Redirect],
    headers: BTreeMap<String, &'a str>,
}

/// Why a specification cannot be served. `reason` is for the condition, Display for people.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// A page path that no request can have.
    #[error("page path `{0}` must begin with `/` and have no space, `?` or `#`")]
    PagePath(String),
    /// Two answers for one path.
    #[error("path `{0}` is both a page and a redirect")]
    PageAndRedirect(String),
    /// Two redirects of one path.
    #[error("path `{0}` is redirected twice")]
    RedirectTwice(String),
    /// Redirects in a circle.
    #[error("redirects lead in a circle: {}", .0.join(" -> "))]
    RedirectCircle(Vec<String>),
    /// A redirect into nothing.
    #[error("redirect `{from}` leads to `{to}`, which is neither a page nor a redirect")]
    RedirectNowhere {
        /// Path asked for.
        from: String,
        /// Path that is not there.
        to: String,
    },
    /// A header that cannot be set.
    #[error("header `{0}` cannot be set")]
    Header(String),
    /// More than fits.
    #[error("the site has {found} bytes, at most {MAX_SITE_BYTES} fit")]
    TooLarge {
        /// Bytes of the file.
        found: usize,
    },
}

impl SpecError {
    /// One word for the condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::PagePath(_) => "InvalidPagePath",
            Self::PageAndRedirect(_)
            | Self::RedirectTwice(_)
            | Self::RedirectCircle(_)
            | Self::RedirectNowhere { .. } => "InvalidRedirects",
            Self::Header(_) => "InvalidHeader",
            Self::TooLarge { .. } => "TooLarge",
        }
    }
}

/// Renders the site file, or says what is wrong with the specification.
///
/// # Errors
/// The first thing found that makes the specification impossible to serve.
pub fn render(spec: &WebsiteSpec) -> Result<String, SpecError> {
    check_pages(spec)?;
    check_redirects(spec)?;
    let file = SiteFile {
        host: &spec.host,
        title: spec.content.title.as_deref().unwrap_or(&spec.host),
        maintenance: spec.maintenance,
        pages: &spec.content.pages,
        redirects: &spec.content.redirects,
        headers: headers(spec)?,
    };
    // Maps with string keys and plain fields: this cannot fail.
    let text = serde_json::to_string_pretty(&file).expect("a site file is plain JSON");
    if text.len() > MAX_SITE_BYTES {
        return Err(SpecError::TooLarge { found: text.len() });
    }
    Ok(text)
}

fn check_pages(spec: &WebsiteSpec) -> Result<(), SpecError> {
    let wrong = |path: &&String| !path.starts_with('/') || path.contains([' ', '?', '#']);
    match spec.content.pages.keys().find(wrong) {
        Some(path) => Err(SpecError::PagePath(path.clone())),
        None => Ok(()),
    }
}

fn check_redirects(spec: &WebsiteSpec) -> Result<(), SpecError> {
    let pages = &spec.content.pages;
    let mut targets: BTreeMap<&str, &str> = BTreeMap::new();
    for redirect in &spec.content.redirects {
        if pages.contains_key(&redirect.from) {
            return Err(SpecError::PageAndRedirect(redirect.from.clone()));
        }
        if targets.insert(&redirect.from, &redirect.to).is_some() {
            return Err(SpecError::RedirectTwice(redirect.from.clone()));
        }
    }
    for (from, to) in &targets {
        let mut trail = vec![*from];
        let mut seen = BTreeSet::from([*from]);
        let mut at = *to;
        while at.starts_with('/') && !pages.contains_key(at) {
            trail.push(at);
            if !seen.insert(at) {
                let names = trail.into_iter().map(str::to_owned).collect();
                return Err(SpecError::RedirectCircle(names));
            }
            at = targets.get(at).ok_or_else(|| SpecError::RedirectNowhere {
                from: trail[trail.len() - 2].to_owned(),
                to: at.to_owned(),
            })?;
        }
    }
    Ok(())
}

fn headers(spec: &WebsiteSpec) -> Result<BTreeMap<String, &str>, SpecError> {
    let mut headers = BTreeMap::new();
    for header in &spec.content.headers {
        let name = header.name.to_ascii_lowercase();
        let token = |c: char| c.is_ascii_alphanumeric() || "-_.!#$%&'*+^`|~".contains(c);
        let good_name = name.chars().all(token) && !RESERVED_HEADERS.contains(&name.as_str());
        let good_value = header.value.chars().all(|c| (' '..='~').contains(&c));
        if !good_name || !good_value || headers.contains_key(&name) {
            return Err(SpecError::Header(header.name.clone()));
        }
        headers.insert(name, header.value.as_str());
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(content: Value) -> WebsiteSpec {
        serde_json::from_value(json!({"host": "a.example.com", "content": content}))
            .expect("valid specification")
    }

    fn reason(content: Value) -> &'static str {
        render(&spec(content))
            .expect_err("must be refused")
            .reason()
    }

    #[test]
    fn the_webserver_reads_what_is_rendered() {
        let text = render(&spec(json!({
            "pages": {"/": "start", "/about.html": "about"},
            "redirects": [
                {"from": "/old", "to": "/older"},
                {"from": "/older", "to": "/about.html", "permanent": true},
                {"from": "/out", "to": "https://example.com/"}
            ],
            "headers": [{"name": "X-Team", "value": "web"}]
        })))
        .expect("good");
        let site = webserver::site::Site::parse(&text).expect("webserver reads it");
        assert_eq!(site.pages["/about.html"], "about");
        assert_eq!(site.title, "a.example.com");
        assert_eq!(site.headers["x-team"], "web");
        assert!(site.redirects[1].permanent);
    }

    #[test]
    fn redirects_that_cannot_work_are_refused() {
        let with = |redirects: Value| json!({"pages": {"/": "x"}, "redirects": redirects});
        for redirects in [
            json!([{"from": "/a", "to": "/b"}, {"from": "/b", "to": "/a"}]),
            json!([{"from": "/a", "to": "/nowhere"}]),
            json!([{"from": "/", "to": "/a"}]),
            json!([{"from": "/a", "to": "/"}, {"from": "/a", "to": "/"}]),
        ] {
            assert_eq!(
                reason(with(redirects.clone())),
                "InvalidRedirects",
                "{redirects}"
            );
        }
    }

    #[test]
    fn a_circle_is_told_as_a_trail() {
        let error = render(&spec(json!({
            "pages": {"/": "x"},
            "redirects": [{"from": "/a", "to": "/b"}, {"from": "/b", "to": "/a"}]
        })))
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "redirects lead in a circle: /a -> /b -> /a"
        );
    }

    #[test]
    fn headers_of_the_server_and_line_breaks_are_refused() {
        for (name, value) in [("ETag", "x"), ("x y", "x"), ("x", "a\r\nset-cookie: b")] {
            let content = json!({
                "pages": {"/": "x"},
                "headers": [{"name": name, "value": value}]
            });
            assert_eq!(reason(content), "InvalidHeader", "{name}");
        }
    }

    #[test]
    fn a_site_beyond_a_config_map_is_refused() {
        let content = json!({"pages": {"/": "x".repeat(MAX_SITE_BYTES)}});
        assert_eq!(reason(content), "TooLarge");
        assert_eq!(
            reason(json!({"pages": {"/": "x", "a b": "y"}})),
            "InvalidPagePath"
        );
    }
}
