//! The same exchange without a tunnel: what the search finds when there is something to find.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Capture, Host, Seen, Server, WIRE, fetch, join, ping};

use crate::secrets::{Inner, Secrets};

/// Enough to hold the file's canary many times.
const PART: usize = 1 << 20;
const TIME: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);

/// Two hosts that have the inner addresses on the cable itself, and what a capture shows of the download.
pub(crate) fn without_tunnel(secrets: &Secrets, client: Inner, server: Inner) -> Result<Seen> {
    let hosts = [Host::new()?, Host::new()?];
    join(&hosts[0], &hosts[1])?;
    for (host, own, other, outer) in
        [(&hosts[0], client, server, "192.0.2.1/24"), (&hosts[1], server, client, "192.0.2.2/24")]
    {
        host.network(async move |network| {
            let wire = network.index_of(WIRE).await?.context("no cable")?;
            // It would be the source of what is sent.
            network.remove_address(wire, outer.parse()?).await?;
            network.add_address(wire, std::net::IpAddr::from(own.ipv4).into()).await?;
            network.add_address(wire, std::net::IpAddr::from(own.ipv6).into()).await?;
            network.add_route(wire, std::net::IpAddr::from(other.ipv4).into()).await?;
            network.add_route(wire, std::net::IpAddr::from(other.ipv6).into()).await?;
            Ok(())
        })?;
    }
    let capture = Capture::start(&hosts[0])?;
    ping(&hosts[0], server.ipv4.into(), PATIENCE)?;
    ping(&hosts[0], server.ipv6.into(), PATIENCE)?;
    let part = secrets.body[..secrets.body.len().min(PART)].to_vec();
    let served = Server::start(&hosts[1], server.ipv4.into(), part, TIME)?;
    let fetched = fetch(&hosts[0], server.ipv4.into(), &secrets.path, |_, _| {});
    fetched.join().ok().context("the client panicked")??;
    ensure!(served.finish()? == secrets.path);
    Ok(capture.finish()?)
}
