//! What quinn and TLS are told.

use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::identity::Keypair;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::rustls::client::Resumption;
use quinn::rustls::{ClientConfig as TlsClient, NoKeyLog, ServerConfig as TlsServer};
use quinn::{ClientConfig, EndpointConfig, NoneTokenStore, ServerConfig, TransportConfig, VarInt};

use super::Error;
use super::keys::SocketKeys;
use super::queue::MAX_PACKET;

/// How long a handshake may take, and a hole may be punched.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(15);
/// Half of what a connection may be silent, at most: one that is lost is followed by another in time.
const KEEP_ALIVE: Duration = Duration::from_secs(7);
/// Windows of a connection: inner flows have their own, so large ones would only buffer.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 2 << 20;
const SEND_WINDOW: u64 = 1 << 20;
/// Each is paid for as soon as a connection stands. A peer has a handful: one for frames, and some of libp2p's protocols.
const STREAMS: u32 = 16;
/// Handshakes that nobody has looked at yet, and the bytes that may come for them meanwhile.
const WAITING: usize = 256;
const WAITING_BYTES: u64 = 8 << 20;
/// A handshake's first flight is a few packets; more comes only after our answer.
const WAITING_BYTES_EACH: u64 = 16 << 10;
/// QUIC version 1 (RFC 9000).
const VERSION: u32 = 1;

/// Settings of all sockets and connections.
pub(super) struct Settings {
    identity: Keypair,
    transport: Arc<TransportConfig>,
    /// Of a socket that listens.
    pub(super) listening: ServerConfig,
    /// Of one that does not: it takes no handshake, and says nothing. (quinn answers a handshake by a reset when it has
    /// no settings for it at all.)
    pub(super) silent: ServerConfig,
}

impl Settings {
    pub(super) fn new(identity: Keypair) -> Result<Self, Error> {
        let transport = Arc::new(transport()?);
        let tls = QuicServerConfig::try_from(server(&identity)?).map_err(|error| Error::Tls(error.to_string()))?;
        let mut listening = ServerConfig::with_crypto(Arc::new(tls));
        listening
            .transport_config(Arc::clone(&transport))
            .migration(true)
            .max_incoming(WAITING)
            .incoming_buffer_size(WAITING_BYTES_EACH)
            .incoming_buffer_size_total(WAITING_BYTES);
        // Tokens for later would let an observer link connections from different places.
        listening.validation_token.sent(0);
        let mut silent = listening.clone();
        silent.max_incoming(0);
        Ok(Self { identity, transport, listening, silent })
    }

    /// Settings of a dial. A host that is not `peer` is refused inside TLS, before it learns who we are.
    pub(super) fn dialling(&self, peer: Option<PeerId>) -> Result<ClientConfig, Error> {
        let tls = QuicClientConfig::try_from(client(&self.identity, peer)?);
        let mut config = ClientConfig::new(Arc::new(tls.map_err(|error| Error::Tls(error.to_string()))?));
        config.transport_config(Arc::clone(&self.transport)).version(VERSION).token_store(Arc::new(NoneTokenStore));
        Ok(config)
    }
}

/// Settings of a socket.
pub(super) fn endpoint(keys: SocketKeys) -> Result<EndpointConfig, Error> {
    let (reset, ids) = keys.split()?;
    let mut config = EndpointConfig::new(Arc::new(reset));
    let longest = u16::try_from(MAX_PACKET).unwrap_or(u16::MAX);
    config.max_udp_payload_size(longest).map_err(|error| Error::Tls(error.to_string()))?;
    config
        .cid_generator(move || Box::new(ids.clone()))
        .supported_versions(vec![VERSION])
        // Peers clear the bit that tells QUIC from frames only if we offer to read them so.
        .grease_quic_bit(false);
    Ok(config)
}

fn transport() -> Result<TransportConfig, Error> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(STREAMS.into())
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IDLE.try_into().map_err(|_| Error::Tls("the idle time is too long".into()))?))
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(SEND_WINDOW)
        .allow_spin(false);
    Ok(transport)
}

fn server(identity: &Keypair) -> Result<TlsServer, Error> {
    let mut tls = libp2p::tls::make_server_config(identity).map_err(|error| Error::Tls(error.to_string()))?;
    // Whatever the environment says.
    tls.key_log = Arc::new(NoKeyLog);
    // A resumed session would skip the certificates.
    tls.send_tls13_tickets = 0;
    Ok(tls)
}

fn client(identity: &Keypair, peer: Option<PeerId>) -> Result<TlsClient, Error> {
    let mut tls = libp2p::tls::make_client_config(identity, peer).map_err(|error| Error::Tls(error.to_string()))?;
    tls.key_log = Arc::new(NoKeyLog);
    tls.resumption = Resumption::disabled();
    Ok(tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_session_logs_its_keys_or_can_be_resumed() {
        let identity = Keypair::generate_ed25519();
        let (server, client) = (server(&identity).unwrap(), client(&identity, None).unwrap());
        assert!(!server.key_log.will_log("CLIENT_TRAFFIC_SECRET_0") && !client.key_log.will_log("EXPORTER_SECRET"));
        assert_eq!(server.send_tls13_tickets, 0);
        assert_eq!(server.alpn_protocols, [b"libp2p"]);
    }
}
