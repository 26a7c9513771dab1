//! Real Rust programs, and what LLVM's own tools say of them by hand.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{TestRun, build_id, llvm, run, try_run};
use podcov_profile::Limits;
use podcov_profile::bundle::mapping_path;
use podcov_profile::ledger::Fate;
use podcov_profile::llvm::export::Export;
use podcov_profile::llvm::object;
use podcov_profile::model::{Binary, Ratio};
use podcov_profile::names::Language;

const MAIN: &str = r#"
mod shapes;
mod steps;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let total: f64 = shapes::all().iter().map(|shape| shape.area()).sum();
    println!("{total}");
    for (index, argument) in arguments.iter().enumerate() {
        match argument.as_str() {
            "walk" => println!("{}", steps::walk(index, |n| n * 2)),
            "name" => println!("{}", steps::join(&["a", "b"])),
            "die" => steps::die(),
            other => println!("unknown {other}"),
        }
    }
    if cfg!(debug_assertions) && arguments.len() > 3 { println!("many") } else { println!("few") }
}
"#;

const SHAPES: &str = r#"
pub trait Shape {
    fn area(&self) -> f64;
    fn is_large(&self) -> bool {
        self.area() > 10.0
    }
}

pub struct Square(pub f64);
pub struct Circle {
    pub radius: f64,
}

impl Shape for Square {
    fn area(&self) -> f64 {
        self.0 * self.0
    }
}

impl Shape for Circle {
    fn area(&self) -> f64 {
        if self.radius < 0.0 {
            return 0.0;
        }
        3.0 * self.radius * self.radius
    }
}

pub fn all() -> Vec<Box<dyn Shape>> {
    let all: Vec<Box<dyn Shape>> = vec![Box::new(Square(2.0)), Box::new(Circle { radius: 1.0 })];
    let large = all.iter().filter(|shape| shape.is_large()).count();
    assert!(large < 2, "{}", never());
    all
}

fn never() -> &'static str {
    "never called"
}
"#;

const STEPS: &str = r#"
use std::fmt::Display;

pub fn walk<F: Fn(usize) -> usize>(n: usize, step: F) -> usize {
    let mut sum = 0;
    for i in 0..=n {
        sum += if i % 2 == 0 { step(i) } else { i };
    }
    sum
}

pub fn join<T: Display>(parts: &[T]) -> String {
    let mut text = String::new();
    for part in parts {
        if !text.is_empty() {
            text.push(',');
        }
        text += &part.to_string();
    }
    text
}

pub fn numbers() -> String {
    join(&[1, 2, 3])
}

#[cfg(unix)]
pub fn die() {
    let me = std::process::id().to_string();
    let _ = std::process::Command::new("kill").args(["-9", &me]).status();
    loop {
        std::hint::spin_loop();
    }
}

#[cfg(not(unix))]
pub fn die() {}
"#;

fn build(dir: &Path, output: &str, more: &[&str]) -> PathBuf {
    run(Command::new("rustc")
        .current_dir(dir)
        .args(["src/main.rs", "-o", output])
        .args(more)
        .args([
            "--edition=2024",
            "--crate-name=shapes_op",
            "-Cinstrument-coverage",
            "-Cllvm-args=-runtime-counter-relocation",
            "-Clink-arg=-Wl,--build-id=sha1",
            "-Copt-level=1",
            "-Cdebug-assertions=on",
        ]));
    dir.join(output)
}

fn project(test: &TestRun) -> PathBuf {
    let files = [
        ("src/main.rs", MAIN),
        ("src/shapes.rs", SHAPES),
        ("src/steps.rs", STEPS),
    ];
    test.project("op", &files)
}

fn start(program: &Path, dir: &Path, pattern: &str, args: &[&str]) -> std::process::Output {
    try_run(
        Command::new(program)
            .args(args)
            .env("LLVM_PROFILE_FILE", dir.join(pattern)),
    )
}

/// The numbers of `llvm-cov export -summary-only`, by path below the project.
fn by_hand(
    test: &TestRun,
    program: &Path,
    profraws: &[PathBuf],
) -> BTreeMap<String, (Ratio, Ratio, Ratio)> {
    let data = test.path("by-hand.profdata");
    run(Command::new(llvm("profdata"))
        .args(["merge", "-sparse"])
        .args(profraws)
        .arg("-o")
        .arg(&data));
    let export = run(Command::new(llvm("cov"))
        .args(["export", "-summary-only", "-instr-profile"])
        .args([&data, program]));
    let export: Export = serde_json::from_slice(&export.stdout).unwrap();
    let root = format!("{}/", test.path("op").canonicalize().unwrap().display());
    let files = export.data.iter().flat_map(|data| &data.files);
    files
        .filter_map(|file| {
            let s = file.summary;
            let numbers = (s.lines.into(), s.functions.into(), s.regions.into());
            Some((file.filename.strip_prefix(&root)?.to_owned(), numbers))
        })
        .collect()
}

fn ours(binary: &Binary) -> BTreeMap<String, (Ratio, Ratio, Ratio)> {
    let numbers =
        |f: &podcov_profile::model::File| (f.metrics.lines, f.metrics.functions, f.metrics.regions);
    binary
        .files
        .iter()
        .map(|file| (file.path.clone(), numbers(file)))
        .collect()
}

/// The DA records of `-format=lcov`, by path below the project.
fn lcov(test: &TestRun, program: &Path) -> BTreeMap<String, Vec<(u32, u64)>> {
    let lcov = run(Command::new(llvm("cov"))
        .args(["export", "-format=lcov", "-instr-profile"])
        .args([&test.path("by-hand.profdata"), program]));
    let root = format!("{}/", test.path("op").canonicalize().unwrap().display());
    let (mut files, mut current) = (BTreeMap::new(), None);
    for line in String::from_utf8(lcov.stdout).unwrap().lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            current = path.strip_prefix(&root).map(str::to_owned);
        }
        if let (Some(line), Some(file)) = (line.strip_prefix("DA:"), &current) {
            let (number, count) = line.split_once(',').unwrap();
            let entry: &mut Vec<_> = files.entry(file.clone()).or_default();
            entry.push((number.parse().unwrap(), count.parse().unwrap()));
        }
    }
    files
}

#[test]
fn many_lives_add_up_to_what_llvm_says() {
    let mut test = TestRun::new();
    let dir = project(&test);
    let program = build(&dir, "one", &[]);
    test.component(
        "op",
        Language::Rust,
        &program,
        Some(build_id(&program)),
        vec![],
    );

    let mut profraws = Vec::new();
    for args in [
        &["walk"][..],
        &["walk", "name"],
        &["x", "walk", "walk"],
        &[],
    ] {
        let life = test.incarnation("op");
        assert!(
            start(&program, &life, "%m%c.profraw", args)
                .status
                .success()
        );
        profraws.extend(
            fs::read_dir(&life)
                .unwrap()
                .map(|entry| entry.unwrap().path()),
        );
    }
    assert_eq!(profraws.len(), 4);
    // One that is killed with SIGKILL in the middle, counting continuously.
    let life = test.incarnation("op");
    let killed = start(&program, &life, "%m%c.profraw", &["walk", "die", "name"]);
    assert_eq!(killed.status.signal(), Some(9));
    profraws.extend(
        fs::read_dir(&life)
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    assert_eq!(profraws.len(), 5);
    // One that left an empty file, and one whose file was cut off.
    let empty = test.incarnation("op");
    fs::write(empty.join("empty.profraw"), b"").unwrap();
    let cut = test.incarnation("op");
    let bytes = fs::read(&profraws[0]).unwrap();
    fs::write(cut.join("cut.profraw"), &bytes[..bytes.len() / 2]).unwrap();
    // A good profile with a record in it.
    fs::write(
        test.path("evidence/test/op_uid-0/main/20260101T000000.000Z-0000/start.json"),
        "{}",
    )
    .unwrap();
    test.collect();
    let coverage = test.merge();

    let binary = &coverage.components[0].binaries[0];
    assert_eq!(binary.profiles, 5);
    let expected = by_hand(&test, &program, &profraws);
    assert_eq!(expected.len(), 3);
    assert_eq!(ours(binary), expected);

    // Lines and counts are those of llvm-cov's lcov.
    let lcov = lcov(&test, &program);
    for file in &binary.files {
        let lines: Vec<_> = file
            .lines
            .iter()
            .map(|line| (line.number, line.count))
            .collect();
        assert_eq!(lines, lcov[&file.path], "{}", file.path);
        assert_eq!(
            file.functions.len() as u64,
            file.metrics.functions.total,
            "{}",
            file.path
        );
        let called = file
            .functions
            .iter()
            .filter(|function| function.count > 0)
            .count();
        assert_eq!(
            called as u64, file.metrics.functions.covered,
            "{}",
            file.path
        );
        assert_eq!(file.package, "shapes_op");
    }
    // Five lives called main once each, the killed one included.
    let main = binary.files[0]
        .functions
        .iter()
        .find(|f| f.name == "shapes_op::main")
        .unwrap();
    assert_eq!(main.count, 5);
    let steps = &binary.files[2];
    assert_eq!(steps.path, "src/steps.rs");
    let count = |name: &str| {
        steps
            .functions
            .iter()
            .find(|f| f.name == name)
            .map(|f| f.count)
    };
    assert_eq!(count("shapes_op::steps::die"), Some(1));
    assert_eq!(count("shapes_op::steps::numbers"), Some(0));

    // Every file has its fate, and what did not count is explained and kept.
    assert_eq!(test.fates(5), [("empty.profraw".to_owned(), Fate::Empty)]);
    assert_eq!(test.fates(6), [("cut.profraw".to_owned(), Fate::Rejected)]);
    assert_eq!(test.ledger.incarnations[5].fate, Fate::Empty);
    assert_eq!(test.ledger.incarnations[6].fate, Fate::Rejected);
    let kept = format!("quarantine/{}", test.ledger.incarnations[6].files[0].path);
    assert_eq!(
        fs::read(test.path(&kept)).unwrap(),
        &bytes[..bytes.len() / 2]
    );
    let reason = fs::read_to_string(test.path(&format!("{kept}.reason.json"))).unwrap();
    assert!(reason.contains("\"fate\": \"rejected\""), "{reason}");
    let component = &coverage.components[0];
    assert_eq!(
        (
            component.incarnations_collected,
            component.incarnations_lost
        ),
        (5, 2)
    );

    // The kept command lines say the same, run by hand.
    let out = test.path("coverage/op").join(binary.identity.dir_name());
    let report = run(Command::new("sh").arg("commands.txt").current_dir(&out));
    let report = String::from_utf8(report.stdout).unwrap();
    let total = report
        .lines()
        .find(|line| line.starts_with("TOTAL"))
        .unwrap();
    let words: Vec<u64> = total
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let mut sum = podcov_profile::model::Metrics::default();
    binary.files.iter().for_each(|file| sum += file.metrics);
    let expected = [
        sum.regions.total,
        sum.regions.total - sum.regions.covered,
        sum.functions.total,
        sum.functions.total - sum.functions.covered,
        sum.lines.total,
        sum.lines.total - sum.lines.covered,
    ];
    assert_eq!(words[..6], expected);

    // Merging again gives the same bytes, file by file. The commands wrote theirs.
    test.merge();
    let (ledger, bytes) = (test.ledger.clone(), snapshot(&test.path("coverage")));
    test.merge();
    assert_eq!(test.ledger, ledger);
    assert_eq!(snapshot(&test.path("coverage")), bytes);
}

fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = walkdir::WalkDir::new(dir)
        .into_iter()
        .map(|entry| entry.unwrap());
    files
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| (entry.path().to_owned(), fs::read(entry.path()).unwrap()))
        .collect()
}

#[test]
fn two_builds_of_one_source_stay_apart() {
    let mut test = TestRun::new();
    let dir = project(&test);
    let one = build(&dir, "one", &[]);
    let two = build(&dir, "two", &["-Cmetadata=two"]);
    assert_ne!(build_id(&one), build_id(&two));
    test.component("op", Language::Rust, &one, Some(build_id(&one)), vec![]);
    test.component("op", Language::Rust, &two, Some(build_id(&two)), vec![]);
    let (life_one, life_two) = (test.incarnation("op"), test.incarnation("op"));
    start(&one, &life_one, "x.profraw", &["walk"]);
    start(&two, &life_two, "x.profraw", &["name"]);
    start(&two, &life_two, "y.profraw", &["name"]);
    // A build that no bundle has.
    let three = build(&dir, "three", &["-Cmetadata=three"]);
    let life_three = test.incarnation("op");
    start(&three, &life_three, "x.profraw", &["name"]);
    // A second delivery of a file of the same life.
    let copy = test.ledger.incarnations[0].clone();
    test.collect();
    test.ledger.incarnations.push(copy);
    let delivered = test.ledger.incarnations[0].files.clone();
    test.ledger.incarnations[3].files = delivered;
    let coverage = test.merge();

    let binaries = &coverage.components[0].binaries;
    assert_eq!(binaries.len(), 2);
    for binary in binaries {
        let main = binary.files[0]
            .functions
            .iter()
            .find(|f| f.name == "shapes_op::main")
            .unwrap();
        let (expected, walk, join) = match binary.identity == build_id(&one) {
            true => (1, 1, 0),
            false => (2, 0, 2),
        };
        assert_eq!((binary.profiles, main.count), (expected, expected));
        let steps = &binary.files[2].functions;
        let count = |name: &str| steps.iter().find(|f| f.name == name).unwrap().count;
        assert_eq!(count("shapes_op::steps::walk::<_>"), walk);
        assert_eq!(count("shapes_op::steps::join::<_>"), join);
    }
    assert_eq!(test.fates(2), [("x.profraw".to_owned(), Fate::Foreign)]);
    assert_eq!(test.ledger.incarnations[2].fate, Fate::Foreign);
    assert_eq!(test.fates(3), [("x.profraw".to_owned(), Fate::Duplicate)]);
}

#[test]
fn what_never_ran_is_zero_of_all_and_not_absent() {
    let mut test = TestRun::new();
    let dir = project(&test);
    let program = build(&dir, "one", &[]);
    test.component(
        "op",
        Language::Rust,
        &program,
        Some(build_id(&program)),
        vec![],
    );
    let coverage = test.merge_with(&[], &["**/shapes.rs".to_owned()]);
    let binary = &coverage.components[0].binaries[0];
    let paths: Vec<_> = binary.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["src/main.rs", "src/steps.rs"]);
    for file in &binary.files {
        assert_eq!(file.metrics.lines.covered, 0);
        assert!(file.metrics.lines.total > 10 && file.metrics.functions.total > 0);
    }
}

#[test]
fn counters_that_a_record_has_elsewhere_are_found_among_others() {
    let mut test = TestRun::new();
    let dir = project(&test);
    let program = build(&dir, "one", &[]);
    test.component(
        "op",
        Language::Rust,
        &program,
        Some(build_id(&program)),
        vec![],
    );
    for _ in 0..5 {
        let life = test.incarnation("op");
        start(&program, &life, "x.profraw", &["walk"]);
    }
    // A counter's place that points before the counters: sizes are all right.
    let file = test.path("evidence/test/op_uid-3/main/20260101T000000.000Z-0003/x.profraw");
    let mut bytes = fs::read(&file).unwrap();
    let ids = u64::from_le_bytes(bytes[16..24].try_into().unwrap()) as usize;
    let record = 16 * 8 + ids;
    bytes[record + 16..record + 24].copy_from_slice(&(-4096i64).to_le_bytes());
    fs::write(&file, &bytes).unwrap();
    let alone = try_run(
        Command::new(llvm("profdata"))
            .arg("merge")
            .arg(&file)
            .arg("-o")
            .arg(test.path("x")),
    );
    assert!(
        !alone.status.success(),
        "the tool must refuse it, or this test proves nothing"
    );
    test.collect();
    let coverage = test.merge();
    assert_eq!(coverage.components[0].binaries[0].profiles, 4);
    assert_eq!(test.fates(3), [("x.profraw".to_owned(), Fate::Rejected)]);
    let reason = &test.ledger.incarnations[3].files[0].reason;
    assert!(reason.contains("counters"), "{reason}");
    assert_eq!(coverage.components[0].incarnations_lost, 1);
}

#[test]
fn a_program_that_would_silently_count_as_nothing_is_an_error() {
    let mut test = TestRun::new();
    let dir = project(&test);
    let program = build(&dir, "one", &[]);
    let other = build(&dir, "two", &["-Cmetadata=two"]);
    let identity = build_id(&program);
    for (program, expected) in [
        (Path::new("/bin/true"), "holds no coverage mapping"),
        (&other, "it is the build build-id:"),
    ] {
        test.components.clear();
        test.component(
            "op",
            Language::Rust,
            program,
            Some(identity.clone()),
            vec![],
        );
        let error = test.try_merge(&[], &[]).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_mapping_stands_in_for_a_program_that_is_gone() {
    let mut test = TestRun::new();
    let dir = project(&test);
    let program = build(&dir, "one", &[]);
    let identity = build_id(&program);
    test.component(
        "op",
        Language::Rust,
        &program,
        Some(identity.clone()),
        vec![],
    );
    let life = test.incarnation("op");
    start(&program, &life, "x.profraw", &["walk"]);
    test.collect();
    let expected = test.merge();

    let (bundle, folder) = &test.components[0];
    let kept = folder.join(&bundle.binaries[0].path);
    let bytes = fs::read(&kept).unwrap();
    let objects = object::read(bytes.as_slice(), "one", None, &Limits::default()).unwrap();
    let mapping = folder.join(mapping_path(&identity));
    fs::create_dir_all(mapping.parent().unwrap()).unwrap();
    let mut file = fs::File::create(&mapping).unwrap();
    objects[0].to_mapping_file(&mut file).unwrap();
    fs::remove_file(&kept).unwrap();
    assert_eq!(test.merge_natively().unwrap(), expected);

    fs::remove_file(&mapping).unwrap();
    let error = test
        .merge_natively()
        .expect_err("neither is there")
        .to_string();
    assert!(error.contains("cannot read"), "{error}");
}
