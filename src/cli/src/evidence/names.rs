//! What source files are called, and which of them are told.

use std::path::{Path, PathBuf};

use podcov_report::Filter;

use crate::args::Selection;
use crate::exit::{Exit, Failure, OrExit};

/// Rules for the names of source files.
#[derive(Debug, Default)]
pub struct Names {
    rules: Vec<(String, String)>,
    /// As it was named, and canonical; names below the second are relative.
    root: Option<(PathBuf, String)>,
    filter: Filter,
    is_plain: bool,
}

impl Names {
    /// The rules that a command line has.
    pub fn new(selection: &Selection) -> Result<Names, Failure> {
        let root = match &selection.source_root {
            None => None,
            Some(dir) => {
                let canonical = std::fs::canonicalize(dir).map_err(|error| {
                    let text = format!(
                        "expected a folder of sources at `{}`: {error}",
                        dir.display()
                    );
                    Failure::new(Exit::Usage, text)
                })?;
                Some((dir.clone(), canonical.to_string_lossy().into_owned()))
            }
        };
        Ok(Names {
            is_plain: selection.path_map.is_empty() && root.is_none(),
            rules: selection.path_map.clone(),
            root,
            filter: Filter::new(&selection.include, &selection.exclude).or_exit(Exit::Usage)?,
        })
    }

    /// Nothing is renamed.
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// What a file is called that a profile calls `name`.
    pub fn shown(&self, name: &str) -> String {
        let rule = self.rules.iter().find_map(|(from, to)| {
            let rest = below(name, from)?;
            Some(match (to.trim_end_matches('/'), rest) {
                ("", rest) => rest.to_owned(),
                (to, "") => to.to_owned(),
                (to, rest) => format!("{to}/{rest}"),
            })
        });
        let name = rule.unwrap_or_else(|| name.to_owned());
        let root = self.root.as_ref();
        match root.and_then(|(_, root)| below(&name, root)) {
            Some(rest) if !rest.is_empty() => rest.to_owned(),
            _ => name,
        }
    }

    /// Whether the file of this name is told.
    pub fn keeps(&self, shown: &str) -> bool {
        self.filter.keeps(shown.strip_prefix('/').unwrap_or(shown)) || self.filter.keeps(shown)
    }

    /// Where the text of a file may be, the likeliest first.
    pub fn places(&self, shown: &str) -> Vec<PathBuf> {
        let mut places = Vec::new();
        if let Some((root, _)) = &self.root {
            places.push(root.join(shown.trim_start_matches('/')));
            // Go calls a file by the path of its module, whose folder may be
            // the root.
            let mut rest = shown;
            while let Some((_, shorter)) = rest.split_once('/') {
                places.push(root.join(shorter));
                rest = shorter;
            }
        }
        places.push(Path::new(shown).to_owned());
        places
    }
}

/// The rest of a path below a folder, by whole components.
fn below<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(folder)?;
    let whole = folder.ends_with('/') || rest.is_empty() || rest.starts_with('/');
    whole.then(|| rest.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change_by_whole_components() {
        let names = Names {
            rules: vec![
                ("/build/app".into(), "app".into()),
                ("/rustc/".into(), String::new()),
            ],
            ..Names::default()
        };
        assert_eq!(names.shown("/build/app/src/main.rs"), "app/src/main.rs");
        assert_eq!(names.shown("/build/apple/a.rs"), "/build/apple/a.rs");
        assert_eq!(names.shown("/rustc/1/a.rs"), "1/a.rs");
    }
}
