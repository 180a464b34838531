//! Why a packet or frame was dropped: one name per reason, for counters, status, metrics and tests.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// Every reason for which the data plane drops something. Nothing is dropped without one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DropReason {
            $($(#[$doc])* $variant,)*
        }

        impl DropReason {
            /// All reasons, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The reason's name in status, metrics and JSON.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

drop_reasons! {
    // On the way out.
    /// The packet is no whole IPv4 or IPv6 packet.
    OutMalformed => "out_malformed",
    /// The packet is longer than the tunnel MTU.
    OutTooLong => "out_too_long",
    /// No peer's AllowedIPs hold the destination.
    OutNoPeer => "out_no_peer",
    /// Nobody's, and multicast or link-local: the host's own talk on an interface where nobody else is.
    OutLinkScope => "out_link_scope",
    /// An outer packet of this host itself, which must not go into the tunnel that it carries.
    OutLoop => "out_loop",
    /// The peer has no key to send on: the tunnel is down.
    OutPeerDown => "out_peer_down",
    /// The send key reached a hard limit or was erased.
    OutKeyExpired => "out_key_expired",
    /// The carrier's queue was full; the oldest frame went.
    OutQueueFull => "out_queue_full",
    /// The frame waited too long in the carrier's queue.
    OutStale => "out_stale",
    /// No carrier leads to the peer.
    OutNoPath => "out_no_path",
    // On the way in, before a key is touched.
    /// A frame of impossible length.
    FrameLength => "frame_length",
    /// A frame of unknown type.
    FrameType => "frame_type",
    /// Reserved bytes of the header are not zero.
    FrameReserved => "frame_reserved",
    /// No epoch has this receiver index.
    FrameUnknownIndex => "frame_unknown_index",
    /// The index belongs to another peer than the one whose stream brought the frame.
    FrameForeignIndex => "frame_foreign_index",
    /// The queue of received frames was full; the oldest went.
    InQueueFull => "in_queue_full",
    /// More opens a second than an unproven source is granted.
    FrameRateLimited => "frame_rate_limited",
    /// The counter was seen already.
    FrameReplayed => "frame_replayed",
    /// The counter lies behind the window.
    FrameTooOld => "frame_too_old",
    /// The epoch is past a hard limit or was erased.
    FrameKeyExpired => "frame_key_expired",
    /// A punch: it did its work on the way, in the NATs.
    FramePunch => "frame_punch",
    /// A frame on UDP, while frames are carried on streams only.
    FrameUncarried => "frame_uncarried",
    // QUIC, which shares the socket.
    /// No packet of QUIC version 1.
    QuicVersion => "quic_version",
    /// A packet longer than we take.
    QuicLength => "quic_length",
    /// The queue of received packets was full; the newest went.
    QuicQueueFull => "quic_queue_full",
    /// The system refused to send a packet.
    QuicSend => "quic_send",
    /// The first packet of a handshake is forged or broken.
    QuicHandshake => "quic_handshake",
    /// More handshakes than a source is granted, or than may be open.
    QuicLimited => "quic_limited",
    // Connections by TCP and relays.
    /// More connections that have not shown whose they are than a source, or all together, may have.
    ConnectionsLimited => "connections_limited",
    // After decryption.
    /// The AEAD tag is wrong.
    FrameForged => "frame_forged",
    /// The inner packet's version nibble is neither 4 nor 6.
    InnerVersion => "inner_version",
    /// The inner packet's header is cut off or malformed.
    InnerHeader => "inner_header",
    /// The inner packet claims to be longer than the frame.
    InnerLength => "inner_length",
    /// A partial checksum that must not be, or that does not fit.
    InnerChecksum => "inner_checksum",
    /// A probe without its token.
    ProbeLength => "probe_length",
    /// The source is not in the peer's AllowedIPs.
    SourceNotAllowed => "source_not_allowed",
    /// The source is one of our own addresses.
    SourceOwn => "source_own",
    /// The source is loopback.
    SourceLoopback => "source_loopback",
    /// The source is link-local.
    SourceLinkLocal => "source_link_local",
    /// The source is multicast or broadcast.
    SourceMulticast => "source_multicast",
    /// The source is unspecified.
    SourceUnspecified => "source_unspecified",
    /// The source lies in a network that we are directly connected to.
    SourceDirect => "source_direct",
    /// The destination is one of our outer listening addresses.
    DestinationOuter => "destination_outer",
    /// The destination is not ours, and we forward nothing for this peer, or nothing to there.
    DestinationNotOurs => "destination_not_ours",
    /// The TUN device refused the packet.
    TunWrite => "tun_write",
    /// No extension is attached, or it is paused.
    ExtensionAway => "extension_away",
    /// The extension does not take packets as fast as they come; the oldest went.
    ExtensionBehind => "extension_behind",
    // What peers and relays say of this host.
    /// Somebody sees this host at ever more addresses: the newest are not believed.
    SightingsMany => "sightings_many",
    // What peers have this host dial.
    /// A peer asks for more holes than it is granted, or at more addresses than are tried at a time.
    PunchesMany => "punches_many",
    /// More is said on a network that is searched for peers than is heard: for the rest of a second nobody is.
    AnnouncedMany => "announced_many",
    // Questions for names, of peers that we forward for.
    /// No message with one question.
    NamesMalformed => "names_malformed",
    /// A question or a connection of somebody whom we forward nothing for.
    NamesStranger => "names_stranger",
    /// More questions or connections at a time than are answered.
    NamesBusy => "names_busy",
    /// No resolver answered; whoever asked by a datagram is told so.
    NamesUnanswered => "names_unanswered",
    /// What came from a resolver's address is no answer to the question.
    NamesForeign => "names_foreign",
}

/// One counter per [`DropReason`].
#[derive(Debug)]
pub struct DropCounters([AtomicU64; DropReason::ALL.len()]);

impl Default for DropCounters {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; DropReason::ALL.len()])
    }
}

impl DropCounters {
    /// Counts one drop.
    pub fn count(&self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts several drops of one reason.
    pub fn add(&self, reason: DropReason, drops: u64) {
        self.0[reason as usize].fetch_add(drops, Ordering::Relaxed);
    }

    /// How often `reason` was counted.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }

    /// Every reason that was counted at least once.
    pub fn snapshot(&self) -> Vec<(DropReason, u64)> {
        DropReason::ALL.iter().map(|&r| (r, self.get(r))).filter(|&(_, n)| n > 0).collect()
    }

    /// The sum of all counters.
    pub fn total(&self) -> u64 {
        DropReason::ALL.iter().map(|&r| self.get(r)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_and_a_name_of_its_own() {
        let counters = DropCounters::default();
        for (i, &reason) in DropReason::ALL.iter().enumerate() {
            counters.add(reason, i as u64 + 1);
        }
        let mut names: Vec<_> = counters.snapshot().iter().map(|(r, _)| r.name()).collect();
        assert!(counters.snapshot().iter().enumerate().all(|(i, &(_, n))| n == i as u64 + 1));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::ALL.len());
    }
}
