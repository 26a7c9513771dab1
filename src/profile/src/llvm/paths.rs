//! Names of source files: joined to the compiler's directory as LLVM joins
//! them (`sys::path::append` and `remove_dots`, LLVM 22).

/// A name as seen from `directory`, without `.` and `..`; an absolute name is
/// left as it is. Names of Windows are told by their form, whichever machine
/// this runs on; llvm-cov takes them for relative ones elsewhere.
pub(crate) fn join(directory: &str, name: &str) -> String {
    if name.starts_with('/') || is_windows(name) {
        return name.to_owned();
    }
    let windows = is_windows(directory);
    let separator = if windows { '\\' } else { '/' };
    let is_separator = |c: char| c == '/' || (windows && c == '\\');
    let (root, rest) = root(directory, windows);
    let mut parts: Vec<&str> = Vec::new();
    let all = rest.split(is_separator).chain(name.split(is_separator));
    for part in all.filter(|part| !part.is_empty() && *part != ".") {
        match (part, parts.last()) {
            ("..", Some(last)) if *last != ".." => {
                parts.pop();
            }
            // Nothing is above a root.
            ("..", _) if !root.is_empty() => {}
            _ => parts.push(part),
        }
    }
    let mut joined = String::with_capacity(directory.len() + name.len() + 1);
    joined.push_str(root);
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            joined.push(separator);
        }
        joined.push_str(part);
    }
    joined
}

fn is_windows(path: &str) -> bool {
    let bytes = path.as_bytes();
    let drive = matches!(bytes, [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic());
    drive || path.starts_with("\\\\")
}

fn root(path: &str, windows: bool) -> (&str, &str) {
    match path.strip_prefix('/') {
        Some(rest) => ("/", rest),
        None if windows && path.as_bytes().get(1) == Some(&b':') => path.split_at(3),
        None if windows => path.split_at(2),
        None => ("", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_joined_as_llvm_joins_them() {
        for (directory, name, expected) in [
            ("/work", "src/main.rs", "/work/src/main.rs"),
            ("/work/", "./src/../lib.rs", "/work/lib.rs"),
            ("/work", "../../../x.c", "/x.c"),
            (
                "/work",
                "/rustc/abc/library/core/src/a.rs",
                "/rustc/abc/library/core/src/a.rs",
            ),
            ("", "a/./b.c", "a/b.c"),
            ("", "../b.c", "../b.c"),
            ("build", "../../b.c", "../b.c"),
            ("/a//b", "c", "/a/b/c"),
            ("C:\\work", "src\\main.rs", "C:\\work\\src\\main.rs"),
            ("C:\\work", "src/../main.rs", "C:\\work\\main.rs"),
            ("C:\\work", "D:\\x.rs", "D:\\x.rs"),
            ("/work", "D:\\x.rs", "D:\\x.rs"),
        ] {
            assert_eq!(join(directory, name), expected, "{directory} {name}");
        }
    }
}
