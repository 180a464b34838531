//! The extension, where inner packets come from one: what its interface shall be like, and whether it is there.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use cryprq_ipc_proto::extension::{StopReason, TunnelSettings};
use net::address::{ip_of, is_quic};
use node::router::PeerSlot;
use node::tunnel::Want;
use tokio::time::timeout;

use super::health::Fault;
use super::peer::prefixes;
use super::settings::{Scene, tunnel_settings};
use super::{GOODBYE, Supervisor};
use crate::ipc::extension::{Event, Extensions, absent};

/// How long an extension's system may take to undo what it did for an exit, when the daemon ends.
const TAKEN_BACK: Duration = Duration::from_secs(2);

impl Supervisor {
    /// Tells an extension, now or when it comes, what its interface shall be like; what belongs to some peers is left out.
    pub(super) fn push_settings(&self, except: &BTreeSet<PeerSlot>) {
        let Some(extensions) = &self.extensions else { return };
        let settings = self.tunnel_settings(except);
        extensions.orders.send_if_modified(|orders| {
            let changed = orders.settings != settings;
            orders.settings = settings;
            changed
        });
    }

    fn tunnel_settings(&self, except: &BTreeSet<PeerSlot>) -> TunnelSettings {
        let peers = self.peers.iter().filter(|(slot, _)| !except.contains(slot)).map(|(_, peer)| peer);
        tunnel_settings(&Scene {
            own: self.own,
            mtu: self.config.mtu,
            prefixes: prefixes(peers),
            direct: self.surroundings.direct().collect(),
            outer: self.unbound().collect(),
            exit: self.exit_resolvers(),
        })
    }

    /// Where TCP connections lead, or are about to: libp2p makes these sockets, and neither binds nor marks them.
    fn unbound(&self) -> impl Iterator<Item = IpAddr> {
        let wanted = self.peers.values().filter(|peer| peer.connections.is_empty() && peer.want == Want::Up);
        let dialled = wanted.flat_map(|peer| self.dialled(peer));
        let connected = self.peers.values().flat_map(|peer| peer.connections.values().cloned());
        let all = connected.chain(dialled).chain(self.config.relays.iter().cloned());
        all.filter(|address| !is_quic(address)).filter_map(|address| ip_of(&address))
    }

    /// Whether the extension's interface has all traffic now.
    pub(super) fn extension_leads_all(&self) -> bool {
        self.in_force.as_ref().is_some_and(|settings| settings.included.iter().any(|net| net.length() == 0))
    }

    /// The extension came or went. The keys stay.
    pub(super) fn on_extension(&mut self, event: Event) {
        let (device, done) = match event {
            Event::InForce(settings) => return self.in_force = Some(settings),
            Event::Attached(device, settings) => {
                tracing::info!("an extension is attached");
                self.health.clear(Fault::ExtensionAbsent, "");
                self.in_force = Some(settings);
                (device, None)
            }
            Event::Detached(done) => {
                self.in_force = None;
                self.miss_extension();
                (absent(), Some(done))
            }
        };
        if let Err(error) = self.plane.replace_device(device) {
            tracing::error!(%error, "the packet loops cannot go on");
        }
        if let Some(done) = done {
            // The connection may be gone already.
            let _ = done.send(());
        }
    }

    /// Notes that no inner packet can pass.
    pub(super) fn miss_extension(&mut self) {
        let text = "no extension is attached: no packet passes".to_owned();
        self.health.note(Fault::ExtensionAbsent, "", text, "switch the VPN on in the menu bar or in System Settings");
    }

    /// Waits until the extension's system leads no traffic to an exit any more: it was told so, and says when it is done.
    pub(super) async fn wait_until_taken_back(&mut self) {
        let taken_back = async {
            while self.extension_leads_all() {
                let event = next(&mut self.extensions).await;
                self.on_extension(event);
            }
        };
        if timeout(TAKEN_BACK, taken_back).await.is_err() {
            tracing::warn!("the extension does not say that traffic is led elsewhere again");
        }
    }

    /// Ends the extension too.
    pub(super) async fn dismiss_extension(&mut self, reason: StopReason) {
        let Some(extensions) = &mut self.extensions else { return };
        // The door itself looks at the orders too.
        if extensions.orders.receiver_count() <= 1 {
            return;
        }
        extensions.orders.send_modify(|orders| orders.stop = Some(reason));
        // It is told before its connection reports the end; one that has just come reports that first.
        let farewell =
            async { while let Some(Event::Attached(..) | Event::InForce(_)) = extensions.events.recv().await {} };
        let _ = timeout(GOODBYE, farewell).await;
    }
}

/// What happens at the door next; never, where there is none.
pub(super) async fn next(extensions: &mut Option<Extensions>) -> Event {
    if let Some(extensions) = extensions
        && let Some(event) = extensions.events.recv().await
    {
        return event;
    }
    std::future::pending().await
}
