//! LCOV as tools write it, read and written, held against lcov itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use podcov_profile::error::Kind;
use podcov_profile::lcov;
use podcov_profile::model::Ratio;
use podcov_profile::neutral::{BranchId, Calls, FileLines, FunctionId, LineCoverage, Parsed};
use proptest::prelude::*;

fn read(text: &str) -> Parsed {
    lcov::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn kinds(parsed: &Parsed) -> Vec<(&str, u64)> {
    parsed
        .findings
        .iter()
        .map(|finding| (finding.kind, finding.times))
        .collect()
}

fn lines(file: &FileLines) -> Vec<(u32, u64)> {
    file.lines
        .iter()
        .map(|(number, count)| (*number, *count))
        .collect()
}

fn functions(file: &FileLines) -> Vec<(u32, u32, &str, u64)> {
    let all = file.functions.iter();
    all.map(|(id, calls)| (id.start, calls.end, id.name.as_str(), calls.count))
        .collect()
}

fn branches(file: &FileLines) -> Vec<(u32, u32, u32, bool, Option<u64>)> {
    let all = file.branches.iter();
    all.map(|(id, taken)| (id.line, id.block, id.branch, id.exception, *taken))
        .collect()
}

#[test]
fn what_geninfo_1_writes_is_read() {
    let parsed = read(
        "TN:unit\nSF:/src/a.c\nFN:3,main\nFN:9,f\nFNDA:1,main\nFNDA:0,f\nFNF:2\nFNH:1\n\
         BRDA:4,0,0,1\nBRDA:4,0,1,-\nBRF:2\nBRH:1\nDA:3,1,hPbL8dGTZ/JqGUoy2ePpIQ\nDA:9,0\nLF:2\nLH:1\n\
         end_of_record\n",
    );
    assert_eq!(kinds(&parsed), []);
    let file = &parsed.coverage.files["/src/a.c"];
    assert_eq!(lines(file), [(3, 1), (9, 0)]);
    assert_eq!(functions(file), [(3, 0, "main", 1), (9, 0, "f", 0)]);
    assert_eq!(
        branches(file),
        [(4, 0, 0, false, Some(1)), (4, 0, 1, false, None)]
    );
    assert_eq!(file.branch_ratio(), Ratio::new(1, 2));
}

#[test]
fn what_geninfo_2_writes_is_read() {
    let parsed = read(
        "# a comment\nTN:\nSF:/src/a.cpp\nVER:#1f3a\nFN:3,7,f(int, int)\nFNDA:2,f(int, int)\n\
         FNL:0,9,12\nFNA:0,4,g<int>()\nFNA:0,0,g<char>()\nFNL:1,20\nFNA:1,1,h\nFNF:3\nFNH:3\n\
         BRDA:4,0,0,1\nBRDA:4,e0,1,-\nBRDA:5,1,a == 1, b,7\nBRDA:5,1,else,0\nBRDA:5,1,a == 1, b,1\n\
         BRF:4\nBRH:2\nMCDC:5,2,t,1,0,a\nMCDC:5,2,f,0,0,a\nMCF:2\nMCH:1\n\
         DA:3,2\nLF:1\nLH:1\nend_of_record\n",
    );
    assert_eq!(kinds(&parsed), [("mcdc-left-out", 2)]);
    let file = &parsed.coverage.files["/src/a.cpp"];
    assert_eq!(
        functions(file),
        [
            (3, 7, "f(int, int)", 2),
            (9, 12, "g<char>()", 0),
            (9, 12, "g<int>()", 4),
            (20, 0, "h", 1)
        ]
    );
    assert_eq!(
        branches(file),
        [
            (4, 0, 0, false, Some(1)),
            (4, 0, 1, true, None),
            (5, 1, 0, false, Some(8)),
            (5, 1, 1, false, Some(0)),
        ]
    );
}

#[test]
fn what_llvm_cov_grcov_and_tarpaulin_write_is_read() {
    // llvm-cov has no TN, grcov totals before the records they are of,
    // tarpaulin no functions.
    let parsed = read(
        "SF:/src/a.rs\nFN:1,_RNvCs1_1a4main\nFNDA:1,_RNvCs1_1a4main\nFNF:1\nFNH:1\nDA:1,1\nDA:2,0\n\
         BRF:0\nBRH:0\nLF:2\nLH:1\nend_of_record\n\
         TN:\nSF:src/b.rs\nFN:4,b::f\nFNF:1\nFNH:1\nFNDA:3,b::f\nDA:4,3\nLF:1\nLH:1\nend_of_record\n\
         TN:\nSF:/src/c.rs\nDA:7,18446744073709551615\nLF:1\nLH:1\nend_of_record\n",
    );
    assert_eq!(kinds(&parsed), []);
    assert_eq!(parsed.coverage.lines(), Ratio::new(3, 4));
    assert_eq!(parsed.coverage.functions(), Ratio::new(2, 2));
    assert_eq!(lines(&parsed.coverage.files["/src/c.rs"]), [(7, u64::MAX)]);
}

#[test]
fn a_file_that_comes_again_adds_up() {
    let parsed = read(
        "TN:one\nSF:a.c\nFN:1,f\nFNDA:1,f\nBRDA:1,0,0,-\nDA:1,18446744073709551615\nend_of_record\n\
         TN:two\nSF:b.c\nDA:1,1\nend_of_record\n\
         TN:two\nSF:a.c\nFN:1,5,f\nFNDA:4,f\nBRDA:1,0,0,2\nDA:1,2\nDA:2,0\nend_of_record\n",
    );
    let file = &parsed.coverage.files["a.c"];
    assert_eq!(lines(file), [(1, u64::MAX), (2, 0)]);
    assert_eq!(functions(file), [(1, 5, "f", 5)]);
    assert_eq!(branches(file), [(1, 0, 0, false, Some(2))]);
}

#[test]
fn functions_of_one_name_have_their_own_calls() {
    let parsed = read(
        "SF:a.c\nFNDA:1,f\nFN:9,f\nFN:3,f\nFN:20,g\nFNDA:2,f\nFNDA:3,f\nFNDA:7,lost\nend_of_record\n",
    );
    assert_eq!(
        functions(&parsed.coverage.files["a.c"]),
        [
            (0, 0, "lost", 7),
            (3, 0, "f", 5),
            (9, 0, "f", 1),
            (20, 0, "g", 0)
        ]
    );
    assert_eq!(kinds(&parsed), [("function-without-place", 1)]);
}

#[test]
fn what_is_odd_is_read_and_told() {
    let parsed = read(
        "\u{feff}SF:a.c\r\nDA:1,-5\r\nDA:2,1.5e+20\r\nDA:3,0.25\r\nDA:0,1\r\nXX:7\r\nYY\r\n\r\n\
         SF:b.c\r\nDA:1,1\r\n",
    );
    assert_eq!(
        kinds(&parsed),
        [
            ("negative-count", 1),
            ("inexact-count", 2),
            ("line-zero", 1),
            ("unknown-record", 2),
            ("unfinished-record", 2)
        ]
    );
    assert_eq!(
        lines(&parsed.coverage.files["a.c"]),
        [(1, 0), (2, u64::MAX), (3, 1)]
    );
    let unknown = &parsed.findings[3];
    assert!(unknown.text.contains("`XX`"), "{unknown:?}");
    assert_eq!(unknown.offset, 53);
    let parsed = lcov::parse(b"SF:\xff.c\nDA:1,1\nend_of_record").unwrap();
    assert_eq!(kinds(&parsed), [("not-utf-8", 1)]);
    assert_eq!(parsed.coverage.files.keys().next().unwrap(), "\u{fffd}.c");
}

#[test]
fn what_is_no_tracefile_is_refused_with_its_place() {
    let cases: &[(&str, Kind, u64, &str)] = &[
        ("", Kind::Empty, 0, "no byte"),
        ("hello\nworld\n", Kind::Malformed, 12, "expected `SF:`"),
        ("DA:1,1\n", Kind::Malformed, 0, "before `DA:`"),
        ("SF:\n", Kind::Malformed, 0, "expected a path"),
        (
            "SF:a\nDA:1\nend_of_record\n",
            Kind::Malformed,
            5,
            "`DA:1` is no DA record",
        ),
        (
            "SF:a\nDA:4294967296,1\nend_of_record\n",
            Kind::Malformed,
            5,
            "no DA record",
        ),
        (
            "SF:a\nDA:1,x\nend_of_record\n",
            Kind::Malformed,
            5,
            "no DA record",
        ),
        (
            "SF:a\nDA:1,inf\nend_of_record\n",
            Kind::Malformed,
            5,
            "no DA record",
        ),
        (
            "SF:a\nFN:1,\nend_of_record\n",
            Kind::Malformed,
            5,
            "no FN record",
        ),
        (
            "SF:a\nFNDA:x,f\nend_of_record\n",
            Kind::Malformed,
            5,
            "no FNDA record",
        ),
        (
            "SF:a\nFNA:1,2,f\nend_of_record\n",
            Kind::Malformed,
            5,
            "no FNA record",
        ),
        (
            "SF:a\nBRDA:1,0,0\nend_of_record\n",
            Kind::Malformed,
            5,
            "no BRDA record",
        ),
        ("SF:a\nDA:1,1\nDA:2,1", Kind::Truncated, 12, "cut off"),
    ];
    for (text, kind, offset, what) in cases {
        let error = lcov::parse(text.as_bytes()).unwrap_err();
        assert_eq!(
            (error.kind, error.offset),
            (*kind, *offset),
            "{text:?}: {error}"
        );
        assert!(error.to_string().contains(what), "{text:?}: {error}");
    }
}

#[test]
fn tracefiles_are_recognised_by_their_beginning() {
    assert!(lcov::is_lcov(b"TN:\nSF:a\n"));
    assert!(lcov::is_lcov(b"\xef\xbb\xbf# made by\r\n\r\nSF:a\n"));
    assert!(!lcov::is_lcov(b"mode: set\n"));
    assert!(!lcov::is_lcov(b""));
}

fn written() -> LineCoverage {
    let mut file = FileLines {
        lines: BTreeMap::from([(1, 4), (2, 0), (3, u64::MAX)]),
        ..FileLines::default()
    };
    let id = |branch, exception| BranchId {
        line: 1,
        block: 0,
        branch,
        exception,
    };
    file.branches = BTreeMap::from([
        (id(0, false), Some(4)),
        (id(1, false), Some(0)),
        (
            BranchId {
                line: 2,
                ..id(0, false)
            },
            None,
        ),
    ]);
    for (start, name, count) in [
        (1, "<(A, B) as X>::f", 4),
        (2, "<(A; B) as X>::f", 0),
        (2, "g\nend_of_record", 1),
        (3, "h", 0),
        (5, "h", 1),
        (6, "h:5", 1),
    ] {
        let name = name.to_owned();
        file.functions
            .insert(FunctionId { start, name }, Calls { end: 9, count });
    }
    LineCoverage {
        files: BTreeMap::from([
            ("src/a, \"b\".rs".to_owned(), file),
            ("src/c\nSF:d.rs".to_owned(), FileLines::default()),
        ]),
    }
}

#[test]
fn names_and_paths_cannot_break_a_record() {
    insta::assert_snapshot!(lcov::text(&written(), "e2e run"), @r#"
    TN:e2e_run
    SF:src/a, "b".rs
    FN:1,<(A; B) as X>::f:1
    FN:2,<(A; B) as X>::f:2
    FN:2,g␊end_of_record
    FN:3,h:3
    FN:5,h:5:2
    FN:6,h:5
    FNDA:4,<(A; B) as X>::f:1
    FNDA:0,<(A; B) as X>::f:2
    FNDA:1,g␊end_of_record
    FNDA:0,h:3
    FNDA:1,h:5:2
    FNDA:1,h:5
    FNF:6
    FNH:4
    BRDA:1,0,0,4
    BRDA:1,0,1,0
    BRDA:2,0,0,-
    BRF:3
    BRH:1
    DA:1,4
    DA:2,0
    DA:3,18446744073709551615
    LF:3
    LH:2
    end_of_record
    TN:e2e_run
    SF:src/c␊SF:d.rs
    FNF:0
    FNH:0
    LF:0
    LH:0
    end_of_record
    "#);
}

fn run(dir: &Path, program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).current_dir(dir).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{program}: {error}; install it with `apt-get install lcov`")
    });
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{program} {args:?}: {out}{err}");
    for word in ["WARNING", "ERROR", "uninitialized", "mismatch"] {
        assert!(
            !out.contains(word) && !err.contains(word),
            "{program} {args:?}: {out}{err}"
        );
    }
    output
}

/// `branches` of `50.0% (2 of 4 branches)`, each as covered of total.
fn summary(output: &Output) -> BTreeMap<String, (u64, u64)> {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8(text).unwrap();
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let Some((_, numbers)) = line.split_once('(') else {
            continue;
        };
        let words: Vec<&str> = numbers.trim_end_matches(')').split(' ').collect();
        if let [covered, "of", total, what] = words[..] {
            let what = what.trim_end_matches('s').trim_end_matches("he").to_owned();
            all.insert(what, (covered.parse().unwrap(), total.parse().unwrap()));
        }
    }
    all
}

const BRANCHES: [&str; 2] = ["--rc", "lcov_branch_coverage=1"];

/// Lines, functions and branches as lcov counts them.
fn counted(dir: &Path, name: &str) -> [(u64, u64); 3] {
    let args = [&BRANCHES[..], &["--summary", name]].concat();
    let found = summary(&run(dir, "lcov", &args));
    ["line", "function", "branc"].map(|what| found.get(what).copied().unwrap_or_default())
}

fn ours(coverage: &LineCoverage) -> [(u64, u64); 3] {
    [coverage.lines(), coverage.functions(), coverage.branches()]
        .map(|ratio| (ratio.covered, ratio.total))
}

#[test]
fn lcov_and_genhtml_read_what_is_written_and_count_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut coverage = written();
    coverage.files.remove("src/c\nSF:d.rs");
    std::fs::create_dir(dir.path().join("src")).unwrap();
    std::fs::write(dir.path().join("src/a, \"b\".rs"), "1\n2\n3\n4\n5\n6\n").unwrap();
    std::fs::write(dir.path().join("a.info"), lcov::text(&coverage, "e2e")).unwrap();
    assert_eq!(counted(dir.path(), "a.info"), ours(&coverage));
    let args = [
        &BRANCHES[..],
        &["a.info", "--branch-coverage", "-o", "html"],
    ]
    .concat();
    let pages = run(dir.path(), "genhtml", &args);
    assert_eq!(summary(&pages)["line"], (2, 3));
    assert!(dir.path().join("html/index.html").is_file());
}

#[test]
fn lcov_adds_tracefiles_up_as_we_do() {
    let dir = tempfile::tempdir().unwrap();
    let one = "TN:\nSF:/s/a.c\nFN:1,f\nFNDA:1,f\nBRDA:1,0,0,-\nBRDA:1,0,1,-\nDA:1,1\nDA:2,0\nend_of_record\n";
    let two = "TN:\nSF:/s/a.c\nFN:1,f\nFNDA:2,f\nBRDA:1,0,0,3\nBRDA:1,0,1,0\nDA:1,2\nDA:3,0\nend_of_record\n\
               TN:\nSF:/s/b.c\nFN:4,g\nFNDA:0,g\nDA:4,0\nend_of_record\n";
    std::fs::write(dir.path().join("one.info"), one).unwrap();
    std::fs::write(dir.path().join("two.info"), two).unwrap();
    let args = [
        &BRANCHES[..],
        &["-a", "one.info", "-a", "two.info", "-o", "sum.info"],
    ]
    .concat();
    run(dir.path(), "lcov", &args);
    let theirs = std::fs::read(dir.path().join("sum.info")).unwrap();
    let mut sum = read(one).coverage;
    sum.absorb(&read(two).coverage);
    assert_eq!(lcov::parse(&theirs).unwrap().coverage, sum);
    assert_eq!(read(&format!("{one}{two}")).coverage, sum);
}

fn text_of() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a",
        "src/a.rs",
        "a, b",
        "\"q\"",
        "<T as X>::f",
        "é",
        "f:3",
        "x\ty",
        "1,2,f",
        "&amp;",
    ])
    .prop_map(str::to_owned)
}

fn any_file() -> impl Strategy<Value = FileLines> {
    let count = || prop_oneof![0..3u64, Just(u64::MAX), any::<u64>()];
    let id =
        (1..9u32, 0..3u32, 0..3u32, any::<bool>()).prop_map(|(line, block, branch, exception)| {
            BranchId {
                line,
                block,
                branch,
                exception,
            }
        });
    let function = (1..9u32, text_of()).prop_map(|(start, name)| FunctionId { start, name });
    (
        prop::collection::btree_map(1..50u32, count(), 0..12),
        prop::collection::btree_map(id, prop::option::of(count()), 0..8),
        prop::collection::btree_map(
            function,
            count().prop_map(|count| Calls { end: 0, count }),
            0..6,
        ),
    )
        .prop_map(|(lines, branches, functions)| FileLines {
            lines,
            branches,
            functions,
            ..FileLines::default()
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        files in prop::collection::btree_map(text_of(), any_file(), 1..4),
    ) {
        let coverage = LineCoverage { files };
        let text = lcov::text(&coverage, "t");
        let read = lcov::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(&read.findings, &[]);
        prop_assert_eq!(ours(&read.coverage), ours(&coverage));
        let files = coverage.files.values().zip(read.coverage.files.values());
        for (written, read) in files {
            prop_assert_eq!(&written.lines, &read.lines);
            prop_assert_eq!(&written.branches, &read.branches);
            let calls = |file: &FileLines| {
                let all = file.functions.iter();
                let mut all: Vec<_> = all.map(|(id, calls)| (id.start, calls.count)).collect();
                all.sort();
                all
            };
            prop_assert_eq!(calls(written), calls(read));
        }
        // Written once more it is the same, so nothing is lost any more.
        prop_assert_eq!(lcov::text(&read.coverage, "t"), text);
    }
}
