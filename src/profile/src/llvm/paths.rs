//! Names of source files: joined to the compiler's directory as LLVM joins
//! them (`sys::path::append` and `remove_dots`, LLVM 22).

/// The directory that names are seen from.
#[derive(Debug)]
pub(crate) struct Directory {
    /// Without `.` and `..`, and without a separator at its end.
    path: String,
    separator: char,
    /// How much of it is the root, above which nothing is.
    root: usize,
}

impl Directory {
    pub(crate) fn new(path: &str) -> Directory {
        let is_windows = is_windows(path);
        let (root, rest) = root(path, is_windows);
        let mut directory = Directory {
            path: root.to_owned(),
            separator: if is_windows { '\\' } else { '/' },
            root: root.len(),
        };
        directory.path = directory.below(rest);
        directory
    }

    /// A name as seen from here, without `.` and `..`; an absolute name is left
    /// as it is. Names of Windows are told by their form, whichever machine
    /// this runs on; llvm-cov takes them for relative ones elsewhere.
    pub(crate) fn join(&self, name: &str) -> String {
        if name.starts_with('/') || is_windows(name) {
            return name.to_owned();
        }
        self.below(name)
    }

    fn below(&self, name: &str) -> String {
        let mut path = String::with_capacity(self.path.len() + name.len() + 1);
        path.push_str(&self.path);
        let is_separator = |c: char| c == '/' || c == self.separator;
        for part in name.split(is_separator) {
            if part.is_empty() || part == "." {
                continue;
            }
            let last = path.get(self.root..).unwrap_or_default();
            let last_at = last.rfind(self.separator).map_or(0, |at| at + 1);
            let last = last.get(last_at..).unwrap_or_default();
            if part == ".." && !last.is_empty() && last != ".." {
                // With the separator before it, if there is one.
                path.truncate(self.root + last_at.saturating_sub(1));
                continue;
            }
            if part == ".." && self.root > 0 {
                continue;
            }
            if path.len() > self.root {
                path.push(self.separator);
            }
            path.push_str(part);
        }
        path
    }
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
            ("/built", "src/main.rs", "/built/src/main.rs"),
            ("/built/", "./src/../lib.rs", "/built/lib.rs"),
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
            assert_eq!(
                Directory::new(directory).join(name),
                expected,
                "{directory} {name}"
            );
        }
    }
}
