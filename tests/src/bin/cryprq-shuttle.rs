//! The reference shuttle as a program: `cryprq-shuttle SOCKET INTERFACE [PATIENCE_SECONDS]`.
//!
//! It says on its standard output what happens, a line each. SIGUSR1 puts it to sleep, SIGUSR2 wakes it, SIGTERM ends it
//! as the system would end an extension. Exit codes: 0 ended by the daemon or a signal, 1 refused, 2 no daemon.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use cryprq_ipc_proto::frame::Frame;
use cryprq_tests::shuttle::{Ending, Options, Remote, run};
use tokio::signal::unix::{SignalKind, signal};

/// How long a daemon has to close the connection of a shuttle that ends.
const FAREWELL: Duration = Duration::from_secs(3);

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (socket, interface, patience) = match &arguments[..] {
        [socket, interface] => (socket, interface, 60),
        [socket, interface, patience] => (socket, interface, patience.parse().context("PATIENCE_SECONDS")?),
        _ => anyhow::bail!("usage: cryprq-shuttle SOCKET INTERFACE [PATIENCE_SECONDS]"),
    };
    let patience = Duration::from_secs(patience);
    let options = Options { socket: socket.into(), interface: interface.clone(), patience };
    let remote = Remote::default();
    obey_signals(remote.clone())?;
    let ending = run(&options, &remote, |event| println!("{event}"))?;
    println!("lost {}", remote.lost());
    Ok(match ending {
        Ending::Stopped(reason) => {
            println!("stopped {reason:?}");
            ExitCode::SUCCESS
        }
        Ending::Refused(error) => {
            println!("refused {}: {error}", error.code.name());
            ExitCode::FAILURE
        }
        Ending::System => ExitCode::SUCCESS,
        Ending::NoDaemon => {
            println!("no daemon");
            ExitCode::from(2)
        }
    })
}

fn obey_signals(remote: Remote) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let mut sleep = signal(SignalKind::user_defined1())?;
    let mut wake = signal(SignalKind::user_defined2())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(guard);
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                // A daemon that is away has nothing to pause.
                tokio::select! {
                    _ = sleep.recv() => drop(remote.say(&Frame::Pause)),
                    _ = wake.recv() => drop(remote.say(&Frame::Resume)),
                    _ = terminate.recv() => break,
                }
            }
        });
        remote.end();
        std::thread::sleep(FAREWELL);
        std::process::exit(0);
    });
    Ok(())
}
