//! Programs of the lab: they end with whoever holds them, and with this process when it is interrupted.

use std::collections::BTreeSet;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use super::Host;

/// What a shell says of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// The programs that run: who started them can be interrupted, and then none may stay behind.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// A program on a host. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts a program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(host: &Host, mut command: Command) -> anyhow::Result<Self> {
        host.run(move || {
            let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
            let child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
            running.insert(child.id());
            Ok(Self { child, status: None })
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.id())?), signal)?)
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            // Its number is free for others once it was waited for, so the list is changed at the same time.
            let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
            self.status = self.child.try_wait().ok().flatten();
            if self.status.is_some() {
                running.remove(&self.child.id());
            }
        }
        self.status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = self.child.kill();
            let _ = self.child.wait();
            running.remove(&self.child.id());
        }
    }
}

/// Ends this process cleanly when it is interrupted: the programs that it started are all that could stay behind,
/// because interfaces, addresses and namespaces go with the last process that uses them. To be called once, early.
///
/// # Errors
/// When the system refuses to tell of signals.
pub fn clean_up_when_interrupted() -> anyhow::Result<()> {
    let runtime = super::host::runtime()?;
    let guard = runtime.enter();
    let (mut interrupt, mut terminate, mut hang_up) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    drop(guard);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hang_up.recv() => {} }
        });
        kill_all();
        eprintln!("\ninterrupted; nothing is left behind");
        std::process::exit(INTERRUPTED);
    });
    Ok(())
}

/// Kills every program that runs, and lets none start any more.
fn kill_all() {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    for pid in running.iter().filter_map(|&pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    std::mem::forget(running);
}
