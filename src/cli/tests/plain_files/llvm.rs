//! Rust programs, beside LLVM's tools.

use std::process::Command;

use crate::programs::{Lab, llvm, program, run, rust_sources, text};

fn lab() -> Lab {
    let lab = Lab::new();
    lab.rust("labels", "p/a.profraw", &["1", "2"]);
    lab.rust("labels", "p/b.profraw", &["2", "2", "2"]);
    lab.rust("labels", "p/deep/c.profraw", &[]);
    let mut merge = llvm("profdata");
    merge.current_dir(lab.path());
    merge.args(["merge", "-sparse", "-o", "reference.profdata"]);
    run(merge.args(["p/a.profraw", "p/b.profraw", "p/deep/c.profraw"]));
    lab
}

#[test]
fn merged_profiles_are_those_of_llvm_profdata() {
    let lab = lab();
    let (out, said) = lab.expect(
        0,
        &["merge", "--format", "profdata", "-o", "all.profdata", "p"],
    );
    assert!(out.is_empty());
    assert!(said.contains(": 3 profiles"), "{said}");
    assert_eq!(
        lab.profdata_text("all.profdata"),
        lab.profdata_text("reference.profdata")
    );
    // So is a text profile.
    lab.write("all.proftext", lab.profdata_text("reference.profdata"));
    lab.expect(
        0,
        &[
            "merge",
            "--format",
            "profdata",
            "-o",
            "text.profdata",
            "all.proftext",
        ],
    );
    assert_eq!(
        lab.profdata_text("text.profdata"),
        lab.profdata_text("reference.profdata")
    );
    // A profile that was merged is one more piece, and stdout takes it.
    let (out, _) = lab.expect(
        0,
        &[
            "merge",
            "--format",
            "profdata",
            "all.profdata",
            "p/a.profraw",
        ],
    );
    lab.write("more.profdata", out);
    let mut merge = llvm("profdata");
    merge
        .current_dir(lab.path())
        .args(["merge", "-sparse", "-o", "reference-more.profdata"]);
    run(merge.args(["reference.profdata", "p/a.profraw"]));
    assert_eq!(
        lab.profdata_text("more.profdata"),
        lab.profdata_text("reference-more.profdata")
    );
}

#[test]
fn neither_order_nor_threads_change_a_byte() {
    let lab = lab();
    for number in 0..40 {
        lab.rust(
            "labels",
            &format!("p/many/{number}.profraw"),
            &[&number.to_string()],
        );
    }
    for format in ["profdata", "podcov"] {
        let (first, _) = lab.expect(0, &["merge", "--format", format, "p"]);
        assert!(!first.is_empty());
        let orders: [&[&str]; 4] = [
            &["--jobs", "1", "p"],
            &["--jobs", "7", "p"],
            &["p/many", "p/deep", "p/b.profraw", "p/a.profraw"],
            &["p/a.profraw", "p/b.profraw", "p/deep", "p/many"],
        ];
        for order in orders {
            let args = [&["merge", "--format", format], order].concat();
            let (again, _) = lab.expect(0, &args);
            assert!(first == again, "{args:?}");
        }
    }
}

#[test]
fn exports_are_those_of_llvm_cov() {
    let lab = lab();
    let labels = program("labels");
    let labels = labels.to_str().unwrap();
    for (ours, theirs) in [("llvm-json", "text"), ("lcov", "lcov")] {
        let (out, _) = lab.expect(0, &["export", "--format", ours, "--object", labels, "p"]);
        let mut cov = llvm("cov");
        cov.current_dir(lab.path())
            .arg("export")
            .arg(format!("-format={theirs}"));
        let reference = run(cov.args(["-instr-profile=reference.profdata", labels])).stdout;
        assert_eq!(text(&out), text(&reference), "{ours}");
    }
}

#[test]
fn names_of_sources_are_mapped_and_filtered_in_every_export() {
    let lab = lab();
    let labels = program("labels");
    let sources = rust_sources();
    let map = format!("{}=app/src", sources.display());
    let base = [
        "--object",
        labels.to_str().unwrap(),
        "--path-map",
        &map,
        "p",
    ];
    let cases = [
        ("lcov", "SF:app/src/labels.rs"),
        ("llvm-json", "\"filename\":\"app/src/labels.rs\""),
        ("cobertura", "filename=\"app/src/labels.rs\""),
        ("codecov", "\"app/src/labels.rs\":{"),
        ("json", "\"path\":\"app/src/labels.rs\""),
    ];
    for (format, expected) in cases {
        let args = [&["export", "--format", format], &base[..]].concat();
        let out = text(&lab.expect(0, &args).0);
        assert!(out.contains(expected), "{format}: {out}");
        assert!(!out.contains(sources.to_str().unwrap()), "{format}: {out}");
        let args = [&args[..], &["--exclude", "app/**"]].concat();
        let out = text(&lab.expect(0, &args).0);
        assert!(!out.contains("labels.rs\""), "{format}: {out}");
    }
}

#[test]
fn a_summary_has_the_numbers_of_llvm_cov() {
    let lab = lab();
    let labels = program("labels");
    let labels = labels.to_str().unwrap();
    let (out, _) = lab.expect(0, &["summary", "--format", "json", "--object", labels, "p"]);
    let ours: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let mut cov = llvm("cov");
    cov.current_dir(lab.path())
        .args(["export", "-summary-only"]);
    let theirs = run(cov.args(["-instr-profile=reference.profdata", labels])).stdout;
    let theirs: serde_json::Value = serde_json::from_slice(&theirs).unwrap();
    let totals = &theirs["data"][0]["totals"];
    for metric in ["lines", "functions", "regions", "instantiations"] {
        assert_eq!(
            ours["total"][metric]["covered"], totals[metric]["covered"],
            "{metric}"
        );
        assert_eq!(
            ours["total"][metric]["total"], totals[metric]["count"],
            "{metric}"
        );
    }
    assert_eq!(ours["builds"][0]["profiles"], 3);
    let (out, _) = lab.expect(0, &["summary", "--functions", "--object", labels, "p"]);
    let table = text(&out);
    for word in ["labels.rs", "labels::never", "total", "regions"] {
        assert!(table.contains(word), "{table}");
    }
}

#[test]
fn sources_are_shown_with_counts_and_without_colours_on_a_pipe() {
    let lab = lab();
    let labels = program("labels");
    let labels = labels.to_str().unwrap();
    let args = ["show", "--regions", "--object", labels, "p"];
    let (out, _) = lab.expect(0, &args);
    let page = text(&out);
    assert!(!page.contains('\x1b'), "{page}");
    assert!(
        page.contains("     1|       5|fn even(number: u32) -> bool {"),
        "{page}"
    );
    assert!(page.contains("     9|       0|fn never() {"), "{page}");
    let (out, _) = lab.expect(0, &[&args[..], &["--color", "always"]].concat());
    assert!(text(&out).contains("\x1b[31m"));
    // A source that is elsewhere is looked for, and one that is nowhere told.
    let sources = rust_sources();
    let map = format!("{}=gone", sources.display());
    let lost = [&args[..], &["--path-map", &map]].concat();
    let (out, said) = lab.expect(0, &lost);
    assert!(text(&out).contains("     9|       0|\n"), "{}", text(&out));
    assert!(said.contains("--source-root"), "{said}");
    let root = sources.to_str().unwrap();
    let (out, _) = lab.expect(0, &[&lost[..], &["--source-root", root]].concat());
    assert!(text(&out).contains("fn never()"));
}

#[test]
fn two_builds_stay_apart_and_both_are_named() {
    let lab = lab();
    lab.rust("changed", "other/d.profraw", &["1"]);
    let (_, said) = lab.expect(
        0,
        &[
            "merge",
            "--format",
            "podcov",
            "-o",
            "both.podcov",
            "p",
            "other",
        ],
    );
    assert!(said.is_empty(), "{said}");
    let (out, _) = lab.expect(0, &["inspect", "--format", "json", "both.podcov"]);
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let programs = json["files"][0]["programs"].as_array().unwrap();
    let mut pieces: Vec<u64> = programs
        .iter()
        .map(|p| p["pieces"].as_u64().unwrap())
        .collect();
    pieces.sort_unstable();
    assert_eq!(pieces, [1, 3]);
    let (_, said) = lab.expect(
        0,
        &[
            "merge",
            "--format",
            "profdata",
            "-o",
            "x.profdata",
            "both.podcov",
        ],
    );
    assert_eq!(said.matches("build-id:").count(), 2, "{said}");
    // Of one program asked for, the other's profile is foreign, and told.
    let labels = program("labels");
    let labels = labels.to_str().unwrap();
    let only = [
        "merge",
        "--object",
        labels,
        "--format",
        "profdata",
        "-o",
        "only.profdata",
    ];
    let (_, said) = lab.expect(4, &[&only[..], &["p", "other"]].concat());
    assert!(
        said.contains("other/d.profraw: foreign: expected build-id:"),
        "{said}"
    );
    assert_eq!(
        lab.profdata_text("only.profdata"),
        lab.profdata_text("reference.profdata")
    );
    lab.expect(0, &[&only[..], &["--tolerate", "p", "other"]].concat());
    // A program that nothing comes from is told with what was expected.
    let changed = program("changed");
    let changed = changed.to_str().unwrap();
    let both = ["summary", "--object", labels, "--object", changed, "p"];
    let (_, said) = lab.expect(4, &both);
    assert!(
        said.contains("no-profile: expected profiles of build-id:"),
        "{said}"
    );
    // Both builds of the source: each is counted.
    let both = [
        "summary", "--object", labels, "--object", changed, "p", "other",
    ];
    lab.expect(0, &both);
}

#[test]
fn what_changed_between_two_measurements_is_told() {
    let lab = lab();
    lab.rust("labels", "more/a.profraw", &["99"]);
    let labels = program("labels");
    let labels = labels.to_str().unwrap();
    let (out, _) = lab.expect(0, &["diff", "--object", labels, "p", "more"]);
    let told = text(&out);
    assert!(told.contains("never"), "{told}");
    let (out, _) = lab.expect(
        0,
        &["diff", "--format", "json", "--object", labels, "p", "more"],
    );
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert!(
        json["components"].as_array().is_some_and(|c| c.len() == 1),
        "{json}"
    );
    let (out, _) = lab.expect(0, &["diff", "--object", labels, "p", "p"]);
    assert!(text(&out).contains("nothing differs"), "{}", text(&out));
}

/// One byte of a function's hash, which no length gives away.
#[test]
fn a_profile_unlike_all_others_of_its_build_is_set_aside() {
    let lab = lab();
    let mut bytes = lab.read("p/a.profraw");
    // Header (16 numbers), binary ids: length and 20 bytes, filled up.
    let record = 16 * 8 + 8 + 24;
    bytes[record + 8] ^= 1;
    lab.write("p/changed.profraw", bytes);
    let (_, said) = lab.expect(
        4,
        &["merge", "--format", "profdata", "-o", "all.profdata", "p"],
    );
    assert!(
        said.contains("p/changed.profraw: shape: expected"),
        "{said}"
    );
    assert_eq!(
        lab.profdata_text("all.profdata"),
        lab.profdata_text("reference.profdata")
    );
    lab.expect(4, &["merge", "--format", "podcov", "-o", "all.podcov", "p"]);
    lab.expect(
        0,
        &[
            "merge",
            "--format",
            "profdata",
            "-o",
            "again.profdata",
            "all.podcov",
        ],
    );
    assert_eq!(lab.read("again.profdata"), lab.read("all.profdata"));
}

/// Two programs of C that share `shared.c`, each of which runs another part of
/// it.
fn sharing() -> Lab {
    let lab = Lab::new();
    lab.write(
        "shared.c",
        "int shared(int a) {\n  if (a > 1)\n    return 1;\n  return 2;\n}\n",
    );
    for (name, argument) in [("one", 0), ("two", 5)] {
        let main =
            format!("int shared(int);\nint main(void) {{ return shared({argument}) == 0; }}\n");
        lab.write(&format!("{name}.c"), main);
        let mut clang = Command::new("clang-22");
        clang.current_dir(lab.path());
        clang.args(["-fprofile-instr-generate", "-fcoverage-mapping"]);
        clang.args([
            "-Wl,--build-id",
            "-o",
            name,
            &format!("{name}.c"),
            "shared.c",
        ]);
        let found = clang.output();
        assert!(
            found.is_ok_and(|output| output.status.success()),
            "clang-22 is needed: apt-get install --no-install-recommends clang-22 libclang-rt-22-dev"
        );
        let mut program = Command::new(lab.at(name));
        run(program.env("LLVM_PROFILE_FILE", lab.at(&format!("p/{name}.profraw"))));
    }
    lab
}

#[test]
fn a_source_of_two_programs_counts_once() {
    let lab = sharing();
    let both = ["--object", "one", "--object", "two", "p"];
    let (out, _) = lab.expect(0, &[&["summary", "--format", "json"], &both[..]].concat());
    let ours: serde_json::Value = serde_json::from_slice(&out).unwrap();
    lab.expect(
        0,
        &["merge", "--format", "profdata", "-o", "x.profdata", "p"],
    );
    let mut cov = llvm("cov");
    cov.current_dir(lab.path())
        .args(["export", "-summary-only"]);
    let theirs = run(cov.args(["-instr-profile=x.profdata", "one", "-object", "two"])).stdout;
    let theirs: serde_json::Value = serde_json::from_slice(&theirs).unwrap();
    let totals = &theirs["data"][0]["totals"];
    for metric in ["lines", "functions", "regions", "branches"] {
        let pair = [
            &ours["total"][metric]["covered"],
            &ours["total"][metric]["total"],
        ];
        let expected = [&totals[metric]["covered"], &totals[metric]["count"]];
        assert_eq!(pair, expected, "{metric}");
    }
    let (out, _) = lab.expect(0, &[&["show"], &both[..]].concat());
    let page = text(&out);
    assert_eq!(page.matches("shared.c:").count(), 1, "{page}");
    assert!(page.contains("     2|       2|  if (a > 1)"), "{page}");
    // The same from podcov's own report, and beside a report of the same lines.
    let export = ["export", "--format", "json", "-o", "coverage.json"];
    lab.expect(0, &[&export, &both[..]].concat());
    let export = ["export", "--format", "lcov", "-o", "lcov.info"];
    lab.expect(0, &[&export, &both[..]].concat());
    for reports in [&["coverage.json"][..], &["coverage.json", "lcov.info"]] {
        let (out, _) = lab.expect(0, &[&["summary", "--format", "json"], reports].concat());
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read["total"], ours["total"], "{reports:?}");
    }
}
