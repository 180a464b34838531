//! `/etc/resolv.conf`, where no other program administers the resolvers.
//!
//! What was there, a file, a link or nothing, is kept under another name in the same folder, and both are exchanged in one
//! step: at no moment, whatever ends the process, is there no file or half of one.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The file.
pub const PATH: &str = "/etc/resolv.conf";
/// What it begins with while it is ours.
const OURS: &str = "# Written by cryprqd: all traffic of this host goes through an exit. What was here is in ";
const KEPT: &str = "before-cryprq";

/// The name servers of a file, as resolv.conf(5) has them.
///
/// # Errors
/// When it cannot be read.
pub fn name_servers(path: &Path) -> io::Result<Vec<IpAddr>> {
    Ok(servers_in(&fs::read_to_string(path)?))
}

fn servers_in(text: &str) -> Vec<IpAddr> {
    let values = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())?
    });
    // A zone says which link a link-local address is on, which counts on that link only.
    values.filter_map(|value| value.split('%').next()?.parse().ok()).collect()
}

/// Puts these resolvers in the place of what is at `path`.
///
/// # Errors
/// Why not; nothing has changed then.
pub fn replace(path: &Path, servers: &[IpAddr]) -> io::Result<()> {
    let kept = kept(path);
    let refused = |what: &str, error: &io::Error| {
        io::Error::new(error.kind(), format!("cannot {what} {}: {error}", path.display()))
    };
    let text = text(path, servers);
    create(&kept, &text).map_err(|error| refused("keep what is in", &error))?;
    let exchanged = if is_gone(path) {
        fs::rename(&kept, path)
    } else {
        exchange(&kept, path).or_else(|error| match error.raw_os_error() {
            // Something is mounted there, as in a container: a mount keeps its place, so what it holds is changed.
            Some(libc::EBUSY) => overwrite(path, &kept, &text),
            Some(_) | None => Err(error),
        })
    };
    exchanged.map_err(|error| {
        let _ = fs::remove_file(&kept);
        refused("replace", &error)
    })
}

/// Puts these resolvers there again if another program wrote others since [`replace`]: [`restore`] then puts back what that
/// one wrote. Whether it was so.
///
/// # Errors
/// Why not; it can be tried again.
pub fn keep(path: &Path, servers: &[IpAddr]) -> io::Result<bool> {
    // One that cannot be read, such as a link that leads nowhere, names none of them.
    if name_servers(path).is_ok_and(|named| named == servers) {
        return Ok(false);
    }
    // In this order what the other program wrote is never lost, whatever ends the process in between.
    restore(path)?;
    replace(path, servers)?;
    Ok(true)
}

/// Puts back what was at `path`, unless somebody else replaced it since then.
///
/// # Errors
/// Why not; it can be tried again.
pub fn restore(path: &Path) -> io::Result<()> {
    let kept = kept(path);
    let ours = is_ours(path);
    match (ours, fs::symlink_metadata(&kept).is_ok()) {
        (true, true) => fs::rename(&kept, path).or_else(|error| match error.raw_os_error() {
            Some(libc::EBUSY) => put_back(path, &kept),
            Some(_) | None => Err(error),
        }),
        (true, false) => fs::remove_file(path),
        // Somebody removed ours: what was there before is better than nothing.
        (false, true) if is_gone(path) && !is_ours(&kept) => fs::rename(&kept, path),
        // Either the exchange was never made, or what is there is newer.
        (false, true) => fs::remove_file(&kept),
        (false, false) => Ok(()),
    }
}

fn kept(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(KEPT);
    name.into()
}

fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn is_ours(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
        && fs::read_to_string(path).is_ok_and(|text| text.starts_with(OURS))
}

/// The search list and the options stay.
fn text(path: &Path, servers: &[IpAddr]) -> String {
    let before = fs::read_to_string(path).unwrap_or_default();
    let stays = |line: &&str| {
        ["search", "domain", "options"].contains(&line.split_ascii_whitespace().next().unwrap_or_default())
    };
    let mut text = format!("{OURS}{}\n", kept(path).display());
    for server in servers {
        text += &format!("nameserver {server}\n");
    }
    before.lines().filter(stays).fold(text, |text, line| text + line + "\n")
}

fn create(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    // The umask is tight, and everybody reads this file.
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(target_os = "linux")]
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    Ok(renameat2(AT_FDCWD, a, AT_FDCWD, b, RenameFlags::RENAME_EXCHANGE)?)
}

#[cfg(target_os = "macos")]
fn exchange(_a: &Path, _b: &Path) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "on macOS the extension's settings carry the resolvers"))
}

/// The copy is whole and on the disk before anything changes.
fn overwrite(path: &Path, kept: &Path, text: &str) -> io::Result<()> {
    let before = fs::read_to_string(path)?;
    fs::remove_file(kept)?;
    create(kept, &before)?;
    write_into(path, text)
}

fn put_back(path: &Path, kept: &Path) -> io::Result<()> {
    write_into(path, &fs::read_to_string(kept)?)?;
    fs::remove_file(kept)
}

fn write_into(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const SERVERS: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::new(10, 86, 0, 1))];

    /// Every name in a folder, and what it is.
    fn state(folder: &Path) -> Vec<(String, String)> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<_> = entries
            .map(|path| {
                let what = fs::read_link(&path).map_or_else(
                    |_| {
                        format!(
                            "{:?} {:o}",
                            fs::read_to_string(&path),
                            fs::metadata(&path).unwrap().permissions().mode()
                        )
                    },
                    |target| format!("-> {}", target.display()),
                );
                (path.file_name().unwrap().to_string_lossy().into_owned(), what)
            })
            .collect();
        all.sort();
        all
    }

    type Make = fn(&Path);
    const BEFORE: [(&str, Make); 4] = [
        ("a file", |path| fs::write(path, "nameserver 192.0.2.53\nsearch example.org\noptions edns0\n").unwrap()),
        ("a link", |path| {
            fs::write(path.with_file_name("real"), "nameserver 192.0.2.53\n").unwrap();
            symlink("real", path).unwrap();
        }),
        ("a dangling link", |path| symlink("/run/nowhere/resolv.conf", path).unwrap()),
        ("nothing", |_| {}),
    ];

    #[test]
    fn whatever_was_there_comes_back_as_it_was() {
        for (what, make) in BEFORE {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("resolv.conf");
            make(&path);
            let before = state(dir.path());
            replace(&path, &SERVERS).unwrap();
            assert_eq!(name_servers(&path).unwrap(), SERVERS, "{what}");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644, "{what}");
            // Once more does no harm.
            for _ in 0..2 {
                restore(&path).unwrap();
                assert_eq!(state(dir.path()), before, "{what}");
            }
        }
    }

    #[test]
    fn the_search_list_and_the_options_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        (BEFORE[0].1)(&path);
        replace(&path, &SERVERS).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("\nnameserver 10.86.0.1\nsearch example.org\noptions edns0\n"), "{text}");
    }

    #[test]
    fn attack_16_a_change_that_was_begun_and_not_made_is_undone_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        (BEFORE[0].1)(&path);
        let before = state(dir.path());
        create(&kept(&path), &text(&path, &SERVERS)).unwrap();
        restore(&path).unwrap();
        assert_eq!(state(dir.path()), before);
    }

    #[test]
    fn what_another_program_wrote_since_then_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        (BEFORE[0].1)(&path);
        replace(&path, &SERVERS).unwrap();
        fs::write(&path, "nameserver 198.51.100.53\n").unwrap();
        restore(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "nameserver 198.51.100.53\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
    }

    /// What another program may do to the file, and what is there then.
    const WRITTEN: [(&str, Make); 4] = [
        ("into it", |path| fs::write(path, "nameserver 198.51.100.53\n").unwrap()),
        ("another file", |path| {
            fs::write(path.with_file_name("new"), "nameserver 198.51.100.53\n").unwrap();
            fs::rename(path.with_file_name("new"), path).unwrap();
        }),
        ("a link", |path| {
            fs::write(path.with_file_name("other"), "nameserver 198.51.100.53\n").unwrap();
            fs::remove_file(path).unwrap();
            symlink("other", path).unwrap();
        }),
        ("a dangling link", |path| {
            fs::remove_file(path).unwrap();
            symlink("/run/elsewhere/resolv.conf", path).unwrap();
        }),
    ];

    #[test]
    fn what_another_program_wrote_does_not_count_until_it_comes_back() {
        for (what, make) in BEFORE {
            for (how, write) in WRITTEN {
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("resolv.conf");
                make(&path);
                replace(&path, &SERVERS).unwrap();
                assert!(!keep(&path, &SERVERS).unwrap(), "{what}: nothing was done to it");
                // What came in between is forgotten.
                fs::write(&path, "nameserver 203.0.113.53\n").unwrap();
                assert!(keep(&path, &SERVERS).unwrap(), "{what}, {how}");
                write(&path);
                let mut expected = state(dir.path());
                expected.retain(|(name, _)| !name.ends_with(KEPT));
                assert!(keep(&path, &SERVERS).unwrap(), "{what}, {how}");
                assert_eq!(name_servers(&path).unwrap(), SERVERS, "{what}, {how}");
                restore(&path).unwrap();
                assert_eq!(state(dir.path()), expected, "{what}, {how}");
            }
        }
    }

    #[test]
    fn one_that_was_removed_is_put_there_again_and_what_was_before_comes_back() {
        for (what, make) in BEFORE {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("resolv.conf");
            make(&path);
            let before = state(dir.path());
            for kept in [true, false] {
                replace(&path, &SERVERS).unwrap();
                fs::remove_file(&path).unwrap();
                if kept {
                    assert!(keep(&path, &SERVERS).unwrap(), "{what}");
                    assert_eq!(name_servers(&path).unwrap(), SERVERS, "{what}");
                }
                restore(&path).unwrap();
                assert_eq!(state(dir.path()), before, "{what}");
            }
        }
    }

    #[test]
    fn another_resolver_in_ours_is_taken_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        (BEFORE[0].1)(&path);
        let before = state(dir.path());
        replace(&path, &SERVERS).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text + "nameserver 198.51.100.53\n").unwrap();
        assert!(keep(&path, &SERVERS).unwrap());
        assert_eq!(name_servers(&path).unwrap(), SERVERS);
        restore(&path).unwrap();
        assert_eq!(state(dir.path()), before);
    }

    #[test]
    fn attack_16_what_another_program_wrote_survives_a_keeping_that_ends_at_any_step() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let steps: [fn(&Path); 3] = [
            |_| {},
            |path| restore(path).unwrap(),
            |path| {
                restore(path).unwrap();
                create(&kept(path), &text(path, &SERVERS)).unwrap();
            },
        ];
        for (i, step) in steps.into_iter().enumerate() {
            (BEFORE[0].1)(&path);
            replace(&path, &SERVERS).unwrap();
            (WRITTEN[1].1)(&path);
            step(&path);
            restore(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "nameserver 198.51.100.53\n", "step {i}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "step {i}: nothing is left behind");
        }
    }

    #[test]
    fn a_folder_that_takes_no_file_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("absent/resolv.conf");
        let error = replace(&path, &SERVERS).unwrap_err().to_string();
        assert!(error.contains("cannot keep what is in") && error.contains("resolv.conf"), "{error}");
    }

    #[test]
    fn attack_10_name_servers_are_addresses_and_nothing_else() {
        let text = "nameserver 192.0.2.1\nnameserver\t2001:db8::1\n#nameserver 192.0.2.2\nnameserver fe80::1%eth0\n\
                    nameserver 192.0.2.3;reboot\nnameserver\nnameservers 192.0.2.4\n";
        let expected: Vec<IpAddr> = ["192.0.2.1", "2001:db8::1", "fe80::1"].map(|ip| ip.parse().unwrap()).into();
        assert_eq!(servers_in(text), expected);
    }
}
