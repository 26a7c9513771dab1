//! Reading one file after the other into one buffer.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use podcov_profile::finding::{Finding, Kind};
use rustix::fs::OFlags;

/// No profile is larger; what is was not written by a process.
const MAX_FILE: u64 = 2 << 30;

/// Opens a regular file, and nothing else: it may have become a pipe since it
/// was found, on which opening would wait.
pub fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok((file, meta.len()))
}

/// A buffer that keeps its memory from file to file.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
}

impl Buffer {
    /// The bytes of a file, until the next one is read.
    pub fn read(&mut self, path: &Path) -> Result<&[u8], Finding> {
        let shown = || path.display().to_string();
        let failed = |error: io::Error| Finding::new(Kind::Unreadable, shown(), error.to_string());
        let (mut file, size) = open(path).map_err(failed)?;
        if size > MAX_FILE {
            let text = format!("the file has {size} bytes");
            let limit = format!("at most {MAX_FILE} bytes");
            return Err(Finding::new(Kind::TooLarge, shown(), text).expected(limit));
        }
        let len = self.fill(&mut file, size as usize).map_err(failed)?;
        Ok(self.bytes.get(..len).unwrap_or_default())
    }

    /// What comes from stdin.
    pub fn read_stdin(&mut self) -> Result<&[u8], Finding> {
        self.bytes.clear();
        let mut stdin = io::stdin().lock().take(MAX_FILE + 1);
        let failed = |error: io::Error| Finding::new(Kind::Unreadable, "-", error.to_string());
        let len = stdin.read_to_end(&mut self.bytes).map_err(failed)?;
        if len as u64 > MAX_FILE {
            let text = format!("more than {MAX_FILE} bytes came");
            return Err(Finding::new(Kind::TooLarge, "-", text));
        }
        Ok(&self.bytes)
    }

    /// A file that grows while it is read is read as far as it was.
    fn fill(&mut self, file: &mut File, size: usize) -> io::Result<usize> {
        if self.bytes.len() < size {
            self.bytes.resize(size, 0);
        }
        let mut at = 0;
        while at < size {
            match file.read(&mut self.bytes[at..size]) {
                Ok(0) => break,
                Ok(read) => at += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(at)
    }
}
