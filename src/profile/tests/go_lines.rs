//! The rule by which Go's blocks become lines, against what `go tool cover
//! -html` colours.

mod go_common;

use std::collections::BTreeMap;
use std::fs;

use go_common::{Tour, go_text, sum};
use podcov_profile::go::lines::{functions, lines, measure, statements};
use podcov_profile::go::report::Report;
use podcov_profile::model::Ratio;

/// Lines with code, and whether something on them ran and did not run.
type Coloured = BTreeMap<u32, (bool, bool)>;

/// Reads the coloured spans of one file of the page.
fn coloured(file: &str) -> Coloured {
    let mut lines = Coloured::new();
    let (mut line, mut colour) = (1, None);
    let mut rest = file;
    while let Some(character) = rest.chars().next() {
        if let Some(tag) = rest.strip_prefix("<span class=\"cov") {
            colour = Some(!tag.starts_with('0'));
        } else if rest.starts_with("</span>") {
            colour = None;
        }
        if character == '<' {
            rest = &rest[rest.find('>').unwrap() + 1..];
            continue;
        }
        if let Some(ran) = colour {
            let known = lines.entry(line).or_default();
            *(if ran { &mut known.0 } else { &mut known.1 }) = true;
        }
        line += u32::from(character == '\n');
        rest = &rest[character.len_utf8()..];
    }
    lines
}

#[test]
fn a_line_has_the_colours_that_go_gives_it() {
    let tour = Tour::new();
    let program = tour.build("src", "program", &["-covermode=count", "-coverpkg=./..."]);
    tour.run(&program, "out", &["queue", "shape", "7"]);
    tour.run(&program, "out", &["x", "panic"]);
    let (meta, counters) = tour.read_one("out");
    let sum = sum(&meta, &counters);
    let report = Report::new([&sum]).unwrap();
    let mut profile = report.to_profile().unwrap();
    // What `//line` names is not there to be coloured.
    profile.files.retain(|file, _| !file.contains("/lines/"));
    fs::write(tour.path("src/out.txt"), profile.to_text()).unwrap();
    let src = tour.path("src");
    go_text(&src, &["tool", "cover", "-html=out.txt", "-o=out.html"]);
    let page = fs::read_to_string(src.join("out.html")).unwrap();
    let files = page.split("<pre class=\"file\"").skip(1).map(|file| {
        let (_, file) = file.split_once('>').unwrap();
        file.split_once("</pre>").unwrap().0
    });
    let by_name: Vec<(&String, Coloured)> = profile.files.keys().zip(files.map(coloured)).collect();
    assert_eq!(by_name.len(), 5);
    let (mut all, mut partial) = (0, 0);
    for (name, theirs) in by_name {
        let found = lines(&profile.files[name]);
        let ours: Coloured = found
            .iter()
            .map(|line| {
                (
                    line.number,
                    (line.count > 0, line.count == 0 || line.partial),
                )
            })
            .collect();
        assert_eq!(ours, theirs, "{name}");
        all += found.len();
        partial += found.iter().filter(|line| line.partial).count();
    }
    assert!(
        all > 100 && partial > 3,
        "{all} lines, {partial} of them partly"
    );

    // Functions have the lines of their own blocks, and literals inside of
    // them; a literal of its own is no function.
    let placed = functions(&meta);
    let file = "example.org/tour/main.go";
    let found = lines(&profile.files[file]);
    let measured: Vec<(String, u32, u32, u64, Ratio)> = placed[file]
        .iter()
        .map(|placed| measure(placed, &profile.files[file], &found))
        .map(|f| (f.name, f.start, f.end, f.count, f.lines))
        .collect();
    let expected = [
        ("main", 24, 46, 2, Ratio::new(18, 22)),
        ("count", 51, 60, 1, Ratio::new(7, 9)),
        ("one", 63, 63, 2, Ratio::new(1, 1)),
        ("two", 64, 64, 0, Ratio::new(0, 1)),
    ];
    let expected = expected
        .map(|(name, start, end, count, lines)| (name.to_owned(), start, end, count, lines));
    assert_eq!(measured, expected);
    let mut of_files = Ratio::default();
    profile
        .files
        .values()
        .for_each(|blocks| of_files += statements(blocks));
    let lines_package = report.percent().find(|(path, _)| path.ends_with("/lines"));
    of_files += lines_package.unwrap().1;
    assert_eq!(of_files, report.total());
}
