//! The shared libraries that a dynamic program needs in an image.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use podcov_profile::elf;

/// The files that `program` needs besides itself: the path in the image, and
/// the file on this machine. Empty for a static program.
///
/// They are found as the loader would find them by `ld.so.conf`, without
/// starting the program (it may be for another machine, and `ldd` runs it). A
/// library that this machine keeps in a place of its own goes beside the C
/// library, where every loader looks without a cache.
pub(crate) fn needed_by(
    program: &elf::Program,
    root: &Path,
) -> Result<BTreeMap<String, PathBuf>, String> {
    let mut found = BTreeMap::new();
    let mut names = BTreeMap::<String, PathBuf>::new();
    let folders = folders(root);
    let mut queue: VecDeque<String> = program.needed.iter().cloned().collect();
    while let Some(name) = queue.pop_front() {
        if names.contains_key(&name) {
            continue;
        }
        let candidates = folders.iter().map(|folder| folder.join(&name));
        let of_machine = |file: &PathBuf| {
            let bytes = fs::read(file).ok()?;
            elf::read(&bytes)
                .ok()
                .filter(|library| library.arch == program.arch)
        };
        let library = candidates.filter(|file| file.is_file()).find_map(|file| {
            let library = of_machine(&file)?;
            Some((file, library))
        });
        let Some((file, library)) = library else {
            return Err(format!(
                "it needs the shared library {name} for {}, which is not in {}; install it, or \
                 link statically",
                program.arch,
                folders
                    .iter()
                    .map(|f| f.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            ));
        };
        queue.extend(library.needed);
        names.insert(name, file);
    }
    let default = names
        .get("libc.so.6")
        .and_then(|file| file.parent())
        .map(Path::to_owned);
    for (name, file) in names {
        let folder = default
            .as_deref()
            .or(file.parent())
            .unwrap_or(Path::new("/lib"));
        let folder = Path::new("/").join(folder.strip_prefix(root).unwrap_or(folder));
        found.insert(folder.join(name).to_string_lossy().into_owned(), file);
    }
    if let Some(interpreter) = &program.interpreter {
        let file = root.join(interpreter.trim_start_matches('/'));
        if !file.is_file() {
            return Err(format!(
                "it needs the loader {interpreter}, which is not on this machine; link statically"
            ));
        }
        found.insert(interpreter.clone(), file);
    }
    Ok(found)
}

/// Where the loader looks: `ld.so.conf`, then its own places.
fn folders(root: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    read_conf(root, &root.join("etc/ld.so.conf"), &mut folders, 0);
    let own = [
        "lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu",
        "lib/aarch64-linux-gnu",
    ];
    let own = own.iter().chain(&[
        "usr/lib/aarch64-linux-gnu",
        "lib64",
        "usr/lib64",
        "lib",
        "usr/lib",
    ]);
    // The loader's own places first here: what lies in both is the same, and
    // these need no cache.
    let mut all: Vec<_> = own.map(|folder| root.join(folder)).collect();
    all.append(&mut folders);
    all.retain(|folder| folder.is_dir());
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|folder| seen.insert(folder.clone()));
    all
}

fn read_conf(root: &Path, file: &Path, folders: &mut Vec<PathBuf>, depth: u32) {
    let Ok(text) = fs::read_to_string(file) else {
        return;
    };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let below = |path: &str| root.join(path.trim_start_matches('/'));
        match line.strip_prefix("include") {
            Some(pattern) if depth < 4 => {
                // In practice the pattern is always a folder and `*.conf`.
                let pattern = below(pattern.trim());
                let Some(dir) = pattern.parent() else {
                    continue;
                };
                let mut files: Vec<_> = fs::read_dir(dir)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.path())
                    .filter(|path| path.extension().is_some_and(|ext| ext == "conf"))
                    .collect();
                files.sort();
                for file in files {
                    read_conf(root, &file, folders, depth + 1);
                }
            }
            None if line.starts_with('/') => folders.push(below(line)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(needed: &[&str]) -> elf::Program {
        let bytes = fs::read("/proc/self/exe").unwrap();
        let mut program = elf::read(&bytes).unwrap();
        program.needed = needed.iter().map(|name| (*name).to_owned()).collect();
        program
    }

    #[test]
    fn the_test_itself_gets_loader_and_libraries() {
        let bytes = fs::read("/proc/self/exe").unwrap();
        let program = elf::read(&bytes).unwrap();
        let found = needed_by(&program, Path::new("/")).unwrap();
        assert!(found.contains_key(program.interpreter.as_deref().unwrap()));
        for name in &program.needed {
            assert!(
                found.keys().any(|path| path.ends_with(&format!("/{name}"))),
                "{name}"
            );
        }
    }

    #[test]
    fn a_library_in_a_place_of_its_own_goes_beside_the_c_library() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for dir in ["etc/ld.so.conf.d", "lib", "opt/own"] {
            fs::create_dir_all(at(dir)).unwrap();
        }
        fs::write(at("etc/ld.so.conf"), "include /etc/ld.so.conf.d/*.conf\n").unwrap();
        fs::write(at("etc/ld.so.conf.d/own.conf"), "# ours\n/opt/own\n").unwrap();
        let real = needed_by(&program(&["libc.so.6"]), Path::new("/")).unwrap();
        let libc = real
            .iter()
            .find(|(path, _)| path.ends_with("libc.so.6"))
            .unwrap()
            .1;
        fs::copy(libc, at("lib/libc.so.6")).unwrap();
        fs::copy(libc, at("opt/own/libown.so")).unwrap();
        // libc itself needs the loader by its name.
        let mut wanted = program(&["libown.so", "libc.so.6"]);
        wanted.interpreter = None;
        for name in elf::read(&fs::read(libc).unwrap()).unwrap().needed {
            fs::copy(libc, at("lib").join(name)).unwrap();
        }
        let found = needed_by(&wanted, root.path()).unwrap();
        assert_eq!(found["/lib/libown.so"], at("opt/own/libown.so"));
        assert_eq!(found["/lib/libc.so.6"], at("lib/libc.so.6"));
    }

    #[test]
    fn a_missing_library_is_named() {
        let message = needed_by(&program(&["libnone.so.7"]), Path::new("/")).unwrap_err();
        assert!(
            message.contains("libnone.so.7") && message.contains("statically"),
            "{message}"
        );
    }
}
