//! Files that a build reads in place of, or beside, the standard library's.
//!
//! Go's `-overlay` maps paths to other files, so that neither GOROOT nor the
//! user's sources are touched. Our files go into `internal/coverage/cfile`,
//! where the counters are at hand, and are called from the hook that every
//! instrumented program runs before main; and into `runtime`, where the
//! counters are mapped to a file before anything else runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use podcov_profile::bundle::Mode;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::AtPath;

const PODCOV_GO: &str = include_str!("../go_overlay/podcov.go.txt");
const LIVE_GO: &str = include_str!("../go_overlay/live.go.txt");
const NO_LIVE_GO: &str = include_str!("../go_overlay/no_live.go.txt");
const MAP_GO: &str = include_str!("../go_overlay/map.go.txt");
const RUN_MAIN_TEST_GO: &str = include_str!("../go_overlay/run_main_test.go.txt");
const HOOK: &str = "func InitHook(istest bool) {\n";
const EMIT: &str = "exithook.Hook{F: emitCounterData, RunOnFailure: true}";
const ENVIRONMENT: &str = "func goenvs() {\n\tgoenvs_unix()\n}\n";

/// `podcovLoss` of `podcov.go`.
const INTERVAL_MS: u32 = 1000;

/// The releases of Go whose internals are known: the two that the Go project
/// supports, and the one before.
const KNOWN: [&str; 3] = ["1.25", "1.26", "1.27"];

/// What must be in the sources of a release for the counters to be mapped: a
/// file below GOROOT/src, and words in it in this order.
const EXPECTED: [(&str, &[&str]); 4] = [
    // Where the file is mapped there is one thread, and memory and environment.
    (
        "runtime/proc.go",
        &[
            "func schedinit() {",
            "\tworldStopped()",
            "\tmallocinit()",
            "\tgoenvs()",
            "\tworldStarted()",
        ],
    ),
    (
        "runtime/covercounter.go",
        &[
            "datap.covctrs == datap.ecovctrs",
            "(datap.ecovctrs - datap.covctrs) / u32sz",
        ],
    ),
    // The words of a function in the block.
    (
        "internal/coverage/defs.go",
        &[
            "const NumCtrsOffset = 0",
            "const PkgIdOffset = 1",
            "const FuncIdOffset = 2",
            "const FirstCtrOffset = 3",
        ],
    ),
    (
        "internal/coverage/rtcov/rtcov.go",
        &["PkgMap map[int]int", "return uint32(slot + 1)"],
    ),
];

/// How an instrumented Go program brings its counters to the disk, beside what
/// Go itself writes when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    /// They are in a file that is mapped over them.
    Continuous,
    /// All are written again and again; a kill loses the last second.
    Ticker,
    /// Not at all.
    AtExit,
}

impl Counting {
    /// What there is to try for a component, the best first.
    pub(crate) fn wanted(mode: Option<Mode>) -> &'static [Counting] {
        match mode {
            Some(Mode::AtExit) => &[Counting::AtExit],
            _ => &[Counting::Continuous, Counting::Ticker],
        }
    }

    /// What it means for the user that it cannot be.
    pub(crate) fn refused(self, component: &str, version: &str, reason: &str) -> String {
        let loss = match self {
            Counting::Continuous => {
                "what a killed process counted in its last second is lost; Go 1.25 to 1.27 lose \
                 nothing"
            }
            Counting::Ticker | Counting::AtExit => {
                "its counters are written only when it ends by itself, and what it is gets known \
                 only then"
            }
        };
        format!("{component}: podcov's additions do not fit {version}, so {loss}: {reason}")
    }

    /// What a bundle calls it, with the interval of a ticker.
    pub(crate) fn mode(self, is_test: bool) -> (Mode, Option<u32>) {
        let interval = (self == Counting::Ticker).then_some(INTERVAL_MS);
        let mode = match self {
            _ if is_test => Mode::TestMain,
            Counting::Continuous => Mode::Continuous,
            Counting::Ticker => Mode::Ticker,
            Counting::AtExit => Mode::AtExit,
        };
        (mode, interval)
    }
}

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
    /// The part that brings counters to the disk and tells the identity. The
    /// error is the reason why it does not fit this Go.
    pub(crate) fn coverage(
        &mut self,
        goroot: &Path,
        version: &str,
        how: Counting,
    ) -> Result<(), String> {
        let src = goroot.join("src");
        let dir = src.join("internal/coverage/cfile");
        let hooks = dir.join("hooks.go");
        let patched = with_hook(&read(&hooks)?).ok_or_else(|| {
            format!(
                "expected `{}` and `{EMIT}` once in {}",
                HOOK.trim_end(),
                hooks.display()
            )
        })?;
        let mut files = vec![(hooks, patched)];
        let no_live = |constraint: &str, why: &str| {
            NO_LIVE_GO
                .replace("@CONSTRAINT@\n\n", constraint)
                .replace("@WHY@", why)
        };
        let other = dir.join("zz_podcov_no_live.go");
        if how == Counting::Continuous {
            files.extend(mapping(&src, version)?);
            files.push((dir.join("zz_podcov_live_linux.go"), LIVE_GO.to_owned()));
            let why = "counters are mapped to a file on Linux alone";
            files.push((other, no_live("//go:build !linux\n\n", why)));
        } else {
            let why = "the program was built without what maps counters to a file";
            files.push((other, no_live("", why)));
        }
        let is_at_exit = format!("podcovAtExit = {}", how == Counting::AtExit);
        let ours = PODCOV_GO.replace("podcovAtExit = false", &is_at_exit);
        files.push((dir.join("zz_podcov.go"), ours));
        self.files.extend(files);
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

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

/// The files of package runtime that map the counters to a file.
fn mapping(src: &Path, version: &str) -> Result<Vec<(PathBuf, String)>, String> {
    if !is_known(version) {
        return Err(format!(
            "expected Go {}, found {version}",
            KNOWN.join(" or ")
        ));
    }
    for (file, words) in EXPECTED {
        let file = src.join(file);
        let text = read(&file)?;
        let mut rest = text.as_str();
        for word in words {
            rest = rest
                .split_once(word)
                .ok_or_else(|| format!("expected `{}` in {}", word.trim(), file.display()))?
                .1;
        }
    }
    let dir = src.join("runtime");
    let system = dir.join("os_linux.go");
    let text = read(&system)?;
    let package = ["internal/runtime/syscall/linux", "internal/runtime/syscall"]
        .into_iter()
        .find(|package| text.contains(&format!("\t\"{package}\"\n")));
    let (Some(package), 2) = (package, text.split(ENVIRONMENT).count()) else {
        return Err(format!(
            "expected package syscall and `goenvs` once in {}",
            system.display()
        ));
    };
    let patched = ENVIRONMENT.replace("}\n", "\tpodcovMapCounters()\n}\n");
    Ok(vec![
        (system, text.replace(ENVIRONMENT, &patched)),
        (
            dir.join("zz_podcov_linux.go"),
            MAP_GO.replace("@SYSCALL@", package),
        ),
    ])
}

/// "go1.26.8", "go1.26rc1", "go1.26-x" are of Go 1.26; "go1.260" is not.
fn is_known(version: &str) -> bool {
    KNOWN.iter().any(|known| {
        let rest = version
            .strip_prefix("go")
            .and_then(|rest| rest.strip_prefix(known));
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}

/// `hooks.go` with calls of ours in InitHook; `None` if it does not look as it
/// did in the releases that we know.
fn with_hook(text: &str) -> Option<String> {
    let (before, rest) = text.split_once(HOOK)?;
    let (body, after) = rest.split_once("\n}\n")?;
    // A return in the middle would go past our call.
    if rest.contains(HOOK)
        || !body.contains("emitMetaData()")
        || body.contains("return")
        || body.split(EMIT).count() != 2
    {
        return None;
    }
    let body = body.replace(EMIT, &EMIT.replace("emit", "podcovEmit"));
    Some(format!(
        "{before}{HOOK}{body}\n\tpodcovHook(istest)\n}}\n{after}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hook_is_called_last_or_not_at_all() {
        let text = "package cfile\n\nfunc InitHook(istest bool) {\n\texithook.Add(exithook.Hook{F: \
                    emitCounterData, RunOnFailure: true})\n\tif !istest {\n\t\t\
                    emitMetaData()\n\t}\n}\n\nfunc other() {\n}\n";
        let patched = with_hook(text).unwrap();
        assert!(
            patched.contains("\t}\n\tpodcovHook(istest)\n}\n\nfunc other"),
            "{patched}"
        );
        assert!(patched.contains("F: podcovEmitCounterData,"), "{patched}");
        assert!(with_hook(&text.replace("RunOnFailure", "Always")).is_none());
        assert!(with_hook(&text.replace("istest bool", "mode int")).is_none());
        assert!(with_hook(&text.replace("emitMetaData()", "later()")).is_none());
        assert!(with_hook(&format!("{text}{text}")).is_none());
    }

    #[test]
    fn releases_are_known_by_their_number() {
        for known in ["go1.25", "go1.27.1", "go1.26rc1", "go1.26-devel_0a1b"] {
            assert!(is_known(known), "{known}");
        }
        for other in ["go1.24.9", "go1.28", "go1.250", "devel go1.26", "1.26"] {
            assert!(!is_known(other), "{other}");
        }
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
