//! Go: counters, by podcov's engine or by `go tool covdata`, and text profiles of
//! programs made by `go test -c`.

mod fit;
mod functions;
mod native;
mod phases;
mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use podcov_profile::Identity;
use podcov_profile::go::counters::CounterFile;
use podcov_profile::go::files::{self, Counters, FunctionCounters, Meta, Name};
use podcov_profile::go::lines::{self, Placed, functions};
use podcov_profile::go::live::Live;
use podcov_profile::go::meta::Misfit;
use podcov_profile::go::sum::{Refused, Sum};
use podcov_profile::go::text::Profile;
use podcov_profile::ledger::{Fate, Format};
use podcov_profile::model::{Binary, File};
use podcov_profile::reach::{BitSet, Reach};

use self::fit::Fit;
use self::functions::functions_from_source;
use crate::evidence::{Build, Piece, decide, refuse};
use crate::reach::{key, lines_reached};
use crate::rust::from;
use crate::tools::{command_line, find_go};
use crate::{Backend, Error, Work, make_dir, remove_if_there, write_atomic};

/// Counters that count, with what they hold.
struct Counted<'p> {
    piece: &'p Piece,
    counters: Counters,
    pid: u64,
    /// The start of the process for what is mapped, and for what it writes
    /// then at its end; else when the file was written.
    nanos: u64,
    written: Written,
}

/// How counters came into a file. The order is that in which they are believed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Written {
    /// It is mapped over them.
    Mapped,
    /// By Go: at the end of the process, or when the program asked for it.
    ByGo,
    /// By the ticker, on the way.
    Ticker,
}

impl Counted<'_> {
    /// Adds what the file holds. It was read and held against the meta-data
    /// before; only its bytes could have changed since.
    fn add_to(&self, sum: &mut Sum<'_>) -> Result<(), Error> {
        let path = &self.piece.path;
        let bytes = self.piece.read()?;
        let added = match self.written {
            Written::Mapped => Live::parse(&bytes)
                .map_err(Refused::from)
                .and_then(|live| sum.add_live(&live.of(&self.counters.hash))),
            Written::ByGo | Written::Ticker => sum.add(&bytes),
        };
        added.map(|_| ()).map_err(|error| Error::Program {
            path: path.clone(),
            what: error.to_string(),
        })
    }
}

pub(crate) fn merge(work: &mut Work<'_>, build: &Build) -> Result<Binary, Error> {
    let binary = &work.bundle.binaries[build.binary];
    let metas = bundled_metas(work, build)?;
    let texts = read_texts(work, build, &metas)?;
    let metas = read_metas(work, build, metas)?;
    let counted = read_counters(work, build, &metas)?;
    let texts = drop_superseded_texts(work, &metas, &counted, texts)?;
    let mut counted = drop_superseded(work, counted, &texts);
    let profile = merge_binary(work, &metas, &mut counted)?;
    let mut said = Vec::new();
    let (profile, texts) = merge_texts(work, profile, texts, &mut said)?;
    let mut commands = Vec::new();
    if !metas.is_empty() {
        commands = covdata_commands(!counted.is_empty() || texts.is_empty());
    }
    commands.append(&mut said);
    let files = match &profile {
        Some(profile) => {
            write_atomic(&work.out.join("profile.txt"), profile.to_text().as_bytes())?;
            model(work, profile, &metas)?
        }
        None => {
            let text = format!(
                "{} ({}): neither the bundle nor any process says what could run, \
                 so nothing of it is counted",
                work.bundle.component, build.identity
            );
            work.find("no-meta-data", text);
            Vec::new()
        }
    };
    work.keep_commands(&commands)?;
    let reach = match work.backend {
        Backend::Native => reach(work, &files, &metas, &counted, &texts)?,
        Backend::Tools { .. } => Reach::new(),
    };
    Ok(Binary {
        name: binary.name.clone(),
        identity: build.identity.clone(),
        profiles: (counted.len() + texts.len()) as u64,
        files,
        reach,
    })
}

/// Text profiles, each with the file it is from.
type Texts<'p> = Vec<(&'p Piece, Profile)>;

type Metas = BTreeMap<String, (Meta, Vec<u8>)>;

/// The meta-data that the bundle has of the build.
fn bundled_metas(work: &Work<'_>, build: &Build) -> Result<Metas, Error> {
    let mut metas = Metas::new();
    let binary = &work.bundle.binaries[build.binary];
    let known = [&build.identity]
        .into_iter()
        .chain(&binary.other_identities);
    for identity in known {
        let path = work
            .bundle_dir
            .join("meta")
            .join(format!("covmeta.{}", identity.hex()));
        if let Ok(bytes) = fs::read(&path) {
            let meta = files::read_meta(&bytes).map_err(|error| Error::Program {
                path,
                what: error.to_string(),
            })?;
            metas.insert(meta.hash.clone(), (meta, bytes));
        }
    }
    Ok(metas)
}

/// The meta-data of the build: the bundle's, and what its processes left.
fn read_metas(work: &mut Work<'_>, build: &Build, mut metas: Metas) -> Result<Metas, Error> {
    for piece in build
        .pieces
        .iter()
        .filter(|piece| piece.format == Format::Covmeta)
    {
        let bytes = piece.read()?;
        // It was read before; only its bytes could have changed since.
        let Ok(meta) = files::read_meta(&bytes) else {
            let reason = "it changed while it was read";
            refuse(work.ledger, work.quarantine, piece, reason)?;
            continue;
        };
        match metas.get(&meta.hash) {
            None => {
                metas.insert(meta.hash.clone(), (meta, bytes));
            }
            Some((_, known)) if *known == bytes => {}
            Some(_) => {
                let reason = "another file of the same hash has other content";
                refuse(work.ledger, work.quarantine, piece, reason)?;
            }
        }
    }
    Ok(metas)
}

fn read_counters<'p>(
    work: &mut Work<'_>,
    build: &'p Build,
    metas: &Metas,
) -> Result<Vec<Counted<'p>>, Error> {
    let mut good = Vec::new();
    for piece in &build.pieces {
        match piece.format {
            Format::Covcounters => {}
            Format::Covlive => {
                match read_live(work, build, metas, piece)? {
                    Ok(counted) => good.push(counted),
                    Err(reason) => {
                        refuse(work.ledger, work.quarantine, piece, &reason)?;
                    }
                }
                continue;
            }
            _ => continue,
        }
        let bytes = piece.read()?;
        let name = piece.path.file_name().unwrap_or_default().to_string_lossy();
        let read = files::read_counters(&bytes).map_err(|error| error.to_string());
        let fits = read.and_then(|counters| {
            let (meta, _) = metas
                .get(&counters.hash)
                .ok_or_else(|| format!("there is no covmeta.{} to read it by", counters.hash))?;
            meta.check(&counters).map_err(|misfit| misfit.to_string())?;
            Ok(counters)
        });
        match (fits, Name::parse(&name)) {
            (Ok(counters), Some(Name::Counters { pid, nanos, .. })) => {
                good.push(Counted {
                    piece,
                    counters,
                    pid,
                    nanos,
                    written: match piece.is_live {
                        true => Written::Ticker,
                        false => Written::ByGo,
                    },
                });
            }
            (Ok(_), _) => {
                let reason = "its name is not one that Go gives";
                refuse(work.ledger, work.quarantine, piece, reason)?;
            }
            (Err(reason), _) => {
                refuse(work.ledger, work.quarantine, piece, &reason)?;
            }
        }
    }
    Ok(good)
}

/// The hash that counters of the build have, for a process that was stopped
/// before it could say it: it is known by its build id.
fn hash_of<'m>(build: &'m Build, metas: &'m Metas) -> Option<&'m str> {
    match &build.identity {
        Identity::Covmeta(hash) => Some(hash),
        _ => metas.keys().next().filter(|_| metas.len() == 1),
    }
    .map(String::as_str)
}

/// Reads a mapped file; the inner error is why it cannot count.
fn read_live<'p>(
    work: &mut Work<'_>,
    build: &Build,
    metas: &Metas,
    piece: &'p Piece,
) -> Result<Result<Counted<'p>, String>, Error> {
    let bytes = piece.read()?;
    let mut live = match Live::parse(&bytes) {
        Ok(live) => live,
        Err(error) => return Ok(Err(error.to_string())),
    };
    if let Some(hash) = hash_of(build, metas) {
        live = live.of(hash);
    }
    let hash = live.hash.clone().unwrap_or_default();
    let Some((meta, _)) = metas.get(&hash) else {
        return Ok(Err(format!("there is no covmeta.{hash} to read it by")));
    };
    let mut functions = Vec::new();
    let seen = live.visit(meta, |entry| {
        functions.push(FunctionCounters {
            package: entry.package,
            function: entry.function,
            counts: entry.counts.to_vec(),
        });
        Ok::<(), Misfit>(())
    });
    let torn = match seen {
        Ok(seen) => seen.torn,
        Err(misfit) => return Ok(Err(misfit.to_string())),
    };
    if torn > 0 {
        let path = &work.ledger.incarnations[piece.incarnation].files[piece.file].path;
        let text = format!("{path}: {torn} functions had begun and not counted yet at its end");
        work.find("begun", text);
    }
    Ok(Ok(Counted {
        piece,
        pid: live.pid,
        nanos: live.started,
        written: Written::Mapped,
        counters: Counters {
            hash,
            segments: 1,
            functions,
        },
    }))
}

/// Takes out text profiles that a process wrote whose counters are mapped to a
/// file: that has all they say, and what ran after them.
fn drop_superseded_texts<'p>(
    work: &mut Work<'_>,
    metas: &Metas,
    counted: &[Counted<'_>],
    texts: Texts<'p>,
) -> Result<Texts<'p>, Error> {
    let mut kept = Vec::new();
    for (piece, text) in texts {
        let own = |one: &&Counted<'_>| {
            one.piece.incarnation == piece.incarnation && one.written == Written::Mapped
        };
        let is_mapped = counted.iter().any(|one| own(&one));
        if is_mapped && native::profile_of(metas, counted.iter().filter(own))?.includes(&text) {
            let reason = "the file that is mapped over the counters has all it says";
            decide(work.ledger, piece, Fate::Superseded, None, reason);
        } else {
            kept.push((piece, text));
        }
    }
    Ok(kept)
}

/// Keeps one set of counters of each process.
///
/// A file that is mapped over the counters of a process says all that it ever
/// counted, so nothing else of that process counts: what it wrote at its end,
/// which has the same process id and start for a name, and what the program
/// had written before.
///
/// Snapshots of a running process are cumulative: of those in `live/` the
/// newest counts, and none when the process also wrote at its end (counters
/// beside, or the text profile of a test binary). The same goes for counters
/// that a process wrote itself before its end; a later file of the same
/// process is a later snapshot when no count in it is smaller. One with a
/// smaller count is of a program that replaced itself (exec): it kept its pid
/// and counts from zero, so both count.
fn drop_superseded<'p>(
    work: &mut Work<'_>,
    mut all: Vec<Counted<'p>>,
    texts: &[(&Piece, Profile)],
) -> Vec<Counted<'p>> {
    // Newest first within a process, after what is believed more.
    all.sort_by_key(|c| {
        (
            c.piece.incarnation,
            c.counters.hash.clone(),
            c.pid,
            c.written,
            u64::MAX - c.nanos,
        )
    });
    let mut kept: Vec<Counted<'p>> = Vec::new();
    for counted in all {
        let is_of_pid = |other: &&Counted<'_>| {
            other.piece.incarnation == counted.piece.incarnation
                && other.pid == counted.pid
                && other.counters.hash == counted.counters.hash
        };
        // With exec a process id has several processes, one after the other.
        let mapped = kept
            .iter()
            .filter(is_of_pid)
            .filter(|other| other.written == Written::Mapped && other.nanos <= counted.nanos);
        let start = mapped.map(|other| other.nanos).max();
        let mut same = kept
            .iter()
            .filter(is_of_pid)
            .filter(|other| other.written != Written::Mapped || Some(other.nanos) == start);
        let same = match counted.written {
            Written::Mapped => None,
            _ => same.find(|other| {
                let is_exact = other.written == Written::Mapped && other.nanos == counted.nanos;
                is_exact
                    || other.written == Written::Mapped && counted.written == Written::Ticker
                    || includes(&other.counters, &counted.counters)
            }),
        };
        let at_end = texts
            .iter()
            .any(|(text, _)| text.incarnation == counted.piece.incarnation);
        let reason = match same.map(|other| other.written) {
            Some(Written::Mapped) => "the file that is mapped over the counters has all it says",
            Some(Written::Ticker) => "a later snapshot of the same process is there",
            Some(Written::ByGo) => "the same process wrote its counts again at its end",
            None if counted.written == Written::Ticker && at_end => {
                "the same process wrote a text profile at its end"
            }
            None => {
                kept.push(counted);
                continue;
            }
        };
        decide(work.ledger, counted.piece, Fate::Superseded, None, reason);
    }
    kept.sort_by(|a, b| a.piece.path.cmp(&b.piece.path));
    kept
}

/// Whether no count of `earlier` is larger than that of `later`. Go leaves out
/// functions that never ran, so one that is missing has counts of 0.
fn includes(later: &Counters, earlier: &Counters) -> bool {
    let later: BTreeMap<_, _> = later
        .functions
        .iter()
        .map(|f| ((f.package, f.function), &f.counts))
        .collect();
    earlier.functions.iter().all(|f| {
        let Some(counts) = later.get(&(f.package, f.function)) else {
            return f.counts.iter().all(|count| *count == 0);
        };
        counts.len() == f.counts.len() && counts.iter().zip(&f.counts).all(|(l, e)| l >= e)
    })
}

fn read_texts<'p>(
    work: &mut Work<'_>,
    build: &'p Build,
    bundled: &Metas,
) -> Result<Texts<'p>, Error> {
    let mut texts = Vec::new();
    let src = work.bundle_dir.join("src");
    let metas = bundled.values().map(|(meta, _)| meta);
    let mut fit = Fit::new(metas, &work.bundle.sources, &src);
    for piece in build
        .pieces
        .iter()
        .filter(|piece| piece.format == Format::Gotext)
    {
        let bytes = piece.read()?;
        let read = Profile::parse(&bytes).map_err(|error| error.to_string());
        match read.and_then(|profile| fit.check(&profile).map(|()| profile)) {
            Ok(profile) => texts.push((piece, profile)),
            Err(reason) => {
                refuse(work.ledger, work.quarantine, piece, &reason)?;
            }
        }
    }
    Ok(texts)
}

const MERGE: [&str; 5] = ["merge", "-i", "covdata", "-o", "merged"];
const TEXTFMT: [&str; 5] = ["textfmt", "-i", "merged", "-o", "covdata.txt"];

/// What gives the same numbers by hand. Where all that counts is in text
/// profiles, `covdata` knows of none of it, and its percentages would be wrong.
fn covdata_commands(with_numbers: bool) -> Vec<String> {
    let mut all: Vec<&[&str]> = vec![&MERGE, &TEXTFMT];
    if with_numbers {
        all.extend([
            &["percent", "-i", "merged"] as &[&str],
            &["func", "-i", "merged"],
        ]);
    }
    all.into_iter()
        .map(|args| command_line(Path::new("go"), &[&["tool", "covdata"], args].concat()))
        .collect()
}

/// Merges counters by the backend; gives the text profile it makes of them.
/// What it refuses is taken out of `counted`.
fn merge_binary(
    work: &mut Work<'_>,
    metas: &Metas,
    counted: &mut Vec<Counted<'_>>,
) -> Result<Option<Profile>, Error> {
    if metas.is_empty() {
        return Ok(None);
    }
    match work.backend {
        Backend::Native => native::merge(work, metas, counted).map(Some),
        Backend::Tools { .. } => tools::merge(work, metas, counted).map(Some),
    }
}

/// What each incarnation reached. One is looked at at a time.
fn reach(
    work: &Work<'_>,
    files: &[File],
    metas: &Metas,
    counted: &[Counted<'_>],
    texts: &Texts<'_>,
) -> Result<Reach, Error> {
    let of_counters = counted.iter().map(|one| one.piece.incarnation);
    let of_texts = texts.iter().map(|(piece, _)| piece.incarnation);
    let incarnations: BTreeSet<usize> = of_counters.chain(of_texts).collect();
    let lines = |profile: &Profile| {
        let counted = |name| work.filter.counted(&work.bundle.sources, name);
        let names = profile.files.keys().rev();
        let names: BTreeMap<String, &String> = names
            .filter_map(|name| Some((counted(name)?, name)))
            .collect();
        lines_reached(files, |file| {
            let name = names.get(&file.path)?;
            Some(lines::lines(&profile.files[*name]))
        })
    };
    let mut reach = Reach::new();
    for incarnation in incarnations {
        work.cancel.check()?;
        let own = |one: &&Counted<'_>| one.piece.incarnation == incarnation;
        let mut profiles = Vec::new();
        if counted.iter().any(|one| own(&one)) {
            profiles.push(native::profile_of(metas, counted.iter().filter(own))?);
        }
        let own_texts = texts.iter().filter(|(p, _)| p.incarnation == incarnation);
        let profiles: Vec<&Profile> = profiles.iter().chain(own_texts.map(|(_, p)| p)).collect();
        let sets = profiles.into_iter().map(lines);
        let set = sets.fold(BitSet::new(), |all, set| all.union(&set));
        reach.insert(key(work.ledger, incarnation), set);
    }
    phases::reach(work, metas, counted, texts, lines, &mut reach)?;
    Ok(reach)
}

/// Puts meta-data and counters into one folder, as `covdata` wants them. Two
/// pods may have used one process id in the same nanosecond, so the number of
/// the file takes the place of the process id. Command lines, which Go writes
/// into its counters, stay with the evidence.
fn stage(work: &Work<'_>, metas: &Metas, counted: &[Counted<'_>]) -> Result<(), Error> {
    let (dir, merged) = (work.out.join("covdata"), work.out.join("merged"));
    for dir in [&dir, &merged] {
        remove_if_there(dir)?;
        make_dir(dir)?;
    }
    for (hash, (_, bytes)) in metas {
        write_atomic(&dir.join(format!("covmeta.{hash}")), bytes)?;
    }
    for (number, counted) in counted.iter().enumerate() {
        let hash = &counted.counters.hash;
        let to = dir.join(format!(
            "covcounters.{hash}.{}.{}",
            number + 1,
            counted.nanos
        ));
        // Go's tools know no mapped files.
        if let (Written::Mapped, Some((meta, _))) = (counted.written, metas.get(hash)) {
            let mut sum = Sum::new(meta);
            counted.add_to(&mut sum)?;
            write_atomic(&to, &sum.to_counters())?;
            continue;
        }
        let bytes = counted.piece.read()?;
        let file = CounterFile::parse(&bytes).and_then(|file| file.without_command_lines());
        // It was read before, so there is nothing to fail.
        let bytes = file.map_err(|error| Error::Program {
            path: counted.piece.path.clone(),
            what: error.to_string(),
        })?;
        fs::write(&to, bytes).map_err(Error::io("write", &to))?;
    }
    Ok(())
}

/// Adds text profiles, and refuses those that do not fit the others.
fn merge_texts<'p>(
    work: &mut Work<'_>,
    profile: Option<Profile>,
    texts: Texts<'p>,
    commands: &mut Vec<String>,
) -> Result<(Option<Profile>, Texts<'p>), Error> {
    let (mut sum, mut good) = (profile, Vec::new());
    for (piece, text) in texts {
        let sum = sum.get_or_insert_with(|| Profile::new(text.mode));
        if let Err(error) = sum.merge(&text) {
            let reason = format!("it does not fit the other profiles of its build: {error}");
            refuse(work.ledger, work.quarantine, piece, &reason)?;
            continue;
        }
        let path = from(&work.out, &piece.path);
        commands.push(format!(
            "# profile.txt is the sum, block by block, of {}",
            path.display()
        ));
        good.push((piece, text));
    }
    if !good.is_empty() {
        // Go looks packages up where it is started; from here it finds none.
        commands.push("# in the module's folder: go tool cover -func=…/profile.txt".to_owned());
    }
    Ok((sum, good))
}

fn model(work: &mut Work<'_>, profile: &Profile, metas: &Metas) -> Result<Vec<File>, Error> {
    let mut packages: BTreeMap<&str, &str> = BTreeMap::new();
    let mut placed: BTreeMap<&str, Vec<Placed>> = BTreeMap::new();
    for (meta, _) in metas.values() {
        for package in meta.packages() {
            for function in package.functions() {
                packages.insert(function.file(), package.path());
            }
        }
        for (file, functions) in functions(meta) {
            placed.entry(file).or_insert(functions);
        }
    }
    let sources = &work.bundle.sources;
    let counted: BTreeMap<String, &String> = profile
        .files
        .keys()
        .filter_map(|file| Some((work.filter.counted(sources, file)?, file)))
        .collect();
    let unplaced: Vec<_> = counted
        .iter()
        .filter(|(_, file)| !placed.contains_key(file.as_str()))
        .collect();
    let unplaced: BTreeMap<&str, &str> = unplaced
        .into_iter()
        .map(|(name, file)| (file.as_str(), name.as_str()))
        .collect();
    let from_source = match (find_go(), work.backend) {
        // Lines and statements are the same without them.
        (Err(error), Backend::Native) if !unplaced.is_empty() => {
            let component = &work.bundle.component;
            let text = format!("{component}: no functions are known of what it ran: {error}");
            work.find("no-functions", text);
            BTreeMap::new()
        }
        _ => functions_from_source(work, profile, &unplaced)?,
    };
    let mut files = Vec::new();
    for (path, file) in &counted {
        let known = placed
            .get(file.as_str())
            .or_else(|| from_source.get(file.as_str()));
        let package = packages.get(file.as_str()).copied();
        let folder = || {
            file.rsplit_once('/')
                .map_or(file.as_str(), |(folder, _)| folder)
        };
        files.push(lines::file(
            path.clone(),
            package.unwrap_or_else(folder).to_owned(),
            &profile.files[*file],
            known.map_or(&[], Vec::as_slice),
        ));
    }
    if counted.is_empty() {
        let text = format!(
            "{}: none of the sources that Go's profile names is one of the bundle's",
            work.bundle.component
        );
        work.find("no-sources", text);
    }
    Ok(files)
}
