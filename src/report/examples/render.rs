//! Renders the report of a run from the files the merge left, for a look at it:
//!
//! `cargo run -p podcov-report --example render -- RUN_DIR OUT_DIR [COMPONENT METRIC MIN]…`

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use podcov_profile::bundle::Bundle;
use podcov_report::{
    Filter, Input, Policy, Report, Rule, Scope, gate_text, judge, loss_text, table, write_all,
};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [run, out, rules @ ..] = &args[..] else {
        return Err("expected RUN_DIR OUT_DIR [COMPONENT METRIC MIN]…".into());
    };
    let run = PathBuf::from(run);
    let coverage = serde_json::from_slice(&fs::read(run.join("coverage/coverage.json"))?)?;
    let ledger = serde_json::from_slice(&fs::read(run.join("ledger.json"))?)?;
    let bundles = bundles(&run.join("bundle"))?;
    let folders: BTreeMap<String, PathBuf> = bundles
        .iter()
        .map(|bundle| {
            (
                bundle.component.clone(),
                run.join("bundle").join(&bundle.component),
            )
        })
        .collect();
    let sources = |component: &str, path: &str| -> Option<Vec<u8>> {
        fs::read(folders.get(component)?.join("src").join(path)).ok()
    };

    let report = Report::new(&coverage, &ledger, &Filter::default());
    let rules = rules
        .chunks(3)
        .map(|rule| match rule {
            [scope, metric, min] => Ok(Rule {
                scope: match scope.as_str() {
                    "composition" => Scope::Composition,
                    name if name.contains('/') => Scope::Path {
                        glob: name.to_owned(),
                        component: None,
                    },
                    name => Scope::Component(name.to_owned()),
                },
                metric: metric.parse()?,
                min: min.parse()?,
            }),
            _ => Err(Error::from("expected COMPONENT METRIC MIN")),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let judgement = judge(&report.summary, &rules, Policy { allowed_losses: 9 })?;
    print!(
        "{}\n{}",
        table(&report.summary, true),
        loss_text(&report.summary, true)
    );
    print!("\n{}", gate_text(&judgement, true));
    let written = write_all(
        Path::new(out),
        &Input {
            report: &report,
            judgement: Some(&judgement),
            sources: &sources,
            bundles: &bundles,
            go_profiles: &[],
        },
    )?;
    println!("{} files, {}", written.files, written.index.display());
    Ok(())
}

fn bundles(folder: &Path) -> Result<Vec<Bundle>, Error> {
    let mut bundles = Vec::new();
    if folder.is_dir() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path().join("bundle.json");
            if path.is_file() {
                bundles.push(serde_json::from_slice::<Bundle>(&fs::read(path)?)?);
            }
        }
    }
    bundles.sort_by(|a, b| a.component.cmp(&b.component));
    Ok(bundles)
}
