//! Devices and sockets that fail for longer than a moment.

use net::plane::Failures;

use super::Supervisor;
use super::health::{Fault, News};

/// How a socket is called among the causes.
const SOCKET: &str = "socket ";
const KERNEL: &str = "see the log of the kernel; a restart of the daemon makes the interface anew";
const SOCKET_HINT: &str = "see the log of the kernel; a restart of the daemon makes the socket anew";

impl Supervisor {
    /// Tells what the packet loops cannot get done, until they can.
    pub(super) fn judge_devices(&mut self) {
        self.judge_failures(self.plane.failures());
    }

    pub(super) fn judge_failures(&mut self, failures: Failures) {
        let Failures { reads, writes, sockets } = failures;
        let interface = self.config.interface.clone();
        self.judge_one(
            Fault::NoTun,
            "reads",
            reads.map(|error| format!("{interface} gives no packets: {error}")),
            KERNEL,
        );
        self.judge_one(
            Fault::NoTun,
            "writes",
            writes.map(|error| format!("{interface} takes no packets: {error}")),
            KERNEL,
        );
        let failing: Vec<_> = sockets.iter().map(|(address, _)| format!("{SOCKET}{address}")).collect();
        self.health
            .keep(Fault::Listen, |subject| !subject.starts_with(SOCKET) || failing.iter().any(|it| it == subject));
        for ((address, error), subject) in sockets.iter().zip(&failing) {
            self.judge_one(
                Fault::Listen,
                subject,
                Some(format!("nothing comes by UDP {address}: {error}")),
                SOCKET_HINT,
            );
        }
    }

    fn judge_one(&mut self, fault: Fault, subject: &str, text: Option<String>, hint: &str) {
        let Some(text) = text else { return self.health.clear(fault, subject) };
        if self.health.note(fault, subject, text, hint) == News::New {
            tracing::warn!(subject, hint, "a device or socket fails for good; trying again");
        }
    }
}
