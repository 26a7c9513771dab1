//! Finding the component's program, and saying why it cannot be started in
//! words that lead to the fault in the image.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The status of a program that is not there.
pub const NOT_FOUND: i32 = 127;
/// The status of a program that is there and cannot be executed.
pub const NOT_EXECUTABLE: i32 = 126;

/// A status and a message.
pub type Failure = (i32, String);

/// The file that `program` means: looked up in `path` (the variable PATH) if
/// it has no slash, and checked for what exec would say too little about.
pub fn find(program: &OsStr, path: Option<OsString>) -> Result<PathBuf, Failure> {
    let name = program.to_string_lossy();
    if program.as_bytes().contains(&b'/') {
        let file = PathBuf::from(program);
        check(&file)?;
        return Ok(file);
    }
    let path = path.unwrap_or("/bin:/usr/bin".into());
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| {
            file.metadata()
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        });
    let file = found.ok_or_else(|| {
        let path = path.to_string_lossy();
        (
            NOT_FOUND,
            format!("cannot start `{name}`: no such program in PATH ({path})"),
        )
    })?;
    check(&file)?;
    Ok(file)
}

/// Refuses what is neither a program for this machine nor a script. exec would
/// say "exec format error", or the C library would try it as a shell script.
fn check(file: &Path) -> Result<(), Failure> {
    // A program may be executable and yet not readable; exec decides then.
    let Some(start) = first_bytes(file) else {
        return Ok(());
    };
    let refuse = |why: String| {
        Err((
            NOT_EXECUTABLE,
            format!("cannot start {}: {why}", file.display()),
        ))
    };
    let machine = |bytes: &[u8]| u16::from_le_bytes([bytes[18], bytes[19]]);
    if start.starts_with(b"\x7fELF") && start.len() == 20 {
        let own = first_bytes(Path::new("/proc/self/exe")).map(|bytes| machine(&bytes));
        if own.is_some_and(|own| own != machine(&start)) {
            return refuse(format!(
                "it was built for another machine ({}) than this one ({})",
                machine_name(machine(&start)),
                std::env::consts::ARCH
            ));
        }
    } else if !start.starts_with(b"#!") {
        return refuse("it is neither a program nor a script that begins with #!".to_owned());
    }
    Ok(())
}

fn first_bytes(file: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)
        .ok()?
        .take(20)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}

fn machine_name(machine: u16) -> String {
    match machine {
        62 => "x86_64".to_owned(),
        183 => "aarch64".to_owned(),
        40 => "arm".to_owned(),
        243 => "riscv64".to_owned(),
        other => format!("ELF machine {other}"),
    }
}

/// What it means that exec of `file` failed.
pub fn failure(file: &Path, error: &io::Error) -> Failure {
    let name = file.display();
    match error.kind() {
        ErrorKind::NotFound if file.exists() => (
            NOT_FOUND,
            format!(
                "cannot start {name}: it is there, but not the interpreter or dynamic loader that \
                 it asks for; link it statically or put those into the image"
            ),
        ),
        ErrorKind::NotFound => (NOT_FOUND, format!("cannot start {name}: no such file")),
        _ => (NOT_EXECUTABLE, format!("cannot start {name}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_program_of_another_machine_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x");
        let mut bytes = first_bytes(Path::new("/proc/self/exe")).unwrap();
        bytes[18] = if bytes[18] == 183 { 62 } else { 183 };
        fs::write(&file, bytes).unwrap();
        let (status, message) = find(file.as_os_str(), None).unwrap_err();
        assert_eq!(status, NOT_EXECUTABLE);
        assert!(message.contains("another machine (aarch64)") || message.contains("(x86_64)"));
    }

    #[test]
    fn names_without_a_slash_are_looked_up_in_path() {
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        // Not executable, so it is passed over as exec would.
        fs::write(other.path().join("tool"), "#!/bin/true\n").unwrap();
        let file = dir.path().join("tool");
        fs::write(&file, "#!/bin/true\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let path = std::env::join_paths([other.path(), dir.path()]).unwrap();
        assert_eq!(find(OsStr::new("tool"), Some(path.clone())), Ok(file));
        let (status, message) = find(OsStr::new("tol"), Some(path)).unwrap_err();
        assert_eq!(status, NOT_FOUND);
        assert!(message.contains("`tol`"), "{message}");
    }
}
