//! Files that are never half written, and secrets that nobody else can read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// A file that could not be read or written, with the way out.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system's own refusal.
    #[error("{what} {}: {error}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
    /// Others could read or change the file.
    #[error("{0} has mode {mode:04o} and owner {owner}: run 'chown {expected} {0} && chmod go= {0}'", path.display())]
    TooOpen {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// Its owner.
        owner: u32,
        /// Who should own it.
        expected: u32,
    },
    /// Others could change the file or what is in the folder.
    #[error("others than root can change {0} (mode {mode:04o}, owner {owner}): run 'chown root {0} && chmod go-w {0}'", path.display())]
    Changeable {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// Its owner.
        owner: u32,
    },
    /// A link, which somebody else may have put there.
    #[error("{} is a link: put what it leads to in its place", path.display())]
    Link {
        /// What was found.
        path: PathBuf,
    },
    /// Not a plain file.
    #[error("{} is not a plain file: move it away", path.display())]
    NotAFile {
        /// What was found.
        path: PathBuf,
    },
}

impl FileError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { what, path, error }
    }

    /// The system's error kind, if it was the system that refused.
    pub fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { error, .. } => Some(error.kind()),
            Self::TooOpen { .. } | Self::Changeable { .. } | Self::Link { .. } | Self::NotAFile { .. } => None,
        }
    }
}

/// Makes a folder that only its owner may enter, or checks that it is one.
///
/// # Errors
/// [`FileError::TooOpen`] when somebody else could enter or owns it, [`FileError::Link`] when it is a link.
pub fn ensure_private_dir(path: &Path) -> Result<(), FileError> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        return Err(FileError::Link { path: path.to_owned() });
    }
    match DirBuilder::new().mode(0o700).recursive(true).create(path) {
        Ok(()) => check_private(path, &fs::symlink_metadata(path).map_err(FileError::io("look at", path))?),
        Err(error) => Err(FileError::io("make the folder", path)(error)),
    }
}

/// Replaces a file as a whole: a temporary name, synced, renamed, and the folder synced. On any failure (a full disk)
/// the old file stays as it was.
///
/// # Errors
/// [`FileError::Io`].
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = temporary_name(path);
    let _ = fs::remove_file(&temporary);
    let result = create_and_fill(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path).map_err(FileError::io("replace", path)))
        .and_then(|()| sync_folder(path));
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// Makes a secret file that must not exist yet.
///
/// # Errors
/// [`FileError::Io`], of kind `AlreadyExists` when there is one.
pub fn create_secret(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = temporary_name(path);
    let _ = fs::remove_file(&temporary);
    let result = create_and_fill(&temporary, bytes)
        // A hard link fails when the name exists, so an existing key is never replaced.
        .and_then(|()| fs::hard_link(&temporary, path).map_err(FileError::io("make", path)))
        .and_then(|()| sync_folder(path));
    let _ = fs::remove_file(&temporary);
    result
}

/// Reads a secret file of at most `limit` bytes: a plain file, not followed through a link, ours, and readable by
/// nobody else.
///
/// # Errors
/// [`FileError`]; a looser mode or another owner is refused with the command that mends it.
pub fn read_secret(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
        .map_err(|error| why_not_opened(path, error))?;
    let metadata = file.metadata().map_err(FileError::io("look at", path))?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile { path: path.to_owned() });
    }
    check_private(path, &metadata)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(limit).read_to_end(&mut bytes).map_err(FileError::io("read", path))?;
    Ok(bytes)
}

/// Checks that nobody but root and we can change a file, or what is in a folder. Links are followed: what counts is
/// where they lead.
///
/// # Errors
/// [`FileError::Changeable`].
pub fn check_trusted(path: &Path) -> Result<(), FileError> {
    let metadata = fs::metadata(path).map_err(FileError::io("look at", path))?;
    let (mode, owner) = (metadata.permissions().mode() & 0o7777, metadata.uid());
    if mode & 0o022 != 0 || (owner != 0 && owner != crate::users::effective_uid()) {
        return Err(FileError::Changeable { path: path.to_owned(), mode, owner });
    }
    Ok(())
}

/// What keeps a secret file from being opened, as far as it can be seen from outside.
fn why_not_opened(path: &Path, error: io::Error) -> FileError {
    match error.raw_os_error() {
        // What O_NOFOLLOW says to a link.
        Some(libc::ELOOP) => FileError::Link { path: path.to_owned() },
        // Somebody else's file: even root may not read it once it gave that right up.
        Some(libc::EACCES) => fs::symlink_metadata(path)
            .ok()
            .and_then(|metadata| check_private(path, &metadata).err())
            .unwrap_or_else(|| FileError::io("open", path)(error)),
        Some(_) | None => FileError::io("open", path)(error),
    }
}

fn check_private(path: &Path, metadata: &fs::Metadata) -> Result<(), FileError> {
    let (mode, owner) = (metadata.permissions().mode() & 0o7777, metadata.uid());
    let expected = crate::users::effective_uid();
    if mode & 0o077 != 0 || owner != expected {
        return Err(FileError::TooOpen { path: path.to_owned(), mode, owner, expected });
    }
    Ok(())
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn create_and_fill(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)
        .map_err(FileError::io("make", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(FileError::io("write", path))
}

fn sync_folder(path: &Path) -> Result<(), FileError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::io("sync", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_is_ours_alone() {
        let dir = folder();
        let path = dir.path().join("peers.toml");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(*read_secret(&path, 100).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = folder();
        let path = dir.path().join("peers.toml");
        write_atomically(&path, b"old").unwrap();
        // A folder in the way of the temporary name makes the write fail at its first step.
        fs::create_dir_all(dir.path().join("peers.toml.new/in-the-way")).unwrap();
        assert!(write_atomically(&path, b"new").is_err());
        assert_eq!(*read_secret(&path, 100).unwrap(), b"old");
    }

    #[test]
    fn an_existing_key_is_never_replaced() {
        let dir = folder();
        let path = dir.path().join("identity.key");
        create_secret(&path, b"first").unwrap();
        assert_eq!(create_secret(&path, b"second").unwrap_err().kind(), Some(io::ErrorKind::AlreadyExists));
        assert_eq!(*read_secret(&path, 100).unwrap(), b"first");
    }

    #[test]
    fn attack_18_a_key_that_others_can_read_is_refused_with_the_fix() {
        let dir = folder();
        let path = dir.path().join("identity.key");
        create_secret(&path, b"key").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = read_secret(&path, 100).unwrap_err().to_string();
        assert!(refused.contains("0644") && refused.contains("chmod go="), "{refused}");
    }

    #[test]
    fn attack_18_what_others_can_change_is_not_trusted() {
        let dir = folder();
        let (file, link) = (dir.path().join("cryprq.toml"), dir.path().join("link"));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for (mode, trusted) in [(0o600, true), (0o644, true), (0o664, false), (0o646, false)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(check_trusted(&file).is_ok(), trusted, "{mode:o}");
            assert_eq!(check_trusted(&link).is_ok(), trusted, "{mode:o} behind a link");
        }
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o775)).unwrap();
        let refused = check_trusted(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("0775") && refused.contains("chmod go-w"), "{refused}");
        if crate::users::effective_uid() == 0 {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            std::os::unix::fs::chown(&file, Some(12345), None).unwrap();
            assert!(check_trusted(&file).unwrap_err().to_string().contains("12345"));
        } else {
            println!("skipped: another owner's file: run as root");
        }
    }

    #[test]
    fn links_and_special_files_are_refused() {
        let dir = folder();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        create_secret(&real, b"key").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(matches!(read_secret(&link, 100), Err(FileError::Link { .. })));
        let folder = dir.path().join("folder");
        std::os::unix::fs::symlink(dir.path(), &folder).unwrap();
        assert!(matches!(ensure_private_dir(&folder), Err(FileError::Link { .. })));
        assert!(matches!(read_secret(dir.path(), 100), Err(FileError::NotAFile { .. })));
    }

    #[test]
    fn a_folder_that_others_may_enter_is_refused() {
        let dir = folder();
        let path = dir.path().join("state");
        ensure_private_dir(&path).unwrap();
        ensure_private_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(ensure_private_dir(&path), Err(FileError::TooOpen { .. })));
    }
}
