//! The files of a coverage folder: their names, and which belong together.
//!
//! A program built with `-cover` writes `covmeta.<hash>` when it starts (what
//! could run) and `covcounters.<hash>.<pid>.<nanoseconds>` when it ends (how
//! often it ran); the hash is that of the meta-data and so names the build
//! (`internal/coverage/cfile/emit.go`, Go 1.26). Go's tools go by the names
//! alone and pass over counters without meta-data in silence
//! (`internal/coverage/pods/pods.go`); here what does not belong to anything is
//! a [`Finding`].

use std::collections::BTreeMap;
use std::fmt;

use crate::Identity;
use crate::go::counters::CounterFile;
use crate::go::live::{Live, is_live};
use crate::go::meta::Misfit;

pub use crate::go::counters::{Counters, FunctionCounters, is_counters, read_counters};
pub use crate::go::meta::{Function, Granularity, Meta, Mode, Package, Unit, is_meta, read_meta};

impl Meta {
    /// Checks that counters fit this meta-data.
    pub fn check(&self, counters: &Counters) -> Result<(), Misfit> {
        if counters.hash != self.hash {
            return Err(Misfit::Build {
                expected: self.hash.clone(),
                found: counters.hash.clone(),
            });
        }
        for entry in &counters.functions {
            self.place(entry.package, entry.function, entry.counts.len() as u64)?;
        }
        Ok(())
    }
}

/// What a file's name says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// `covmeta.<hash>`.
    Meta {
        /// Hash of the meta-data, hex.
        hash: String,
    },
    /// `covcounters.<hash>.<pid>.<nanoseconds>`.
    Counters {
        /// Hash of the meta-data, hex.
        hash: String,
        /// Process id in its container.
        pid: u64,
        /// When it was written, since 1970.
        nanos: u64,
    },
    /// `covlive.<pid>.<nanoseconds>`.
    Live {
        /// Process id in its container.
        pid: u64,
        /// When the process started, since 1970.
        nanos: u64,
    },
    /// `tmp.cov…`: a process was stopped while it wrote this file.
    Leftover,
}

impl Name {
    /// Reads a file name, without its directory.
    pub fn parse(name: &str) -> Option<Name> {
        let is_hash = |hash: &str| {
            hash.len() == 32
                && hash
                    .bytes()
                    .all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
        };
        let number = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| text.parse().ok())
                .flatten()
        };
        if ["tmp.covmeta.", "tmp.covcounters.", "tmp.covlive."]
            .iter()
            .any(|start| name.starts_with(start))
        {
            return Some(Name::Leftover);
        }
        let parts: Vec<&str> = name.split('.').collect();
        match *parts.as_slice() {
            ["covmeta", hash] if is_hash(hash) => Some(Name::Meta {
                hash: hash.to_owned(),
            }),
            ["covcounters", hash, pid, nanos] if is_hash(hash) => Some(Name::Counters {
                hash: hash.to_owned(),
                pid: number(pid)?,
                nanos: number(nanos)?,
            }),
            ["covlive", pid, nanos] => Some(Name::Live {
                pid: number(pid)?,
                nanos: number(nanos)?,
            }),
            _ => None,
        }
    }

    /// The build it names.
    pub fn identity(&self) -> Option<Identity> {
        match self {
            Name::Meta { hash } | Name::Counters { hash, .. } => {
                Some(Identity::Covmeta(hash.clone()))
            }
            Name::Live { .. } | Name::Leftover => None,
        }
    }

    /// The name of the one file of counters that a merge leaves for a build.
    pub fn merged(hash: &str) -> Name {
        Name::Counters {
            hash: hash.to_owned(),
            pid: 0,
            nanos: 0,
        }
    }
}

/// The file name; a leftover has none of its own.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Meta { hash } => write!(f, "covmeta.{hash}"),
            Name::Counters { hash, pid, nanos } => write!(f, "covcounters.{hash}.{pid}.{nanos}"),
            Name::Live { pid, nanos } => write!(f, "covlive.{pid}.{nanos}"),
            Name::Leftover => f.write_str("tmp"),
        }
    }
}

/// What a file of a coverage folder is, by its content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Meta-data of this hash.
    Meta(String),
    /// Counters, or a live file, of this hash.
    Counters(String),
}

impl Part {
    /// What bytes are, by their header alone.
    pub fn of(bytes: &[u8]) -> Option<Part> {
        if is_live(bytes) {
            return Live::parse(bytes).ok()?.hash.map(Part::Counters);
        }
        if is_meta(bytes) {
            let hash = bytes.get(24..40)?;
            return Some(Part::Meta(crate::bytes::hex(hash)));
        }
        let file = CounterFile::parse(bytes).ok()?;
        Some(Part::Counters(file.hash))
    }
}

/// What does not belong to anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Orphan {
    /// No meta-data say what was counted: it cannot be counted.
    CountersWithoutMeta,
    /// The program started, and no process of it wrote what it did: it says
    /// what could run, and nothing of what ran.
    MetaWithoutCounters,
}

/// Files that do not belong to anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is missing.
    pub kind: Orphan,
    /// Hash of the build.
    pub hash: String,
    /// The files, in the order they were given.
    pub files: Vec<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hash, files) = (&self.hash, self.files.join(", "));
        match self.kind {
            Orphan::CountersWithoutMeta => {
                write!(
                    f,
                    "there is no covmeta.{hash} to read these counters by: {files}"
                )
            }
            Orphan::MetaWithoutCounters => write!(
                f,
                "no counters of covmeta.{hash}: its processes were stopped before they wrote: {files}"
            ),
        }
    }
}

/// The files of one build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Meta-data; several files of one hash should say the same.
    pub meta: Vec<String>,
    /// Counters.
    pub counters: Vec<String>,
}

/// Puts the files of any number of folders together by build. The names are for
/// messages; what a file is, its content says.
pub fn group<'f>(
    files: impl IntoIterator<Item = (&'f str, Part)>,
) -> (BTreeMap<String, Group>, Vec<Finding>) {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for (name, part) in files {
        match part {
            Part::Meta(hash) => groups.entry(hash).or_default().meta.push(name.to_owned()),
            Part::Counters(hash) => {
                let group = groups.entry(hash).or_default();
                group.counters.push(name.to_owned());
            }
        }
    }
    let mut findings = Vec::new();
    for (hash, group) in &groups {
        let (kind, files) = match (group.meta.is_empty(), group.counters.is_empty()) {
            (true, _) => (Orphan::CountersWithoutMeta, &group.counters),
            (false, true) => (Orphan::MetaWithoutCounters, &group.meta),
            (false, false) => continue,
        };
        findings.push(Finding {
            kind,
            hash: hash.clone(),
            files: files.clone(),
        });
    }
    (groups, findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_nothing_is_found() {
        let [one, two, three] = ["1", "2", "3"].map(|digit| digit.repeat(32));
        let files = [
            ("b/covcounters.3", Part::Counters(three.clone())),
            ("a/covmeta.1", Part::Meta(one.clone())),
            ("a/covcounters.1", Part::Counters(one.clone())),
            ("b/covmeta.1", Part::Meta(one.clone())),
            ("a/covmeta.2", Part::Meta(two.clone())),
            ("a/covcounters.3", Part::Counters(three.clone())),
        ];
        let (groups, findings) = group(files);
        let group = &groups[&one];
        assert_eq!(group.meta, ["a/covmeta.1", "b/covmeta.1"]);
        assert_eq!(group.counters, ["a/covcounters.1"]);
        let found: Vec<String> = findings.iter().map(Finding::to_string).collect();
        let expected = [
            format!(
                "no counters of covmeta.{two}: its processes were stopped before they wrote: \
                 a/covmeta.2"
            ),
            format!(
                "there is no covmeta.{three} to read these counters by: \
                 b/covcounters.3, a/covcounters.3"
            ),
        ];
        assert_eq!(found, expected);
        assert_eq!(findings[0].kind, Orphan::MetaWithoutCounters);
        assert_eq!(findings[1].kind, Orphan::CountersWithoutMeta);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let hash = "0a".repeat(16);
        let names = [
            Name::Meta { hash: hash.clone() },
            Name::merged(&hash),
            Name::Live { pid: 1, nanos: 2 },
        ];
        for name in names {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        for name in ["covlive.1", "covlive.1.x", "covlive.1.2.3", "covlive.-1.2"] {
            assert_eq!(Name::parse(name), None, "{name}");
        }
    }
}
