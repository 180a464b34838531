//! Control frames and their JSON: `{"kind":"stop","id":0,"body":{"reason":"system"}}`.

use cryprq_ipc_proto::codec;
use cryprq_ipc_proto::error::ErrorBody;
use cryprq_ipc_proto::extension::{StopReason, TunnelSettings};
use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::header::{FrameError, HEADER, Header};
use cryprq_ipc_proto::hello::{Hello, HelloAck, Refused, Role};
use cryprq_ipc_proto::limits::MAX_CONTROL;
use serde::{Deserialize, Serialize};

use crate::memory;
use crate::status::{Failure, border};

/// A control frame of the extension's conversation. Requests and their answers are no part of it: whoever asks speaks
/// JSON lines on the control socket.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Control {
    id: u32,
    #[serde(flatten)]
    message: Message,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", content = "body", rename_all = "snake_case")]
enum Message {
    Hello(Hello),
    HelloAck(HelloAck),
    Refused(Refused),
    Error(ErrorBody),
    TunnelSettings(TunnelSettings),
    Ready {},
    Pause {},
    Resume {},
    Stop { reason: StopReason },
}

impl Message {
    fn of(frame: Frame<'_>) -> Result<Self, Failure> {
        Ok(match frame {
            Frame::Hello(hello) => Self::Hello(hello),
            Frame::HelloAck(ack) => Self::HelloAck(ack),
            Frame::Refused(refused) => Self::Refused(refused),
            Frame::Error(error) => Self::Error(error),
            Frame::TunnelSettings(settings) => Self::TunnelSettings(settings),
            Frame::Ready => Self::Ready {},
            Frame::Pause => Self::Pause {},
            Frame::Resume => Self::Resume {},
            Frame::Stop(reason) => Self::Stop { reason },
            Frame::Packets(_) | Frame::Request(_) | Frame::Reply(_) | Frame::Event(_) => return Err(Failure::Kind),
        })
    }

    fn frame(self) -> Frame<'static> {
        match self {
            Self::Hello(hello) => Frame::Hello(hello),
            Self::HelloAck(ack) => Frame::HelloAck(ack),
            Self::Refused(refused) => Frame::Refused(refused),
            Self::Error(error) => Frame::Error(error),
            Self::TunnelSettings(settings) => Frame::TunnelSettings(settings),
            Self::Ready {} => Frame::Ready,
            Self::Pause {} => Frame::Pause,
            Self::Resume {} => Frame::Resume,
            Self::Stop { reason } => Frame::Stop(reason),
        }
    }
}

/// Header and body of bytes that are one whole frame.
pub(crate) fn split(frame: &[u8]) -> Result<(Header, &[u8]), FrameError> {
    let (header, body) = frame.split_first_chunk::<HEADER>().ok_or(FrameError::Truncated)?;
    Ok((Header::read(header)?, body))
}

/// Reads one whole control frame and writes it as JSON in UTF-8, without a final NUL:
/// `{"id":3,"kind":"tunnel_settings","body":{...}}`. A frame of requests, replies, events or packets is
/// `CRYPRQ_KIND`. `*written` is the length of the JSON, also with `CRYPRQ_NO_ROOM`; nothing is written then.
///
/// # Safety
/// `frame` points at `length` bytes, `json` at `capacity` bytes, `written` at a size; none overlaps another.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cryprq_frame_read(
    frame: *const u8,
    length: usize,
    json: *mut u8,
    capacity: usize,
    written: *mut usize,
) -> i32 {
    border(|| {
        // SAFETY: the caller's promise is theirs.
        let (frame, json, written) =
            unsafe { (memory::read(frame, length)?, memory::write(json, capacity)?, memory::value(written)?) };
        let (header, body) = split(frame)?;
        let control = Control { id: header.id, message: Message::of(Frame::read(&header, body)?)? };
        let text = serde_json::to_vec(&control).map_err(|_| Failure::Malformed)?;
        memory::copy(&text, json, written)
    })
}

/// Writes the control frame that JSON in the form of `cryprq_frame_read` describes. `*written` is the frame's length,
/// also with `CRYPRQ_NO_ROOM`; nothing is written then.
///
/// # Safety
/// `json` points at `length` bytes, `frame` at `capacity` bytes, `written` at a size; none overlaps another.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cryprq_frame_write(
    json: *const u8,
    length: usize,
    frame: *mut u8,
    capacity: usize,
    written: *mut usize,
) -> i32 {
    border(|| {
        // SAFETY: the caller's promise is theirs.
        let (json, frame, written) =
            unsafe { (memory::read(json, length)?, memory::write(frame, capacity)?, memory::value(written)?) };
        // The longest body, each of its bytes as an escape of six.
        if json.len() > 6 * MAX_CONTROL {
            return Err(Failure::Frame(FrameError::TooLong { length: json.len(), limit: 6 * MAX_CONTROL }));
        }
        let control: Control = serde_json::from_slice(json).map_err(|_| Failure::Malformed)?;
        memory::copy(&control.message.frame().write(control.id)?, frame, written)
    })
}

/// Writes the first frame of whoever connects: what this library's version speaks. `role` is a number of `docs/ipc.md`,
/// `build` the caller's version in UTF-8, for people. `*written` is the frame's length, also with `CRYPRQ_NO_ROOM`;
/// nothing is written then.
///
/// # Safety
/// `build` points at `length` bytes, `frame` at `capacity` bytes, `written` at a size; none overlaps another.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cryprq_hello_write(
    role: u32,
    build: *const u8,
    length: usize,
    id: u32,
    frame: *mut u8,
    capacity: usize,
    written: *mut usize,
) -> i32 {
    border(|| {
        // SAFETY: the caller's promise is theirs.
        let (build, frame, written) =
            unsafe { (memory::read(build, length)?, memory::write(frame, capacity)?, memory::value(written)?) };
        let role: Role = codec::decode(&role.to_le_bytes())?;
        let build = std::str::from_utf8(build).map_err(|_| Failure::Malformed)?;
        memory::copy(&Frame::Hello(Hello::new(build, role)).write(id)?, frame, written)
    })
}
