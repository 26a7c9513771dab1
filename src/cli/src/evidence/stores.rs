//! podcov files among the files of a command: their evidence is recognised by
//! its key, among them and beside the plain files it was made from.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use podcov_profile::Limits;
use podcov_profile::evidence::Key;
use podcov_profile::finding::{Finding, Kind};
use podcov_profile::merge::{Added, Merge, Totals};
use podcov_profile::store::{Named, Piece, Shape, Store, is_store};

use super::input::Source;
use super::pieces::Pieces;
use super::read::Buffer;
use super::worker::{Known, Metas};
use super::write_store::Stored;

/// podcov files, whole in memory.
#[derive(Default)]
pub struct Stores {
    files: Vec<(String, Vec<u8>)>,
    limits: Limits,
}

impl Stores {
    /// Reads the files that are sound.
    pub fn read(
        sources: &[Source],
        stdin: &Option<Vec<u8>>,
        limits: &Limits,
        findings: &mut Vec<Finding>,
    ) -> Stores {
        let mut stores = Stores {
            files: Vec::new(),
            limits: *limits,
        };
        let mut offer = |path: String, bytes: &[u8]| match Store::read(bytes, limits) {
            Ok(_) => stores.files.push((path, bytes.to_vec())),
            Err(error) => findings.push(Finding::parse(path, &error)),
        };
        let mut failed = Vec::new();
        let mut buffer = Buffer::default();
        for source in sources {
            match buffer.read(&source.path) {
                Ok(bytes) => offer(source.path.display().to_string(), bytes),
                Err(finding) => failed.push(finding),
            }
        }
        if let Some(bytes) = stdin.as_ref().filter(|bytes| is_store(bytes)) {
            offer("-".to_owned(), bytes);
        }
        findings.append(&mut failed);
        stores
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether stdin is one of them.
    pub fn holds_stdin(&self, bytes: &[u8]) -> bool {
        is_store(bytes)
    }

    /// The files and what is in them.
    pub fn open(&self) -> Vec<(&str, Store<'_>)> {
        let mut open = Vec::new();
        for (path, bytes) in &self.files {
            // It was sound when it was read.
            if let Ok(store) = Store::read(bytes, &self.limits) {
                open.push((path.as_str(), store));
            }
        }
        open
    }

    /// All evidence that counts, in the order of the files; what is there
    /// more than once is told.
    pub fn refs(
        &self,
        stores: &[(&str, Store<'_>)],
        known: &Known,
        findings: &mut Vec<Finding>,
    ) -> Vec<Stored> {
        let mut refs = Vec::new();
        let mut seen: HashMap<(Key, [u8; 32]), (usize, usize)> = HashMap::new();
        for (index, (path, store)) in stores.iter().enumerate() {
            let (mut duplicates, mut foreign) = (0, BTreeSet::new());
            for piece in store.pieces() {
                let Some(named) = wanted(known, store, &piece) else {
                    let named = store.shapes().get(piece.shape);
                    foreign.extend(named.map(|named| named.shape().program().to_string()));
                    continue;
                };
                let digest = named.digest();
                match seen.get(&(piece.key.clone(), digest)) {
                    None => {
                        let id = (piece.key.clone(), digest);
                        seen.insert(id, (index, piece.vector));
                    }
                    Some((first, vector)) => {
                        let first = stores.get(*first).and_then(|(_, s)| s.vector(*vector));
                        match first == store.vector(piece.vector) {
                            true => duplicates += 1,
                            false => findings.push(version(path, &piece.key)),
                        }
                    }
                }
                refs.push(Stored {
                    digest,
                    store: index,
                    shape: piece.shape,
                    vector: piece.vector,
                    key: piece.key,
                });
            }
            findings.extend(elsewhere(path, duplicates));
            findings.extend(foreign.into_iter().map(|program| {
                Finding::new(Kind::Foreign, *path, program).expected("a build of --object")
            }));
        }
        refs
    }

    /// Gives the meta-data that they hold to those who look for some.
    pub fn lend_metas(&self, metas: &mut Metas) {
        for (_, store) in self.open() {
            for named in store.shapes() {
                if let Shape::Go(shape) = &**named.shape() {
                    let hash = shape.meta.hash.clone();
                    metas.entry(hash).or_insert_with(|| named.clone());
                }
            }
        }
    }

    /// Takes out the plain files whose evidence is in podcov files, too.
    pub fn split(&self, bulk: Vec<Source>, origin: &str) -> (Vec<Source>, Vec<Source>) {
        let stores = self.open();
        if stores.is_empty() {
            return (bulk, Vec::new());
        }
        let keys: BTreeSet<Key> = stores
            .iter()
            .flat_map(|(_, store)| store.pieces())
            .map(|piece| piece.key.part(0))
            .collect();
        let (again, bulk) = bulk
            .into_iter()
            .partition(|source| keys.contains(&source.key(origin)));
        (bulk, again)
    }

    /// Adds the evidence of all, each once; `again` are plain files that hold
    /// some of the same.
    pub fn add(
        &self,
        totals: &mut Totals,
        known: &Known,
        again: &[Source],
        origin: &str,
        findings: &mut Vec<Finding>,
    ) {
        let stores = self.open();
        let refs = self.refs(&stores, known, findings);
        let mut merge = Merge::default();
        // Evidence that comes in two states is joined before it is added.
        let mut apart: BTreeSet<Key> = again.iter().map(|source| source.key(origin)).collect();
        let mut seen: HashMap<(&Key, [u8; 32]), (usize, usize)> = HashMap::new();
        for one in &refs {
            let place = (one.store, one.vector);
            if let Some(first) = seen.insert((&one.key, one.digest), place) {
                let vector = |(store, vector): (usize, usize)| {
                    stores
                        .get(store)
                        .and_then(|(_, store)| store.vector(vector))
                };
                if vector(first) != vector(place) {
                    apart.insert(one.key.part(0));
                }
            }
        }
        let mut times: Vec<Vec<u64>> = stores
            .iter()
            .map(|(_, store)| vec![0; store.vectors()])
            .collect();
        let mut pieces: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        let mut added = HashSet::new();
        for one in &refs {
            let Some((_, store)) = stores.get(one.store) else {
                continue;
            };
            if apart.contains(&one.key.part(0)) {
                let named = store.shapes().get(one.shape);
                if let (Some(named), Some(vector)) = (named, store.vector(one.vector)) {
                    merge.add(one.key.clone(), named, vector);
                }
            } else if added.insert((&one.key, one.digest)) {
                let times = times.get_mut(one.store);
                if let Some(times) = times.and_then(|times| times.get_mut(one.vector)) {
                    *times += 1;
                }
                *pieces.entry((one.store, one.shape)).or_default() += 1;
            }
        }
        for ((index, shape), pieces) in pieces {
            let (Some((_, store)), Some(times)) = (stores.get(index), times.get(index)) else {
                continue;
            };
            if let Some(named) = store.shapes().get(shape) {
                let sums = store.sum(shape, |vector| times.get(vector).copied().unwrap_or(0));
                totals.add_dense(named, &sums, pieces);
            }
        }
        let mut pieces = Pieces::new(known);
        let mut buffer = Buffer::default();
        for source in again {
            let path = source.path.display().to_string();
            let read = buffer
                .read(&source.path)
                .and_then(|bytes| pieces.of(&path, bytes));
            match read {
                Err(finding) => findings.push(finding),
                Ok((of_file, mut more)) => {
                    findings.append(&mut more);
                    for (part, (named, vector)) in (0u32..).zip(of_file) {
                        let key = source.key(origin).part(part);
                        let text = "the same evidence is in a podcov file";
                        match merge.add(key.clone(), &named, vector) {
                            Added::New => {}
                            Added::Duplicate => {
                                findings.push(Finding::new(Kind::Duplicate, &path, text));
                            }
                            Added::Version => findings.push(version(&path, &key)),
                        }
                    }
                }
            }
        }
        totals.absorb(merge.totals());
    }
}

/// Evidence that was met in another state.
pub fn version(path: &str, key: &Key) -> Finding {
    let text = format!(
        "`{key}` with other counts; the larger are taken, because counts of one process only grow. \
         If they are of two machines, name them with --origin"
    );
    Finding::new(Kind::Version, path, text)
}

fn elsewhere(path: &str, duplicates: usize) -> Option<Finding> {
    let pieces = crate::ui::count(duplicates, "piece");
    let text = format!("{pieces} of evidence that another podcov file has, too");
    (duplicates > 0).then(|| Finding::new(Kind::Duplicate, path, text))
}

fn wanted<'s>(known: &Known, store: &'s Store<'_>, piece: &Piece) -> Option<&'s Named> {
    let named = store.shapes().get(piece.shape)?;
    let program = named.shape().program();
    let ids: Vec<_> = program.identities().into_iter().cloned().collect();
    known.check("", &ids).ok().map(|()| named)
}
