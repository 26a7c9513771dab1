//! What the component finds in its environment and its arguments.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Stands for the incarnation's folder in the component's arguments.
const TOKEN: &[u8] = b"@PODCOV_DIR@";

/// The variables of a process.
pub struct Environment {
    /// As the kernel gives them: NAME=VALUE.
    lines: Vec<&'static [u8]>,
}

impl Environment {
    /// Of these lines.
    pub fn new(lines: Vec<&'static [u8]>) -> Self {
        Environment { lines }
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&'static [u8]> {
        self.lines
            .iter()
            .find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }

    /// The value of a variable that is neither missing nor empty.
    pub fn text(&self, name: &str) -> Option<String> {
        let value = self.get(name).filter(|value| !value.is_empty())?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// All lines, with some variables set or removed.
    pub fn with(&self, changes: &[Change]) -> Vec<Vec<u8>> {
        let changed = |line: &[u8]| {
            changes.iter().any(|(name, _)| {
                line.strip_prefix(name.as_bytes())
                    .is_some_and(|rest| rest.starts_with(b"="))
            })
        };
        let kept = self
            .lines
            .iter()
            .filter(|line| !changed(line))
            .map(|line| line.to_vec());
        let set = changes.iter().filter_map(|(name, value)| {
            Some([name.as_bytes(), b"=", value.as_ref()?.as_slice()].concat())
        });
        kept.chain(set).collect()
    }
}

/// One change: `None` removes the variable.
pub type Change = (&'static str, Option<Vec<u8>>);

/// The variables both runtimes read, and what to say about those that the user
/// had set to something else.
pub fn changes(
    dir: Option<&str>,
    profile_name: &str,
    env: &Environment,
) -> (Vec<Change>, Vec<String>) {
    let Some(dir) = dir else {
        // Without a folder LLVM's runtime would write to wherever the component
        // works; Go's just says so. What the user set himself stays.
        let quiet = env
            .get("LLVM_PROFILE_FILE")
            .unwrap_or(b"/dev/null")
            .to_owned();
        return (
            alloc::vec![("LLVM_PROFILE_FILE", Some(quiet)), ("PODCOV_DIR", None)],
            Vec::new(),
        );
    };
    let ours = [
        ("LLVM_PROFILE_FILE", format!("{dir}/{profile_name}")),
        ("GOCOVERDIR", dir.to_owned()),
        ("PODCOV_DIR", dir.to_owned()),
    ];
    // A component started by a measured one has the variables of its parent.
    let of_parent = env.get("PODCOV_DIR").filter(|outer| !outer.is_empty());
    let inherited = |value: &[u8]| of_parent.is_some_and(|outer| value.starts_with(outer));
    let notes = ours[..2]
        .iter()
        .filter_map(|(name, to)| {
            let was = env.get(name)?;
            if was.is_empty() || inherited(was) || was == to.as_bytes() {
                return None;
            }
            let was = String::from_utf8_lossy(was);
            Some(format!("{name} was `{was}`; it is {to} for this run"))
        })
        .collect();
    (
        ours.map(|(name, value)| (name, Some(value.into_bytes())))
            .into(),
        notes,
    )
}

/// An argument with the token replaced by the folder. Without a folder a file
/// in it becomes `/dev/null`, and an argument that names the folder itself is
/// left out (`None`): no other folder can be promised.
pub fn argument(bytes: &[u8], dir: Option<&str>) -> Option<Vec<u8>> {
    let Some(at) = bytes
        .windows(TOKEN.len())
        .position(|window| window == TOKEN)
    else {
        return Some(bytes.to_owned());
    };
    let (before, after) = (&bytes[..at], &bytes[at + TOKEN.len()..]);
    match dir {
        Some(dir) => Some([before, dir.as_bytes(), &argument(after, Some(dir))?].concat()),
        None if after.len() > 1 => Some([before, b"/dev/null"].concat()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(dir: Option<&str>, set: &[(&str, &str)]) -> (Vec<Change>, Vec<String>) {
        let leak = |(name, value): &(&str, &str)| -> &'static [u8] {
            format!("{name}={value}").into_bytes().leak()
        };
        let env = Environment::new(set.iter().map(leak).collect());
        changes(dir, "%m%c.profraw", &env)
    }

    #[test]
    fn both_runtimes_write_to_the_folder() {
        let (changes, notes) = said(Some("/v/x"), &[]);
        assert_eq!(
            changes,
            [
                ("LLVM_PROFILE_FILE", Some("/v/x/%m%c.profraw".into())),
                ("GOCOVERDIR", Some("/v/x".into())),
                ("PODCOV_DIR", Some("/v/x".into())),
            ]
        );
        assert!(notes.is_empty());
    }

    #[test]
    fn what_the_user_had_set_is_replaced_and_said() {
        let (_, notes) = said(
            Some("/v/x"),
            &[("GOCOVERDIR", "/mine"), ("LLVM_PROFILE_FILE", "a")],
        );
        assert_eq!(notes.len(), 2);
        assert!(
            notes[1].contains("GOCOVERDIR was `/mine`; it is /v/x"),
            "{notes:?}"
        );
        let outer = [
            ("GOCOVERDIR", "/v/o"),
            ("LLVM_PROFILE_FILE", "/v/o/%m"),
            ("PODCOV_DIR", "/v/o"),
        ];
        assert!(said(Some("/v/x"), &outer).1.is_empty());
    }

    #[test]
    fn changed_variables_are_there_once() {
        let env = Environment::new(vec![b"AB=1", b"A=2", b"C=3"]);
        let changed = env.with(&[("A", Some(b"4".to_vec())), ("C", None), ("D", None)]);
        assert_eq!(changed, [b"AB=1".to_vec(), b"A=4".to_vec()]);
        assert_eq!(env.get("A"), Some(&b"2"[..]));
    }

    #[test]
    fn without_a_folder_the_user_s_own_stays() {
        let (changes, _) = said(None, &[]);
        assert_eq!(changes[0], ("LLVM_PROFILE_FILE", Some("/dev/null".into())));
        let (changes, _) = said(None, &[("LLVM_PROFILE_FILE", "mine"), ("GOCOVERDIR", "/g")]);
        assert_eq!(
            changes,
            [
                ("LLVM_PROFILE_FILE", Some("mine".into())),
                ("PODCOV_DIR", None)
            ]
        );
    }

    #[test]
    fn the_token_becomes_the_folder_or_nothing() {
        let with = |text: &str, dir: Option<&str>| {
            argument(text.as_bytes(), dir).map(|text| String::from_utf8(text).unwrap())
        };
        let file = "-test.coverprofile=@PODCOV_DIR@/coverage.out";
        assert_eq!(
            with(file, Some("/d")).as_deref(),
            Some("-test.coverprofile=/d/coverage.out")
        );
        assert_eq!(
            with(file, None).as_deref(),
            Some("-test.coverprofile=/dev/null")
        );
        assert_eq!(
            with("@PODCOV_DIR@:@PODCOV_DIR@/x", Some("/d")).as_deref(),
            Some("/d:/d/x")
        );
        assert_eq!(with("-dir=@PODCOV_DIR@", None), None);
        assert_eq!(with("-dir=@PODCOV_DIR@/", None), None);
        assert_eq!(with("$(VAR) @x", None).as_deref(), Some("$(VAR) @x"));
    }
}
