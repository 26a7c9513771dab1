//! Files that a build reads in place of, or beside, the standard library's.
//!
//! Go's `-overlay` maps paths to other files, so that neither GOROOT nor the
//! user's sources are touched. Our file goes into `internal/coverage/cfile`,
//! where the counters are at hand, and is called from the hook that every
//! instrumented program runs before main.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::AtPath;

const PODCOV_GO: &str = include_str!("../go_overlay/podcov.go.txt");
const RUN_MAIN_TEST_GO: &str = include_str!("../go_overlay/run_main_test.go.txt");
const HOOK: &str = "func InitHook(istest bool) {\n";

/// An overlay to be: where a file seems to be and what is in it.
#[derive(Default)]
pub(crate) struct Overlay {
    files: BTreeMap<PathBuf, String>,
    /// The user's own.
    given: BTreeMap<PathBuf, PathBuf>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Json {
    replace: BTreeMap<PathBuf, PathBuf>,
}

impl Overlay {
    /// The part that makes snapshots (if `ticks`) and tells the identity. The
    /// error is the reason why it does not fit this Go.
    pub(crate) fn coverage(&mut self, goroot: &Path, ticks: bool) -> Result<(), String> {
        let dir = goroot.join("src/internal/coverage/cfile");
        let hooks = dir.join("hooks.go");
        let text = fs::read_to_string(&hooks)
            .map_err(|error| format!("cannot read {}: {error}", hooks.display()))?;
        let patched = with_hook(&text)
            .ok_or_else(|| format!("expected `{}` once in {}", HOOK.trim_end(), hooks.display()))?;
        let ours = if ticks {
            PODCOV_GO.to_owned()
        } else {
            PODCOV_GO.replace("podcovTicks = true", "podcovTicks = false")
        };
        self.files.insert(hooks, patched);
        self.files.insert(dir.join("zz_podcov.go"), ours);
        Ok(())
    }

    /// A test named `test` that calls main, in the package in `dir`.
    pub(crate) fn run_main_test(&mut self, dir: &Path, test: &str) {
        let text = RUN_MAIN_TEST_GO.replace("@TEST@", test);
        self.files
            .insert(dir.join("zz_podcov_run_main_test.go"), text);
    }

    /// Takes over the overlay that the user's GOFLAGS name; ours on the
    /// command line would hide it.
    pub(crate) fn include(&mut self, file: &Path) -> Result<(), Error> {
        let text = fs::read_to_string(file).at("read", file)?;
        let json: Json = serde_json::from_str(&text).map_err(|e| Error::Answer {
            tool: "GOFLAGS=-overlay",
            what: e.to_string(),
        })?;
        self.given.extend(json.replace);
        Ok(())
    }

    /// Writes everything to `dir`; gives the path for `-overlay`. What is the
    /// same already is left as it is.
    pub(crate) fn write(self, dir: &Path) -> Result<PathBuf, Error> {
        fs::create_dir_all(dir).at("create", dir)?;
        let mut replace = self.given;
        for (place, text) in self.files {
            let name = place
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            // Go takes no notice of a file that ends in `.txt` by itself.
            let file = dir.join(format!("{name}.txt"));
            write_changed(&file, &text)?;
            replace.insert(place, file);
        }
        let json = serde_json::to_string_pretty(&Json { replace }).map_err(|e| Error::Answer {
            tool: "serde_json",
            what: e.to_string(),
        })?;
        let file = dir.join("overlay.json");
        write_changed(&file, &json)?;
        Ok(file)
    }
}

fn write_changed(file: &Path, text: &str) -> Result<(), Error> {
    if fs::read_to_string(file).is_ok_and(|old| old == text) {
        return Ok(());
    }
    // Several builds may share the folder: no half of a file is ever seen.
    let temporary = file.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&temporary, text).at("write", &temporary)?;
    fs::rename(&temporary, file).at("rename", &temporary)
}

/// `hooks.go` with a call of ours at the end of InitHook; `None` if it does
/// not look as it did in the releases that we know.
fn with_hook(text: &str) -> Option<String> {
    let (before, rest) = text.split_once(HOOK)?;
    let (body, after) = rest.split_once("\n}\n")?;
    // A return in the middle would go past our call.
    if rest.contains(HOOK) || !body.contains("emitMetaData()") || body.contains("return") {
        return None;
    }
    Some(format!("{before}{HOOK}{body}\n\tpodcovHook()\n}}\n{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hook_is_called_last_or_not_at_all() {
        let text = "package cfile\n\nfunc InitHook(istest bool) {\n\tif !istest {\n\t\t\
                    emitMetaData()\n\t}\n}\n\nfunc other() {\n}\n";
        let patched = with_hook(text).unwrap();
        assert!(
            patched.contains("\t}\n\tpodcovHook()\n}\n\nfunc other"),
            "{patched}"
        );
        assert!(with_hook(&text.replace("istest bool", "mode int")).is_none());
        assert!(with_hook(&text.replace("emitMetaData()", "later()")).is_none());
        assert!(with_hook(&format!("{text}{text}")).is_none());
    }

    #[test]
    fn the_users_overlay_stays() {
        let dir = tempfile::tempdir().unwrap();
        let theirs = dir.path().join("theirs.json");
        fs::write(&theirs, r#"{"Replace": {"/a/b.go": "/tmp/b.go"}}"#).unwrap();
        let mut overlay = Overlay::default();
        overlay.include(&theirs).unwrap();
        overlay.run_main_test(Path::new("/p"), "TestX");
        let file = overlay.write(&dir.path().join("out")).unwrap();
        let json: Json = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(json.replace[Path::new("/a/b.go")], Path::new("/tmp/b.go"));
        let ours = &json.replace[Path::new("/p/zz_podcov_run_main_test.go")];
        assert!(
            fs::read_to_string(ours)
                .unwrap()
                .contains("func TestX(*testing.T)")
        );
    }
}
