//! What any file is.

use serde_json::Value;

use crate::programs::{Lab, program, text};

fn inspect(lab: &Lab, status: i32, args: &[&str]) -> Vec<Value> {
    let args = [&["inspect", "--format", "json"], args].concat();
    let (out, _) = lab.expect(status, &args);
    let json: Value = serde_json::from_slice(&out).unwrap();
    json["files"].as_array().unwrap().clone()
}

#[test]
fn every_kind_of_file_is_told() {
    let lab = Lab::new();
    lab.rust("labels", "a.profraw", &["1"]);
    lab.go("go", &["a"]);
    lab.expect(
        0,
        &[
            "merge",
            "--format",
            "profdata",
            "-o",
            "a.profdata",
            "a.profraw",
        ],
    );
    lab.expect(
        0,
        &["merge", "--format", "podcov", "-o", "a.podcov", "a.profraw"],
    );
    lab.expect(0, &["export", "--format", "go-cover", "-o", "go.out", "go"]);
    let labels = program("labels");
    let labels = labels.to_str().unwrap();
    for format in ["lcov", "cobertura", "llvm-json", "json"] {
        let out = format!("report.{format}");
        lab.expect(
            0,
            &[
                "export",
                "--format",
                format,
                "--object",
                labels,
                "-o",
                &out,
                "a.profraw",
            ],
        );
    }
    let words = program("words");
    let named = [
        ("a.profraw", "llvm-raw-profile"),
        ("a.profdata", "llvm-indexed-profile"),
        ("a.podcov", "podcov"),
        ("go.out", "go-text-profile"),
        ("report.lcov", "lcov"),
        ("report.cobertura", "cobertura"),
        ("report.llvm-json", "llvm-cov-json"),
        ("report.json", "podcov-coverage-json"),
        (labels, "program"),
        (words.to_str().unwrap(), "program"),
    ];
    for (path, kind) in named {
        let told = inspect(&lab, 0, &[path]);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0]["kind"], kind, "{path}");
        assert_eq!(told[0]["findings"], Value::Array(vec![]), "{path}");
    }
    let kinds: Vec<String> = inspect(&lab, 0, &["go"])
        .iter()
        .map(|one| one["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["go-counters", "go-meta-data"]);
    let raw = &inspect(&lab, 0, &["a.profraw"])[0];
    let program = &inspect(&lab, 0, &[labels])[0];
    assert_eq!(raw["identity"][0], program["identity"]);
    assert_eq!(raw["version"], 10);
    for number in [
        "functions",
        "counters",
        "counters_reached",
        "total_count",
        "largest_count",
    ] {
        assert!(raw[number].as_u64().unwrap() > 0, "{number}");
    }
    let (out, _) = lab.expect(0, &["inspect", "a.profraw", labels]);
    let page = text(&out);
    assert!(page.contains("a.profraw: llvm-raw-profile, "), "{page}");
}

#[test]
fn a_damaged_file_is_told_as_far_as_it_can_be_read() {
    let lab = Lab::new();
    lab.rust("labels", "a.profraw", &["1"]);
    let whole = lab.read("a.profraw");
    // The second of two profiles in one file is cut off.
    lab.write(
        "two.profraw",
        [&whole[..], &whole[..whole.len() / 2]].concat(),
    );
    let told = &inspect(&lab, 8, &["two.profraw"])[0];
    assert_eq!(told["profiles"], 1);
    assert_eq!(told["findings"][0]["kind"], "truncated");
    assert!(told["findings"][0]["offset"].as_u64().unwrap() > whole.len() as u64);
    inspect(&lab, 4, &["two.profraw", "a.profraw"]);
    lab.write("empty", "");
    lab.write("noise", "noise");
    let kinds: Vec<Value> = inspect(&lab, 8, &["empty", "noise"])
        .iter()
        .map(|one| one["findings"][0]["kind"].clone())
        .collect();
    assert_eq!(kinds, ["empty", "unknown"]);
    // A program without coverage.
    let plain = std::env::current_exe().unwrap();
    let told = &inspect(&lab, 8, &[plain.to_str().unwrap()])[0];
    assert_eq!(told["kind"], "program");
    assert_eq!(told["findings"][0]["kind"], "no-mapping");
}
