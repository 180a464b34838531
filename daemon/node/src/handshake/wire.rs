//! Layout of M1 to M4 and REJECT (protocol.md 6.3), and the checks that need no key.

use std::fmt;

use super::error::HandshakeError;
use super::params::Params;
use super::tlv::MAX_TLV_BYTES;
use super::{ChainId, ReceiverIndex};
use crate::crypto::{CIPHERTEXT_LEN, ENCAPSULATION_KEY_LEN};

/// The protocol version on the wire.
pub const VERSION: u8 = 1;
/// The latest version that this implementation speaks.
pub const MAX_VERSION: u8 = 1;
/// The longest handshake message, in bytes.
pub const MAX_MESSAGE: usize = 4096;

pub(super) const SUITE: u16 = 0x0001;
pub(super) const TAG: usize = 16;
pub(super) const SEALED_SIGNATURE: usize = 64 + TAG;
pub(super) const M1_HEADER: usize = 32;
pub(super) const M1_MIN: usize = M1_HEADER + 32 + Params::LEN + ENCAPSULATION_KEY_LEN + TAG;
pub(super) const M2_HEADER: usize = 16;
pub(super) const M2_NOISE: usize = M2_HEADER + CIPHERTEXT_LEN;
pub(super) const M2_MIN: usize = M2_NOISE + 32 + Params::LEN + TAG + SEALED_SIGNATURE;
pub(super) const M3_LEN: usize = 8 + SEALED_SIGNATURE;
pub(super) const M4_LEN: usize = 8 + TAG;
const REJECT_LEN: usize = 8;

const TYPE_M1: u8 = 0x01;
const TYPE_M2: u8 = 0x02;
const TYPE_M3: u8 = 0x03;
const TYPE_M4: u8 = 0x04;
const TYPE_REJECT: u8 = 0x0f;
const FLAG_PSK: u8 = 1;
const FLAG_CHAINED: u8 = 2;

/// Why a responder declines; a hint only, it carries no secret (6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectCode {
    /// 1: another protocol version.
    Version,
    /// 2: another suite.
    Suite,
    /// 3: the chain key named is not held.
    ChainUnknown,
    /// 4: busy; counts as a time-out.
    Busy,
    /// 5: against the other side's policy (PSK, required chain).
    Policy,
}

impl RejectCode {
    const fn number(self) -> u16 {
        match self {
            Self::Version => 1,
            Self::Suite => 2,
            Self::ChainUnknown => 3,
            Self::Busy => 4,
            Self::Policy => 5,
        }
    }

    const fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Version),
            2 => Some(Self::Suite),
            3 => Some(Self::ChainUnknown),
            4 => Some(Self::Busy),
            5 => Some(Self::Policy),
            0 | 6..=u16::MAX => None,
        }
    }
}

impl fmt::Display for RejectCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "it speaks another protocol version",
            Self::Suite => "it speaks another suite",
            Self::ChainUnknown => "it does not hold the chain key named",
            Self::Busy => "it is busy",
            Self::Policy => "its policy forbids it (PSK or chain)",
        })
    }
}

/// The eight bytes of a REJECT.
pub fn reject_message(code: RejectCode) -> Vec<u8> {
    let number = code.number().to_le_bytes();
    vec![TYPE_REJECT, VERSION, number[0], number[1], MAX_VERSION, 0, 0, 0]
}

pub(super) struct M1Header {
    pub(super) index: ReceiverIndex,
    pub(super) psk: bool,
    pub(super) chain: Option<ChainId>,
}

impl M1Header {
    pub(super) fn to_bytes(&self) -> [u8; M1_HEADER] {
        let mut out = [0; M1_HEADER];
        out[0] = TYPE_M1;
        out[1] = VERSION;
        out[2..4].copy_from_slice(&SUITE.to_le_bytes());
        out[4..8].copy_from_slice(&self.index.get().to_le_bytes());
        out[8] = if self.psk { FLAG_PSK } else { 0 } | if self.chain.is_some() { FLAG_CHAINED } else { 0 };
        out[9] = MAX_VERSION;
        out[16..32].copy_from_slice(&self.chain.unwrap_or(ChainId::NONE).0);
        out
    }

    pub(super) fn read(message: &[u8]) -> Result<Self, HandshakeError> {
        check_start(message, TYPE_M1)?;
        let (header, rest) = split_header::<M1_HEADER>(message)?;
        let suite = u16::from_le_bytes([header[2], header[3]]);
        if suite != SUITE {
            return Err(HandshakeError::Suite(suite));
        }
        check_length(message, M1_MIN..=M1_MIN + MAX_TLV_BYTES)?;
        debug_assert!(rest.len() >= M1_MIN - M1_HEADER);
        check_max_version(header[9])?;
        let flags = header[8];
        let mut chain_id = [0; 16];
        chain_id.copy_from_slice(&header[16..32]);
        let (chained, chain_id) = (flags & FLAG_CHAINED != 0, ChainId(chain_id));
        let contradicts = chained == (chain_id == ChainId::NONE);
        if flags & !(FLAG_PSK | FLAG_CHAINED) != 0 || header[10..16] != [0; 6] || contradicts {
            return Err(HandshakeError::Reserved);
        }
        let index = read_index(&header[4..8])?;
        Ok(Self { index, psk: flags & FLAG_PSK != 0, chain: chained.then_some(chain_id) })
    }
}

/// M1's header as it was received: it goes into the prologue byte for byte, also what this side would write otherwise.
pub(super) fn header_bytes(m1: &[u8]) -> Result<[u8; M1_HEADER], HandshakeError> {
    split_header::<M1_HEADER>(m1).map(|(header, _)| *header)
}

pub(super) fn m2_header(local: ReceiverIndex, remote: ReceiverIndex) -> [u8; M2_HEADER] {
    let mut out = [0; M2_HEADER];
    out[0] = TYPE_M2;
    out[1] = VERSION;
    out[2..4].copy_from_slice(&SUITE.to_le_bytes());
    out[4..8].copy_from_slice(&local.get().to_le_bytes());
    out[8..12].copy_from_slice(&remote.get().to_le_bytes());
    out[12] = MAX_VERSION;
    out
}

/// Checks M2 up to its first secret and gives the responder's index; a REJECT in its place is an error.
pub(super) fn read_m2_header(message: &[u8], ours: ReceiverIndex) -> Result<ReceiverIndex, HandshakeError> {
    if let Some(rejected) = read_reject(message) {
        return Err(rejected);
    }
    check_start(message, TYPE_M2)?;
    check_length(message, M2_MIN..=M2_MIN + MAX_TLV_BYTES)?;
    let (header, _) = split_header::<M2_HEADER>(message)?;
    if header[2..4] != SUITE.to_le_bytes() || header[8..12] != ours.get().to_le_bytes() {
        return Err(HandshakeError::Echo);
    }
    check_max_version(header[12])?;
    if header[13..16] != [0; 3] {
        return Err(HandshakeError::Reserved);
    }
    read_index(&header[4..8])
}

pub(super) fn m3_header(remote: ReceiverIndex) -> [u8; 8] {
    short_header(TYPE_M3, remote)
}

pub(super) fn m4_header(remote: ReceiverIndex) -> [u8; 8] {
    short_header(TYPE_M4, remote)
}

/// The header and the sealed part of M3.
pub(super) fn split_m3(message: &[u8], ours: ReceiverIndex) -> Result<([u8; 8], &[u8]), HandshakeError> {
    split_short(message, TYPE_M3, M3_LEN, ours)
}

/// The header and the tag of M4.
pub(super) fn split_m4(message: &[u8], ours: ReceiverIndex) -> Result<([u8; 8], &[u8]), HandshakeError> {
    split_short(message, TYPE_M4, M4_LEN, ours)
}

fn short_header(kind: u8, index: ReceiverIndex) -> [u8; 8] {
    let mut out = [kind, VERSION, 0, 0, 0, 0, 0, 0];
    out[4..].copy_from_slice(&index.get().to_le_bytes());
    out
}

fn split_short(
    message: &[u8],
    kind: u8,
    length: usize,
    ours: ReceiverIndex,
) -> Result<([u8; 8], &[u8]), HandshakeError> {
    check_start(message, kind)?;
    check_length(message, length..=length)?;
    let (header, rest) = split_header::<8>(message)?;
    if header[2..4] != [0; 2] {
        return Err(HandshakeError::Reserved);
    }
    if header[4..8] != ours.get().to_le_bytes() {
        return Err(HandshakeError::Echo);
    }
    Ok((*header, rest))
}

fn read_reject(message: &[u8]) -> Option<HandshakeError> {
    let &[TYPE_REJECT, _, c0, c1, max_version, 0, 0, 0] = <&[u8; REJECT_LEN]>::try_from(message).ok()? else {
        return None;
    };
    let code = RejectCode::from_number(u16::from_le_bytes([c0, c1]))?;
    Some(HandshakeError::Rejected { code, max_version })
}

fn check_start(message: &[u8], kind: u8) -> Result<(), HandshakeError> {
    match message {
        [k, VERSION, ..] if *k == kind => Ok(()),
        [k, version, ..] if *k == kind => Err(HandshakeError::Version(*version)),
        [k, _, ..] => Err(HandshakeError::Type(*k)),
        [] | [_] => Err(HandshakeError::Length(message.len())),
    }
}

fn check_length(message: &[u8], allowed: std::ops::RangeInclusive<usize>) -> Result<(), HandshakeError> {
    if allowed.contains(&message.len()) { Ok(()) } else { Err(HandshakeError::Length(message.len())) }
}

fn split_header<const N: usize>(message: &[u8]) -> Result<(&[u8; N], &[u8]), HandshakeError> {
    message.split_first_chunk::<N>().ok_or(HandshakeError::Length(message.len()))
}

/// 6.5, downgrade: two sides that both speak more than version 1 would not be speaking it.
fn check_max_version(theirs: u8) -> Result<(), HandshakeError> {
    if theirs < VERSION || (theirs > VERSION && MAX_VERSION > VERSION) {
        return Err(HandshakeError::Downgrade);
    }
    Ok(())
}

fn read_index(bytes: &[u8]) -> Result<ReceiverIndex, HandshakeError> {
    let bytes = bytes.try_into().map_err(|_| HandshakeError::Index)?;
    ReceiverIndex::new(u32::from_le_bytes(bytes)).ok_or(HandshakeError::Index)
}
