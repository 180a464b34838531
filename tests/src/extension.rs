//! An extension on a Linux host: the reference shuttle, or the Swift pump where it was built.

use std::path::PathBuf;

use anyhow::Context;
use nix::sys::signal::Signal;

use crate::lab::{Daemon, Host, SHUTTLED, Shuttle};
use crate::swift::{PUMPED, Pump, program};

const PUMP: &str = "swift-pump";

/// How inner packets get to a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By an interface of its own.
    Interface,
    /// By the shuttle, which plays the extension's part.
    Shuttle,
    /// By the Swift pump.
    Swift,
}

/// Who plays the extension's part.
pub enum Extension {
    /// The shuttle.
    Shuttle(Shuttle),
    /// The Swift pump.
    Swift(Pump),
}

impl Way {
    /// Whether it can be gone on this machine; says why where it cannot.
    pub fn is_there(self) -> bool {
        self != Self::Swift || program(PUMP).is_some()
    }

    /// The name of the interface that inner packets pass.
    pub const fn interface(self) -> &'static str {
        match self {
            Self::Interface => "cryprq0",
            Self::Shuttle => SHUTTLED,
            Self::Swift => PUMPED,
        }
    }

    /// Has a daemon take its packets this way, from the next start on.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub fn configure(self, daemon: &Daemon) -> anyhow::Result<()> {
        if self == Self::Interface { Ok(()) } else { daemon.take_from_extension() }
    }

    /// Attaches an extension to a daemon that runs, and waits until its settings are in force; the pump says what it does
    /// in the file `told`. `None` where the daemon has an interface of its own.
    ///
    /// # Errors
    /// When it was not built, cannot be started, or is not attached in time.
    pub fn attach(self, host: &Host, daemon: &Daemon, told: PathBuf) -> anyhow::Result<Option<Extension>> {
        Ok(match self {
            Self::Interface => None,
            Self::Shuttle => {
                let shuttle = Shuttle::start(host, daemon, SHUTTLED, 60)?;
                shuttle.wait_said("settings", 1)?;
                Some(Extension::Shuttle(shuttle))
            }
            Self::Swift => {
                let program = program(PUMP).context("there is no Swift pump")?;
                let pump = Pump::start(&program, host, &daemon.tun_socket(), told)?;
                pump.wait_in_force()?;
                Some(Extension::Swift(pump))
            }
        })
    }
}

impl Extension {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        match self {
            Self::Shuttle(shuttle) => shuttle.pid(),
            Self::Swift(pump) => pump.pid(),
        }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        match self {
            Self::Shuttle(shuttle) => shuttle.signal(signal),
            Self::Swift(pump) => pump.signal(signal),
        }
    }

    /// Waits until what it was told is done to the host.
    ///
    /// # Errors
    /// When that is not so in time.
    pub fn wait_in_force(&self) -> anyhow::Result<()> {
        match self {
            // It says so itself after it was done.
            Self::Shuttle(_) => Ok(()),
            Self::Swift(pump) => pump.wait_in_force(),
        }
    }
}
