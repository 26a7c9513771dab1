//! Which incarnation reached which lines of a binary.

use podcov_profile::ledger::{Incarnation, Ledger};
use podcov_profile::model::{File, Line};
use podcov_profile::phases::Key;
use podcov_profile::reach::BitSet;

/// What an incarnation is called in a binary's reach.
pub(crate) fn key(ledger: &Ledger, incarnation: usize) -> String {
    let of = &ledger.incarnations[incarnation];
    let named = || {
        format!(
            "{}/{}_{}/{}/unknown",
            of.namespace, of.pod, of.pod_uid, of.container
        )
    };
    Key::Incarnation(folder(of).unwrap_or_else(named)).to_string()
}

/// The folder of an incarnation in that of evidence; `None` if it has none.
pub(crate) fn folder(of: &Incarnation) -> Option<String> {
    let id = of.id.as_deref()?;
    let pod = format!("{}_{}", of.pod, of.pod_uid);
    Some(format!("{}/{pod}/{}/{id}", of.namespace, of.container))
}

/// The lines of `files` that ran, by their number among all of them. `lines`
/// gives a file's lines with other counts.
pub(crate) fn lines_reached(files: &[File], lines: impl Fn(&File) -> Option<Vec<Line>>) -> BitSet {
    let mut set = BitSet::new();
    let mut before = 0;
    for file in files {
        for line in lines(file).unwrap_or_default() {
            // Which lines have code does not depend on counts, but for regions
            // that LLVM ignores because of them.
            let at = file.lines.binary_search_by_key(&line.number, |l| l.number);
            if let (Ok(at), true) = (at, line.count > 0) {
                set.insert(before + at as u32);
            }
        }
        before += file.lines.len() as u32;
    }
    set
}
