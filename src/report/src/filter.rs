//! Which source files count.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Keeps the files whose path fits an `include` glob (all, if there is none)
/// and no `exclude` glob. `*` stays within a folder, `**` does not.
#[derive(Clone, Debug)]
pub struct Filter {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

/// A pattern that is no glob.
#[derive(Debug, thiserror::Error)]
#[error("expected a glob such as `src/**/*.rs`, found `{glob}`: {why}")]
pub struct BadGlob {
    glob: String,
    why: String,
}

impl Filter {
    /// A filter of globs over paths relative to the root of the sources.
    pub fn new<S: AsRef<str>>(include: &[S], exclude: &[S]) -> Result<Self, BadGlob> {
        Ok(Filter {
            include: (!include.is_empty())
                .then(|| glob_set(include))
                .transpose()?,
            exclude: glob_set(exclude)?,
        })
    }

    /// Whether the file counts.
    pub fn keeps(&self, path: &str) -> bool {
        self.include
            .as_ref()
            .is_none_or(|globs| globs.is_match(path))
            && !self.exclude.is_match(path)
    }
}

impl Default for Filter {
    /// Keeps everything.
    fn default() -> Self {
        Filter {
            include: None,
            exclude: GlobSet::empty(),
        }
    }
}

/// One set out of several globs.
pub(crate) fn glob_set<S: AsRef<str>>(globs: &[S]) -> Result<GlobSet, BadGlob> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let glob = glob.as_ref();
        let bad = |error: globset::Error| BadGlob {
            glob: glob.to_owned(),
            why: error.kind().to_string(),
        };
        set.add(
            GlobBuilder::new(glob)
                .literal_separator(true)
                .build()
                .map_err(bad)?,
        );
    }
    set.build().map_err(|error| BadGlob {
        glob: String::new(),
        why: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclude_beats_include_and_a_star_stays_in_its_folder() {
        let filter = Filter::new(&["src/**"], &["**/zz_generated*", "src/*.rs"]).unwrap();
        assert!(filter.keeps("src/a/b.rs"));
        assert!(!filter.keeps("src/b.rs"));
        assert!(!filter.keeps("src/api/v1/zz_generated.deepcopy.go"));
        assert!(!filter.keeps("tests/a.rs"));
        assert!(Filter::default().keeps("anything"));
    }

    #[test]
    fn a_bad_glob_is_named() {
        let error = Filter::new(&["src/[a"], &[]).unwrap_err().to_string();
        assert!(error.contains("`src/[a`"), "{error}");
    }
}
