//! What other tools read.

mod common;

use common::*;
use podcov_profile::bundle::{Bundle, PathRule, Sources};
use podcov_profile::go::text::Profile;
use podcov_profile::names::{Kind, Language};
use podcov_report::{Filter, GoProfile, Report, go_text, lcov};

fn bundle(component: &str, root: &str) -> Bundle {
    Bundle {
        schema: 1,
        component: component.into(),
        language: Language::Go,
        kind: Kind::Operator,
        binaries: vec![],
        toolchain: String::new(),
        llvm_major: None,
        commit: None,
        dirty: false,
        image: None,
        sources: Sources {
            root: root.into(),
            path_map: vec![PathRule {
                from: "example.org".into(),
                to: String::new(),
            }],
            files: vec![],
        },
    }
}

fn report(filter: &Filter) -> Report {
    let (coverage, ledger) = websites();
    Report::new(&coverage, &ledger, filter)
}

#[test]
fn lcov_counts_its_own_lines() {
    insta::assert_snapshot!("lcov.info", lcov(&report(&Filter::default()), &[]));
}

#[test]
fn functions_of_one_name_stay_apart_in_lcov() {
    let one = file(
        Language::Rust,
        "src/a.rs",
        "a",
        &[(1, 1), (5, 0)],
        &[("<T as X>::f", 1, 1, 1), ("<T as X>::f", 5, 5, 0)],
    );
    let binary = binary("a", "build-id:00", vec![one]);
    let coverage = coverage(vec![component(
        "a-b",
        Language::Rust,
        Kind::Operator,
        vec![binary],
    )]);
    let text = lcov(
        &Report::new(&coverage, &ledger(vec![]), &Filter::default()),
        &[],
    );
    assert_eq!(
        text,
        "TN:a_b\nSF:src/a.rs\nFN:1,<T as X>::f:1\nFN:5,<T as X>::f:5\nFNDA:1,<T as X>::f:1\n\
         FNDA:0,<T as X>::f:5\nFNF:2\nFNH:1\nDA:1,1\nDA:5,0\nLF:2\nLH:1\nend_of_record\n"
    );
}

#[test]
fn equal_paths_below_different_roots_stay_two_files() {
    let report = report(&Filter::default());
    let text = lcov(
        &report,
        &[
            bundle("website-operator", "/r/a"),
            bundle("sitectl", "/r/b"),
        ],
    );
    assert!(text.contains("SF:a/website-operator/src/main.rs"), "{text}");
    assert!(text.contains("SF:b/sitectl/src/main.rs"), "{text}");
    let text = lcov(
        &report,
        &[
            bundle("website-operator", "/r/a"),
            bundle("sitectl", "/r/a"),
        ],
    );
    assert!(text.contains("SF:website-operator/src/main.rs"), "{text}");
}

fn profile(component: &str, text: &str) -> GoProfile {
    GoProfile {
        component: component.into(),
        profile: Profile::parse(text.as_bytes()).unwrap(),
    }
}

#[test]
fn go_profiles_become_one() {
    let report = report(&Filter::default());
    let renew = "example.org/certificate-operator/controllers/renew.go";
    let all = [
        profile(
            "certificate-operator",
            &format!("mode: atomic\n{renew}:9.2,10.4 2 3\n"),
        ),
        profile(
            "certificate-operator",
            &format!("mode: atomic\n{renew}:9.2,10.4 2 4\n"),
        ),
        profile("other", "mode: atomic\nx.go:1.1,2.2 1 0\n"),
    ];
    let text = go_text(&report, &all, &[]).unwrap();
    assert_eq!(
        text,
        format!("mode: atomic\n{renew}:9.2,10.4 2 7\nx.go:1.1,2.2 1 0\n")
    );

    let with_set = [
        all[0].clone(),
        profile("other", "mode: set\nx.go:1.1,2.2 1 1\n"),
    ];
    let text = go_text(&report, &with_set, &[]).unwrap();
    assert_eq!(
        text,
        format!("mode: set\n{renew}:9.2,10.4 2 1\nx.go:1.1,2.2 1 1\n")
    );

    assert_eq!(go_text(&report, &[], &[]), None);
}

#[test]
fn what_the_filter_leaves_out_is_not_in_the_go_profile() {
    let text = "mode: set\nexample.org/certificate-operator/controllers/renew.go:1.1,2.2 1 1\n\
                example.org/certificate-operator/zz_generated.go:1.1,2.2 1 1\n";
    let all = [profile("certificate-operator", text)];
    let bundles = [bundle("certificate-operator", "/r")];
    let out = go_text(&report(&Filter::default()), &all, &bundles).unwrap();
    assert!(
        out.contains("renew.go") && !out.contains("zz_generated"),
        "{out}"
    );
    let filter = Filter::new(&[], &["**/renew.go"]).unwrap();
    assert_eq!(
        go_text(&report(&filter), &all, &bundles).unwrap(),
        "mode: set\n"
    );
}
