//! Files of a report, held against what podcov makes of llvm-cov's JSON.

use std::collections::BTreeMap;

use podcov_profile::go::lines::lines_within;
use podcov_profile::llvm::demangle::{common_name, crate_of, demangle};
use podcov_profile::llvm::export::{Export, groups, lines};
use podcov_profile::llvm::model::Detail;
use podcov_profile::llvm::summary::distinct_lines;
use podcov_profile::model::{File, Function, Metrics};

use crate::rust::MAIN;
use crate::support::Build;

/// What `--backend tools` makes of an export.
fn from_json(json: &[u8], path: &str) -> File {
    let export: Export = serde_json::from_slice(json).unwrap();
    let data = &export.data[0];
    let file = &data.files[0];
    let lines = lines(&file.segments);
    let mut crates: BTreeMap<String, usize> = BTreeMap::new();
    let mut functions = Vec::new();
    for group in groups(&data.functions)
        .remove(file.filename.as_str())
        .unwrap()
        .into_values()
    {
        let names: Vec<String> = group.names.iter().map(|name| demangle(name)).collect();
        if let Some(name) = crate_of(&names[0]) {
            *crates.entry(name.to_owned()).or_default() += 1;
        }
        functions.push(Function {
            name: common_name(&names),
            start: group.start,
            end: group.end,
            count: group.count,
            lines: lines_within(&lines, group.start, group.end),
            ..Function::default()
        });
    }
    let most = crates.into_iter().max_by_key(|(_, number)| *number);
    File {
        path: path.to_owned(),
        package: most.unwrap().0,
        metrics: Metrics {
            lines: file.summary.lines.into(),
            functions: file.summary.functions.into(),
            regions: file.summary.regions.into(),
            instantiations: file.summary.instantiations.into(),
            ..Metrics::default()
        },
        lines,
        functions,
        branches: Vec::new(),
    }
}

#[test]
fn a_report_of_either_way_is_the_same() {
    let build = Build::new(&[("main.rs", MAIN)]);
    build.rustc(&["main.rs", "-o", "m"]).run("m", &[]);
    build.merge(&["m"], "m.profdata");
    let coverage = build.check(&["m"], "m.profdata");
    let (file, _) = coverage.kept_files().next().unwrap();
    let model = coverage.model(file, "src/main.rs", "my-program", Detail::Lines);
    let theirs = build.llvm_cov(&["m"], "m.profdata", &[]);
    assert_eq!(model, from_json(&theirs, "src/main.rs"));

    let full = coverage.model(file, "src/main.rs", "my-program", Detail::Regions);
    let show = full.functions.iter().find(|f| f.name == "main::show::<_>");
    let show = show.unwrap_or_else(|| panic!("{:#?}", full.functions));
    let instances: Vec<_> = show.instances.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(instances, ["main::show::<&str>", "main::show::<i32>"]);
    assert_eq!(show.count, 2);
    // The body of the loop, over both: five values in two calls.
    assert!(show.regions.iter().any(|region| region.count == 5));
    let plain = File {
        functions: full
            .functions
            .iter()
            .map(|function| Function {
                regions: Vec::new(),
                instances: Vec::new(),
                ..function.clone()
            })
            .collect(),
        ..full.clone()
    };
    assert_eq!(plain, model);
}

#[test]
fn lines_of_closures_count_once_or_twice() {
    let source = "fn main() {\n    let f = |x: u32| {\n        x + 1\n    };\n    println!(\"{}\", f(1));\n}\n";
    let build = Build::new(&[("main.rs", source)]);
    build.rustc(&["main.rs", "-o", "m"]).run("m", &[]);
    build.merge(&["m"], "m.profdata");
    let coverage = build.check(&["m"], "m.profdata");
    let (file, _) = coverage.kept_files().next().unwrap();
    let summary = coverage.summary(&coverage.groups(file));
    let view = coverage.file(file);
    let distinct = distinct_lines(&view.segments);
    assert_eq!(distinct.total, view.lines().len() as u64);
    assert_eq!(distinct.total, 6);
    assert!(summary.lines.total > distinct.total, "{summary:?}");
    // lcov of llvm-cov says the one in LF and the other with DA.
    let lcov = build.llvm_cov(&["m"], "m.profdata", &["-format=lcov"]);
    let lcov = String::from_utf8(lcov).unwrap();
    assert!(lcov.contains(&format!("LF:{}\n", summary.lines.total)));
    assert_eq!(
        lcov.matches("DA:").count() - lcov.matches("FNDA:").count(),
        6
    );
}
