//! `cargo xtask differential`: real programs, built in several ways and run,
//! whose coverage podcov and the toolchains' own tools must tell alike: every
//! counter, every file's numbers, every line's count.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::answers::{Answer, agree};
use super::backends::{self, Project, Start};
use super::corpus::{self, entries, finish, instrument, nice, output};

const USAGE: &str = "usage: cargo xtask differential [NAME…] [--podcov FILE]

Without a name: every crate and module. What is built is kept in ~/.cache/podcov/bench.";

/// Crates of the registry, with what their tests need to be told.
const CRATES: &[(&str, &str, &[&str])] = &[
    ("itoa", "1.0.15", &[]),
    ("semver", "1.0.27", &[]),
    ("hex", "0.4.3", &[]),
    ("fnv", "1.0.7", &[]),
    ("either", "1.15.0", &[]),
    ("arrayvec", "0.7.6", &[]),
    ("scopeguard", "1.2.0", &[]),
    ("percent-encoding", "2.3.2", &[]),
    ("heck", "0.5.0", &[]),
    ("bitflags", "2.10.0", &["--lib"]),
    ("smallvec", "1.15.1", &["--lib"]),
];

/// How each is built.
struct Way {
    name: &'static str,
    variables: &'static [(&'static str, &'static str)],
    flags: &'static [&'static str],
}

const WAYS: [Way; 3] = [
    Way {
        name: "debug",
        variables: &[],
        flags: &[],
    },
    Way {
        name: "release",
        variables: &[],
        flags: &["--release"],
    },
    Way {
        name: "lto",
        variables: &[
            ("CARGO_PROFILE_RELEASE_LTO", "fat"),
            ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
        ],
        flags: &["--release"],
    },
];

/// Modules of the Go proxy, and the packages whose tests are run.
const MODULES: &[(&str, &str, &str)] = &[
    ("github.com/google/uuid", "v1.6.0", "."),
    ("gopkg.in/yaml.v3", "v3.0.1", "."),
    ("github.com/spf13/pflag", "v1.0.10", "."),
    ("github.com/BurntSushi/toml", "v1.5.0", "."),
    (
        "golang.org/x/text",
        "v0.21.0",
        "./width ./runes ./unicode/rangetable",
    ),
];

const MODES: [&str; 3] = ["set", "count", "atomic"];

/// Answers in which a reference tool is wrong, and why ours stays as it is.
/// One that no longer differs is an error, too: the list says what is so.
const EXCEPTIONS: &[(&str, &str)] = &[(
    "hex (lto): backends: summary.json: findings",
    "llvm-cov counts mismatched functions of the whole program, and all of them are in dependencies; \
     the report has the bundle's sources alone, and podcov's findings are about these",
)];

struct Tally {
    equal: usize,
    /// Reports of both backends that are equal, their files and lines.
    reports: usize,
    files: usize,
    lines: usize,
    different: Vec<String>,
    known: Vec<&'static str>,
}

/// Builds, runs, compares; tells each program and the sum.
pub fn run(args: &[String], podcov: impl Fn() -> Result<PathBuf, u8>) -> Result<(), u8> {
    let (mut names, mut program) = (Vec::new(), None);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--podcov" => program = args.next().map(PathBuf::from),
            name if name.starts_with('-') => {
                eprintln!("error: unknown option `{name}`\n\n{USAGE}");
                return Err(2);
            }
            name => names.push(name.to_owned()),
        }
    }
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        eprintln!("error: there is nothing called `{unknown}` to compare\n\n{USAGE}");
        return Err(2);
    }
    let program = match program {
        Some(program) => program,
        None => podcov()?,
    };
    // It is started in folders of programs.
    let program = std::path::absolute(&program).unwrap_or(program);
    compare_all(&names, &program).map_err(|error| {
        eprintln!("error: {error}");
        1
    })
}

/// Whether there is such a program: a name that fits nothing would be a
/// comparison of nothing, which always agrees.
fn is_known(name: &str) -> bool {
    name == "mixed"
        || CRATES.iter().any(|one| one.0 == name)
        || MODULES.iter().any(|one| one.0 == name)
}

fn compare_all(names: &[String], podcov: &Path) -> Result<(), String> {
    let home = corpus::cache()?.join("differential");
    let wanted = |name: &str| names.is_empty() || names.iter().any(|asked| asked == name);
    let mut tally = Tally {
        equal: 0,
        reports: 0,
        files: 0,
        lines: 0,
        different: Vec::new(),
        known: Vec::new(),
    };
    if wanted("mixed") {
        rust_program("mixed", &mixed(&home)?, &[], &home, podcov, &mut tally)?;
    }
    for (name, version, args) in CRATES.iter().filter(|one| wanted(one.0)) {
        let dir = crate_source(&home, name, version)?;
        rust_program(name, &dir, args, &home, podcov, &mut tally)?;
    }
    for (index, (path, version, packages)) in MODULES.iter().enumerate() {
        if wanted(path) {
            let mode = MODES[index % MODES.len()];
            go_module(path, version, packages, mode, &home, podcov, &mut tally)?;
        }
    }
    let stale = EXCEPTIONS
        .iter()
        .filter(|(name, _)| names.is_empty() && !tally.known.contains(name));
    for (name, why) in stale {
        tally
            .different
            .push(format!("{name} is an exception and does not differ: {why}"));
    }
    println!(
        "{} answers are equal, {} differ",
        tally.equal,
        tally.different.len()
    );
    println!(
        "{} reports of --backend native and --backend tools are equal: {} files, {} lines",
        tally.reports, tally.files, tally.lines
    );
    if tally.different.is_empty() {
        return Ok(());
    }
    Err(tally.different.join("\n"))
}

impl Tally {
    fn compare(
        &mut self,
        what: &str,
        answer: &Answer,
        theirs: &Path,
        ours: &Path,
    ) -> Result<(), String> {
        let is_same_file = !theirs.is_dir() && fs::read(theirs).ok() == fs::read(ours).ok();
        let difference = if is_same_file {
            None
        } else {
            agree(answer, theirs, ours)?
        };
        let known = EXCEPTIONS.iter().find(|(name, _)| *name == what);
        match (difference, known) {
            (None, _) => self.equal += 1,
            (Some(_), Some((name, _))) => self.known.push(name),
            (Some(difference), None) => {
                eprintln!("✘ {what}: {difference}");
                self.different.push(format!("{what}: the answers differ"));
            }
        }
        Ok(())
    }

    /// Compares what both backends report of one run.
    fn compare_backends(
        &mut self,
        what: &str,
        project: &Project<'_>,
        work: &Path,
        podcov: &Path,
    ) -> Result<(), String> {
        let compared = backends::compare(podcov, project, work)
            .map_err(|error| format!("{what}: backends: {error}"))?;
        let mut is_equal = true;
        for difference in compared.different {
            let part = format!("{what}: backends: {}", difference.part);
            if let Some((name, _)) = EXCEPTIONS.iter().find(|(name, _)| *name == part) {
                self.known.push(name);
                continue;
            }
            is_equal = false;
            eprintln!("✘ {part}: {}", difference.text);
            self.different
                .push(format!("{part} differs: {}", difference.text));
        }
        if compared.lines == 0 {
            self.different
                .push(format!("{what}: the backends report no line"));
        }
        if is_equal {
            self.reports += 1;
            self.files += compared.files;
            self.lines += compared.lines;
        }
        Ok(())
    }
}

/// The program of this repository, copied out of its workspace.
fn mixed(home: &Path) -> Result<PathBuf, String> {
    let dir = home.join("mixed/source");
    let _ = fs::remove_dir_all(&dir);
    copy(&super::root().join("xtask/programs/mixed"), &dir)?;
    Ok(dir)
}

/// The sources of a crate as they are published, its tests with them.
fn crate_source(home: &Path, name: &str, version: &str) -> Result<PathBuf, String> {
    let dir = home.join(format!("{name}-{version}/source"));
    if dir.join("Cargo.toml").is_file() {
        return Ok(dir);
    }
    let user = home.join(format!("{name}-{version}/user"));
    let manifest = format!(
        "[package]\nname = \"user\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\n{name} = \"={version}\"\n"
    );
    corpus::write(&user.join("Cargo.toml"), &manifest)?;
    corpus::write(&user.join("src/lib.rs"), "")?;
    let mut fetch = nice("cargo");
    finish_in(fetch.args(["fetch", "--quiet"]), &user)?;
    copy(
        &corpus::registry_source(&format!("{name}-{version}"))?,
        &dir,
    )?;
    let manifest = dir.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|error| error.to_string())?;
    corpus::write(&manifest, &trimmed(&text))?;
    Ok(dir)
}

/// The manifest without benchmarks, and what only they need and is most of
/// what would be compiled; and not a member of whatever workspace the cache may
/// lie in.
fn trimmed(manifest: &str) -> String {
    const DROPPED: [&str; 2] = ["[[bench]]", "[dev-dependencies.criterion"];
    let (mut text, mut is_dropped) = (String::new(), false);
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_dropped = DROPPED.iter().any(|section| line.starts_with(section));
        }
        if !is_dropped {
            text += line;
            text.push('\n');
        }
    }
    if !text.contains("[workspace]") {
        text += "\n[workspace]\n";
    }
    text
}

fn finish_in(command: &mut Command, dir: &Path) -> Result<(), String> {
    output(command.current_dir(dir)).map(|_| ())
}

/// Builds and runs the tests (and programs) of one crate in every way.
fn rust_program(
    name: &str,
    dir: &Path,
    args: &[&str],
    home: &Path,
    podcov: &Path,
    tally: &mut Tally,
) -> Result<(), String> {
    for Way {
        name: way,
        variables,
        flags,
    } in WAYS
    {
        let what = format!("{name} ({way})");
        corpus::say(&what);
        let target = home.join("target").join(name).join(way);
        let work = target.join("coverage");
        let _ = fs::remove_dir_all(&work);
        let raw = work.join("raw");
        fs::create_dir_all(&raw).map_err(|error| error.to_string())?;
        let mut programs = Vec::new();
        let kinds: &[&[&str]] = if name == "mixed" {
            &[&["test", "--no-run"], &["build"]]
        } else {
            &[&["test", "--no-run"]]
        };
        for kind in kinds {
            let mut build = nice("cargo");
            instrument(&mut build);
            build.args(*kind).args(args).args(flags).current_dir(dir);
            build
                .args(["--quiet", "--message-format=json", "--target-dir"])
                .arg(&target);
            build
                .envs(variables.iter().copied())
                .stderr(Stdio::inherit());
            programs.extend(executables(&output(&mut build)?));
        }
        if programs.is_empty() {
            return Err(format!("{what}: nothing to run was built"));
        }
        for program in &programs {
            let mut run = nice(program);
            run.current_dir(dir)
                .env("LLVM_PROFILE_FILE", raw.join("%m-%p.profraw"));
            // An example may be one of a panic; its profile counts all the same.
            let ended = run.output().map_err(|error| format!("{run:?}: {error}"))?;
            if ended.status.code().is_none() {
                return Err(format!("{run:?}: {}", ended.status));
            }
        }
        if entries(&raw)?.len() < programs.len() {
            return Err(format!("{what}: a program wrote no profile"));
        }
        compare_rust(&what, &programs, &work, podcov, tally)?;
        let counting = programs.iter().filter(|program| counts(program));
        let start = |program: &PathBuf| Start {
            program: program.clone(),
            dir: dir.to_path_buf(),
            args: "",
        };
        let starts: Vec<Start> = counting.map(start).collect();
        let project = Project {
            language: "rust",
            root: dir,
            starts: &starts,
        };
        tally.compare_backends(&what, &project, &work.join("backends"), podcov)?;
    }
    Ok(())
}

/// What cargo says it built to be run.
fn executables(messages: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        Some(PathBuf::from(rest.split_once('"')?.0))
    };
    let mut found: Vec<PathBuf> = messages.lines().filter_map(path).collect();
    found.sort();
    found.dedup();
    found
}

/// One profile, and what all programs together and each alone make of it.
fn compare_rust(
    what: &str,
    programs: &[PathBuf],
    work: &Path,
    podcov: &Path,
    tally: &mut Tally,
) -> Result<(), String> {
    let raw = work.join("raw");
    let (theirs, ours) = (work.join("theirs.profdata"), work.join("ours.profdata"));
    let mut merge = Command::new("llvm-profdata-22");
    output(
        merge
            .args(["merge", "-sparse", "-o"])
            .arg(&theirs)
            .arg(&raw),
    )?;
    let mut merge = Command::new(podcov);
    merge
        .args(["merge", "--format", "profdata", "-o"])
        .arg(&ours)
        .arg(&raw);
    output(&mut merge)?;
    tally.compare(
        &format!("{what}: profile"),
        &Answer::Profdata,
        &theirs,
        &ours,
    )?;
    for program in programs {
        let stem = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        for (format, ours_format, answer) in [
            ("lcov", "lcov", Answer::Lcov),
            ("text", "llvm-json", Answer::Json),
        ] {
            let (their, our) = (
                work.join(format!("{stem}.theirs.{format}")),
                work.join(format!("{stem}.ours.{format}")),
            );
            let mut export = Command::new("llvm-cov-22");
            export.args(["export", &format!("-format={format}")]);
            export
                .arg(format!("-instr-profile={}", theirs.display()))
                .arg(program);
            let told = export
                .output()
                .map_err(|error| format!("{export:?}: {error}"))?;
            let mut export = Command::new(podcov);
            export.args(["export", "--format", ours_format, "--object"]);
            // One profile of several programs: what one of them never calls, it
            // has as a dummy, and the count of another does not fit that. Both
            // tools leave it out and say so; ours has an exit status for it.
            export
                .arg(program)
                .arg("--tolerate")
                .arg("-o")
                .arg(&our)
                .arg(&theirs);
            if String::from_utf8_lossy(&told.stderr).contains("no coverage data found") {
                // All of it is behind a feature; both have to say so.
                let said = export
                    .output()
                    .map_err(|error| format!("{export:?}: {error}"))?;
                if said.status.success() {
                    tally
                        .different
                        .push(format!("{what}: {} has no coverage", short(&stem)));
                } else {
                    tally.equal += 1;
                }
                continue;
            }
            if !told.status.success() {
                return Err(String::from_utf8_lossy(&told.stderr).into_owned());
            }
            fs::write(&their, told.stdout).map_err(|error| error.to_string())?;
            output(&mut export)?;
            tally.compare(
                &format!("{what}: {format} of {}", short(&stem)),
                &answer,
                &their,
                &our,
            )?;
        }
    }
    Ok(())
}

/// Whether a program has counters. The unit tests of a crate that has none may
/// not: podcov refuses to measure a program that cannot count.
fn counts(program: &Path) -> bool {
    // The name of the section; the runtime's own symbols have it at their end.
    let name = b"\0__llvm_prf_cnts\0";
    let bytes = fs::read(program).unwrap_or_default();
    bytes.windows(name.len()).any(|bytes| bytes == name)
}

/// Without the hash that cargo puts behind the name of a test.
fn short(stem: &str) -> &str {
    stem.rsplit_once('-').map_or(stem, |(name, _)| name)
}

/// Runs the tests of one module and compares what its counters come to.
fn go_module(
    path: &str,
    version: &str,
    packages: &str,
    mode: &str,
    home: &Path,
    podcov: &Path,
    tally: &mut Tally,
) -> Result<(), String> {
    let what = format!("{path} ({mode})");
    corpus::say(&what);
    let own = home.join("go").join(path.replace('/', "-")).join(version);
    let source = own.join("source");
    if !source.is_dir() {
        let any = own.join("any");
        corpus::write(&any.join("go.mod"), "module any\n\ngo 1.24\n")?;
        let mut download = nice("go");
        download
            .current_dir(&any)
            .args(["mod", "download", "-json", &format!("{path}@{version}")]);
        let told = output(&mut download)?;
        let dir = told
            .lines()
            .find_map(|line| line.trim().strip_prefix("\"Dir\": \""));
        let dir = dir
            .and_then(|rest| rest.split_once('"'))
            .ok_or("go told no directory")?
            .0;
        copy(Path::new(dir), &source)?;
        let mut writable = Command::new("chmod");
        finish_in(writable.args(["-R", "u+w", "."]), &source)?;
    }
    let work = own.join("coverage");
    let _ = fs::remove_dir_all(&work);
    let covdata_dir = work.join("covdata");
    fs::create_dir_all(&covdata_dir).map_err(|error| error.to_string())?;
    let mut test = nice("go");
    test.current_dir(&source)
        .args(["test", "-count=1", "-mod=mod", "-cover", "-coverpkg=./..."]);
    test.arg(format!("-covermode={mode}"))
        .args(packages.split(' '))
        .arg("-args");
    test.arg(format!("-test.gocoverdir={}", covdata_dir.display()));
    output(&mut test)?;
    if entries(&covdata_dir)?.len() < 2 {
        return Err(format!("{what}: the tests wrote no counters"));
    }
    let covdata = corpus::covdata()?;
    let input = format!("-i={}", covdata_dir.display());
    let (theirs, ours) = (work.join("theirs.txt"), work.join("ours.txt"));
    output(
        Command::new(&covdata)
            .args(["textfmt", &input])
            .arg(format!("-o={}", theirs.display())),
    )?;
    let mut export = Command::new(podcov);
    export
        .args(["export", "--format", "go-cover", "-o"])
        .arg(&ours)
        .arg(&covdata_dir);
    output(&mut export)?;
    tally.compare(&format!("{what}: text"), &Answer::Lines, &theirs, &ours)?;
    let (theirs, ours) = (work.join("theirs"), work.join("ours"));
    fs::create_dir_all(&theirs).map_err(|error| error.to_string())?;
    // Each package's tests are a program of their own, of the same packages.
    let mut merge = Command::new(&covdata);
    output(
        merge
            .args(["merge", &input])
            .arg(format!("-o={}", theirs.display())),
    )?;
    let mut merge = Command::new(podcov);
    output(
        merge
            .args(["merge", "--format", "covdata", "-o"])
            .arg(&ours)
            .arg(&covdata_dir),
    )?;
    tally.compare(
        &format!("{what}: merged"),
        &Answer::Covdata(covdata),
        &theirs,
        &ours,
    )?;
    let starts = go_tests(&source, packages, mode, &work, podcov)?;
    let project = Project {
        language: "go",
        root: &source,
        starts: &starts,
    };
    tally.compare_backends(&what, &project, &work.join("backends"), podcov)
}

/// The tests of each package as a program, which `go test` would throw away;
/// built with podcov's variables, as it must know whose counters are whose.
fn go_tests(
    source: &Path,
    packages: &str,
    mode: &str,
    work: &Path,
    podcov: &Path,
) -> Result<Vec<Start>, String> {
    const BUILD: &str =
        "variables=$(\"$1\" env --language go --out \"$2\" --coverpkg ./...) || exit
        eval \"$variables\"
        exec go test -c -mod=mod -cover -coverpkg=./... -covermode=\"$3\" -o \"$4\" \"$5\"";
    let mut starts = Vec::new();
    for package in packages.split(' ') {
        let name = package.rsplit('/').next().unwrap_or(package);
        let name = if name == "." { "root" } else { name };
        let program = work.join(format!("{name}-test"));
        let mut build = nice("sh");
        build.current_dir(source).args(["-c", BUILD, "sh"]);
        build.arg(podcov).arg(work.join("env")).arg(mode);
        output(build.arg(&program).arg(package))?;
        starts.push(Start {
            program,
            dir: source.join(package),
            args: "-test.gocoverdir=\"$GOCOVERDIR\"",
        });
    }
    Ok(starts)
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::create_dir_all(to).map_err(|error| error.to_string())?;
    let mut command = Command::new("cp");
    command
        .args(["-r", "--no-preserve=mode"])
        .arg(from.join("."))
        .arg(to);
    finish(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_can_be_compared() {
        let none = || -> Result<PathBuf, u8> { panic!("nothing is to be built") };
        assert_eq!(run(&["hexx".to_owned()], none), Err(2));
        assert!(is_known("mixed") && is_known(CRATES[0].0) && is_known(MODULES[0].0));
    }
}
