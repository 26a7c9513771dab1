//! Finding LLVM's and Go's own tools, and installing LLVM's where that is one
//! command.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use podcov_process::{Cancel, Cancelled, Progress, Run, find_program};

/// The newest LLVM looked for by name on PATH.
const NEWEST: u32 = 40;
const FROM_ENV: &str = "LLVM_COV and LLVM_PROFDATA";
/// How long a tool may take to say its version.
const VERSION_LIMIT: Duration = Duration::from_secs(30);

/// `llvm-profdata` and `llvm-cov` of one LLVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Llvm {
    /// Merges raw profiles.
    pub profdata: PathBuf,
    /// Turns a merged profile and a program into counts of source code.
    pub cov: PathBuf,
    /// Major version of both.
    pub major: u32,
    /// Where they were found: `LLVM_COV and LLVM_PROFDATA`, `rustup's
    /// llvm-tools`, `PATH`.
    pub origin: &'static str,
}

/// No tool that fits.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// LLVM's tools are missing or too old.
    #[error(
        "expected llvm-profdata and llvm-cov of LLVM {required} or newer, found {found}: \
         run `rustup component add llvm-tools`, or on Debian and Ubuntu \
         `apt-get install llvm-{required}`, or set LLVM_PROFDATA and LLVM_COV"
    )]
    Llvm {
        /// LLVM of the compiler that made the profiles.
        required: u32,
        /// What was found instead.
        found: String,
    },
    /// Go is missing.
    #[error("expected `go` on PATH or in GOROOT/bin: install the Go that built the component")]
    Go,
    /// Installing failed.
    #[error("cannot install llvm-{major}")]
    Install {
        /// LLVM's major version.
        major: u32,
        /// What apt said.
        source: podcov_process::Error,
    },
    /// The user asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Finds LLVM's tools where cargo-llvm-cov finds them: what `LLVM_COV` and
/// `LLVM_PROFDATA` name is taken; else rustup's component `llvm-tools`, names
/// with a version on PATH and the plain names are looked at, and of those the
/// version nearest to `required` is taken.
///
/// `required` is the LLVM of the compiler that made the profiles. Tools that
/// are older cannot read them; newer ones can only as long as they read that
/// version of the raw format, which is why the nearest is taken.
pub fn find_llvm(required: u32, cancel: &Cancel) -> Result<Llvm, Error> {
    let mut found = Vec::new();
    let mut best: Option<Llvm> = None;
    for (profdata, cov, origin) in candidates(required, cancel)? {
        let (Some(major), Some(of_cov)) = (
            major_version(&profdata, cancel)?,
            major_version(&cov, cancel)?,
        ) else {
            continue;
        };
        let other = if major == of_cov {
            String::new()
        } else {
            format!(" and {of_cov}")
        };
        found.push(format!("LLVM {major}{other} ({origin})"));
        if major == of_cov
            && major >= required
            && best.as_ref().is_none_or(|best| major < best.major)
        {
            best = Some(Llvm {
                profdata,
                cov,
                major,
                origin,
            });
        }
        if best
            .as_ref()
            .is_some_and(|best| best.major == required || origin == FROM_ENV)
        {
            break;
        }
    }
    let found = if found.is_empty() {
        "none".to_owned()
    } else {
        found.join(", ")
    };
    best.ok_or(Error::Llvm { required, found })
}

type Candidate = (PathBuf, PathBuf, &'static str);

fn candidates(required: u32, cancel: &Cancel) -> Result<Vec<Candidate>, Cancelled> {
    let mut all = Vec::new();
    if let (Some(cov), Some(profdata)) = (env::var_os("LLVM_COV"), env::var_os("LLVM_PROFDATA")) {
        all.push((profdata.into(), cov.into(), FROM_ENV));
    }
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let libdir = Run::new(rustc)
        .args(["--print", "target-libdir"])
        .cancel(cancel)
        .run();
    cancel.check()?;
    if let Ok(libdir) = libdir {
        let bin = Path::new(libdir.text().trim()).join("../bin");
        let [profdata, cov] = ["llvm-profdata", "llvm-cov"].map(|name| bin.join(name));
        if profdata.is_file() && cov.is_file() {
            all.push((profdata, cov, "rustup's llvm-tools"));
        }
    }
    let versioned = (required..=NEWEST.max(required)).map(|major| format!("-{major}"));
    for suffix in versioned.chain([String::new()]) {
        let both =
            ["llvm-profdata", "llvm-cov"].map(|name| find_program(&(name.to_owned() + &suffix)));
        if let [Some(profdata), Some(cov)] = both {
            all.push((profdata, cov, "PATH"));
        }
    }
    Ok(all)
}

/// The major version a tool of LLVM says it has.
fn major_version(tool: &Path, cancel: &Cancel) -> Result<Option<u32>, Cancelled> {
    let done = Run::new(tool)
        .arg("--version")
        .timeout(VERSION_LIMIT)
        .cancel(cancel)
        .run();
    cancel.check()?;
    Ok(done.ok().and_then(|done| parse_major(&done.text())))
}

fn parse_major(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("LLVM version ")?;
    version
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// Finds LLVM's tools; where they are missing and `install` is set, installs
/// Debian's `llvm-<major>` if this is Debian or Ubuntu and we are root.
pub fn ensure_llvm(
    required: u32,
    install: bool,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Llvm, Error> {
    let missing = match find_llvm(required, cancel) {
        Err(error @ Error::Llvm { .. }) => error,
        other => return other,
    };
    let is_root = rustix::process::geteuid().is_root();
    if !install || !is_root || find_program("apt-get").is_none() {
        return Err(missing);
    }
    let package = format!("llvm-{required}");
    progress.note(&format!("installing {package} with apt-get: {missing}"));
    let failed = |source| match source {
        podcov_process::Error::Cancelled(cancelled) => Error::Cancelled(cancelled),
        source => Error::Install {
            major: required,
            source,
        },
    };
    let apt = |args: &[&str]| {
        progress.status(&format!("apt-get {}", args.join(" ")));
        Run::new("apt-get")
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .cancel(cancel)
            .run()
    };
    let is_known = Run::new("apt-cache")
        .args(["show", &package])
        .cancel(cancel)
        .run()
        .is_ok();
    cancel.check()?;
    if !is_known {
        apt(&["update"]).map_err(failed)?;
    }
    apt(&["install", "-y", "--no-install-recommends", &package]).map_err(failed)?;
    find_llvm(required, cancel)
}

/// Finds the program `go`: on PATH, else in `GOROOT/bin`.
pub fn find_go() -> Result<PathBuf, Error> {
    let in_root = || {
        let go = Path::new(&env::var_os("GOROOT").filter(|root| !root.is_empty())?).join("bin/go");
        go.is_file().then_some(go)
    };
    find_program("go").or_else(in_root).ok_or(Error::Go)
}

/// A command line as one could type it, for the record we leave.
pub(crate) fn command_line(program: &Path, args: &[impl AsRef<OsStr>]) -> String {
    Run::new(program).args(args).command_line()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_tools_print() {
        let cases = [
            ("Debian LLVM version 22.1.8\n  Optimized build.\n", Some(22)),
            (
                "LLVM (http://llvm.org/):\n  LLVM version 21.1.2-rust-1.91.0-stable\n",
                Some(21),
            ),
            ("gcov 12", None),
        ];
        for (text, major) in cases {
            assert_eq!(parse_major(text), major, "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_said_with_the_remedy() {
        let error = find_llvm(NEWEST + 1, &Cancel::new())
            .unwrap_err()
            .to_string();
        assert!(error.contains("of LLVM 41 or newer"), "{error}");
        assert!(error.contains("rustup component add llvm-tools"), "{error}");
    }
}
