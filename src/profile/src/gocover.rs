//! Go's text profile out of the model: the blocks of Go components, for
//! `go tool cover` and everything else that reads `coverage.out`.

use crate::go::files::Mode;
use crate::go::text::{Block, Profile, Span};
use crate::model::{Coverage, RegionKind};
use crate::names::Language;

/// The blocks of all Go components as one profile; `None` where there is no Go
/// or the model has no blocks of it. Files are called as Go does, by import
/// path and name. Equal blocks of several builds add up.
///
/// The model has no mode: where no block ran more than once the profile is a
/// `set`, for then both say the same, and else a `count`.
///
/// ```
/// # let coverage = podcov_profile::model::Coverage::default();
/// let text = podcov_profile::gocover::profile(&coverage).map(|profile| profile.to_text());
/// assert_eq!(text, None, "there is no Go in nothing");
/// ```
pub fn profile(coverage: &Coverage) -> Option<Profile> {
    let go = |component: &&crate::model::Component| component.language == Language::Go;
    let mut all = Profile::new(Mode::Set);
    let binaries = coverage
        .components
        .iter()
        .filter(go)
        .flat_map(|c| &c.binaries);
    for file in binaries.flat_map(|binary| &binary.files) {
        let name = file
            .path
            .rsplit_once('/')
            .map_or(&*file.path, |(_, name)| name);
        let path = format!("{}/{name}", file.package);
        for region in file.functions.iter().flat_map(|function| &function.regions) {
            if region.kind != RegionKind::Code {
                continue;
            }
            let span = Span {
                start_line: region.start_line,
                start_column: region.start_column,
                end_line: region.end_line,
                end_column: region.end_column,
            };
            let blocks = all.files.entry(path.clone()).or_default();
            let block = blocks.entry(span).or_insert(Block {
                statements: region.statements,
                count: 0,
            });
            block.count = block.count.saturating_add(region.count);
        }
    }
    if all
        .files
        .values()
        .flat_map(|blocks| blocks.values())
        .any(|block| block.count > 1)
    {
        all.mode = Mode::Count;
    }
    (!all.files.is_empty()).then_some(all)
}
