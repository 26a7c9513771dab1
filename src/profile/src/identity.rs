//! What makes two pieces of evidence belong to the same program.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names one build of one program. Evidence is merged when and only when its
/// identities are equal; never by file name or function name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// GNU build id of an ELF file, hex. LLVM's runtime copies it into each
    /// raw profile.
    BuildId(String),
    /// Hash of Go's coverage meta-data, hex; part of the names of `covmeta`
    /// and `covcounters` files and of the counter files' headers.
    Covmeta(String),
    /// SHA-256 of the Go build id, hex: for programs made by `go test -c`,
    /// whose text profiles say nothing of the build they come from.
    GoBuildId(String),
}

/// A text that is no identity.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected an identity (`build-id:HEX`, `covmeta:HEX` or `go-build-id:HEX`), found `{0}`")]
pub struct NotAnIdentity(String);

impl Identity {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Identity::BuildId(hex) => ("build-id", hex),
            Identity::Covmeta(hex) => ("covmeta", hex),
            Identity::GoBuildId(hex) => ("go-build-id", hex),
        }
    }

    /// The hex digits, without the kind.
    pub fn hex(&self) -> &str {
        self.parts().1
    }

    /// A name for a directory that holds things of this identity alone.
    pub fn dir_name(&self) -> String {
        let (kind, hex) = self.parts();
        format!("{kind}-{hex}")
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, hex) = self.parts();
        write!(f, "{kind}:{hex}")
    }
}

impl FromStr for Identity {
    type Err = NotAnIdentity;

    fn from_str(text: &str) -> Result<Self, NotAnIdentity> {
        let wrong = || NotAnIdentity(text.to_owned());
        let (kind, hex) = text.split_once(':').ok_or_else(wrong)?;
        if hex.is_empty()
            || !hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return Err(wrong());
        }
        match kind {
            "build-id" => Ok(Identity::BuildId(hex.to_owned())),
            "covmeta" => Ok(Identity::Covmeta(hex.to_owned())),
            "go-build-id" => Ok(Identity::GoBuildId(hex.to_owned())),
            _ => Err(wrong()),
        }
    }
}

impl Serialize for Identity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in ["build-id:00ff", "covmeta:a1", "go-build-id:9"] {
            assert_eq!(text.parse::<Identity>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_could_leave_a_directory_is_no_identity() {
        for text in [
            "",
            "build-id:",
            "build-id:../x",
            "build-id:AB",
            "covmeta",
            "sha:00",
        ] {
            assert_eq!(
                text.parse::<Identity>(),
                Err(NotAnIdentity(text.to_owned()))
            );
        }
    }
}
