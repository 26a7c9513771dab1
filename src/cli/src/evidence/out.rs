//! Where results go: stdout, or a file that is there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// For people and programs.
    Text,
    /// Not for a terminal.
    Binary,
}

/// Writes a result to `out`, or to stdout where there is none.
///
/// The file is written beside its place and renamed, so that nobody reads half
/// of it, and what was there stays until the new one is whole. A link stays a
/// link, and what is no regular file (`/dev/null`, a pipe) is written to.
pub fn write<E: Into<WriteError>>(
    out: Option<&Path>,
    content: Content,
    body: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), Failure> {
    let Some(path) = out.filter(|path| path.as_os_str() != "-") else {
        let stdout = io::stdout();
        if content == Content::Binary && stdout.is_terminal() {
            return Err(
                Failure::new(Exit::Usage, "the result is binary, stdout is a terminal")
                    .help("name a file with -o, or redirect stdout"),
            );
        }
        return stream(stdout.lock(), "stdout", body);
    };
    let shown = path.display().to_string();
    if fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir()) {
        let file = File::options().write(true).open(path);
        let file = file.map_err(|error| failed(&shown, &error.into()))?;
        return stream(file, &shown, body);
    }
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let temporary = beside(path);
    let written = create(&temporary).and_then(|file| {
        let mut file = BufWriter::with_capacity(1 << 16, file);
        body(&mut file).map_err(Into::into)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(fs::rename(&temporary, path)?)
    });
    written.map_err(|error| {
        // Best effort: the error that is told is the first one.
        let _ = fs::remove_file(&temporary);
        failed(&shown, &error)
    })
}

/// Writes to what cannot be renamed.
fn stream<E: Into<WriteError>>(
    to: impl Write,
    shown: &str,
    body: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), Failure> {
    let mut to = BufWriter::with_capacity(1 << 16, to);
    let written = body(&mut to)
        .map_err(Into::into)
        .and_then(|()| to.flush().map_err(WriteError::from));
    match written {
        // A reader that has read enough is no fault.
        Err(WriteError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| failed(shown, &error)),
    }
}

/// Writes the files of a folder, which must be new or empty.
pub fn write_folder(
    out: &Path,
    files: impl IntoIterator<Item = (String, Vec<u8>)>,
) -> Result<(), Failure> {
    let fail = |error: io::Error| failed(&out.display().to_string(), &error.into());
    if let Ok(mut entries) = fs::read_dir(out)
        && entries.next().is_some()
    {
        let text = format!(
            "expected a new or empty folder, found files in `{}`",
            out.display()
        );
        return Err(Failure::new(Exit::Usage, text).help("name another folder, or remove it"));
    }
    let temporary = beside(out);
    let written = fs::create_dir_all(&temporary).and_then(|()| {
        for (name, bytes) in files {
            fs::write(temporary.join(name), bytes)?;
        }
        // An empty folder is replaced by a rename.
        fs::rename(&temporary, out)
    });
    written.map_err(|error| {
        let _ = fs::remove_dir_all(&temporary);
        fail(error)
    })
}

/// Fails early where the result could not be written, before the long work.
pub fn check(out: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = out.filter(|path| path.as_os_str() != "-") else {
        return Ok(());
    };
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        let text = format!("there is no folder `{}` to write to", folder.display());
        return Err(Failure::new(Exit::Usage, text));
    }
    Ok(())
}

/// Why a result was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file or the pipe.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What was to be written.
    #[error("{0}")]
    Content(String),
}

impl From<podcov_profile::store::WriteError> for WriteError {
    fn from(error: podcov_profile::store::WriteError) -> Self {
        match error {
            podcov_profile::store::WriteError::Io(error) => WriteError::Io(error),
            other => WriteError::Content(other.to_string()),
        }
    }
}

fn failed(what: &str, error: &WriteError) -> Failure {
    Failure::new(Exit::Fault, format!("cannot write to `{what}`: {error}"))
}

fn create(path: &Path) -> Result<File, WriteError> {
    Ok(File::options().write(true).create_new(true).open(path)?)
}

/// A name that no other process uses at this time.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or("out".as_ref()));
    name.push(format!(".{}", std::process::id()));
    path.with_file_name(name)
}
