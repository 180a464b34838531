//! Sockets that the service manager made and hands over: `LISTEN_FDS` of systemd, `launch_activate_socket` of launchd.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod system;
#[cfg(target_os = "macos")]
#[path = "macos.rs"]
mod system;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use socket2::Socket;

/// The listening Unix socket that the service manager calls `name`; `None` where it has none for us.
///
/// # Errors
/// When it hands over something else than a listening Unix socket.
pub fn activated(name: &str) -> io::Result<Option<UnixListener>> {
    system::take(name)?.map(|descriptor| listener(name, descriptor)).transpose()
}

fn listener(name: &str, descriptor: OwnedFd) -> io::Result<UnixListener> {
    let refused = || {
        let what = format!("the socket {name} of the service manager is no listening Unix socket: mend its unit");
        io::Error::new(io::ErrorKind::InvalidInput, what)
    };
    let socket = Socket::from(descriptor);
    if !socket.local_addr().is_ok_and(|address| address.is_unix()) || !system::listens(&socket) {
        return Err(refused());
    }
    Ok(UnixListener::from(OwnedFd::from(socket)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;

    #[test]
    fn only_a_listening_unix_socket_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let made = UnixListener::bind(&path).unwrap();
        let taken = listener("Control", made.into()).unwrap();
        let _caller = UnixStream::connect(&path).unwrap();
        assert!(taken.accept().is_ok());
        let others: [OwnedFd; 3] = [
            std::fs::File::open("/dev/null").unwrap().into(),
            UnixDatagram::unbound().unwrap().into(),
            std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into(),
        ];
        for other in others {
            let error = listener("Control", other).unwrap_err();
            assert!(error.to_string().contains("the socket Control of the service manager"), "{error}");
        }
    }

    #[test]
    fn without_a_service_manager_there_is_none() {
        assert!(activated("Control").unwrap().is_none());
    }
}
