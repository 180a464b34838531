//! What a tunnel is made with: whose it is, and every time and number of protocol.md 6.7, 7.5 and 8.

use std::sync::Arc;
use std::time::Duration;

use super::IndexSpace;
use crate::crypto::{Identity, Kem768};
use crate::epoch::{Bound, Cipher, Limits};
use crate::handshake::{ParamLimits, Params, Tlv};
use crate::peer_key::PeerKey;
use crate::secret::{SecretStore, StoredSecret};

/// One peer's tunnel.
pub struct TunnelConfig {
    /// Our own identity.
    pub identity: Arc<Identity>,
    /// The peer.
    pub remote: PeerKey,
    /// The pair's PSK, if it has one.
    pub psk: Option<StoredSecret>,
    /// Whether a start without a chain needs an administrator (6.7).
    pub require_chain: ChainRule,
    /// What we announce.
    pub params: Params,
    /// Extensions that we send.
    pub tlvs: Vec<Tlv>,
    /// Times and numbers.
    pub limits: TunnelLimits,
    /// ML-KEM-768.
    pub kem: Arc<dyn Kem768>,
    /// Where chain keys are kept.
    pub store: Arc<dyn SecretStore>,
    /// The receiver indices of this host, shared by all its tunnels.
    pub indices: Arc<IndexSpace>,
}

/// Whether handshakes without a chain are made and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ChainRule {
    /// They are.
    #[default]
    Optional,
    /// Only while an administrator has accepted one chain reset.
    Required,
}

/// The counter limits of an epoch (7.5); the tests' way to lower them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterLimits {
    /// Messages.
    pub messages: Bound<u64>,
    /// Bytes of frames.
    pub bytes: Bound<u64>,
    /// Opens that failed.
    pub failed_opens: Bound<u64>,
}

/// Whether AES-256-GCM is announced (6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AesRule {
    /// Where the processor makes it fast.
    #[default]
    InHardware,
    /// Never, so that the other cipher is agreed on.
    Never,
}

/// Times and numbers; constructor arguments so that tests can lower them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelLimits {
    /// Whether the caller, who knows the processor, may announce AES-256-GCM.
    pub aes: AesRule,
    /// The bounds of the peer's parameters (6.3).
    pub params: ParamLimits,
    /// Replaces the counter limits of 7.5.
    pub counters: Option<CounterLimits>,
    /// How long a handshake may take (6.5): 10 s.
    pub handshake: Duration,
    /// How long a receive key stays once the peer is known to send on a newer epoch (8): 60 s.
    pub previous_key: Duration,
    /// How long after the soft limit the peer with the larger key starts a rotation (8): 15 s.
    pub follower: Duration,
    /// How long the side that was dialled waits before it starts (6.7): 1 s.
    pub dialled_wait: Duration,
    /// The first and the longest pause after a failed handshake (6.7): 1 s, 30 s.
    pub retry: Bound<Duration>,
    /// The pause after REJECT 1, 2 or 5, while an epoch is live and while none is (6.7): 30 s, 5 min.
    pub refused: Bound<Duration>,
    /// How long an accepted chain reset stands (6.7): 10 min.
    pub chain_reset: Duration,
    /// Handshakes of the peer that are answered in a burst (6.5): 5.
    pub burst: u32,
    /// Time for one more (6.5): 5 s.
    pub refill: Duration,
    /// Silence after content was sent before the peer is probed (6.7): 1 s.
    pub silence: Duration,
    /// Time between probes (6.7): 400 ms.
    pub probe_interval: Duration,
    /// Unanswered probes that make a path dead (6.7): 3.
    pub probes: u32,
    /// Time between probes of the sending path while content is sent (6.7): 5 s.
    pub sending_check: Duration,
    /// Silence after content was sent that makes the state `stalled`: 3 s.
    pub stalled: Duration,
    /// Time after which an empty frame goes out when nothing else did: 20 s.
    pub keepalive: Duration,
}

impl Default for TunnelLimits {
    /// The values of the protocol.
    fn default() -> Self {
        const fn seconds(s: u64) -> Duration {
            Duration::from_secs(s)
        }
        Self {
            aes: AesRule::default(),
            params: ParamLimits::default(),
            counters: None,
            handshake: seconds(10),
            previous_key: seconds(60),
            follower: seconds(15),
            dialled_wait: seconds(1),
            retry: Bound { soft: seconds(1), hard: seconds(30) },
            refused: Bound { soft: seconds(30), hard: seconds(300) },
            chain_reset: seconds(600),
            burst: 5,
            refill: seconds(5),
            silence: seconds(1),
            probe_interval: Duration::from_millis(400),
            probes: 3,
            sending_check: seconds(5),
            stalled: seconds(3),
            keepalive: seconds(20),
        }
    }
}

impl TunnelLimits {
    /// The limits of an epoch with this cipher and agreed rotation time.
    pub fn epoch(&self, cipher: Cipher, rotation: Duration) -> Limits {
        let standard = Limits::standard(cipher, rotation);
        match self.counters {
            None => standard,
            Some(CounterLimits { messages, bytes, failed_opens }) => {
                Limits { age: standard.age, messages, bytes, failed_opens }
            }
        }
    }
}
