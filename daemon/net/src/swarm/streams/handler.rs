//! The substreams of one connection.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol};
use libp2p::{Stream, StreamProtocol};
use tokio::sync::oneshot;

use super::PROTOCOLS;

/// What is negotiated on both sides.
#[derive(Debug, Default)]
pub(crate) struct StreamHandler {
    wanted: VecDeque<Wanted>,
    arrived: VecDeque<(StreamProtocol, Stream)>,
}

/// A substream that somebody waits for. Whatever ends it early drops the sender, which tells whoever waits.
#[derive(Debug)]
pub(crate) struct Wanted {
    protocol: StreamProtocol,
    reply: oneshot::Sender<Stream>,
}

impl Wanted {
    pub(super) const fn new(protocol: StreamProtocol, reply: oneshot::Sender<Stream>) -> Self {
        Self { protocol, reply }
    }
}

impl UpgradeInfo for Wanted {
    type Info = StreamProtocol;
    type InfoIter = std::iter::Once<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(self.protocol.clone())
    }
}

impl OutboundUpgrade<Stream> for Wanted {
    type Output = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn upgrade_outbound(self, stream: Stream, _: StreamProtocol) -> Self::Future {
        // Who asked may have left; the stream is reset then.
        let _ = self.reply.send(stream);
        ready(Ok(()))
    }
}

/// What the peer may open.
#[derive(Debug)]
pub(crate) struct Offer;

impl UpgradeInfo for Offer {
    type Info = StreamProtocol;
    type InfoIter = Vec<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        PROTOCOLS.to_vec()
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = (StreamProtocol, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((protocol, stream)))
    }
}

impl ConnectionHandler for StreamHandler {
    type FromBehaviour = Wanted;
    type ToBehaviour = (StreamProtocol, Stream);
    type InboundProtocol = Offer;
    type OutboundProtocol = Wanted;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Offer> {
        SubstreamProtocol::new(Offer, ())
    }

    fn on_behaviour_event(&mut self, wanted: Wanted) {
        self.wanted.push_back(wanted);
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Wanted, (), Self::ToBehaviour>> {
        if let Some(arrived) = self.arrived.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(arrived));
        }
        if let Some(wanted) = self.wanted.pop_front() {
            let protocol = SubstreamProtocol::new(wanted, ());
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        // Whatever changes this comes by one of the other methods, after which the swarm polls again.
        Poll::Pending
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Offer, Wanted>) {
        // What failed is told by a sender that is dropped.
        if let ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) = event {
            self.arrived.push_back(protocol);
        }
    }
}
