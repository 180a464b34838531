//! Three hosts: a client, a gateway, and between them one that plays the internet and is the router of both.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use cryprq_tests::extension::{Extension, Way};
use cryprq_tests::lab::{
    Beyond, Daemon, Host, Identity, Mirror, Peering, Process, go_by_carrier, goes_by_carrier, join_beyond, programs,
    switch, until,
};

/// Addresses of the internet that are on no link.
pub(super) const FAR: [&str; 2] = ["198.51.100.1", "2001:db8:99::1"];
/// Where the gateway is: no route of the client's but a default route leads there.
pub(super) const GATEWAY: [&str; 2] = ["203.0.113.2", "2001:db8:1::2"];
/// The client's own addresses on the outer network.
pub(super) const CLIENT: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
/// Where it is if it is the client's neighbour.
const NEIGHBOUR: [&str; 2] = ["192.0.2.2", "2001:db8::2"];
/// The gateway by each outer family and transport.
pub(super) const QUIC: [&str; 2] = ["/ip4/203.0.113.2/udp/41820/quic-v1", "/ip6/2001:db8:1::2/udp/41820/quic-v1"];
pub(super) const TCP: [&str; 2] = ["/ip4/203.0.113.2/tcp/41820", "/ip6/2001:db8:1::2/tcp/41820"];
/// The second gateway, where there is one.
pub(super) const SECOND: [&str; 2] = ["203.0.113.66", "2001:db8:2::2"];
const SECOND_QUIC: &str = "/ip4/203.0.113.66/udp/41820/quic-v1";
const NEIGHBOUR_QUIC: &str = "/ip4/192.0.2.2/udp/41820/quic-v1";
pub(super) const PORT: u16 = 8080;
/// The client's neighbour.
pub(super) const LAN: &str = "192.0.2.3";
/// A name that only the gateway's resolver knows.
pub(super) const NAME: &str = "far.example";
/// The client's resolver before there is an exit: nobody is there.
pub(super) const DEAD: &str = "nameserver 192.0.2.66\nsearch lan.example\n";

/// The hosts with their daemons; none runs yet.
pub(super) struct Scene {
    pub(super) client: Daemon,
    pub(super) gateway: Daemon,
    pub(super) host_client: Host,
    pub(super) host_gateway: Host,
    pub(super) internet: Host,
    /// Where the gateway is.
    pub(super) at: [&'static str; 2],
    pub(super) way: Way,
    /// Who plays the extension's part, once both daemons run.
    pub(super) extension: Option<Extension>,
    _mirrors: Vec<Mirror>,
    _resolver: Process,
    _switch: Host,
    folder: tempfile::TempDir,
}

impl Scene {
    /// `None` with a line that says what this machine lacks.
    pub(super) fn new() -> Result<Option<Self>> {
        Self::by(Way::Interface)
    }

    pub(super) fn by(way: Way) -> Result<Option<Self>> {
        Self::dialling(way, &[QUIC[0]])
    }

    /// The client dials these addresses of the gateway.
    pub(super) fn dialling(way: Way, addresses: &[&str]) -> Result<Option<Self>> {
        Self::at(GATEWAY, way, addresses)
    }

    /// The gateway is the client's neighbour.
    pub(super) fn on_the_lan(way: Way) -> Result<Option<Self>> {
        Self::at(NEIGHBOUR, way, &[NEIGHBOUR_QUIC])
    }

    fn at(at: [&'static str; 2], way: Way, addresses: &[&str]) -> Result<Option<Self>> {
        for program in ["ip", "nft", "dnsmasq", "curl", "iperf3"] {
            if which(program).is_none() {
                println!("skipped: exit nodes: this machine has no {program}");
                return Ok(None);
            }
        }
        if !way.is_there() {
            return Ok(None);
        }
        let Some(hosts) = hosts()? else { return Ok(None) };
        let [host_client, host_gateway, internet] = &hosts;
        let switch = if at == NEIGHBOUR { on_one_switch(&hosts)? } else { beyond_a_router(&hosts)? };
        sh(internet, "ip address add 198.51.100.1/32 dev lo && ip -6 address add 2001:db8:99::1/128 dev lo nodad")?;
        resolv_conf(host_client, DEAD)?;
        resolv_conf(host_gateway, "nameserver 198.51.100.1\n")?;
        let mirrors = FAR
            .iter()
            .chain([&LAN])
            .map(|ip| Mirror::start(internet, SocketAddr::new(ip.parse()?, PORT)).map_err(Into::into));
        let mirrors = mirrors.collect::<Result<_>>()?;
        let mut dnsmasq = Command::new("dnsmasq");
        dnsmasq.args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root"]);
        dnsmasq.args(["--pid-file=", "--bind-interfaces", "--listen-address=198.51.100.1"]);
        dnsmasq.args(FAR.map(|ip| format!("--address=/{NAME}/{ip}")));
        dnsmasq.stderr(Stdio::null());
        let resolver = Process::start(internet, dnsmasq)?;
        let folder = tempfile::tempdir()?;
        let (id_client, id_gateway) = (Identity::new(1)?, Identity::new(2)?);
        let gateway = Peering { peer: &id_gateway, name: "gateway", addresses };
        let client = Daemon::new(host_client, folder.path().join("client"), &id_client, &[gateway])?;
        let peer = Peering { peer: &id_client, name: "client", addresses: &[] };
        let gateway = Daemon::new(host_gateway, folder.path().join("gateway"), &id_gateway, &[peer])?;
        gateway.configure("forward = true\n")?;
        way.configure(&client)?;
        [&client, &gateway].into_iter().try_for_each(go_by_carrier)?;
        let [host_client, host_gateway, internet] = hosts;
        Ok(Some(Self {
            client,
            gateway,
            host_client,
            host_gateway,
            internet,
            at,
            way,
            extension: None,
            _mirrors: mirrors,
            _resolver: resolver,
            _switch: switch,
            folder,
        }))
    }

    /// Another gateway that the client may choose, beyond another link of the internet, and its daemon; before the client
    /// starts.
    pub(super) fn second_gateway(&self) -> Result<(Host, Daemon)> {
        let host = host("second")?;
        join_beyond(&self.internet, &host, Beyond::Second)?;
        resolv_conf(&host, "nameserver 198.51.100.1\n")?;
        let (client, own) = (Identity::new(1)?, Identity::new(3)?);
        let peer = Peering { peer: &client, name: "client", addresses: &[] };
        let daemon = Daemon::new(&host, self.folder.path().join("second"), &own, &[peer])?;
        daemon.configure("forward = true\n")?;
        self.client.configure(&format!(
            "[[peer]]\nid = \"{}\"\nname = \"second\"\naddresses = [\"{SECOND_QUIC}\"]\nallowed_ips = [\"{}/32\", \"{}/128\"]\n",
            own.id, own.ipv4, own.ipv6
        ))?;
        Ok((host, daemon))
    }

    /// Both daemons run and are connected.
    pub(super) fn connect(&mut self) -> Result<()> {
        self.gateway.start()?;
        self.client.start()?;
        self.attach()?;
        self.client.wait_connected()?;
        goes_by_carrier(&self.client)
    }

    /// An extension attaches to the client's daemon, if it takes one, and its settings are in force.
    pub(super) fn attach(&mut self) -> Result<()> {
        let told = self.folder.path().join("pump");
        let attached = self.way.attach(&self.host_client, &self.client, told);
        self.extension = attached.with_context(|| self.logs())?;
        Ok(())
    }

    /// The client's traffic goes through the gateway.
    pub(super) fn exit(&mut self) -> Result<()> {
        self.connect()?;
        self.exit_chosen()
    }

    /// The same once both are connected.
    pub(super) fn exit_chosen(&self) -> Result<()> {
        self.client.cli(&["up", "--exit", "gateway"], "")?;
        self.wait_active()
    }

    pub(super) fn wait_active(&self) -> Result<()> {
        until("all traffic leads to the exit", || {
            self.client.ask("status").is_ok_and(|status| {
                let exit = &status["exit"];
                exit["state"] == "active" && exit["ipv4"] == true && exit["ipv6"] == true
            })
        })
        .with_context(|| self.logs())?;
        self.wait_in_force()
    }

    /// What the extension was told is done to the host.
    pub(super) fn wait_in_force(&self) -> Result<()> {
        self.extension.as_ref().map_or(Ok(()), Extension::wait_in_force)
    }

    /// The client's host leads nothing to the exit any more.
    pub(super) fn down(&self) -> Result<()> {
        self.client.cli(&["down"], "")?;
        until("the host's own resolvers are asked", || {
            sh(&self.host_client, "cat /etc/resolv.conf").is_ok_and(|told| told == DEAD)
        })?;
        self.wait_in_force()
    }

    /// Whom the internet sees when the client asks at an address or a name.
    pub(super) fn seen(&self, whom: &str, family: &str) -> Result<IpAddr> {
        let whom = if whom.contains(':') { format!("[{whom}]") } else { whom.to_owned() };
        let url = format!("http://{whom}:{PORT}/");
        let told = run(&self.host_client, "curl", &["-sS", "--max-time", "15", family, &url]);
        told.with_context(|| self.logs())?.parse().context("the mirror tells an address")
    }

    pub(super) fn logs(&self) -> String {
        format!("client:\n{}\ngateway:\n{}", self.client.log(), self.gateway.log())
    }
}

/// The switch of all three.
fn on_one_switch([client, gateway, internet]: &[Host; 3]) -> Result<Host> {
    let switch = switch(&[client, gateway, internet])?;
    for host in [client, gateway] {
        sh(host, "ip route add default via 192.0.2.3 && ip -6 route add default via 2001:db8::3")?;
    }
    Ok(switch)
}

/// The switch of the client and the internet, which is the router to the gateway.
fn beyond_a_router([client, gateway, internet]: &[Host; 3]) -> Result<Host> {
    // The second number belongs to nobody there.
    let switch = switch(&[client, &Host::new()?, internet])?;
    join_beyond(internet, gateway, Beyond::First)?;
    sh(internet, "echo 1 >/proc/sys/net/ipv4/ip_forward && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")?;
    sh(client, "ip route add default via 192.0.2.3 && ip -6 route add default via 2001:db8::3")?;
    Ok(switch)
}

fn host(name: &'static str) -> Result<Host> {
    let host = Host::named(name, &programs()?)?;
    host.cover("/etc")?;
    host.empty("/run")?;
    Ok(host)
}

/// Three hosts whose `/etc` and `/run` are their own, so that none finds this machine's system bus.
fn hosts() -> Result<Option<[Host; 3]>> {
    match ["client", "gateway", "internet"].into_iter().map(host).collect::<Result<Vec<_>>>() {
        Ok(hosts) => Ok(hosts.try_into().ok()),
        Err(error) => {
            println!("skipped: exit nodes: {error:#}");
            Ok(None)
        }
    }
}

fn which(program: &str) -> Option<std::path::PathBuf> {
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    folders.iter().map(|folder| std::path::Path::new(folder).join(program)).find(|path| path.is_file())
}

/// Runs a program on a host; gives what it prints.
pub(super) fn run(host: &Host, program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(which(program).with_context(|| format!("no {program}"))?);
    command.args(arguments);
    let output = host.output(command)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), said.trim_end());
    Ok(String::from_utf8(output.stdout)?)
}

pub(super) fn sh(host: &Host, script: &str) -> Result<String> {
    run(host, "sh", &["-c", script])
}

/// Writes a host's own `/etc/resolv.conf` in the place of what is there.
pub(super) fn resolv_conf(host: &Host, text: &'static str) -> Result<()> {
    host.run(move || {
        let _ = std::fs::remove_file("/etc/resolv.conf");
        Ok(std::fs::File::create("/etc/resolv.conf")?.write_all(text.as_bytes())?)
    })
}

/// Everything that a daemon may change on a host: rules, routes, packet filter, settings, resolvers.
pub(super) fn state(host: &Host) -> Result<Vec<String>> {
    let told = sh(
        host,
        "ip rule; ip -6 rule; ip route show table all; ip -6 route show table all; ip -brief link; nft list ruleset; \
         grep -r '' /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/forwarding \
         /proc/sys/net/ipv4/conf/*/accept_redirects /proc/sys/net/ipv6/conf/*/forwarding \
         /proc/sys/net/ipv6/conf/*/accept_ra; ls -l --time-style=+ /etc/resolv.conf*; grep -r '' /etc/resolv.conf* || true",
    )?;
    // Link-local addresses come and go in the kernel's own time.
    Ok(told.lines().filter(|line| !line.contains("fe80::")).map(|line| line.trim_end().to_owned()).collect())
}

/// Says in what two states differ.
pub(super) fn ensure_same(what: &str, before: &[String], after: &[String]) -> Result<()> {
    let gone: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
    let new: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
    ensure!(before == after, "{what}: gone {gone:#?}, new {new:#?}");
    Ok(())
}
