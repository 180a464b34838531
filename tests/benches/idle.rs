//! What a thousand connected, idle peers cost one daemon.
//!
//! Needs root and `cargo build --release --bins` first. The daemon is the shipped one. Its peers are daemons too, but for
//! the TUN device: hundreds of them live in each of a few processes on another host, each with an identity, an address and
//! sockets of its own. Bars: 100 KiB for each peer, 10 % of a core.
//!
//! `cargo bench -p cryprq-tests --bench idle -- PEERS` takes another number of them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{
    Daemon, Host, Identity, Process, WIRE, clean_up_when_interrupted, cpu, join, memory, until_within,
};
use cryprq_tests::measure::report;
use cryprqd::config::Config;
use cryprqd::{logging, run};
use ipnet::IpNet;
use node::tunnel::TunnelLimits;
use tokio::task::LocalSet;

const PEERS: u32 = 1000;
/// Peers in one process: each holds some thirty descriptors.
const EACH: u32 = 250;
/// How long the peers may take to connect.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long the daemon is watched: three keepalives of each peer.
const IDLE: Duration = Duration::from_secs(60);
/// Says to a process of this program which peers it is.
const ROLE: &str = "CRYPRQ_IDLE_PEERS";

fn main() -> Result<()> {
    if let Ok(folders) = std::env::var(ROLE) {
        return be_peers(folders.split(',').map(Path::new));
    }
    if let Err(error) = Host::new() {
        println!("skipped: {error:#}");
        return Ok(());
    }
    clean_up_when_interrupted()?;
    let peers = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(PEERS);
    let (host, far) = (Host::new()?, Host::new()?);
    join(&host, &far)?;
    let folder = tempfile::tempdir()?;
    let mut daemon = configure(&host, &far, folder.path(), peers)?;
    daemon.start()?;
    let pid = daemon.pid().context("the daemon runs")?;
    let (alone, alone_private) = (memory(pid, "VmRSS")?, memory(pid, "RssAnon")?);
    let numbers: Vec<u32> = (0..peers).collect();
    let processes: Result<Vec<Process>> =
        numbers.chunks(EACH as usize).map(|numbers| start_peers(&far, folder.path(), numbers)).collect();
    let _processes = processes?;
    let mut connected = 0;
    until_within("all peers are connected", PATIENCE, || {
        let now = count(&daemon).unwrap_or_default();
        if now != connected {
            eprintln!("{now} of {peers} are connected");
        }
        connected = now;
        std::thread::sleep(Duration::from_secs(1));
        connected == peers as usize
    })?;
    // What connecting leaves behind, timers and probes, passes.
    std::thread::sleep(IDLE / 2);
    let before = cpu(pid)?;
    std::thread::sleep(IDLE);
    let used = cpu(pid)? - before;
    ensure!(count(&daemon)? == peers as usize, "a peer was lost while it was idle");
    let (all, all_private) = (memory(pid, "VmRSS")?, memory(pid, "RssAnon")?);
    println!(
        "{peers} peers, of which none is connected: {alone:.1} MiB resident, {alone_private:.1} MiB of it private"
    );
    println!(
        "all of them connected: {all:.1} MiB, {all_private:.1} MiB; the peak was {:.1} MiB",
        memory(pid, "VmHWM")?
    );
    let each = |mib: f64| mib * 1024.0 / f64::from(peers);
    report("each connected, idle peer: resident", each(all - alone), 100.0, "KiB");
    report("CPU, with a keepalive each 20 s", used.as_secs_f64() / IDLE.as_secs_f64() * 100.0, 10.0, "%");
    Ok(())
}

/// How many peers of the daemon are connected.
fn count(daemon: &Daemon) -> Result<usize> {
    let status = daemon.ask("status")?;
    let peers = status["peers"].as_array().context("no list of peers")?;
    Ok(peers.iter().filter(|peer| matches!(peer["state"].as_str(), Some("connected" | "idle"))).count())
}

/// Where a peer is on the cable.
fn outer(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0xc612_0100 + number)
}

/// Where the daemon is.
const DAEMON: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// Writes the configurations of all, and gives both hosts their addresses.
fn configure(host: &Host, far: &Host, folder: &Path, peers: u32) -> Result<Daemon> {
    let own = Identity::new(1)?;
    let daemon = Daemon::new(host, folder.join("daemon"), &own, &[])?.env("CRYPRQ_LOG", "info");
    let mut known = String::new();
    for number in 0..peers {
        let id = Identity::numbered(number)?;
        known += &format!("[[peer]]\nid = \"{}\"\nname = \"{number}\"\nallowed_ips = [\"{}/128\"]\n", id.id, id.ipv6);
        let folder = home(folder, number);
        let peering = [cryprq_tests::lab::Peering {
            peer: &own,
            name: "daemon",
            addresses: &[&format!("/ip4/{DAEMON}/udp/41820/quic-v1")],
        }];
        let peer = Daemon::new(far, folder, &id, &peering)?;
        peer.configure(&format!(
            "[listen]\naddresses = [\"{}\"]\nport = 41820\ntcp = false\n[network]\ningress = \"none\"\naddress = \"none\"\n",
            outer(number)
        ))?;
    }
    daemon.configure(&known)?;
    address(host, vec![IpNet::new(DAEMON.into(), 15)?])?;
    address(far, (0..peers).map(|number| IpNet::new(outer(number).into(), 15)).collect::<Result<_, _>>()?)?;
    Ok(daemon)
}

fn address(host: &Host, addresses: Vec<IpNet>) -> Result<()> {
    host.network(async move |network| {
        let index = network.index_of(WIRE).await?.context("no cable")?;
        for address in addresses {
            network.add_address(index, address).await?;
        }
        Ok(())
    })
}

fn home(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("peer-{number}"))
}

/// Starts a process that is these peers.
fn start_peers(far: &Host, folder: &Path, numbers: &[u32]) -> Result<Process> {
    let folders: Vec<_> = numbers.iter().map(|number| home(folder, *number).display().to_string()).collect();
    let log = fs::File::create(folder.join(format!("log-{}", numbers[0])))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.env(ROLE, folders.join(",")).env("CRYPRQ_LOG", "warn").stdin(Stdio::null()).stderr(log);
    Process::start(far, command)
}

/// Runs a daemon for each folder, until this process is killed.
fn be_peers<'f>(folders: impl Iterator<Item = &'f Path>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let log = logging::start("warn");
    let daemons = LocalSet::new();
    for folder in folders {
        let file = folder.join("cryprq.toml");
        let config = Config::load(&file).map_err(|error| anyhow::anyhow!("{error}"))?;
        let (folder, log) = (folder.to_owned(), log.clone());
        daemons.spawn_local(async move {
            let prepared = run::prepare(config, &file, &folder.join("run"));
            let ended = match prepared {
                Ok(prepared) => run::run(prepared, TunnelLimits::default(), log).await,
                Err(error) => Err(error),
            };
            eprintln!("{}: {ended:?}", folder.display());
        });
    }
    runtime.block_on(daemons);
    Ok(())
}
