//! What one connected, idle peer costs in the core: tunnel, sealer, opener and replay window.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use node::crypto::{AwsLcKem, Identity, RandomError, RandomSource};
use node::drops::DropReason;
use node::epoch::{Opener, Sealer};
use node::handshake::{Capabilities, PaddingMode, Params};
use node::secret::{HeapStore, SecretKey32, SecretStore};
use node::state::PeerState;
use node::time::Time;
use node::tunnel::{
    AttemptId, ConnectionId, Dialled, IndexSpace, Input, Output, Report, Tunnel, TunnelConfig, TunnelLimits, Want,
};

const PAIRS: usize = 1500;
/// The bar of the project for one idle peer.
const BAR: usize = 8 * 1024;

struct System;

impl RandomSource for System {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        aws_lc_rs::rand::fill(out).map_err(|_| RandomError("aws-lc".into()))
    }
}

/// One side with everything that the core holds for it.
struct Side {
    tunnel: Tunnel,
    openers: Vec<Opener>,
    sealer: Option<Arc<Sealer>>,
}

struct Host {
    identities: [Arc<Identity>; 2],
    indices: Arc<IndexSpace>,
}

impl Host {
    fn side(&self, side: usize, now: Time) -> Side {
        let config = TunnelConfig {
            identity: Arc::clone(&self.identities[side]),
            remote: self.identities[1 - side].public(),
            psk: None,
            require_chain: Default::default(),
            params: Params {
                mtu: 1420,
                rotation_seconds: 300,
                padding: PaddingMode::default(),
                capabilities: Capabilities { aes_hardware: true, partial_checksums: true },
            },
            tlvs: Vec::new(),
            limits: TunnelLimits::default(),
            kem: Arc::new(AwsLcKem),
            store: Arc::new(HeapStore),
            indices: Arc::clone(&self.indices),
        };
        Side { tunnel: Tunnel::new(config, Box::new(System), now), openers: Vec::new(), sealer: None }
    }

    /// Two sides that are connected and have rotated once, so that what a rotation leaves behind counts too.
    fn connected(&self) -> [Side; 2] {
        let mut now = Time::ZERO + Duration::from_secs(1);
        let mut sides = [self.side(0, now), self.side(1, now)];
        let connection = ConnectionId(1);
        let mut inputs = VecDeque::new();
        for (side, dialled) in [Dialled::ByUs, Dialled::ByPeer].into_iter().enumerate() {
            inputs.push_back((side, Input::Wanted(Want::Up)));
            inputs.push_back((side, Input::ConnectionUp { connection, dialled }));
        }
        drive(&mut sides, now, inputs);
        drive(&mut sides, now, VecDeque::from([(0, Input::Rotate)]));
        now = now + Duration::from_secs(61);
        drive(&mut sides, now, VecDeque::from([(0, Input::Timeout), (1, Input::Timeout)]));
        for side in &sides {
            let status = side.tunnel.status(now);
            assert_eq!((status.state, status.handshakes, side.openers.len()), (PeerState::Connected, 2, 1));
        }
        sides
    }
}

/// Feeds inputs and what follows from them, without a network between.
fn drive(sides: &mut [Side; 2], now: Time, mut inputs: VecDeque<(usize, Input)>) {
    while let Some((at, input)) = inputs.pop_front() {
        sides[at].tunnel.handle(now, input);
        while let Some(output) = sides[at].tunnel.poll_output() {
            let to = 1 - at;
            match output {
                Output::OpenStream { connection, attempt } => {
                    inputs.push_back((to, Input::IncomingStream { connection, attempt: other(attempt) }));
                    inputs.push_back((at, Input::StreamOpened { attempt }));
                }
                Output::Send { attempt, bytes } => {
                    inputs.push_back((to, Input::Message { attempt: other(attempt), bytes }));
                }
                Output::Install { opener } => sides[at].openers.push(*opener),
                Output::Remove { index } => sides[at].openers.retain(|opener| opener.index() != index),
                Output::SendWith(sealer) => sides[at].sealer = sealer,
                // The frame itself is of no interest here; that it was opened is.
                Output::SendEmpty => {
                    let epoch = sides[to].openers.last().expect("an epoch is installed before it is sent on").epoch();
                    inputs.push_back((to, Input::Report(Report::FirstFrame { epoch })));
                }
                Output::CloseStream { .. }
                | Output::SendProbe { .. }
                | Output::SendProbeAck { .. }
                | Output::NeedConnection
                | Output::PathDead
                | Output::Event(_) => {}
            }
        }
    }
}

fn other(attempt: AttemptId) -> AttemptId {
    AttemptId(attempt.0 ^ 1)
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS is in status");
    line.trim().trim_end_matches("kB").trim().parse::<usize>().expect("a number of kB") * 1024
}

#[test]
fn an_idle_peer_takes_at_most_8_kib() {
    let identity = |seed: u8| {
        let seed = HeapStore.keep(SecretKey32::new([seed; 32])).expect("the heap has room");
        Arc::new(Identity::from_seed(seed).expect("a good seed"))
    };
    let host = Host { identities: [identity(1), identity(2)], indices: Arc::new(IndexSpace::default()) };
    let mut kept: Vec<[Side; 2]> = Vec::with_capacity(PAIRS + 100);
    // What the allocator and the libraries take once is not a peer's.
    kept.extend((0..100).map(|_| host.connected()));
    let before = resident();
    kept.extend((0..PAIRS).map(|_| host.connected()));
    let each = (resident() - before) / (2 * PAIRS);
    println!("an idle peer takes {each} bytes");
    assert!(each > 500, "{each} bytes cannot hold a key and a window: the measurement is wrong");
    assert!(each <= BAR, "{each} bytes");
    // A sealer that still works shows that nothing was thrown away to get there.
    let mut out = node::frame::FrameBatch::new(1024);
    let sealer = kept[0][0].sealer.as_ref().expect("a connected tunnel has a sealer");
    assert_eq!(sealer.seal_empty(Time::ZERO + Duration::from_secs(62), &mut out), Ok::<(), DropReason>(()));
}
