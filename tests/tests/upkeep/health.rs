//! What is wrong with the host is told, and not told any more once it is mended.

use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Daemon, Host, Pair, Transfer, WIRE, pattern, ping, until};
use ipnet::IpNet;
use nix::mount::{MsFlags, mount, umount};

use super::{friends, host_with_files, of_root_alone, strangers, until_health};

const PORT: u16 = 41820;

#[test]
fn a_port_that_another_program_has_is_told_and_taken_when_it_is_free() -> Result<()> {
    let Some(mut pair) = strangers()? else { return Ok(()) };
    of_root_alone(&pair.a)?;
    let other = pair.host_a.run(|| -> std::io::Result<_> {
        let any = Ipv4Addr::UNSPECIFIED;
        Ok((UdpSocket::bind((any, PORT))?, TcpListener::bind((any, PORT))?))
    })?;
    pair.a.start()?;
    until_health(&pair.a, &["listen"])?;
    let item = pair.a.ask("status")?["health"][0].take();
    let text = item["text"].as_str().context("a text")?;
    ensure!(text.contains("41820") && item["hint"].as_str().is_some_and(|hint| hint.contains("listen.port")), "{item}");
    drop(other);
    until_health(&pair.a, &[])?;
    let told = pair.a.logged("cannot listen");
    ensure!(told <= 4, "said {told} times");
    Ok(())
}

#[test]
fn without_a_tun_driver_the_daemon_runs_and_with_one_packets_pass() -> Result<()> {
    let Some(host) = host_with_files()? else { return Ok(()) };
    let mut daemon = Daemon::unconfigured(&host);
    host.run(|| mount(Some("tmpfs"), "/dev/net", Some("tmpfs"), MsFlags::empty(), None::<&str>))?;
    daemon.start()?;
    until("it is told", || daemon.health().is_ok_and(|codes| codes.contains(&"no_tun".into())))?;
    let status = daemon.ask("status")?.to_string();
    ensure!(status.contains("modprobe tun"), "{status}");
    ensure!(!interfaces(&host)?.contains("cryprq0"));
    host.run(|| umount("/dev/net"))?;
    until("it is made", || interfaces(&host).is_ok_and(|all| all.contains("cryprq0")))?;
    until("it is told no more", || daemon.health().is_ok_and(|codes| !codes.contains(&"no_tun".into())))?;
    ensure!(daemon.stop()?.success());
    ensure!(!interfaces(&host)?.contains("cryprq0"));
    Ok(())
}

#[test]
fn without_the_right_to_make_an_interface_the_daemon_runs_and_says_which_it_needs() -> Result<()> {
    const NOBODY: u32 = 65534;
    let Some(host) = host_with_files()? else { return Ok(()) };
    host.run(|| -> std::io::Result<()> {
        std::fs::create_dir("/var/lib/daemon")?;
        std::fs::write("/var/lib/daemon/cryprq.toml", "[node]\nstate_dir = \"/var/lib/daemon/state\"\n")?;
        std::os::unix::fs::chown("/var/lib/daemon", Some(NOBODY), Some(NOBODY))
    })?;
    let mut daemon = Daemon::unconfigured(&host).user(NOBODY);
    daemon.start()?;
    until("it is told", || daemon.health().is_ok_and(|codes| codes.contains(&"no_tun".into())))?;
    let status = daemon.ask("status")?.to_string();
    ensure!(status.contains("run as root, or with CAP_NET_ADMIN"), "{status}");
    ensure!(daemon.stop()?.success());
    Ok(())
}

/// After `change` to A's interface everything passes as before, without new keys.
fn is_put_right(pair: &Pair, change: impl FnOnce(&Pair) -> Result<()>) -> Result<()> {
    let state = pair.host_a.state()?;
    let (rotations, made) = (pair.a.peer()?["rotations"].take(), pair.a.logged("the interface is made"));
    change(pair)?;
    until("it is made anew", || pair.a.logged("the interface is made") > made).with_context(|| pair.a.log())?;
    let answers = |host: &Host, address: IpAddr| {
        until("the ping is answered", || ping(host, address, Duration::from_secs(2)).is_ok())
    };
    answers(&pair.host_a, pair.id_b.ipv4.into()).with_context(|| pair.a.log())?;
    answers(&pair.host_b, pair.id_a.ipv6.into())?;
    ensure!(pair.a.peer()?["rotations"] == rotations, "no key was lost");
    let kinds = |state: &[String]| {
        let kind = |line: &String| line.split_once(' ').map(|(kind, _)| kind.to_owned());
        state.iter().filter_map(kind).collect::<Vec<_>>()
    };
    ensure!(kinds(&pair.host_a.state()?) == kinds(&state), "as many addresses and routes as before");
    Ok(())
}

#[test]
fn an_interface_that_somebody_removes_is_made_again_and_the_tunnel_goes_on() -> Result<()> {
    let Some(pair) = friends("debug")? else { return Ok(()) };
    is_put_right(&pair, |pair| pair.host_a.remove_link("cryprq0"))
}

#[test]
fn an_interface_that_somebody_takes_down_is_made_again_and_the_tunnel_goes_on() -> Result<()> {
    let Some(pair) = friends("debug")? else { return Ok(()) };
    is_put_right(&pair, |pair| pair.host_a.set_link("cryprq0", false))
}

#[test]
fn an_address_that_somebody_takes_from_the_interface_comes_back_and_who_does_it_again_is_told_of() -> Result<()> {
    let Some(pair) = friends("debug")? else { return Ok(()) };
    let address = IpNet::from(IpAddr::from(pair.id_a.ipv6));
    let take = |pair: &Pair| {
        pair.host_a.network(async move |network| {
            let index = network.index_of("cryprq0").await?.context("no interface")?;
            Ok(network.remove_address(index, address).await?)
        })
    };
    // Right after the start it might be the manager of a network.
    until("it is told or made anew", || {
        let _ = take(&pair);
        pair.a.health().is_ok_and(|codes| codes.contains(&"no_tun".into()))
    })
    .with_context(|| pair.a.log())?;
    until("all is well", || pair.a.health().is_ok_and(|codes| !codes.contains(&"no_tun".into())))
        .with_context(|| pair.a.log())?;
    until("the ping is answered", || ping(&pair.host_b, address.addr(), Duration::from_secs(2)).is_ok())
}

/// Takes a process's UDP sockets and has the kernel leave out their checksums; it cuts no runs for such sockets.
const NO_CHECKSUMS: &str = r"
import ctypes, os, socket, sys
PIDFD_GETFD, SO_NO_CHECK = 438, 11
pid = int(sys.argv[1])
process = os.pidfd_open(pid)
for name in os.listdir(f'/proc/{pid}/fd'):
    taken = ctypes.CDLL(None).syscall(PIDFD_GETFD, process, int(name), 0)
    try:
        taken = socket.socket(fileno=taken)
    except OSError:
        continue
    if taken.type == socket.SOCK_DGRAM and taken.family in (socket.AF_INET, socket.AF_INET6):
        taken.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        print(taken.getsockname()[1])
";

/// Has the kernel refuse to cut what B sends; `None` with a line that says why where there is no Python.
fn refuse_runs(pair: &Pair) -> Result<Option<()>> {
    let mut python = Command::new("python3");
    python.args(["-c", NO_CHECKSUMS, &pair.b.pid().context("B runs")?.to_string()]);
    let output = match pair.host_b.output(python) {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: a kernel that cuts no runs any more: no python3: {error}");
            return Ok(None);
        }
    };
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(told.lines().any(|port| port == PORT.to_string()), "{told}{}", String::from_utf8_lossy(&output.stderr));
    Ok(Some(()))
}

#[test]
fn a_kernel_that_cuts_no_runs_any_more_costs_nothing_but_time() -> Result<()> {
    let Some(pair) = friends("debug")? else { return Ok(()) };
    let kind = || [&pair.a, &pair.b].map(|daemon| daemon.peer().map(|mut peer| peer["path"]["kind"].take()).ok());
    let udp = || kind().iter().all(|kind| *kind == Some("udp".into()));
    until("frames go by datagrams", udp).with_context(|| pair.b.log())?;
    let falls = || [&pair.a, &pair.b].map(|daemon| daemon.logged(" path=\"stream\""));
    let falls_before = falls();
    let transfer = || {
        let address = pair.id_b.ipv4.into();
        Transfer::start(&pair.host_b, &pair.host_a, address, pattern(2_000_000), Duration::ZERO)?.finish()
    };
    transfer()?;
    let before = pair.b.health()?;
    ensure!(!before.contains(&"kernel_lacks".to_owned()), "runs are cut so far: {before:?}");
    if refuse_runs(&pair)?.is_none() {
        return Ok(());
    }
    transfer().with_context(|| pair.b.log())?;
    until("it is told", || pair.b.health().is_ok_and(|codes| codes != before)).with_context(|| pair.b.log())?;
    transfer().context("once more")?;
    let mut after = pair.b.health()?;
    after.retain(|code| !before.contains(code));
    ensure!(after == ["kernel_lacks"], "{after:?} is new");
    ensure!(udp() && falls() == falls_before, "frames went by the stream: {}", pair.b.log());
    Ok(())
}

#[test]
fn an_interface_of_somebody_else_is_neither_taken_nor_removed() -> Result<()> {
    let Some(mut pair) = strangers()? else { return Ok(()) };
    of_root_alone(&pair.a)?;
    pair.host_a.add_link("cryprq0")?;
    pair.a.start()?;
    until_health(&pair.a, &["no_tun"])?;
    ensure!(pair.a.stop()?.success());
    pair.a.start()?;
    ensure!(interfaces(&pair.host_a)?.contains("cryprq0"), "it is still there");
    pair.host_a.remove_link("cryprq0")?;
    until_health(&pair.a, &[])
}

#[test]
fn a_host_without_a_network_says_so_until_it_has_one() -> Result<()> {
    let Some(mut pair) = strangers()? else { return Ok(()) };
    of_root_alone(&pair.a)?;
    pair.a.start()?;
    until_health(&pair.a, &[])?;
    pair.host_a.set_wire(false)?;
    until("it is told", || pair.a.health().is_ok_and(|codes| codes.contains(&"no_network".into())))?;
    pair.host_a.set_wire(true)?;
    until("it is told no more", || pair.a.health().is_ok_and(|codes| !codes.contains(&"no_network".into())))
}

#[test]
fn a_network_that_overlaps_the_inner_one_refuses_the_start_and_is_told_when_it_comes_later() -> Result<()> {
    let Some(mut pair) = strangers()? else { return Ok(()) };
    of_root_alone(&pair.a)?;
    let change = |add: bool| {
        pair.host_a.network(async move |network| {
            let index = network.index_of(WIRE).await?.context("no outer link")?;
            let address = "10.86.3.7/24".parse()?;
            if add {
                return Ok(network.add_address(index, address).await?);
            }
            Ok(network.remove_address(index, address).await?)
        })
    };
    change(true)?;
    let (_, told) = pair.a.refusal()?;
    ensure!(told.contains("network.ipv4: 10.86.0.0/16 overlaps 10.86.3.0/24"), "{told}");
    change(false)?;
    pair.a.start()?;
    until_health(&pair.a, &[])?;
    change(true)?;
    until_health(&pair.a, &["network_overlap"])?;
    change(false)?;
    until_health(&pair.a, &[])
}

fn interfaces(host: &Host) -> Result<String> {
    Ok(host.run(|| std::fs::read_to_string("/proc/thread-self/net/dev"))?)
}
