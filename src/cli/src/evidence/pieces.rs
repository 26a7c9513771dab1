//! A file as separate pieces of evidence, each a shape and counts, instead of
//! sums: for podcov files.

use std::collections::BTreeMap;

use podcov_profile::finding::Finding;
use podcov_profile::go::counters::{CounterFile, is_counters};
use podcov_profile::go::live::{Live, is_live};
use podcov_profile::go::sum::Sum;
use podcov_profile::go::text;
use podcov_profile::llvm::{indexed, raw, text as llvm_text};
use podcov_profile::merge::{Placement, RawTotals, of_profile, of_text};
use podcov_profile::store::{Named, Vector};
use podcov_profile::{Identity, ParseError};

use super::worker::{Known, build_of, conflicting, no_profile, refused};

/// What a file holds: its pieces in their order, and what of it they lack.
pub type Taken = (Vec<(Named, Vector)>, Vec<Finding>);

/// Takes files apart; keeps what profiles of one program share.
pub struct Pieces<'k> {
    known: &'k Known,
    /// The raw profiles that count; all, if there is none.
    kept: Option<&'k RawTotals>,
    placements: BTreeMap<Vec<Identity>, Vec<Placement>>,
}

impl<'k> Pieces<'k> {
    /// No program is known yet.
    pub fn new(known: &'k Known) -> Self {
        Pieces {
            known,
            kept: None,
            placements: BTreeMap::new(),
        }
    }

    /// Passes over raw profiles that do not fit these.
    pub fn like(known: &'k Known, kept: &'k RawTotals) -> Self {
        Pieces {
            kept: Some(kept),
            ..Pieces::new(known)
        }
    }

    /// Takes the file at `path` apart. What raw profiles lack is told by those
    /// that are kept.
    pub fn of(&mut self, path: &str, bytes: &[u8]) -> Result<Taken, Finding> {
        let known = self.known;
        let whole = |piece| (vec![piece], Vec::new());
        let parse = |error: ParseError| Finding::parse(path, &error);
        if raw::is_raw(bytes) {
            let mut pieces = Vec::new();
            for part in known.raw_parts(path, bytes)? {
                if self.kept.is_none_or(|kept| kept.fits(&part)) {
                    pieces.push(self.raw(&part).map_err(parse)?);
                }
            }
            return Ok((pieces, Vec::new()));
        }
        if is_counters(bytes) {
            let file = CounterFile::parse(bytes).map_err(parse)?;
            return self.go(path, &file.hash, |sum| sum.add_file(&file).map(|_| ()));
        }
        if is_live(bytes) {
            let live = Live::parse(bytes).map_err(parse)?;
            return self.go(path, build_of(path, &live)?, |sum| {
                sum.add_live(&live).map(|_| ())
            });
        }
        if indexed::is_indexed(bytes) {
            let read = indexed::read(bytes, &known.limits).map_err(parse)?;
            let ids: Vec<Identity> = read.profile.binary_ids.iter().cloned().collect();
            known.check(path, &ids)?;
            let conflicts = conflicting(path, &read.conflicts);
            return Ok((vec![of_profile(&read.profile)], conflicts));
        }
        if text::is_text(bytes) {
            let profile = text::Profile::parse(bytes).map_err(parse)?;
            return Ok(whole(of_text(&profile)));
        }
        if llvm_text::is_text(bytes) {
            let (profile, conflicts) = known.llvm_text(path, bytes)?;
            return Ok((vec![of_profile(&profile)], conflicts));
        }
        Err(no_profile(path, bytes))
    }

    fn raw(&mut self, part: &raw::Part<'_>) -> Result<(Named, Vector), ParseError> {
        let of_ids = match self.placements.get_mut(part.build_ids()) {
            Some(of_ids) => of_ids,
            None => self
                .placements
                .entry(part.build_ids().to_vec())
                .or_default(),
        };
        let at = match of_ids.iter().position(|placement| placement.fits(part)) {
            Some(at) => at,
            None => {
                of_ids.push(Placement::new(part, &self.known.limits)?);
                of_ids.len() - 1
            }
        };
        let placement = &of_ids[at];
        Ok((placement.shape().clone(), placement.counts(part)))
    }

    fn go(
        &self,
        path: &str,
        hash: &str,
        add: impl FnOnce(&mut Sum<'_>) -> Result<(), podcov_profile::go::sum::Refused>,
    ) -> Result<Taken, Finding> {
        let meta = self.known.meta(path, hash)?;
        self.known
            .check(path, &[Identity::Covmeta(hash.to_owned())])?;
        let mut sum = Sum::new(&meta.meta);
        add(&mut sum).map_err(|error| refused(path, &error))?;
        let pieces = self.counts(hash, &sum).into_iter().collect();
        Ok((pieces, Vec::new()))
    }

    /// Counts of Go as a piece of evidence.
    pub fn counts(&self, hash: &str, sum: &Sum<'_>) -> Option<(Named, Vector)> {
        let named = self.known.metas.get(hash)?;
        let reached = sum.reached();
        let counts = reached.map(|(slot, count)| (u64::from(slot), u64::from(count)));
        Some((named.clone(), Vector::new(counts)))
    }
}
