//! The pages: golden ones, hostile names, odd sources, links, bytes.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use common::*;
use podcov_profile::bundle::{Bundle, SourceFile, Sources as BundleSources};
use podcov_profile::ledger::{Fate, Finding, Ledger};
use podcov_profile::model::{Coverage, Line};
use podcov_profile::names::{Kind, Language};
use podcov_report::{
    Filter, Input, Judgement, Metric, NoSources, Policy, Report, Rule, Scope, Sources, WriteError,
    judge, write_all,
};

fn judgement(report: &Report) -> Judgement {
    let rule = |scope, min| Rule {
        scope,
        metric: Metric::Lines,
        min,
    };
    let mut rules = vec![rule(Scope::Composition, 50.0)];
    if !report.files.is_empty() {
        rules.push(rule(
            Scope::Path {
                glob: "**".into(),
                component: None,
            },
            90.0,
        ));
    }
    judge(&report.summary, &rules, Policy { allowed_losses: 1 }).unwrap()
}

/// Every file of the report of a run, by path.
fn render(
    (coverage, ledger): &(Coverage, Ledger),
    sources: &dyn Sources,
    bundles: &[Bundle],
) -> BTreeMap<String, String> {
    let report = Report::new(coverage, ledger, &Filter::default());
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("report");
    let judgement = judgement(&report);
    let input = Input {
        report: &report,
        judgement: Some(&judgement),
        sources,
        bundles,
        go_profiles: &[],
    };
    let written = write_all(&out, &input).unwrap();
    let mut files = BTreeMap::new();
    read(&out, &out, &mut files);
    assert_eq!(written.files, files.len());
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "something was left behind"
    );
    files
}

fn read(folder: &Path, root: &Path, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, root, files);
        } else {
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            files.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

fn pages(files: &BTreeMap<String, String>) -> impl Iterator<Item = (&String, &String)> {
    files.iter().filter(|(name, _)| name.ends_with(".html"))
}

fn go_source(_: &str, path: &str) -> Option<Vec<u8>> {
    let text = "package controllers\n\n// Reconcile renews what is due.\n\n\n\n\n\n\n\
                func Reconcile(c *Certificate) error {\n\tif c.Due() {\n\t\treturn renewExpired(c, \"<now>\")\n\
                \t}\n\treturn nil\n}\n";
    path.ends_with("renew.go").then(|| text.as_bytes().to_vec())
}

#[test]
fn golden_pages() {
    let files = render(&websites(), &go_source, &[]);
    for name in ["index.html", "c/002.html", "f/000003.html"] {
        let page = files[name].replace(env!("CARGO_PKG_VERSION"), "VERSION");
        insta::assert_snapshot!(name.replace('/', "_"), page);
    }
}

#[test]
fn the_same_run_gives_the_same_bytes() {
    assert_eq!(
        render(&websites(), &go_source, &[]),
        render(&websites(), &go_source, &[])
    );
}

#[test]
fn every_link_leads_somewhere_in_the_folder() {
    let files = render(&websites(), &go_source, &[]);
    let mut links = 0;
    for (name, page) in pages(&files) {
        for (tag, attributes) in tags(name, page) {
            for (key, value) in attributes {
                if key != "href" && key != "src" {
                    continue;
                }
                let (path, anchor) = value.split_once('#').unwrap_or((&value, ""));
                let target = match (path, path.strip_prefix("../")) {
                    ("", _) => name.clone(),
                    (_, Some(up)) => {
                        assert!(name.contains('/'), "{name}: {value}");
                        up.to_owned()
                    }
                    (path, None) if !name.contains('/') => path.to_owned(),
                    _ => panic!("{name}: <{tag}> leads to {value}"),
                };
                let there = files
                    .get(&target)
                    .unwrap_or_else(|| panic!("{name}: {value}"));
                assert!(
                    anchor.is_empty() || there.contains(&format!("id=\"{anchor}\"")),
                    "{name}: nothing is called #{anchor} in {target}"
                );
                links += 1;
            }
        }
    }
    assert!(links > 100, "{links}");
}

/// The tags of a page with their attributes. Fails on anything that is not
/// one of the templates' own tags and attributes.
fn tags(name: &str, page: &str) -> Vec<(String, Vec<(String, String)>)> {
    const TAGS: &str = "a b body dd details div dl dt footer h1 h2 head header html i li link main \
                        meta nav p path rect section span strong summary svg table tbody td tfoot th \
                        thead title tr ul";
    const ATTRIBUTES: &str = "aria-current aria-hidden aria-label aria-labelledby charset class \
                              colspan content d height href http-equiv id lang name open \
                              preserveAspectRatio rel role scope tabindex title type viewBox width \
                              x y";
    let known_tags: BTreeSet<&str> = TAGS.split_whitespace().collect();
    let known_attributes: BTreeSet<&str> = ATTRIBUTES.split_whitespace().collect();
    let mut tags = Vec::new();
    let mut rest = page
        .strip_prefix("<!DOCTYPE html>")
        .expect("a document type");
    while let Some(start) = rest.find('<') {
        assert!(
            !rest[..start].contains('>'),
            "{name}: stray > in {:?}",
            &rest[..start]
        );
        rest = &rest[start + 1..];
        rest = rest.strip_prefix('/').unwrap_or(rest);
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap();
        let tag = &rest[..end];
        assert!(known_tags.contains(tag), "{name}: <{tag}>");
        rest = &rest[end..];
        let mut attributes = Vec::new();
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix("/>").or_else(|| rest.strip_prefix('>')) {
                rest = after;
                break;
            }
            let end = rest.find(['=', '>', ' ']).unwrap();
            let key = &rest[..end];
            assert!(
                known_attributes.contains(key),
                "{name}: attribute {key} in <{tag}>"
            );
            rest = &rest[end..];
            let mut value = "";
            if let Some(after) = rest.strip_prefix("=\"") {
                let end = after.find('"').unwrap();
                value = &after[..end];
                rest = &after[end + 1..];
            }
            assert!(!value.contains('<'), "{name}: < in {key}");
            attributes.push((key.to_owned(), value.to_owned()));
        }
        tags.push((tag.to_owned(), attributes));
    }
    tags
}

const HOSTILE: [&str; 6] = [
    "\"><script>alert(1)</script>",
    "' onmouseover='alert(1)' x='",
    "</td></tr></table><img src=x onerror=alert(1)>",
    "{{{composition}}} {{> head}}",
    "a\u{1b}[31mred\u{7}\u{0}\u{202e}evil\r\n",
    "javascript:alert(1)/../../etc/passwd",
];

#[test]
fn nothing_foreign_becomes_markup_a_link_or_a_file_name() {
    for evil in HOSTILE {
        let (mut coverage, mut ledger) = websites();
        coverage.composition = evil.into();
        for component in &mut coverage.components {
            component.name += evil;
            for binary in &mut component.binaries {
                binary.name = evil.into();
                for file in &mut binary.files {
                    file.path = format!("{evil}/{}{evil}", file.path);
                    file.package += evil;
                    for function in &mut file.functions {
                        function.name += evil;
                    }
                }
            }
        }
        ledger.run = evil.into();
        for incarnation in &mut ledger.incarnations {
            incarnation.component += evil;
            incarnation.namespace = evil.into();
            incarnation.pod = evil.into();
            incarnation.container = evil.into();
            incarnation.start = Some(evil.into());
            incarnation.end = Some(format!("2026-11-21T09:00:0{evil}"));
            incarnation.reason = evil.into();
            incarnation.ended.reason = Some(evil.into());
            incarnation.files[0].path = evil.into();
            incarnation.files[0].reason = evil.into();
        }
        ledger.incarnations[0].files[0].fate = Fate::Rejected;
        ledger.findings = vec![Finding {
            kind: evil.into(),
            text: evil.into(),
        }];
        let bundle = |name: &str| Bundle {
            toolchain: evil.into(),
            commit: Some(evil.into()),
            ..bundle(name, vec![])
        };
        let bundles: Vec<Bundle> = coverage
            .components
            .iter()
            .map(|c| bundle(&c.name))
            .collect();
        let source = |_: &str, _: &str| Some(format!("{evil}\n{evil}\n{evil}").into_bytes());
        let plain = render(&websites(), &go_source, &[]);
        let files = render(&(coverage, ledger), &source, &bundles);
        let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&files), names(&plain));
        for (name, page) in pages(&files) {
            for (_, attributes) in tags(name, page) {
                let link = attributes.iter().find(|(key, _)| key == "href");
                if let Some((_, href)) = link {
                    let safe = |c: char| c.is_ascii_alphanumeric() || "./#-".contains(c);
                    assert!(href.chars().all(safe), "{name}: {href}");
                }
            }
            for c in ['\u{1b}', '\u{7}', '\u{0}', '\u{202e}', '\r'] {
                assert!(!page.contains(c), "{name}: {c:?}");
            }
        }
        let lcov = &files["lcov.info"];
        assert_eq!(lcov.matches("\nend_of_record\n").count(), 4, "{lcov}");
        assert!(!lcov.contains('\u{1b}') && !lcov.contains('\r'));
    }
}

fn bundle(name: &str, files: Vec<SourceFile>) -> Bundle {
    Bundle {
        schema: 1,
        component: name.into(),
        language: Language::Rust,
        kind: Kind::Operator,
        binaries: vec![],
        toolchain: "rustc 1.95.0".into(),
        llvm_major: Some(22),
        commit: None,
        dirty: false,
        image: None,
        sources: BundleSources {
            root: "/src".into(),
            path_map: vec![],
            files,
        },
    }
}

/// The page of a file of one component whose source is `bytes`.
fn source_page(lines: &[(u32, u64)], bytes: Option<&[u8]>, bundles: &[Bundle]) -> String {
    let one = file(Language::Rust, "src/a.rs", "a", lines, &[]);
    let binary = binary("a", "build-id:00", vec![one]);
    let run = (
        coverage(vec![component(
            "a",
            Language::Rust,
            Kind::Operator,
            vec![binary],
        )]),
        ledger(vec![]),
    );
    let sources = |_: &str, _: &str| bytes.map(<[u8]>::to_vec);
    let page = render(&run, &sources, bundles)["f/000001.html"].clone();
    tags("f/000001.html", &page);
    page
}

#[test]
fn odd_sources_are_shown_as_they_are() {
    let page = source_page(&[(1, 1)], Some(b"a\r\nb\r\n"), &[]);
    assert!(page.contains("2 lines end in CRLF"), "{page}");
    assert!(!page.contains('\r') && !page.contains('␍'));

    let page = source_page(&[(1, 1)], Some(b"caf\xe9 \xff\n"), &[]);
    assert!(
        page.contains("not UTF-8") && page.contains("caf\u{fffd} \u{fffd}"),
        "{page}"
    );

    let page = source_page(&[(1, 1)], Some(b"\xef\xbb\xbf\tfn\tx\x1b[0m"), &[]);
    assert!(
        page.contains("\t<i class=\"k\">fn</i>\tx␛[<i class=\"d\">0m</i>"),
        "{page}"
    );

    let long = format!("{}é\nb\n", "x".repeat(1_999).as_str()) + &"é".repeat(1_000_000);
    let page = source_page(&[(2, 1)], Some(long.as_bytes()), &[]);
    assert!(page.contains("998,000 more characters"), "{}", page.len());
    assert!(page.len() < 30_000, "{}", page.len());
    assert!(!page.contains(&"é".repeat(2_001)));
}

#[test]
fn a_source_that_is_missing_or_another_one_is_told_and_not_shown() {
    let page = source_page(&[(3, 1), (4, 0)], None, &[]);
    assert!(page.contains("no copy of this source"), "{page}");
    assert!(page.contains("id=\"L3\" class=\"c\"") && page.contains("id=\"L4\" class=\"u\""));

    let entry = |sha256: &str| SourceFile {
        path: "src/a.rs".into(),
        sha256: sha256.into(),
    };
    let page = source_page(
        &[(1, 1)],
        Some(b"secret"),
        &[bundle("a", vec![entry("00")])],
    );
    assert!(
        page.contains("not the one that was built") && !page.contains("secret"),
        "{page}"
    );

    let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let page = source_page(
        &[(1, 1)],
        Some(b"hello"),
        &[bundle("a", vec![entry(sha256)])],
    );
    assert!(
        page.contains(">hello</td>") && !page.contains("class=\"note\""),
        "{page}"
    );
}

#[test]
fn lines_that_the_text_does_not_have_are_told_and_make_no_endless_page() {
    let page = source_page(&[(1, 1), (u32::MAX, 7)], Some(b"a\nb\n"), &[]);
    assert!(
        page.contains("1 line with code is beyond the end"),
        "{page}"
    );
    assert!(page.contains("id=\"L4294967295\""), "{page}");
    assert!(page.len() < 20_000, "{}", page.len());
}

#[test]
fn line_states_are_told_apart() {
    let (mut coverage, ledger) = websites();
    coverage.components[0].binaries[0].files[0].lines[0] = Line {
        number: 3,
        count: 2,
        partial: true,
    };
    let files = render(&(coverage, ledger), &NoSources, &[]);
    let operator = &files["f/000001.html"];
    for row in [
        "id=\"L3\" class=\"p\"",
        "id=\"L4\" class=\"c\"",
        "id=\"L5\" class=\"u\"",
    ] {
        assert!(operator.contains(row), "{row}: {operator}");
    }
    // The client lost an incarnation.
    let client = &files["f/000004.html"];
    assert!(client.contains("id=\"L2\" class=\"q\""), "{client}");
    assert!(client.contains("lost evidence could have"), "{client}");
}

#[test]
fn a_composition_of_nothing_has_a_report() {
    let files = render(&(coverage(vec![]), Ledger::default()), &NoSources, &[]);
    for (name, page) in pages(&files) {
        assert!(!page.contains("NaN"), "{name}");
        tags(name, page);
    }
}

#[test]
fn an_earlier_report_is_replaced_and_nothing_else_is() {
    let (coverage, ledger) = websites();
    let report = Report::new(&coverage, &ledger, &Filter::default());
    let input = Input {
        report: &report,
        judgement: None,
        sources: &NoSources,
        bundles: &[],
        go_profiles: &[],
    };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("report");
    fs::create_dir(&out).unwrap();
    write_all(&out, &input).unwrap();
    fs::write(out.join("f/999999.html"), "stale").unwrap();
    write_all(&out, &input).unwrap();
    assert!(!out.join("f/999999.html").exists());

    let own = folder.path().join("own");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("thesis.txt"), "years of work").unwrap();
    let error = write_all(&own, &input).unwrap_err();
    assert!(matches!(error, WriteError::NotAReport(_)), "{error}");
    assert!(own.join("thesis.txt").exists());

    // A folder that cannot be made: nothing is left of the attempt.
    let error = write_all(&own.join("thesis.txt/report"), &input).unwrap_err();
    assert!(error.to_string().contains("thesis.txt"), "{error}");
    let mut left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["own", "report"]);
}

#[test]
fn a_path_that_leads_out_of_the_snapshot_is_not_read() {
    for path in ["../../secret", "/etc/secret", "src/../../secret"] {
        let one = file(Language::Rust, path, "a", &[(1, 1)], &[]);
        let binary = binary("a", "build-id:00", vec![one]);
        let component = component("a", Language::Rust, Kind::Operator, vec![binary]);
        let sources = |_: &str, path: &str| -> Option<Vec<u8>> { panic!("{path} was asked for") };
        let files = render(&(coverage(vec![component]), ledger(vec![])), &sources, &[]);
        assert!(files["f/000001.html"].contains("no copy of this source"));
    }
}

#[test]
fn a_file_that_llvm_counts_differently_says_why() {
    let (mut coverage, ledger) = websites();
    let plain = render(&(coverage.clone(), ledger.clone()), &NoSources, &[]);
    assert!(!plain["f/000001.html"].contains("LLVM counts"));
    coverage.components[0].binaries[0].files[0]
        .metrics
        .lines
        .total = 5;
    let files = render(&(coverage, ledger), &NoSources, &[]);
    let expected = "of 4 lines; LLVM counts one again for each function on it: 5";
    assert!(files["f/000001.html"].contains(expected));
}
