//! Writing a podcov file from everything that was named, in the order of keys
//! and with no more of it in memory than the threads work on.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use podcov_profile::evidence::Key;
use podcov_profile::finding::{Finding, Kind};
use podcov_profile::store::{Named, Store, Vector, Writer};

use super::gather::{Plan, bar, layouts, without_counters};
use super::input::Source;
use super::out::{self, Content, WriteError};
use super::pieces::Pieces;
use super::read::Buffer;
use super::snapshots;
use crate::exit::Failure;

/// So many files are taken apart before their pieces are written.
const BATCH: usize = 64;

type Evidence = (Key, Named, Vector);

/// Writes the file; gives what was set aside and how many files count.
pub fn write(mut plan: Plan, out: Option<&Path>) -> Result<(Vec<Finding>, u64), Failure> {
    let mut findings = std::mem::take(&mut plan.findings);
    for source in &plan.sorted.reports {
        let text = "a report, of which only lines can be brought together: see `podcov export`";
        let path = source.path.display().to_string();
        let finding = Finding::new(Kind::Unsupported, path, text);
        findings.push(finding.expected("a profile or counters"));
    }
    // Profiles that differ from most of their build are known when all were
    // seen, so all are read twice.
    let (kept, mut aside) = layouts(
        &plan.known,
        &plan.sorted.bulk,
        plan.stdin.as_deref(),
        plan.jobs,
    );
    findings.append(&mut aside);
    let mut work: Vec<(Key, Work<'_>)> = Vec::new();
    for source in &plan.sorted.bulk {
        work.push((source.key(&plan.origin), Work::File(source)));
    }
    for files in &plan.sorted.snapshots {
        let chosen = snapshots::choose(&plan.known, files, &mut findings);
        for (source, _) in chosen {
            work.push((source.key(&plan.origin), Work::File(source)));
        }
    }
    if let Some(bytes) = &plan.stdin
        && !plan.stores.holds_stdin(bytes)
    {
        work.push((Key::of_file(&plan.origin, "-"), Work::Stdin(bytes)));
    }
    work.sort_by(|(a, _), (b, _)| a.cmp(b));
    let stores = plan.stores.open();
    let mut stored = plan.stores.refs(&stores, &plan.known, &mut findings);
    stored.sort_by(|a, b| (&a.key, a.digest).cmp(&(&b.key, b.digest)));
    let mut used = plan.used;
    let mut seen_metas = BTreeMap::new();
    let bar = bar(work.len());
    out::write(out, Content::Binary, |to| {
        let mut writer = Writer::new(to)?;
        let mut stored = stored.iter().peekable();
        for batch in work.chunks(BATCH) {
            let (mut pieces, mut more, files) = take_apart(&plan, &kept, batch);
            findings.append(&mut more);
            used += files;
            pieces.sort_by(|a, b| (&a.0, a.1.digest()).cmp(&(&b.0, b.1.digest())));
            for piece in pieces {
                flush(&mut writer, &mut stored, &stores, Some(&piece))?;
                let piece = join(&mut stored, &stores, piece, &mut findings);
                remember(&mut seen_metas, &piece.1);
                writer.add(&piece.0, &piece.1, &piece.2)?;
            }
            bar.inc(batch.len() as u64);
        }
        flush(&mut writer, &mut stored, &stores, None)?;
        writer.finish()?;
        Ok::<(), WriteError>(())
    })?;
    bar.finish_and_clear();
    for (_, store) in &stores {
        store
            .shapes()
            .iter()
            .for_each(|shape| remember(&mut seen_metas, shape));
    }
    findings.extend(without_counters(&plan.meta_files, |hash| {
        seen_metas.contains_key(hash)
    }));
    findings.sort();
    findings.dedup();
    Ok((findings, used))
}

enum Work<'w> {
    File(&'w Source),
    Stdin(&'w [u8]),
}

fn remember(metas: &mut BTreeMap<String, ()>, named: &Named) {
    if let Some(meta) = super::worker::meta_of(named) {
        metas.entry(meta.meta.hash.clone()).or_default();
    }
}

/// Takes the files of a batch apart with several threads.
fn take_apart(
    plan: &Plan,
    kept: &podcov_profile::merge::RawTotals,
    batch: &[(Key, Work<'_>)],
) -> (Vec<Evidence>, Vec<Finding>, u64) {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut pieces = Pieces::like(&plan.known, kept);
        let mut buffer = Buffer::default();
        let (mut all, mut findings, mut used) = (Vec::new(), Vec::new(), 0u64);
        while let Some((key, work)) = batch.get(next.fetch_add(1, Ordering::Relaxed)) {
            let of_file = match work {
                Work::Stdin(bytes) => pieces.of("-", bytes),
                Work::File(source) => buffer
                    .read(&source.path)
                    .and_then(|bytes| pieces.of(&source.path.display().to_string(), bytes)),
            };
            match of_file {
                Err(finding) => findings.push(finding),
                Ok((of_file, mut more)) => {
                    findings.append(&mut more);
                    used += u64::from(!of_file.is_empty());
                    for (part, (named, vector)) in (0u32..).zip(of_file) {
                        all.push((key.part(part), named, vector));
                    }
                }
            }
        }
        (all, findings, used)
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..plan.jobs).map(|_| scope.spawn(work)).collect();
        let (mut all, mut findings, mut used) = work();
        for other in others {
            match other.join() {
                Ok((more, more_findings, more_used)) => {
                    all.extend(more);
                    findings.extend(more_findings);
                    used += more_used;
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        (all, findings, used)
    })
}

/// Evidence of a podcov file, where it is.
pub struct Stored {
    /// Whose it is.
    pub key: Key,
    /// Of its shape.
    pub digest: [u8; 32],
    /// Index of the podcov file.
    pub store: usize,
    /// Index of its shape.
    pub shape: usize,
    /// Index of its counts.
    pub vector: usize,
}

impl Stored {
    fn evidence(&self, stores: &[(&str, Store<'_>)]) -> Option<Evidence> {
        let (_, store) = stores.get(self.store)?;
        let named = store.shapes().get(self.shape)?.clone();
        Some((self.key.clone(), named, store.vector(self.vector)?))
    }
}

type Queue<'q> = Peekable<std::slice::Iter<'q, Stored>>;

/// Writes the evidence of podcov files that comes before `until`.
fn flush<W: std::io::Write>(
    writer: &mut Writer<W>,
    stored: &mut Queue<'_>,
    stores: &[(&str, Store<'_>)],
    until: Option<&Evidence>,
) -> Result<(), WriteError> {
    let is_before = |next: &&Stored| {
        until.is_none_or(|(key, named, _)| (&next.key, next.digest) < (key, named.digest()))
    };
    while let Some(next) = stored.next_if(|next| is_before(next)) {
        let Some(mut evidence) = next.evidence(stores) else {
            continue;
        };
        // The same in several podcov files, maybe in several states.
        while let Some(again) =
            stored.next_if(|again| again.key == next.key && again.digest == next.digest)
        {
            if let Some((_, _, vector)) = again.evidence(stores) {
                let stretches = evidence.1.shape().stretches();
                evidence.2 = evidence.2.join(&vector, &stretches);
            }
        }
        writer.add(&evidence.0, &evidence.1, &evidence.2)?;
    }
    Ok(())
}

/// A piece of a plain file, joined with what podcov files hold of it.
fn join(
    stored: &mut Queue<'_>,
    stores: &[(&str, Store<'_>)],
    mut piece: Evidence,
    findings: &mut Vec<Finding>,
) -> Evidence {
    while let Some(next) =
        stored.next_if(|next| next.key == piece.0 && next.digest == piece.1.digest())
    {
        let Some((_, _, vector)) = next.evidence(stores) else {
            continue;
        };
        let path = stores.get(next.store).map_or("", |(path, _)| path);
        if vector == piece.2 {
            let text = format!("`{}` is among the plain files, too", piece.0);
            findings.push(Finding::new(Kind::Duplicate, path, text));
        } else {
            findings.push(super::stores::version(path, &piece.0));
            piece.2 = piece.2.join(&vector, &piece.1.shape().stretches());
        }
    }
    piece
}
