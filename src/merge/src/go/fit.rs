//! Whether a text profile can be of the build that it claims to be of.
//!
//! A text profile carries neither hash nor size, so what a pod wrote there is
//! believed only as far as the bundle knows the same blocks: by the program's
//! meta-data where the bundle has it, else by the length of the sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use podcov_profile::bundle::Sources;
use podcov_profile::go::files::Meta;
use podcov_profile::go::text::{Block, Profile, Span};

/// What the blocks of a build can be.
pub(super) struct Fit<'a> {
    /// Statements of every block, by file; empty without meta-data.
    blocks: BTreeMap<&'a str, BTreeMap<Span, u32>>,
    sources: &'a Sources,
    src: &'a Path,
    /// Lines of the sources that were asked for; `None` where nothing bounds
    /// them.
    lengths: BTreeMap<String, Option<usize>>,
}

impl<'a> Fit<'a> {
    /// From the bundle's meta-data and its snapshot of the sources in `src`.
    pub fn new(
        metas: impl Iterator<Item = &'a Meta>,
        sources: &'a Sources,
        src: &'a Path,
    ) -> Fit<'a> {
        let mut blocks: BTreeMap<&str, BTreeMap<Span, u32>> = BTreeMap::new();
        for function in metas.flat_map(Meta::functions) {
            let file = blocks.entry(function.file()).or_default();
            for unit in function.units() {
                file.insert(Span::from(*unit), unit.statements);
            }
        }
        Fit {
            blocks,
            sources,
            src,
            lengths: BTreeMap::new(),
        }
    }

    /// `Err` says which block cannot be of this build.
    pub fn check(&mut self, profile: &Profile) -> Result<(), String> {
        for (file, blocks) in &profile.files {
            if self.blocks.is_empty() {
                self.check_length(file, blocks)?;
            } else {
                self.check_known(file, blocks)?;
            }
        }
        Ok(())
    }

    fn check_known(&self, file: &str, blocks: &BTreeMap<Span, Block>) -> Result<(), String> {
        let known = self.blocks.get(file).ok_or_else(|| {
            format!("it names `{file}`, which the meta-data of its build does not know")
        })?;
        for (span, block) in blocks {
            let found = block.statements;
            match known.get(span) {
                Some(statements) if *statements == found => {}
                Some(statements) => {
                    return Err(format!(
                        "block {} of {file} has {found} statements in it, and {statements} in the \
                         meta-data of its build",
                        place(span)
                    ));
                }
                None => {
                    return Err(format!(
                        "block {} of {file} is not in the meta-data of its build",
                        place(span)
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_length(&mut self, file: &str, blocks: &BTreeMap<Span, Block>) -> Result<(), String> {
        let Some(name) = self.sources.relative(file) else {
            return Ok(());
        };
        let (sources, src) = (self.sources, self.src);
        let length = self.lengths.entry(name).or_insert_with_key(|name| {
            // Only a source of the snapshot: the name comes from a pod.
            let is_source = sources.files.iter().any(|file| file.path == *name);
            let bytes = fs::read(src.join(name)).ok().filter(|_| is_source)?;
            length(&bytes)
        });
        let Some(length) = *length else {
            return Ok(());
        };
        match blocks.keys().find(|span| span.end_line as usize > length) {
            None => Ok(()),
            Some(span) => Err(format!(
                "block {} of {file} lies beyond the end of its source, which has {length} lines",
                place(span)
            )),
        }
    }
}

/// How many lines a source has; `None` where a directive gives its lines other
/// numbers, as goyacc's do.
fn length(source: &[u8]) -> Option<usize> {
    let has = |word: &[u8]| source.windows(word.len()).any(|bytes| bytes == word);
    if has(b"//line ") || has(b"/*line ") {
        return None;
    }
    Some(source.split_inclusive(|byte| *byte == b'\n').count())
}

fn place(span: &Span) -> String {
    let Span {
        start_line,
        start_column,
        end_line,
        end_column,
    } = span;
    format!("{start_line}.{start_column},{end_line}.{end_column}")
}

#[cfg(test)]
mod tests {
    use super::length;

    #[test]
    fn lines_are_counted_unless_a_directive_renumbers_them() {
        assert_eq!(length(b""), Some(0));
        assert_eq!(length(b"package a\n"), Some(1));
        assert_eq!(length(b"package a\n\nfunc f() {}"), Some(3));
        assert_eq!(length(b"package a\n//line expr.y:300\n"), None);
        assert_eq!(
            length(b"package a\n/*line expr.y:300:1*/func f() {}\n"),
            None
        );
    }
}
