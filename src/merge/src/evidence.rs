//! Sorting evidence by the build it comes from, and the fate of each file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use podcov_process::{Cancel, Cancelled};
use podcov_profile::bundle::Bundle;
use podcov_profile::ledger::{Cause, Fate, File, Format, Incarnation, Ledger, Seal};
use podcov_profile::names::Language;
use podcov_profile::{Identity, Problem, classify};

use crate::Error;
use crate::quarantine::{Quarantine, relative};

/// No profile of one process is larger; what is was not written by one.
const MAX_FILE: u64 = 2 << 30;

/// One build of one component, with the files it left.
pub(crate) struct Build {
    /// Index into the job's components.
    pub component: usize,
    /// Index into the bundle's binaries.
    pub binary: usize,
    /// What it is called by.
    pub identity: Identity,
    /// Its good files, ordered by path.
    pub pieces: Vec<Piece>,
}

/// A file of evidence that may count.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Index into the ledger's incarnations.
    pub incarnation: usize,
    /// Index into the incarnation's files.
    pub file: usize,
    /// Where it is.
    pub path: PathBuf,
    /// What it was when it was collected.
    seal: Seal,
    /// What it is.
    pub format: Format,
    /// A snapshot of a process that was still running.
    pub is_live: bool,
}

impl Piece {
    /// Its bytes, which are those that were collected. Their seal held when
    /// the evidence was sorted; each later read is held against it, too.
    pub fn read(&self) -> Result<Vec<u8>, Error> {
        let bytes = fs::read(&self.path).map_err(Error::io("read", &self.path))?;
        self.seal.check(&bytes).map_err(|broken| Error::Changed {
            path: self.path.clone(),
            broken,
        })?;
        Ok(bytes)
    }
}

/// Sets a file's fate; `cause` says why it does not count although it should.
pub(crate) fn decide(
    ledger: &mut Ledger,
    piece: &Piece,
    fate: Fate,
    cause: Option<Cause>,
    reason: &str,
) {
    let file = &mut ledger.incarnations[piece.incarnation].files[piece.file];
    (file.fate, file.cause) = (fate, cause);
    file.reason = reason.to_owned();
}

/// Rejects a file for what it holds: reason, and a copy in the quarantine.
pub(crate) fn refuse(
    ledger: &mut Ledger,
    quarantine: &Quarantine<'_>,
    piece: &Piece,
    reason: &str,
) -> Result<(), Error> {
    decide(ledger, piece, Fate::Rejected, Some(Cause::Damaged), reason);
    quarantine.keep(&ledger.incarnations[piece.incarnation].files[piece.file])
}

/// Reads every file of the ledger, decides what each is, and gives the builds
/// of all bundles, those that left nothing as well, with what counts for them.
pub(crate) fn sort(
    ledger: &mut Ledger,
    components: &[(Bundle, PathBuf)],
    evidence: &Path,
    quarantine: &Quarantine<'_>,
    cancel: &Cancel,
) -> Result<Vec<Build>, Error> {
    let mut builds: BTreeMap<(usize, usize, Identity), Vec<Piece>> = BTreeMap::new();
    for (component, (bundle, _)) in components.iter().enumerate() {
        for (binary, known) in bundle.binaries.iter().enumerate() {
            if let Some(identity) = &known.identity {
                builds.insert((component, binary, identity.clone()), Vec::new());
            }
        }
    }
    let mut seen = BTreeSet::new();
    for index in 0..ledger.incarnations.len() {
        for number in 0..ledger.incarnations[index].files.len() {
            cancel.check()?;
            let incarnation = &ledger.incarnations[index];
            let file = &incarnation.files[number];
            if is_broken(file) {
                quarantine.keep(file)?;
                continue;
            }
            if matches!(file.fate, Fate::Record | Fate::Missing) || file.format == Format::Record {
                continue;
            }
            let path = evidence.join(relative(&file.path).unwrap_or_default());
            let mut piece = Piece {
                incarnation: index,
                file: number,
                is_live: path
                    .parent()
                    .and_then(Path::file_name)
                    .is_some_and(|dir| dir == "live"),
                path,
                seal: Seal {
                    size: file.size,
                    sha256: file.sha256.clone(),
                },
                format: file.format,
            };
            let verdict = match file.fate {
                // What was rejected once, here or when it was collected, stays
                // so.
                Fate::Rejected => Err((Fate::Rejected, file.cause, file.reason.clone())),
                _ => look(file, &piece.path).and_then(|classified| {
                    if !seen.insert(origin(incarnation, file)) {
                        let reason = "the same file of the same process is there already";
                        return Err((Fate::Duplicate, None, reason.to_owned()));
                    }
                    let build = build_of(incarnation, &classified.identities, components)?;
                    Ok((classified, build))
                }),
            };
            match verdict {
                Ok((classified, key)) => {
                    piece.format = classified.format;
                    let file = &mut ledger.incarnations[index].files[number];
                    file.format = classified.format;
                    if classified.identities.len() == 1 {
                        file.identity = classified.identities.into_iter().next();
                    }
                    decide(ledger, &piece, Fate::Merged, None, "");
                    builds.entry(key).or_default().push(piece);
                }
                Err((fate, cause, reason)) => {
                    decide(ledger, &piece, fate, cause, &reason);
                    if matches!(fate, Fate::Rejected | Fate::Foreign) {
                        quarantine.keep(&ledger.incarnations[index].files[number])?;
                    }
                }
            }
        }
    }
    let build = |((component, binary, identity), mut pieces): (_, Vec<Piece>)| {
        pieces.sort_by(|a, b| a.path.cmp(&b.path));
        Build {
            component,
            binary,
            identity,
            pieces,
        }
    };
    Ok(builds.into_iter().map(build).collect())
}

type Verdict<T> = Result<T, (Fate, Option<Cause>, String)>;

/// Holds every file of the ledger against its seal, records and files without
/// counts as well: one that is gone is missing, one that is another is
/// rejected, and the incarnation with them. Says how many files are so.
pub fn verify(ledger: &mut Ledger, evidence: &Path, cancel: &Cancel) -> Result<u64, Cancelled> {
    let mut broken = 0;
    for incarnation in &mut ledger.incarnations {
        let mut is_other = false;
        for file in incarnation.files.iter_mut().filter(|file| file.is_sealed()) {
            cancel.check()?;
            if let Some(why) = unsealed(file, evidence) {
                is_other = true;
                broken += 1;
                (file.fate, file.cause, file.reason) = why;
            }
        }
        if is_other {
            incarnation.settle();
        }
    }
    Ok(broken)
}

/// Forgets what an earlier merge said of files that were gone or others:
/// what is restored counts again.
pub(crate) fn forget_broken_seals(ledger: &mut Ledger) {
    for incarnation in &mut ledger.incarnations {
        let mut broken = incarnation.files.iter_mut().filter(|file| is_broken(file));
        let mut was_broken = false;
        for file in &mut broken {
            was_broken = true;
            file.fate = match file.format {
                Format::Record => Fate::Record,
                _ => Fate::Merged,
            };
            file.cause = None;
            file.reason.clear();
        }
        if was_broken {
            incarnation.settle();
        }
    }
}

fn is_broken(file: &File) -> bool {
    file.is_sealed() && file.cause.is_some_and(Cause::is_by_seal)
}

/// What became of a file that is not what was collected.
fn unsealed(file: &File, evidence: &Path) -> Option<(Fate, Option<Cause>, String)> {
    let missing = |reason: String| Some((Fate::Missing, Some(Cause::Removed), reason));
    let Some(relative) = relative(&file.path) else {
        let reason = "its path leaves the folder of evidence".to_owned();
        return Some((Fate::Rejected, Some(Cause::Refused), reason));
    };
    let path = evidence.join(relative);
    // A link that a pod left could point anywhere, and a file may claim to be
    // larger than memory without taking any space.
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return missing("it is not there any more since it was collected".to_owned());
        }
        Err(error) => return missing(format!("it cannot be looked at: {error}")),
        Ok(kind) if !kind.is_file() || kind.len() != file.size => {
            let reason = match kind.is_file() {
                true => format!(
                    "it is not what was collected: it has {} bytes, it had {}",
                    kind.len(),
                    file.size
                ),
                false => "it is no file in the folder of evidence".to_owned(),
            };
            return Some((Fate::Rejected, Some(Cause::Changed), reason));
        }
        Ok(_) => {}
    }
    match fs::read(&path) {
        Err(error) => missing(format!("it cannot be read: {error}")),
        Ok(bytes) => match file.check(&bytes) {
            Ok(()) => None,
            Err(broken) => Some((Fate::Rejected, Some(Cause::Changed), broken.to_string())),
        },
    }
}

/// Reads a file and says what it is, or why it cannot count.
fn look(file: &File, path: &Path) -> Verdict<podcov_profile::Classified> {
    let rejected = |cause, reason: String| (Fate::Rejected, Some(cause), reason);
    if file.size > MAX_FILE || !file.is_sealed() {
        let reason = match file.is_sealed() {
            true => format!("it is larger than {} GiB", MAX_FILE >> 30),
            false => "nothing says what it was when it was collected".to_owned(),
        };
        return Err(rejected(Cause::Refused, reason));
    }
    let bytes = fs::read(path);
    let bytes =
        bytes.map_err(|error| rejected(Cause::Removed, format!("it cannot be read: {error}")))?;
    file.check(&bytes)
        .map_err(|broken| rejected(Cause::Changed, broken.to_string()))?;
    let classified = classify(&file.path, &bytes);
    match &classified.problem {
        None if classified.format == Format::Unknown => Err(rejected(
            Cause::Damaged,
            "no format of coverage that podcov knows".to_owned(),
        )),
        None => Ok(classified),
        Some(problem @ Problem::Empty) => {
            Err((Fate::Empty, Some(problem.cause()), problem.to_string()))
        }
        Some(problem) => Err(rejected(problem.cause(), problem.to_string())),
    }
}

/// The process that wrote a file, and the file: what is the same in both is
/// one piece of evidence, delivered twice. Equal bytes alone prove nothing:
/// two replicas can honestly count the same.
fn origin(incarnation: &Incarnation, file: &File) -> (String, String, String) {
    let Incarnation {
        namespace,
        pod,
        pod_uid,
        container,
        id,
        ..
    } = incarnation;
    let Some(id) = id else {
        return (String::new(), file.path.clone(), String::new());
    };
    let within = match file.path.split_once(&format!("/{id}/")) {
        Some((_, within)) => within,
        None => file.path.rsplit('/').next().unwrap_or_default(),
    };
    let process = format!("{namespace}/{pod}_{pod_uid}/{container}/{id}");
    (process, within.to_owned(), file.sha256.clone())
}

/// The build a file belongs to. What the file says goes before what the
/// launcher said, because a process may start others. A build that several
/// components have belongs to the one whose container left the file.
fn build_of(
    incarnation: &Incarnation,
    identities: &[Identity],
    components: &[(Bundle, PathBuf)],
) -> Verdict<(usize, usize, Identity)> {
    let own = components
        .iter()
        .position(|(bundle, _)| bundle.component == incarnation.component);
    let order = || {
        own.into_iter()
            .chain((0..components.len()).filter(|i| Some(*i) != own))
    };
    let stated = match identities {
        [] => incarnation.identity.as_slice(),
        identities => identities,
    };
    for index in order() {
        let bundle = &components[index].0;
        for identity in stated {
            let is_it = |binary: &podcov_profile::bundle::Binary| {
                binary.identity.as_ref() == Some(identity)
                    || binary.other_identities.contains(identity)
            };
            if let Some(binary) = bundle.binaries.iter().position(is_it) {
                let known = bundle.binaries[binary]
                    .identity
                    .as_ref()
                    .unwrap_or(identity);
                return Ok((index, binary, known.clone()));
            }
        }
    }
    // A Go program built for another machine could not be asked for its hash.
    if let (Some(index), [identity @ Identity::Covmeta(_)]) = (own, stated) {
        let bundle = &components[index].0;
        let unknown = bundle
            .binaries
            .iter()
            .position(|binary| binary.identity.is_none());
        if let (Language::Go, Some(binary)) = (bundle.language, unknown) {
            return Ok((index, binary, identity.clone()));
        }
    }
    // A text profile, or a profile of a program linked without a build id, says
    // nothing; if the launcher did not either, the container's image is left.
    if let (Some(index), []) = (own, stated)
        && let [binary] = components[index].0.binaries.as_slice()
        && let Some(known) = binary.identity.as_ref().or(binary.other_identities.first())
    {
        return Ok((index, 0, known.clone()));
    }
    let reason = match stated {
        [] => "nothing says which build it comes from".to_owned(),
        [identity, ..] => format!("no bundle of this run has the build {identity}"),
    };
    Err((Fate::Foreign, Some(Cause::ForeignBuild), reason))
}

/// Brings the fates of incarnations in line with those of their files: one
/// whose evidence turned out not to count is no longer collected.
pub(crate) fn settle(ledger: &mut Ledger) {
    for incarnation in &mut ledger.incarnations {
        if incarnation.fate == Fate::Collected {
            incarnation.settle();
        }
    }
}

#[cfg(test)]
mod tests {
    use podcov_profile::ledger::Ended;

    use super::*;

    fn check(files: &[(&str, Format, Fate)], expected: Fate) {
        let file = |(path, format, fate): &(&str, Format, Fate)| File {
            path: format!("n/p_u/c/i/{path}"),
            format: *format,
            size: 1,
            sha256: String::new(),
            identity: None,
            fate: *fate,
            cause: None,
            reason: String::new(),
        };
        let incarnation = Incarnation {
            component: "op".to_owned(),
            namespace: "n".to_owned(),
            pod: "p".to_owned(),
            pod_uid: "u".to_owned(),
            container: "c".to_owned(),
            id: Some("i".to_owned()),
            restart: None,
            phase: None,
            identity: None,
            start: None,
            end: None,
            ended: Ended::default(),
            interval_ms: None,
            fate: Fate::Collected,
            cause: None,
            reason: String::new(),
            files: files.iter().map(file).collect(),
        };
        let mut ledger = Ledger {
            incarnations: vec![incarnation],
            ..Ledger::default()
        };
        settle(&mut ledger);
        let incarnation = &ledger.incarnations[0];
        assert_eq!(incarnation.fate, expected, "{files:?}");
        assert_eq!(
            incarnation.reason.is_empty(),
            expected == Fate::Collected,
            "{files:?}"
        );
    }

    #[test]
    fn an_incarnation_is_collected_only_when_all_of_it_counts() {
        use Fate::{Collected, Empty, Foreign, Merged, Rejected, Superseded};
        use Format::{Covcounters, Covmeta, Profraw, Record};
        let start = ("start.json", Record, Fate::Record);
        let meta = ("covmeta.1", Covmeta, Merged);
        let live = |fate| ("live/covcounters.1.1.1", Covcounters, fate);
        let end = |fate| ("covcounters.1.1.2", Covcounters, fate);
        check(&[start, ("a.profraw", Profraw, Merged)], Collected);
        check(&[start], Empty);
        check(
            &[
                ("a.profraw", Profraw, Merged),
                ("b.profraw", Profraw, Empty),
            ],
            Empty,
        );
        check(
            &[
                ("a.profraw", Profraw, Merged),
                ("b.profraw", Profraw, Foreign),
            ],
            Foreign,
        );
        check(&[meta], Empty);
        check(&[meta, live(Merged)], Collected);
        check(&[meta, live(Superseded), end(Merged)], Collected);
        check(&[meta, live(Rejected), end(Merged)], Collected);
        check(&[meta, live(Merged), end(Rejected)], Rejected);
        check(&[meta, live(Rejected)], Rejected);
        let leftover = ("tmp.covcounters.1.1.3", Covcounters, Rejected);
        check(&[meta, live(Merged), leftover], Collected);
        check(&[meta, leftover], Rejected);
    }
}
