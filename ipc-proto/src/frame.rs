//! Whole binary frames: a header and the message that fits its kind.

use crate::codec::{self, Encode};
use crate::error::ErrorBody;
use crate::extension::{StopReason, TunnelSettings};
use crate::header::{FrameError, HEADER, Header, Kind};
use crate::hello::{Hello, HelloAck, Refused};
use crate::message::{Event, Reply, Request};
use crate::packets::Packets;

/// Any frame. Packet frames borrow from the body they were read from.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame<'a> {
    /// See [`Kind::Hello`].
    Hello(Hello),
    /// See [`Kind::HelloAck`].
    HelloAck(HelloAck),
    /// See [`Kind::Refused`].
    Refused(Refused),
    /// See [`Kind::Request`].
    Request(Request),
    /// See [`Kind::Reply`].
    Reply(Reply),
    /// See [`Kind::Event`].
    Event(Event),
    /// See [`Kind::Error`].
    Error(ErrorBody),
    /// See [`Kind::TunnelSettings`].
    TunnelSettings(TunnelSettings),
    /// See [`Kind::Ready`].
    Ready,
    /// See [`Kind::Packets`].
    Packets(Packets<'a>),
    /// See [`Kind::Pause`].
    Pause,
    /// See [`Kind::Resume`].
    Resume,
    /// See [`Kind::Stop`].
    Stop(StopReason),
}

impl<'a> Frame<'a> {
    /// Reads the body that belongs to a header.
    ///
    /// # Errors
    /// [`FrameError`]; the connection cannot go on after it.
    pub fn read(header: &Header, body: &'a [u8]) -> Result<Self, FrameError> {
        if body.len() < header.length {
            return Err(FrameError::Truncated);
        }
        if body.len() > header.length {
            return Err(FrameError::Trailing(body.len() - header.length));
        }
        Ok(match header.kind {
            Kind::Hello => Self::Hello(codec::decode(body)?),
            Kind::HelloAck => Self::HelloAck(codec::decode(body)?),
            Kind::Refused => Self::Refused(codec::decode(body)?),
            Kind::Request => Self::Request(codec::decode(body)?),
            Kind::Reply => Self::Reply(codec::decode(body)?),
            Kind::Event => Self::Event(codec::decode(body)?),
            Kind::Error => Self::Error(codec::decode(body)?),
            Kind::TunnelSettings => Self::TunnelSettings(codec::decode(body)?),
            Kind::Ready => codec::decode(body).map(|()| Self::Ready)?,
            Kind::Packets => Self::Packets(Packets::read(body)?),
            Kind::Pause => codec::decode(body).map(|()| Self::Pause)?,
            Kind::Resume => codec::decode(body).map(|()| Self::Resume)?,
            Kind::Stop => Self::Stop(codec::decode(body)?),
        })
    }

    /// The frame's bytes, header included.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] when the message does not fit a frame.
    pub fn write(&self, id: u32) -> Result<Vec<u8>, FrameError> {
        match self {
            Self::Hello(message) => framed(Kind::Hello, id, message),
            Self::HelloAck(message) => framed(Kind::HelloAck, id, message),
            Self::Refused(message) => framed(Kind::Refused, id, message),
            Self::Request(message) => framed(Kind::Request, id, message),
            Self::Reply(message) => framed(Kind::Reply, id, message),
            Self::Event(message) => framed(Kind::Event, id, message),
            Self::Error(message) => framed(Kind::Error, id, message),
            Self::TunnelSettings(message) => framed(Kind::TunnelSettings, id, message),
            Self::Ready => framed(Kind::Ready, id, &()),
            Self::Packets(packets) => packets.frame(id),
            Self::Pause => framed(Kind::Pause, id, &()),
            Self::Resume => framed(Kind::Resume, id, &()),
            Self::Stop(reason) => framed(Kind::Stop, id, reason),
        }
    }
}

fn framed(kind: Kind, id: u32, message: &impl Encode) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; HEADER];
    codec::encode(message, &mut frame)?;
    let header = Header { kind, length: frame.len() - HEADER, id }.write()?;
    frame[..HEADER].copy_from_slice(&header);
    Ok(frame)
}
