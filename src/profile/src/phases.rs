//! Which counts belong to which phase of a run.
//!
//! A phase is a named window of a run: a test of the e2e suite, or a step that
//! a user named. Counters of processes that run are on disk all the time, so
//! whenever a phase starts or ends (a [`Mark`]) they are read, and what was
//! added since the mark before is written down ([`mark`] has the format). The
//! counts between two marks belong to the phases that were open between them;
//! [`Phases`] tells which, and [`Key`] is what they are called in a
//! [`Reach`](crate::reach::Reach).
//!
//! Between two marks
//! - a process that was started for a phase (`PODCOV_PHASE`) counts for that
//!   one alone;
//! - where open phases of a kind named the namespace of a process's pod, it
//!   counts for those, and for what they are part of; a phase that named another namespace keeps the pods of no other
//!   phase's namespace, such as operators of the whole cluster;
//! - else it counts for all that are open.
//!
//! Where several of one kind are left, the counts belong to each and are
//! *shared*: nothing tells which of them it was. A test and its subtests
//! (`TestA` and `TestA/x`) do not share, one is part of the other. Phases and
//! tests do not share either.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

pub mod mark;

pub use mark::{Delta, FileDelta, Mark, Shape};

/// What a phase is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A test of the suite.
    Test,
    /// A step that somebody named.
    Phase,
}

/// Who said when a phase started and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The suite itself, which waited until the counters were read.
    Call,
    /// Its output, which comes a moment later.
    Output,
}

impl Kind {
    /// Both.
    pub const ALL: [Kind; 2] = [Kind::Test, Kind::Phase];

    /// As in keys.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Test => "test",
            Kind::Phase => "phase",
        }
    }
}

/// What happened at a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it is.
    pub kind: Kind,
    /// Who said so.
    pub by: By,
    /// Its name.
    pub name: String,
    /// It started, or it ended.
    pub what: What,
}

/// What became of a phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It started; whether it has a namespace of its own.
    Start {
        /// The namespace that is its own.
        namespace: Option<String>,
    },
    /// It ended.
    End,
    /// It ended, and nobody knows when it started: at the mark of this number
    /// or later.
    Ran {
        /// Number of that mark.
        since: u32,
    },
}

/// A phase of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Who said so.
    pub by: By,
    /// The namespace that is its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Start and end of each of its windows, in milliseconds since the suite
    /// was started.
    pub windows: Vec<(u64, u64)>,
    /// The other phases of its kind that were open at the same time, by name.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub shared_with: BTreeSet<String>,
}

/// What a set of lines is of, in a [`Reach`](crate::reach::Reach).
///
/// | text | lines that |
/// |---|---|
/// | `<namespace>/<pod>_<uid>/<container>/<id>` | one process reached |
/// | `test:<name>`, `phase:<name>` | it reached; no other of its kind was open |
/// | `test-shared:<name>`, `phase-shared:<name>` | it or another reached that was open, too |
/// | `test-outside`, `phase-outside` | were reached while none of the kind was open |
///
/// No namespace has a colon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Of an incarnation: its folder.
    Incarnation(String),
    /// Of a phase.
    In {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// Another one was open, too.
        shared: bool,
    },
    /// Of what was there before, between and behind: the background.
    Outside(Kind),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Incarnation(folder) => f.write_str(folder),
            Key::In { kind, name, shared } => {
                let shared = if *shared { "-shared" } else { "" };
                write!(f, "{}{shared}:{name}", kind.word())
            }
            Key::Outside(kind) => write!(f, "{}-outside", kind.word()),
        }
    }
}

impl Key {
    /// The key that a text says.
    pub fn parse(text: &str) -> Key {
        let kind = |word: &str| Kind::ALL.into_iter().find(|kind| kind.word() == word);
        if let Some(kind) = text.strip_suffix("-outside").and_then(kind) {
            return Key::Outside(kind);
        }
        if let Some((word, name)) = text.split_once(':') {
            let (word, shared) = match word.strip_suffix("-shared") {
                Some(word) => (word, true),
                None => (word, false),
            };
            if let Some(kind) = kind(word) {
                let name = name.to_owned();
                return Key::In { kind, name, shared };
            }
        }
        Key::Incarnation(text.to_owned())
    }
}

/// The phases of a run, and which were open between which marks.
#[derive(Clone, Debug, Default)]
pub struct Phases {
    all: Vec<Phase>,
    /// Which were open before the mark of a number, since the one before it,
    /// each with the namespace that was its own then.
    open: BTreeMap<u32, Open>,
    left_open: Vec<usize>,
}

/// Open phases by their index.
type Open = BTreeMap<usize, Option<String>>;

impl Phases {
    /// What marks say; in the order of their numbers, which begin at 1. A
    /// phase that nobody ended was open to the last mark; where marks are
    /// missing, to the one before them: what they said would have ended is not
    /// to claim what comes behind.
    pub fn new<'m>(marks: impl IntoIterator<Item = &'m Mark>) -> Phases {
        let mut phases = Phases::default();
        let mut open = Open::new();
        let mut since: BTreeMap<usize, u64> = BTreeMap::new();
        let mut times: BTreeMap<u32, u64> = BTreeMap::new();
        let (mut last, mut number) = (0, 0u32);
        for mark in marks {
            if number.checked_add(1) != Some(mark.number) {
                open.clear();
                for (index, since) in std::mem::take(&mut since) {
                    phases.all[index].windows.push((since, last));
                }
            }
            times.insert(mark.number, mark.at);
            (last, number) = (mark.at, mark.number);
            phases.open.insert(mark.number, open.clone());
            for event in &mark.events {
                let index = phases.index(event);
                if event.by == By::Call {
                    phases.all[index].by = By::Call;
                }
                match &event.what {
                    What::Start { namespace } => {
                        if namespace.is_some() {
                            phases.all[index].namespace.clone_from(namespace);
                        }
                        open.entry(index).or_insert_with(|| namespace.clone());
                        since.entry(index).or_insert(mark.at);
                    }
                    What::End => {
                        open.remove(&index);
                        if let Some(since) = since.remove(&index) {
                            phases.all[index].windows.push((since, mark.at));
                        }
                    }
                    What::Ran { since } => {
                        let behind = since.saturating_add(1);
                        for (_, open) in phases.open.range_mut(behind.min(mark.number)..) {
                            open.entry(index).or_default();
                        }
                        let from = times.get(since).copied().unwrap_or(0);
                        phases.all[index].windows.push((from, mark.at));
                    }
                }
            }
        }
        phases.left_open = open.keys().copied().collect();
        for (index, since) in since {
            phases.all[index].windows.push((since, last));
        }
        phases.find_shared();
        phases
    }

    fn index(&mut self, event: &Event) -> usize {
        let is_it = |phase: &Phase| phase.kind == event.kind && phase.name == event.name;
        self.all.iter().position(is_it).unwrap_or_else(|| {
            self.all.push(Phase {
                name: event.name.clone(),
                kind: event.kind,
                by: event.by,
                namespace: None,
                windows: Vec::new(),
                shared_with: BTreeSet::new(),
            });
            self.all.len() - 1
        })
    }

    fn find_shared(&mut self) {
        let mut shared: BTreeSet<(usize, usize)> = BTreeSet::new();
        for open in self.open.values() {
            for index in open.keys() {
                let others = open.keys().filter(|other| self.do_share(*index, **other));
                shared.extend(others.map(|other| (*index, *other)));
            }
        }
        for (index, other) in shared {
            let name = self.all[other].name.clone();
            self.all[index].shared_with.insert(name);
        }
    }

    /// Whether nothing tells two open phases apart.
    fn do_share(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.all[one], &self.all[other]);
        one.kind == other.kind && one.name != other.name && !is_part(&one.name, &other.name)
    }

    /// The phases, in the order they were first heard of.
    pub fn all(&self) -> &[Phase] {
        &self.all
    }

    /// Those that nobody ended.
    pub fn left_open(&self) -> impl Iterator<Item = &Phase> {
        self.left_open.iter().map(|index| &self.all[*index])
    }

    /// Whose the counts are that a process had between the mark `number` and
    /// the one before it. `number` may be one that there is not: behind the
    /// last mark no phase is open. `own` is the phase that the process was
    /// started for.
    pub fn keys(&self, number: u32, namespace: &str, own: Option<&str>) -> Vec<Key> {
        if let Some(name) = own {
            return self.keys_of_own(name);
        }
        let none = Open::new();
        let open = self.open.get(&number).unwrap_or(&none);
        let mut left: Vec<usize> = Vec::new();
        // Tests and phases are two questions.
        for kind in Kind::ALL {
            let of_kind = || {
                open.iter()
                    .filter(|(index, _)| self.all[**index].kind == kind)
            };
            let is_named = |(_, own): &(&usize, &Option<String>)| own.as_deref() == Some(namespace);
            let named: Vec<usize> = of_kind()
                .filter(is_named)
                .map(|(index, _)| *index)
                .collect();
            let is_left = |index: &usize| {
                let name = &self.all[*index].name;
                let is_whole = |named: &usize| is_part(name, &self.all[*named].name);
                named.is_empty() || named.contains(index) || named.iter().any(is_whole)
            };
            left.extend(of_kind().map(|(index, _)| *index).filter(is_left));
        }
        left.sort_unstable();
        let mut keys: Vec<Key> = left
            .iter()
            .map(|index| Key::In {
                kind: self.all[*index].kind,
                name: self.all[*index].name.clone(),
                shared: left.iter().any(|other| self.do_share(*index, *other)),
            })
            .collect();
        keys.extend(self.outside(&left));
        keys
    }

    fn keys_of_own(&self, name: &str) -> Vec<Key> {
        let known = self.all.iter().position(|phase| phase.name == name);
        let kind = known.map_or(Kind::Phase, |index| self.all[index].kind);
        let own = Key::In {
            kind,
            name: name.to_owned(),
            shared: false,
        };
        [own].into_iter().collect()
    }

    /// The kinds that the run has and none of which is open.
    fn outside(&self, open: &[usize]) -> impl Iterator<Item = Key> {
        Kind::ALL.into_iter().filter_map(move |kind| {
            let is_of = |phase: &Phase| phase.kind == kind;
            let is_open = open.iter().any(|index| is_of(&self.all[*index]));
            (!is_open && self.all.iter().any(is_of)).then_some(Key::Outside(kind))
        })
    }
}

/// Whether one name is that of a subtest of the other.
pub fn is_part(one: &str, other: &str) -> bool {
    let below = |long: &str, short: &str| {
        long.strip_prefix(short)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    below(one, other) || below(other, one)
}

/// Counts that are not 0, by place, ascending.
pub type Counts = Vec<(u32, u64)>;

/// What was added to `known`, which becomes `now`. A count that is smaller than
/// it was began anew: all of it was added.
pub fn advance(known: &mut Counts, now: Counts) -> Counts {
    let mut added = Counts::new();
    let mut before = known.iter().peekable();
    for (place, count) in &now {
        while before.next_if(|(other, _)| other < place).is_some() {}
        let was = before
            .next_if(|(other, _)| other == place)
            .map_or(0, |(_, was)| *was);
        let more = if *count < was { *count } else { count - was };
        if more > 0 {
            added.push((*place, more));
        }
    }
    *known = now;
    added
}

/// Adds counts to others, by place.
pub fn add(into: &mut Counts, more: &[(u32, u64)]) {
    if into
        .last()
        .is_none_or(|last| more.first().is_none_or(|first| last.0 < first.0))
    {
        into.extend_from_slice(more);
        return;
    }
    let mut sum = Counts::with_capacity(into.len() + more.len());
    let (mut one, mut other) = (into.iter().peekable(), more.iter().peekable());
    while let (Some(left), Some(right)) = (one.peek(), other.peek()) {
        let place = left.0.min(right.0);
        let left = one.next_if(|(at, _)| *at == place).map_or(0, |(_, n)| *n);
        let right = other.next_if(|(at, _)| *at == place).map_or(0, |(_, n)| *n);
        sum.push((place, left.saturating_add(right)));
    }
    sum.extend(one.chain(other));
    *into = sum;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(name: &str, what: What) -> Event {
        let (kind, name) = match name.strip_prefix("phase ") {
            Some(name) => (Kind::Phase, name),
            None => (Kind::Test, name),
        };
        Event {
            kind,
            by: By::Call,
            name: name.to_owned(),
            what,
        }
    }

    fn start(name: &str) -> Event {
        event(name, What::Start { namespace: None })
    }

    fn start_in(name: &str, namespace: &str) -> Event {
        let namespace = Some(namespace.to_owned());
        event(name, What::Start { namespace })
    }

    fn end(name: &str) -> Event {
        event(name, What::End)
    }

    /// Marks of one event each, a second apart.
    fn phases(events: &[Event]) -> Phases {
        let mark = |(index, event): (usize, &Event)| Mark {
            number: index as u32 + 1,
            at: 1000 * (index as u64 + 1),
            events: vec![event.clone()],
            files: Vec::new(),
        };
        let marks: Vec<Mark> = events.iter().enumerate().map(mark).collect();
        Phases::new(&marks)
    }

    fn keys(phases: &Phases, number: u32, namespace: &str) -> Vec<String> {
        let keys = phases.keys(number, namespace, None);
        keys.iter().map(Key::to_string).collect()
    }

    #[test]
    fn counts_belong_to_what_is_open() {
        let phases = phases(&[start("a"), end("a"), start("b"), end("b")]);
        assert_eq!(keys(&phases, 1, "n"), ["test-outside"]);
        assert_eq!(keys(&phases, 2, "n"), ["test:a"]);
        assert_eq!(keys(&phases, 3, "n"), ["test-outside"]);
        assert_eq!(keys(&phases, 4, "n"), ["test:b"]);
        assert_eq!(keys(&phases, 5, "n"), ["test-outside"]);
        assert_eq!(phases.all()[0].windows, [(1000, 2000)]);
    }

    #[test]
    fn what_is_open_at_once_is_shared_unless_it_is_part_of_the_other() {
        let phases = phases(&[start("a"), start("b"), end("a"), end("b")]);
        assert_eq!(keys(&phases, 2, "n"), ["test:a"]);
        assert_eq!(keys(&phases, 3, "n"), ["test-shared:a", "test-shared:b"]);
        assert_eq!(keys(&phases, 4, "n"), ["test:b"]);
        assert_eq!(phases.all()[0].shared_with, ["b".to_owned()].into());

        let nested = self::phases(&[start("a"), start("a/x"), start("a/y"), start("phase all")]);
        assert_eq!(
            keys(&nested, 3, "n"),
            ["test:a", "test:a/x", "phase-outside"]
        );
        let all = [
            "test:a",
            "test-shared:a/x",
            "test-shared:a/y",
            "phase-outside",
        ];
        assert_eq!(keys(&nested, 4, "n"), all);
    }

    #[test]
    fn a_phase_beside_tests_is_another_question() {
        let phases = phases(&[
            start("phase upgrade"),
            start("a"),
            end("a"),
            end("phase upgrade"),
        ]);
        assert_eq!(keys(&phases, 2, "n"), ["phase:upgrade", "test-outside"]);
        assert_eq!(keys(&phases, 3, "n"), ["phase:upgrade", "test:a"]);
    }

    #[test]
    fn a_namespace_tells_phases_apart() {
        let phases = phases(&[
            start_in("a", "one"),
            start_in("b", "two"),
            start("c"),
            end("c"),
        ]);
        assert_eq!(keys(&phases, 3, "one"), ["test:a"]);
        assert_eq!(keys(&phases, 3, "two"), ["test:b"]);
        assert_eq!(
            keys(&phases, 3, "operators"),
            ["test-shared:a", "test-shared:b"]
        );
        // One that named none cannot claim what another did.
        assert_eq!(keys(&phases, 4, "one"), ["test:a"]);
        assert_eq!(keys(&phases, 4, "operators").len(), 3);
    }

    #[test]
    fn the_namespace_of_a_test_says_nothing_of_phases_and_of_the_test_around_it() {
        let phases = phases(&[
            start("phase upgrade"),
            start("a"),
            start_in("a/x", "one"),
            end("a/x"),
        ]);
        let all = ["phase:upgrade", "test:a", "test:a/x"];
        assert_eq!(keys(&phases, 4, "one"), all);
        // Another try may have another one.
        let again = self::phases(&[
            start_in("a", "one"),
            start_in("b", "b"),
            end("a"),
            start_in("a", "two"),
            end("a"),
        ]);
        assert_eq!(keys(&again, 3, "one"), ["test:a"]);
        assert_eq!(keys(&again, 5, "two"), ["test:a"]);
        assert_eq!(keys(&again, 5, "one"), ["test-shared:a", "test-shared:b"]);
    }

    #[test]
    fn what_missing_marks_may_have_ended_claims_nothing() {
        let mark = |number: u32, event: Event| Mark {
            number,
            at: 1000 * u64::from(number),
            events: vec![event],
            files: Vec::new(),
        };
        let phases = Phases::new(&[mark(1, start("a")), mark(3, start("b")), mark(4, end("b"))]);
        assert_eq!(keys(&phases, 3, "n"), ["test-outside"]);
        assert_eq!(keys(&phases, 4, "n"), ["test:b"]);
        assert_eq!(phases.all()[0].windows, [(1000, 1000)]);
        assert_eq!(phases.left_open().count(), 0);
    }

    #[test]
    fn a_process_of_a_phase_is_its_own_whatever_is_open() {
        let phases = phases(&[start("a"), start("b"), end("b"), end("a")]);
        let keys = phases.keys(3, "n", Some("b"));
        assert_eq!(keys[0].to_string(), "test:b");
        assert_eq!(phases.keys(1, "n", Some("x"))[0].to_string(), "phase:x");
    }

    #[test]
    fn of_what_only_ends_are_seen_all_is_shared() {
        let ran = |name| event(name, What::Ran { since: 1 });
        let phases = phases(&[start("phase suite"), ran("a"), ran("b")]);
        assert_eq!(
            keys(&phases, 2, "n"),
            ["phase:suite", "test-shared:a", "test-shared:b"]
        );
        assert_eq!(keys(&phases, 3, "n"), ["phase:suite", "test:b"]);
        assert_eq!(phases.all()[2].windows, [(1000, 3000)]);
    }

    #[test]
    fn what_nobody_ended_was_open_to_the_last_mark() {
        let phases = phases(&[start("a"), start("b"), end("b")]);
        assert_eq!(phases.all()[0].windows, [(1000, 3000)]);
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        let keys = [
            "test/p_u/c/i",
            "test:a/b",
            "test-shared:x",
            "phase:",
            "phase-shared:y",
            "test-outside",
            "phase-outside",
        ];
        for key in keys {
            assert_eq!(Key::parse(key).to_string(), key);
        }
        let is_process = |text| matches!(Key::parse(text), Key::Incarnation(_));
        let processes: Vec<_> = keys.into_iter().filter(|key| is_process(key)).collect();
        assert_eq!(processes, ["test/p_u/c/i"]);
    }

    fn counts() -> impl Strategy<Value = Counts> {
        prop::collection::btree_map(0..30u32, 1..9u64, 0..12)
            .prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn what_was_added_adds_up(steps in prop::collection::vec(counts(), 1..6)) {
            let (mut known, mut sum, mut total) = (Counts::new(), Counts::new(), Counts::new());
            for step in &steps {
                add(&mut total, step);
                add(&mut sum, &advance(&mut known, total.clone()));
            }
            prop_assert_eq!(&sum, &total);
        }
    }

    #[test]
    fn a_count_that_fell_began_anew() {
        let mut known = vec![(1, 9), (2, 5)];
        assert_eq!(advance(&mut known, vec![(1, 4), (3, 1)]), [(1, 4), (3, 1)]);
        assert_eq!(known, [(1, 4), (3, 1)]);
    }
}
