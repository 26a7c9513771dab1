//! podcov's own engine: profiles are read, added up and held against the
//! program's mapping without any tool.
//!
//! The evidence is read twice, once for the sum and once, incarnation by
//! incarnation, for what each of them reached, so that no more than one
//! incarnation's counts are in memory beside the sum.

use std::fs;
use std::io;

use object::read::ReadCache;
use podcov_profile::bundle::mapping_path;
use podcov_profile::ledger::Format;
use podcov_profile::llvm::coverage::{Coverage, Evidence, Options};
use podcov_profile::llvm::indexed;
use podcov_profile::llvm::mapping::{Mapping, Paths};
use podcov_profile::llvm::model::Detail;
use podcov_profile::llvm::object::{self as program_object, Object};
use podcov_profile::llvm::profile::{Profile, ShapeConflict};
use podcov_profile::llvm::raw;
use podcov_profile::llvm::sum::Sum;
use podcov_profile::llvm::text;
use podcov_profile::model::File;
use podcov_profile::reach::{BitSet, Reach};
use podcov_profile::{Identity, Limits};

use super::{Merged, counted, keep_list, keep_sources, phases, program};
use crate::evidence::{Build, Piece, refuse};
use crate::reach::{key, lines_reached};
use crate::{Error, Work, write_atomic};

/// Findings about single functions that are told; the rest is counted.
const TOLD: usize = 20;

pub(super) fn merge(work: &mut Work<'_>, build: &Build) -> Result<Merged, Error> {
    let limits = Limits::default();
    let path = program(work, build);
    let wrong = |what: String| Error::Program {
        path: path.clone(),
        what,
    };
    let cache;
    let kept;
    let objects = match fs::File::open(&path) {
        Ok(file) => {
            cache = ReadCache::new(file);
            read_program(&cache, &build.identity, &limits).map_err(wrong)?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let path = work.bundle_dir.join(mapping_path(&build.identity));
            kept = fs::read(&path).map_err(Error::io("read", &path))?;
            read_program(kept.as_slice(), &build.identity, &limits).map_err(wrong)?
        }
        Err(error) => return Err(Error::io("open", &path)(error)),
    };
    let mut mappings = Vec::new();
    for object in &objects {
        let mapping = Mapping::read(object, Paths::default(), &limits);
        mappings.push(mapping.map_err(|error| wrong(error.to_string()))?);
    }
    let mappings: Vec<&Mapping<'_>> = mappings.iter().collect();

    let (profile, good) = add_up(work, build, &limits)?;
    let (filter, sources) = (work.filter, &work.bundle.sources);
    let keep = |file: &str| filter.counted(sources, file).is_some();
    let cover = |profile: &Profile| {
        let evidence = Evidence {
            mappings: &mappings,
            profile,
        };
        let options = Options { keep: Some(&keep) };
        let coverage = Coverage::new(&[evidence], &options);
        coverage.map_err(|error| wrong(error.to_string()))
    };
    let coverage = cover(&profile)?;
    tell(work, &coverage);
    let counted = counted(work, build, coverage.kept_files().map(|(_, name)| name));
    let name = &work.bundle.binaries[build.binary].name;
    let mut files = Vec::new();
    for (path, file) in &counted {
        if let Some((index, _)) = coverage.kept_files().find(|(_, name)| name == file) {
            files.push(coverage.model(index, path, name, Detail::Regions));
        }
    }
    if !good.is_empty() {
        keep_list(work, &good)?;
        let written = indexed::write(&profile, true);
        write_atomic(&work.out.join("merged.profdata"), &written.bytes)?;
    }
    if !counted.is_empty() {
        keep_sources(work, &counted)?;
    }
    let mut reach = Reach::new();
    for pieces in good.chunk_by(|one, other| one.incarnation == other.incarnation) {
        work.cancel.check()?;
        let mut sum = Total::default();
        for piece in pieces {
            let bytes = piece.read()?;
            // It was added before, so it fits.
            let _ = sum.add(&bytes, piece.format, &limits);
        }
        let profile = sum.finish(&limits).map_err(wrong)?;
        let reached = reached(&cover(&profile)?, &files, &counted);
        reach.insert(key(work.ledger, pieces[0].incarnation), reached);
    }
    let lines = |profile: &Profile| Ok(reached(&cover(profile)?, &files, &counted));
    phases::reach(work, &good, lines, &mut reach)?;
    Ok(Merged {
        profiles: good.len(),
        counted,
        files,
        reach,
    })
}

/// The sections of a program, which must be of the build that is expected.
fn read_program<'d, R: object::ReadRef<'d>>(
    data: R,
    identity: &Identity,
    limits: &Limits,
) -> Result<Vec<Object<'d>>, String> {
    let objects = program_object::read(data, "the program", None, limits).map_err(|error| {
        format!("{error}: build it with `podcov build`, and do not remove sections from it")
    })?;
    for object in &objects {
        if let (Identity::BuildId(_), Some(found)) = (identity, &object.identity)
            && found != identity
        {
            return Err(format!(
                "it is the build {found}, the bundle says {identity}"
            ));
        }
    }
    Ok(objects)
}

/// Adds up what can be, and refuses the rest.
fn add_up<'b>(
    work: &mut Work<'_>,
    build: &'b Build,
    limits: &Limits,
) -> Result<(Profile, Vec<&'b Piece>), Error> {
    let mut total = Total::default();
    let mut good = Vec::new();
    for piece in &build.pieces {
        work.cancel.check()?;
        let bytes = piece.read()?;
        match total.add(&bytes, piece.format, limits) {
            Ok(()) => good.push(piece),
            Err(reason) => {
                refuse(work.ledger, work.quarantine, piece, &reason)?;
            }
        }
    }
    let profile = total.finish(limits).map_err(|what| Error::Program {
        path: program(work, build),
        what,
    })?;
    Ok((profile, good))
}

/// The sum of some files of one build.
#[derive(Default)]
pub(super) struct Total {
    /// One for each shape: the program's, and those of its libraries.
    sums: Vec<Sum>,
    /// What came in other formats than raw.
    others: Profile,
    /// A function of each shape that is known, to hold new ones against.
    shapes: Profile,
}

impl Total {
    /// Adds all of a file, or says why nothing of it was added.
    pub(super) fn add(
        &mut self,
        bytes: &[u8],
        format: Format,
        limits: &Limits,
    ) -> Result<(), String> {
        let told = |error: podcov_profile::ParseError| error.to_string();
        if format != Format::Profraw {
            let read = match indexed::is_indexed(bytes) {
                true => indexed::read(bytes, limits).map(|read| (read.profile, read.conflicts)),
                false => text::read(bytes, limits),
            };
            let (profile, conflicts) = read.map_err(told)?;
            self.check(&profile, &conflicts)?;
            self.shapes.absorb(profile.clone());
            self.others.absorb(profile);
            return Ok(());
        }
        let parts = raw::parts(bytes, limits).collect::<Result<Vec<_>, _>>();
        let parts = parts.map_err(told)?;
        let mut fresh = Vec::new();
        for part in &parts {
            if !self.sums.iter().any(|sum| sum.fits(part)) {
                let (profile, conflicts) = part.profile(limits).map_err(told)?;
                self.check(&profile, &conflicts)?;
                // Parts of one file are of one process, and of one shape where
                // it wrote twice.
                let first = Sum::new(part).map_err(told)?;
                fresh.push((first, profile));
            }
        }
        for part in &parts {
            if self.sums.iter_mut().any(|sum| sum.add(part)) {
                continue;
            }
            if let Some(index) = fresh.iter().position(|(sum, _)| sum.fits(part)) {
                let (sum, profile) = fresh.swap_remove(index);
                self.sums.push(sum);
                self.shapes.absorb(profile);
            }
        }
        Ok(())
    }

    fn check(&self, profile: &Profile, own: &[ShapeConflict]) -> Result<(), String> {
        let known = self.shapes.conflicts(profile);
        let Some(first) = own.iter().chain(&known).next() else {
            return Ok(());
        };
        let ShapeConflict {
            function,
            known: (counters, bitmap),
            other: (its_counters, its_bitmap),
        } = first;
        let name = profile.names.get(&function.name);
        let name = name.map_or_else(
            || format!("{:016x}", function.name),
            |name| String::from_utf8_lossy(name).into_owned(),
        );
        Err(format!(
            "it does not fit the other profiles of its build: {name} ({:016x}) has {counters} \
             counters and {bitmap} bytes of bitmap there, {its_counters} and {its_bitmap} here{}",
            function.hash,
            match own.len() + known.len() {
                1 => String::new(),
                all => format!(", and {} more functions differ", all - 1),
            }
        ))
    }

    pub(super) fn finish(self, limits: &Limits) -> Result<Profile, String> {
        let mut profile = self.others;
        for sum in self.sums {
            let (one, _) = sum
                .into_profile(limits)
                .map_err(|error| error.to_string())?;
            profile.absorb(one);
        }
        Ok(profile)
    }
}

/// The lines that some counts reached.
fn reached(
    coverage: &Coverage,
    files: &[File],
    counted: &std::collections::BTreeMap<String, String>,
) -> BitSet {
    lines_reached(files, |file| {
        let name = counted.get(&file.path)?;
        let (index, _) = coverage.kept_files().find(|(_, kept)| kept == name)?;
        Some(coverage.file(index).lines())
    })
}

/// What was left out changes the numbers, so it is told.
fn tell(work: &mut Work<'_>, coverage: &Coverage) {
    let component = work.bundle.component.clone();
    let findings = coverage.findings();
    for finding in findings.iter().take(TOLD) {
        work.find(finding.word(), format!("{component}: {finding}"));
    }
    if let Some(more) = findings.len().checked_sub(TOLD).filter(|more| *more > 0) {
        let text = format!("{component}: {more} more findings about single functions");
        work.find("more", text);
    }
}
