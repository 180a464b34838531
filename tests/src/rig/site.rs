//! Two hosts joined by a cable, and what a VPN needs on them.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use os::network::Network;
use rtnetlink::LinkUnspec;
use rtnetlink::packet_route::link::LinkAttribute;
use tempfile::TempDir;

use crate::lab::{Host, Process, join};

/// How long a device may take to appear.
const PATIENCE: Duration = Duration::from_secs(10);
/// The tunnel's MTU in bytes, the same for all.
pub(super) const MTU: u16 = 1420;

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that traffic comes from, and that dials.
    A,
    /// The other.
    B,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Its name in files and devices.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// Its address on the cable.
    pub const fn outer(self) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, self as u8 + 1)
    }

    /// Its address in a tunnel that does not choose one itself.
    pub const fn inner(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 98, 0, self as u8 + 1)
    }
}

/// What a tunnel's device is given besides its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segments {
    /// Whatever the kernel hands over.
    Any,
    /// Super-packets that fit, sealed, into one send with segmentation offload.
    OneSend,
}

/// Which cores of the machine the hosts have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    /// Each half of them, as two machines have their own: no scheduler decides who shares one with whom.
    Apart,
    /// Both all of them.
    Shared,
}

/// Two hosts joined by a cable, and a folder.
pub struct Site {
    hosts: [Host; 2],
    folder: TempDir,
}

impl Site {
    /// Two new hosts.
    ///
    /// # Errors
    /// When the kernel or the container forbids namespaces.
    pub fn new(cores: Cores) -> anyhow::Result<Self> {
        let all = std::thread::available_parallelism()?.get();
        let hosts = match cores {
            Cores::Apart => [Host::on_cores(0..all.div_ceil(2))?, Host::on_cores(all / 2..all)?],
            Cores::Shared => [Host::new()?, Host::new()?],
        };
        join(&hosts[0], &hosts[1])?;
        Ok(Self { hosts, folder: tempfile::tempdir()? })
    }

    /// The host of a side.
    pub fn host(&self, side: Side) -> &Host {
        &self.hosts[side as usize]
    }

    /// A folder that goes with the site.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a program on a side; what it says goes into `NAME.log` of the folder.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, side: Side, name: &str, mut command: Command) -> anyhow::Result<Process> {
        let log = File::create(self.folder().join(format!("{name}.log")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir(self.folder());
        Process::start(self.host(side), command)
    }

    /// The end of every log, for the report of a failure.
    pub fn logs(&self) -> String {
        const END: usize = 1000;
        let mut told = String::new();
        for entry in std::fs::read_dir(self.folder()).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                let log = String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap_or_default()).into_owned();
                let end = log.char_indices().rev().nth(END).map_or(0, |(at, _)| at);
                told += &format!("\n--- {}\n{}", entry.file_name().display(), &log[end..]);
            }
        }
        told
    }

    /// Waits for a tunnel's device on a side, and gives it MTU and inner address.
    ///
    /// # Errors
    /// When it does not appear, or the kernel refuses.
    pub fn configure(&self, side: Side, device: &str, segments: Segments) -> anyhow::Result<()> {
        /// 44 datagrams of 1420 bytes and 32 of overhead stay below 65 507.
        const ONE_SEND: u32 = 61_000;
        let device = device.to_owned();
        self.host(side).change(async move |handle, network| {
            let index = appears(&network, &device).await?;
            network.add_address(index, format!("{}/24", side.inner()).parse()?).await?;
            let mut link = LinkUnspec::new_with_index(index).up().mtu(MTU.into());
            match segments {
                Segments::Any => {}
                Segments::OneSend => {
                    link = link
                        .append_extra_attribute(LinkAttribute::GsoMaxSize(ONE_SEND))
                        .append_extra_attribute(LinkAttribute::GsoIpv4MaxSize(ONE_SEND));
                }
            }
            Ok(handle.link().set(link.build()).execute().await?)
        })
    }
}

async fn appears(network: &Network, device: &str) -> anyhow::Result<u32> {
    let end = Instant::now() + PATIENCE;
    loop {
        match network.index_of(device).await? {
            Some(index) => return Ok(index),
            None if Instant::now() < end => tokio::time::sleep(Duration::from_millis(20)).await,
            None => return None.with_context(|| format!("no device {device} within {} s", PATIENCE.as_secs())),
        }
    }
}
