//! What a person should know: faults that are there as long as their cause is.

use std::collections::BTreeMap;

use cryprq_ipc_proto::message::HealthItem;

macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident => $code:literal,)*) => {
        /// What can be wrong while the daemon runs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Fault {
            $($(#[$doc])* $variant,)*
        }

        impl Fault {
            #[cfg(test)]
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            const fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                }
            }
        }
    };
}

faults! {
    /// An outer address is not listened on.
    Listen => "listen",
    /// A relay keeps no place for us.
    Relay => "relay",
    /// A peer has to reach us from outside, and nobody can.
    Unreachable => "unreachable",
    /// No interface leads out of this host.
    NoNetwork => "no_network",
    /// There is no TUN interface.
    NoTun => "no_tun",
    /// The kernel does not offer something that makes packets pass faster, or by the right way.
    KernelLacks => "kernel_lacks",
    /// No extension is attached.
    ExtensionAbsent => "extension_absent",
    /// The system refuses a route.
    Routes => "routes",
    /// All traffic is to go through a peer, and does not, or not all of it.
    Exit => "exit",
    /// The host is connected to a network that overlaps the inner one.
    NetworkOverlap => "network_overlap",
    /// The wall clock was set.
    ClockJumped => "clock_jumped",
    /// A peer refuses us, or has another PSK.
    PeerRefused => "peer_refused",
    /// A peer's network path takes too short datagrams.
    NarrowPath => "narrow_path",
    /// A peer may start without a chain only when an administrator accepts it.
    ChainResetNeeded => "chain_reset_needed",
    /// The group of the control socket does not exist.
    GroupMissing => "group_missing",
    /// Secrets may be swapped out.
    SecretsNotLocked => "secrets_not_locked",
    /// The configuration was refused when it was read again.
    ConfigRefused => "config_refused",
    /// A file of the state folder could not be written.
    StateNotSaved => "state_not_saved",
    /// A file of the state folder was damaged and is not used.
    StateDamaged => "state_damaged",
}

/// Whether a fault was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    New,
    Known,
}

/// All faults. One of a kind may have several causes, as two peers that refuse us; they are told as one item.
#[derive(Debug, Default)]
pub(super) struct Health(BTreeMap<Fault, BTreeMap<String, Cause>>);

#[derive(Debug)]
struct Cause {
    since: jiff::Timestamp,
    text: String,
    hint: String,
}

impl Health {
    /// Notes a fault, or what is known of it now.
    pub(super) fn note(&mut self, fault: Fault, subject: &str, text: String, hint: &str) -> News {
        let causes = self.0.entry(fault).or_default();
        let news = if causes.contains_key(subject) { News::Known } else { News::New };
        let cause = causes.entry(subject.to_owned()).or_insert_with(|| Cause {
            since: jiff::Timestamp::now(),
            text: String::new(),
            hint: String::new(),
        });
        (cause.text, cause.hint) = (text, hint.to_owned());
        news
    }

    /// The cause is gone.
    pub(super) fn clear(&mut self, fault: Fault, subject: &str) {
        if let Some(causes) = self.0.get_mut(&fault) {
            causes.remove(subject);
        }
        self.0.retain(|_, causes| !causes.is_empty());
    }

    /// Of a fault's causes only those that `is_there` are left.
    pub(super) fn keep(&mut self, fault: Fault, is_there: impl Fn(&str) -> bool) {
        if let Some(causes) = self.0.get_mut(&fault) {
            causes.retain(|subject, _| is_there(subject));
        }
        self.0.retain(|_, causes| !causes.is_empty());
    }

    /// Whether there is such a fault.
    pub(super) fn has(&self, fault: Fault) -> bool {
        self.0.contains_key(&fault)
    }

    /// What status tells, one item of a kind.
    pub(super) fn items(&self) -> Vec<HealthItem> {
        let items = self.0.iter().filter_map(|(fault, causes)| {
            let since = causes.values().map(|cause| cause.since).min()?;
            let texts: Vec<_> = causes.values().map(|cause| cause.text.as_str()).collect();
            let hint = causes.values().next().map(|cause| cause.hint.clone());
            Some(HealthItem { code: fault.code().into(), since: since.to_string(), text: texts.join("; "), hint })
        });
        items.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_there_as_long_as_one_of_its_causes() {
        let mut health = Health::default();
        assert_eq!(health.note(Fault::PeerRefused, "b", "b refuses us".into(), "look at b"), News::New);
        let first = health.items()[0].clone();
        assert_eq!(health.note(Fault::PeerRefused, "a", "a refuses us".into(), "look at a"), News::New);
        assert_eq!(health.note(Fault::PeerRefused, "b", "b still refuses us".into(), "look at b"), News::Known);
        health.note(Fault::Listen, "/ip4/0.0.0.0", "cannot listen".into(), "stop what uses the port");
        let items = health.items();
        let codes: Vec<_> = items.iter().map(|item| item.code.as_str()).collect();
        assert_eq!(codes, ["listen", "peer_refused"]);
        assert_eq!(items[1].text, "a refuses us; b still refuses us");
        assert_eq!((&items[1].since, items[1].hint.as_deref()), (&first.since, Some("look at a")));
        health.clear(Fault::PeerRefused, "a");
        assert_eq!(health.items()[1].text, "b still refuses us");
        health.clear(Fault::PeerRefused, "b");
        health.clear(Fault::PeerRefused, "b");
        assert_eq!(health.items().len(), 1);
        assert!(health.has(Fault::Listen) && !health.has(Fault::PeerRefused));
    }

    #[test]
    fn the_document_tells_every_code_and_no_other() {
        let codes: Vec<_> = Fault::ALL.iter().map(|fault| fault.code()).collect();
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.md")).unwrap();
        let rows = text.lines().skip_while(|line| !line.starts_with("| code |")).skip(2);
        let rows = rows.take_while(|line| line.starts_with('|'));
        let told: Vec<_> = rows.map(|row| row.split('`').nth(1).unwrap()).collect();
        assert_eq!(told, codes);
    }
}
