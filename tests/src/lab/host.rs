//! A host: namespaces that threads enter.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use futures::TryStreamExt;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns, unshare};
use nix::unistd::{Pid, sethostname};
use os::network::Network;
use rtnetlink::{Handle, LinkBridge, LinkUnspec, RouteMessageBuilder};

use super::wire::WIRE;

/// Where a named host sees the programs that were built with the lab.
pub const PROGRAMS: &str = "/var/lib/programs";

/// Namespaces of one host. They go with the last handle and the last process in them.
#[derive(Clone, Debug)]
pub struct Host(Arc<Spaces>);

#[derive(Debug)]
struct Spaces {
    network: File,
    own: Option<Own>,
    /// Where its programs and threads run, if not anywhere.
    cores: Option<CpuSet>,
}

/// What a named host has besides its network.
#[derive(Debug)]
struct Own {
    mounts: File,
    names: File,
}

impl Host {
    /// A network namespace with its loopback up, on the files of this machine.
    ///
    /// # Errors
    /// When the kernel or the container forbids namespaces.
    pub fn new() -> anyhow::Result<Self> {
        Self::unnamed(None)
    }

    /// The same, with these cores of the machine as its own: whatever it runs, runs there and sees no others.
    ///
    /// # Errors
    /// As [`Self::new`]; when there are no such cores.
    pub fn on_cores(cores: Range<usize>) -> anyhow::Result<Self> {
        let mut set = CpuSet::new();
        cores.into_iter().try_for_each(|core| set.set(core))?;
        Self::unnamed(Some(set))
    }

    fn unnamed(cores: Option<CpuSet>) -> anyhow::Result<Self> {
        Self::made_by(move || {
            unshare(CloneFlags::CLONE_NEWNET).context("no network namespace: run as root")?;
            Ok(Spaces { network: namespace("net")?, own: None, cores })
        })
    }

    /// Hosts by [`Self::new`], or `None` with a line that says why this machine has none for `whom`.
    pub fn several<const N: usize>(whom: &str) -> Option<[Self; N]> {
        let hosts: anyhow::Result<Vec<Self>> = (0..N).map(|_| Self::new()).collect();
        let hosts = hosts.inspect_err(|error| println!("skipped: {whom}: {error:#}")).ok()?;
        hosts.try_into().ok()
    }

    /// A host with a name of its own and an empty `/var/lib`, where [`PROGRAMS`] shows the folder `programs`. Nothing
    /// that is written there outlives the host.
    ///
    /// # Errors
    /// When the kernel or the container forbids namespaces or mounts.
    pub fn named(name: &'static str, programs: &Path) -> anyhow::Result<Self> {
        let programs = programs.to_owned();
        Self::made_by(move || {
            let all = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
            unshare(all).context("no namespaces: run as root")?;
            sethostname(name).context("cannot name the host")?;
            let nothing = None::<&str>;
            mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
            // Held open: the folder itself may lie where the empty one is about to be.
            let programs = File::open(&programs).context("no folder of programs")?;
            mount(Some("tmpfs"), "/var/lib", Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))?;
            std::fs::create_dir(PROGRAMS)?;
            let programs = format!("/proc/thread-self/fd/{}", programs.as_raw_fd());
            mount(Some(&*programs), PROGRAMS, nothing, MsFlags::MS_BIND, nothing)?;
            let own = Own { mounts: namespace("mnt")?, names: namespace("uts")? };
            Ok(Spaces { network: namespace("net")?, own: Some(own), cores: None })
        })
    }

    /// Lays a folder of this machine under a named host's own: what the host writes in it stays with the host.
    ///
    /// # Errors
    /// When the kernel has no overlay file system or forbids it.
    pub fn cover(&self, folder: &'static str) -> anyhow::Result<()> {
        self.run(move || {
            let own = format!("/var/lib/cover{folder}");
            let [upper, work] = ["upper", "work"].map(|part| format!("{own}/{part}"));
            std::fs::create_dir_all(&upper)?;
            std::fs::create_dir_all(&work)?;
            let options = format!("lowerdir={folder},upperdir={upper},workdir={work}");
            let kind = Some("overlay");
            mount(kind, folder, kind, MsFlags::empty(), Some(&*options)).context("no overlay on a folder")
        })
    }

    /// Lays an empty folder over one of this machine's, for this host alone.
    ///
    /// # Errors
    /// When the kernel forbids it.
    pub fn empty(&self, folder: &'static str) -> anyhow::Result<()> {
        let kind = Some("tmpfs");
        self.run(move || mount(kind, folder, kind, MsFlags::empty(), Some("mode=0755"))).context("no empty folder")
    }

    fn made_by(make: impl FnOnce() -> anyhow::Result<Spaces> + Send + 'static) -> anyhow::Result<Self> {
        let made = std::thread::spawn(make);
        let spaces = made.join().map_err(|_| anyhow::anyhow!("the thread of the namespace panicked"))??;
        let host = Self(Arc::new(spaces));
        host.network(async |network| {
            let loopback = network.index_of("lo").await?.context("no loopback")?;
            Ok(network.set_up(loopback, 65_000).await?)
        })?;
        Ok(host)
    }

    /// Runs `work` on a thread inside the host.
    pub fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let spaces = Arc::clone(&self.0);
        std::thread::spawn(move || {
            spaces.enter().expect("namespaces that we made can be entered");
            work()
        })
    }

    /// Runs `work` inside the host and waits for it.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs a program inside the host and waits for its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn output(&self, mut command: Command) -> io::Result<Output> {
        self.run(move || command.output())
    }

    /// Runs `work` with a netlink socket of the host.
    ///
    /// # Errors
    /// Those of `work`, and the kernel's refusal of the socket.
    pub fn network<T: Send + 'static>(
        &self,
        work: impl AsyncFnOnce(Network) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        self.run(move || runtime()?.block_on(async { work(Network::open()?).await }))
    }

    /// The same for what the daemon does not ask of the kernel: `work` gets the whole of rtnetlink besides.
    ///
    /// # Errors
    /// As [`Self::network`].
    pub fn change<T: Send + 'static>(
        &self,
        work: impl AsyncFnOnce(Handle, Network) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        self.network(async move |network| work(netlink()?, network).await)
    }

    pub(super) fn descriptor(&self) -> i32 {
        self.0.network.as_raw_fd()
    }

    /// Takes the outer link down or brings it up again.
    ///
    /// # Errors
    /// When there is none.
    pub fn set_wire(&self, up: bool) -> anyhow::Result<()> {
        self.set_link(WIRE, up)
    }

    /// The same with another link.
    ///
    /// # Errors
    /// When there is none.
    pub fn set_link(&self, name: &'static str, up: bool) -> anyhow::Result<()> {
        self.change(async move |handle, network| {
            let index = network.index_of(name).await?.with_context(|| format!("no link {name}"))?;
            if up {
                return Ok(network.set_up(index, 1500).await?);
            }
            Ok(handle.link().set(LinkUnspec::new_with_index(index).down().build()).execute().await?)
        })
    }

    /// Makes a link of this name that is nobody's.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn add_link(&self, name: &'static str) -> anyhow::Result<()> {
        self.change(async move |handle, _| Ok(handle.link().add(LinkBridge::new(name).build()).execute().await?))
    }

    /// Takes a link away.
    ///
    /// # Errors
    /// When there is none.
    pub fn remove_link(&self, name: &'static str) -> anyhow::Result<()> {
        self.network(async move |network| {
            let index = network.index_of(name).await?.with_context(|| format!("no link {name}"))?;
            Ok(network.remove_link(index).await?)
        })
    }

    /// Has a link hold what waits while a daemon gets no processor, instead of dropping it.
    ///
    /// # Errors
    /// When there is none.
    pub fn lengthen_queue(&self, name: &'static str) -> anyhow::Result<()> {
        self.change(async move |handle, network| {
            let index = network.index_of(name).await?.with_context(|| format!("no link {name}"))?;
            Ok(handle.link().set(LinkUnspec::new_with_index(index).txqueuelen(20_000).build()).execute().await?)
        })
    }

    /// Has the outer link take packets of so many bytes.
    ///
    /// # Errors
    /// When there is none.
    pub fn set_wire_mtu(&self, mtu: u16) -> anyhow::Result<()> {
        self.network(async move |network| {
            let index = network.index_of(WIRE).await?.context("no outer link")?;
            Ok(network.set_up(index, mtu).await?)
        })
    }

    /// All interfaces, addresses and routes of the host, as the kernel tells them, sorted; but for link-local addresses,
    /// which it gives by itself and in its own time.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn state(&self) -> anyhow::Result<Vec<String>> {
        self.change(async |handle, _| {
            let mut state: Vec<String> = Vec::new();
            let links: Vec<_> = handle.link().get().execute().try_collect().await?;
            state.extend(links.iter().map(|link| format!("link {:?}", link.header)));
            let addresses: Vec<_> = handle.address().get().execute().try_collect().await?;
            state.extend(addresses.iter().map(|address| format!("address {address:?}")));
            for routes in
                [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()]
            {
                let routes: Vec<_> = handle.route().get(routes).execute().try_collect().await?;
                state.extend(routes.iter().map(|route| format!("route {route:?}")));
            }
            state.retain(|line| !line.contains("(fe80::"));
            state.sort();
            Ok(state)
        })
    }

    /// Loads firewall rules; `None` when this machine has no `nft`.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn firewall(&self, rules: &str) -> anyhow::Result<Option<()>> {
        let mut nft = Command::new("nft");
        nft.arg(rules);
        match self.output(nft) {
            Ok(output) if output.status.success() => Ok(Some(())),
            Ok(output) => anyhow::bail!("nft refused the rules: {}", String::from_utf8_lossy(&output.stderr)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Spaces {
    fn enter(&self) -> nix::Result<()> {
        if let Some(cores) = &self.cores {
            sched_setaffinity(Pid::from_raw(0), cores)?;
        }
        if let Some(own) = &self.own {
            // Threads share their root and working folder; one that changes its mounts must not.
            unshare(CloneFlags::CLONE_FS)?;
            setns(&own.mounts, CloneFlags::CLONE_NEWNS)?;
            setns(&own.names, CloneFlags::CLONE_NEWUTS)?;
        }
        setns(&self.network, CloneFlags::CLONE_NEWNET)
    }
}

fn namespace(kind: &str) -> io::Result<File> {
    File::open(format!("/proc/thread-self/ns/{kind}"))
}

/// A netlink socket of the host whose thread this is, for as long as the runtime runs.
pub(crate) fn netlink() -> io::Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    Ok(handle)
}

pub(super) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
