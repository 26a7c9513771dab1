//! Which licences our dependencies may have, checked from cargo's own
//! metadata so that it needs neither network nor another tool. `deny.toml`
//! says the same to cargo-deny, which also knows advisories.

use std::collections::BTreeSet;
use std::process::Command;

const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages whose licence is not allowed, or that come from elsewhere than
/// the registry; a line each.
pub fn check(mut tree: Command) -> Result<Vec<String>, String> {
    tree.args([
        "tree",
        "--workspace",
        "--locked",
        "--prefix",
        "none",
        "--no-dedupe",
    ]);
    tree.args(["--edges", "normal,build", "--format", "{p}|{l}"]);
    let output = tree
        .output()
        .map_err(|error| format!("cannot run cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let packages: BTreeSet<&str> = text.lines().filter(|line| line.contains('|')).collect();
    if packages.len() < 50 {
        return Err(format!(
            "expected our dependencies, cargo tree lists {}",
            packages.len()
        ));
    }
    let complaints = packages.iter().filter_map(|line| {
        let (package, licence) = line.rsplit_once('|')?;
        if package.contains("(git+") {
            return Some(format!("{package} comes from git"));
        }
        (!allowed(licence)).then(|| format!("{package} is under `{licence}`"))
    });
    Ok(complaints.collect())
}

/// An SPDX expression holds when one side of every OR does; the old `/` is
/// an OR.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace(" / ", " OR ").replace('/', " OR ");
    let expression = expression.replace(['(', ')'], "");
    // Precise enough for what is in use: `A OR B AND C` never hides a licence
    // that is not allowed behind one that is.
    if expression.contains(" AND ") {
        return expression.split(" AND ").all(any_of);
    }
    any_of(&expression)
}

fn any_of(alternatives: &str) -> bool {
    alternatives
        .split(" OR ")
        .any(|one| ALLOWED.contains(&one.trim()))
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn every_and_needs_one_allowed() {
        assert!(allowed("MIT OR GPL-3.0"));
        assert!(allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(allowed("Unlicense/MIT"));
        assert!(!allowed("GPL-3.0"));
        assert!(!allowed("(MIT OR Apache-2.0) AND GPL-2.0"));
        assert!(!allowed(""));
    }
}
