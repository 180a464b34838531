//! Messages on substreams: each behind a `u16` length (protocol.md 6.1, 7.7 and 10).

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The next message of at most `longest` bytes, or `None` at a clean end.
pub(super) async fn read_message(reader: &mut (impl AsyncRead + Unpin), longest: usize) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 2];
    match reader.read_exact(&mut length).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let length = usize::from(u16::from_le_bytes(length));
    if length > longest {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message longer than any of its protocol"));
    }
    let mut message = vec![0; length];
    reader.read_exact(&mut message).await?;
    Ok(Some(message))
}

/// Writes a message and sends it on its way.
pub(super) async fn write_message(writer: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    writer.write_all(&[&length.to_le_bytes()[..], message].concat()).await?;
    writer.flush().await
}

#[cfg(test)]
mod tests {
    use node::handshake::MAX_MESSAGE;

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
        futures::executor::block_on(read_message(&mut &*bytes, MAX_MESSAGE))
    }

    #[test]
    fn messages_are_read_behind_their_length_and_long_ones_refused() {
        assert_eq!(read(&[2, 0, 7, 8, 9]).unwrap(), Some(vec![7, 8]));
        assert_eq!(read(&[]).unwrap(), None);
        assert!(read(&[2, 0, 7]).is_err());
        assert_eq!(read(&[1, 16]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
