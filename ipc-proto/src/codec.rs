//! The bodies of control frames: bincode 2 with fixed-width little-endian integers. No other file knows the crate.
//!
//! The contract is the format, described in `docs/ipc.md` and pinned by `vectors/`: each message has exactly one
//! encoding, and anything else is refused.

pub use bincode::{Decode, Encode};

use std::net::IpAddr;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian, standard};
use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};

use crate::header::FrameError;
use crate::limits::MAX_CONTROL;
use crate::prefix::Prefix;

/// What a message may claim of memory while it is read. It is more than the body's limit, for an empty text takes
/// 8 bytes of a body and 24 of memory, and it bounds what a length that lies can do.
const MEMORY: usize = 16 * MAX_CONTROL;

const fn format() -> Configuration<LittleEndian, Fixint, Limit<MEMORY>> {
    standard().with_fixed_int_encoding().with_little_endian().with_limit::<MEMORY>()
}

/// A message that has a body format.
pub trait Message: Encode + Decode<()> {}

impl<T: Encode + Decode<()>> Message for T {}

/// Appends a message's encoding to `out`.
///
/// # Errors
/// [`FrameError::Malformed`] when the message holds what has no encoding.
pub fn encode(message: &impl Encode, out: &mut Vec<u8>) -> Result<(), FrameError> {
    match bincode::encode_into_std_write(message, out, format()) {
        Ok(_) => Ok(()),
        Err(error) => Err(FrameError::Malformed(error.to_string())),
    }
}

/// Reads a message that fills `body`.
///
/// # Errors
/// [`FrameError`] when `body` is anything but the one encoding of a message.
pub fn decode<T: Message>(body: &[u8]) -> Result<T, FrameError> {
    let (message, read) = bincode::decode_from_slice::<T, _>(body, format()).map_err(refused)?;
    if read < body.len() {
        return Err(FrameError::Trailing(body.len() - read));
    }
    // Maps are the only types with more than one readable form: keys in another order, or twice.
    let mut canonical = zeroize::Zeroizing::new(Vec::with_capacity(body.len()));
    encode(&message, &mut canonical)?;
    if canonical.as_slice() == body { Ok(message) } else { Err(FrameError::NotCanonical) }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the crate's enum, of which one variant has a meaning of its own")]
fn refused(error: DecodeError) -> FrameError {
    match error {
        DecodeError::UnexpectedEnd { .. } => FrameError::Truncated,
        other => FrameError::Malformed(other.to_string()),
    }
}

/// Gives an enum its encoding: a number as u32, then the fields in this order. Numbers are never reused.
///
/// bincode's own derive counts variants by their place, so that a variant taken out would change all after it.
macro_rules! numbered {
    ($name:ident { $($number:tt $variant:ident $({ $($field:ident),* })? $(($inner:ident))?,)* }) => {
        impl bincode::Encode for $name {
            fn encode<E: bincode::enc::Encoder>(&self, encoder: &mut E) -> Result<(), bincode::error::EncodeError> {
                match self {
                    $(Self::$variant $({ $($field),* })? $(($inner))? => {
                        u32::encode(&$number, encoder)?;
                        $($(bincode::Encode::encode($field, encoder)?;)*)?
                        $(bincode::Encode::encode($inner, encoder)?;)?
                    })*
                }
                Ok(())
            }
        }

        impl<Context> bincode::Decode<Context> for $name {
            fn decode<D: bincode::de::Decoder<Context = Context>>(
                decoder: &mut D,
            ) -> Result<Self, bincode::error::DecodeError> {
                match u32::decode(decoder)? {
                    $($number => {
                        $($(let $field = bincode::Decode::decode(decoder)?;)*)?
                        $(let $inner = bincode::Decode::decode(decoder)?;)?
                        Ok(Self::$variant $({ $($field),* })? $(($inner))?)
                    })*
                    other => Err(bincode::error::DecodeError::OtherString(format!(
                        "{} has no number {other}",
                        stringify!($name)
                    ))),
                }
            }
        }

        bincode::impl_borrow_decode!($name);
    };
}
pub(crate) use numbered;

impl Encode for Prefix {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (self.address(), self.length()).encode(encoder)
    }
}

impl<Context> Decode<Context> for Prefix {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let (address, length) = <(IpAddr, u8)>::decode(decoder)?;
        Self::new(address, length).map_err(|error| DecodeError::OtherString(error.to_string()))
    }
}

bincode::impl_borrow_decode!(Prefix);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn bytes(message: &impl Encode) -> Vec<u8> {
        let mut out = Vec::new();
        encode(message, &mut out).unwrap();
        out
    }

    #[test]
    fn attack_08_lengths_that_promise_more_than_there_is_cost_no_memory() {
        for length in [5, 1 << 16, 1 << 40, u64::MAX] {
            let lie = length.to_le_bytes();
            assert!(decode::<String>(&lie).is_err());
            assert!(decode::<Vec<String>>(&lie).is_err());
            assert!(decode::<BTreeMap<String, u64>>(&lie).is_err());
        }
        assert_eq!(decode::<Vec<u8>>(&[1, 0, 0, 0, 0, 0, 0, 0]), Err(FrameError::Truncated));
    }

    #[test]
    fn attack_08_only_one_encoding_of_a_message_is_read() {
        let map = BTreeMap::from([("a".to_owned(), 1u64), ("b".to_owned(), 2)]);
        let good = bytes(&map);
        assert_eq!(decode(&good), Ok(map));
        let (count, entries) = good.split_at(8);
        let (first, second) = entries.split_at(entries.len() / 2);
        let swapped = [count, second, first].concat();
        assert_eq!(decode::<BTreeMap<String, u64>>(&swapped), Err(FrameError::NotCanonical));
        let twice = [count, first, first].concat();
        assert_eq!(decode::<BTreeMap<String, u64>>(&twice), Err(FrameError::NotCanonical));
        assert!(matches!(decode::<Option<bool>>(&[1, 2]), Err(FrameError::Malformed(_))));
        assert!(matches!(decode::<Option<bool>>(&[2, 0]), Err(FrameError::Malformed(_))));
        assert_eq!(decode::<u32>(&[1, 0, 0, 0, 9]), Err(FrameError::Trailing(1)));
    }

    #[test]
    fn integers_have_a_fixed_width() {
        assert_eq!(bytes(&(1u16, 2u32, 3u64)), [1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
    }
}
