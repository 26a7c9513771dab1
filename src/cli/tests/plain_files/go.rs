//! Go programs, beside Go's tools.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::programs::{Lab, go_sources, run, text};

fn covdata(lab: &Lab, args: &[&str]) -> String {
    let mut command = Command::new("go");
    command
        .current_dir(lab.path())
        .args(["tool", "covdata"])
        .args(args);
    text(&run(&mut command).stdout)
}

fn files(lab: &Lab, folder: &str, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(lab.at(folder)).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    names
}

#[test]
fn merged_counters_are_those_of_covdata() {
    let lab = Lab::new();
    lab.go("1", &["a", "bb"]);
    lab.go("2", &["ccc"]);
    lab.go("2", &[]);
    covdata(&lab, &["textfmt", "-i=1,2", "-o=reference.txt"]);
    let reference = text(&lab.read("reference.txt"));
    let (out, _) = lab.expect(0, &["export", "--format", "go-cover", "1", "2"]);
    assert_eq!(text(&out), reference);
    lab.expect(
        0,
        &["merge", "--format", "covdata", "-o", "merged", "1", "2"],
    );
    covdata(&lab, &["textfmt", "-i=merged", "-o=again.txt"]);
    assert_eq!(text(&lab.read("again.txt")), reference);
    lab.expect(
        0,
        &["merge", "--format", "podcov", "-o", "all.podcov", "1", "2"],
    );
    let (out, _) = lab.expect(0, &["export", "--format", "go-cover", "all.podcov"]);
    assert_eq!(text(&out), reference);
    // A text profile is a piece of evidence of its own.
    let (out, _) = lab.expect(0, &["summary", "--format", "json", "reference.txt"]);
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let statements = &json["total"]["statements"];
    let percent = covdata(&lab, &["percent", "-i=1,2"]);
    let (covered, total) = (statements["covered"].as_f64(), statements["total"].as_f64());
    let expected = format!("{:.1}%", covered.unwrap() * 100.0 / total.unwrap());
    assert!(percent.contains(&expected), "{percent} {expected}");
    // The folder is new or empty.
    lab.expect(2, &["merge", "--format", "covdata", "-o", "merged", "1"]);
}

#[test]
fn counters_and_meta_data_that_lack_each_other_are_told() {
    let lab = Lab::new();
    lab.go("good", &["a"]);
    let meta = files(&lab, "good", "covmeta").remove(0);
    let counters = files(&lab, "good", "covcounters").remove(0);
    lab.write(
        &format!("alone/{counters}"),
        lab.read(&format!("good/{counters}")),
    );
    let (_, said) = lab.expect(8, &["summary", "alone"]);
    assert!(said.contains(": no-meta: expected that file"), "{said}");
    lab.write(&format!("killed/{meta}"), lab.read(&format!("good/{meta}")));
    let (_, said) = lab.expect(8, &["summary", "killed"]);
    assert!(
        said.contains(": no-counters: expected covcounters."),
        "{said}"
    );
    // Meta-data of the same name that say something else.
    let mut changed = lab.read(&format!("good/{meta}"));
    let last = changed.len() - 1;
    changed[last] ^= 1;
    lab.write(&format!("z-changed/{meta}"), changed);
    lab.expect(4, &["summary", "good", "z-changed"]);
    // With the meta-data of another folder the counters count.
    lab.expect(0, &["summary", "alone", "killed"]);
    let cut = lab.read(&format!("good/{counters}"));
    lab.write("good/tmp.covcounters.1.2", "");
    lab.write(&format!("good/{counters}9"), &cut[..cut.len() - 20]);
    let (_, said) = lab.expect(4, &["export", "--format", "go-cover", "good"]);
    assert!(
        said.contains("the process was stopped while it wrote"),
        "{said}"
    );
    assert!(said.contains("2 files set aside"), "{said}");
}

#[test]
fn what_one_process_wrote_on_its_way_is_not_added_to_what_it_wrote_last() {
    let lab = Lab::new();
    lab.go("once", &["a", "bb"]);
    let (once, _) = lab.expect(0, &["export", "--format", "go-cover", "once"]);
    let folder = "run/evidence/ns/p_u/main/20260101T000000.000Z-0001";
    let meta = files(&lab, "once", "covmeta").remove(0);
    let counters = files(&lab, "once", "covcounters").remove(0);
    let (stem, nanos) = counters.rsplit_once('.').unwrap();
    let earlier = format!("{stem}.{}", nanos.parse::<u64>().unwrap() - 1000);
    for (to, from) in [
        (meta.clone(), &meta),
        (counters.clone(), &counters),
        (format!("live/{earlier}"), &counters),
    ] {
        lab.write(&format!("{folder}/{to}"), lab.read(&format!("once/{from}")));
    }
    lab.write("run/run.json", "{}");
    for path in ["run", folder] {
        let (out, said) = lab.expect(0, &["export", "--format", "go-cover", path]);
        assert_eq!(text(&out), text(&once));
        assert!(said.contains("superseded"), "{said}");
    }
    lab.expect(
        0,
        &["merge", "--format", "podcov", "-o", "run.podcov", "run"],
    );
    let (out, _) = lab.expect(0, &["export", "--format", "go-cover", "run.podcov"]);
    assert_eq!(text(&out), text(&once));
}

/// The file that a process maps over its counters, beside what it wrote at its
/// end, and alone as a killed one leaves it.
#[test]
fn what_is_mapped_over_counters_counts_and_nothing_twice() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profile/tests/fixtures/go-live");
    let read = |name: &str| fs::read(fixtures.join(name)).unwrap();
    let meta = "covmeta.8e5521eaa6050ffc4493d96397aa5e35";
    let process = "31451.1795580612572064326";
    let written = format!("{}.{process}", meta.replace("meta", "counters"));
    let mapped = format!("covlive.{process}");
    let lab = Lab::new();
    for folder in ["killed", "ended"] {
        lab.write(&format!("{folder}/{meta}"), read(meta));
        lab.write(&format!("{folder}/{mapped}"), read("covlive"));
    }
    lab.write(&format!("ended/{written}"), read(&written));
    let (killed, said) = lab.expect(0, &["export", "--format", "go-cover", "killed"]);
    assert!(!said.contains("set aside"), "{said}");
    assert!(text(&killed).contains("example.org/tour/main.go:"));
    let (ended, said) = lab.expect(0, &["export", "--format", "go-cover", "ended"]);
    assert_eq!(text(&ended), text(&killed));
    assert!(said.contains(&format!("{written}: superseded")), "{said}");
    // Go's own tools read what podcov makes of it, and so does podcov.
    for format in ["covdata", "podcov"] {
        let args = ["merge", "--format", format, "-o", format, "ended"];
        lab.expect(0, &args);
        let (out, _) = lab.expect(0, &["export", "--format", "go-cover", format]);
        assert_eq!(text(&out), text(&killed), "{format}");
    }
    covdata(&lab, &["textfmt", "-i=covdata", "-o=reference.txt"]);
    assert_eq!(text(&lab.read("reference.txt")), text(&killed));
    // A damaged one: what the process wrote at its end counts instead.
    lab.write(&format!("ended/{mapped}"), &read("covlive")[..5000]);
    let (_, said) = lab.expect(4, &["export", "--format", "go-cover", "ended"]);
    assert!(said.contains(&format!("{mapped}: truncated")), "{said}");
    assert!(!said.contains("superseded"), "{said}");

    let (out, _) = lab.expect(0, &["inspect", "--format", "json", "killed"]);
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let files = json["files"].as_array().unwrap();
    let live = files.iter().find(|file| file["kind"] == "go-live-counters");
    let live = live.unwrap();
    assert_eq!(live["toolchain"], "go1.26.8");
    assert_eq!(live["process"], 31451);
    let id = "covmeta:8e5521eaa6050ffc4493d96397aa5e35";
    assert_eq!(live["identity"], id);
    // A process that ended while its packages were initialised: its build id
    // is known to the bundle of a run, and to no file here.
    let mut early = read("covlive");
    early[192..4096].fill(0);
    lab.write("early/covmeta.8e5521eaa6050ffc4493d96397aa5e35", read(meta));
    lab.write(&format!("early/{mapped}"), early);
    let (_, said) = lab.expect(8, &["summary", "early"]);
    assert!(said.contains("of go-build-id:"), "{said}");
    assert!(said.contains("before it could say its meta-data"), "{said}");
}

/// Elsewhere nothing says which process meta-data are of; here it is known that
/// one of two was stopped before it wrote.
#[test]
fn a_process_of_a_run_without_counters_is_lost() {
    let lab = Lab::new();
    lab.go("once", &["a"]);
    let meta = files(&lab, "once", "covmeta").remove(0);
    let counters = files(&lab, "once", "covcounters").remove(0);
    let folder = |pod: &str| format!("run/evidence/ns/p_{pod}/main/20260101T000000.000Z-0001");
    for pod in ["good", "killed"] {
        lab.write(
            &format!("{}/{meta}", folder(pod)),
            lab.read(&format!("once/{meta}")),
        );
    }
    lab.write(
        &format!("{}/{counters}", folder("good")),
        lab.read(&format!("once/{counters}")),
    );
    lab.write("run/run.json", "{}");
    let (_, said) = lab.expect(4, &["export", "--format", "go-cover", "run"]);
    assert!(said.contains("p_killed"), "{said}");
    assert!(said.contains("no-counters"), "{said}");
    assert!(!said.contains("p_good"), "{said}");
}

#[test]
fn sources_of_go_are_found_below_their_root() {
    let lab = Lab::new();
    lab.go("1", &["a"]);
    let sources = go_sources();
    let root = sources.to_str().unwrap();
    let (out, said) = lab.expect(0, &["show", "--source-root", root, "1"]);
    let page = text(&out);
    assert!(
        page.contains("     8|       1|func label(word string) string {"),
        "{page}\n{said}"
    );
    assert!(
        page.contains("    10|       0|        return \"even\""),
        "{page}"
    );
    let (out, _) = lab.expect(0, &["summary", "--include", "**/nothing.go", "1"]);
    assert!(!text(&out).contains("main.go"));
}
