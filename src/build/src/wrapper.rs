//! podcov as RUSTC_WRAPPER: cargo asks rustc through us, and we add the flags
//! of instrumentation to the crates that are counted, and to no other.
//!
//! The user's own RUSTFLAGS, from wherever, are never touched that way. What
//! is counted reaches us in one of two ways. A build that podcov runs marks
//! the packages with a [`Marker`] in their profile. A build that somebody else
//! runs (`podcov env`) names them in [`CRATES`].

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use podcov_profile::bundle::Mode;

/// Set (to 1) where podcov is to behave as RUSTC_WRAPPER.
pub(crate) const ENABLED: &str = "PODCOV_RUSTC_WRAPPER";
/// Cargo packages to count, with commas; without it markers decide.
pub(crate) const CRATES: &str = "PODCOV_RUSTC_CRATES";
/// `continuous` or `at-exit`, for the packages in [`CRATES`].
pub(crate) const MODE: &str = "PODCOV_RUSTC_MODE";
/// 1: link the C library statically into what is built for the target.
pub(crate) const STATIC: &str = "PODCOV_RUSTC_STATIC";
/// The wrapper that was there before us, e.g. sccache.
pub(crate) const NEXT: &str = "PODCOV_RUSTC_NEXT";

/// A value of `codegen-units` that means: count this package.
///
/// Cargo has no stable flags per package, but it has profiles per package, and
/// it keeps the outputs of different profiles apart. So one target folder
/// serves all components of a composition: what they share is built once, and
/// a package that is counted for one and not for the other is there twice,
/// never mistaken and never rebuilt in turns. The wrapper puts back what the
/// user had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    /// How counters reach the disk.
    pub(crate) mode: Mode,
    /// What the user's profile says, if it says anything.
    pub(crate) codegen_units: Option<u32>,
}

const MARK: u32 = 1_000_000;
const MARK_AT_EXIT: u32 = 2_000_000;

impl Marker {
    pub(crate) fn encode(self) -> u32 {
        let base = if self.mode == Mode::AtExit {
            MARK_AT_EXIT
        } else {
            MARK
        };
        base + self.codegen_units.unwrap_or(0).min(MARK - 1)
    }

    fn decode(value: u32) -> Option<Self> {
        let (mode, rest) = match value / MARK {
            1 => (Mode::Continuous, value - MARK),
            2 => (Mode::AtExit, value - MARK_AT_EXIT),
            _ => return None,
        };
        Some(Marker {
            mode,
            codegen_units: (rest > 0).then_some(rest),
        })
    }
}

/// Flags for a crate that is counted. `cfg(coverage)` is what cargo-llvm-cov
/// sets; sources that know the one behave the same under the other.
fn instrument(mode: Mode) -> Vec<OsString> {
    let mut flags = vec!["-C", "instrument-coverage"];
    if mode != Mode::AtExit {
        flags.extend(["-C", "llvm-args=-runtime-counter-relocation"]);
    }
    flags.extend(["--cfg=coverage", "--check-cfg=cfg(coverage)"]);
    flags.into_iter().map(OsString::from).collect()
}

/// What the environment of a wrapper says.
#[derive(Clone, Debug, Default)]
struct Settings {
    crates: Option<Vec<String>>,
    at_exit: bool,
    statically: bool,
    package: Option<String>,
}

impl Settings {
    fn from_env() -> Self {
        let text = |name| std::env::var(name).ok();
        Settings {
            crates: text(CRATES).map(|list| {
                list.split(',')
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .collect()
            }),
            at_exit: text(MODE).as_deref() == Some("at-exit"),
            statically: text(STATIC).as_deref() == Some("1"),
            package: text("CARGO_PKG_NAME"),
        }
    }
}

/// Whether this process was started by cargo as RUSTC_WRAPPER and not by a
/// user in a shell where `podcov env` was evaluated: cargo gives a compiler
/// first.
pub fn is_rustc_wrapper() -> bool {
    std::env::var_os(ENABLED).is_some()
        && std::env::args_os()
            .nth(1)
            .is_some_and(|first| is_program(&first))
}

/// No command of podcov's looks like it. RUSTC and RUSTC_WORKSPACE_WRAPPER may
/// have any name, but then they are paths.
fn is_program(first: &OsStr) -> bool {
    let name = first.to_string_lossy();
    name.contains('/') || name.starts_with("rustc") || name.starts_with("clippy-driver")
}

/// Becomes the rustc that cargo asked for, with our flags added. `args` is
/// what cargo passed: the program and its arguments. Returns only on failure.
pub fn rustc_wrapper(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let Some(rustc) = args.next() else {
        eprintln_to_cargo("expected the path of rustc as first argument, found nothing");
        return ExitCode::from(2);
    };
    let args = match rewrite_with_files(args.collect(), &Settings::from_env()) {
        Ok(args) => args,
        Err(error) => {
            eprintln_to_cargo(&format!("cannot keep rustc's arguments in a file: {error}"));
            return ExitCode::from(1);
        }
    };
    // In a shell where `podcov env` was evaluated before, it is ourselves.
    let is_other = |next: &OsString| {
        !next.is_empty() && std::env::current_exe().ok().as_deref() != Some(Path::new(next))
    };
    let next = std::env::var_os(NEXT).filter(is_other);
    let mut command = match next {
        Some(wrapper) => {
            let mut command = Command::new(wrapper);
            command.arg(&rustc);
            command
        }
        None => Command::new(&rustc),
    };
    let error = command.args(args).exec();
    eprintln_to_cargo(&format!(
        "cannot start `{}`: {error}",
        command.get_program().display()
    ));
    ExitCode::from(1)
}

/// The wrapper is a child of cargo, which shows its stderr; there is no
/// `Progress` to report to.
fn eprintln_to_cargo(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "error: podcov as RUSTC_WRAPPER: {text}");
}

fn rewrite(args: Vec<OsString>, settings: &Settings) -> Vec<OsString> {
    let (mut args, marker) = take_marker(args);
    let crate_name = value_of(&args, "--crate-name");
    let has_target = value_of(&args, "--target").is_some();
    let crate_types = values_of(&args, "--crate-type");
    let asks_only = args
        .iter()
        .any(|arg| arg.to_string_lossy().starts_with("--print"));
    // A build that podcov runs, or a static one, always names a target, so what
    // has none is for the machine that builds: build scripts, procedural macros.
    let names_target = settings.crates.is_none() || settings.statically;
    let for_host = !has_target && names_target
        || crate_types.iter().any(|kind| kind == "proc-macro")
        || crate_name
            .as_deref()
            .is_some_and(|name| name.starts_with("build_script_"));
    if settings.statically && has_target && (!for_host || asks_only) {
        args.extend(["-C", "target-feature=+crt-static"].map(OsString::from));
    }
    // Questions about the compiler ("what would you print") stay as they are.
    if for_host || asks_only || crate_name.is_none() {
        return args;
    }
    let mode = match (&settings.crates, &settings.package) {
        (Some(crates), Some(package)) if crates.contains(package) => Some(if settings.at_exit {
            Mode::AtExit
        } else {
            Mode::Continuous
        }),
        (Some(_), _) => None,
        (None, _) => marker.map(|marker| marker.mode),
    };
    if let Some(mode) = mode {
        args.extend(instrument(mode));
    }
    if crate_types
        .iter()
        .any(|kind| kind == "bin" || kind == "cdylib")
    {
        // The program may hold counted libraries without being counted itself;
        // rustc asks for the runtime's start only in an instrumented crate.
        let flags = [
            "-C",
            "link-arg=-Wl,--build-id=sha1",
            "-C",
            "link-arg=-Wl,-u,__llvm_profile_runtime",
        ];
        args.extend(flags.map(OsString::from));
    }
    args
}

/// Cargo moves arguments to a file (`@path`, one a line) when they are too
/// many for the system. Flags have to be looked for in there, and what comes
/// of it goes to a file beside it.
fn rewrite_with_files(args: Vec<OsString>, settings: &Settings) -> std::io::Result<Vec<OsString>> {
    let mut file = None;
    let mut expanded = Vec::with_capacity(args.len());
    for arg in args {
        if let Some(path) = arg.to_str().and_then(|text| text.strip_prefix('@')) {
            expanded.extend(std::fs::read_to_string(path)?.lines().map(OsString::from));
            file = Some(format!("{path}.podcov"));
        } else {
            expanded.push(arg);
        }
    }
    let args = rewrite(expanded, settings);
    let Some(file) = file else { return Ok(args) };
    let lines: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    std::fs::write(&file, lines.join("\n"))?;
    Ok(vec![format!("@{file}").into()])
}

/// Removes a marker, or puts back what it stands for.
fn take_marker(args: Vec<OsString>) -> (Vec<OsString>, Option<Marker>) {
    let mut marker = None;
    let mut kept: Vec<OsString> = Vec::with_capacity(args.len() + 12);
    for arg in args {
        let value = arg.to_str().and_then(|text| {
            let text = text.strip_prefix("-C").unwrap_or(text);
            text.strip_prefix("codegen-units=")?
                .parse()
                .ok()
                .and_then(Marker::decode)
        });
        let Some(found) = value else {
            kept.push(arg);
            continue;
        };
        marker = Some(found);
        let separate = kept.last().is_some_and(|last| last == "-C");
        if separate {
            kept.pop();
        }
        if let Some(units) = found.codegen_units {
            kept.extend(["-C".into(), format!("codegen-units={units}").into()]);
        }
    }
    (kept, marker)
}

fn value_of(args: &[OsString], flag: &str) -> Option<String> {
    values_of(args, flag).into_iter().next()
}

/// Values of `--flag value` and `--flag=value`.
fn values_of(args: &[OsString], flag: &str) -> Vec<String> {
    let mut values = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let Some(text) = arg.to_str() else { continue };
        if text == flag {
            values.extend(
                args.next()
                    .map(|value| value.to_string_lossy().into_owned()),
            );
        } else if let Some(value) = text.strip_prefix(flag).and_then(|v| v.strip_prefix('=')) {
            values.push(value.to_owned());
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTRUMENTED: &str = "-C instrument-coverage -C llvm-args=-runtime-counter-relocation \
                                --cfg=coverage --check-cfg=cfg(coverage)";
    const LINKED: &str =
        "-C link-arg=-Wl,--build-id=sha1 -C link-arg=-Wl,-u,__llvm_profile_runtime";

    fn check(line: &str, settings: &Settings, expected: &str) {
        let args = line.split_whitespace().map(OsString::from).collect();
        let words: Vec<_> = rewrite(args, settings)
            .iter()
            .map(|a| a.to_string_lossy().into_owned())
            .collect();
        let expected: Vec<_> = expected.split_whitespace().collect();
        assert_eq!(words, expected, "{line}");
    }

    #[test]
    fn markers_say_what_is_counted_and_vanish() {
        let s = Settings::default();
        let mark = Marker {
            mode: Mode::Continuous,
            codegen_units: None,
        }
        .encode();
        let mark4 = Marker {
            mode: Mode::AtExit,
            codegen_units: Some(4),
        }
        .encode();
        check(
            &format!("--crate-name a --crate-type lib -C codegen-units={mark} --target t"),
            &s,
            &format!("--crate-name a --crate-type lib --target t {INSTRUMENTED}"),
        );
        check(
            &format!("--crate-name a --crate-type bin -C codegen-units={mark4} --target t"),
            &s,
            &format!(
                "--crate-name a --crate-type bin -C codegen-units=4 --target t \
                 -C instrument-coverage --cfg=coverage --check-cfg=cfg(coverage) {LINKED}"
            ),
        );
        check(
            "--crate-name dep --crate-type lib -C codegen-units=16 --target t",
            &s,
            "--crate-name dep --crate-type lib -C codegen-units=16 --target t",
        );
    }

    #[test]
    fn what_runs_while_building_is_not_counted() {
        let s = Settings {
            statically: true,
            ..Settings::default()
        };
        let mark = Marker {
            mode: Mode::Continuous,
            codegen_units: None,
        }
        .encode();
        check(
            &format!("--crate-name build_script_build --crate-type bin -C codegen-units={mark}"),
            &s,
            "--crate-name build_script_build --crate-type bin",
        );
        check(
            "--crate-name ___ --print=cfg --crate-type proc-macro --target t",
            &s,
            "--crate-name ___ --print=cfg --crate-type proc-macro --target t \
             -C target-feature=+crt-static",
        );
    }

    #[test]
    fn compilers_of_any_name_are_told_from_commands() {
        for first in [
            "rustc",
            "/opt/x/rustc-1.95",
            "/opt/my-compiler",
            "clippy-driver",
        ] {
            assert!(is_program(first.as_ref()), "{first}");
        }
        for first in ["run", "--help", "report"] {
            assert!(!is_program(first.as_ref()), "{first}");
        }
    }

    #[test]
    fn foreign_builds_name_their_packages() {
        let mut s = Settings {
            crates: Some(vec!["my-app".into()]),
            ..Settings::default()
        };
        s.package = Some("my-app".into());
        let bin = "--crate-name my_app --crate-type bin";
        check(bin, &s, &format!("{bin} {INSTRUMENTED} {LINKED}"));
        s.package = Some("other".into());
        check(bin, &s, &format!("{bin} {LINKED}"));
    }
}
