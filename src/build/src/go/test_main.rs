//! The way of before Go 1.20: a test binary whose test calls main.

use super::list::{Go, Package};
use super::overlay::Overlay;
use crate::Error;
use crate::error::AtPath;

/// Makes sure that the test `run` is there: the user's own, or ours in the
/// overlay.
pub(super) fn provide(
    go: &Go,
    main: &Package,
    run: &str,
    tag: Option<&str>,
    overlay: &mut Overlay,
) -> Result<(), Error> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    if !run.starts_with("Test") || !run.chars().all(is_name) {
        let what = format!(
            "`run`: expected the name of a test such as `{}`, found `{run}`",
            crate::GoBuild::TEST
        );
        return Err(Error::configuration(&go.component.name, what));
    }
    for name in &main.test_go_files {
        let file = main.dir.join(name);
        let text = std::fs::read_to_string(&file).at("read", &file)?;
        if declares(&text, run) {
            return Ok(());
        }
    }
    // It may be there under a build tag that nobody gave.
    let mut entries: Vec<_> = std::fs::read_dir(&main.dir)
        .at("read", &main.dir)?
        .flatten()
        .map(|e| e.path())
        .collect();
    entries.sort();
    for file in entries {
        let is_test = file
            .file_name()
            .is_some_and(|n| n.to_string_lossy().ends_with("_test.go"));
        let text = is_test
            .then(|| std::fs::read_to_string(&file).ok())
            .flatten();
        let Some(text) = text.filter(|text| declares(text, run)) else {
            continue;
        };
        let constraint = text.lines().find(|line| line.starts_with("//go:build "));
        let given = tag.map_or("no tag was given".to_owned(), |tag| {
            format!("the tag is `{tag}`")
        });
        let what = format!(
            "`{run}` is in {}, which this build leaves out ({}; {given}); set the tag in `build`",
            file.display(),
            constraint.unwrap_or("its name ends in another system or architecture")
        );
        return Err(Error::configuration(&go.component.name, what));
    }
    overlay.run_main_test(&main.dir, run);
    Ok(())
}

fn declares(text: &str, test: &str) -> bool {
    text.lines().any(|line| {
        line.strip_prefix("func ").is_some_and(|rest| {
            rest.trim_start()
                .strip_prefix(test)
                .is_some_and(|rest| rest.starts_with('('))
        })
    })
}
