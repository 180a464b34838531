//! quincy: a VPN on QUIC datagrams.

use std::process::Command;

use anyhow::Context;
use aws_lc_rs::agreement::{PrivateKey, X25519};
use data_encoding::BASE64;

use super::openvpn::{Certificate, certificate};
use super::{Available, Contender, End, Programs, Role, Running};
use crate::lab::until;
use crate::rig::site::{MTU, Side, Site};

const PORT: u16 = 55_555;

/// quincy in one of its modes.
#[derive(Debug)]
pub(super) struct Quincy {
    programs: Programs,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// X25519 alone.
    Noise,
    /// X25519MLKEM768.
    Tls,
}

impl Quincy {
    /// Both modes.
    pub(super) fn both(programs: &Programs) -> [Self; 2] {
        [Mode::Noise, Mode::Tls].map(|mode| Self { programs: programs.clone(), mode })
    }

    /// The sections `protocol` of server and client, and how the server knows the client.
    fn protocol(&self, site: &Site) -> anyhow::Result<[String; 3]> {
        Ok(match self.mode {
            Mode::Noise => {
                let [server, client] = [Keys::new()?, Keys::new()?];
                let mode = "mode = \"noise\"\nkey_exchange = \"standard\"\n";
                [
                    format!("{mode}private_key = \"{}\"\n", BASE64.encode(&server.private)),
                    format!(
                        "{mode}server_public_key = \"{}\"\nprivate_key = \"{}\"\n",
                        BASE64.encode(&server.public),
                        BASE64.encode(&client.private)
                    ),
                    format!("authorized_keys = [\"{}\"]\nauthorized_certs = []\n", BASE64.encode(&client.public)),
                ]
            }
            Mode::Tls => {
                let [server, client] = [certificate(site, Side::A)?, certificate(site, Side::B)?];
                let mode = "mode = \"tls\"\nkey_exchange = \"hybrid\"\n";
                let (Certificate { file, key, .. }, trusted) = (&client, server.file.display());
                [
                    format!(
                        "{mode}certificate_file = \"{trusted}\"\ncertificate_key_file = \"{}\"\n",
                        server.key.display()
                    ),
                    format!(
                        "{mode}trusted_certificate_paths = [\"{trusted}\"]\nclient_certificate_file = \"{}\"\n\
                         client_certificate_key_file = \"{}\"\n",
                        file.display(),
                        key.display()
                    ),
                    format!("authorized_keys = []\nauthorized_certs = [\"sha256:{}\"]\n", client.digest),
                ]
            }
        })
    }
}

impl Contender for Quincy {
    fn name(&self) -> &'static str {
        match self.mode {
            Mode::Noise => "quincy",
            Mode::Tls => "quincy-pq",
        }
    }

    fn role(&self) -> Role {
        Role::Rival
    }

    fn available(&self) -> Available {
        self.programs.version("quincy-server", "cargo install quincy-server quincy-client")
    }

    fn start(&self, site: &Site) -> anyhow::Result<Running> {
        let [server, client, user] = self.protocol(site)?;
        let folder = site.folder();
        let (address, users) = (Side::A.outer(), folder.join("users.toml"));
        std::fs::write(&users, format!("[users.bench]\n{user}"))?;
        let common = format!("[connection]\nmtu = {MTU}\n[log]\nlevel = \"warn\"\n");
        let server = format!(
            "name = \"bench\"\ntunnel_network = \"{}/24\"\nbind_address = \"{address}\"\nbind_port = {PORT}\n\
             users_file = \"{}\"\n[protocol]\n{server}{common}",
            Side::A.inner(),
            users.display()
        );
        let client =
            format!("connection_string = \"{address}:{PORT}\"\n[protocol]\n{client}{common}[network]\nroutes = []\n");
        let start = |side: Side, program: &str, config: &str| {
            let file = folder.join(side.name()).with_extension("toml");
            std::fs::write(&file, config)?;
            let mut command = Command::new(self.programs.find(program).context("the program is gone")?);
            command.arg("--config-path").arg(file);
            site.start(side, side.name(), command).map(End::Program)
        };
        let server = start(Side::A, "quincy-server", &server)?;
        // A client whose first packet finds nobody waits a second before the next.
        until("quincy listens", || {
            let sockets = site.host(Side::A).run(|| std::fs::read_to_string("/proc/thread-self/net/udp"));
            sockets.is_ok_and(|sockets| sockets.contains(&format!(":{PORT:04X} ")))
        })?;
        let client = start(Side::B, "quincy-client", &client)?;
        Ok(Running::new(Side::BOTH.map(Side::inner), Some([server, client])))
    }
}

/// An X25519 key pair.
pub(super) struct Keys {
    pub(super) private: [u8; 32],
    pub(super) public: [u8; 32],
}

impl Keys {
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut private = [0; 32];
        aws_lc_rs::rand::fill(&mut private).ok().context("no randomness")?;
        let key = PrivateKey::from_private_key(&X25519, &private).ok().context("no key")?;
        let public = key.compute_public_key().ok().context("no public key")?;
        Ok(Self { private, public: public.as_ref().try_into()? })
    }
}
