//! What a daemon's memory holds.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::Daemon;
use serde_json::json;

use super::{B_QUIC, strangers};

/// How often `needle` stands in the memory of the process.
fn count(daemon: &Daemon, needle: &[u8]) -> Result<usize> {
    let pid = daemon.pid().context("it runs")?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut found = 0;
    for line in std::fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
        let (range, rest) = line.split_once(' ').context("a mapping")?;
        if !rest.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').context("a range")?;
        let (start, end) = (u64::from_str_radix(start, 16)?, u64::from_str_radix(end, 16)?);
        let mut bytes = vec![0; usize::try_from(end - start)?];
        // A mapping that goes away while it is read holds nothing any more.
        if memory.read_exact_at(&mut bytes, start).is_ok() {
            found += bytes.windows(needle.len()).filter(|window| *window == needle).count();
        }
    }
    Ok(found)
}

#[test]
fn the_psk_of_a_removed_peer_is_nowhere_in_the_daemons_memory() -> Result<()> {
    let Some(mut pair) = strangers()? else { return Ok(()) };
    pair.a.start()?;
    pair.b.start()?;
    let psk: [u8; 32] = std::array::from_fn(|i| (i as u8).wrapping_mul(167) ^ 0x5c);
    let text = data_encoding::HEXLOWER.encode(&psk);
    for (daemon, id, addresses) in [(&pair.a, &pair.id_b, &[B_QUIC][..]), (&pair.b, &pair.id_a, &[])] {
        let request = json!({"cmd": "peer_add", "peer": id.id, "name": "x", "psk": text, "addresses": addresses});
        let reply = daemon.request(&request.to_string())?;
        ensure!(reply["reply"] == "done", "{reply}");
    }
    pair.a.wait_connected()?;
    ensure!(count(&pair.a, &psk)? >= 1, "the scan finds what is there");
    let reply = pair.a.request(r#"{"cmd":"peer_remove","peer":"x"}"#)?;
    ensure!(reply["reply"] == "done", "{reply}");
    ensure!(count(&pair.a, &psk)? == 0, "the PSK is still there {} times", count(&pair.a, &psk)?);
    ensure!(
        count(&pair.a, text.as_bytes())? == 0,
        "its text is still there {} times",
        count(&pair.a, text.as_bytes())?
    );
    Ok(())
}
