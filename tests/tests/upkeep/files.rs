//! Files and folders that are not as the daemon made them: it refuses to start, and one line says what mends it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Daemon, Identity, until};

use super::host;

/// Somebody who is not root.
const OTHER: u32 = 12345;

/// A daemon with a peer in its state folder and every file that it writes.
fn settled() -> Result<Option<(Daemon, tempfile::TempDir)>> {
    let Some(host) = host() else { return Ok(None) };
    let folder = tempfile::tempdir()?;
    let mut daemon = Daemon::new(&host, folder.path().join("a"), &Identity::new(1)?, &[])?;
    daemon.start()?;
    let peer = Identity::new(2)?.id;
    daemon.request(&format!(r#"{{"cmd":"peer_add","peer":"{peer}","name":"x"}}"#))?;
    daemon.request(r#"{"cmd":"down","peer":"x"}"#)?;
    ensure!(daemon.stop()?.success());
    let state = daemon.state();
    for (file, text) in
        [("node.toml", "version = 1\n"), ("addresses.toml", "version = 1\n"), ("tickets.toml", "version = 1\n")]
    {
        if !state.join(file).exists() {
            os::files::write_atomically(&state.join(file), text.as_bytes())?;
        }
    }
    Ok(Some((daemon, folder)))
}

/// Every file of the state folder that the daemon reads.
const FILES: [&str; 6] = ["identity.key", "peers.toml", "node.toml", "wishes.toml", "addresses.toml", "tickets.toml"];

/// Does something to a path, expects the refusal to name it and what mends it, and undoes it.
fn refused(
    daemon: &Daemon,
    path: &Path,
    mends: &str,
    wrong: impl FnOnce(&Path) -> std::io::Result<()>,
    right: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<()> {
    wrong(path)?;
    let (_, told) = daemon.refusal().with_context(|| path.display().to_string())?;
    let line = told.lines().find(|line| line.starts_with("cryprqd: ")).unwrap_or_default();
    ensure!(told.contains(&path.display().to_string()) && told.contains(mends), "{}: {told}", path.display());
    ensure!(!line.is_empty(), "{told}");
    Ok(right(path)?)
}

fn mode(mode: u32) -> impl FnOnce(&Path) -> std::io::Result<()> {
    move |path| fs::set_permissions(path, Permissions::from_mode(mode))
}

fn owner(uid: u32) -> impl FnOnce(&Path) -> std::io::Result<()> {
    move |path| chown(path, Some(uid), None)
}

fn behind_a_link(path: &Path) -> std::io::Result<()> {
    fs::rename(path, path.with_extension("elsewhere"))?;
    symlink(path.with_extension("elsewhere"), path)
}

fn no_link(path: &Path) -> std::io::Result<()> {
    fs::remove_file(path)?;
    fs::rename(path.with_extension("elsewhere"), path)
}

#[test]
fn attack_18_state_that_others_can_read_or_replace_refuses_the_start() -> Result<()> {
    let Some((mut daemon, _folder)) = settled()? else { return Ok(()) };
    let state = daemon.state();
    for file in FILES.map(|file| state.join(file)) {
        for loose in [0o644, 0o640, 0o620] {
            refused(&daemon, &file, "chmod go=", mode(loose), mode(0o600))?;
        }
        refused(&daemon, &file, "chown", owner(OTHER), owner(0))?;
        refused(&daemon, &file, "is a link", behind_a_link, no_link)?;
    }
    refused(&daemon, &state, "chmod go=", mode(0o755), mode(0o700))?;
    refused(&daemon, &state, "chown", owner(OTHER), owner(0))?;
    refused(&daemon, &state, "is a link", behind_a_link, no_link)?;
    daemon.start()?;
    ensure!(daemon.peer()?["name"] == "x", "and whole again it starts as before");
    Ok(())
}

#[test]
fn attack_18_a_configuration_that_others_can_change_refuses_the_start_and_a_reload() -> Result<()> {
    let Some((mut daemon, _folder)) = settled()? else { return Ok(()) };
    let (folder, file) = (daemon.folder().to_owned(), daemon.folder().join("cryprq.toml"));
    fs::create_dir(folder.join("conf.d"))?;
    fs::write(folder.join("conf.d/10-a.toml"), "")?;
    for path in [file.clone(), folder.join("conf.d"), folder.join("conf.d/10-a.toml"), folder.clone()] {
        let good = fs::metadata(&path)?.permissions().mode();
        refused(&daemon, &path, "chmod go-w", mode(good | 0o020), mode(good))?;
        refused(&daemon, &path, "chown root", owner(OTHER), owner(0))?;
    }
    daemon.start()?;
    fs::set_permissions(&file, Permissions::from_mode(0o666))?;
    let reply = daemon.ask("reload")?;
    ensure!(reply["error"]["code"] == "invalid_config", "{reply}");
    until("it is told", || daemon.health().is_ok_and(|codes| codes.contains(&"config_refused".into())))
}

#[test]
fn attack_14_state_of_another_version_refuses_the_start_and_is_left_as_it_is() -> Result<()> {
    let Some((daemon, _folder)) = settled()? else { return Ok(()) };
    let state = daemon.state();
    for file in FILES.into_iter().filter(|file| file.ends_with(".toml")) {
        let path = state.join(file);
        let good = fs::read(&path)?;
        for version in ["version = 0\n", "version = 2\nnew = \"secret\"\n"] {
            os::files::write_atomically(&path, version.as_bytes())?;
            let (_, told) = daemon.refusal().with_context(|| file.to_owned())?;
            ensure!(told.contains(file) && told.contains("version") && !told.contains("secret"), "{told}");
            ensure!(fs::read(&path)? == version.as_bytes(), "{file} was changed");
        }
        os::files::write_atomically(&path, &good)?;
    }
    os::files::write_atomically(&state.join("journal.jsonl"), b"{\"version\":2}\n")?;
    let (_, told) = daemon.refusal()?;
    ensure!(told.contains("journal.jsonl") && told.contains("--cleanup"), "{told}");
    Ok(())
}

#[test]
fn attack_14_an_old_table_of_peers_that_is_put_back_while_the_daemon_runs_is_not_believed() -> Result<()> {
    let Some((mut daemon, _folder)) = settled()? else { return Ok(()) };
    daemon.start()?;
    let path = daemon.state().join("peers.toml");
    let old = fs::read(&path)?;
    daemon.request(r#"{"cmd":"peer_remove","peer":"x"}"#)?;
    os::files::write_atomically(&path, &old)?;
    daemon.ask("reload")?;
    ensure!(daemon.ask("peers")?["peers"].as_array().is_some_and(Vec::is_empty), "the removed peer is back");
    let other = Identity::new(3)?.id;
    daemon.request(&format!(r#"{{"cmd":"peer_add","peer":"{other}","name":"y"}}"#))?;
    ensure!(daemon.stop()?.success());
    daemon.start()?;
    ensure!(daemon.peer_named("y").is_ok() && daemon.peer_named("x").is_err());
    Ok(())
}

#[test]
fn damage_to_what_is_needed_refuses_the_start_and_to_the_rest_is_told() -> Result<()> {
    let Some((mut daemon, _folder)) = settled()? else { return Ok(()) };
    let state = daemon.state();
    for file in ["peers.toml", "node.toml", "tickets.toml", "identity.key"] {
        let path = state.join(file);
        let good = fs::read(&path)?;
        for damage in [&good[..good.len() / 2], b"\0\xff", b""] {
            os::files::write_atomically(&path, damage)?;
            let (_, told) = daemon.refusal().with_context(|| file.to_owned())?;
            ensure!(told.contains(file), "{told}");
        }
        os::files::write_atomically(&path, &good)?;
    }
    for file in ["wishes.toml", "addresses.toml"] {
        os::files::write_atomically(&state.join(file), b"\0\xff")?;
    }
    daemon.start()?;
    let health = daemon.ask("status")?["health"].to_string();
    ensure!(health.contains("state_damaged") && health.contains("wishes.toml") && health.contains("addresses.toml"));
    Ok(())
}
