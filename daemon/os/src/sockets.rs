//! The control socket's file: never open for a moment to those it is not for.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The longest path of a Unix socket on every system that we run on: macOS's `sun_path` of 104 bytes with its zero.
pub const MAX_PATH: usize = 103;

/// A socket that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The path does not fit a socket address.
    #[error("{} is longer than the {MAX_PATH} bytes of a socket's path: choose a shorter folder", .0.display())]
    TooLong(PathBuf),
    /// Another process listens there.
    #[error("another daemon listens on {}: stop it first", .0.display())]
    InUse(PathBuf),
    /// Something else than a socket is there.
    #[error("{} is in the way and is no socket: move it away", .0.display())]
    Foreign(PathBuf),
    /// Others could put something of theirs in its place.
    #[error("{} must be a folder that only root, or who runs this, may write to: give it that owner and mode 0755", .0.display())]
    Shared(PathBuf),
    /// The system refused.
    #[error("cannot make the socket {}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Makes a listening socket with `mode` and `group`, in a folder that nobody but root and we may write to.
///
/// It is bound in a folder that only we may enter, gets mode and group there, and is then renamed into place: at no
/// moment can somebody connect whom the mode forbids. What is in the way is removed only if it is a socket that
/// nobody listens on.
///
/// # Errors
/// [`SocketError`].
pub fn listen(path: &Path, mode: u32, group: Option<u32>) -> Result<UnixListener, SocketError> {
    // The name inside the private folder is the longer one.
    let folder = path.parent().unwrap_or(Path::new("/"));
    let private = folder.join(".new");
    let inner = private.join("s");
    if path.as_os_str().len() > MAX_PATH || inner.as_os_str().len() > MAX_PATH {
        return Err(SocketError::TooLong(path.to_owned()));
    }
    check_folder(folder)?;
    clear_the_way(path)?;
    let io = |error| SocketError::Io { path: path.to_owned(), error };
    let _ = fs::remove_dir_all(&private);
    DirBuilder::new().mode(0o700).create(&private).map_err(io)?;
    let made = UnixListener::bind(&inner).and_then(|listener| {
        // A service manager that started us with this group has taken the right to change it.
        if group.is_some_and(|group| fs::symlink_metadata(&inner).is_ok_and(|made| made.gid() != group)) {
            chown(&inner, None, group)?;
        }
        fs::set_permissions(&inner, fs::Permissions::from_mode(mode))?;
        fs::rename(&inner, path)?;
        Ok(listener)
    });
    let _ = fs::remove_dir_all(&private);
    made.map_err(io)
}

fn check_folder(folder: &Path) -> Result<(), SocketError> {
    let io = |error| SocketError::Io { path: folder.to_owned(), error };
    let metadata = fs::symlink_metadata(folder).map_err(io)?;
    let owned = [0, crate::users::effective_uid()].contains(&metadata.uid());
    let writable_for_others = metadata.mode() & 0o022 != 0;
    if metadata.is_dir() && owned && !writable_for_others {
        Ok(())
    } else {
        Err(SocketError::Shared(folder.to_owned()))
    }
}

fn clear_the_way(path: &Path) -> Result<(), SocketError> {
    let io = |error| SocketError::Io { path: path.to_owned(), error };
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
        Ok(metadata) => metadata,
    };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::Foreign(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(io),
        Err(error) => Err(io(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_stale_socket_gives_way_and_a_live_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let first = listen(&path, 0o660, None).unwrap();
        assert!(matches!(listen(&path, 0o660, None), Err(SocketError::InUse(_))));
        drop(first);
        let _second = listen(&path, 0o600, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn attack_05_whatever_squats_on_the_path_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let target = dir.path().join("target");
        fs::write(&target, b"precious").unwrap();
        let squatters: [(&str, &dyn Fn()); 4] = [
            ("a file", &|| fs::write(&path, b"x").unwrap()),
            ("a link", &|| std::os::unix::fs::symlink(&target, &path).unwrap()),
            ("a folder", &|| fs::create_dir(&path).unwrap()),
            ("a fifo", &|| nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap()),
        ];
        for (what, squat) in squatters {
            squat();
            assert!(matches!(listen(&path, 0o660, None), Err(SocketError::Foreign(_))), "{what}");
            assert!(fs::symlink_metadata(&path).is_ok(), "{what} was removed");
            fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
        }
        assert_eq!(fs::read(&target).unwrap(), b"precious");
    }

    #[test]
    fn attack_05_a_folder_that_others_may_write_to_holds_no_socket() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("run");
        fs::create_dir(&folder).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        for mode in [0o777, 0o775, 0o1777, 0o757] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(listen(&folder.join("s"), 0o600, None), Err(SocketError::Shared(_))), "{mode:o}");
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(listen(&link.join("s"), 0o600, None), Err(SocketError::Shared(_))), "a link");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing was made in it");
        if crate::users::effective_uid() == 0 {
            chown(&folder, Some(65_534), None).unwrap();
            assert!(matches!(listen(&folder.join("s"), 0o600, None), Err(SocketError::Shared(_))), "another's");
            chown(&folder, Some(0), None).unwrap();
        }
        assert!(listen(&folder.join("s"), 0o600, None).is_ok());
    }

    #[test]
    fn attack_06_the_socket_never_has_a_looser_mode_than_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let (stop, seen) = (AtomicBool::new(false), AtomicU32::new(0));
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(metadata) = fs::symlink_metadata(&path) {
                        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "at the public name");
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            // At least so many, and until the watcher had its turn while one was there.
            let (mut made, end) = (0, Instant::now() + Duration::from_secs(60));
            while made < 200 || seen.load(Ordering::Relaxed) == 0 {
                drop(listen(&path, 0o600, None).unwrap());
                made += 1;
                if watcher.is_finished() || Instant::now() > end {
                    break;
                }
            }
            stop.store(true, Ordering::Relaxed);
            watcher.join().unwrap();
        });
        assert!(seen.into_inner() > 0, "the watcher looked while sockets were made");
    }

    #[test]
    fn a_path_that_does_not_fit_is_refused_before_anything_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x".repeat(100));
        assert!(matches!(listen(&path, 0o660, None), Err(SocketError::TooLong(_))));
    }
}
