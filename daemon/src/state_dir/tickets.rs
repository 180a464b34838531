//! `tickets.toml`: the tickets of this host, and the joins that are not complete.

use std::path::Path;

use cryprq_ipc_proto::secret::SecretText;
use data_encoding::HEXLOWER;
use net::{Multiaddr, peer_id};
use node::pairing::{Exchange, Invitation, InvitationState, Joiner, TicketSecret};
use node::peer_key::PeerKey;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::file::{self, VERSION};
use super::{StateDir, StateError};

const FILE: &str = "tickets.toml";

/// What `tickets.toml` holds.
#[derive(Default)]
pub struct Tickets {
    /// The tickets that this host made.
    pub invitations: Vec<Invitation>,
    /// Its own joins, until the first tunnel handshake with each inviter is complete.
    pub joins: Vec<KeptJoin>,
}

/// A join that got its answer.
pub struct KeptJoin {
    /// P1, and the secret to read its answer with.
    pub joiner: Joiner,
    /// The answer.
    pub p2: Vec<u8>,
    /// Where the ticket says that the inviter is.
    pub addresses: Vec<Multiaddr>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    ticket: Vec<TicketEntry>,
    #[serde(default)]
    join: Vec<JoinEntry>,
}

/// Bytes are in hex, times in seconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TicketEntry {
    id: String,
    created: u64,
    expires: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<SecretText>,
    state: StateEntry,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum StateEntry {
    Open {
        wrong_macs: u8,
    },
    Used {
        by: String,
        at: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        exchange: Option<ExchangeEntry>,
    },
    Burnt {
        at: u64,
    },
    Expired {},
    Cancelled {
        at: u64,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExchangeEntry {
    p1: String,
    p2: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinEntry {
    inviter: String,
    addresses: Vec<String>,
    secret: SecretText,
    p1: String,
    p2: String,
}

impl StateDir {
    /// Tickets and joins of the host with this key.
    ///
    /// # Errors
    /// When the file is damaged, of a later version, or others could read it.
    pub fn tickets(&self, own: PeerKey) -> Result<Tickets, StateError> {
        let path = self.path.join(FILE);
        let Some(file) = file::read::<File>(&path)? else { return Ok(Tickets::default()) };
        let whole = |tickets: Option<Tickets>| tickets.ok_or_else(|| StateError::damaged(Path::new(&path)));
        whole((|| {
            Some(Tickets {
                invitations: file.ticket.iter().map(TicketEntry::read).collect::<Option<_>>()?,
                joins: file.join.iter().map(|entry| entry.read(own)).collect::<Option<_>>()?,
            })
        })())
    }

    /// Replaces both as a whole.
    ///
    /// # Errors
    /// When the disk is full; the old file stays then.
    pub fn set_tickets<'a>(
        &self,
        invitations: impl Iterator<Item = &'a Invitation>,
        joins: impl Iterator<Item = &'a KeptJoin>,
    ) -> Result<(), StateError> {
        let (ticket, join) = (invitations.map(TicketEntry::of).collect(), joins.map(JoinEntry::of).collect());
        file::write(&self.path.join(FILE), &File { version: VERSION, ticket, join })
    }
}

impl TicketEntry {
    fn of(invitation: &Invitation) -> Self {
        let state = match &invitation.state {
            InvitationState::Open { wrong_macs } => StateEntry::Open { wrong_macs: *wrong_macs },
            InvitationState::Used { by, at, exchange } => StateEntry::Used {
                by: peer_id::format(*by),
                at: *at,
                exchange: exchange.as_ref().map(|exchange| ExchangeEntry {
                    p1: HEXLOWER.encode(&exchange.p1),
                    p2: HEXLOWER.encode(&exchange.p2),
                }),
            },
            InvitationState::Burnt { at } => StateEntry::Burnt { at: *at },
            InvitationState::Expired => StateEntry::Expired {},
            InvitationState::Cancelled { at } => StateEntry::Cancelled { at: *at },
        };
        Self {
            id: invitation.id.to_string(),
            created: invitation.created,
            expires: invitation.expires,
            secret: invitation.secret.as_ref().map(secret_text),
            state,
        }
    }

    /// `None` for what no daemon writes; a secret is there exactly while it is needed.
    fn read(&self) -> Option<Invitation> {
        let secret = self.secret.as_ref().map(read_secret);
        let state = match (&self.state, &secret) {
            (StateEntry::Open { wrong_macs }, Some(_)) => InvitationState::Open { wrong_macs: *wrong_macs },
            (StateEntry::Used { by, at, exchange: Some(exchange) }, Some(_)) => {
                let exchange = Exchange { p1: unhex(&exchange.p1)?, p2: unhex(&exchange.p2)? };
                InvitationState::Used { by: peer_id::parse(by).ok()?, at: *at, exchange: Some(exchange) }
            }
            (StateEntry::Used { by, at, exchange: None }, None) => {
                InvitationState::Used { by: peer_id::parse(by).ok()?, at: *at, exchange: None }
            }
            (StateEntry::Burnt { at }, None) => InvitationState::Burnt { at: *at },
            (StateEntry::Expired {}, None) => InvitationState::Expired,
            (StateEntry::Cancelled { at }, None) => InvitationState::Cancelled { at: *at },
            (StateEntry::Open { .. } | StateEntry::Used { exchange: Some(_), .. }, None)
            | (
                StateEntry::Used { exchange: None, .. }
                | StateEntry::Burnt { .. }
                | StateEntry::Expired {}
                | StateEntry::Cancelled { .. },
                Some(_),
            ) => return None,
        };
        let secret = match secret {
            Some(secret) => Some(secret?),
            None => None,
        };
        let id = self.id.parse().ok()?;
        Some(Invitation { id, created: self.created, expires: self.expires, secret, state })
    }
}

impl JoinEntry {
    fn of(join: &KeptJoin) -> Self {
        Self {
            inviter: peer_id::format(join.joiner.inviter()),
            addresses: join.addresses.iter().map(ToString::to_string).collect(),
            secret: secret_text(join.joiner.secret()),
            p1: HEXLOWER.encode(join.joiner.p1()),
            p2: HEXLOWER.encode(&join.p2),
        }
    }

    fn read(&self, own: PeerKey) -> Option<KeptJoin> {
        let inviter = peer_id::parse(&self.inviter).ok()?;
        let joiner = Joiner::restore(own, inviter, read_secret(&self.secret)?, unhex(&self.p1)?).ok()?;
        let addresses = self.addresses.iter().map(|text| text.parse().ok()).collect::<Option<_>>()?;
        Some(KeptJoin { joiner, p2: unhex(&self.p2)?, addresses })
    }
}

fn secret_text(secret: &TicketSecret) -> SecretText {
    SecretText::new(HEXLOWER.encode(secret.expose()))
}

fn read_secret(text: &SecretText) -> Option<TicketSecret> {
    let bytes = Zeroizing::new(HEXLOWER.decode(text.expose().as_bytes()).ok()?);
    Some(TicketSecret::new(<[u8; 16]>::try_from(bytes.as_slice()).ok()?))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    HEXLOWER.decode(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use node::pairing::{HostName, Inviter, Now, Ticket};
    use node::time::Time;
    use os::files;
    use os::random::SystemRandom;

    use super::*;

    fn key(byte: u8) -> PeerKey {
        PeerKey::from_bytes([byte; 32]).unwrap()
    }

    fn folder() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        (dir, state)
    }

    fn invitation(state: InvitationState, with_secret: bool) -> Invitation {
        let secret = with_secret.then(|| TicketSecret::new([0xab; 16]));
        Invitation { id: "00112233445566aa".parse().unwrap(), created: 5, expires: 605, secret, state }
    }

    #[test]
    fn tickets_of_every_state_read_back_as_they_were_written() {
        let (_dir, state) = folder();
        assert!(state.tickets(key(1)).unwrap().invitations.is_empty());
        let exchange = Some(Exchange { p1: vec![1, 2], p2: vec![3, 4] });
        let written = [
            invitation(InvitationState::Open { wrong_macs: 2 }, true),
            invitation(InvitationState::Used { by: key(0x42), at: 9, exchange }, true),
            invitation(InvitationState::Used { by: key(0x42), at: 9, exchange: None }, false),
            invitation(InvitationState::Burnt { at: 9 }, false),
            invitation(InvitationState::Expired, false),
            invitation(InvitationState::Cancelled { at: 9 }, false),
        ];
        state.set_tickets(written.iter(), std::iter::empty()).unwrap();
        let read = state.tickets(key(1)).unwrap().invitations;
        assert_eq!(read.len(), written.len());
        for (read, written) in read.iter().zip(&written) {
            assert_eq!((read.id, read.created, read.expires), (written.id, written.created, written.expires));
            assert_eq!(read.state, written.state);
            let secret = |invitation: &Invitation| invitation.secret.as_ref().map(|secret| *secret.expose());
            assert_eq!(secret(read), secret(written));
        }
    }

    #[test]
    fn a_join_reads_back_and_belongs_to_this_host() {
        let (_dir, state) = folder();
        let now = Now { boot: Time::ZERO, wall: 0 };
        let mut inviter = Inviter::restore(key(0x42), vec![], now);
        let address: Multiaddr = "/ip4/192.0.2.1/udp/41820/quic-v1".parse().unwrap();
        let ticket = inviter.invite(now, Duration::from_secs(600), &[address.to_vec()], &mut SystemRandom).unwrap();
        let ticket = Ticket::parse(&ticket.encode()).unwrap();
        let joiner = Joiner::start(key(1), &ticket, HostName::new("b").unwrap(), None, &mut SystemRandom).unwrap();
        let p1 = joiner.p1().to_vec();
        let join = KeptJoin { joiner, p2: vec![2, 1], addresses: vec![address.clone()] };
        state.set_tickets(std::iter::empty(), std::iter::once(&join)).unwrap();
        let read = state.tickets(key(1)).unwrap().joins.remove(0);
        assert_eq!((read.joiner.inviter(), read.joiner.p1()), (key(0x42), &p1[..]));
        assert_eq!((read.p2, read.addresses), (vec![2, 1], vec![address]));
        // With another identity in the folder the MAC of P1 is another host's.
        assert!(matches!(state.tickets(key(2)), Err(StateError::Damaged { .. })));
    }

    #[test]
    fn what_no_daemon_writes_is_damage_and_a_later_version_is_named() {
        let (dir, state) = folder();
        let path = dir.path().join("state/tickets.toml");
        let by = peer_id::format(key(0x42));
        let secret = "secret = \"abababababababababababababababab\"\n";
        for (secret, what) in [
            ("", "open = { wrong_macs = 0 }"),
            ("", &format!("used = {{ by = \"{by}\", at = 1, exchange = {{ p1 = \"\", p2 = \"\" }} }}")),
            (secret, &format!("used = {{ by = \"{by}\", at = 1 }}")),
            ("", "used = { by = \"nobody\", at = 1 }"),
            (secret, "burnt = { at = 1 }"),
            (secret, "expired = {}"),
            (secret, "cancelled = { at = 1 }"),
            ("secret = \"abab\"\n", "open = { wrong_macs = 0 }"),
            ("", "lost = {}"),
        ] {
            let id = "id = \"00112233445566aa\"\n";
            let text = format!("version = 1\n[[ticket]]\n{id}created = 1\nexpires = 2\n{secret}state = {{ {what} }}\n");
            files::write_atomically(&path, text.as_bytes()).unwrap();
            assert!(matches!(state.tickets(key(1)), Err(StateError::Damaged { .. })), "{text}");
        }
        files::write_atomically(&path, b"version = 2\n").unwrap();
        assert!(matches!(state.tickets(key(1)), Err(StateError::Newer { version: 2, .. })));
    }
}
