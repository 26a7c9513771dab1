//! What is set aside, and what the exit status says of it.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::programs::{Lab, program, run, text};

fn merge<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [
        &["merge", "--format", "profdata", "-o", "out.profdata"],
        more,
    ]
    .concat()
}

#[test]
fn the_damaged_among_the_good_are_named_and_the_rest_is_merged() {
    let lab = Lab::new();
    lab.rust("labels", "p/a.profraw", &["1"]);
    lab.rust("labels", "p/b.profraw", &["2"]);
    lab.expect(0, &merge(&["p"]));
    let good = lab.read("out.profdata");
    let whole = lab.read("p/a.profraw");
    lab.write("p/cut.profraw", &whole[..whole.len() / 2]);
    lab.write("p/empty.profraw", "");
    lab.write("p/notes.txt", "not a profile\n");
    let mut version = whole.clone();
    version[8] = 99;
    lab.write("p/version.profraw", version);
    run(Command::new("mkfifo").arg(lab.at("p/pipe")));
    symlink(lab.at("p/a.profraw"), lab.at("p/link.profraw")).unwrap();
    lab.write("p/start.json", "{}");
    let (_, said) = lab.expect(4, &merge(&["p"]));
    for expected in [
        "p/cut.profraw: truncated: ",
        "p/empty.profraw: empty: ",
        "p/link.profraw: not-a-file: expected a regular file, found a symbolic link",
        "p/notes.txt: unknown: ",
        "p/pipe: not-a-file: expected a regular file, found a pipe",
        "p/version.profraw: unsupported: ",
        "6 files set aside",
        "(at byte ",
        "(exit 4)",
    ] {
        assert!(said.contains(expected), "{expected} is not in\n{said}");
    }
    assert!(!said.contains("start.json"), "{said}");
    assert!(good == lab.read("out.profdata"));
    let (_, said) = lab.expect(0, &merge(&["--tolerate", "p"]));
    assert!(said.contains("p/cut.profraw"), "{said}");
    // A link that is named itself is followed.
    lab.expect(0, &merge(&["p/link.profraw"]));
}

#[test]
fn nothing_usable_is_an_error_whatever_is_tolerated() {
    let lab = Lab::new();
    lab.write("p/empty.profraw", "");
    for more in [&["p"][..], &["--tolerate", "p"]] {
        let (_, said) = lab.expect(8, &merge(more));
        assert!(said.contains("p/empty.profraw: empty"), "{said}");
    }
    assert!(!lab.at("out.profdata").exists());
    std::fs::create_dir(lab.at("none")).unwrap();
    lab.expect(8, &merge(&["none"]));
    lab.expect(8, &["summary", "p"]);
    lab.expect(8, &["inspect", "p"]);
}

#[test]
fn one_file_named_twice_counts_once_and_is_told() {
    let lab = Lab::new();
    lab.rust("labels", "p/a.profraw", &["1"]);
    lab.expect(0, &merge(&["p"]));
    let once = lab.read("out.profdata");
    std::fs::hard_link(lab.at("p/a.profraw"), lab.at("p/z.profraw")).unwrap();
    let (_, said) = lab.expect(0, &merge(&["p", "p/a.profraw", "./p"]));
    assert!(said.contains("duplicate: the same file as"), "{said}");
    assert!(once == lab.read("out.profdata"));
    // A copy is a replica: nothing says that it is the same evidence.
    lab.write("q/a.profraw", lab.read("p/a.profraw"));
    lab.expect(0, &merge(&["p/a.profraw", "q"]));
    assert!(once != lab.read("out.profdata"));
}

#[test]
fn mistakes_on_the_command_line_are_usage() {
    let lab = Lab::new();
    lab.rust("labels", "a.profraw", &["1"]);
    let cases: &[(&[&str], &str)] = &[
        (&["merge", "a.profraw"], "--format"),
        (&["merge", "--format", "profdata"], "required"),
        (&["merge", "--format", "covdata", "a.profraw"], "folder"),
        (&["merge", "--format", "profdata", "gone"], "`gone`"),
        (
            &["merge", "--format", "profdata", "-o", "no/x", "a.profraw"],
            "`no`",
        ),
        (
            &[
                "export",
                "--format",
                "lcov",
                "--object",
                "gone",
                "a.profraw",
            ],
            "`gone`",
        ),
        (
            &["export", "--format", "lcov", "--include", "[", "a.profraw"],
            "glob",
        ),
        (
            &["export", "--format", "lcov", "--path-map", "x", "a.profraw"],
            "FROM=TO",
        ),
        (&["summary", "--jobs", "0", "a.profraw"], "0"),
    ];
    for (args, expected) in cases {
        let (_, said) = lab.expect(2, args);
        assert!(said.contains(expected), "{args:?}: {said}");
    }
}

#[test]
fn a_result_is_whole_or_the_old_one() {
    let lab = Lab::new();
    lab.rust("labels", "p/a.profraw", &["1"]);
    lab.write("out.profdata", "old");
    lab.expect(
        8,
        &merge(&["--object", program("changed").to_str().unwrap(), "p"]),
    );
    assert_eq!(text(&lab.read("out.profdata")), "old");
    lab.expect(0, &merge(&["p"]));
    assert_ne!(text(&lab.read("out.profdata")), "old");
    let mut names: Vec<String> = std::fs::read_dir(lab.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["out.profdata", "p"]);
}

#[test]
fn stdin_is_read_where_a_dash_stands() {
    let lab = Lab::new();
    lab.rust("labels", "a.profraw", &["1"]);
    lab.expect(0, &merge(&["a.profraw"]));
    let mut command = Command::new(env!("CARGO_BIN_EXE_podcov"));
    command
        .current_dir(lab.path())
        .args(["merge", "--format", "profdata", "-"])
        .stdin(std::fs::File::open(lab.at("a.profraw")).unwrap());
    assert!(run(&mut command).stdout == lab.read("out.profdata"));
    // Whatever a profile is called, it is in a podcov file.
    lab.write("named-otherwise", lab.read("a.profraw"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_podcov"));
    command
        .current_dir(lab.path())
        .args([
            "merge",
            "--format",
            "podcov",
            "-o",
            "all.podcov",
            "-",
            "named-otherwise",
        ])
        .stdin(std::fs::File::open(lab.at("a.profraw")).unwrap());
    run(&mut command);
    let (_, said) = lab.expect(0, &merge(&["all.podcov"]));
    assert!(said.contains(": 2 profiles"), "{said}");
}

#[test]
fn reports_of_lines_are_brought_together_but_not_merged() {
    let lab = Lab::new();
    lab.write("unit.info", "SF:src/a.rs\nDA:1,1\nDA:2,0\nend_of_record\n");
    lab.write("e2e.info", "SF:src/a.rs\nDA:1,2\nDA:2,3\nend_of_record\n");
    let (out, _) = lab.expect(0, &["export", "--format", "lcov", "unit.info", "e2e.info"]);
    let lcov = text(&out);
    assert!(lcov.contains("DA:1,3\nDA:2,3\nLF:2\nLH:2\n"), "{lcov}");
    let (out, _) = lab.expect(0, &["diff", "unit.info", "e2e.info"]);
    assert!(text(&out).contains("src/a.rs"), "{}", text(&out));
    let (_, said) = lab.expect(8, &merge(&["unit.info"]));
    assert!(said.contains("podcov export"), "{said}");
}

#[test]
fn what_is_no_file_is_written_to_and_a_link_stays_a_link() {
    let lab = Lab::new();
    lab.rust("labels", "a.profraw", &["1"]);
    lab.expect(0, &merge(&["a.profraw"]));
    let expected = lab.read("out.profdata");
    let merge_to = |out| ["merge", "--format", "profdata", "-o", out, "a.profraw"];
    run(Command::new("mkfifo").arg(lab.at("pipe")));
    let reader = Command::new("cat")
        .arg(lab.at("pipe"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    lab.expect(0, &merge_to("pipe"));
    assert!(reader.wait_with_output().unwrap().stdout == expected);
    assert!(!lab.at("pipe").is_file());
    symlink("linked.profdata", lab.at("link")).unwrap();
    lab.write("linked.profdata", "old");
    lab.expect(0, &merge_to("link"));
    assert!(lab.at("link").is_symlink());
    assert!(lab.read("linked.profdata") == expected);
}

#[test]
fn names_of_files_do_not_write_on_the_terminal() {
    let lab = Lab::new();
    lab.write("p/\u{1b}[31m\nerror: forged.profraw", "x");
    let (_, said) = lab.expect(8, &merge(&["p"]));
    assert!(said.contains("p/␛[31m␊error: forged.profraw"), "{said}");
    let (out, _) = lab.expect(8, &["inspect", "p"]);
    assert!(text(&out).starts_with("p/␛[31m␊error: forged.profraw: unknown"));
}

#[test]
fn of_one_file_with_much_to_tell_one_is_set_aside() {
    let lab = Lab::new();
    let function = |name, counts: &[u8]| {
        let counts: Vec<String> = counts.iter().map(u8::to_string).collect();
        format!("{name}\n1\n{}\n{}\n\n", counts.len(), counts.join("\n"))
    };
    let twice = |name| function(name, &[5]) + &function(name, &[3, 4]);
    lab.write("two.proftext", twice("f") + &twice("g"));
    let podcov = ["merge", "--format", "podcov", "-o", "x.podcov"];
    for args in [&merge(&[])[..], &podcov] {
        let (_, said) = lab.expect(4, &[args, &["two.proftext"]].concat());
        assert_eq!(said.matches("two.proftext: shape: ").count(), 2, "{said}");
        assert!(said.contains(": 1 file set aside"), "{said}");
    }
}
