//! What the launcher tells people: stderr, and where Kubernetes looks for the
//! reason of an end.

use alloc::format;
use alloc::string::{String, ToString};

use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::environment::Environment;
use crate::system;

/// For the container's log.
pub fn quietly(text: &str) {
    let _ = write_all(
        system::standard(2),
        format!("podcov-launcher: {text}\n").as_bytes(),
    );
}

/// An answer.
pub fn out(text: &str) {
    let _ = write_all(system::standard(1), text.as_bytes());
}

/// For the log and for the container's termination message, where the ledger
/// finds it when there is no evidence to read.
pub fn loudly(env: &Environment, text: &str) {
    quietly(text);
    let path = env
        .get("TERMINATION_LOG")
        .unwrap_or(b"/dev/termination-log");
    // Never created: outside a container it would be a stray file.
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
    if let Ok(file) = open(path, flags, Mode::empty()) {
        let _ = write_all(&file, format!("podcov-launcher: {text}\n").as_bytes());
    }
}

/// Writes all of it.
pub fn write_all(to: impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What went wrong, in the words that people know.
pub fn reason(error: Errno) -> String {
    let known = match error {
        Errno::NOSPC => "No space left on device",
        Errno::DQUOT => "Disk quota exceeded",
        Errno::ACCESS => "Permission denied",
        Errno::PERM => "Operation not permitted",
        Errno::ROFS => "Read-only file system",
        Errno::NOENT => "No such file or directory",
        Errno::NOTDIR => "Not a directory",
        Errno::NOEXEC => "Exec format error",
        Errno::TXTBSY => "Text file busy",
        Errno::TOOBIG => "Argument list too long",
        Errno::LOOP => "Too many levels of symbolic links",
        Errno::NAMETOOLONG => "File name too long",
        Errno::NOMEM => "Out of memory",
        Errno::AGAIN => "Too many processes",
        Errno::IO => "Input/output error",
        other => return format!("error {}", other.raw_os_error()),
    };
    known.to_string()
}
