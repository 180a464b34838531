//! The journal of system changes: written before each change, undone in reverse at stop, at the next start after a
//! crash, and by `cryprqd --cleanup`.
//!
//! It outlives the kernel, most changes do not: after a boot what is like them is somebody else's.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::files::FileError;
use crate::network::policy::{DefaultRoute, PolicyRule};
use crate::sysctl::Sysctl;

const VERSION: u32 = 1;
/// Another one after each boot; systems without it take every journal for one of this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A change that outlives the process unless it is undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// A TUN interface of ours, with all its addresses and routes; it goes with the process.
    Link {
        /// Its name.
        name: String,
    },
    /// The control socket's file.
    Socket {
        /// Where.
        path: PathBuf,
    },
    /// A rule of policy routing.
    Rule(PolicyRule),
    /// A default route in a table of our own.
    Default(DefaultRoute),
    /// A setting of the kernel.
    Sysctl(Sysctl),
    /// The table of the packet filter.
    Firewall,
    /// The system's resolvers in a file.
    Resolvers {
        /// The file.
        path: PathBuf,
    },
    /// The resolvers of an interface, at systemd-resolved.
    LinkResolvers {
        /// Its name.
        name: String,
        /// Its index.
        index: u32,
    },
}

impl Change {
    /// Whether it is in a file, and so outlives the kernel too.
    const fn outlives_boot(&self) -> bool {
        match self {
            Self::Socket { .. } | Self::Resolvers { .. } => true,
            Self::Link { .. }
            | Self::Rule(_)
            | Self::Default(_)
            | Self::Sysctl(_)
            | Self::Firewall
            | Self::LinkResolvers { .. } => false,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    /// During which boot the changes were made. Journals of daemons before it was written have none, nor has one without
    /// changes, which those daemons read too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<String>,
}

/// What could not be read or undone.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A later daemon wrote it.
    #[error("{} was written by a later version ({version}): run that version's 'cryprqd --cleanup' first", path.display())]
    Newer {
        /// The journal.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// A whole line that means nothing.
    #[error("{} line {line} is damaged: undo what it names by hand, then remove the file", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// Some changes could not be undone; they stay in the journal.
    #[error("could not undo {0:?}: {1}")]
    Undo(Change, io::Error),
}

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    changes: Vec<Change>,
    boot: Option<String>,
}

impl Journal {
    /// Reads the journal, or begins one. A torn last line is a change that was never made, and what another boot took away
    /// is none any more.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(FileError::Io { what: "read", path: path.to_owned(), error }.into()),
        };
        let boot = boot_id();
        let mut changes: Vec<Change> = Vec::new();
        let mut made_in = None;
        // What follows the last line break is torn: empty, or a change that was never made.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _torn)| whole);
        for (i, line) in whole.lines().enumerate() {
            let damaged = || JournalError::Damaged { path: path.to_owned(), line: i + 1 };
            if i == 0 {
                let header: Header = serde_json::from_str(line).map_err(|_| damaged())?;
                let version = header.version;
                if version > VERSION {
                    return Err(JournalError::Newer { path: path.to_owned(), version });
                }
                made_in = header.boot;
            } else {
                changes.push(serde_json::from_str(line).map_err(|_| damaged())?);
            }
        }
        if boot.is_some() && made_in.is_some() && made_in != boot {
            changes.retain(Change::outlives_boot);
        }
        Ok(Self { path: path.to_owned(), changes, boot })
    }

    /// The changes that stand.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Notes a change, synced to disk; make the change only after this returned.
    ///
    /// # Errors
    /// [`JournalError::File`]; the change must not be made then.
    pub fn note(&mut self, change: Change) -> Result<(), JournalError> {
        if self.changes.contains(&change) {
            return Ok(());
        }
        self.changes.push(change);
        self.write().inspect_err(|_| {
            self.changes.pop();
        })
    }

    /// Strikes a change out, synced to disk; undo it before.
    ///
    /// # Errors
    /// [`JournalError::File`]; what was undone is undone once more at the next start then.
    pub fn strike(&mut self, change: &Change) -> Result<(), JournalError> {
        self.changes.retain(|noted| noted != change);
        self.write()
    }

    /// Undoes everything, last change first; undoing what is not there any more has to succeed. What cannot be undone
    /// stays, and the others are undone all the same.
    ///
    /// # Errors
    /// [`JournalError::Undo`] of the first that failed.
    pub async fn undo_all(&mut self, mut undo: impl AsyncFnMut(&Change) -> io::Result<()>) -> Result<(), JournalError> {
        let mut failed = None;
        let mut left = Vec::new();
        for change in std::mem::take(&mut self.changes).into_iter().rev() {
            if let Err(error) = undo(&change).await {
                failed.get_or_insert(JournalError::Undo(change.clone(), error));
                left.push(change);
            }
        }
        left.reverse();
        self.changes = left;
        self.write()?;
        failed.map_or(Ok(()), Err)
    }

    fn write(&self) -> Result<(), JournalError> {
        let boot = self.boot.clone().filter(|_| !self.changes.is_empty());
        let mut text = serde_json::to_string(&Header { version: VERSION, boot }).unwrap_or_default() + "\n";
        for change in &self.changes {
            text += &serde_json::to_string(change).unwrap_or_default();
            text.push('\n');
        }
        Ok(crate::files::write_atomically(&self.path, text.as_bytes())?)
    }
}

fn boot_id() -> Option<String> {
    Some(std::fs::read_to_string(BOOT_ID).ok()?.trim().to_owned())
}

/// A held lock; it goes when it is dropped, or with the process.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, never read")] Flock<File>);

/// Takes the lock that one daemon holds on its state folder.
///
/// # Errors
/// [`FileError::Io`] of kind `WouldBlock` when another daemon has it.
pub fn lock(path: &Path) -> Result<Lock, FileError> {
    let io = |what| move |error| FileError::Io { what, path: path.to_owned(), error };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)
        .map_err(io("open"))?;
    let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| {
        io("lock")(if error == Errno::EWOULDBLOCK {
            io::Error::new(io::ErrorKind::WouldBlock, "another cryprqd uses this state folder")
        } else {
            error.into()
        })
    })?;
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io("write"))?;
    Ok(Lock(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::policy::{Family, Selection, Transport, Way};

    fn link(name: &str) -> Change {
        Change::Link { name: name.into() }
    }

    #[tokio::test]
    async fn changes_are_undone_in_reverse_after_a_restart_and_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        journal.note(link("a")).unwrap();
        journal.note(link("b")).unwrap();
        journal.note(link("a")).unwrap();
        let mut again = Journal::open(&path).unwrap();
        let mut undone = Vec::new();
        for _ in 0..2 {
            let undo = async |change: &Change| {
                undone.push(change.clone());
                Ok(())
            };
            again.undo_all(undo).await.unwrap();
        }
        assert_eq!(undone, [link("b"), link("a")]);
        assert!(Journal::open(&path).unwrap().changes().is_empty());
    }

    #[tokio::test]
    async fn what_cannot_be_undone_stays_and_the_rest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        ["a", "b", "c"].into_iter().for_each(|name| journal.note(link(name)).unwrap());
        let refuse = async |change: &Change| if *change == link("b") { Err(io::Error::other("no")) } else { Ok(()) };
        let result = journal.undo_all(refuse).await;
        assert!(matches!(result, Err(JournalError::Undo(change, _)) if change == link("b")));
        assert_eq!(Journal::open(&path).unwrap().changes(), [link("b")]);
    }

    #[test]
    fn a_change_that_was_undone_is_struck_out_and_every_kind_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        let family = Family::Ipv6;
        let rule = |selection| Change::Rule(PolicyRule { family, priority: 5208, selection });
        let sysctl = Sysctl { key: "net/ipv4/ip_forward".into(), before: "0".into(), set: "1".into() };
        let all = [
            link("a"),
            Change::Socket { path: "/run/s".into() },
            rule(Selection::FromPort { transport: Transport::Udp, port: 1 }),
            rule(Selection::Specific),
            rule(Selection::Unmarked { mark: 1, table: 2 }),
            Change::Default(DefaultRoute { family, table: 2, way: Way::Interface(3) }),
            Change::Default(DefaultRoute { family, table: 2, way: Way::Unreachable }),
            Change::Sysctl(sysctl),
            Change::Firewall,
            Change::Resolvers { path: "/etc/resolv.conf".into() },
            Change::LinkResolvers { name: "a".into(), index: 7 },
        ];
        all.iter().for_each(|change| journal.note(change.clone()).unwrap());
        assert_eq!(Journal::open(&path).unwrap().changes(), all);
        journal.strike(&all[3]).unwrap();
        assert_eq!(Journal::open(&path).unwrap().changes(), [&all[..3], &all[4..]].concat());
    }

    #[test]
    fn attack_16_a_torn_last_line_is_a_change_that_was_never_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        journal.note(link("a")).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(Journal::open(&path).unwrap().changes(), [], "cut at {cut}");
        }
        std::fs::write(&path, "{\"version\":1}\n{\"change\":\"lin\n").unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Damaged { line: 2, .. })));
    }

    /// One change of each kind that is noted with a boot, if any.
    #[cfg(target_os = "linux")]
    fn journal_of(boot: &str, path: &Path) -> Journal {
        let sysctl = r#"{"change":"sysctl","key":"net/ipv4/conf/all/forwarding","before":"0","set":"1"}"#;
        let socket = r#"{"change":"socket","path":"/run/s"}"#;
        let resolvers = r#"{"change":"resolvers","path":"/etc/resolv.conf"}"#;
        let text = format!("{{\"version\":1{boot}}}\n{sysctl}\n{socket}\n{{\"change\":\"firewall\"}}\n{resolvers}\n");
        std::fs::write(path, text).unwrap();
        Journal::open(path).unwrap()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn after_a_boot_only_changes_to_files_are_undone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let files = [Change::Socket { path: "/run/s".into() }, Change::Resolvers { path: "/etc/resolv.conf".into() }];
        let mut journal = journal_of(",\"boot\":\"0d5cbb1a-2c5c-4a7c-9d2f-5a6b7c8d9e0f\"", &path);
        assert_eq!(journal.changes(), files);
        // From here on it is one of this boot.
        journal.note(Change::Firewall).unwrap();
        let expected = [&files[..], &[Change::Firewall]].concat();
        assert_eq!(Journal::open(&path).unwrap().changes(), expected);
        let this = format!(",\"boot\":\"{}\"", boot_id().unwrap());
        for boot in ["", &this] {
            assert_eq!(journal_of(boot, &path).changes().len(), 4, "{boot}");
        }
    }

    #[test]
    fn one_without_changes_is_read_by_daemons_that_know_nothing_of_boots() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        journal.note(link("a")).unwrap();
        journal.strike(&link("a")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"version\":1}\n");
    }

    #[test]
    fn a_later_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        std::fs::write(&path, "{\"version\":2}\n").unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Newer { version: 2, .. })));
    }

    #[test]
    fn one_daemon_at_a_time_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = lock(&path).unwrap();
        assert_eq!(lock(&path).unwrap_err().kind(), Some(io::ErrorKind::WouldBlock));
        drop(first);
        assert!(lock(&path).is_ok());
    }
}
