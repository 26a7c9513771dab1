//! Colours for sources: comments, strings, numbers and keywords of Rust and
//! Go. It guesses where a full lexer would know; a wrong colour is all that a
//! wrong guess costs, for the text itself is never changed.

use podcov_profile::names::Language;
use serde::Serialize;

/// A piece of a line with the class of its colour; none for plain text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Span {
    pub class: Option<&'static str>,
    pub text: String,
}

const COMMENT: Option<&str> = Some("m");
const STRING: Option<&str> = Some("s");
const NUMBER: Option<&str> = Some("d");
const KEYWORD: Option<&str> = Some("k");

const RUST: &[&str] = &[
    "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum", "extern",
    "false", "fn", "for", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub",
    "ref", "return", "self", "Self", "static", "struct", "super", "trait", "true", "type",
    "unsafe", "use", "where", "while",
];
const GO: &[&str] = &[
    "break",
    "case",
    "chan",
    "const",
    "continue",
    "default",
    "defer",
    "else",
    "fallthrough",
    "false",
    "for",
    "func",
    "go",
    "goto",
    "if",
    "import",
    "interface",
    "iota",
    "map",
    "nil",
    "package",
    "range",
    "return",
    "select",
    "struct",
    "switch",
    "true",
    "type",
    "var",
];

/// What a line begins in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Code,
    /// A block comment, this deep; Go's do not nest.
    Comment(u32),
    /// A string that ends at a quote not escaped.
    Quoted,
    /// Rust: a raw string that ends at a quote and this many `#`.
    Raw(usize),
    /// Go: a raw string that ends at a back quote.
    Backquoted,
}

/// Colours the lines of one file, one after the other.
pub(super) struct Highlighter {
    language: Language,
    inside: Inside,
}

impl Highlighter {
    pub(super) fn new(language: Language) -> Self {
        Highlighter {
            language,
            inside: Inside::Code,
        }
    }

    /// The next line in pieces, which together are the line.
    pub(super) fn line(&mut self, line: &str) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let mut rest = line;
        while !rest.is_empty() {
            let (length, class) = self.piece(rest);
            let (text, after) = rest.split_at(length);
            rest = after;
            match spans.last_mut() {
                Some(last) if last.class == class => last.text.push_str(text),
                _ => spans.push(Span {
                    class,
                    text: text.to_owned(),
                }),
            }
        }
        spans
    }

    /// Length and class of the first piece of `rest`, which is not empty.
    fn piece(&mut self, rest: &str) -> (usize, Option<&'static str>) {
        match self.inside {
            Inside::Code => self.code(rest),
            Inside::Comment(depth) => (self.comment(rest, depth), COMMENT),
            Inside::Quoted => (self.quoted(rest, 0), STRING),
            Inside::Raw(hashes) => (self.until(rest, 0, &raw_end(hashes)), STRING),
            Inside::Backquoted => (self.until(rest, 0, "`"), STRING),
        }
    }

    fn code(&mut self, rest: &str) -> (usize, Option<&'static str>) {
        let first = rest.chars().next().unwrap_or(' ');
        if rest.starts_with("//") {
            return (rest.len(), COMMENT);
        }
        if rest.starts_with("/*") {
            return (self.comment(rest, 0), COMMENT);
        }
        if first == '"' {
            return (self.quoted(rest, 1), STRING);
        }
        match self.language {
            Language::Go if first == '`' => return (self.until(rest, 1, "`"), STRING),
            Language::Rust => {
                if let Some((start, hashes)) = raw_start(rest) {
                    return (self.until(rest, start, &raw_end(hashes)), STRING);
                }
            }
            Language::Go => {}
        }
        if first == '\''
            && let Some(length) = character(rest)
        {
            return (length, STRING);
        }
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        if is_word(first) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let words = match self.language {
                Language::Rust => RUST,
                Language::Go => GO,
            };
            let class = if first.is_ascii_digit() {
                NUMBER
            } else if words.contains(&&rest[..length]) {
                KEYWORD
            } else {
                None
            };
            return (length, class);
        }
        (first.len_utf8(), None)
    }

    /// Length of a block comment's part in `rest`.
    fn comment(&mut self, rest: &str, mut depth: u32) -> usize {
        let mut at = 0;
        while let Some(next) = rest[at..].find(['/', '*']) {
            at += next;
            if rest[at..].starts_with("*/") {
                at += 2;
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    self.inside = Inside::Code;
                    return at;
                }
            } else if rest[at..].starts_with("/*") {
                at += 2;
                if depth == 0 || self.language == Language::Rust {
                    depth += 1;
                }
            } else {
                at += 1;
            }
        }
        self.inside = Inside::Comment(depth);
        rest.len()
    }

    /// Length of a string's part in `rest`, from after its first quote.
    fn quoted(&mut self, rest: &str, from: usize) -> usize {
        let mut escaped = false;
        for (at, c) in rest[from..].char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    self.inside = Inside::Code;
                    return from + at + 1;
                }
                _ => {}
            }
        }
        // Only Rust's strings go on in the next line.
        self.inside = if self.language == Language::Rust {
            Inside::Quoted
        } else {
            Inside::Code
        };
        rest.len()
    }

    fn until(&mut self, rest: &str, from: usize, end: &str) -> usize {
        match rest[from..].find(end) {
            Some(at) => {
                self.inside = Inside::Code;
                from + at + end.len()
            }
            None => {
                self.inside = match end {
                    "`" => Inside::Backquoted,
                    _ => Inside::Raw(end.len() - 1),
                };
                rest.len()
            }
        }
    }
}

fn raw_end(hashes: usize) -> String {
    format!("\"{}", "#".repeat(hashes))
}

/// Length of a raw string's start and its number of `#`.
fn raw_start(rest: &str) -> Option<(usize, usize)> {
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        rest.strip_prefix(prefix)
            .is_some_and(|after| after.starts_with(['"', '#']))
    })?;
    let after = &rest[prefix.len()..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..]
        .starts_with('"')
        .then_some((prefix.len() + hashes + 1, hashes))
}

/// Length of a character literal; `None` for Rust's lifetimes.
fn character(rest: &str) -> Option<usize> {
    let inner = &rest[1..];
    if let Some(escape) = inner.strip_prefix('\\') {
        let skip = escape.chars().next()?.len_utf8();
        let end = escape[skip..].find('\'')?;
        return (end < 12).then_some(2 + skip + end + 1);
    }
    let c = inner.chars().next()?;
    inner[c.len_utf8()..]
        .starts_with('\'')
        .then_some(1 + c.len_utf8() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(language: Language, text: &str) -> String {
        let mut highlighter = Highlighter::new(language);
        let lines: Vec<String> = text
            .split('\n')
            .map(|line| {
                let spans = highlighter.line(line);
                let whole: String = spans.iter().map(|span| span.text.as_str()).collect();
                assert_eq!(whole, line);
                spans
                    .into_iter()
                    .map(|span| match span.class {
                        Some(class) => format!("{class}‹{}›", span.text),
                        None => span.text,
                    })
                    .collect()
            })
            .collect();
        lines.join("\n")
    }

    #[test]
    fn colours_follow_the_language() {
        let rust = [
            ("fn f<'a>(x: &'a str)", "k‹fn› f<'a>(x: &'a str)"),
            ("'x' '\\n' '\\''", "s‹'x'› s‹'\\n'› s‹'\\''›"),
            ("/* a /* b\n*/ c */ if", "m‹/* a /* b›\nm‹*/ c */› k‹if›"),
            ("\"a\\\"b\nc\" 1_000", "s‹\"a\\\"b›\ns‹c\"› d‹1_000›"),
            ("r#\"a\" // \"# // x", "s‹r#\"a\" // \"#› m‹// x›"),
            ("r#type for", "r#k‹type› k‹for›"),
            ("for_each", "for_each"),
        ];
        for (text, expected) in rust {
            assert_eq!(marked(Language::Rust, text), expected);
        }
        let go = [
            ("func `a\nb` x", "k‹func› s‹`a›\ns‹b`› x"),
            ("/* /* */ nil", "m‹/* /* */› k‹nil›"),
            ("\"open\nvar", "s‹\"open›\nk‹var›"),
        ];
        for (text, expected) in go {
            assert_eq!(marked(Language::Go, text), expected);
        }
    }

    #[test]
    fn anything_at_all_comes_back_whole() {
        let pieces = [
            "'", "\\", "\"", "r#", "/*", "*/", "//", "`", "é", "\u{0}", "fn", "#", " ",
        ];
        for a in pieces {
            for b in pieces {
                for c in pieces {
                    for language in [Language::Rust, Language::Go] {
                        marked(language, &format!("{a}{b}{c}\n{c}{a}{b}{b}"));
                    }
                }
            }
        }
    }
}
