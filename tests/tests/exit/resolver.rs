//! systemd-resolved on a host of the lab, or what stands in its place on the host's system bus.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Host, Process, until};
use futures::StreamExt;
use tokio::sync::oneshot;
use zbus::message::{Header, Type};
use zbus::{Message, MessageStream};

use super::scene::{run, sh};

const BUS: &str = "/run/dbus/system_bus_socket";
const ADDRESS: &str = "unix:path=/run/dbus/system_bus_socket";
const NAME: &str = "org.freedesktop.resolve1";
/// Everybody may do everything: who may is resolved's own affair.
const BUS_CONFIG: &str = "<!DOCTYPE busconfig PUBLIC '-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN' \
'http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd'><busconfig><type>system</type>\
<listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth><policy context='default'>\
<allow user='*'/><allow own='*'/><allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/>\
</policy></busconfig>";
const USER: &str = "echo systemd-resolve:x:992:992::/:/usr/sbin/nologin >>/etc/passwd && \
                    echo systemd-resolve:x:992: >>/etc/group && mkdir -p /run/systemd/resolve && \
                    chown 992:992 /run/systemd/resolve";

/// A system bus that nobody but us is on.
pub(super) fn bus(host: &Host) -> Result<Option<Process>> {
    let Some(program) =
        ["/usr/bin/dbus-daemon", "/bin/dbus-daemon"].map(PathBuf::from).into_iter().find(|p| p.is_file())
    else {
        println!("skipped: names by systemd-resolved: this machine has no dbus-daemon");
        return Ok(None);
    };
    host.run(|| {
        std::fs::create_dir_all("/run/dbus")?;
        std::fs::write("/run/dbus/system.conf", BUS_CONFIG)
    })?;
    let mut command = Command::new(program);
    command.args(["--config-file=/run/dbus/system.conf", "--nofork", "--nopidfile"]).stderr(Stdio::null());
    let bus = Process::start(host, command)?;
    until("the bus listens", || host.run(|| std::os::unix::net::UnixStream::connect(BUS)).is_ok())?;
    Ok(Some(bus))
}

/// `/etc/resolv.conf` leads to resolved.
pub(super) fn lead_to_resolved(host: &Host) -> Result<()> {
    sh(host, "rm -f /etc/resolv.conf && ln -s ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf").map(drop)
}

/// The real one, which knows one resolver that is not there. Dropped, it and its bus are killed.
pub(super) struct Resolved {
    process: Process,
    _bus: Process,
}

impl Resolved {
    /// `None`, with a line that says why, where this machine has none.
    pub(super) fn start(host: &Host) -> Result<Option<Self>> {
        let Some(program) = program("systemd-resolved") else {
            println!("skipped: names by systemd-resolved: this machine has no systemd-resolved");
            return Ok(None);
        };
        let Some(bus) = bus(host)? else { return Ok(None) };
        sh(host, USER)?;
        let settings = "[Resolve]\nDNS=192.0.2.66\nFallbackDNS=\nLLMNR=no\nMulticastDNS=no\nDNSSEC=no\n";
        host.run(move || {
            std::fs::create_dir_all("/etc/systemd")
                .and_then(|()| std::fs::write("/etc/systemd/resolved.conf", settings))
        })?;
        lead_to_resolved(host)?;
        let process = resolved(host, program)?;
        Ok(Some(Self { process, _bus: bus }))
    }

    /// It ends at once, and another takes its place.
    pub(super) fn restart(&mut self, host: &Host) -> Result<()> {
        self.process.signal(nix::sys::signal::Signal::SIGKILL)?;
        until("resolved is gone", || self.process.ended().is_some())?;
        self.process = resolved(host, program("systemd-resolved").context("it was there")?)?;
        Ok(())
    }

    /// What it was told, of each interface: its name, and what follows.
    pub(super) fn told(host: &Host) -> Result<Vec<String>> {
        let client = program("resolvectl").context("no resolvectl")?.display().to_string();
        let told = sh(host, &format!("for what in dns domain default-route; do {client} $what; done"))?;
        Ok(told.lines().filter(|line| line.starts_with("Link ")).map(|line| line.trim_end().to_owned()).collect())
    }
}

fn resolved(host: &Host, program: PathBuf) -> Result<Process> {
    let mut command = Command::new(program);
    command.stderr(Stdio::null()).env("SYSTEMD_LOG_LEVEL", "err");
    let process = Process::start(host, command)?;
    until("resolved answers", || Resolved::told(host).is_ok())?;
    Ok(process)
}

/// A program of systemd-resolved: as tests/run unpacked it, or as this machine has it.
fn program(name: &str) -> Option<PathBuf> {
    let unpacked = std::env::var_os("CRYPRQ_RESOLVED").map(PathBuf::from);
    let folders = ["usr/lib/systemd", "lib/systemd", "usr/bin", "bin"];
    let roots = unpacked.into_iter().chain([PathBuf::from("/")]);
    roots.flat_map(|root| folders.map(|folder| root.join(folder).join(name))).find(|path| path.is_file())
}

/// In what a stand-in differs from resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Says no to this call.
    Refuses(&'static str),
    /// Says nothing to this call.
    IsSilentTo(&'static str),
    /// Hears late of interfaces: says so often that there is none.
    HearsLate(usize),
}

/// A program in the place of resolved, which writes down how it is called.
pub(super) struct StandIn {
    calls: Arc<Mutex<Vec<String>>>,
    _bus: Process,
    _stop: oneshot::Sender<()>,
}

impl StandIn {
    pub(super) fn start(host: &Host, manner: Manner) -> Result<Option<Self>> {
        let Some(bus) = bus(host)? else { return Ok(None) };
        let calls = Arc::<Mutex<Vec<String>>>::default();
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = channel();
        let written = Arc::clone(&calls);
        host.spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let served = serve(manner, &written, &ready);
                tokio::select! { result = served => result, _ = stopped => Ok(()) }
            })
        });
        is_ready.recv().context("the stand-in ended")?;
        Ok(Some(Self { calls, _bus: bus, _stop: stop }))
    }

    /// How it was called so far, with what.
    pub(super) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(manner: Manner, calls: &Mutex<Vec<String>>, ready: &Sender<()>) -> Result<()> {
    let connection = zbus::connection::Builder::address(ADDRESS).build().await?;
    let mut messages = MessageStream::from(&connection);
    connection.request_name(NAME).await?;
    ready.send(()).context("nobody waits")?;
    let mut late = if let Manner::HearsLate(times) = manner { times } else { 0 };
    while let Some(message) = messages.next().await {
        let message = message?;
        let header = message.header();
        let Some(call) = called(&header) else { continue };
        calls.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{call} {}", body(&call, &message)?));
        let refusal = match manner {
            Manner::IsSilentTo(this) if this == call => continue,
            Manner::Refuses(this) if this == call => Some("org.freedesktop.DBus.Error.AccessDenied"),
            Manner::HearsLate(_) if call == "SetLinkDNS" && late > 0 => {
                late -= 1;
                Some("org.freedesktop.resolve1.NoSuchLink")
            }
            Manner::IsSilentTo(_) | Manner::Refuses(_) | Manner::HearsLate(_) => None,
        };
        match refusal {
            Some(name) => connection.reply_error(&header, name, &"not\nallowed").await?,
            None => connection.reply(&header, &()).await?,
        }
    }
    Ok(())
}

/// What is called, if it is of resolved.
fn called(header: &Header<'_>) -> Option<String> {
    let ours = header.message_type() == Type::MethodCall
        && header.path().is_some_and(|path| path.as_str() == "/org/freedesktop/resolve1");
    ours.then(|| header.member().map(ToString::to_string))?
}

/// What a call holds, which has to be of the types that resolved takes.
fn body(call: &str, message: &Message) -> Result<String> {
    let body = message.body();
    Ok(match call {
        "Ping" => String::new(),
        "SetLinkDNS" => format!("{:?}", body.deserialize::<(i32, Vec<(i32, Vec<u8>)>)>()?),
        "SetLinkDomains" => format!("{:?}", body.deserialize::<(i32, Vec<(String, bool)>)>()?),
        "SetLinkDefaultRoute" => format!("{:?}", body.deserialize::<(i32, bool)>()?),
        "RevertLink" => format!("{:?}", body.deserialize::<i32>()?),
        other => anyhow::bail!("{other} is called"),
    })
}

/// Runs `resolvectl` with these words.
pub(super) fn resolvectl(host: &Host, words: &[&str]) -> Result<String> {
    let program = program("resolvectl").context("no resolvectl")?;
    let program = program.to_str().context("a path that is a text")?;
    ensure!(!program.contains(' '), "{program}");
    run(host, "sh", &["-c", &format!("{program} {}", words.join(" "))])
}
