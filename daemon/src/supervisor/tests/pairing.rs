use node::pairing::{HostName, Joined, Joiner, Ticket, default_ipv4, inner_ipv6};
use os::files;
use os::random::SystemRandom;

use super::*;

const CONFIG: &str = "[node]\nname = \"gateway\"\n[listen]\nadvertise = [\"/dns4/gw.example.org/udp/41820/quic-v1\"]\n";

fn key(id: &str) -> PeerKey {
    net::peer_id::parse(id).unwrap()
}

impl Daemon {
    async fn invite(&mut self) -> Ticket {
        let Ok(Reply::Invite { ticket, .. }) = self.ask(r#"{"cmd":"invite"}"#).await else { panic!("a ticket") };
        Ticket::parse(ticket.expose()).unwrap()
    }

    async fn state_of_ticket(&mut self) -> String {
        let Ok(Reply::Invites { mut invites }) = self.ask(r#"{"cmd":"invite_list"}"#).await else { panic!("a list") };
        invites.remove(0).state
    }

    /// Plays a joiner that calls itself so, up to its P2.
    async fn joined_by(&mut self, id: &str, name: &str) -> Option<Joined> {
        let ticket = self.invite().await;
        let name = HostName::new(name).unwrap();
        let joiner = Joiner::start(key(id), &ticket, name, None, &mut SystemRandom).unwrap();
        let p2 = self.supervisor.judge(key(id), joiner.p1()).await?;
        let rules = self.supervisor.ipv4_rules(key(id), &[]);
        Some(joiner.read(&p2, &node::pairing::Ipv4Rules { own: None, ..rules }).unwrap())
    }
}

fn tickets(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("tickets.toml")).unwrap()
}

#[tokio::test]
async fn a_joiner_becomes_a_peer_with_psk_and_both_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = daemon(&dir.path().join("state"), CONFIG).await.unwrap();
    let joined = daemon.joined_by(A, "laptop").await.unwrap();
    assert_eq!(daemon.peers(), [("laptop", true)]);
    let peer = &daemon.supervisor.status().peers[0];
    let ipv4 = default_ipv4(key(A), "10.86.0.0/16".parse().unwrap()).unwrap();
    assert_eq!((peer.id.as_str(), peer.psk), (A, true));
    assert_eq!(peer.allowed_ips, [format!("{}/128", inner_ipv6(key(A))), format!("{ipv4}/32")]);
    assert_eq!((joined.granted, joined.peer.ipv4), (Some(ipv4), daemon.supervisor.own.ipv4));
    assert_eq!(daemon.state_of_ticket().await, "used");
}

#[tokio::test]
async fn a_pairing_that_the_disk_does_not_take_is_not_answered_and_changes_nothing() {
    for file in ["tickets.toml.new/in-the-way", "peers.toml.new/in-the-way"] {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let mut daemon = daemon(&state, CONFIG).await.unwrap();
        let ticket = daemon.invite().await;
        std::fs::create_dir_all(state.join(file)).unwrap();
        let name = HostName::new("laptop").unwrap();
        let joiner = Joiner::start(key(A), &ticket, name, None, &mut SystemRandom).unwrap();
        assert_eq!(daemon.supervisor.judge(key(A), joiner.p1()).await, None, "{file}");
        assert_eq!((daemon.peers().len(), daemon.state_of_ticket().await.as_str()), (0, "open"), "{file}");
        assert!(!tickets(&state).contains("p1"), "nor does the next start know anything of it: {file}");
        std::fs::remove_dir_all(state.join(file).parent().unwrap()).unwrap();
        assert!(daemon.supervisor.judge(key(A), joiner.p1()).await.is_some(), "the same P1 does it later: {file}");
        assert_eq!((daemon.peers().len(), daemon.state_of_ticket().await.as_str()), (1, "used"), "{file}");
    }
}

#[tokio::test]
async fn a_ticket_that_could_not_be_written_down_is_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let mut daemon = daemon(&state, CONFIG).await.unwrap();
    std::fs::create_dir_all(state.join("tickets.toml.new/in-the-way")).unwrap();
    let refusal = daemon.refusal(r#"{"cmd":"invite"}"#).await;
    assert_eq!(refusal.code, ErrorCode::Internal);
    assert_eq!(daemon.ask(r#"{"cmd":"invite_list"}"#).await, Ok(Reply::Invites { invites: vec![] }));
    assert!(daemon.health().contains(&"state_not_saved".to_owned()));
}

#[tokio::test]
async fn peers_of_one_name_are_told_apart_and_none_passes_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = daemon(&dir.path().join("state"), CONFIG).await.unwrap();
    let long = "x".repeat(61) + "ü";
    for (seed, name, called) in [
        (1, "laptop", "laptop"),
        (2, "laptop", "laptop-2"),
        (3, "laptop", "laptop-3"),
        (4, &*long, &*long),
        (5, &*long, &("x".repeat(61) + "-2")),
    ] {
        let seed = SecretKey32::new([seed; 32]);
        let identity = Identity::from_seed(HeapStore.keep(seed).unwrap()).unwrap();
        let id = net::peer_id::format(identity.public());
        daemon.joined_by(&id, name).await.unwrap();
        assert!(daemon.peers().contains(&(called, true)), "{called} in {:?}", daemon.peers());
    }
    daemon.joined_by(A, B).await.unwrap();
    daemon.joined_by(B, "").await.unwrap();
    assert!(daemon.peers().contains(&(A, true)) && daemon.peers().contains(&(B, true)), "{:?}", daemon.peers());
}

#[tokio::test]
async fn a_peer_that_is_removed_or_gets_another_psk_ends_its_pairing() {
    for change in [
        format!(r#"{{"cmd":"peer_remove","peer":"{A}"}}"#),
        format!(r#"{{"cmd":"peer_set","peer":"{A}","psk":"{}"}}"#, "ab".repeat(32)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let mut first = daemon(&state, CONFIG).await.unwrap();
        first.joined_by(A, "laptop").await.unwrap();
        assert!(tickets(&state).contains("secret"));
        first.done(&change).await;
        assert!(!tickets(&state).contains("secret"));
        let peers = first.peers().len();
        drop(first);
        let again = daemon(&state, CONFIG).await.unwrap();
        assert_eq!(again.peers().len(), peers, "the next start finishes no pairing that is over");
    }
}

#[tokio::test]
async fn tickets_of_a_later_daemon_or_damaged_ones_refuse_the_start() {
    for text in ["version = 2\n", "version = 1\n[[ticket]]\n"] {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        drop(daemon(&state, CONFIG).await.unwrap());
        files::write_atomically(&state.join("tickets.toml"), text.as_bytes()).unwrap();
        let error = daemon(&state, CONFIG).await.map(drop).unwrap_err().to_string();
        assert!(error.contains("tickets.toml"), "{error}");
    }
}

#[tokio::test]
async fn a_ticket_names_what_is_advertised_then_where_we_were_reached_then_quic_then_tcp_and_nothing_local() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = daemon(&dir.path().join("state"), CONFIG).await.unwrap();
    let own = daemon.supervisor.own.ipv6;
    daemon.supervisor.listening = [
        "/ip4/127.0.0.1/udp/41820/quic-v1",
        "/ip6/::1/tcp/41820",
        "/ip6/fe80::1/udp/41820/quic-v1",
        "/ip4/169.254.3.3/tcp/41820",
        "/ip4/10.86.3.3/tcp/41820",
        &format!("/ip6/{own}/tcp/41820"),
        "/ip4/192.168.1.5/tcp/41820",
        "/ip4/192.168.1.5/udp/41820/quic-v1",
        "/ip4/203.0.113.5/tcp/41820",
        "/ip4/203.0.113.5/udp/41820/quic-v1",
        "/ip6/2001:db8::5/udp/41820/quic-v1",
    ]
    .iter()
    .map(|text| text.parse().unwrap())
    .collect();
    for (address, reached) in [
        ("/ip4/198.51.100.7/tcp/41820", true),
        ("/ip4/198.51.100.7/udp/41820/quic-v1", true),
        ("/ip4/198.51.100.8/udp/41820/quic-v1", false),
        ("/ip4/203.0.113.5/udp/41820/quic-v1", true),
        ("/ip4/10.86.3.3/udp/41820/quic-v1", true),
    ] {
        daemon.supervisor.checked.insert(address.parse().unwrap(), reached);
    }
    let named: Vec<_> = daemon.supervisor.outer_addresses().iter().map(ToString::to_string).collect();
    assert_eq!(
        named,
        [
            "/dns4/gw.example.org/udp/41820/quic-v1",
            "/ip4/198.51.100.7/udp/41820/quic-v1",
            "/ip4/203.0.113.5/udp/41820/quic-v1",
            "/ip4/198.51.100.7/tcp/41820",
            "/ip6/2001:db8::5/udp/41820/quic-v1",
            "/ip4/192.168.1.5/udp/41820/quic-v1",
            "/ip4/203.0.113.5/tcp/41820",
            "/ip4/192.168.1.5/tcp/41820",
        ]
    );
}

#[tokio::test]
async fn a_host_offers_the_address_that_it_has_for_sure() {
    let dir = tempfile::tempdir().unwrap();
    let offered = async |folder: &str, config: &str, peer: bool| {
        let mut daemon = daemon(&dir.path().join(folder), config).await.unwrap();
        if peer {
            daemon.done(&format!(r#"{{"cmd":"peer_add","peer":"{A}"}}"#)).await;
        }
        (daemon.supervisor.offered_ipv4().unwrap(), daemon.supervisor.own.ipv4)
    };
    let (at_first, _) = offered("a", "", false).await;
    assert_eq!(at_first, None, "a host without peers takes what it is granted");
    let (later, own) = offered("a", "", true).await;
    assert!(later.is_some() && later == own);
    let fixed = Some(Ipv4Addr::new(10, 9, 9, 9));
    assert_eq!(offered("b", "[network]\naddress = \"10.9.9.9\"\n", false).await, (fixed, fixed));
    assert_eq!(offered("c", "[network]\naddress = \"none\"\n", true).await, (None, None));
}

#[tokio::test]
async fn no_address_to_name_no_ticket() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = daemon(&dir.path().join("state"), "").await.unwrap();
    let refusal = daemon.refusal(r#"{"cmd":"invite"}"#).await;
    assert_eq!(refusal.code, ErrorCode::InvalidConfig);
    assert!(refusal.hint.unwrap().contains("listen.advertise"));
}
