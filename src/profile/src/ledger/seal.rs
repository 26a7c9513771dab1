//! The seal: what a file was when it was collected, and what the ledger was
//! when it was written. It tells what changed, by whatever accident; it is no
//! signature, and who can write the ledger can write another.
//!
//! `ledger.json` ends with a member that the others know nothing of:
//! `"seal": "<hex>"`, `}` and a newline. The digest is the SHA-256 of every
//! byte before it, so that no byte of the file can change unseen.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{File, Ledger, SCHEMA};

/// Length and digest of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Bytes.
    pub size: u64,
    /// SHA-256, hex.
    pub sha256: String,
}

/// How a file differs from what was sealed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It is shorter or longer.
    #[error("it is not what was collected: it has {found} bytes, it had {sealed}")]
    Size {
        /// Then.
        sealed: u64,
        /// Now.
        found: u64,
    },
    /// Its bytes are others.
    #[error("it is not what was collected: its SHA-256 differs")]
    Digest,
}

/// Why bytes are no ledger to rely on.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is no seal at its end.
    #[error("it has no seal: an earlier podcov wrote it, or it was cut off")]
    Unsealed,
    /// It changed since it was written.
    #[error("its seal is broken: it changed since podcov wrote it")]
    Broken,
    /// It is no JSON of a ledger.
    #[error("it is no ledger: {0}")]
    Json(#[from] serde_json::Error),
    /// A later podcov wrote it.
    #[error("it has schema {0}, this podcov knows up to {SCHEMA}")]
    Newer(u32),
}

const BEFORE: &[u8] = b",\n  \"seal\": \"";
const BEHIND: &[u8] = b"\"\n}\n";
const DIGITS: usize = 64;

impl Seal {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Seal {
        Seal {
            size: bytes.len() as u64,
            sha256: sha256(bytes),
        }
    }

    /// Whether these are still the bytes.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Broken> {
        check(self.size, &self.sha256, bytes)
    }
}

impl File {
    /// Whether it was read when it was collected; what was refused unread has
    /// no seal.
    pub fn is_sealed(&self) -> bool {
        !self.sha256.is_empty()
    }

    /// Whether these are still the bytes that were collected.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Broken> {
        check(self.size, &self.sha256, bytes)
    }
}

impl Ledger {
    /// `ledger.json` with its seal; pretty, with a final newline.
    pub fn to_json(&self) -> Vec<u8> {
        // Keys are strings and nothing is a NaN, so there is nothing to fail.
        let mut bytes = serde_json::to_vec_pretty(self).expect("a ledger is always JSON");
        bytes.truncate(bytes.len() - b"\n}".len());
        bytes.extend(BEFORE);
        let seal = sha256(&bytes);
        bytes.extend(seal.as_bytes());
        bytes.extend(BEHIND);
        bytes
    }

    /// Reads `ledger.json`, every byte of which must be as it was written.
    pub fn from_json(bytes: &[u8]) -> Result<Ledger, LedgerError> {
        let end = bytes.strip_suffix(BEHIND).ok_or(LedgerError::Unsealed)?;
        let at = end.len().checked_sub(DIGITS);
        let (sealed, seal) = end.split_at(at.ok_or(LedgerError::Unsealed)?);
        if !sealed.ends_with(BEFORE) {
            return Err(LedgerError::Unsealed);
        }
        if sha256(sealed).as_bytes() != seal {
            return Err(LedgerError::Broken);
        }
        let ledger: Ledger = serde_json::from_slice(bytes)?;
        if ledger.schema > SCHEMA {
            return Err(LedgerError::Newer(ledger.schema));
        }
        Ok(ledger)
    }
}

fn check(size: u64, digest: &str, bytes: &[u8]) -> Result<(), Broken> {
    let found = bytes.len() as u64;
    if found != size {
        return Err(Broken::Size {
            sealed: size,
            found,
        });
    }
    if sha256(bytes) != digest {
        return Err(Broken::Digest);
    }
    Ok(())
}

/// SHA-256 in hex.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
