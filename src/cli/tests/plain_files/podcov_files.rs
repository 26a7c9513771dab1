//! podcov files: evidence by its key.

use std::os::unix::ffi::OsStrExt;

use crate::programs::{Lab, text};

fn counts(lab: &Lab, from: &[&str]) -> String {
    let args = [&["merge", "--format", "profdata", "-o", "x.profdata"], from].concat();
    lab.expect(0, &args);
    lab.profdata_text("x.profdata")
}

#[test]
fn overlapping_shards_count_their_common_evidence_once() {
    let lab = Lab::new();
    for name in ["a", "b", "c"] {
        lab.rust("labels", &format!("p/{name}.profraw"), &["1", "2"]);
    }
    let all = counts(&lab, &["p"]);
    lab.expect(
        0,
        &[
            "merge",
            "--format",
            "podcov",
            "-o",
            "1.podcov",
            "p/a.profraw",
            "p/b.profraw",
        ],
    );
    lab.expect(
        0,
        &[
            "merge",
            "--format",
            "podcov",
            "-o",
            "2.podcov",
            "p/b.profraw",
            "p/c.profraw",
        ],
    );
    assert_eq!(all, counts(&lab, &["1.podcov", "2.podcov"]));
    // Also beside the files that they were made from.
    assert_eq!(all, counts(&lab, &["1.podcov", "p", "2.podcov"]));
    let (_, said) = lab.expect(
        0,
        &[
            "merge", "--format", "podcov", "-o", "3.podcov", "2.podcov", "1.podcov",
        ],
    );
    assert!(said.contains("duplicate"), "{said}");
    lab.expect(0, &["merge", "--format", "podcov", "-o", "4.podcov", "p"]);
    lab.expect(
        0,
        &[
            "merge",
            "--format",
            "podcov",
            "-o",
            "5.podcov",
            "p/c.profraw",
            "1.podcov",
            "2.podcov",
        ],
    );
    assert!(lab.read("3.podcov") == lab.read("4.podcov"));
    assert!(lab.read("5.podcov") == lab.read("4.podcov"));
}

#[test]
fn of_two_states_of_one_file_the_larger_counts() {
    let lab = Lab::new();
    lab.rust("labels", "p/a.profraw", &["1"]);
    lab.expect(
        0,
        &["merge", "--format", "podcov", "-o", "early.podcov", "p"],
    );
    lab.rust("labels", "p/a.profraw", &["1", "3", "5"]);
    let later = counts(&lab, &["p"]);
    lab.expect(
        0,
        &["merge", "--format", "podcov", "-o", "late.podcov", "p"],
    );
    assert_eq!(later, counts(&lab, &["early.podcov", "late.podcov"]));
    assert_eq!(later, counts(&lab, &["early.podcov", "p"]));
    let both = [
        "merge",
        "--format",
        "podcov",
        "-o",
        "both.podcov",
        "early.podcov",
        "p",
    ];
    let (_, said) = lab.expect(0, &both);
    assert!(said.contains(": version: "), "{said}");
    assert_eq!(later, counts(&lab, &["both.podcov"]));
    // Of two machines they are two.
    for (origin, out) in [("one", "1.podcov"), ("two", "2.podcov")] {
        let args = [
            "merge", "--format", "podcov", "--origin", origin, "-o", out, "p",
        ];
        lab.expect(0, &args);
    }
    assert_ne!(later, counts(&lab, &["1.podcov", "2.podcov"]));
}

#[test]
fn in_a_run_the_process_is_the_key_wherever_the_run_lies() {
    let lab = Lab::new();
    let place =
        |pod: &str| format!("profiles/r1/evidence/ns/op-1_{pod}/main/20260101T000000.000Z-0001");
    for pod in ["u1", "u2"] {
        lab.rust("labels", &format!("{}/default.profraw", place(pod)), &["1"]);
        lab.write(&format!("{}/start.json", place(pod)), "{}");
    }
    lab.write("profiles/r1/run.json", "{}");
    lab.write("profiles/r1/report/index.html", "not evidence");
    lab.expect(
        0,
        &[
            "merge",
            "--format",
            "podcov",
            "-o",
            "a.podcov",
            "profiles/r1",
        ],
    );
    std::fs::rename(lab.at("profiles/r1"), lab.at("r1")).unwrap();
    lab.expect(0, &["merge", "--format", "podcov", "-o", "b.podcov", "r1"]);
    assert!(lab.read("a.podcov") == lab.read("b.podcov"));
    let (out, _) = lab.expect(0, &["inspect", "b.podcov"]);
    let told = text(&out);
    assert!(told.contains("incarnations        2"), "{told}");
    assert!(told.contains("runs                r1"), "{told}");
    assert_eq!(counts(&lab, &["a.podcov", "r1"]), counts(&lab, &["r1"]));
}

#[test]
fn a_folder_of_runs_stands_for_the_evidence_of_each() {
    let lab = Lab::new();
    for run in ["r1", "r2"] {
        let place = format!("profiles/{run}/evidence/ns/op-1_u1/main/20260101T000000.000Z-0001");
        lab.rust("labels", &format!("{place}/default.profraw"), &["1"]);
        lab.write(&format!("profiles/{run}/run.json"), "{}");
        // What its merge left counts the same once more.
        lab.rust(
            "labels",
            &format!("profiles/{run}/coverage/merged.profraw"),
            &["1"],
        );
    }
    let runs = ["profiles/r1", "profiles/r2"];
    assert_eq!(counts(&lab, &["profiles"]), counts(&lab, &runs));
    for (out, paths) in [("a.podcov", &["profiles"][..]), ("b.podcov", &runs[..])] {
        lab.expect(
            0,
            &[&["merge", "--format", "podcov", "-o", out], paths].concat(),
        );
    }
    assert!(lab.read("a.podcov") == lab.read("b.podcov"));
}

#[test]
fn a_podcov_file_that_was_cut_or_changed_is_refused() {
    let lab = Lab::new();
    lab.rust("labels", "p/a.profraw", &["1"]);
    lab.expect(0, &["merge", "--format", "podcov", "-o", "a.podcov", "p"]);
    let whole = lab.read("a.podcov");
    lab.write("cut.podcov", &whole[..whole.len() - 1]);
    let mut changed = whole.clone();
    changed[40] ^= 1;
    lab.write("changed.podcov", changed);
    let args = [
        "merge",
        "--format",
        "profdata",
        "-o",
        "x",
        "a.podcov",
        "cut.podcov",
        "changed.podcov",
    ];
    let (_, said) = lab.expect(4, &args);
    for name in ["cut.podcov", "changed.podcov"] {
        assert!(
            said.contains(&format!("{name}: truncated: the digest does not fit")),
            "{said}"
        );
    }
}

#[test]
fn a_profile_counts_whatever_it_is_called() {
    let lab = Lab::new();
    lab.rust("labels", "p/a.profraw", &["1", "2"]);
    lab.rust("labels", "q", &["1"]);
    let go = "covcounters.365db558e60f45db96600bc1c17ccd6e.1.2";
    lab.write(&format!("p/{go}"), lab.read("q"));
    // Names that are no text differ in nothing else.
    for byte in [0xfe, 0xff] {
        let name = std::ffi::OsStr::from_bytes(&[b'b', byte]).to_owned();
        std::fs::write(lab.at("p").join(name), lab.read("q")).unwrap();
    }
    let all = counts(&lab, &["p"]);
    lab.expect(0, &["merge", "--format", "podcov", "-o", "x.podcov", "p"]);
    assert_eq!(all, counts(&lab, &["x.podcov"]));
    // A profile of another build that is called like counters is not lost.
    lab.rust("changed", "r", &["1"]);
    lab.write(&format!("p/{go}"), lab.read("r"));
    let all = counts(&lab, &["p"]);
    lab.expect(0, &["merge", "--format", "podcov", "-o", "x.podcov", "p"]);
    assert_eq!(all, counts(&lab, &["x.podcov"]));
}
