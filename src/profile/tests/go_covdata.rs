//! Real programs, and what `go tool covdata` and `go tool cover` say of them.

mod go_common;

use std::collections::BTreeMap;
use std::fs;

use go_common::make::{Numbers, Run, covcounters, covmeta};
use go_common::{Tour, covdata, go, go_text, sorted, sum};
use podcov_profile::go::combine::{Clash, Combination};
use podcov_profile::go::counters::{CounterFile, Item};
use podcov_profile::go::files::{Name, read_counters};
use podcov_profile::go::meta::{Misfit, Mode, read_meta};
use podcov_profile::go::report::Report;
use podcov_profile::go::sum::{Refused, Sum};
use podcov_profile::go::text::Profile;
use podcov_profile::model::Ratio;

/// Four processes that reach different things.
const RUNS: [&[&str]; 4] = [
    &["queue", "shape"],
    &["lines", "20", "lines", "lines"],
    &["modules", "x"],
    &["2000", "panic"],
];

/// Packages of five modules that other people wrote.
const MODULES: &str = "-coverpkg=./...,github.com/blang/semver/v4,\
    github.com/davecgh/go-spew/spew,github.com/fatih/camelcase,\
    go.yaml.in/yaml/v3,gopkg.in/inf.v0";

fn textfmt(tour: &Tour, out: &str) -> String {
    let text = tour.text("textfmt.txt");
    covdata(&["textfmt", "-i", &tour.text(out), "-o", &text]);
    fs::read_to_string(text).unwrap()
}

fn written(report: &Report<'_, '_>) -> String {
    let mut out = Vec::new();
    report.write_text(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn percent(ratio: Ratio) -> String {
    format!("{:.1}%", ratio.percent().unwrap_or(0.0))
}

/// Package and percentage, from `covdata percent`. A package without statements
/// has neither a percentage nor the end of its line.
fn percents(text: &str) -> BTreeMap<String, String> {
    let mut packages = BTreeMap::new();
    let mut words = text.split('\t').filter(|word| !word.is_empty());
    let mut package = words.next().unwrap_or_default();
    for word in words {
        let said = word.strip_prefix("coverage: ");
        if let Some((percent, _)) = said.and_then(|said| said.split_once(' ')) {
            packages.insert(package.to_owned(), percent.to_owned());
        } else {
            package = word;
        }
    }
    packages
}

/// File with line, name and percentage, from `covdata func` and `cover -func`.
fn functions(text: &str) -> Vec<[String; 3]> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [place, name, percent] = words.try_into().unwrap();
        [place.trim_end_matches(':'), name, percent].map(str::to_owned)
    };
    text.lines().map(line).collect()
}

/// Everything that Go's tools say of four runs of one build.
fn check(mode: Mode, flag: &str) -> Ratio {
    let tour = Tour::new();
    let covermode = format!("-covermode={}", mode.word());
    let program = tour.build("src", "program", &[&covermode, flag]);
    for args in RUNS {
        tour.run(&program, "out", args);
    }
    let (meta, counters) = tour.read_one("out");
    assert_eq!((meta.mode, counters.len()), (mode, RUNS.len()));
    let sum = sum(&meta, &counters);
    let report = Report::new([&sum]).unwrap();

    let text = written(&report);
    let theirs = textfmt(&tour, "out");
    // Units that are alike in two functions come in any order from Go.
    assert_eq!(sorted(&text), sorted(&theirs));
    let keys = |text: &str| -> Vec<String> {
        let key = |line: &str| line.rsplit_once(' ').unwrap().0.to_owned();
        text.lines().map(key).collect()
    };
    assert_eq!(keys(&text), keys(&theirs));
    let profile = Profile::parse(theirs.as_bytes()).unwrap();
    assert_eq!(report.to_profile().unwrap(), profile);

    let out = tour.text("out");
    let percents = percents(&covdata(&["percent", "-i", &out]));
    let with = report.percent().filter(|(_, ratio)| ratio.total > 0);
    let ours: BTreeMap<String, String> = with
        .map(|(package, ratio)| (package.to_owned(), percent(ratio)))
        .collect();
    assert_eq!(ours, percents);

    let theirs = functions(&covdata(&["func", "-i", &out]));
    let mut ours: Vec<[String; 3]> = report
        .functions()
        .iter()
        .map(|line| {
            let place = format!("{}:{}", line.file, line.line);
            [place, line.name.to_owned(), percent(line.statements)]
        })
        .collect();
    ours.push(["total", "(statements)", &percent(report.total())].map(str::to_owned));
    compare_functions(&ours, &theirs);

    let packages: Vec<&str> = report.packages().collect();
    assert_eq!(
        covdata(&["pkglist", "-i", &out])
            .lines()
            .collect::<Vec<_>>(),
        packages
    );
    check_merge(&tour, &sum);
    check_cover(&tour, &report);
    report.total()
}

/// Go lists functions of one name that follow each other as one, though they
/// are in two files; we list each.
fn compare_functions(ours: &[[String; 3]], theirs: &[[String; 3]]) {
    let file = |line: &[String; 3]| line[0].rsplit_once(':').map(|(file, _)| file.to_owned());
    let mut left = theirs.iter();
    let mut before: Option<&[String; 3]> = None;
    let mut joined = 0;
    for line in ours {
        let follows = |b: &&[String; 3]| b[1] == line[1] && file(b) != file(line);
        if before.as_ref().is_some_and(follows) {
            joined += 1;
        } else {
            let other = left.next().unwrap();
            // The percentage of several functions that are listed as one is
            // not that of the first.
            assert_eq!(line[..2], other[..2]);
            if line[1] != "init" {
                assert_eq!(line, other);
            }
        }
        before = Some(line);
    }
    assert_eq!(left.next(), None);
    assert!(joined <= 2, "{joined} functions listed as one");
}

/// What we write, Go reads; and what it merges, we read.
fn check_merge(tour: &Tour, sum: &Sum<'_>) {
    let hash = &sum.meta().hash;
    fs::create_dir_all(tour.path("merged")).unwrap();
    covdata(&["merge", "-i", &tour.text("out"), "-o", &tour.text("merged")]);
    let (_, theirs) = tour.read_one("merged");
    let bytes = sum.to_counters();
    let ours = read_counters(&bytes).unwrap();
    assert_eq!(ours, read_counters(&theirs[0]).unwrap());
    assert_eq!(CounterFile::parse(&bytes).unwrap().segments, 1);

    let dir = tour.path("ours");
    fs::create_dir_all(&dir).unwrap();
    let meta = format!("covmeta.{hash}");
    fs::copy(tour.path("out").join(&meta), dir.join(&meta)).unwrap();
    fs::write(dir.join(Name::merged(hash).to_string()), &bytes).unwrap();
    assert_eq!(
        sorted(&textfmt(tour, "ours")),
        sorted(&textfmt(tour, "out"))
    );
    let dump = covdata(&["debugdump", "-i", &tour.text("ours")]);
    assert!(dump.contains("GOOS=linux"), "{dump}");
    assert!(!dump.contains("program args"), "{dump}");
}

/// `go tool cover` reads our text profile. It has no statement of a literal at
/// package level in its total, and does not find what `//line` hides.
fn check_cover(tour: &Tour, report: &Report<'_, '_>) {
    let own = |file: &str| file.starts_with("example.org/tour/") && !file.contains("/lines/");
    let mut profile = report.to_profile().unwrap();
    profile.files.retain(|file, _| own(file));
    fs::write(tour.path("src/ours.txt"), profile.to_text()).unwrap();
    let text = go_text(&tour.path("src"), &["tool", "cover", "-func=ours.txt"]);
    let mut theirs: Vec<[String; 2]> = Vec::new();
    for [place, name, percent] in functions(&text) {
        if place == "total" {
            let declared = declared_statements(report, own);
            assert_eq!(percent, self::percent(declared));
        } else if !["init", "_"].contains(&name.as_str()) {
            // A function that is called `_` is in the source alone.
            theirs.push([name, percent]);
        }
    }
    // It names methods without their type.
    let method = |name: &str| name.rsplit('.').next().unwrap().to_owned();
    let lines = report.functions();
    let lines = lines
        .iter()
        .filter(|line| own(line.file) && line.name != "init");
    let mut ours: Vec<[String; 2]> = lines
        .map(|line| [method(line.name), percent(line.statements)])
        .collect();
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);
    go_text(
        &tour.path("src"),
        &["tool", "cover", "-html=ours.txt", "-o=ours.html"],
    );
}

fn declared_statements(report: &Report<'_, '_>, own: impl Fn(&str) -> bool) -> Ratio {
    let mut all = Ratio::default();
    for line in report.functions().iter().filter(|line| own(line.file)) {
        all += line.statements;
    }
    all
}

#[test]
fn sets_of_several_runs_are_what_covdata_says() {
    let total = check(Mode::Set, "-coverpkg=./...");
    assert!(
        total.covered > 60 && total.covered < total.total,
        "{total:?}"
    );
}

#[test]
fn counts_of_several_runs_are_what_covdata_says() {
    // Without `-coverpkg` it is the packages of the main module.
    let total = check(Mode::Count, "-trimpath");
    assert!(
        total.covered > 20 && total.covered < total.total,
        "{total:?}"
    );
}

#[test]
fn counts_of_five_modules_are_what_covdata_says() {
    let total = check(Mode::Atomic, MODULES);
    assert!(total.covered > 1_000 && total.total > 5_000, "{total:?}");
}

/// Two programs that share packages, of two modes: with `-pcombine` they are
/// one, byte by byte.
#[test]
fn builds_combine_as_covdata_combines_them() {
    let tour = Tour::new();
    let other = tour.path("src/other");
    fs::create_dir_all(&other).unwrap();
    let main = "package main\n\nimport (\n\t\"example.org/tour/queue\"\n\t\"example.org/tour/shape\"\n)\n\n\
        func main() {\n\tprintln(queue.Sum(1), int(shape.Walk()))\n}\n";
    fs::write(other.join("main.go"), main).unwrap();
    let one = tour.build("src", "one", &["-covermode=count", "-coverpkg=./..."]);
    // A change to a package that both have: one function more, and one moved.
    let shape = tour.path("src/shape/other.go");
    let changed = fs::read_to_string(&shape).unwrap() + "\nfunc More() int { return 1 }\n";
    fs::write(
        &shape,
        changed.replace("registry = registry", "\n\tregistry = registry"),
    )
    .unwrap();
    for mode in ["count", "atomic"] {
        let flag = format!("-covermode={mode}");
        let two = tour.build(
            "src/other",
            "two",
            &[&flag, "-coverpkg=example.org/tour/..."],
        );
        let (out, combined) = (format!("{mode}-out"), format!("{mode}-combined"));
        tour.run(&one, &out, RUNS[0]);
        tour.run(&one, &out, RUNS[1]);
        tour.run(&two, &out, &[]);
        fs::create_dir_all(tour.path(&combined)).unwrap();
        let (from, to) = (tour.text(&out), tour.text(&combined));
        covdata(&["merge", "-pcombine", "-i", &from, "-o", &to]);

        let (metas, counters) = tour.read(&out);
        let metas: Vec<_> = metas
            .iter()
            .map(|bytes| read_meta(bytes).unwrap())
            .collect();
        let sums: Vec<Sum<'_>> = metas
            .iter()
            .map(|meta| {
                let mut sum = Sum::new(meta);
                for bytes in &counters {
                    match sum.add(bytes) {
                        Ok(_) | Err(Refused::Misfit(Misfit::Build { .. })) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                sum
            })
            .collect();
        assert_eq!(sums.len(), 2);
        assert_eq!(sums.iter().map(Sum::files).sum::<u64>(), 3);
        let mut combination = Combination::new();
        for sum in &sums {
            combination.add(sum).unwrap();
        }
        let ours = combination.finish().unwrap();
        let (theirs, counts) = tour.read(&combined);
        assert!(theirs.iter().eq([&ours.covmeta]), "{mode}");
        let bytes = ours.sum().to_counters();
        assert_eq!(read_counters(&bytes), read_counters(&counts[0]), "{mode}");

        // Of several modes there is no text, and everything else.
        let report = Report::new(&sums).unwrap();
        let theirs = percents(&covdata(&["percent", "-i", &from]));
        for (package, ratio) in report.percent() {
            assert_eq!(theirs[package], percent(ratio));
        }
        if mode == "count" {
            assert_eq!(sorted(&written(&report)), sorted(&textfmt(&tour, &out)));
        } else {
            let text = ["tool", "covdata", "textfmt", "-o=x.txt", "-i", &from];
            assert!(!go(&tour.path("."), text).status.success());
            assert!(matches!(report.mode(), Err(Clash::Mode { .. })));
            assert!(report.write_text(&mut Vec::new()).is_err());
            assert!(report.to_profile().is_err());
        }
    }
}

/// What is damaged or of another build leaves no trace in the sum.
#[test]
fn bad_files_among_good_ones_change_nothing() {
    let tour = Tour::new();
    let one = tour.build("src", "one", &["-covermode=count", "-coverpkg=./..."]);
    let two = tour.build("src", "two", &["-covermode=count", "-coverpkg=.,./queue"]);
    for args in RUNS {
        tour.run(&one, "out", args);
    }
    tour.run(&two, "foreign", &["queue"]);
    let (meta, counters) = tour.read_one("out");
    let (_, foreign) = tour.read_one("foreign");
    let good = sum(&meta, &counters);
    let mut all = Sum::new(&meta);
    for bytes in &counters {
        for len in [0, 31, bytes.len() / 2, bytes.len() - 1] {
            let refused = all.add(&bytes[..len]);
            assert!(
                matches!(refused, Err(Refused::Damaged(_))),
                "{len}: {refused:?}"
            );
        }
        all.add(bytes).unwrap();
        let refused = all.add(&foreign[0]);
        let is_foreign = matches!(refused, Err(Refused::Misfit(Misfit::Build { .. })));
        assert!(is_foreign, "{refused:?}");
    }
    assert_eq!((all.counts(), all.files()), (good.counts(), 4));
    assert_eq!(all.to_counters(), good.to_counters());
    let origin = all.origin();
    assert_eq!(origin.os.as_deref(), Some("linux"));
    assert_eq!(
        origin.arguments, 0,
        "the runs had different numbers of arguments"
    );
}

/// The command line is there for who asks, and nowhere else.
#[test]
fn arguments_are_counted_and_not_kept() {
    let tour = Tour::new();
    let program = tour.build("src", "program", &["-covermode=set"]);
    tour.run(&program, "out", &["--token=s3cr3t"]);
    let (meta, counters) = tour.read_one("out");
    let file = CounterFile::parse(&counters[0]).unwrap();
    let mut lines = Vec::new();
    file.visit(|item| {
        if let Item::Segment(segment) = item {
            assert_eq!(segment.origin.arguments, 2);
            lines.push(segment.command_line());
        }
        Ok::<(), Refused>(())
    })
    .unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0][1], "--token=s3cr3t");
    let holds = |bytes: &[u8]| bytes.windows(6).any(|window| window == b"s3cr3t");
    assert!(holds(&counters[0]));
    assert!(!holds(&sum(&meta, &counters).to_counters()));
}

/// Go's tools count the first segment only; we count all of them.
#[test]
fn all_segments_count_though_covdata_reads_one() {
    let tour = Tour::new();
    let program = tour.build("src", "program", &["-covermode=count"]);
    tour.run(&program, "out", &["x"]);
    let (meta, counters) = tour.read_one("out");
    let once = sum(&meta, &counters);
    // The writer's AppendSegment leaves a footer behind each segment.
    let bytes = &counters[0];
    let (segment, footer) = bytes[32..].split_at(bytes.len() - 48);
    let mut second = footer.to_vec();
    second[8] = 2;
    let twice = [&bytes[..32], segment, footer, segment, &second].concat();
    let file = CounterFile::parse(&twice).unwrap();
    assert_eq!(file.segments, 2);
    let both = sum(&meta, std::slice::from_ref(&twice));
    assert_eq!(both.segments(), 2);
    assert!(
        both.counts()
            .iter()
            .zip(once.counts())
            .all(|(both, once)| *both == once * 2)
    );
    let before = textfmt(&tour, "out");
    let name = Name::merged(&meta.hash).to_string();
    let path = fs::read_dir(tour.path("out"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let old = path
        .into_iter()
        .find(|path| path.to_str().unwrap().contains("covcounters"));
    fs::remove_file(old.unwrap()).unwrap();
    fs::write(tour.path("out").join(name), &twice).unwrap();
    assert_eq!(sorted(&textfmt(&tour, "out")), sorted(&before));
}

/// Files that no Go wrote, but that its reader takes: what we understand of the
/// format, in raw numbers of both byte orders too, is what Go does.
#[test]
fn go_reads_the_files_of_our_own_tests_as_we_do() {
    let shape = vec![vec![2, 1, 3], vec![1]];
    let runs: [Run; 2] = [
        vec![(0, 0, vec![1, 300]), (1, 0, vec![u32::MAX])],
        vec![(0, 2, vec![0, 7, 70_000]), (1, 0, vec![2])],
    ];
    let bytes = covmeta(&shape, 0xab, 2);
    let meta = read_meta(&bytes).unwrap();
    let tour = Tour::new();
    for numbers in [Numbers::Uleb, Numbers::Little, Numbers::Big] {
        let out = format!("{numbers:?}");
        fs::create_dir_all(tour.path(&out)).unwrap();
        let hash = &meta.hash;
        fs::write(tour.path(&out).join(format!("covmeta.{hash}")), &bytes).unwrap();
        let mut sum = Sum::new(&meta);
        for (number, run) in runs.iter().enumerate() {
            let file = covcounters(std::slice::from_ref(run), 0xab, numbers, 0);
            let name = format!("covcounters.{hash}.{number}.1");
            fs::write(tour.path(&out).join(name), &file).unwrap();
            sum.add(&file).unwrap();
        }
        assert!(sum.is_saturated());
        let report = Report::new([&sum]).unwrap();
        assert_eq!(written(&report), textfmt(&tour, &out));
    }
}
