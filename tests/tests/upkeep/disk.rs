//! A disk that is full.

use std::fs;
use std::io::Write;

use anyhow::{Result, ensure};
use cryprq_tests::lab::{Daemon, Host, until};
use nix::mount::{MsFlags, mount};

use super::host_with_files;

const STATE: &str = "/var/lib/cryprq";

/// Makes the state folder a file system of 64 KiB.
fn small(host: &Host) -> Result<()> {
    host.run(|| {
        fs::create_dir(STATE)?;
        Ok(mount(Some("tmpfs"), STATE, Some("tmpfs"), MsFlags::empty(), Some("size=64k,mode=0700"))?)
    })
}

fn fill(host: &Host) -> Result<()> {
    host.run(|| {
        let mut filler = fs::File::create("/var/lib/cryprq/filler")?;
        while filler.write_all(&[0; 512]).is_ok() {}
        Ok(())
    })
}

fn names(host: &Host) -> Result<Vec<String>> {
    host.run(|| {
        let names = fs::read_dir(STATE)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names: Vec<_> = names.collect::<Result<_>>()?;
        names.sort();
        Ok(names)
    })
}

fn read(host: &Host, name: &'static str) -> Result<Vec<u8>> {
    Ok(host.run(move || fs::read(format!("{STATE}/{name}")))?)
}

#[test]
fn a_full_disk_refuses_changes_as_a_whole_and_takes_them_again_when_there_is_room() -> Result<()> {
    let Some(host) = host_with_files()? else { return Ok(()) };
    small(&host)?;
    let mut daemon = Daemon::unconfigured(&host);
    daemon.start()?;
    let add = |number: u8, name: &str| {
        let id = cryprq_tests::lab::Identity::new(number)?.id;
        daemon.request(&format!(r#"{{"cmd":"peer_add","peer":"{id}","name":"{name}"}}"#))
    };
    ensure!(add(1, "first")?["reply"] == "done");
    let (before, peers) = (names(&host)?, read(&host, "peers.toml")?);
    fill(&host)?;
    for _ in 0..3 {
        let refused = add(2, "second")?;
        let message = refused["error"]["message"].as_str().unwrap_or_default();
        ensure!(message.contains("nothing was changed") && message.contains("peers.toml"), "{refused}");
    }
    let refused = daemon.request(r#"{"cmd":"peer_remove","peer":"first"}"#)?;
    ensure!(refused["error"]["message"].as_str().is_some_and(|text| text.contains("nothing was changed")), "{refused}");
    let told = |daemon: &Daemon| daemon.health().is_ok_and(|codes| codes.contains(&"state_not_saved".into()));
    ensure!(told(&daemon));
    ensure!(read(&host, "peers.toml")? == peers, "the old file is whole");
    let mut left = names(&host)?;
    left.retain(|name| name != "filler");
    ensure!(left == before, "half written files: {left:?}");
    host.run(|| fs::remove_file("/var/lib/cryprq/filler"))?;
    until("the disk takes something again", || !told(&daemon))?;
    ensure!(add(2, "second")?["reply"] == "done");
    ensure!(daemon.stop()?.success());
    daemon.start()?;
    let peers = daemon.ask("peers")?;
    ensure!(peers["peers"].as_array().is_some_and(|peers| peers.len() == 2), "{peers}");
    Ok(())
}
