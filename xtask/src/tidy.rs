//! House rules that neither rustfmt nor clippy knows.

use std::path::{Path, PathBuf};

/// A hand-written file over this many lines is asking for a module.
const LINES: usize = 650;
/// Texts that mean something was left undone or switched off.
const UNDONE: &[&str] = &["todo!(", "unimplemented!(", "#[ignore", "t.Skip(", "dbg!("];
const SOURCES: &[&str] = &["rs", "go"];
const TEXTS: &[&str] = &["rs", "go", "md", "toml", "yaml", "yml", "hbs", "css", "sh"];

/// What is against the rules, a line each.
pub fn check(root: &Path) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut files = Vec::new();
    collect(root, &mut files);
    files.sort();
    if files.len() < 20 {
        complaints.push(format!(
            "expected the project below {}, found {} files",
            root.display(),
            files.len()
        ));
    }
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        let shown = file
            .strip_prefix(root)
            .unwrap_or(&file)
            .display()
            .to_string();
        // This file names what it forbids.
        if shown == "xtask/src/tidy.rs" {
            continue;
        }
        if is(&file, SOURCES) {
            let lines = text.lines().count();
            let test = shown.contains("/tests/") || shown.contains("_test.go");
            if lines > LINES && !test && !text.starts_with("// Code generated") {
                complaints.push(format!("{shown}: {lines} lines, the limit is {LINES}"));
            }
            for word in UNDONE {
                if let Some(line) = text.lines().position(|line| line.contains(word)) {
                    complaints.push(format!("{shown}:{}: `{word}`", line + 1));
                }
            }
        }
        if shown.ends_with(".hbs") && text.contains("{{{") {
            complaints.push(format!("{shown}: triple braces do not escape"));
        }
        for (number, line) in text.lines().enumerate() {
            let trailing = line.len() != line.trim_end().len();
            if trailing && !shown.ends_with(".md") && !shown.contains("fixtures") {
                complaints.push(format!("{shown}:{}: white space at the end", number + 1));
            }
        }
    }
    complaints
}

fn is(file: &Path, kinds: &[&str]) -> bool {
    file.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| kinds.contains(&e))
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let skipped = name.starts_with('.') || name == "target" || name == "profiles";
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !skipped => collect(&path, files),
            Ok(kind) if kind.is_file() && is(&path, TEXTS) => files.push(path),
            _ => {}
        }
    }
}
