//! The packet filter of a gateway: a table of its own, made and removed as a whole by `nft`.
//!
//! What reaches `nft` is made of numbers and addresses only, on its standard input; no text that a person or another host
//! wrote is among it, and no shell (docs/decisions/0009).

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;

use ipnet::IpNet;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::network::policy::Family;

/// The name of the table.
const TABLE: &str = "cryprq";
/// Where distributions have the program.
const PROGRAMS: [&str; 4] = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/run/current-system/sw/bin/nft"];

/// What a gateway lets pass, translates and answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// The index of the tunnel's interface.
    pub interface: u32,
    /// Whose packets go on to other networks.
    pub clients: BTreeSet<IpNet>,
    /// Where they ask for names: our own inner addresses and the port of what answers there.
    pub names: Vec<(IpAddr, u16)>,
    /// The families that this host did not forward before: packets of others are not forwarded now either.
    pub closed: BTreeSet<Family>,
}

impl Gateway {
    /// The rules as `nft` reads them, in one transaction.
    pub fn rules(&self) -> String {
        let n = self.interface;
        let mut rules = format!("add table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n");
        let sets: Vec<_> = Family::BOTH.into_iter().filter_map(|family| Some((family, self.set(family)?))).collect();
        rules += "  chain names {\n    type nat hook prerouting priority dstnat; policy accept;\n";
        for (address, port) in &self.names {
            let family = Family::of(*address);
            let Some((_, set)) = sets.iter().find(|(of, _)| *of == family) else { continue };
            let (ip, to) = match address {
                IpAddr::V4(ip) => ("ip", format!("{ip}:{port}")),
                IpAddr::V6(ip) => ("ip6", format!("[{ip}]:{port}")),
            };
            for transport in ["udp", "tcp"] {
                let _ = writeln!(
                    rules,
                    "    iif {n} {ip} saddr {set} {ip} daddr {address} {transport} dport 53 dnat {ip} to {to}"
                );
            }
        }
        rules += "  }\n  chain forward {\n    type filter hook forward priority filter; policy accept;\n";
        let _ = writeln!(rules, "    iif {n} oif {n} drop");
        for (family, set) in &sets {
            let _ = writeln!(rules, "    iif {n} {} saddr {set} accept", word(*family));
        }
        let _ = writeln!(rules, "    iif {n} drop\n    oif {n} ct state established,related accept\n    oif {n} drop");
        for family in &self.closed {
            let _ = writeln!(rules, "    meta nfproto {} drop", protocol(*family));
        }
        rules += "  }\n  chain translate {\n    type nat hook postrouting priority srcnat; policy accept;\n";
        for (family, set) in &sets {
            let _ = writeln!(rules, "    oif != {n} {} saddr {set} masquerade", word(*family));
        }
        rules + "  }\n}\n"
    }

    /// The clients of a family.
    fn set(&self, family: Family) -> Option<String> {
        let clients: Vec<_> = self.clients.iter().filter(|net| Family::of(net.addr()) == family).collect();
        let listed: Vec<_> = IpNet::aggregate(&clients.into_iter().copied().collect());
        let listed: Vec<_> = listed.iter().map(ToString::to_string).collect();
        (!listed.is_empty()).then(|| format!("{{ {} }}", listed.join(", ")))
    }

    /// Puts the rules in force, in the place of those before.
    ///
    /// # Errors
    /// When there is no `nft`, or what it says.
    pub async fn load(&self) -> io::Result<()> {
        nft(&self.rules()).await
    }
}

/// Removes the table; one that is not there is no error. Without `nft`, which made it, it stays until the next boot.
///
/// # Errors
/// What `nft` says.
pub async fn remove() -> io::Result<()> {
    if program().is_none() {
        tracing::warn!("there is no nft any more: if packets were forwarded, its table stays until the next boot");
        return Ok(());
    }
    // Adding what may be there already makes that deleting it cannot fail.
    nft(&format!("add table inet {TABLE}\ndelete table inet {TABLE}\n")).await
}

fn program() -> Option<&'static str> {
    PROGRAMS.into_iter().find(|path| Path::new(path).is_file())
}

async fn nft(rules: &str) -> io::Result<()> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no nft: install the package nftables");
    let program = program().ok_or_else(missing)?;
    let mut child = Command::new(program)
        .args(["-f", "-"])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not read to the end says why.
        let _ = input.write_all(rules.as_bytes()).await;
    }
    let output = child.wait_with_output().await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().next().unwrap_or("it does not say why").escape_debug().to_string();
    Err(io::Error::other(format!("nft refuses the rules: {line}")))
}

const fn word(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ip",
        Family::Ipv6 => "ip6",
    }
}

const fn protocol(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(clients: &[&str]) -> Gateway {
        Gateway {
            interface: 7,
            clients: clients.iter().map(|text| text.parse().unwrap()).collect(),
            names: vec![("10.86.0.1".parse().unwrap(), 4053), ("fd63::1".parse().unwrap(), 4054)],
            closed: [Family::Ipv6].into(),
        }
    }

    #[test]
    fn the_rules_read_like_this() {
        let expected = "\
add table inet cryprq
delete table inet cryprq
table inet cryprq {
  chain names {
    type nat hook prerouting priority dstnat; policy accept;
    iif 7 ip saddr { 10.86.0.2/32, 10.87.0.0/24 } ip daddr 10.86.0.1 udp dport 53 dnat ip to 10.86.0.1:4053
    iif 7 ip saddr { 10.86.0.2/32, 10.87.0.0/24 } ip daddr 10.86.0.1 tcp dport 53 dnat ip to 10.86.0.1:4053
    iif 7 ip6 saddr { fd63::2/128 } ip6 daddr fd63::1 udp dport 53 dnat ip6 to [fd63::1]:4054
    iif 7 ip6 saddr { fd63::2/128 } ip6 daddr fd63::1 tcp dport 53 dnat ip6 to [fd63::1]:4054
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iif 7 oif 7 drop
    iif 7 ip saddr { 10.86.0.2/32, 10.87.0.0/24 } accept
    iif 7 ip6 saddr { fd63::2/128 } accept
    iif 7 drop
    oif 7 ct state established,related accept
    oif 7 drop
    meta nfproto ipv6 drop
  }
  chain translate {
    type nat hook postrouting priority srcnat; policy accept;
    oif != 7 ip saddr { 10.86.0.2/32, 10.87.0.0/24 } masquerade
    oif != 7 ip6 saddr { fd63::2/128 } masquerade
  }
}
";
        assert_eq!(gateway(&["fd63::2/128", "10.87.0.0/24", "10.86.0.2/32"]).rules(), expected);
    }

    #[test]
    fn attack_10_only_words_of_ours_numbers_and_addresses_reach_nft() {
        // Prefixes that touch or overlap become one, which a set of nft refuses otherwise.
        let rules = gateway(&["10.86.0.0/24", "10.86.0.7/32", "fd63::2/128", "fd63::3/128"]).rules();
        assert!(rules.contains("{ 10.86.0.0/24 }") && rules.contains("{ fd63::2/127 }"), "{rules}");
        let odd = |c: char| !c.is_ascii_alphanumeric() && !" \n{}[]().,:;/!=".contains(c);
        assert_eq!(rules.find(odd), None, "{rules}");
    }

    #[test]
    fn a_family_without_clients_is_neither_let_pass_nor_translated() {
        let rules = gateway(&["10.86.0.2/32"]).rules();
        assert!(!rules.contains("ip6") && rules.contains("iif 7 drop"), "{rules}");
    }
}
