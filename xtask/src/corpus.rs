//! Real programs and the evidence of their real runs, made once and kept in
//! `~/.cache/podcov/bench`, a directory for each version of program and compiler.
//!
//! A directory is complete when its `complete` file is there; anything else is
//! made again from the start. Everything runs under `nice`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const RIPGREP: &str = "15.1.0";
const CLAP: &str = "4.6.7";
const KUSTOMIZE: &str = "v5.6.0";
/// Programs of the corpus of many programs.
pub const PROGRAMS: usize = 50;

/// Runs of one instrumented program.
pub struct Runs {
    /// The program.
    pub program: PathBuf,
    /// One evidence file per run; for Go, a GOCOVERDIR.
    pub dir: PathBuf,
}

/// Where corpora are kept.
pub fn cache() -> Result<PathBuf, String> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = base
        .or_else(home)
        .ok_or("neither XDG_CACHE_HOME nor HOME is set")?;
    let dir = base.join("podcov/bench");
    fs::create_dir_all(&dir)
        .map_err(|error| format!("cannot create {}: {error}", dir.display()))?;
    Ok(dir)
}

/// `count` runs of an instrumented ripgrep, one raw profile each.
pub fn ripgrep(count: usize) -> Result<Runs, String> {
    let home = cache()?.join(format!("ripgrep-{RIPGREP}-{}", rustc()?));
    let program = home.join("bin/rg");
    if !program.is_file() {
        install(&home, &["--version", &format!("={RIPGREP}"), "ripgrep"])?;
    }
    let dir = home.join(format!("runs-{count}"));
    if !is_complete(&dir) {
        let sources = registry_source(&format!("ripgrep-{RIPGREP}"))?;
        begin(&dir)?;
        each(count, &format!("{count} runs of ripgrep"), |index| {
            let mut run = nice(&program);
            run.args(search(index)).current_dir(&sources);
            run.env(
                "LLVM_PROFILE_FILE",
                dir.join(format!("{index:05}-%p.profraw")),
            );
            // 1 says that nothing was found, 2 that a file could not be read.
            quiet(run, &[0, 1, 2])
        })?;
        settle(&dir)?;
    }
    Ok(Runs { program, dir })
}

/// What the run of this number searches for, and how.
fn search(index: usize) -> Vec<String> {
    const PATTERNS: [&str; 25] = [
        "fn ",
        r"\bimpl\b",
        "[A-Z][a-z]+Builder",
        "TODO",
        r"^use std",
        "unsafe",
        r"\d+\.\d+",
        "(?i)ERROR",
        "foo|bar|baz",
        r"\w+::new",
        "match .* \\{",
        r"#\[derive",
        "Option<.*>",
        "[aeiou]{3}",
        r"//!.*",
        "return$",
        "printer",
        r"\p{Greek}",
        "str(ing)?",
        "x{2,4}",
        "(?s)fn .*?\\{",
        "glob",
        "^$",
        "ignore",
        "matcher",
    ];
    const WAYS: [&[&str]; 20] = [
        &["-c"],
        &["-l"],
        &["-n", "-A2"],
        &["--json"],
        &["-o"],
        &["-v", "-c"],
        &["-w"],
        &["-i", "--sort", "path"],
        &["--stats"],
        &["-U", "--multiline-dotall"],
        &["-t", "rust"],
        &["-g", "*.md"],
        &["--hidden"],
        &["-F"],
        &["-m1"],
        &["--column", "--heading"],
        &["-r", "$0!"],
        &["--files-with-matches", "-0"],
        &["--no-ignore", "-q"],
        &["--passthru", "--color=always"],
    ];
    const PLACES: [&[&str]; 4] = [
        &["."],
        &["crates"],
        &["README.md", "GUIDE.md", "FAQ.md"],
        &["tests", "."],
    ];
    let way = WAYS[(index / PATTERNS.len()) % WAYS.len()];
    let place = PLACES[(index / (PATTERNS.len() * WAYS.len())) % PLACES.len()];
    let pattern = PATTERNS[index % PATTERNS.len()];
    let mut args = vec!["-j1".to_owned()];
    args.extend(way.iter().map(ToString::to_string));
    args.extend(["-e".to_owned(), pattern.to_owned()]);
    args.extend(place.iter().map(ToString::to_string));
    args
}

/// One raw profile of each of 50 programs, clap's examples: different
/// binaries that share their dependencies, as the images of a product do.
pub fn programs() -> Result<Runs, String> {
    let home = cache()?.join(format!("clap-{CLAP}-{}", rustc()?));
    let program = home.join("bin");
    let dir = home.join("runs");
    if !is_complete(&dir) {
        let _ = fs::remove_dir_all(&program);
        let version = format!("={CLAP}");
        let features = "derive,cargo,env,unicode,string,wrap_help";
        install(
            &home,
            &[
                "--version",
                &version,
                "--features",
                features,
                "--examples",
                "clap",
            ],
        )?;
        let mut programs = entries(&program)?;
        programs.sort();
        if programs.len() < PROGRAMS {
            return Err(format!(
                "clap {CLAP} has {} examples, {PROGRAMS} are needed",
                programs.len()
            ));
        }
        begin(&dir)?;
        each(PROGRAMS, "runs of 50 programs", |index| {
            let mut run = nice(&programs[index]);
            run.arg("--help").stdin(Stdio::null());
            run.env(
                "LLVM_PROFILE_FILE",
                dir.join(format!("{index:02}-%p.profraw")),
            );
            quiet(run, &[0, 1, 2])
        })?;
        settle(&dir)?;
    }
    Ok(Runs { program, dir })
}

/// The operator of the example with everything in it instrumented, and three
/// of its runs: it prints its CRD and its version, and finds no cluster.
pub fn operator(root: &Path) -> Result<Runs, String> {
    let home = cache()?.join(format!("website-operator-{}", rustc()?));
    let program = home.join("target/debug/website-operator");
    let dir = home.join("runs");
    if !is_complete(&dir) {
        let mut build = nice("cargo");
        build.current_dir(root.join("examples/websites"));
        build.args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "website-operator",
        ]);
        build.arg("--target-dir").arg(home.join("target"));
        instrument(&mut build);
        say("build an instrumented kube-rs operator");
        finish(build)?;
        begin(&dir)?;
        for (index, word) in ["crd", "version", "run"].iter().enumerate() {
            let mut run = nice(&program);
            run.arg(word).env_clear();
            run.env("OPERATOR_NAMESPACE", "default")
                .env("WEBSERVER_IMAGE", "webserver:1");
            run.env("LLVM_PROFILE_FILE", dir.join(format!("{index}-%p.profraw")));
            quiet(run, &[0, 1])?;
        }
        settle(&dir)?;
    }
    Ok(Runs { program, dir })
}

/// `count` runs of an instrumented kustomize into one GOCOVERDIR.
pub fn kustomize(count: usize) -> Result<Runs, String> {
    let home = cache()?.join(format!("kustomize-{KUSTOMIZE}-{}", go()?));
    let program = home.join("kustomize");
    if !program.is_file() {
        let module = home.join("module");
        fs::create_dir_all(&module).map_err(|error| error.to_string())?;
        let path = "sigs.k8s.io/kustomize/kustomize/v5";
        let text = format!("module bench\n\ngo 1.24\n\nrequire {path} {KUSTOMIZE}\n");
        write(&module.join("go.mod"), &text)?;
        write(
            &module.join("tools.go"),
            &format!("package main\n\nimport _ \"{path}/commands/build\"\n\nfunc main() {{}}\n"),
        )?;
        say("build an instrumented kustomize");
        let mut tidy = nice("go");
        tidy.current_dir(&module).args(["mod", "tidy", "-e"]);
        finish(tidy)?;
        let mut build = nice("go");
        build.current_dir(&module).arg("build");
        build.args(["-p=1", "-mod=mod", "-cover", "-covermode=atomic"]);
        build.arg("-coverpkg=sigs.k8s.io/kustomize/...");
        build.arg("-o").arg(&program).arg(path);
        finish(build)?;
    }
    let dir = home.join(format!("runs-{count}"));
    if !is_complete(&dir) {
        let overlays = home.join("overlays");
        write_overlays(&overlays)?;
        begin(&dir)?;
        each(count, &format!("{count} runs of kustomize"), |index| {
            let mut run = nice(&program);
            run.args(customize(index)).current_dir(&overlays);
            run.env("GOCOVERDIR", &dir);
            quiet(run, &[0, 1])
        })?;
        settle(&dir)?;
    }
    Ok(Runs { program, dir })
}

/// `covdata` of the installed Go as a program of its own: what `go tool` runs,
/// without the time that `go tool` itself takes.
pub fn covdata() -> Result<PathBuf, String> {
    let program = cache()?.join(format!("covdata-{}", go()?));
    if !program.is_file() {
        let mut build = nice("go");
        build.args(["build", "-o"]).arg(&program).arg("cmd/covdata");
        finish(build)?;
    }
    Ok(program)
}

const OVERLAYS: [(&str, &str); 14] = [
    ("base", "resources: [all.yaml]\n"),
    (
        "prefix",
        "resources: [../base]\nnamePrefix: eu-\nnameSuffix: -1\n",
    ),
    ("space", "resources: [../base]\nnamespace: shop\n"),
    (
        "labels",
        "resources: [../base]\nlabels:\n- pairs: {team: red}\n  includeSelectors: true\ncommonAnnotations: {note: yes-it-is}\n",
    ),
    (
        "images",
        "resources: [../base]\nimages:\n- {name: nginx, newName: registry.local/nginx, newTag: \"2\"}\n- {name: redis, digest: sha256:24a0c4b4a4c0eb97a1aabb8e29f18e917d05abfe1b7a7c07857230879ce7d3d3}\n",
    ),
    (
        "replicas",
        "resources: [../base]\nreplicas:\n- {name: web, count: 5}\n",
    ),
    (
        "config",
        "resources: [../base]\nconfigMapGenerator:\n- name: settings\n  literals: [a=1, b=2]\n  files: [notes=notes.txt]\nsecretGenerator:\n- name: login\n  type: Opaque\n  literals: [user=me]\ngeneratorOptions: {disableNameSuffixHash: true}\n",
    ),
    (
        "hash",
        "resources: [../base]\nconfigMapGenerator:\n- name: settings\n  envs: [settings.env]\n",
    ),
    (
        "patch",
        "resources: [../base]\npatches:\n- patch: |\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {name: web}\n    spec: {template: {spec: {containers: [{name: web, env: [{name: X, value: \"1\"}]}]}}}\n",
    ),
    (
        "json",
        "resources: [../base]\npatches:\n- target: {kind: Deployment, name: web}\n  patch: |\n    - {op: replace, path: /spec/replicas, value: 7}\n    - {op: add, path: /metadata/annotations, value: {a: b}}\n",
    ),
    (
        "replace",
        "resources: [../base]\nreplacements:\n- source: {kind: Service, name: web, fieldPath: spec.ports.0.port}\n  targets:\n  - select: {kind: Deployment}\n    fieldPaths: [spec.template.spec.containers.*.ports.0.containerPort]\n",
    ),
    (
        "all",
        "resources: [../prefix, ../space]\ncomponents: [../component]\nnamePrefix: two-\n",
    ),
    ("broken", "resources: [../nowhere]\n"),
    (
        "wrong",
        "resources: [../base]\npatches:\n- target: {kind: Nothing}\n  patch: '- {op: jump, path: /x}'\n",
    ),
];

fn write_overlays(dir: &Path) -> Result<(), String> {
    for (name, text) in OVERLAYS {
        write(&dir.join(name).join("kustomization.yaml"), text)?;
    }
    let component = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nlabels:\n- pairs: {extra: \"1\"}\n";
    write(&dir.join("component/kustomization.yaml"), component)?;
    write(&dir.join("config/notes.txt"), "line one\nline two\n")?;
    write(&dir.join("hash/settings.env"), "A=1\nB=two\n")?;
    let all = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, labels: {app: web}}\nspec:\n  replicas: 1\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec:\n      containers:\n      - {name: web, image: \"nginx:1\", ports: [{containerPort: 80}]}\n      - {name: cache, image: \"redis:7\"}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 8080, targetPort: 80}]}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain}\ndata: {k: v}\n";
    write(&dir.join("base/all.yaml"), all)
}

/// What the run of this number is asked.
fn customize(index: usize) -> Vec<String> {
    const WAYS: [&[&str]; 8] = [
        &["build"],
        &["build", "--load-restrictor", "LoadRestrictionsNone"],
        &["build", "--enable-helm"],
        &["build", "--as-current-user"],
        &["cfg", "tree"],
        &["cfg", "count"],
        &["cfg", "cat"],
        &["cfg", "grep", "kind=Service"],
    ];
    if index.is_multiple_of(97) {
        return vec!["version".to_owned()];
    }
    let way = WAYS[(index / OVERLAYS.len()) % WAYS.len()];
    let mut args: Vec<String> = way.iter().map(ToString::to_string).collect();
    args.push(OVERLAYS[index % OVERLAYS.len()].0.to_owned());
    args
}

/// Installs a package of the registry, everything in it instrumented.
fn install(home: &Path, what: &[&str]) -> Result<(), String> {
    let mut install = nice("cargo");
    install.args([
        "install",
        "--quiet",
        "--debug",
        "--locked",
        "--no-track",
        "--root",
    ]);
    install
        .arg(home)
        .arg("--target-dir")
        .arg(home.join("target"));
    install.args(what);
    instrument(&mut install);
    say(&format!("build {} with coverage", home.display()));
    finish(install)
}

/// Build scripts and macros are instrumented too; their profiles are not wanted.
pub fn instrument(command: &mut Command) {
    command.env("RUSTFLAGS", "-C instrument-coverage");
    command.env("LLVM_PROFILE_FILE", "/dev/null");
    command
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("CARGO_TARGET_DIR");
}

/// Where cargo put the sources of a package of the registry.
pub fn registry_source(package: &str) -> Result<PathBuf, String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let user = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let registries = home
        .or_else(user)
        .ok_or("HOME is not set")?
        .join("registry/src");
    let found = entries(&registries)?
        .into_iter()
        .map(|dir| dir.join(package));
    let mut found: Vec<PathBuf> = found.filter(|dir| dir.is_dir()).collect();
    found.sort();
    found
        .pop()
        .ok_or_else(|| format!("no sources of {package} below {}", registries.display()))
}

/// Does `work` for each number on two threads, telling how far it is.
fn each(
    count: usize,
    what: &str,
    work: impl Fn(usize) -> Result<(), String> + Sync,
) -> Result<(), String> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let tenth = count.div_ceil(10).max(1);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let has_failed = failed.lock().map_or(true, |failed| failed.is_some());
                    if index >= count || has_failed {
                        break;
                    }
                    if index.is_multiple_of(tenth) {
                        say(&format!("{what}: {}%", index * 100 / count));
                    }
                    if let Err(error) = work(index)
                        && let Ok(mut failed) = failed.lock()
                    {
                        *failed = Some(error);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().map_err(|error| error.to_string())?;
    failed.map_or(Ok(()), Err)
}

/// Runs without output; these exit statuses are right.
fn quiet(mut command: Command, good: &[i32]) -> Result<(), String> {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .stdin(Stdio::null());
    let status = command
        .status()
        .map_err(|error| format!("{command:?}: {error}"))?;
    match status.code() {
        Some(code) if good.contains(&code) => Ok(()),
        _ => Err(format!("{command:?}: {status}")),
    }
}

/// Runs to success.
pub fn finish(mut command: Command) -> Result<(), String> {
    let status = command
        .status()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {status}"))
}

/// What a program says on stdout.
pub fn output(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}\n{stderr}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub fn nice(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nice");
    command.args(["-n", "10"]).arg(program);
    super::forget_cargo(&mut command);
    command
}

/// `rustc-1.95.0`.
pub fn rustc() -> Result<String, String> {
    let text = output(Command::new("rustc").arg("--version"))?;
    let version = text.split_whitespace().nth(1).unwrap_or("unknown");
    Ok(format!("rustc-{version}"))
}

/// `go1.26.8`.
pub fn go() -> Result<String, String> {
    let text = output(Command::new("go").args(["env", "GOVERSION"]))?;
    Ok(text.trim().to_owned())
}

fn is_complete(dir: &Path) -> bool {
    dir.with_extension("complete").is_file()
}

fn begin(dir: &Path) -> Result<(), String> {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).map_err(|error| format!("cannot create {}: {error}", dir.display()))
}

/// Nothing of it is waiting to be written: else dropping it from the cache, or
/// the first measurement, would pay for that.
fn settle(dir: &Path) -> Result<(), String> {
    finish(Command::new("sync"))?;
    write(&dir.with_extension("complete"), "")
}

pub fn entries(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let read =
        fs::read_dir(dir).map_err(|error| format!("cannot read {}: {error}", dir.display()))?;
    let paths = read.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    paths.sort();
    Ok(paths)
}

pub fn write(path: &Path, text: &str) -> Result<(), String> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| error.to_string())?;
    }
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

pub fn say(text: &str) {
    eprintln!("· {text}");
}
