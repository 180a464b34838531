//! What callers on the same host write.

use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::header::{HEADER, Header};
use cryprq_ipc_proto::json::{read_reply, read_request, write_request};

use super::Outcome;

/// A binary frame, from either side.
pub(super) fn ipc_frame(bytes: &[u8]) -> Outcome {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else { return Outcome::Refused };
    let Ok(header) = Header::read(header) else { return Outcome::Refused };
    match Frame::read(&header, body) {
        Ok(frame) => {
            assert_eq!(frame.write(header.id).as_deref(), Ok(bytes), "a message has one encoding");
            Outcome::Accepted
        }
        Err(error) => {
            assert!(!error.to_string().is_empty(), "a refusal says why");
            Outcome::Refused
        }
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
