//! Names of functions as one would write them.

/// A function's name without hash. Local functions carry their file in front,
/// and methods of a type its name in brackets: `<a::B>::c` is `a::B::c`.
pub fn demangle(name: &str) -> String {
    let mangled = name.rsplit([':', ';']).next().unwrap_or(name);
    let name = format!("{:#}", rustc_demangle::demangle(mangled));
    let plain = name.strip_prefix('<').and_then(|rest| {
        let (path, rest) = rest.split_at(closing(rest)?);
        let is_path = path.starts_with(|c: char| c.is_alphabetic() || c == '_');
        (is_path && !path.contains(" as ")).then(|| format!("{path}{}", &rest[1..]))
    });
    plain.unwrap_or(name)
}

/// Where the bracket closes that was opened before `text`.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut previous) = (1, ' ');
    text.find(|c| {
        match c {
            '<' => depth += 1,
            '>' if previous != '-' => depth -= 1,
            _ => {}
        }
        previous = c;
        depth == 0
    })
}

/// The crate a demangled name starts with. The first name of an implementation
/// (`<a::B as c::D>::e`) may be of another crate, so it says nothing.
pub fn crate_of(name: &str) -> Option<&str> {
    let (first, _) = name.split_once("::")?;
    first
        .chars()
        .all(|c| c.is_alphanumeric() || c == '_')
        .then_some(first)
}

/// The name of a function as written, given those of its instantiations. Type
/// parameters say how it was used, not what it is.
pub fn common_name(names: &[String]) -> String {
    names
        .iter()
        .map(|name| without_parameters(name))
        .min()
        .unwrap_or_default()
}

/// `a::b::<u32>::c` becomes `a::b::<_>::c`.
fn without_parameters(name: &str) -> String {
    let mut out = String::new();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once("::<") {
        out.push_str(before);
        out.push_str("::<_>");
        rest = closing(after).map_or("", |end| &after[end + 1..]);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instantiations_share_a_name() {
        let cases: &[(&[&str], &str)] = &[
            (&["a::b"], "a::b"),
            (&["a::b::<u32>", "a::b::<fn() -> Vec<u8>>"], "a::b::<_>"),
            (
                &["a::b::<u8>::{closure#0}", "a::b::<&str>::{closure#0}"],
                "a::b::<_>::{closure#0}",
            ),
            (&["a::b::<u8>"], "a::b::<_>"),
            (&["<u8 as a::T>::f", "<u32 as a::T>::f"], "<u32 as a::T>::f"),
        ];
        for (names, expected) in cases {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(common_name(&names), *expected);
        }
    }

    #[test]
    fn names_are_as_one_would_write_them() {
        let cases = [
            ("_RNvCs32gj3y4fnmh_4main4main", "main::main"),
            ("main.rs:_RNvCs32gj3y4fnmh_4main4main", "main::main"),
            // An inherent method, and one of a trait.
            ("_RNvMs_Cs32gj3y4fnmh_4mainNtB4_1T3new", "main::T::new"),
            (
                "_RNvXCs32gj3y4fnmh_4mainNtB2_1TNtB2_1S3run",
                "<main::T as main::S>::run",
            ),
            ("not_mangled", "not_mangled"),
        ];
        for (name, expected) in cases {
            assert_eq!(demangle(name), expected, "{name}");
        }
    }

    #[test]
    fn the_crate_is_the_first_word() {
        assert_eq!(crate_of("op::main::{closure#0}"), Some("op"));
        assert_eq!(crate_of("<op::A as core::fmt::Debug>::fmt"), None);
    }
}
