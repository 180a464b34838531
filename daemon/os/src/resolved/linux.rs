//! D-Bus.

use std::net::IpAddr;
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use serde::Serialize;
use zbus::fdo;
use zbus::zvariant::DynamicType;

use super::ResolvedError;

const BUS: &str = "unix:path=/run/dbus/system_bus_socket";
const NAME: &str = "org.freedesktop.resolve1";
const OBJECT: &str = "/org/freedesktop/resolve1";
const MANAGER: &str = "org.freedesktop.resolve1.Manager";
const PEER: &str = "org.freedesktop.DBus.Peer";
const NO_LINK: &str = "org.freedesktop.resolve1.NoSuchLink";
/// All names, and none of them is completed by it.
const EVERYTHING: [(&str, bool); 1] = [(".", true)];
/// The longest time that the daemon waits for another program here.
const LIMIT: Duration = Duration::from_secs(3);
/// Between two looks whether a new interface is known.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether resolved answers; the bus starts it if it can.
///
/// # Errors
/// Why it does not.
pub async fn ping() -> Result<(), ResolvedError> {
    in_time(async { connect().await?.call(PEER, "Ping", &()).await }).await
}

/// Has resolved ask for all names at these servers, by this interface.
///
/// # Errors
/// Why it does not; [`revert`] undoes what it did before.
pub async fn ask_at(interface: u32, servers: &[IpAddr]) -> Result<(), ResolvedError> {
    let index = index(interface)?;
    in_time(async {
        let bus = connect().await?;
        // It hears of a new interface in its own time.
        while let Err(error) = bus.call(MANAGER, "SetLinkDNS", &(index, addresses(servers))).await {
            let ResolvedError::NoLink = error else { return Err(error) };
            tokio::time::sleep(PAUSE).await;
        }
        bus.call(MANAGER, "SetLinkDomains", &(index, EVERYTHING.as_slice())).await?;
        bus.call(MANAGER, "SetLinkDefaultRoute", &(index, true)).await
    })
    .await
}

/// Has resolved forget what it was told of an interface; what went with the interface, or with resolved, is no error.
///
/// # Errors
/// Why it does not.
pub async fn revert(name: &str, interface: u32) -> Result<(), ResolvedError> {
    // The number may be another interface's by now.
    if if_nametoindex(name) != Ok(interface) {
        return Ok(());
    }
    let index = index(interface)?;
    match in_time(async { connect().await?.call(MANAGER, "RevertLink", &index).await }).await {
        Err(ResolvedError::NoLink | ResolvedError::Absent(_)) => Ok(()),
        result => result,
    }
}

fn index(interface: u32) -> Result<i32, ResolvedError> {
    interface.try_into().map_err(|_| ResolvedError::NoLink)
}

/// Each address as resolved takes it: its family and its bytes.
fn addresses(servers: &[IpAddr]) -> Vec<(i32, Vec<u8>)> {
    let address = |server: &IpAddr| match server {
        IpAddr::V4(ip) => (libc::AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (libc::AF_INET6, ip.octets().to_vec()),
    };
    servers.iter().map(address).collect()
}

async fn in_time<T>(talk: impl Future<Output = Result<T, ResolvedError>>) -> Result<T, ResolvedError> {
    tokio::time::timeout(LIMIT, talk).await.unwrap_or(Err(ResolvedError::Silent(LIMIT)))
}

struct Bus(zbus::Connection);

async fn connect() -> Result<Bus, ResolvedError> {
    let connection = zbus::connection::Builder::address(BUS).build().await;
    connection.map(Bus).map_err(|error| ResolvedError::Absent(one_line(&error)))
}

impl Bus {
    async fn call(
        &self,
        interface: &'static str,
        call: &'static str,
        body: &(impl Serialize + DynamicType),
    ) -> Result<(), ResolvedError> {
        let answer = self.0.call_method(Some(NAME), OBJECT, Some(interface), call, body).await;
        answer.map(drop).map_err(|error| refusal(call, &error))
    }
}

fn refusal(call: &'static str, error: &zbus::Error) -> ResolvedError {
    if let zbus::Error::MethodError(name, ..) = error
        && name.as_str() == NO_LINK
    {
        return ResolvedError::NoLink;
    }
    if let zbus::Error::FDO(error) = error
        && let fdo::Error::ServiceUnknown(why) | fdo::Error::NameHasNoOwner(why) = &**error
    {
        return ResolvedError::Absent(why.escape_debug().to_string());
    }
    ResolvedError::Refused { call, error: one_line(error) }
}

fn one_line(error: &zbus::Error) -> String {
    error.to_string().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_10_an_index_addresses_and_one_domain_reach_resolved() {
        let servers = ["10.86.0.1", "fd63::1", "::ffff:192.0.2.1"].map(|ip| ip.parse().unwrap());
        let expected = [
            (2, vec![10, 86, 0, 1]),
            (10, [&[0xfd, 0x63][..], &[0; 13], &[1]].concat()),
            (10, [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 1]].concat()),
        ];
        assert_eq!(addresses(&servers), expected);
        let body = (7, addresses(&servers));
        assert_eq!(body.signature().to_string(), "(ia(iay))");
        assert_eq!((7, EVERYTHING.as_slice()).signature().to_string(), "(ia(sb))");
    }

    #[tokio::test]
    async fn an_interface_that_is_gone_or_that_is_another_now_took_everything_along() {
        assert!(revert("cryprq-none0", 1).await.is_ok());
        // Whatever has this number, it is not ours.
        assert!(revert("lo", u32::MAX).await.is_ok());
        assert!(matches!(ask_at(u32::MAX, &[]).await, Err(ResolvedError::NoLink)));
    }
}
