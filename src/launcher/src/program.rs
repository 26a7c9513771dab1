//! Finding the component's program, and saying why it cannot be started in
//! words that lead to the fault in the image.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use rustix::fs::{Access, FileType, Mode, OFlags, access, open, stat};
use rustix::io::Errno;

use crate::say::reason;

/// The status of a program that is not there.
pub const NOT_FOUND: i32 = 127;
/// The status of a program that is there and cannot be executed.
pub const NOT_EXECUTABLE: i32 = 126;

/// A status and a message.
pub type Failure = (i32, String);

/// The file that `program` means: looked up in `path` (the variable PATH) if
/// it has no slash, and checked for what exec would say too little about.
pub fn find(program: &[u8], path: Option<&[u8]>) -> Result<Vec<u8>, Failure> {
    let name = String::from_utf8_lossy(program);
    if program.contains(&b'/') {
        check(program)?;
        return Ok(program.to_owned());
    }
    let path = path.unwrap_or(b"/bin:/usr/bin");
    let place = |dir: &[u8]| match dir {
        b"" => [b"./", program].concat(),
        dir => [dir, b"/", program].concat(),
    };
    let found = path.split(|byte| *byte == b':').map(place).find(|file| {
        let is_file = |mode| FileType::from_raw_mode(mode) == FileType::RegularFile;
        stat(file).is_ok_and(|found| is_file(found.st_mode))
            && access(file, Access::EXEC_OK).is_ok()
    });
    let file = found.ok_or_else(|| {
        let path = String::from_utf8_lossy(path);
        (
            NOT_FOUND,
            format!("cannot start `{name}`: no such program in PATH ({path})"),
        )
    })?;
    check(&file)?;
    Ok(file)
}

/// The machine this launcher was built for, as ELF numbers it.
const MACHINE: u16 = if cfg!(target_arch = "x86_64") {
    62
} else {
    183
};

/// Refuses what is neither a program for this machine nor a script: exec would
/// only say "exec format error".
fn check(file: &[u8]) -> Result<(), Failure> {
    // A program may be executable and yet not readable; exec decides then.
    let Ok(start) = first_bytes(file) else {
        return Ok(());
    };
    let name = String::from_utf8_lossy(file);
    let refuse = |why: String| Err((NOT_EXECUTABLE, format!("cannot start {name}: {why}")));
    if start.starts_with(b"\x7fELF") && start.len() == 20 {
        let machine = u16::from_le_bytes([start[18], start[19]]);
        if machine != MACHINE {
            return refuse(format!(
                "it was built for another machine ({}) than this one ({})",
                machine_name(machine),
                machine_name(MACHINE)
            ));
        }
    } else if !start.starts_with(b"#!") {
        return refuse("it is neither a program nor a script that begins with #!".to_owned());
    }
    Ok(())
}

fn first_bytes(file: &[u8]) -> Result<Vec<u8>, Errno> {
    let file = open(file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = [0; 20];
    let count = rustix::io::read(&file, &mut bytes)?;
    Ok(bytes[..count].to_owned())
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
pub fn failure(file: &[u8], error: Errno) -> Failure {
    let name = String::from_utf8_lossy(file);
    match error {
        Errno::NOENT if stat(file).is_ok() => (
            NOT_FOUND,
            format!(
                "cannot start {name}: it is there, but not the interpreter or dynamic loader that \
                 it asks for; link it statically or put those into the image"
            ),
        ),
        Errno::NOENT => (NOT_FOUND, format!("cannot start {name}: no such file")),
        _ => (
            NOT_EXECUTABLE,
            format!("cannot start {name}: {}", reason(error)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_program_of_another_machine_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x");
        let mut bytes = first_bytes(b"/proc/self/exe").unwrap();
        bytes[18] = if bytes[18] == 183 { 62 } else { 183 };
        fs::write(&file, bytes).unwrap();
        let (status, message) = find(file.as_os_str().as_bytes(), None).unwrap_err();
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
        let path = path.as_bytes();
        assert_eq!(
            find(b"tool", Some(path)),
            Ok(file.as_os_str().as_bytes().to_vec())
        );
        let (status, message) = find(b"tol", Some(path)).unwrap_err();
        assert_eq!(status, NOT_FOUND);
        assert!(message.contains("`tol`"), "{message}");
    }
}
