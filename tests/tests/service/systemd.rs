//! The systemd unit and what the Debian package puts beside it. installer/linux/test boots systems that use them.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_ipc_proto::paths::LINUX;
use cryprq_tests::lab::programs;
use cryprq_tests::local::Folder;
use cryprq_tests::repository::root;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The values of a key of the unit.
fn values(key: &str) -> Vec<String> {
    let unit = read("installer/linux/cryprqd.service");
    let assigned = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    assigned.map(str::to_owned).collect()
}

#[test]
fn the_unit_makes_the_folders_that_the_daemon_uses() {
    for (key, base, path) in [
        ("RuntimeDirectory", "/run", LINUX.runtime),
        ("StateDirectory", "/var/lib", LINUX.state),
        ("ConfigurationDirectory", "/etc", Path::new(LINUX.config).parent().and_then(Path::to_str).expect("UTF-8")),
    ] {
        assert_eq!(values(key).iter().map(|name| format!("{base}/{name}")).collect::<Vec<_>>(), [path], "{key}");
    }
    let tmpfiles = read("installer/linux/cryprq.tmpfiles");
    assert!(tmpfiles.contains(&format!("\nd {} 0700 root cryprq -", LINUX.state)), "{tmpfiles}");
}

#[test]
fn the_unit_runs_one_program_with_one_capability_and_cleans_up_after_it() {
    assert_eq!(values("ExecStart"), ["/usr/sbin/cryprqd"]);
    assert_eq!(values("ExecStopPost"), ["/usr/sbin/cryprqd --cleanup"]);
    assert_eq!(values("ExecReload"), ["/bin/kill -HUP $MAINPID"]);
    assert_eq!(values("CapabilityBoundingSet"), ["CAP_NET_ADMIN"]);
    // The group of the socket, of sysusers and of the configuration is one.
    let sysusers = read("installer/linux/cryprq.sysusers");
    let made: Vec<&str> = sysusers.lines().filter_map(|line| line.strip_prefix("g ")?.split(' ').next()).collect();
    assert_eq!(values("Group"), made);
    assert!(read("installer/linux/cryprq.toml").contains(&format!("#group = \"{}\"", made[0])));
}

/// A folder in which the unit, the programs that it names and the targets of this machine lie where they do on a host.
fn host_with(unit: &str) -> Result<TempDir> {
    let host = tempfile::tempdir()?;
    let units = host.path().join("usr/lib/systemd/system");
    fs::create_dir_all(&units)?;
    for entry in fs::read_dir("/usr/lib/systemd/system").context("this machine has no units of systemd")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "target" || extension == "slice") {
            let name = path.file_name().context("a name")?;
            fs::copy(&path, units.join(name))?;
        }
    }
    fs::write(units.join("cryprqd.service"), unit)?;
    for program in ["usr/sbin/cryprqd", "bin/kill"] {
        let path = host.path().join(program);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(&path, "")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(host)
}

/// What systemd-analyze says of the unit of `host`; `None` with a line that says why where there is none.
fn analyzed(host: &TempDir, arguments: &[&str]) -> Result<Option<Output>> {
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).arg("--root").arg(host.path()).arg("cryprqd.service");
    match command.output() {
        Ok(output) => Ok(Some(output)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("skipped: the systemd unit: no systemd-analyze");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

#[test]
fn systemd_finds_no_fault_in_the_unit_and_little_exposure() -> Result<()> {
    const VERIFY: [&str; 2] = ["verify", "--man=no"];
    // In tenths: 2.0 at most.
    const EXPOSURE: [&str; 4] = ["security", "--offline=true", "--no-pager", "--threshold=20"];
    let unit = read("installer/linux/cryprqd.service");
    let host = host_with(&unit)?;
    let Some(verified) = analyzed(&host, &VERIFY)? else { return Ok(()) };
    ensure!(verified.status.success() && verified.stdout.is_empty() && verified.stderr.is_empty(), "{verified:?}");
    let exposed = analyzed(&host, &EXPOSURE)?.context("it was there before")?;
    let told = String::from_utf8_lossy(&exposed.stdout).into_owned();
    ensure!(exposed.status.success() && told.contains("Overall exposure level"), "{told}");

    // It would have said so.
    let misspelt = host_with(&unit.replace("\nWatchdogSec=", "\nWatchdogSecs="))?;
    let verified = analyzed(&misspelt, &VERIFY)?.context("it was there before")?;
    ensure!(String::from_utf8_lossy(&verified.stderr).contains("WatchdogSecs"), "{verified:?}");
    let open = host_with(&unit.replace("\nSystemCallFilter=", "\n#SystemCallFilter="))?;
    let exposed = analyzed(&open, &EXPOSURE)?.context("it was there before")?;
    ensure!(!exposed.status.success(), "{}", String::from_utf8_lossy(&exposed.stdout));
    Ok(())
}

#[test]
fn what_the_unit_starts_tells_each_step_and_ends_with_0() -> Result<()> {
    let folder = Folder::new("")?;
    let socket = UnixDatagram::bind(folder.path().join("notify"))?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    let hear = || -> Result<String> {
        let mut message = [0; 4096];
        let length = socket.recv(&mut message).context("nothing was said")?;
        Ok(String::from_utf8_lossy(&message[..length]).trim().to_owned())
    };
    let start = values("ExecStart");
    let program = start.first().and_then(|start| Path::new(start).file_name()).context("no program")?;
    ensure!(program == "cryprqd");
    let mut child = folder.command()?.env("NOTIFY_SOCKET", folder.path().join("notify")).spawn()?;
    ensure!(hear()? == "READY=1");
    let send = |signal| kill(Pid::from_raw(child.id().cast_signed()), signal);
    send(Signal::SIGHUP)?;
    ensure!(hear()?.starts_with("RELOADING=1\n"));
    ensure!(hear()? == "READY=1");
    send(Signal::SIGTERM)?;
    ensure!(hear()? == "STOPPING=1");
    let status = child.wait()?;
    ensure!(status.code() == Some(0), "SIGTERM ends it with {status}");
    Ok(())
}

/// The keys that a line of the shipped configuration names, commented or not.
fn shipped_keys(text: &str) -> BTreeSet<String> {
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ")
            && !key.contains(' ')
        {
            keys.insert(format!("{section}{key}"));
        }
    }
    keys
}

#[test]
fn the_shipped_configuration_shows_every_key_and_changes_nothing() -> Result<()> {
    let text = read("installer/linux/cryprq.toml");
    let table = read("docs/config.md");
    let rows = table.lines().skip_while(|line| !line.starts_with("| key | default ")).skip(2);
    let documented: BTreeSet<String> = rows
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|key| !key.starts_with("peer."))
        .map(str::to_owned)
        .collect();
    assert_eq!(shipped_keys(&text), documented);
    assert!(text.lines().all(|line| line.is_empty() || line.starts_with(['#', '['])), "nothing is set");
    // With its values set it is still good, but for the two that are described.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("cryprq.toml");
    let described = |line: &&str| !line.starts_with("#name = ") && !line.starts_with("#address = ");
    let set: Vec<&str> = text
        .lines()
        .filter(described)
        .map(|line| if line.starts_with("# ") { line } else { line.trim_start_matches('#') })
        .collect();
    fs::write(&file, set.join("\n"))?;
    let output = Command::new(programs()?.join("cryprqd")).arg("--check-config").arg(&file).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn the_man_page_of_the_daemon_has_every_option_and_renders() -> Result<()> {
    let page = read("installer/man/cryprqd.8").replace("\\-", "-");
    let help = Command::new(programs()?.join("cryprqd")).arg("--help").output()?;
    let help = String::from_utf8(help.stdout)?;
    let options: Vec<&str> = help
        .split_whitespace()
        .filter(|word| word.starts_with("--"))
        .map(|word| word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()))
        .collect();
    ensure!(options.len() >= 5, "the search finds too little: {options:?}");
    for option in options {
        ensure!(page.contains(&format!("\\fB{option}\\fR")), "{option} is not in the man page");
    }
    let rendered = Command::new("man").args(["--warnings", "-l"]).arg(root().join("installer/man/cryprqd.8")).output();
    match rendered {
        Ok(output) => ensure!(output.status.success() && output.stderr.is_empty(), "{output:?}"),
        Err(error) => println!("skipped: the man page is not rendered: no man: {error}"),
    }
    Ok(())
}
