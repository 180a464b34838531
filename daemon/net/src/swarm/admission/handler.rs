//! `/cryprq/pair/1` on one connection.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::task::{Context, Poll};

use either::Either;
use libp2p::core::upgrade::{DeniedUpgrade, ReadyUpgrade};
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol};
use libp2p::{Stream, StreamProtocol};

const PAIR: StreamProtocol = StreamProtocol::new("/cryprq/pair/1");

/// How many streams the other side may open here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepts {
    /// None: we dialled in order to ask.
    None,
    /// One: a guest says one thing.
    One,
    /// As many as a member needs, one after another.
    All,
}

/// What a connection has to say.
#[derive(Debug)]
pub(crate) enum News {
    /// The other side opened a stream.
    Asked(Stream),
    /// The stream that we asked for stands.
    Opened(Stream),
    /// It does not.
    Failed(String),
}

/// Open a stream.
#[derive(Debug)]
pub(crate) struct Open;

pub(crate) struct PairHandler {
    accepts: Accepts,
    stays: bool,
    wanted: u32,
    news: VecDeque<News>,
}

impl PairHandler {
    pub(super) fn new(accepts: Accepts) -> Self {
        Self { accepts, stays: true, wanted: 0, news: VecDeque::new() }
    }

    /// On a connection that ends by itself once it is idle.
    pub(super) fn passing() -> Self {
        Self { stays: false, ..Self::new(Accepts::None) }
    }

    fn asked(&mut self, stream: Stream) {
        match self.accepts {
            // Negotiated while the one before was: dropping it resets it.
            Accepts::None => return,
            Accepts::One => self.accepts = Accepts::None,
            Accepts::All => {}
        }
        self.news.push_back(News::Asked(stream));
    }
}

impl ConnectionHandler for PairHandler {
    type FromBehaviour = Open;
    type ToBehaviour = News;
    type InboundProtocol = Either<ReadyUpgrade<StreamProtocol>, DeniedUpgrade>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        let upgrade = match self.accepts {
            Accepts::None => Either::Right(DeniedUpgrade),
            Accepts::One | Accepts::All => Either::Left(ReadyUpgrade::new(PAIR)),
        };
        SubstreamProtocol::new(upgrade, ())
    }

    fn on_behaviour_event(&mut self, Open: Open) {
        self.wanted += 1;
    }

    fn connection_keep_alive(&self) -> bool {
        self.stays
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), News>> {
        if let Some(news) = self.news.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(news));
        }
        if self.wanted > 0 {
            self.wanted -= 1;
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PAIR), ());
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        // Whatever changes this comes by one of the other methods, after which the swarm polls again.
        Poll::Pending
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "libp2p's enum grows; news of protocols are of no consequence")]
    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => match protocol {
                futures::future::Either::Left(stream) => self.asked(stream),
                futures::future::Either::Right(never) => match never {},
            },
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                self.news.push_back(News::Opened(protocol));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                self.news.push_back(News::Failed(told(error)));
            }
            _ => {}
        }
    }
}

fn told(error: StreamUpgradeError<Infallible>) -> String {
    match error {
        StreamUpgradeError::Timeout => "the other host did not open a pairing stream in time".into(),
        StreamUpgradeError::NegotiationFailed => "the other host does not offer pairing".into(),
        StreamUpgradeError::Io(error) => error.to_string(),
        StreamUpgradeError::Apply(never) => match never {},
    }
}
