//! Our daemon where two hosts only meet at a relay.

use anyhow::Context;
use node::epoch::Cipher;

use super::cryprqd::Cryprqd;
use super::{Available, Contender, End, Role, Running};
use crate::lab::{Daemon, Identity, Peering, WIRE, until};
use crate::rig::site::{Side, Site};

/// Where the relay listens on B's host, beside B.
const PORT: u16 = 41821;

/// Our daemon, by a relay: another of our daemons on B's host. Nothing else passes between A and B.
#[derive(Debug)]
pub(super) struct Relayed;

impl Contender for Relayed {
    fn name(&self) -> &'static str {
        "cryprqd-relay"
    }

    fn role(&self) -> Role {
        Role::Fallback
    }

    fn available(&self) -> Available {
        Cryprqd::new(Cipher::Aes256Gcm).available()
    }

    fn start(&self, site: &Site) -> anyhow::Result<Running> {
        let (relay_id, ids) = (Identity::new(3)?, [Identity::new(1)?, Identity::new(2)?]);
        for side in Side::BOTH {
            // Of either family, so that no hole can be punched.
            let rules = format!(
                "add table inet rig; add chain inet rig in {{ type filter hook input priority 0; }}; \
                 add rule inet rig in iifname != {WIRE} accept; \
                 add rule inet rig in th dport {PORT} accept; add rule inet rig in th sport {PORT} accept; \
                 add rule inet rig in meta l4proto {{ tcp, udp }} drop"
            );
            site.host(side).firewall(&rules)?.context("there is no nft: apt-get install nftables")?;
        }
        let at_relay = format!("/ip4/{}/udp/{PORT}/quic-v1", Side::B.outer());
        let circuit = format!("{at_relay}/p2p/{}/p2p-circuit", relay_id.id);
        let members = Side::BOTH.map(|side| Peering { peer: &ids[side as usize], name: side.name(), addresses: &[] });
        let mut relay = Daemon::new(site.host(Side::B), site.folder().join("relay"), &relay_id, &members)?;
        relay.configure(&format!("[listen]\nport = {PORT}\n[relay]\nserve = true\n[network]\ningress = \"none\"\n"))?;
        relay.start()?;
        let start = |side: Side| -> anyhow::Result<Daemon> {
            let dialled = [at_relay.as_str()];
            let to_relay = Peering { peer: &relay_id, name: "relay", addresses: &dialled };
            let by_circuit = [circuit.as_str()];
            let addresses = match side {
                Side::A => &by_circuit[..],
                Side::B => &[],
            };
            let other = Peering { peer: &ids[side.other() as usize], name: side.other().name(), addresses };
            let folder = site.folder().join(side.name());
            let mut daemon = Daemon::new(site.host(side), folder, &ids[side as usize], &[to_relay, other])?;
            if side == Side::B {
                daemon.configure(&format!("[relay]\nuse = [\"{at_relay}/p2p/{}\"]\n", relay_id.id))?;
            }
            daemon.start()?;
            Ok(daemon)
        };
        // A finds B at the relay once B has its place there.
        let b = start(Side::B)?;
        let daemons = [start(Side::A)?, b];
        for (daemon, side) in daemons.iter().zip(Side::BOTH) {
            let relayed = |daemon: &Daemon| {
                daemon.peer_named(side.other().name()).is_ok_and(|peer| peer["path"]["kind"] == "relay")
            };
            until("A and B are connected by the relay", || relayed(daemon)).with_context(|| daemon.log())?;
        }
        let ends = daemons.map(|daemon| End::Daemon(Box::new(daemon)));
        let mut running = Running::new(ids.map(|id| id.ipv4), Some(ends));
        running.between = Some(Box::new(relay));
        Ok(running)
    }
}
