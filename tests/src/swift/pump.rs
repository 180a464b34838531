//! The Swift pump, and macOS's part beside it: what the pump asks of the system is done to the host.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use cryprq_ipc_proto::extension::TunnelSettings;
use cryprq_ipc_proto::prefix::Prefix;
use nix::sys::signal::Signal;
use serde::Deserialize;

use crate::lab::{Host, Told, lines, until};
use crate::shuttle::Interface;

/// The name of a pump's interface.
pub const PUMPED: &str = "swift0";

/// A pump on a host; dropped, it is killed, and its interface goes with it.
pub struct Pump {
    told: Told,
    system: Arc<System>,
}

/// What the host made of the pump's wishes.
#[derive(Default)]
struct System {
    applied: AtomicUsize,
    over: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl Pump {
    /// Starts a pump that looks for a daemon at `socket`, and says what it does in the file `told`.
    ///
    /// # Errors
    /// When it was not built, or cannot be started.
    pub fn start(program: &Path, host: &Host, socket: &Path, told: PathBuf) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        // One that was built with a sanitizer does not outlive what that finds.
        command.env("TSAN_OPTIONS", "halt_on_error=1").arg(socket).arg(PUMPED);
        let told = Told::start(host, command, told)?;
        let system = Arc::<System>::default();
        let (said, here) = (told.output().to_owned(), Arc::clone(&system));
        host.spawn(move || {
            if let Err(error) = here.serve(&said) {
                *here.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{error:#}"));
            }
        });
        Ok(Self { told, system })
    }

    /// What it said, a line each.
    pub fn said(&self) -> Vec<String> {
        self.told.said()
    }

    /// How many lines hold this.
    pub fn times(&self, what: &str) -> usize {
        self.told.times(|line| line.contains(what))
    }

    /// Waits until it has said so many lines that hold this.
    ///
    /// # Errors
    /// When it has not in time.
    pub fn wait_said(&self, what: &str, times: usize) -> anyhow::Result<()> {
        self.told.wait_said(what, times, |line| line.contains(what))
    }

    /// Waits until it has started, and the host is as it wants it by now.
    ///
    /// # Errors
    /// When that is not so in time.
    pub fn wait_in_force(&self) -> anyhow::Result<()> {
        self.wait_said(r#""started":"""#, 1)?;
        let failed = || self.system.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        until("the host is as the pump wants it", || {
            failed().is_some() || self.system.applied.load(Ordering::Relaxed) >= self.times(r#""apply""#)
        })?;
        if let Some(failure) = failed() {
            anyhow::bail!("{failure}");
        }
        Ok(())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.told.process.signal(signal)
    }

    /// Whether it ended.
    pub fn has_ended(&mut self) -> bool {
        self.told.process.ended().is_some()
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        self.told.wait()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.told.process.id()
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.system.over.store(true, Ordering::Relaxed);
    }
}

impl System {
    /// Does what the pump asks for, one after the other, until it is over. What was done last stays.
    fn serve(&self, told: &Path) -> anyhow::Result<()> {
        let mut interface = None;
        while !self.over.load(Ordering::Relaxed) {
            let done = self.applied.load(Ordering::Relaxed);
            let wishes = lines(told).into_iter().filter_map(|line| serde_json::from_str::<Said>(&line).ok()?.apply);
            for wish in wishes.skip(done) {
                let settings = serde_json::from_str::<Plan>(&wish)?.settings()?;
                let interface = match &mut interface {
                    Some(interface) => interface,
                    none => none.insert(Interface::new(PUMPED)?),
                };
                interface.apply(&settings).with_context(|| wish.clone())?;
                self.applied.fetch_add(1, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Said {
    apply: Option<String>,
}

/// `NetworkPlan` of the kit.
#[derive(Deserialize)]
struct Plan {
    ipv4: Family,
    ipv6: Family,
    dns: Vec<std::net::IpAddr>,
    mtu: u16,
}

#[derive(Deserialize)]
struct Family {
    addresses: Vec<Route>,
    included: Vec<Route>,
    excluded: Vec<Route>,
}

#[derive(Deserialize)]
struct Route {
    address: std::net::IpAddr,
    mask: Option<std::net::Ipv4Addr>,
    prefix: Option<u8>,
}

impl Plan {
    fn settings(&self) -> anyhow::Result<TunnelSettings> {
        let both = |part: fn(&Family) -> &Vec<Route>| {
            part(&self.ipv4).iter().chain(part(&self.ipv6)).map(Route::prefix).collect::<anyhow::Result<_>>()
        };
        Ok(TunnelSettings {
            addresses: both(|family| &family.addresses)?,
            included: both(|family| &family.included)?,
            excluded: both(|family| &family.excluded)?,
            dns: self.dns.clone(),
            mtu: self.mtu,
        })
    }
}

impl Route {
    fn prefix(&self) -> anyhow::Result<Prefix> {
        let length = match (self.mask, self.prefix) {
            (Some(mask), None) => ipnet::ipv4_mask_to_prefix(mask)?,
            (None, Some(length)) => length,
            (Some(_), Some(_)) | (None, None) => anyhow::bail!("a route has a mask or a prefix"),
        };
        Prefix::new(self.address, length).map_err(|error| anyhow::anyhow!("{error}"))
    }
}
