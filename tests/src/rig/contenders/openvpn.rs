//! OpenVPN with its data channel in user space.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use data_encoding::HEXLOWER;

use super::{Available, Contender, End, Programs, Role, Running};
use crate::lab::digest;
use crate::rig::site::{MTU, Side, Site};

const PORT: &str = "1194";
/// Bytes of its socket buffers: a user who wants speed raises them.
const BUFFER: &str = "2097152";

/// OpenVPN with one cipher.
#[derive(Debug)]
pub(super) struct OpenVpn {
    programs: Programs,
    cipher: &'static str,
    name: &'static str,
}

impl OpenVpn {
    /// Both ciphers.
    pub(super) fn both(programs: &Programs) -> [Self; 2] {
        [("CHACHA20-POLY1305", "openvpn-chacha"), ("AES-256-GCM", "openvpn-aes")].map(|(cipher, name)| Self {
            programs: programs.clone(),
            cipher,
            name,
        })
    }
}

impl Contender for OpenVpn {
    fn name(&self) -> &'static str {
        self.name
    }

    fn role(&self) -> Role {
        Role::Rival
    }

    fn available(&self) -> Available {
        if self.programs.find("openssl").is_none() {
            return Available::No("there is no openssl for its certificates: apt-get install openssl".to_owned());
        }
        self.programs.version("openvpn", "apt-get install openvpn")
    }

    fn start(&self, site: &Site) -> anyhow::Result<Running> {
        let certificates = [certificate(site, Side::A)?, certificate(site, Side::B)?];
        let start = |side: Side| {
            let (own, other) = (&certificates[side as usize], &certificates[side.other() as usize]);
            let mut command = Command::new(self.programs.find("openvpn").context("the program is gone")?);
            command.args(["--dev", "ovpn0", "--dev-type", "tun", "--tun-mtu", &MTU.to_string(), "--mssfix", "0"]);
            command.args(["--proto", "udp", "--data-ciphers", self.cipher, "--disable-dco", "--verb", "1"]);
            command.args(["--dh", "none", "--sndbuf", BUFFER, "--rcvbuf", BUFFER, "--txqueuelen", "1000"]);
            command.args(["--ifconfig", &side.inner().to_string(), &side.other().inner().to_string()]);
            command.arg("--cert").arg(&own.file).arg("--key").arg(&own.key);
            command.arg("--peer-fingerprint").arg(colons(&other.digest));
            match side {
                Side::A => command.args(["--tls-server", "--lport", PORT, "--local", &side.outer().to_string()]),
                Side::B => command.args(["--tls-client", "--nobind", "--remote", &Side::A.outer().to_string(), PORT]),
            };
            site.start(side, side.name(), command).map(End::Program)
        };
        Ok(Running::new(Side::BOTH.map(Side::inner), Some([start(Side::A)?, start(Side::B)?])))
    }
}

/// A self-signed certificate.
pub(super) struct Certificate {
    pub(super) file: PathBuf,
    pub(super) key: PathBuf,
    /// Its SHA-256 in hex.
    pub(super) digest: String,
}

/// A certificate for a side, good for its outer address.
pub(super) fn certificate(site: &Site, side: Side) -> anyhow::Result<Certificate> {
    let [file, key] = ["crt", "key"].map(|kind| site.folder().join(side.name()).with_extension(kind));
    let mut made = Command::new("openssl");
    made.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    made.args(["-subj", &format!("/CN={}", side.name()), "-addext"]).arg(format!("subjectAltName=IP:{}", side.outer()));
    made.args(["-addext", "basicConstraints=critical,CA:FALSE"]).arg("-keyout").arg(&key).arg("-out").arg(&file);
    run(made)?;
    let mut plain = Command::new("openssl");
    plain.args(["x509", "-outform", "der", "-in"]).arg(&file);
    let digest = HEXLOWER.encode(&digest(&run(plain)?));
    Ok(Certificate { file, key, digest })
}

fn run(mut command: Command) -> anyhow::Result<Vec<u8>> {
    let output = command.output().context("openssl does not run")?;
    ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(output.stdout)
}

/// `aabb` as `AA:BB`.
fn colons(hex: &str) -> String {
    let bytes: Vec<String> =
        hex.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).to_uppercase()).collect();
    bytes.join(":")
}
