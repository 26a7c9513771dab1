//! Which evidence it is: the key by which the same evidence given twice is
//! recognised and counted once.
//!
//! A digest of the bytes would not do: two replicas that did the same leave
//! equal bytes, and both count. So a [`Key`] says who produced the counts. In
//! a run of podcov that is the process: run, pod, container, incarnation, and
//! its file. Of a plain file nobody knows the process; there it is the place
//! the file was read from. Keys hold no absolute path: of a place they keep a
//! digest, and a label for people.

use std::fmt;

use sha2::{Digest, Sha256};

/// How many components of a path a label has.
const LABEL: usize = 3;

/// Names one piece of evidence: what one process counted into one file.
/// Ordered by its fields, so that a list of evidence has one order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The run it is of; for plain files the origin that was given for them,
    /// else empty.
    pub run: String,
    /// `namespace/pod uid/container/incarnation`; empty for plain files.
    pub process: String,
    /// The file in the incarnation's folder; for plain files a label.
    pub file: String,
    /// Digest of the place a plain file was read from; zeros for a process.
    pub place: [u8; 16],
    /// Which profile in the file, from 0: a process may write several.
    pub part: u32,
}

impl Key {
    /// The key of what a process of a run wrote to `file`.
    pub fn of_process(
        run: impl Into<String>,
        process: impl Into<String>,
        file: impl Into<String>,
    ) -> Self {
        Key {
            run: run.into(),
            process: process.into(),
            file: file.into(),
            ..Key::default()
        }
    }

    /// The key of the plain file at the canonical path `place`. `origin` tells
    /// apart machines whose paths are the same.
    ///
    /// The label is the end of the path, so that the same place has the same
    /// key from wherever it was named. Paths are bytes: two that differ in those
    /// that are no UTF-8 have one label, and two keys.
    pub fn of_file(origin: impl Into<String>, place: impl AsRef<[u8]>) -> Self {
        let place = place.as_ref();
        let digest = Sha256::digest(place);
        let place = String::from_utf8_lossy(place);
        let mut short = [0; 16];
        for (to, from) in short.iter_mut().zip(digest) {
            *to = from;
        }
        let parts = place.rsplit('/').filter(|part| !part.is_empty());
        let mut label: Vec<&str> = parts.take(LABEL).collect();
        label.reverse();
        Key {
            run: origin.into(),
            file: label.join("/"),
            place: short,
            ..Key::default()
        }
    }

    /// The same file's profile number `part`.
    pub fn part(&self, part: u32) -> Self {
        Key {
            part,
            ..self.clone()
        }
    }

    /// The incarnation that counted: all evidence of one process has the same.
    /// A plain file stands for a process of its own.
    pub fn incarnation(&self) -> String {
        match (self.process.is_empty(), self.run.is_empty()) {
            (true, true) => self.file.clone(),
            (true, false) => format!("{}/{}", self.run, self.file),
            (false, _) => format!("{}/{}", self.run, self.process),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for folder in [&self.run, &self.process] {
            if !folder.is_empty() {
                write!(f, "{folder}/")?;
            }
        }
        f.write_str(&self.file)?;
        match self.part {
            0 => Ok(()),
            part => write!(f, "#{part}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_differ_and_the_same_place_does_not() {
        let a = Key::of_process("r", "ns/1/c/i", "a.profraw");
        let b = Key::of_process("r", "ns/2/c/i", "a.profraw");
        assert_ne!(a, b);
        assert_eq!(
            Key::of_file("", "/x/a.profraw"),
            Key::of_file("", "/x/a.profraw")
        );
        let far = |start: &str| Key::of_file("", format!("{start}/b/c/a.profraw"));
        assert_eq!(far("/x").file, far("/y").file);
        assert_ne!(far("/x"), far("/y"));
        assert_ne!(
            Key::of_file("shard-1", "/x/a.profraw"),
            Key::of_file("shard-2", "/x/a.profraw")
        );
        let odd = |byte: u8| Key::of_file("", [b"/x/a", &[byte][..]].concat());
        assert_eq!(odd(0xfe).file, odd(0xff).file);
        assert_ne!(odd(0xfe), odd(0xff));
    }

    #[test]
    fn a_key_reads_like_a_path() {
        let key = Key::of_process("r", "ns/1/c/i", "a.profraw").part(2);
        assert_eq!(key.to_string(), "r/ns/1/c/i/a.profraw#2");
        assert_eq!(key.incarnation(), "r/ns/1/c/i");
        assert_eq!(Key::of_file("", "/v/w/x/a").incarnation(), "w/x/a");
    }
}
