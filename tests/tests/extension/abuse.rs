//! What no extension does to the packet socket: attacks 8 and 13.

use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, ensure};
use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::header::{HEADER, Header, Kind};
use cryprq_ipc_proto::hello::{Hello, Role};
use cryprq_ipc_proto::packets::{PacketWriter, Packets};
use cryprq_tests::lab::{Daemon, Pair, until};
use etherparse::PacketBuilder;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::{LIMIT, connected, pair, passes, passes_after_another};

fn descriptors(daemon: &Daemon) -> Result<usize> {
    let pid = daemon.pid().context("no daemon runs")?;
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

fn connect(daemon: &Daemon) -> Result<UnixStream> {
    let stream = UnixStream::connect(daemon.tun_socket())?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// The next frame that the daemon sends.
fn frame(stream: &mut UnixStream) -> Result<(Header, Vec<u8>)> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header)?;
    let header = Header::read(&header)?;
    let mut body = vec![0; header.length];
    stream.read_exact(&mut body)?;
    Ok((header, body))
}

/// What an extension says from its hello to its first packet, frame by frame; the packet asks B for an echo.
fn conversation(pair: &Pair) -> Result<[Vec<u8>; 3]> {
    let mut packet = Vec::new();
    let echo = PacketBuilder::ipv4(pair.id_a.ipv4.octets(), pair.id_b.ipv4.octets(), 64).icmpv4_echo_request(7, 1);
    echo.write(&mut packet, b"is anybody there")?;
    let mut memory = vec![0; 4096];
    let mut writer = PacketWriter::new(&mut memory).context("there is room")?;
    writer.slot(packet.len()).context("it fits")?.copy_from_slice(&packet);
    let packets = writer.finish().to_vec();
    Ok([Frame::Hello(Hello::new("test", Role::Extension)).write(0)?, Frame::Ready.write(1)?, packets])
}

/// B's echo comes.
fn is_answered(stream: &mut UnixStream) -> Result<()> {
    loop {
        let (header, body) = frame(stream)?;
        ensure!(matches!(header.kind, Kind::TunnelSettings | Kind::Packets), "{header:?}");
        let echo = |packet: &[u8]| packet.get(9) == Some(&1) && packet.get(20) == Some(&0);
        if header.kind == Kind::Packets && Packets::read(&body)?.iter().any(echo) {
            return Ok(());
        }
    }
}

#[test]
fn attack_08_ten_thousand_connections_to_the_packet_socket_leave_nothing_behind() -> Result<()> {
    let Some((pair, _shuttle)) = connected()? else { return Ok(()) };
    passes(&pair)?;
    let before = descriptors(&pair.a)?;
    for number in 0..10_000_u32 {
        let mut stream = connect(&pair.a)?;
        // Some say nothing, some half of something, some something else.
        let said: &[u8] = match number % 4 {
            0 => b"",
            1 => b"\xc9\x52\x01",
            2 => b"\xc9\x52\x01\x01\0\0\0\0\xff\xff\0\0\x01\0\0\0",
            _ => b"{\"v\":1,\"cmd\":\"status\"}\n",
        };
        // One that finds no place is closed before it said anything.
        let _ = stream.write_all(said);
    }
    // It may have opened some of its own meanwhile.
    until("all of them are closed", || descriptors(&pair.a).is_ok_and(|now| now < before + 50))?;
    passes(&pair)
}

#[test]
fn attack_08_descriptors_that_are_sent_along_with_frames_and_packets_are_not_kept() -> Result<()> {
    let Some(mut pair) = pair()? else { return Ok(()) };
    pair.connect()?;
    let (mut reader, writer) = std::io::pipe()?;
    let mut stream = connect(&pair.a)?;
    for (number, said) in conversation(&pair)?.iter().enumerate() {
        let descriptors = [writer.as_raw_fd(); 100];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(said)], &rights, MsgFlags::empty(), None)?;
        if number == 0 {
            let kinds = [frame(&mut stream)?.0.kind, frame(&mut stream)?.0.kind];
            ensure!(kinds == [Kind::HelloAck, Kind::TunnelSettings], "{kinds:?}");
        }
    }
    is_answered(&mut stream).with_context(|| pair.a.log())?;
    drop(writer);
    // While the connection lives: the pipe ends only when nobody else holds its other end.
    let mut ends = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    ensure!(poll(&mut ends, 9_000_u16)? == 1, "somebody holds the pipe's other end");
    ensure!(reader.read(&mut [0; 1])? == 0);
    drop(stream);
    Ok(())
}

#[test]
fn attack_13_an_extension_that_sends_byte_by_byte_keeps_nobody_waiting() -> Result<()> {
    let Some(mut pair) = pair()? else { return Ok(()) };
    pair.connect()?;
    let mut stream = connect(&pair.a)?;
    let conversation = conversation(&pair)?;
    let [hello, ready, packets] = &conversation;
    for (said, follows) in [(hello, &[Kind::HelloAck, Kind::TunnelSettings][..]), (ready, &[]), (packets, &[])] {
        for (at, byte) in said.iter().enumerate() {
            stream.write_all(&[*byte])?;
            if at == said.len() / 2 {
                ensure!(pair.a.ask("hello")?["reply"] == "hello", "others are answered meanwhile");
            }
        }
        for kind in follows {
            ensure!(frame(&mut stream)?.0.kind == *kind);
        }
    }
    is_answered(&mut stream).with_context(|| pair.a.log())?;
    // One that stops in the middle of a packet keeps neither the next nor the daemon's end waiting.
    stream.write_all(&packets[..packets.len() - 1])?;
    ensure!(pair.a.ask("hello")?["reply"] == "hello");
    drop(stream);
    passes_after_another(&pair)?;
    let mut stream = connect(&pair.a)?;
    stream.write_all(hello)?;
    ensure!(pair.a.stop()?.success());
    Ok(())
}
