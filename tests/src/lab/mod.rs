//! Hosts on one machine: network namespaces joined by a veth pair, each with a daemon of its own.
//!
//! Namespaces are entered by threads, so nothing here needs `ip`; children inherit the namespace of the thread that
//! starts them.

mod capture;
mod daemon;

pub use capture::Capture;
pub use daemon::{Daemon, Identity, Peering, until};

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use ipnet::IpNet;
use nix::sched::{CloneFlags, setns, unshare};
use os::network::Network;
use rtnetlink::LinkVeth;

const WIRE: &str = "wire";

/// A network namespace. It goes with the last handle and the last process in it.
#[derive(Clone, Debug)]
pub struct Host(Arc<File>);

impl Host {
    /// A fresh namespace with its loopback up.
    ///
    /// # Errors
    /// When the kernel or the container forbids namespaces.
    pub fn new() -> anyhow::Result<Self> {
        let made = std::thread::spawn(|| -> anyhow::Result<Self> {
            unshare(CloneFlags::CLONE_NEWNET).context("no network namespace: run as root")?;
            Ok(Self(Arc::new(File::open("/proc/thread-self/ns/net")?)))
        });
        let host = made.join().map_err(|_| anyhow::anyhow!("the thread of the namespace panicked"))??;
        host.network(async |network| {
            let loopback = network.index_of("lo").await?.context("no loopback")?;
            Ok(network.set_up(loopback, 65_000).await?)
        })?;
        Ok(host)
    }

    /// Runs `work` on a thread inside the namespace.
    pub fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let namespace = Arc::clone(&self.0);
        std::thread::spawn(move || {
            setns(&*namespace, CloneFlags::CLONE_NEWNET).expect("a namespace that we made can be entered");
            work()
        })
    }

    /// Runs `work` inside the namespace and waits for it.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn network<T: Send + 'static>(
        &self,
        work: impl AsyncFnOnce(Network) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        self.run(move || runtime()?.block_on(async { work(Network::open()?).await }))
    }

    /// Takes the outer link down or brings it up again.
    ///
    /// # Errors
    /// When there is none.
    pub fn set_wire(&self, up: bool) -> anyhow::Result<()> {
        self.network(async move |network| {
            let index = network.index_of(WIRE).await?.context("no outer link")?;
            if up {
                return Ok(network.set_up(index, 1500).await?);
            }
            let (connection, handle, _) = rtnetlink::new_connection()?;
            tokio::spawn(connection);
            Ok(handle.link().set(rtnetlink::LinkUnspec::new_with_index(index).down().build()).execute().await?)
        })
    }

    /// Loads firewall rules; `None` when this machine has no `nft`.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn firewall(&self, rules: &'static str) -> anyhow::Result<Option<()>> {
        let status = self.run(move || std::process::Command::new("nft").arg(rules).status());
        match status {
            Ok(status) if status.success() => Ok(Some(())),
            Ok(status) => anyhow::bail!("nft refused the rules: {status}"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Joins two hosts by a veth pair with one IPv4 and one IPv6 network.
///
/// # Errors
/// What the kernel refuses.
pub fn join(a: &Host, b: &Host) -> anyhow::Result<()> {
    let far = b.0.as_raw_fd();
    let keep = Arc::clone(&b.0);
    a.run(move || -> anyhow::Result<()> {
        let moved = runtime()?.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection()?;
            tokio::spawn(connection);
            handle.link().add(LinkVeth::new(WIRE, "far").build()).execute().await?;
            let network = Network::open()?;
            let index = network.index_of("far").await?.context("no far end")?;
            let change = rtnetlink::LinkUnspec::new_with_index(index).name(WIRE).setns_by_fd(far).build();
            Ok(handle.link().set(change).execute().await?)
        });
        drop(keep);
        moved
    })?;
    for (host, number) in [(a, 1), (b, 2)] {
        let addresses: Vec<IpNet> =
            vec![format!("192.0.2.{number}/24").parse()?, format!("2001:db8::{number}/64").parse()?];
        host.network(async move |network| {
            let index = network.index_of(WIRE).await?.context("no outer link")?;
            network.set_up(index, 1500).await?;
            for address in addresses {
                network.add_address(index, address).await?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
