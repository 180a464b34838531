//! The extension, where inner packets come from one: what its interface shall be like, and whether it is there.

use cryprq_ipc_proto::extension::{StopReason, TunnelSettings};
use tokio::time::timeout;

use super::health::Fault;
use super::{GOODBYE, Supervisor};
use crate::ipc::extension::{Event, Extensions, absent};

impl Supervisor {
    /// Tells an extension, now or when it comes, what its interface shall be like.
    pub(super) fn push_settings(&self, settings: TunnelSettings) {
        let Some(extensions) = &self.extensions else { return };
        extensions.orders.send_if_modified(|orders| {
            let changed = orders.settings != settings;
            orders.settings = settings;
            changed
        });
    }

    /// The extension came or went. The keys stay.
    pub(super) fn on_extension(&mut self, event: Event) {
        let (device, done) = match event {
            Event::Attached(device) => {
                tracing::info!("an extension is attached");
                self.health.clear(Fault::ExtensionAbsent, "");
                (device, None)
            }
            Event::Detached(done) => {
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

    /// Ends the extension too.
    pub(super) async fn dismiss_extension(&mut self, reason: StopReason) {
        let Some(extensions) = &mut self.extensions else { return };
        // The door itself looks at the orders too.
        if extensions.orders.receiver_count() <= 1 {
            return;
        }
        extensions.orders.send_modify(|orders| orders.stop = Some(reason));
        // It is told before its connection reports the end; one that has just come reports that first.
        let farewell = async { while let Some(Event::Attached(_)) = extensions.events.recv().await {} };
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
