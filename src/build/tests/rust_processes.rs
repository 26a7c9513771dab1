//! How counters add up where processes share a profile: several processes and
//! threads of one program, fork without exec, exec, and libraries loaded while
//! a process runs. Every one of them ends by SIGKILL.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use common::{Project, names, need};
use podcov_profile::names::Language;

const MAIN: &str = r#"
use std::ffi::{CString, c_char, c_int, c_void};

unsafe extern "C" {
    fn fork() -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn getpid() -> c_int;
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

#[inline(never)]
fn tick() {
    std::hint::black_box(());
}

fn ticks(times: usize) {
    for _ in 0..times {
        tick();
    }
}

fn die() -> ! {
    unsafe { kill(getpid(), 9) };
    unreachable!("killed")
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let times: usize = args[2].parse().unwrap();
    match args[1].as_str() {
        "threads" => {
            let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(move || ticks(times))).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
        "fork" => {
            let child = unsafe { fork() };
            ticks(times);
            if child == 0 {
                die();
            }
            let mut status = 0;
            unsafe { waitpid(child, &mut status, 0) };
        }
        "exec" => {
            use std::os::unix::process::CommandExt;
            ticks(times);
            let error = std::process::Command::new(&args[0]).args(["threads", &args[2]]).exec();
            panic!("{error}");
        }
        "library" => {
            let path = CString::new(args[3].as_str()).unwrap();
            let library = unsafe { dlopen(path.as_ptr(), 2) };
            assert!(!library.is_null(), "cannot load it");
            let called = unsafe { dlsym(library, c"plugin_tick".as_ptr()) };
            let called: extern "C" fn() = unsafe { std::mem::transmute(called) };
            for _ in 0..times {
                tick();
                called();
            }
        }
        other => panic!("{other}"),
    }
    die()
}
"#;

const PLUGIN: &str = r#"
#[inline(never)]
fn inner() {
    std::hint::black_box(());
}

#[unsafe(no_mangle)]
pub extern "C" fn plugin_tick() {
    inner();
    inner();
}
"#;

struct Built {
    project: Project,
    program: PathBuf,
    plugin: PathBuf,
}

fn built() -> Built {
    let project = Project::new(&[
        (
            "Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"host\", \"plugin\"]\n",
        ),
        (
            "host/Cargo.toml",
            "[package]\nname = \"host\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
        ),
        ("host/src/main.rs", MAIN),
        (
            "plugin/Cargo.toml",
            "[package]\nname = \"plugin\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
             [lib]\ncrate-type = [\"cdylib\"]\n",
        ),
        ("plugin/src/lib.rs", PLUGIN),
    ]);
    let mut host = project.component("host", Language::Rust);
    host.package = Some("host".to_owned());
    host.statically = false;
    let bundle = project.build(&host).unwrap();
    // podcov builds programs; a library comes out of the user's own build.
    let options = podcov_build::EnvOptions {
        dir: project.root.clone(),
        crates: vec![],
        coverpkg: vec![],
        mode: None,
        statically: false,
        wrapper: Some(env!("CARGO_BIN_EXE_podcov-rustc-wrapper").into()),
    };
    let cancel = podcov_process::Cancel::new();
    let env = podcov_build::env(
        Language::Rust,
        &project.path("env"),
        &options,
        &podcov_process::Silent,
        &cancel,
    )
    .unwrap();
    let target = env.iter().find(|(key, _)| key == "CARGO_TARGET_DIR");
    let target = PathBuf::from(&target.expect("a target folder of its own").1);
    let cargo = Command::new("cargo")
        .current_dir(&project.root)
        .args(["build", "--quiet", "--offline", "-p", "plugin"])
        .envs(env)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&cargo.stderr);
    assert!(cargo.status.success(), "{said}");
    let plugin = walkdir::WalkDir::new(target)
        .into_iter()
        .flatten()
        .find(|entry| entry.file_name() == "libplugin.so")
        .expect("the library")
        .into_path();
    Built {
        program: project.program(&bundle),
        plugin,
        project,
    }
}

fn start(program: &Path, dir: &Path, args: &[&str]) -> Child {
    Command::new(program)
        .args(args)
        .env("LLVM_PROFILE_FILE", dir.join("%m%c.profraw"))
        .spawn()
        .unwrap()
}

/// Every one has to end by SIGKILL.
fn killed(children: Vec<Child>) {
    use std::os::unix::process::ExitStatusExt;
    for mut child in children {
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "{status}");
    }
}

/// What LLVM says how often a function whose name holds `name` was called.
fn calls(dir: &Path, name: &str) -> u64 {
    let how = "apt-get install --no-install-recommends llvm-22";
    let merged = dir.with_extension("profdata");
    let files = names(dir).into_iter().map(|name| dir.join(name));
    let merge = need("llvm-profdata-22", how)
        .arg("merge")
        .args(files)
        .arg("-o")
        .arg(&merged)
        .status();
    assert!(merge.unwrap().success());
    let shown = need("llvm-profdata-22", how)
        .args(["show", "--all-functions", "--counts"])
        .arg(&merged)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let mut lines = text
        .lines()
        .skip_while(|line| !(line.contains(name) && line.ends_with(':')));
    let count = lines.find_map(|line| line.trim().strip_prefix("Function count: "));
    count
        .unwrap_or_else(|| panic!("no `{name}` in {text}"))
        .parse()
        .unwrap()
}

#[test]
fn no_count_is_lost_where_processes_share_a_profile() {
    let Built {
        project,
        program,
        plugin,
    } = built();
    let tick = "4host4tick";
    let run = |name: &str, args: &[&[&str]]| {
        let dir = project.evidence(name);
        killed(
            args.iter()
                .map(|args| start(&program, &dir, args))
                .collect(),
        );
        dir
    };
    // Three processes of four threads each, at the same time, in one file.
    let threads: &[&str] = &["threads", "200000"];
    let dir = run("threads", &[threads; 3]);
    assert_eq!(names(&dir).len(), 1, "{:?}", names(&dir));
    assert_eq!(calls(&dir, tick), 3 * 4 * 200_000);
    // Parent and child write to the same mapping.
    let dir = run("fork", &[&["fork", "300000"], &["fork", "300000"]]);
    assert_eq!(calls(&dir, tick), 2 * 2 * 300_000);
    // The second program finds the file of the first and goes on with it.
    let dir = run("exec", &[&["exec", "1000"]]);
    assert_eq!(calls(&dir, tick), 1000 + 4 * 1000);
    // A library has counters, and so a file, of its own.
    let plugin = plugin.to_str().unwrap();
    let dir = run(
        "library",
        &[&["library", "5000", plugin], &["library", "7000", plugin]],
    );
    assert_eq!(names(&dir).len(), 2, "{:?}", names(&dir));
    assert_eq!(calls(&dir, tick), 12_000);
    assert_eq!(calls(&dir, "6plugin5inner"), 2 * 12_000);
}
