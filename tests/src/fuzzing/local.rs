//! What callers on the same host write.

use std::io::IoSlice;

use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::header::{FrameError, HEADER, Header, Kind};
use cryprq_ipc_proto::incoming::Incoming;
use cryprq_ipc_proto::json::{read_reply, read_request, write_request};
use cryprq_ipc_proto::limits::MAX_PACKETS;
use cryprq_ipc_proto::packets::{Gather, PacketWriter, Packets};

use super::Outcome;

/// What one side of a connection sends: binary frames, one after the other, read as the daemon's door and the extension
/// read them, and written again as the other side writes them.
pub(super) fn ipc_frame(bytes: &[u8]) -> Outcome {
    let (frames, end) = read(bytes, usize::MAX);
    for most in [1, 7, HEADER + 1] {
        assert_eq!(read(bytes, most), (frames.clone(), end.clone()), "reads of {most} bytes tell something else");
    }
    for (header, body) in &frames {
        match Frame::read(header, body) {
            Ok(frame) => {
                let sent = [&header.write().expect("it was read")[..], body].concat();
                assert_eq!(frame.write(header.id).as_deref(), Ok(&sent[..]), "a message has one encoding");
                if header.kind == Kind::Packets {
                    packets(body, &sent);
                }
            }
            Err(error) => {
                assert!(!error.to_string().is_empty(), "a refusal says why");
                return Outcome::Refused;
            }
        }
    }
    if end == Ok(Rest::Nothing) && !frames.is_empty() { Outcome::Accepted } else { Outcome::Refused }
}

/// A header and its body.
type Cut = (Header, Vec<u8>);

/// What is left when all was read.
#[derive(Clone, Debug, PartialEq)]
enum Rest {
    Nothing,
    FrameBegun,
}

/// The frames of a stream that comes in reads of at most `most` bytes, up to the first that is none.
fn read(stream: &[u8], most: usize) -> (Vec<Cut>, Result<Rest, FrameError>) {
    let (mut incoming, mut rest, mut frames) = (Incoming::default(), stream, Vec::new());
    loop {
        loop {
            match incoming.frame() {
                Ok(Some((header, body))) => frames.push((header, incoming.memory()[body].to_vec())),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
        if rest.is_empty() {
            let rest = if incoming.is_amid_frame() { Rest::FrameBegun } else { Rest::Nothing };
            return (frames, Ok(rest));
        }
        let room = incoming.room();
        let length = room.len().min(most).min(rest.len());
        let (now, later) = rest.split_at(length);
        room[..length].copy_from_slice(now);
        incoming.filled(length);
        rest = later;
    }
}

/// Packets lie where it is said, and a frame of them is the same whether it is written in place or gathered.
fn packets(body: &[u8], sent: &[u8]) {
    let packets = Packets::read(body).expect("it was read");
    assert!(packets.ranges(0).map(|at| &body[at]).eq(packets.iter()), "they lie elsewhere");
    assert_eq!(packets.iter().count(), packets.len());
    let mut memory = vec![0; HEADER + MAX_PACKETS];
    let mut writer = PacketWriter::new(&mut memory).expect("there is room");
    packets.iter().for_each(|packet| writer.slot(packet.len()).expect("it fitted").copy_from_slice(packet));
    let written = writer.finish();
    assert_eq!(written[HEADER..], sent[HEADER..]);
    let (mut gather, mut slices) = (Gather::default(), [IoSlice::new(&[]); Gather::SLICES]);
    if packets.len() <= Gather::PACKETS {
        let (slices, taken) = gather.frame(packets.iter(), &mut slices).expect("it was a frame");
        assert_eq!(taken, packets.len());
        assert_eq!(slices.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>(), written);
    }
}

/// A line on the control socket, as a request to the daemon and as a reply to the command line.
pub(super) fn json_line(bytes: &[u8]) -> Outcome {
    let _ = read_reply(bytes);
    match read_request(bytes) {
        Ok(line) => {
            assert_eq!(read_request(write_request(&line).as_bytes()), Ok(line), "a request reads back as written");
            Outcome::Accepted
        }
        Err((_, error)) => {
            assert!(!error.message.is_empty(), "a refusal says why");
            Outcome::Refused
        }
    }
}
