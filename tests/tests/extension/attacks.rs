//! Who must not carry packets, and what must not be believed.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use cryprq_ipc_proto::error::ErrorCode;
use cryprq_ipc_proto::extension::TunnelSettings;
use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::header::Kind;
use cryprq_ipc_proto::hello::{Hello, HelloAck, Role};
use cryprq_tests::lab::{Host, SHUTTLED, Shuttle, programs};
use cryprq_tests::shuttle::{Link, NoLink};

use super::{PATIENCE, connected, pair, passes, passes_after_another};

/// The code of a refusal.
fn refusal(link: Result<Link, NoLink>) -> Result<ErrorCode> {
    match link {
        Err(NoLink::Refused(error)) => Ok(error.code),
        Err(NoLink::Absent(error)) => Err(error.into()),
        Ok(_) => bail!("it was not refused"),
    }
}

#[test]
fn attack_15_a_second_shuttle_is_refused_and_the_first_is_none_the_worse() -> Result<()> {
    let Some((pair, _first)) = connected()? else { return Ok(()) };
    let mut second = Shuttle::start(&pair.host_a, &pair.a, "shuttle1", PATIENCE)?;
    let status = second.wait()?;
    let refused = second.said().iter().any(|line| line.starts_with("refused extension_attached"));
    ensure!(status.code() == Some(1) && refused, "{status}: {:?}", second.said());
    passes(&pair)
}

#[test]
fn attack_15_nobody_but_root_reaches_the_packet_socket() -> Result<()> {
    let Some(mut pair) = pair()? else { return Ok(()) };
    pair.a.start()?;
    let socket = pair.a.tun_socket();
    let metadata = std::fs::metadata(&socket)?;
    ensure!((metadata.permissions().mode() & 0o7777, metadata.uid()) == (0o600, 0), "{metadata:?}");
    let folder = pair.folder.path();
    for way in [folder, pair.a.folder()] {
        std::fs::set_permissions(way, std::fs::Permissions::from_mode(0o755))?;
    }
    // Where it was built not everybody may go.
    let caller = folder.join("caller");
    std::fs::copy(programs()?.join("cryprq-caller"), &caller)?;
    let connects = |uid: u32| -> Result<bool> {
        let mut command = Command::new(&caller);
        let status = command.arg("say").arg(&socket).uid(uid).gid(uid).stdin(Stdio::null()).status()?;
        // EACCES.
        ensure!([Some(0), Some(13)].contains(&status.code()), "{status}");
        Ok(status.success())
    };
    ensure!(connects(0)?, "root may connect");
    ensure!(!connects(65_534)?, "nobody else may");
    Ok(())
}

#[test]
fn attack_08_a_shuttle_of_another_version_is_refused_and_told_who_is_older() -> Result<()> {
    let Some((pair, shuttle)) = connected()? else { return Ok(()) };
    for (min_version, max_version, older) in [(2, 9, "daemon"), (0, 0, "client")] {
        let hello = Hello { min_version, max_version, ..Hello::new("test", Role::Extension) };
        match Link::open_with(&pair.a.tun_socket(), &hello) {
            Err(NoLink::Refused(error)) => {
                ensure!(error.code == ErrorCode::VersionMismatch && error.message.contains(older), "{error}");
            }
            Err(NoLink::Absent(error)) => return Err(error.into()),
            Ok(_) => bail!("versions {min_version} to {max_version} were taken"),
        }
    }
    ensure!(refusal(Link::open_with(&pair.a.tun_socket(), &Hello::new("test", Role::Cli)))? == ErrorCode::Unsupported);
    drop(shuttle);
    passes_after_another(&pair)
}

#[test]
fn attack_08_garbage_from_the_extension_ends_its_connection_and_nothing_else() -> Result<()> {
    let Some((pair, shuttle)) = connected()? else { return Ok(()) };
    drop(shuttle);
    let ready = Frame::Ready.write(1)?;
    let garbage: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xc9, 0x52, 1, 18, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0],
        // One packet of no bytes.
        &[&[0xc9, 0x52, 1, 18, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 15]].concat(),
        &Frame::Ready.write(7)?.repeat(100_000),
    ];
    for (number, bytes) in garbage.into_iter().enumerate() {
        let mut link = Link::open(&pair.a.tun_socket()).map_err(|error| anyhow::anyhow!("{number}: {error:?}"))?;
        let settings = link.frame().map_err(|error| anyhow::anyhow!("{number}: {error:?}"))?;
        ensure!(settings.0.kind == Kind::TunnelSettings);
        link.send_bytes(&ready)?;
        // It may be cut off before it said everything.
        let _ = link.send_bytes(bytes);
        let mut last = None;
        while let Ok((header, body)) = link.frame() {
            if let Frame::Error(error) = Frame::read(&header, &link.incoming.memory()[body])? {
                last = Some(error.code);
            }
        }
        ensure!(last.is_some(), "{number}: it was cut off without a reason");
    }
    passes_after_another(&pair)
}

#[test]
fn attack_08_garbage_from_the_daemon_ends_the_shuttle_with_an_error() -> Result<()> {
    let Some([host]) = Host::several("extension tests") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let run = folder.path().join("run");
    std::fs::create_dir(&run)?;
    let settings = TunnelSettings { addresses: vec![], included: vec![], excluded: vec![], dns: vec![], mtu: 1420 };
    let ack = HelloAck { version: 1, build: "test".into(), features: 0 };
    let greeted = [Frame::HelloAck(ack).write(0)?, Frame::TunnelSettings(settings).write(1)?].concat();
    let conversations: [Vec<u8>; 5] = [
        b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
        Frame::Ready.write(0)?,
        [&greeted[..], &[0; 64]].concat(),
        [&greeted[..], &Frame::Pause.write(0)?].concat(),
        [&greeted[..], &[0xc9, 0x52, 1, 18, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 1], &[0; 15]].concat(),
    ];
    for (number, bytes) in conversations.into_iter().enumerate() {
        let socket = run.join(format!("{number}.sock"));
        let listener = UnixListener::bind(&socket)?;
        let mut shuttle = Shuttle::at(&host, socket, SHUTTLED, 1)?;
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(Duration::from_secs(9)))?;
        stream.write_all(&bytes)?;
        let status = shuttle.wait()?;
        ensure!(status.code() == Some(1), "{number}: {status}: {:?}", shuttle.said());
        let _ = stream.read(&mut [0; 64]);
    }
    Ok(())
}
