//! The receiving side of a data substream.

use std::io;
use std::sync::Arc;

use futures::{AsyncRead, AsyncReadExt};
use node::frame::MIN_FRAME;
use node::router::PeerSlot;

use crate::inbound::Inbound;
use crate::plane::PeerStats;

/// Bytes that an idle peer holds, who sends nothing or an empty frame; and that one may hold that sends a lot: more than
/// the longest frame.
const LEAST: usize = 512;
const MOST: usize = 128 * 1024;

/// Reads frames until the stream ends and queues each read's frames as one batch.
///
/// # Errors
/// The stream's error, or `InvalidData` when a length is below the shortest frame's: the stream is out of step then.
pub(crate) async fn read_frames(
    mut stream: impl AsyncRead + Unpin,
    slot: PeerSlot,
    stats: &Arc<PeerStats>,
    inbound: &Inbound,
) -> io::Result<()> {
    let mut buffer = vec![0; LEAST];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let mut batch = inbound.spare();
        (batch.slot, batch.stats) = (Some(slot), Some(Arc::clone(stats)));
        let mut rest = &buffer[..filled];
        while let Some((length, behind)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_le_bytes(*length));
            if length < MIN_FRAME {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame shorter than any can be"));
            }
            let Some((frame, behind)) = behind.split_at_checked(length) else { break };
            batch.push(frame);
            rest = behind;
        }
        let left = rest.len();
        if batch.is_empty() {
            inbound.recycle(batch);
        } else {
            inbound.push(batch);
        }
        buffer.copy_within(filled - left..filled, 0);
        if filled == buffer.len() && filled < MOST {
            // There is more than it holds, be it one frame.
            buffer.resize(2 * filled, 0);
        }
        filled = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> (io::Result<()>, Vec<usize>) {
        let inbound = Arc::new(Inbound::new(Arc::default()).unwrap());
        let result = futures::executor::block_on(read_frames(bytes, PeerSlot(1), &Arc::default(), &inbound));
        let mut lengths = Vec::new();
        while let Some(batch) = inbound.pop() {
            lengths.extend((0..batch.len()).map(|number| batch.range(number).len()));
        }
        (result, lengths)
    }

    #[test]
    fn frames_are_cut_by_their_lengths() {
        let mut bytes = vec![40, 0];
        bytes.extend([7; 40]);
        bytes.extend([0, 1]);
        bytes.extend([8; 256]);
        bytes.extend([50, 0, 1, 2, 3]);
        let (result, lengths) = read(&bytes);
        assert!(result.is_ok());
        assert_eq!(lengths, [40, 256], "a frame cut off by the end of the stream is none");
    }

    #[test]
    fn the_buffer_grows_with_what_comes() {
        let mut bytes = Vec::new();
        for length in [40_u16, 5000, u16::MAX, 33, u16::MAX, u16::MAX] {
            bytes.extend(length.to_le_bytes());
            bytes.resize(bytes.len() + usize::from(length), 7);
        }
        let (result, lengths) = read(&bytes);
        assert!(result.is_ok());
        assert_eq!(lengths, [40, 5000, 65_535, 33, 65_535, 65_535]);
    }

    #[test]
    fn a_length_that_no_frame_has_ends_the_stream() {
        let (result, lengths) = read(&[31, 0, 1, 2]);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(lengths.is_empty());
    }
}
