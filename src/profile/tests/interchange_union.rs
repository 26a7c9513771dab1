//! Joining what several sources reached, against an account by hand, and the
//! other views of the neutral form.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::Command;

use podcov_profile::bundle::PathRule;
use podcov_profile::model::{
    Binary, Component, Coverage, File, Function, Line, Ratio, Region, RegionKind, SCHEMA,
};
use podcov_profile::names::{Kind, Language};
use podcov_profile::neutral::{FileLines, LineCoverage};
use podcov_profile::reach::Reach;
use podcov_profile::union::{Error, Source, Union, union};
use podcov_profile::{codecov, gocover, lcov, llvm_json};
use proptest::prelude::*;

fn coverage(text: &str) -> LineCoverage {
    lcov::parse(text.as_bytes()).unwrap().coverage
}

fn source(name: &str, text: &str) -> Source {
    Source {
        name: name.into(),
        coverage: coverage(text),
        rules: vec![],
    }
}

fn rule(from: &str, to: &str) -> PathRule {
    PathRule {
        from: from.into(),
        to: to.into(),
    }
}

const UNIT: &str = "SF:/ci/op/src/a.rs\nDA:1,1\nDA:2,0\nDA:3,1\nDA:9,0\nend_of_record\n\
                    SF:/ci/op/src/b.rs\nDA:1,0\nend_of_record\n";
const E2E: &str = "SF:op/src/a.rs\nDA:1,2\nDA:2,5\nDA:3,0\nDA:4,0\nend_of_record\n";

#[test]
fn it_is_known_which_source_reached_a_line() {
    let mut unit = source("unit", UNIT);
    unit.rules = vec![rule("/ci", "")];
    let all = union(vec![unit, source("e2e", E2E)]).unwrap();
    assert_eq!(all.sources(), ["e2e", "unit"]);
    let by = |line| all.reached_by("op/src/a.rs", line).collect::<Vec<_>>();
    assert_eq!(by(1), ["e2e", "unit"]);
    assert_eq!(by(2), ["e2e"]);
    assert_eq!(by(3), ["unit"]);
    assert_eq!(by(4), [""; 0]);
    assert_eq!(by(5), [""; 0]);
    assert_eq!(all.lines(), Ratio::new(3, 6));
    assert_eq!(
        all.own(),
        BTreeMap::from([("e2e", Ratio::new(2, 4)), ("unit", Ratio::new(2, 5))])
    );
    assert_eq!(
        all.to_text(),
        "3 of 6 lines reached by e2e or unit\n  none: 3\n  only e2e: 1\n  only unit: 1\n  \
         e2e and unit: 1\n"
    );
    assert_eq!(
        serde_json::to_string(&all).unwrap(),
        r#"{"sources":["e2e","unit"],"lines":{"covered":3,"total":6},"shares":[{"sources":[],"lines":3},{"sources":["e2e"],"lines":1},{"sources":["unit"],"lines":1},{"sources":["e2e","unit"],"lines":1}],"files":{"op/src/a.rs":[[1,3,3,3],[2,5,1,3],[3,1,2,3],[4,0,0,1],[9,0,0,2]],"op/src/b.rs":[[1,0,0,2]]}}"#
    );
}

#[test]
fn sources_that_share_no_file_are_refused_with_a_rule_that_helps() {
    let error = union(vec![source("unit", UNIT), source("e2e", E2E)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected `e2e` to share files with the other sources, found none: it has \
         `op/src/a.rs`, they have `/ci/op/src/a.rs`, `/ci/op/src/b.rs`; a rule from `` to `/ci` \
         would make `op/src/a.rs` and `/ci/op/src/a.rs` one"
    );
    // One of three that nobody shares is refused, too.
    let other = source("other", "SF:x.go\nDA:1,1\nend_of_record\n");
    let mut unit = source("unit", UNIT);
    unit.rules = vec![rule("/ci/", "")];
    let error = union(vec![unit, source("e2e", E2E), other]).unwrap_err();
    assert!(
        matches!(&error, Error::NoCommonFile { name, hint, .. } if name == "other" && hint.is_empty()),
        "{error}"
    );
}

#[test]
fn a_source_alone_or_without_files_is_no_error() {
    assert_eq!(
        union(vec![source("e2e", E2E)]).unwrap().lines(),
        Ratio::new(2, 4)
    );
    let nothing = Source {
        name: "none".into(),
        ..Source::default()
    };
    let all = union(vec![source("e2e", E2E), nothing]).unwrap();
    assert_eq!(all.own()["none"], Ratio::new(0, 0));
    assert_eq!(union(vec![]).unwrap(), Union::default());
}

#[test]
fn the_hint_is_a_rule_that_works() {
    let error = union(vec![source("unit", UNIT), source("e2e", E2E)]).unwrap_err();
    assert!(error.to_string().contains("a rule from `` to `/ci`"));
    let mut e2e = source("e2e", E2E);
    e2e.rules = vec![rule("", "/ci")];
    assert_eq!(
        union(vec![source("unit", UNIT), e2e]).unwrap().lines(),
        Ratio::new(3, 6)
    );
}

#[test]
fn more_sources_than_bits_are_refused() {
    let many = (0..65).map(|n| source(&format!("s{n}"), E2E)).collect();
    assert_eq!(union(many).unwrap_err(), Error::TooMany(65));
    let many: Vec<Source> = (0..64).map(|n| source(&format!("s{n}"), E2E)).collect();
    let all = union(many).unwrap();
    assert_eq!(all.reached_by("op/src/a.rs", 1).count(), 64);
}

/// Source, file, line, count.
type Event = (u8, u8, u8, u64);

fn events() -> impl Strategy<Value = Vec<Event>> {
    let count = prop_oneof![0..3u64, Just(u64::MAX), Just(u64::MAX / 2)];
    prop::collection::vec((0..4u8, 0..3u8, 1..5u8, count), 0..24)
}

fn one(event: &Event) -> Union {
    let (source, file, line, count) = event;
    let text = format!("SF:{file}\nDA:{line},{count}\nend_of_record\n");
    Union::of(&format!("s{source}"), &coverage(&text))
}

fn sum<'a>(all: impl Iterator<Item = &'a Event>) -> Union {
    all.map(one)
        .fold(Union::default(), |sum, one| sum.join(&one).unwrap())
}

proptest! {
    #[test]
    fn joins_are_those_of_the_account(events in events()) {
        let all = sum(events.iter());
        let mut counts: HashMap<(u8, u8), u64> = HashMap::new();
        let mut by: HashMap<(u8, u8), BTreeSet<String>> = HashMap::new();
        for (source, file, line, count) in &events {
            let known = counts.entry((*file, *line)).or_default();
            *known = known.checked_add(*count).unwrap_or(u64::MAX);
            if *count > 0 {
                by.entry((*file, *line)).or_default().insert(format!("s{source}"));
            }
        }
        let listed: usize = all.files().map(|(_, lines)| lines.len()).sum();
        prop_assert_eq!(listed, counts.len());
        for ((file, line), count) in counts {
            let path = file.to_string();
            prop_assert_eq!(all.file(&path).unwrap()[&u32::from(line)].count, count);
            prop_assert_eq!(all.coverage().files[&path].lines[&u32::from(line)], count);
            let reached = all.reached_by(&path, line.into()).map(str::to_owned);
            let known = by.get(&(file, line)).cloned().unwrap_or_default();
            prop_assert_eq!(reached.collect::<BTreeSet<_>>(), known);
        }
        let shares: u64 = all.shares().iter().map(|share| share.lines).sum();
        prop_assert_eq!(shares, listed as u64);
    }

    #[test]
    fn order_and_grouping_of_joins_do_not_matter(
        events in events(),
        cut in any::<prop::sample::Index>(),
    ) {
        let forth = sum(events.iter());
        prop_assert_eq!(&sum(events.iter().rev()), &forth);
        let (left, right) = events.split_at(cut.index(events.len() + 1));
        prop_assert_eq!(sum(left.iter()).join(&sum(right.iter())).unwrap(), forth);
    }
}

fn line(number: u32, count: u64, partial: bool) -> Line {
    Line {
        number,
        count,
        partial,
    }
}

fn component(name: &str, language: Language, files: Vec<File>) -> Component {
    let binary = |identity: &str| Binary {
        name: name.into(),
        identity: identity.parse().unwrap(),
        profiles: 1,
        files: files.clone(),
        reach: Reach::new(),
    };
    Component {
        name: name.into(),
        language,
        kind: Kind::Operator,
        binaries: vec![binary("build-id:00"), binary("build-id:01")],
        incarnations_collected: 1,
        incarnations_lost: 0,
    }
}

fn composition() -> Coverage {
    let block = |start_line, statements, count| Region {
        start_line,
        start_column: 2,
        end_line: start_line + 1,
        end_column: 3,
        kind: RegionKind::Code,
        statements,
        count,
    };
    let rust = File {
        path: "src/main.rs".into(),
        package: "op".into(),
        lines: vec![line(1, 1, false), line(2, 1, true), line(3, 0, false)],
        ..File::default()
    };
    let go = File {
        path: "controllers/r.go".into(),
        package: "example.org/op/controllers".into(),
        lines: vec![line(4, 1, false), line(5, 0, false)],
        functions: vec![Function {
            name: "Reconcile".into(),
            start: 4,
            end: 5,
            count: 1,
            regions: vec![block(4, 2, 1), block(6, 1, 0)],
            ..Function::default()
        }],
        ..File::default()
    };
    Coverage {
        schema: SCHEMA,
        composition: "c".into(),
        components: vec![
            component("op", Language::Rust, vec![rust.clone()]),
            component("cli", Language::Rust, vec![rust]),
            component("go", Language::Go, vec![go]),
        ],
    }
}

#[test]
fn builds_of_a_component_are_one_and_components_add_up() {
    let all = LineCoverage::of(&composition(), &BTreeMap::new());
    assert_eq!(
        all.files["src/main.rs"].lines[&1], 4,
        "two builds of two components"
    );
    assert_eq!(all.files["src/main.rs"].partial, BTreeSet::from([2]));
    assert_eq!(all.files["src/main.rs"].package, "op");
    let apart = BTreeMap::from([("cli".to_owned(), "cli/".to_owned())]);
    let apart = LineCoverage::of(&composition(), &apart);
    assert_eq!(
        apart.files.keys().collect::<Vec<_>>(),
        ["cli/src/main.rs", "controllers/r.go", "src/main.rs"]
    );
}

#[test]
fn codecov_gets_counts_and_parts_of_lines() {
    let mut all = LineCoverage::of(&composition(), &BTreeMap::new());
    all.absorb(&coverage(
        "SF:a \"q\"\\\n\nBRDA:1,0,0,1\nBRDA:1,0,1,0\nBRDA:2,0,0,1\nDA:1,4\nDA:2,1\nend_of_record\n",
    ));
    let json = codecov::text(&all);
    assert_eq!(
        json,
        "{\"coverage\":{\"a \\\"q\\\"\\\\\":{\"1\":\"1/2\",\"2\":1},\"controllers/r.go\":{\"4\":2,\"5\":0},\
         \"src/main.rs\":{\"1\":4,\"2\":\"1/2\",\"3\":0}}}\n"
    );
}

#[test]
fn go_blocks_become_a_profile_that_go_reads() {
    let profile = gocover::profile(&composition()).unwrap();
    let path = "example.org/op/controllers/r.go";
    assert_eq!(
        profile.to_text(),
        format!("mode: count\n{path}:4.2,5.3 2 2\n{path}:6.2,7.3 1 0\n")
    );
    let mut without = composition();
    without.components.pop();
    assert_eq!(gocover::profile(&without), None);

    // As Go reads it, from a module of that name.
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("controllers");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(
        dir.path().join("go.mod"),
        "module example.org/op\n\ngo 1.21\n",
    )
    .unwrap();
    let text = "package controllers\n\n\nfunc Reconcile() {\n}\n\nfunc Other() {\n}\n";
    std::fs::write(folder.join("r.go"), text).unwrap();
    std::fs::write(dir.path().join("c.out"), profile.to_text()).unwrap();
    let output = Command::new("go")
        .args(["tool", "cover", "-func=c.out"])
        .current_dir(dir.path())
        .env("GOFLAGS", "-mod=mod")
        .output()
        .unwrap_or_else(|error| panic!("go: {error}; install Go from https://go.dev/dl"));
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}{err}");
    assert!(
        out.lines()
            .any(|line| line.contains("total:") && line.ends_with("66.7%")),
        "{out}"
    );
}

const PROGRAM: &str = r#"
fn pick<T: PartialOrd + Copy>(one: T, two: T) -> T { if one > two { one } else { two } }
fn never() { println!("never"); }
fn main() {
    let many: Vec<u32> = (0..5).map(|n| n * 2).filter(|n| n % 4 == 0).collect();
    println!("{} {} {:?}", pick(1, 2), pick('b', 'a'), many);
    if std::env::args().count() > 5 { never(); }
}
"#;

fn run(dir: &std::path::Path, program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(args)
        .current_dir(dir)
        .env("LLVM_PROFILE_FILE", "a.profraw")
        .output()
        .unwrap_or_else(|error| {
            panic!("{program}: {error}; install it with `apt-get install llvm-22 clang-22`")
        });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {errors}");
    output.stdout
}

#[test]
fn both_exports_of_llvm_cov_say_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    std::fs::write(at.join("a.rs"), PROGRAM).unwrap();
    run(
        at,
        "rustc",
        &["-Cinstrument-coverage", "-Cdebuginfo=0", "a.rs"],
    );
    run(at, "./a", &[]);
    run(
        at,
        "llvm-profdata-22",
        &["merge", "-sparse", "a.profraw", "-o", "a.profdata"],
    );
    let export = |format| {
        run(
            at,
            "llvm-cov-22",
            &["export", format, "-instr-profile=a.profdata", "a"],
        )
    };
    let (json, text) = (export("-format=text"), export("-format=lcov"));
    assert!(llvm_json::is_export(&json) && !llvm_json::is_export(&text));
    let (json, text) = (
        llvm_json::parse(&json).unwrap(),
        lcov::parse(&text).unwrap(),
    );
    assert_eq!(text.findings, []);
    assert_eq!(json.coverage.files.len(), 1);
    let read = |all: &LineCoverage| all.files.values().next().unwrap().clone();
    let (json, text) = (read(&json.coverage), read(&text.coverage));
    assert_eq!(json.lines, text.lines);
    assert!(text.lines.len() > 6 && json.line_ratio().covered < json.line_ratio().total);
    // LCOV has the instantiations of a function apart.
    let functions = |file: &FileLines| {
        let mut all: BTreeMap<u32, u64> = BTreeMap::new();
        for (id, calls) in &file.functions {
            *all.entry(id.start).or_default() += calls.count;
        }
        all
    };
    assert_eq!(functions(&json), functions(&text));
    assert_eq!(
        functions(&json)[&2],
        2,
        "two instantiations, called once each"
    );
}

const BRANCHES: &str = "
int pick(int a, int b) {
    if (a > 1 && b < 4) return a;
    for (int i = 0; i < b || (a == 7 && b == 9); i++) a += i > 2 ? 1 : 2;
    return a;
}
int never(int a) { return a ? 1 : 2; }
int main(int argc, char **argv) { return pick(argc, 4) + pick(3, 2) == 77 ? never(1) : 0; }
";

#[test]
fn branches_of_llvm_cov_are_numbered_as_it_numbers_them() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    std::fs::write(at.join("a.c"), BRANCHES).unwrap();
    let flags = [
        "-fprofile-instr-generate",
        "-fcoverage-mapping",
        "a.c",
        "-o",
        "a",
    ];
    run(at, "clang-22", &flags);
    run(at, "./a", &[]);
    run(
        at,
        "llvm-profdata-22",
        &["merge", "a.profraw", "-o", "a.profdata"],
    );
    let export = |format| {
        run(
            at,
            "llvm-cov-22",
            &["export", format, "-instr-profile=a.profdata", "a"],
        )
    };
    let json = llvm_json::parse(&export("-format=text")).unwrap().coverage;
    let text = lcov::parse(&export("-format=lcov")).unwrap().coverage;
    let read = |all: &LineCoverage| all.files.values().next().unwrap().clone();
    assert_eq!(read(&json).branches, read(&text).branches);
    assert_eq!(read(&json).lines, read(&text).lines);
    assert_eq!(json.branches(), text.branches());
    assert!(json.branches().total == 16 && json.branches().covered < json.branches().total);
}

#[test]
fn a_condition_of_two_instantiations_adds_up() {
    let json = br#"{"data":[{"files":[{"branches":[[2,7,2,12,3,1,0,0,4],[2,16,2,20,0,0,0,0,4],
        [2,7,2,12,1,0,0,0,4]],"filename":"/a.c","segments":[[1,1,4,true,true,false],
        [3,2,0,false,false,false]],"summary":{}}],"functions":[]}],
        "type":"llvm.coverage.json.export","version":"3.1.0"}"#;
    let text = "SF:/a.c\nDA:1,4\nDA:2,4\nDA:3,4\nBRDA:2,0,0,4\nBRDA:2,0,1,1\nBRDA:2,1,2,-\n\
                BRDA:2,1,3,-\nend_of_record\n";
    assert_eq!(llvm_json::parse(json).unwrap().coverage, coverage(text));
}

#[test]
fn what_is_no_export_is_refused() {
    use podcov_profile::error::Kind as Wrong;
    let summary = br#"{"data":[{"files":[{"filename":"a"}]}],"type":"llvm.coverage.json.export","version":"3.1.0"}"#;
    let newer = br#"{"data":[],"type":"llvm.coverage.json.export","version":"4.0.0"}"#;
    let wide = br#"{"data":[{"files":[{"filename":"a","segments":[[1,1,1,true,true,false],
        [4000000,1,1,true,true,false],[8000000,1,1,true,true,false],[12000000,1,0,false,false,false]
        ]}]}],"type":"llvm.coverage.json.export","version":"3.1.0"}"#;
    let cases: [(&[u8], Wrong, &str); 6] = [
        (b"", Wrong::Empty, "no byte"),
        (b"{\"data\":[", Wrong::Truncated, "no export"),
        (b"{\"data\":7}", Wrong::Malformed, "no export"),
        (summary, Wrong::Unsupported, "-summary-only"),
        (newer, Wrong::Unsupported, "4.0.0"),
        (wide, Wrong::TooLarge, "64 MiB"),
    ];
    for (json, kind, what) in cases {
        let error = llvm_json::parse(json).unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
}
