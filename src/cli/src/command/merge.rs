//! `podcov merge PATH…`: profiles added up, in the formats of LLVM and Go and
//! in podcov's own.

use std::collections::BTreeSet;
use std::path::Path;

use podcov_profile::finding::{Finding, Kind};
use podcov_profile::go::files::Name;
use podcov_profile::llvm::indexed;
use podcov_profile::llvm::profile::Profile;
use podcov_profile::merge::{Counted, ProgramCounts};
use podcov_profile::store::Program;

use crate::args::{Global, Merge, MergeFormat};
use crate::evidence::gather::{Gathered, Plan};
use crate::evidence::objects::Files;
use crate::evidence::out::{self, Content, WriteError};
use crate::evidence::tell::{list, verdict};
use crate::evidence::write_store;
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Runs the command.
pub fn merge(global: &Global, args: &Merge) -> Result<Exit, Failure> {
    let Some(format) = args.format else {
        return Err(
            Failure::new(Exit::Usage, "expected --format, found PATHs without it")
                .help("profdata for llvm-cov, covdata for Go's tools, podcov to merge again"),
        );
    };
    let out = args.out.as_deref();
    if format == MergeFormat::Covdata && out.is_none() {
        return Err(
            Failure::new(Exit::Usage, "covdata is a folder, which stdout cannot be")
                .help("name a new folder with -o"),
        );
    }
    out::check(out)?;
    let mut findings = Vec::new();
    let files = Files::open(&args.reading.objects)?;
    let wanted = files.read(&mut findings).wanted(&mut findings);
    let mut plan = Plan::new(&args.paths, &args.reading, wanted)?;
    plan.findings.append(&mut findings);
    if format == MergeFormat::Podcov {
        let (findings, used) = write_store::write(plan, out)?;
        list(&findings, global.quiet);
        return verdict(&findings, used, args.reading.tolerate);
    }
    let mut gathered = plan.gather();
    for (path, _) in std::mem::take(&mut gathered.reports) {
        let text = "a report, of which only lines can be brought together: see `podcov export`";
        let finding = Finding::new(Kind::Unsupported, path, text);
        gathered
            .findings
            .push(finding.expected("a profile or counters"));
    }
    let ui = Ui::new(global.quiet);
    let written = match format {
        MergeFormat::Covdata => covdata(&mut gathered, out.unwrap_or(Path::new("."))),
        _ => profdata(&mut gathered, out),
    };
    gathered.findings.sort();
    list(&gathered.findings, global.quiet);
    if written? {
        for counted in &gathered.counted {
            let pieces = crate::ui::count(counted.pieces as usize, "profile");
            ui.say(format_args!("  {}: {pieces}", counted.program));
        }
    }
    verdict(&gathered.findings, gathered.used, args.reading.tolerate)
}

/// Writes one indexed profile of all programs of LLVM; says whether it did.
/// The format knows functions, not programs: those that two programs share
/// become one.
fn profdata(gathered: &mut Gathered, out: Option<&Path>) -> Result<bool, Failure> {
    let mut whole: Option<Profile> = None;
    let mut names = Vec::new();
    for counted in std::mem::take(&mut gathered.counted) {
        let Counted {
            program,
            pieces,
            counts,
            ..
        } = counted;
        let ProgramCounts::Llvm(profile) = counts else {
            elsewhere(gathered, &program, "a program of Go: see --format covdata");
            continue;
        };
        match &mut whole {
            None => whole = Some(profile),
            Some(whole) => {
                for conflict in whole.absorb(profile) {
                    let function = conflict.function;
                    let text = format!(
                        "function {:016x} of this program with {} counters",
                        function.name, conflict.other.0
                    );
                    let finding = Finding::new(Kind::Shape, program.to_string(), text);
                    let expected = format!("{}, as another program has", conflict.known.0);
                    gathered.findings.push(finding.expected(expected));
                }
            }
        }
        names.push(Counted {
            program,
            pieces,
            counts: ProgramCounts::Llvm(Profile::default()),
            conflicts: Vec::new(),
        });
    }
    gathered.counted = names;
    let Some(profile) = whole else {
        gathered.used = 0;
        return Ok(false);
    };
    let written = indexed::write(&profile, true);
    if !written.unnamed.is_empty() {
        let text = format!(
            "{} whose names are not known cannot be written",
            crate::ui::count(written.unnamed.len(), "function")
        );
        let shown = out.map_or("-".to_owned(), |out| out.display().to_string());
        gathered
            .findings
            .push(Finding::new(Kind::Function, shown, text));
    }
    out::write(out, Content::Binary, |to| {
        to.write_all(&written.bytes).map_err(WriteError::from)
    })?;
    Ok(true)
}

/// Writes meta-data and counters of all programs of Go; says whether it did.
fn covdata(gathered: &mut Gathered, out: &Path) -> Result<bool, Failure> {
    let (go, others): (Vec<Counted>, Vec<Counted>) = std::mem::take(&mut gathered.counted)
        .into_iter()
        .partition(|counted| matches!(counted.counts, ProgramCounts::Go(..)));
    for counted in &others {
        let what = match counted.counts {
            ProgramCounts::GoText(_) => {
                "a text profile, which has no meta-data: see `podcov export`"
            }
            _ => "a program of LLVM: see --format profdata",
        };
        elsewhere(gathered, &counted.program, what);
    }
    let mut files = Vec::new();
    let mut seen = BTreeSet::new();
    for counted in &go {
        let ProgramCounts::Go(shape, values) = &counted.counts else {
            continue;
        };
        let hash = &shape.meta.hash;
        if !seen.insert(hash.clone()) {
            elsewhere(
                gathered,
                &counted.program,
                "other meta-data of the same hash",
            );
            continue;
        }
        let meta = Name::Meta { hash: hash.clone() };
        files.push((meta.to_string(), shape.bytes.clone()));
        let counters = shape.sum(values).to_counters();
        files.push((Name::merged(hash).to_string(), counters));
    }
    gathered.counted = go;
    if files.is_empty() {
        gathered.used = 0;
        return Ok(false);
    }
    out::write_folder(out, files)?;
    Ok(true)
}

fn elsewhere(gathered: &mut Gathered, program: &Program, what: &str) {
    let finding = Finding::new(Kind::Unsupported, program.to_string(), what);
    gathered.findings.push(finding);
}
