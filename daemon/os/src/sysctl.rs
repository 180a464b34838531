//! Settings of the running kernel that outlive the process: each is noted with the value that it had.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::network::policy::Family;

const ROOT: &str = "/proc/sys";

/// A setting, what it was and what it becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sysctl {
    /// Its path below `/proc/sys`.
    pub key: String,
    /// What it was.
    pub before: String,
    /// What it becomes; the same as before for one that the kernel changes when another is set.
    pub set: String,
}

impl Sysctl {
    /// Sets it.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set(&self) -> io::Result<()> {
        if self.set == self.before { Ok(()) } else { write(&self.key, &self.set) }
    }

    /// Sets it to what it was, unless somebody else changed it since then. One that is gone, as with an interface, is no
    /// error.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn restore(&self) -> io::Result<()> {
        let now = match read(&self.key) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            now => now?,
        };
        if now == self.before || (now != self.set && self.set != self.before) {
            return Ok(());
        }
        write(&self.key, &self.before)
    }
}

/// The settings to change, in this order, so that the host forwards packets of a family; none where it does already.
///
/// The switch changes settings of every interface along with it, and a host that forwards IPv6 stops to believe the
/// routers around it unless it is told to go on; what each was is noted first, so that it is restored last.
///
/// # Errors
/// When the kernel does not have the family.
pub fn to_forward(family: Family) -> io::Result<Vec<Sysctl>> {
    let (base, switch) = match family {
        Family::Ipv4 => ("net/ipv4/conf", "net/ipv4/conf/all/forwarding"),
        Family::Ipv6 => ("net/ipv6/conf", "net/ipv6/conf/all/forwarding"),
    };
    let before = read(switch)?;
    if before != "0" {
        return Ok(Vec::new());
    }
    let mut interfaces: Vec<_> = std::fs::read_dir(Path::new(ROOT).join(base))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != "all")
        .collect();
    interfaces.sort();
    let mut settings = Vec::new();
    for key in interfaces.iter().map(|name| format!("{base}/{name}/forwarding")) {
        if let Ok(value) = read(&key) {
            settings.push(Sysctl { key, before: value.clone(), set: value });
        }
    }
    match family {
        Family::Ipv4 => {
            let key = format!("{base}/all/accept_redirects");
            let value = read(&key)?;
            settings.push(Sysctl { key, before: value.clone(), set: value });
        }
        Family::Ipv6 => {
            for key in interfaces.iter().map(|name| format!("{base}/{name}/accept_ra")) {
                if read(&key).is_ok_and(|value| value == "1") {
                    settings.push(Sysctl { key, before: "1".into(), set: "2".into() });
                }
            }
        }
    }
    settings.push(Sysctl { key: switch.into(), before, set: "1".into() });
    Ok(settings)
}

fn path(key: &str) -> io::Result<PathBuf> {
    // A key comes from the kernel's own names or from the journal; neither leads elsewhere.
    if key.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{key} is no setting of the kernel")));
    }
    Ok(Path::new(ROOT).join(key))
}

fn read(key: &str) -> io::Result<String> {
    Ok(std::fs::read_to_string(path(key)?)?.trim().to_owned())
}

fn write(key: &str, value: &str) -> io::Result<()> {
    let refused = |error: io::Error| io::Error::new(error.kind(), format!("cannot set {key} to {value}: {error}"));
    std::fs::OpenOptions::new()
        .write(true)
        .open(path(key)?)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_to_settings_of_the_kernel_only() {
        assert!(path("net/ipv4/ip_forward").is_ok());
        for bad in ["../etc/passwd", "net/../../etc/passwd", "/etc/passwd", "net//x", "", "."] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }
}
