//! Go components: real modules, the real go command.

mod common;

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Project, failure, names, need};
use podcov_build::{Component, GoBuild};
use podcov_profile::Identity;
use podcov_profile::bundle::{Bundle, Mode};
use podcov_profile::go::live::Live;
use podcov_profile::go::meta::read_meta;
use podcov_profile::go::sum::Sum;
use podcov_profile::names::Language;

const GO_MOD: &str = "module example.org/op\n\ngo 1.22\n";
const MAIN: &str = r#"package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"example.org/op/work"
)

func main() {
	wait := flag.Bool("wait", false, "")
	fail := flag.Bool("fail", false, "")
	flag.Parse()
	for i := 0; i < 10; i++ {
		work.Step(i)
	}
	fmt.Println("ready")
	if *fail {
		os.Exit(3)
	}
	for *wait {
		time.Sleep(time.Hour)
	}
}
"#;
const WORK: &str = "package work

func Step(i int) int {
	if i > 100 {
		return 0
	}
	return i
}
";

fn module() -> Project {
    Project::new(&[
        ("go.mod", GO_MOD),
        ("cmd/manager/main.go", MAIN),
        ("work/work.go", WORK),
        ("work/work_test.go", "package work\n"),
    ])
}

fn built(project: &Project, change: impl FnOnce(&mut Component)) -> Bundle {
    need("go", "install Go from https://go.dev/dl");
    let mut component = project.component("manager", Language::Go);
    change(&mut component);
    project.build(&component).unwrap()
}

fn command(program: &Path, evidence: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .env("GOCOVERDIR", evidence)
        .env("PODCOV_DIR", evidence);
    command
}

fn start(program: &Path, evidence: &Path, args: &[&str]) -> Child {
    command(program, evidence, args).spawn().unwrap()
}

/// Count of the first block of function `name`, by Go's own tool.
fn count(dirs: &str, line: &str) -> Option<u64> {
    let out = tempfile::NamedTempFile::new().unwrap();
    let status = Command::new("go")
        .args(["tool", "covdata", "textfmt", "-i", dirs, "-o"])
        .arg(out.path())
        .status()
        .unwrap();
    assert!(status.success());
    let text = std::fs::read_to_string(out.path()).unwrap();
    let found = text.lines().find(|l| l.starts_with(line))?;
    found.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_killed_program_leaves_what_it_counted() {
    let project = module();
    let bundle = built(&project, |_| {});
    let binary = &bundle.binaries[0];
    assert_eq!(
        (binary.name.as_str(), binary.mode),
        ("manager", Mode::Continuous)
    );
    let Some(Identity::Covmeta(hash)) = &binary.identity else {
        panic!("{:?}", binary.identity)
    };
    assert!(matches!(
        binary.other_identities[..],
        [Identity::GoBuildId(_)]
    ));
    let meta = project.path("bundle/manager/meta");
    assert_eq!(names(&meta), [format!("covmeta.{hash}")]);
    let facts = podcov_profile::elf::read(&std::fs::read(project.program(&bundle)).unwrap());
    assert!(facts.unwrap().is_static());

    let evidence = project.evidence("killed");
    let pid = killed(&project.program(&bundle), &evidence, &["-wait"]);
    let files = names(&evidence);
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files[0].starts_with(&format!("covlive.{pid}.")));
    assert_eq!(files[1], format!("covmeta.{hash}"));
    assert_eq!(mapped_steps(&project, &evidence), 10);
}

/// Starts a program and kills it when it has said that it is ready; its pid.
fn killed(program: &Path, evidence: &Path, args: &[&str]) -> u32 {
    let mut child = command(program, evidence, args)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 5];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut ready)
        .unwrap();
    assert_eq!(&ready, b"ready");
    child.kill().unwrap();
    child.wait().unwrap();
    child.id()
}

/// How often the mapped counters in `evidence` say that `Step` was called.
fn mapped_steps(project: &Project, evidence: &Path) -> u32 {
    let dir = project.path("bundle/manager/meta");
    let meta = read_meta(&std::fs::read(dir.join(&names(&dir)[0])).unwrap()).unwrap();
    let files = names(evidence);
    let name = files.iter().find(|name| name.starts_with("covlive."));
    let bytes = std::fs::read(evidence.join(name.unwrap())).unwrap();
    let mut sum = Sum::new(&meta);
    sum.add_live(&Live::parse(&bytes).unwrap()).unwrap();
    let step = meta.functions().find(|f| f.name() == "Step").unwrap();
    sum.counts_of(&step)[0]
}

#[test]
fn a_clean_end_writes_gos_own_files_and_sources_have_names() {
    let project = module();
    let bundle = built(&project, |_| {});
    let evidence = project.evidence("clean");
    assert!(
        start(&project.program(&bundle), &evidence, &[])
            .wait()
            .unwrap()
            .success()
    );
    assert_eq!(
        count(evidence.to_str().unwrap(), "example.org/op/work/work.go:3."),
        Some(10)
    );
    let paths: Vec<_> = bundle
        .sources
        .files
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(paths, ["cmd/manager/main.go", "work/work.go"]);
    let name = bundle.sources.relative("example.org/op/work/work.go");
    assert_eq!(name.as_deref(), Some("work/work.go"));

    // Without the variables it is the program it ever was.
    let plain = Command::new(project.program(&bundle)).output().unwrap();
    assert_eq!(plain.stdout, b"ready\n");
    // A volume that cannot be written does not disturb it either.
    let missing = project.path("nowhere");
    assert!(
        start(&project.program(&bundle), &missing, &[])
            .wait()
            .unwrap()
            .success()
    );
}

#[test]
fn main_is_there_though_coverpkg_does_not_name_it() {
    let project = module();
    let bundle = built(&project, |c| c.coverpkg = vec!["./work".to_owned()]);
    assert!(matches!(
        bundle.binaries[0].identity,
        Some(Identity::Covmeta(_))
    ));
    let evidence = project.evidence("exit3");
    let status = start(&project.program(&bundle), &evidence, &["-fail"])
        .wait()
        .unwrap();
    assert_eq!(status.code(), Some(3));
    assert_eq!(
        count(evidence.to_str().unwrap(), "example.org/op/work/work.go:3."),
        Some(10)
    );
}

#[test]
fn at_exit_leaves_nothing_of_a_killed_program() {
    let project = module();
    let bundle = built(&project, |c| c.mode = Some(Mode::AtExit));
    assert_eq!(bundle.binaries[0].mode, Mode::AtExit);
    let evidence = project.evidence("killed");
    killed(&project.program(&bundle), &evidence, &["-wait"]);
    let files = names(&evidence);
    assert!(
        files.len() == 1 && files[0].starts_with("covmeta."),
        "{files:?}"
    );
}

#[test]
fn a_test_that_runs_main_is_brought_along() {
    let project = module();
    let test_main = GoBuild::TestMain {
        tag: Some("e2e".to_owned()),
        run: GoBuild::TEST.to_owned(),
    };
    let bundle = built(&project, |c| {
        c.go_build = test_main.clone();
        c.image = Some(podcov_build::ImageSpec::new("localhost/manager:dev"));
    });
    let image = bundle.image.as_ref().unwrap();
    assert!(
        project
            .path("bundle/manager")
            .join(&image.archive)
            .is_file()
    );
    let words = image
        .entrypoint
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>();
    let test = [
        "-test.run=^TestRunMain$",
        "-test.coverprofile=@PODCOV_DIR@/coverage.out",
    ];
    assert!(
        words.ends_with(&["/app/manager", test[0], test[1]]),
        "{words:?}"
    );
    let binary = &bundle.binaries[0];
    assert_eq!(binary.mode, Mode::TestMain);
    assert!(matches!(binary.identity, Some(Identity::GoBuildId(_))));
    assert!(matches!(
        binary.other_identities[..],
        [Identity::Covmeta(_)]
    ));
    assert_eq!(
        names(&project.root.join("cmd/manager")),
        ["main.go"],
        "sources untouched"
    );

    let evidence = project.evidence("test-main");
    let profile = format!(
        "-test.coverprofile={}",
        evidence.join("coverage.out").display()
    );
    let args = ["-test.run=^TestRunMain$", &profile];
    assert!(
        start(&project.program(&bundle), &evidence, &args)
            .wait()
            .unwrap()
            .success()
    );
    let text = std::fs::read_to_string(evidence.join("coverage.out")).unwrap();
    let step = text
        .lines()
        .find(|l| l.starts_with("example.org/op/work/work.go:3."))
        .unwrap();
    assert!(step.ends_with(" 10"), "{step}");
    // The program's own flags reach it, and a kill loses nothing here, too.
    let evidence = project.evidence("test-main-killed");
    killed(
        &project.program(&bundle),
        &evidence,
        &[args[0], &profile, "-wait"],
    );
    assert_eq!(mapped_steps(&project, &evidence), 10);
    // A unit test, which nobody measures, leaves nothing.
    let evidence = project.evidence("unit-test");
    let status = command(&project.program(&bundle), &evidence, &args[..1])
        .env_remove("PODCOV_DIR")
        .status();
    assert!(status.unwrap().success());
    assert_eq!(names(&evidence), [""; 0]);

    // The user's own test is used as it is.
    let own = "//go:build e2e\n\npackage main\n\nimport \"testing\"\n\n\
               func TestRunMain(t *testing.T) { println(\"own\"); main() }\n";
    project.write("cmd/manager/run_test.go", own);
    let bundle = built(&project, |c| c.go_build = test_main.clone());
    let output = Command::new(project.program(&bundle))
        .arg(args[0])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("own"));
    let mut component = project.component("manager", Language::Go);
    component.go_build = GoBuild::TestMain {
        tag: None,
        run: GoBuild::TEST.to_owned(),
    };
    let text = failure(project.build(&component));
    assert!(text.contains("//go:build e2e; no tag was given"), "{text}");
}

/// Go refuses overlays in the module cache, where downloaded toolchains are.
#[test]
fn a_toolchain_in_the_module_cache_is_no_hindrance() {
    let goroot = need("go", "install Go from https://go.dev/dl")
        .args(["env", "GOROOT"])
        .output();
    let goroot = String::from_utf8(goroot.unwrap().stdout).unwrap();
    let project = module();
    let modules = project.evidence("modules");
    let toolchain = modules.join("toolchain");
    std::os::unix::fs::symlink(goroot.trim(), &toolchain).unwrap();
    let bundle = built(&project, |component| {
        let value = |path: &Path| path.to_str().unwrap().to_owned();
        component
            .env
            .push(("GOMODCACHE".to_owned(), value(&modules)));
        component.env.push(("GOROOT".to_owned(), value(&toolchain)));
    });
    assert_eq!(bundle.binaries[0].mode, Mode::Continuous);
}

#[test]
fn nothing_changed_builds_fast_and_the_same() {
    let project = module();
    let first = built(&project, |_| {});
    let begin = Instant::now();
    let second = built(&project, |_| {});
    assert_eq!(first, second);
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn the_commit_is_kept_and_whether_it_is_what_was_built() {
    let project = module();
    let git = |args: &[&str]| {
        let who = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
        let mut git = need("git", "install the package git");
        let output = git
            .args(who)
            .args(args)
            .current_dir(&project.root)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "all"]);
    let commit = Some(git(&["rev-parse", "HEAD"]));
    let bundle = built(&project, |_| {});
    assert_eq!((bundle.commit, bundle.dirty), (commit.clone(), false));
    project.write("work/work.go", &WORK.replace("100", "200"));
    let bundle = built(&project, |_| {});
    assert_eq!((bundle.commit, bundle.dirty), (commit, true));
}

#[test]
fn what_does_not_fit_is_said_with_what_would() {
    need("go", "install Go from https://go.dev/dl");
    let project = module();
    let check = |change: &dyn Fn(&mut Component), expected: &str| {
        let mut component = project.component("x", Language::Go);
        change(&mut component);
        let text = failure(project.build(&component));
        assert!(text.contains(expected), "expected `{expected}` in: {text}");
    };
    check(&|c| c.package = Some("./cmd/manger".into()), "/cmd/manger");
    check(
        &|c| c.package = Some("./work".into()),
        "expected a main package, found `example.org/op",
    );
    check(
        &|c| c.package = Some("main.go".into()),
        "found the file `main.go`",
    );
    check(
        &|c| c.coverpkg = vec!["./wrk".into()],
        "`coverpkg`: expected `./wrk` to match",
    );
    check(
        &|c| c.manifest = Some("nowhere".into()),
        "expected the folder of a Go module",
    );
    project.write(
        "cmd/other/main.go",
        "package main\n\nfunc main() { undefined() }\n",
    );
    check(
        &|_| {},
        "several programs could be meant: example.org/op/cmd/manager, example.org/op/c",
    );
    check(
        &|c| c.package = Some("./cmd/other".into()),
        "undefined: undefined",
    );
    let outside = Project::new(&[("main.go", "package main\n\nfunc main() {}\n")]);
    let text = failure(outside.build(&outside.component("x", Language::Go)));
    assert!(text.contains("found no go.mod"), "{text}");
}
