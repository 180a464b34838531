//! Why a handshake ended: one name per fault, for counters, logs and tests.

use super::params::ParamsError;
use super::tlv::TlvError;
use super::wire::RejectCode;
use crate::crypto::{KemError, RandomError};

/// A handshake that failed. The live epoch is never touched by one (protocol.md 6.7).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// A message of the wrong length.
    #[error("message of {0} bytes where the protocol has another length")]
    Length(usize),
    /// Not the message that belongs here.
    #[error("message of type {0:#04x} where another belongs")]
    Type(u8),
    /// Another protocol version.
    #[error("protocol version {0}, this side speaks 1")]
    Version(u8),
    /// Another suite.
    #[error("suite {0:#06x}, this side speaks 0x0001")]
    Suite(u16),
    /// Reserved bytes or flags are not zero, or the chain id contradicts its flag.
    #[error("reserved bytes or flags of a message are set")]
    Reserved,
    /// The receiver index is zero.
    #[error("receiver index zero")]
    Index,
    /// An answer echoes something else than was sent.
    #[error("the answer does not belong to this handshake")]
    Echo,
    /// Both sides could speak a later version than the one on the wire.
    #[error("both sides speak a later version than 1: somebody lowered it")]
    Downgrade,
    /// One side has a PSK for the other and the other has none.
    #[error("one side requires a PSK and the other has none")]
    PskMismatch,
    /// The chain flag is clear though this side requires a chain.
    #[error("a handshake without a chain, which this side requires")]
    ChainRequired,
    /// The chain key that the message names is not held here.
    #[error("the chain key named is not held here")]
    ChainUnknown,
    /// A Noise message does not decrypt: wrong keys, wrong PSK, or changed on its way.
    #[error("a message does not decrypt")]
    Decrypt,
    /// The KEM refused.
    #[error(transparent)]
    Kem(#[from] KemError),
    /// The identity's signature is wrong.
    #[error("the identity's signature over the transcript is wrong")]
    Signature,
    /// The peer's parameters are out of bounds.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// The peer's extensions are malformed.
    #[error(transparent)]
    Tlv(#[from] TlvError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The peer answered REJECT.
    #[error("the peer rejected the handshake: {code}")]
    Rejected {
        /// Why.
        code: RejectCode,
        /// The latest version that the peer speaks.
        max_version: u8,
    },
}

impl HandshakeError {
    /// The fault's name in counters and JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Length(_) => "length",
            Self::Type(_) => "type",
            Self::Version(_) => "version",
            Self::Suite(_) => "suite",
            Self::Reserved => "reserved",
            Self::Index => "index",
            Self::Echo => "echo",
            Self::Downgrade => "downgrade",
            Self::PskMismatch => "psk_mismatch",
            Self::ChainRequired => "chain_required",
            Self::ChainUnknown => "chain_unknown",
            Self::Decrypt => "decrypt",
            Self::Kem(_) => "kem",
            Self::Signature => "signature",
            Self::Params(_) => "params",
            Self::Tlv(_) => "tlv",
            Self::Random(_) => "random",
            Self::Rejected { .. } => "rejected",
        }
    }
}

/// A responder's refusal of M1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct M1Refused {
    /// What was wrong.
    pub error: HandshakeError,
    /// The REJECT to answer with; without one the stream is reset in silence.
    pub reject: Option<RejectCode>,
}

impl From<HandshakeError> for M1Refused {
    fn from(error: HandshakeError) -> Self {
        let reject = match &error {
            HandshakeError::Version(_) => Some(RejectCode::Version),
            HandshakeError::Suite(_) => Some(RejectCode::Suite),
            HandshakeError::ChainUnknown => Some(RejectCode::ChainUnknown),
            HandshakeError::PskMismatch | HandshakeError::ChainRequired => Some(RejectCode::Policy),
            HandshakeError::Length(_)
            | HandshakeError::Type(_)
            | HandshakeError::Reserved
            | HandshakeError::Index
            | HandshakeError::Echo
            | HandshakeError::Downgrade
            | HandshakeError::Decrypt
            | HandshakeError::Kem(_)
            | HandshakeError::Signature
            | HandshakeError::Params(_)
            | HandshakeError::Tlv(_)
            | HandshakeError::Random(_)
            | HandshakeError::Rejected { .. } => None,
        };
        Self { error, reject }
    }
}
