//! A QUIC connection as a muxer of libp2p.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use futures::future::BoxFuture;
use libp2p::PeerId;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use quinn::rustls::pki_types::CertificateDer;
use quinn::{ConnectionError, RecvStream, SendStream, VarInt};

use super::ends::{Ends, Entered};
use super::gate::OpenHandshake;
use super::settings::HANDSHAKE;
use super::{Error, Stream, address};

type Opening = BoxFuture<'static, Result<(SendStream, RecvStream), ConnectionError>>;

/// A connection whose peer is known.
pub struct Connection {
    quic: quinn::Connection,
    /// Where the peer was when it was last asked.
    remote: SocketAddr,
    incoming: Option<Opening>,
    outgoing: Option<Opening>,
    closing: Option<BoxFuture<'static, ConnectionError>>,
    _entered: Entered,
}

/// Waits for a handshake to end; who is there comes out.
pub(super) async fn handshake(
    connecting: quinn::Connecting,
    open: Option<OpenHandshake>,
    ends: &Ends,
) -> Result<(PeerId, Connection), Error> {
    let connection = tokio::time::timeout(HANDSHAKE, connecting).await.map_err(|_| Error::TimedOut)??;
    drop(open);
    let peer = peer(&connection)?;
    let entered = ends.enter(peer, connection.clone());
    Ok((peer, Connection::new(connection, entered)))
}

/// The PeerId that the certificate proves; TLS has checked the proof.
fn peer(connection: &quinn::Connection) -> Result<PeerId, Error> {
    let identity = connection.peer_identity();
    let certificates = identity.and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
    let certificate = certificates.as_deref().and_then(|certificates| certificates.first());
    let certificate = certificate.ok_or_else(|| Error::Certificate("there is none".into()))?;
    let parsed = libp2p::tls::certificate::parse(certificate).map_err(|error| Error::Certificate(error.to_string()))?;
    Ok(parsed.peer_id())
}

impl Connection {
    fn new(quic: quinn::Connection, entered: Entered) -> Self {
        let remote = quic.remote_address();
        Self { quic, remote, incoming: None, outgoing: None, closing: None, _entered: entered }
    }
}

impl StreamMuxer for Connection {
    type Substream = Stream;
    type Error = Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stream, Error>> {
        let Self { quic, incoming, .. } = &mut *self;
        let opening = incoming.get_or_insert_with(|| {
            let quic = quic.clone();
            async move { quic.accept_bi().await }.boxed()
        });
        let opened = ready!(opening.poll_unpin(cx));
        *incoming = None;
        Poll::Ready(Ok(Stream::new(opened?)))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stream, Error>> {
        let Self { quic, outgoing, .. } = &mut *self;
        let opening = outgoing.get_or_insert_with(|| {
            let quic = quic.clone();
            async move { quic.open_bi().await }.boxed()
        });
        let opened = ready!(opening.poll_unpin(cx));
        *outgoing = None;
        Poll::Ready(Ok(Stream::new(opened?)))
    }

    /// Tells when the peer came to another address. quinn says nothing by itself, so it is seen when the connection is
    /// next polled: at the latest when its ping is answered.
    fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Error>> {
        let remote = self.quic.remote_address();
        if remote == self.remote {
            return Poll::Pending;
        }
        self.remote = remote;
        Poll::Ready(Ok(StreamMuxerEvent::AddressChange(address::format(remote))))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Self { quic, closing, .. } = &mut *self;
        let closed = closing.get_or_insert_with(|| {
            quic.close(VarInt::from_u32(0), &[]);
            let quic = quic.clone();
            async move { quic.closed().await }.boxed()
        });
        // It is closed, whoever was first.
        ready!(closed.poll_unpin(cx));
        Poll::Ready(Ok(()))
    }
}
