//! Which way each peer's frames go, and what the packet loops tell of it.

use net::peer_id;
use net::plane::News;
use node::path::{Input as PathInput, Output as PathOutput, Path};
use node::router::PeerSlot;
use node::tunnel::{Input, Report};
use os::clock::boottime;

use super::Supervisor;
use super::health::Fault;
use super::obstacles::{HOW_TO_WIDEN, too_narrow};

impl Supervisor {
    /// Tells a peer's tunnel and its paths what a loop reported.
    pub(super) async fn on_plane(&mut self, slot: PeerSlot, news: News) {
        match news {
            News::Tunnel(report) => self.feed(slot, Input::Report(report)).await,
            News::Paths(input) => self.feed_paths(slot, input).await,
            News::Received { at, via } => {
                self.feed(slot, Input::Report(Report::Received { at })).await;
                self.feed_paths(slot, PathInput::Heard { via }).await;
            }
            News::Acked { token, at, via } => {
                self.pings.answered(slot, token, at);
                // What came another way does not prove the way that frames go.
                if self.peers.get(&slot).is_some_and(|peer| peer.paths.is_current(via)) {
                    self.feed(slot, Input::Report(Report::ProbeAcked { token, at })).await;
                }
                if let Path::Datagrams(from) = via {
                    self.feed_paths(slot, PathInput::Acked { token, from }).await;
                }
            }
        }
    }

    /// After this host's addresses changed: what works is checked, what did not is tried again.
    pub(super) async fn check_paths(&mut self) {
        let slots: Vec<_> = self.peers.keys().copied().collect();
        for slot in slots {
            self.feed(slot, Input::CheckPath).await;
            self.feed_paths(slot, PathInput::NetworkChanged).await;
            if let Some(Path::Datagrams(_)) = self.peers.get(&slot).map(|peer| peer.paths.current()) {
                // Who only receives sends nothing else that tells the peer where it is now.
                self.plane.send_empty(slot);
            }
        }
    }

    /// Tells a peer's paths what happened and does what they say, in their order.
    pub(super) async fn feed_paths(&mut self, slot: PeerSlot, input: PathInput) {
        let Some(peer) = self.peers.get_mut(&slot) else { return };
        peer.paths.handle(boottime(), input);
        self.obey_paths(slot).await;
    }

    /// Does what a peer's paths say, in their order.
    pub(super) async fn obey_paths(&mut self, slot: PeerSlot) {
        while let Some(output) = self.peers.get_mut(&slot).and_then(|peer| peer.paths.poll_output()) {
            match output {
                PathOutput::Probe { token, to, size } => self.plane.send_probe_to(slot, token, to, size),
                PathOutput::Mtu(mtu) => self.plane.set_mtu(slot, mtu),
                PathOutput::Trust(trust) => self.plane.set_trust(slot, trust),
                PathOutput::TellCandidates => self.tell_candidates(slot).await,
                PathOutput::CheckPath => self.feed(slot, Input::CheckPath).await,
                PathOutput::Use(path) => {
                    let name = match path {
                        Path::Stream => "stream",
                        Path::Datagrams(_) => "datagrams",
                    };
                    tracing::info!(peer = slot.0, path = name, "frames go another way");
                    self.plane.set_path(slot, path);
                    self.feed(slot, Input::PathChanged).await;
                }
            }
        }
        self.renew_deadline(slot);
        self.judge_path(slot);
    }

    fn judge_path(&mut self, slot: PeerSlot) {
        let Some(peer) = self.peers.get(&slot) else { return };
        let subject = peer_id::format(peer.config.key);
        let Some(remote) = peer.paths.narrow() else { return self.health.clear(Fault::NarrowPath, &subject) };
        let text = format!("{}, so packets of peer {} go by a stream", too_narrow(remote), peer.config.name);
        self.health.note(Fault::NarrowPath, &subject, text, HOW_TO_WIDEN);
    }
}
