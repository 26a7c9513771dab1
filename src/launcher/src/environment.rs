//! What the component finds in its environment and its arguments.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Stands for the incarnation's folder in the component's arguments.
const TOKEN: &[u8] = b"@PODCOV_DIR@";

/// One change: `None` removes the variable.
pub type Change = (&'static str, Option<OsString>);

/// The variables both runtimes read, and what to say about those that the user
/// had set to something else. `get` reads the environment as it is.
pub fn changes(
    dir: Option<&Path>,
    profile_name: &str,
    get: impl Fn(&str) -> Option<OsString>,
) -> (Vec<Change>, Vec<String>) {
    let Some(dir) = dir else {
        // Without a folder LLVM's runtime would write to wherever the component
        // works; Go's just says so. What the user set himself stays.
        let quiet = get("LLVM_PROFILE_FILE").unwrap_or("/dev/null".into());
        return (
            vec![("LLVM_PROFILE_FILE", Some(quiet)), ("PODCOV_DIR", None)],
            Vec::new(),
        );
    };
    let ours = [
        ("LLVM_PROFILE_FILE", dir.join(profile_name)),
        ("GOCOVERDIR", dir.to_owned()),
        ("PODCOV_DIR", dir.to_owned()),
    ];
    // A component started by a measured one has the variables of its parent.
    let of_parent = get("PODCOV_DIR").filter(|outer| !outer.is_empty());
    let inherited = |value: &OsStr| {
        of_parent
            .as_ref()
            .is_some_and(|o| Path::new(value).starts_with(o))
    };
    let notes = ours[..2]
        .iter()
        .filter_map(|(name, to)| {
            let was = get(name).filter(|was| !was.is_empty() && !inherited(was) && was != to)?;
            let was = was.to_string_lossy();
            Some(format!(
                "{name} was `{was}`; it is {} for this run",
                to.display()
            ))
        })
        .collect();
    (
        ours.map(|(name, value)| (name, Some(value.into()))).into(),
        notes,
    )
}

/// An argument with the token replaced by the folder. Without a folder a file
/// in it becomes `/dev/null`, and an argument that names the folder itself is
/// left out (`None`): no other folder can be promised.
pub fn argument(text: &OsStr, dir: Option<&Path>) -> Option<OsString> {
    let bytes = text.as_bytes();
    let Some(at) = bytes
        .windows(TOKEN.len())
        .position(|window| window == TOKEN)
    else {
        return Some(text.to_owned());
    };
    let (before, after) = (&bytes[..at], &bytes[at + TOKEN.len()..]);
    let whole = match dir {
        Some(dir) => {
            let rest = argument(OsStr::from_bytes(after), Some(dir))?;
            [before, dir.as_os_str().as_bytes(), rest.as_bytes()].concat()
        }
        None if after.len() > 1 => [before, b"/dev/null"].concat(),
        None => return None,
    };
    Some(OsString::from_vec(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(dir: Option<&str>, set: &[(&str, &str)]) -> (Vec<Change>, Vec<String>) {
        let get = |name: &str| {
            set.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, v)| (*v).into())
        };
        changes(dir.map(Path::new), "%m%c.profraw", get)
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
            argument(OsStr::new(text), dir.map(Path::new)).map(|text| text.into_string().unwrap())
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
