//! What is answered to which request, without I/O.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// A site, ready to be served.
#[derive(Clone, Debug)]
pub struct Site {
    /// Name of the site.
    pub host: String,
    /// Title of pages made by the server.
    pub title: String,
    /// Whether everything is answered with a notice.
    pub maintenance: bool,
    /// Page texts by path.
    pub pages: BTreeMap<String, String>,
    /// Paths that lead elsewhere.
    pub redirects: Vec<Redirect>,
    /// Headers of every answer.
    pub headers: BTreeMap<String, String>,
    etags: HashMap<String, String>,
}

/// One path that leads elsewhere.
#[derive(Clone, Debug, Deserialize)]
pub struct Redirect {
    /// Path asked for.
    pub from: String,
    /// Where it is.
    pub to: String,
    /// Whether clients may remember it.
    #[serde(default)]
    pub permanent: bool,
}

#[derive(Deserialize)]
struct SiteFile {
    host: String,
    title: String,
    #[serde(default)]
    maintenance: bool,
    pages: BTreeMap<String, String>,
    #[serde(default)]
    redirects: Vec<Redirect>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// A request, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// `GET`, `HEAD`, ….
    pub method: &'a str,
    /// Path without the query.
    pub path: &'a str,
    /// Value of `If-None-Match`.
    pub known: Option<&'a str>,
}

/// An answer; the site's own headers come on top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// Headers that belong to this answer.
    pub headers: Vec<(&'static str, String)>,
    /// Text.
    pub body: String,
}

impl Site {
    /// Reads a site file.
    ///
    /// # Errors
    /// When it is not JSON of the expected shape.
    pub fn parse(text: &str) -> serde_json::Result<Self> {
        let file: SiteFile = serde_json::from_str(text)?;
        let etags = file
            .pages
            .iter()
            .map(|(path, page)| (path.clone(), etag(page)))
            .collect();
        Ok(Self {
            host: file.host,
            title: file.title,
            maintenance: file.maintenance,
            pages: file.pages,
            redirects: file.redirects,
            headers: file.headers,
            etags,
        })
    }

    /// Answers a request.
    pub fn answer(&self, question: Question<'_>) -> Answer {
        if self.maintenance {
            let mut answer = self.notice(503, "Back soon");
            answer.headers.push(("retry-after", "60".to_owned()));
            return answer;
        }
        if !matches!(question.method, "GET" | "HEAD") {
            let mut answer = self.notice(405, "Method not allowed");
            answer.headers.push(("allow", "GET, HEAD".to_owned()));
            return answer;
        }
        match self.find_page(question.path) {
            Some((path, page)) => self.page(path, page, question.known),
            None => self.elsewhere(question.path),
        }
    }

    /// `/about/` and `/about` find `/about.html` and `/about/index.html` too.
    fn find_page(&self, path: &str) -> Option<(&str, &str)> {
        let bare = path.trim_end_matches('/');
        let found = |path: &str| self.pages.get_key_value(path);
        found(path)
            .or_else(|| found(bare))
            .or_else(|| found(&format!("{bare}.html")))
            .or_else(|| found(&format!("{bare}/index.html")))
            .map(|(path, page)| (path.as_str(), page.as_str()))
    }

    fn page(&self, path: &str, page: &str, known: Option<&str>) -> Answer {
        let etag = self.etags.get(path).cloned().unwrap_or_default();
        let fresh = known.is_some_and(|known| {
            known
                .split(',')
                .any(|tag| tag.trim() == etag || tag.trim() == "*")
        });
        if fresh {
            return Answer {
                status: 304,
                headers: vec![("etag", etag)],
                body: String::new(),
            };
        }
        Answer {
            status: 200,
            headers: vec![("content-type", content_type(path, page)), ("etag", etag)],
            body: page.to_owned(),
        }
    }

    fn elsewhere(&self, path: &str) -> Answer {
        let Some(redirect) = self.redirects.iter().find(|redirect| redirect.from == path) else {
            return self.notice(404, "Not found");
        };
        let mut answer = self.notice(if redirect.permanent { 308 } else { 307 }, "Moved");
        answer.headers.push(("location", redirect.to.clone()));
        answer
    }

    fn notice(&self, status: u16, text: &str) -> Answer {
        let title = escape(&self.title);
        Answer {
            status,
            headers: vec![("content-type", "text/html; charset=utf-8".to_owned())],
            body: format!("<!doctype html><title>{title}</title><h1>{text}</h1>\n"),
        }
    }
}

fn etag(page: &str) -> String {
    let digest = Sha256::digest(page.as_bytes());
    let hex: String = digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("\"{hex}\"")
}

fn content_type(path: &str, page: &str) -> String {
    let extension = path.rsplit_once('.').map(|(_, extension)| extension);
    let kind = match extension {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("xml") => "application/xml",
        Some("txt") => "text/plain; charset=utf-8",
        _ if page.trim_start().starts_with('<') => "text/html; charset=utf-8",
        _ => "text/plain; charset=utf-8",
    };
    kind.to_owned()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(more: &str) -> Site {
        let text = format!(
            r#"{{"host": "h", "title": "<T>", "pages": {{"/": "<p>start", "/a.css": "b{{}}",
                "/docs/index.html": "docs", "/about.html": "about"}},
                "redirects": [{{"from": "/old", "to": "/"}},
                              {{"from": "/gone", "to": "/", "permanent": true}}]{more}}}"#
        );
        Site::parse(&text).expect("valid")
    }

    fn get<'a>(path: &'a str, known: Option<&'a str>) -> Question<'a> {
        Question {
            method: "GET",
            path,
            known,
        }
    }

    fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
        let found = answer.headers.iter().find(|(key, _)| *key == name);
        found.map_or("", |(_, value)| value)
    }

    #[test]
    fn pages_are_found_under_their_usual_names() {
        let site = site("");
        for (path, body) in [
            ("/", "<p>start"),
            ("/about", "about"),
            ("/about.html", "about"),
            ("/docs", "docs"),
            ("/docs/", "docs"),
        ] {
            assert_eq!(site.answer(get(path, None)).body, body, "{path}");
        }
        assert_eq!(site.answer(get("/nothing", None)).status, 404);
    }

    #[test]
    fn a_page_that_the_client_has_is_not_sent_again() {
        let site = site("");
        let first = site.answer(get("/", None));
        let tag = header(&first, "etag");
        assert_eq!(site.answer(get("/", Some(tag))).status, 304);
        assert_eq!(site.answer(get("/", Some("\"other\""))).status, 200);
    }

    #[test]
    fn redirects_say_whether_they_last() {
        let site = site("");
        assert_eq!(site.answer(get("/old", None)).status, 307);
        let gone = site.answer(get("/gone", None));
        assert_eq!((gone.status, header(&gone, "location")), (308, "/"));
    }

    #[test]
    fn maintenance_comes_before_everything() {
        let answer = site(r#", "maintenance": true"#).answer(get("/", None));
        assert_eq!(answer.status, 503);
        assert_eq!(header(&answer, "retry-after"), "60");
        assert!(answer.body.contains("&lt;T&gt;"));
    }

    #[test]
    fn only_reading_is_allowed() {
        let answer = site("").answer(Question {
            method: "POST",
            ..get("/", None)
        });
        assert_eq!(
            (answer.status, header(&answer, "allow")),
            (405, "GET, HEAD")
        );
    }

    #[test]
    fn the_type_follows_the_name_and_then_the_text() {
        assert_eq!(content_type("/a.css", ""), "text/css; charset=utf-8");
        assert_eq!(content_type("/", " <p>"), "text/html; charset=utf-8");
        assert_eq!(content_type("/", "hi"), "text/plain; charset=utf-8");
    }
}
