//! Devices and sockets that fail for longer than a moment, or that the kernel gives us with less than they can have.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use net::plane::Failures;
use node::offload::MergeRule;
use os::tun::TunOffload;
use os::udp::UdpNote;

use super::health::{Fault, News};
use super::{Interface, Supervisor};

/// How a socket is called among the causes.
const SOCKET: &str = "socket ";
const KERNEL: &str = "see the log of the kernel; a restart of the daemon makes the interface anew";
const IPV6_HINT: &str = "sysctl net.ipv6.conf.all.disable_ipv6=0 and a restart of the daemon, if IPv6 is wanted";
const SLOWER: &str = "the daemon goes without; Linux 6.2 and later have every offload";
const SOCKET_HINT: &str = "see the log of the kernel; a restart of the daemon makes the socket anew";

impl Supervisor {
    /// Tells what the packet loops cannot get done, until they can.
    pub(super) fn judge_devices(&mut self) {
        self.judge_failures(self.plane.failures());
        self.judge_sockets(self.plane.socket_notes());
    }

    /// Tells what the sockets go without.
    pub(super) fn judge_sockets(&mut self, notes: Vec<(SocketAddr, UdpNote)>) {
        let texts: BTreeSet<_> =
            notes.into_iter().map(|(address, note)| format!("{SOCKET}{address}: {note}")).collect();
        self.health.keep(Fault::KernelLacks, |subject| !subject.starts_with(SOCKET) || texts.contains(subject));
        for text in texts {
            self.lack(&text.clone(), text, SLOWER);
        }
    }

    /// Tells what an interface goes without that was opened so.
    pub(super) fn judge_interface(&mut self, wanted: TunOffload, got: Option<MergeRule>) {
        const SUBJECT: &str = "interface";
        let what = match (wanted, got) {
            (TunOffload::Off, _)
            | (TunOffload::ProbeTcp, Some(_))
            | (TunOffload::Probe, Some(MergeRule::TcpAndUdp)) => return self.health.clear(Fault::KernelLacks, SUBJECT),
            (TunOffload::Probe | TunOffload::ProbeTcp, None) => "the kernel gives each packet alone",
            (TunOffload::Probe, Some(MergeRule::Tcp)) => "the kernel gives each packet of UDP alone",
        };
        self.lack(SUBJECT, format!("{}: {what}", self.config.interface), SLOWER);
    }

    /// Says so where packets of IPv6 do not pass because the host has none.
    pub(super) fn judge_ipv6(&mut self) {
        const SUBJECT: &str = "ipv6";
        if self.interface.as_ref().is_none_or(Interface::has_ipv6) {
            return self.health.clear(Fault::KernelLacks, SUBJECT);
        }
        let text = format!("{}: IPv6 is switched off on this host, so only IPv4 passes inside", self.config.interface);
        self.lack(SUBJECT, text, IPV6_HINT);
    }

    fn lack(&mut self, subject: &str, text: String, hint: &str) {
        if self.health.note(Fault::KernelLacks, subject, text, hint) == News::New {
            tracing::info!(subject, "the kernel lacks something; going without");
        }
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
