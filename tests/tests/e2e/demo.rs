//! What `tests/demo` runs.

use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Host, PROGRAMS, programs, until};
use cryprq_tests::repository;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::Pid;

/// `nobody`, on every system.
const NOBODY: u32 = 65534;
/// Long enough for the rotations that a peer answers in a burst, though a busy machine takes 6 s to start the daemon that
/// died in the middle.
const SECONDS: &str = "20";
const ROWS: usize = 13;

/// A machine whose `/dev/net/tun` is for everybody, or `None` with a line that says why it cannot be had.
fn machine() -> Result<Option<Host>> {
    let programs = programs()?;
    let made = Host::named("machine", &programs).and_then(|host| {
        host.run(|| {
            let everybody = Mode::from_bits_truncate(0o666);
            mknod("/var/lib/tun", SFlag::S_IFCHR, Mode::empty(), makedev(10, 200))?;
            // `mknod` obeys the umask.
            std::fs::set_permissions("/var/lib/tun", std::fs::Permissions::from_mode(everybody.bits()))?;
            mount(Some("/var/lib/tun"), "/dev/net/tun", None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
            Ok::<_, anyhow::Error>(())
        })?;
        Ok(host)
    });
    match made {
        Ok(host) => Ok(Some(host)),
        Err(error) => {
            println!("skipped: the demo: {error:#}");
            Ok(None)
        }
    }
}

fn demo() -> Command {
    let mut command = Command::new(Path::new(PROGRAMS).join("demo"));
    command.arg(SECONDS).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn without_root_the_demo_needs_user_namespaces_and_a_tun_device_for_everybody() -> Result<()> {
    let Some(machine) = machine()? else { return Ok(()) };
    let mut command = demo();
    command.uid(NOBODY).gid(NOBODY);
    let output = machine.output(command)?;
    let (told, complaint) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr).into_owned());
    if complaint.contains("user namespaces") {
        println!("skipped: the demo without root: {}", complaint.trim_end());
        return Ok(());
    }
    ensure!(output.status.success(), "{}\n{told}\n{complaint}", output.status);
    ensure!(told.matches('✓').count() == ROWS && !told.contains('✗'), "{told}");
    Ok(())
}

#[test]
fn where_a_user_may_make_no_namespaces_the_demo_says_to_run_it_with_sudo() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let everybody = std::fs::Permissions::from_mode(0o755);
    let place = |name: &str, text: &[u8]| -> Result<()> {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        std::fs::write(&path, text)?;
        Ok(std::fs::set_permissions(path, everybody.clone())?)
    };
    std::fs::set_permissions(folder.path(), everybody.clone())?;
    for file in ["tests/check", "Cargo.toml"] {
        place(file, &std::fs::read(repository::root().join(file))?)?;
    }
    // A machine that has everything else.
    for (tool, script) in [("unshare", "exit 1"), ("rustc", "echo rustc 9.0.0"), ("cargo", ""), ("cc", "")] {
        place(&format!("bin/{tool}"), format!("#!/bin/sh\n{script}\n").as_bytes())?;
    }
    let mut check = Command::new("/bin/bash");
    check.args(["-c", ". tests/check"]).current_dir(folder.path()).uid(NOBODY).gid(NOBODY);
    check.env("PATH", format!("{}:/usr/bin:/bin", folder.path().join("bin").display()));
    let output = match check.output() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            println!("skipped: the demo's check as another user: {error}");
            return Ok(());
        }
        output => output?,
    };
    let told = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(1), "{}: {told}", output.status);
    ensure!(told.contains("  - user namespaces for this user: run with sudo\n"), "{told}");
    ensure!(!told.contains("rustc") && !told.contains("packages"), "{told}");
    Ok(())
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() -> Result<()> {
    let Some(machine) = machine()? else { return Ok(()) };
    let mut child = machine.run(|| demo().spawn())?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("two daemons"))).context("no daemons")??;
    let daemons = children(&child)?;
    ensure!(daemons.len() == 2, "the daemons are {daemons:?}");
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT)?;
    let status = child.wait()?;
    ensure!(status.code() == Some(130), "it ended with {status}, signal {:?}", status.signal());
    until("the daemons are gone", || daemons.iter().all(|pid| !lives(*pid)))
}

/// The processes whose parent this one is.
fn children(parent: &Child) -> Result<Vec<u32>> {
    let pids = std::fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mark = format!("\nPPid:\t{}\n", parent.id());
    let is_child = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|s| s.contains(&mark));
    Ok(pids.filter(is_child).collect())
}

/// Whether a process runs; one that ended and was not waited for does not.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, state)| !state.trim_start().starts_with(['Z', 'X']))
}
