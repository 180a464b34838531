//! From where the socket can be reached: attack 11. What a browser could send is refused beside the code.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Result, ensure};
use cryprq_tests::lab::until;
use cryprq_tests::local::{Folder, Local};

/// Inodes of the daemon's sockets.
fn sockets(daemon: &Local) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{}/fd", daemon.pid()))? {
        let target = fs::read_link(entry?.path()).unwrap_or_default();
        if let Some(inode) = target.to_str().and_then(|target| target.strip_prefix("socket:[")) {
            found.insert(inode.trim_end_matches(']').to_owned());
        }
    }
    Ok(found)
}

/// How many sockets of the daemon stand in the kernel's table of that name.
fn counted(daemon: &Local, table: &str) -> Result<usize> {
    let own = sockets(daemon)?;
    let table = fs::read_to_string(format!("/proc/{}/net/{table}", daemon.pid()))?;
    Ok(table.lines().filter(|line| line.split_whitespace().any(|field| own.contains(field))).count())
}

#[test]
fn attack_11_no_tcp_port_leads_to_the_control_socket() -> Result<()> {
    // TCP is switched off in this configuration, so what listens now would be the control plane's.
    let daemon = Folder::new("")?.start()?;
    ensure!(counted(&daemon, "unix")? > 0, "the control socket is seen");
    // It listens once the task of the network runs, which no caller waits for.
    until("QUIC is seen", || counted(&daemon, "udp").is_ok_and(|count| count > 0))?;
    ensure!(counted(&daemon, "tcp")? + counted(&daemon, "tcp6")? == 0, "a TCP socket is open");
    Ok(())
}
