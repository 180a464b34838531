//! TOML files of the state folder: private, with a version, replaced as a whole.

use std::io;
use std::path::{Path, PathBuf};

use os::files::{self, FileError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// The version of every file that this daemon writes.
pub(super) const VERSION: u32 = 1;
/// No file of ours comes near this.
const LIMIT: u64 = 16 << 20;

/// A file of the state folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read or written, or others could.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not what this daemon writes. The text itself is not shown: it may hold secrets.
    #[error("{} is damaged in line {line}: restore it, or move it away", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
    },
    /// A later daemon wrote it.
    #[error(
        "{} has version {version}, and this cryprqd knows {VERSION}: start the cryprqd that wrote it, or move it away",
        path.display()
    )]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

impl StateError {
    /// A file whose fields are read but do not make sense.
    pub(super) fn damaged(path: &Path) -> Self {
        Self::Damaged { path: path.to_owned(), line: 1 }
    }
}

/// Reads a file; `None` when there is none.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    let bytes = match files::read_secret(path, LIMIT) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == Some(io::ErrorKind::NotFound) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| StateError::damaged(path))?;
    let damaged = |error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = 1 + text.bytes().take(start).filter(|&byte| byte == b'\n').count();
        StateError::Damaged { path: path.to_owned(), line }
    };
    // The version alone first: a later file may hold what this daemon does not know.
    let Header { version } = toml::from_str(text).map_err(damaged)?;
    if version != VERSION {
        return Err(StateError::Newer { path: path.to_owned(), version });
    }
    toml::from_str(text).map(Some).map_err(damaged)
}

/// Replaces a file. On any failure the old one stays.
pub(super) fn write(path: &Path, content: &impl Serialize) -> Result<(), StateError> {
    let text = toml::to_string(content).map(Zeroizing::new);
    let text = text.map_err(|error| FileError::Io {
        what: "write",
        path: path.to_owned(),
        error: io::Error::new(io::ErrorKind::InvalidData, error),
    })?;
    Ok(files::write_atomically(path, text.as_bytes())?)
}

#[derive(serde::Deserialize)]
struct Header {
    version: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Content {
        version: u32,
        psk: String,
    }

    fn of(text: &str) -> Result<Option<Content>, StateError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.toml");
        files::write_atomically(&path, text.as_bytes()).unwrap();
        read(&path)
    }

    #[test]
    fn what_was_written_reads_back_and_what_is_not_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.toml");
        assert_eq!(read::<Content>(&path).unwrap(), None);
        let content = Content { version: VERSION, psk: "\"\\\u{202e}\n".into() };
        write(&path, &content).unwrap();
        assert_eq!(read(&path).unwrap(), Some(content));
    }

    #[test]
    fn a_damaged_file_is_named_with_its_line_and_nothing_of_what_it_holds() {
        for text in ["version = 1\npsk = \"hidden\n", "version = 1\npsk = [\"hidden\"]\n", "version = 1\nhidden = 1\n"]
        {
            let error = of(text).unwrap_err();
            let (told, debug) = (error.to_string(), format!("{error:?}"));
            assert!(told.contains("peers.toml is damaged in line 2"), "{told}");
            assert!(!told.contains("hidden") && !debug.contains("hidden"), "{told} {debug}");
        }
        assert!(matches!(of("").unwrap_err(), StateError::Damaged { line: 1, .. }));
    }

    #[test]
    fn a_file_of_a_later_version_is_told_from_a_damaged_one() {
        let error = of("version = 2\nsomething = \"new\"\n").unwrap_err();
        assert!(matches!(error, StateError::Newer { version: 2, .. }), "{error}");
        assert!(matches!(of("version = 0\n").unwrap_err(), StateError::Newer { version: 0, .. }));
    }
}
