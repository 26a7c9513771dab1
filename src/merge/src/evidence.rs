//! Sorting evidence by the build it comes from, and the fate of each file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use podcov_process::Cancel;
use podcov_profile::bundle::Bundle;
use podcov_profile::ledger::{Fate, File, Format, Incarnation, Ledger, fate_of};
use podcov_profile::names::Language;
use podcov_profile::{Identity, Problem, classify};
use sha2::{Digest, Sha256};

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
    /// What it is.
    pub format: Format,
    /// A snapshot of a process that was still running.
    pub is_live: bool,
}

/// Sets a file's fate.
pub(crate) fn decide(ledger: &mut Ledger, piece: &Piece, fate: Fate, reason: &str) {
    let file = &mut ledger.incarnations[piece.incarnation].files[piece.file];
    file.fate = fate;
    file.reason = reason.to_owned();
}

/// Refuses a file: fate, reason, and a copy in the quarantine.
pub(crate) fn refuse(
    ledger: &mut Ledger,
    quarantine: &Quarantine<'_>,
    piece: &Piece,
    fate: Fate,
    reason: &str,
) -> Result<(), Error> {
    decide(ledger, piece, fate, reason);
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
            // What was rejected once, here or when it was collected, stays so.
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
                format: file.format,
            };
            let verdict = match file.fate {
                Fate::Rejected => Err((Fate::Rejected, file.reason.clone())),
                _ => look(file, &piece.path).and_then(|classified| {
                    if !seen.insert(origin(incarnation, file)) {
                        let reason = "the same file of the same process is there already";
                        return Err((Fate::Duplicate, reason.to_owned()));
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
                    decide(ledger, &piece, Fate::Merged, "");
                    builds.entry(key).or_default().push(piece);
                }
                Err((fate @ (Fate::Rejected | Fate::Foreign), reason)) => {
                    refuse(ledger, quarantine, &piece, fate, &reason)?;
                }
                Err((fate, reason)) => decide(ledger, &piece, fate, &reason),
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

type Verdict<T> = Result<T, (Fate, String)>;

/// Reads a file and says what it is, or why it cannot count.
fn look(file: &File, path: &Path) -> Verdict<podcov_profile::Classified> {
    let rejected = |reason: String| (Fate::Rejected, reason);
    if relative(&file.path).is_none() {
        return Err(rejected(
            "its path leaves the folder of evidence".to_owned(),
        ));
    }
    // A link that a pod left could point anywhere, and a file may claim to be
    // larger than memory without taking any space.
    let kind = fs::symlink_metadata(path)
        .ok()
        .filter(|kind| kind.is_file());
    if kind.as_ref().is_some_and(|kind| kind.len() > MAX_FILE) {
        return Err(rejected(format!(
            "it is larger than {} GiB",
            MAX_FILE >> 30
        )));
    }
    if kind.is_none() {
        return Err(rejected(
            "it is no file in the folder of evidence".to_owned(),
        ));
    }
    let bytes = fs::read(path).map_err(|error| rejected(format!("it cannot be read: {error}")))?;
    let sha256: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if sha256 != file.sha256 {
        return Err(rejected(
            "it is not what was collected: its SHA-256 differs".to_owned(),
        ));
    }
    let classified = classify(&file.path, &bytes);
    match &classified.problem {
        None if classified.format == Format::Unknown => Err(rejected(
            "no format of coverage that podcov knows".to_owned(),
        )),
        None => Ok(classified),
        Some(problem @ Problem::Empty) => Err((Fate::Empty, problem.to_string())),
        Some(problem) => Err(rejected(problem.to_string())),
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
    Err((Fate::Foreign, reason))
}

/// Brings the fates of incarnations in line with those of their files: one
/// whose evidence turned out not to count is no longer collected.
pub(crate) fn settle(ledger: &mut Ledger) {
    for incarnation in &mut ledger.incarnations {
        if incarnation.fate != Fate::Collected {
            continue;
        }
        (incarnation.fate, incarnation.reason) = fate_of(&incarnation.files);
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
            fate: Fate::Collected,
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
