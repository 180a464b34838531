//! The bytes of a circuit, as a relay passes them on.

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::Stream;

const CHUNK: usize = 16 << 10;

/// What becomes of the bytes of circuits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tamper {
    /// They are passed on.
    Nothing,
    /// One bit of each piece is another.
    Flip,
    /// Each piece is passed on twice.
    Double,
    /// Every other piece is left out.
    Lose,
    /// They are taken and not passed on.
    Stall,
    /// The circuit ends.
    End,
}

/// Joins two streams until one ends; what becomes of their bytes is asked for each piece.
pub(super) async fn splice(near: Stream, far: Stream, tamper: impl Fn() -> Tamper + Clone) -> anyhow::Result<()> {
    let ((near_in, near_out), (far_in, far_out)) = (near.split(), far.split());
    tokio::select! {
        ended = pass(near_in, far_out, tamper.clone()) => ended,
        ended = pass(far_in, near_out, tamper) => ended,
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    tamper: impl Fn() -> Tamper,
) -> anyhow::Result<()> {
    let mut piece = vec![0; CHUNK];
    for number in 0_u64.. {
        let length = from.read(&mut piece).await?;
        let piece = &mut piece[..length];
        match tamper() {
            _ if piece.is_empty() => break,
            Tamper::Nothing => to.write_all(piece).await?,
            Tamper::Flip => {
                piece[length / 2] ^= 0x10;
                to.write_all(piece).await?;
            }
            Tamper::Double => {
                to.write_all(piece).await?;
                to.write_all(piece).await?;
            }
            Tamper::Lose if number % 2 == 0 => to.write_all(piece).await?,
            Tamper::Lose | Tamper::Stall => {}
            Tamper::End => break,
        }
        to.flush().await?;
    }
    Ok(())
}
