//! `/dev/net/tun`.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;

use node::offload::{MergeRule, Merged, VnetHeader};

use super::{PacketBatch, TunConfig, TunOffload};
use crate::bell::{Waker, wait_readable};

nix::ioctl_write_int!(set_interface, b'T', 202);
nix::ioctl_write_int!(set_offload, b'T', 208);

/// The most slices of one write: the headers and the payloads of 64 packets.
const MAX_SLICES: usize = 65;

/// An open TUN device. The interface lives as long as the last clone; the kernel removes it with its addresses and
/// routes when the process ends, however it ends.
#[derive(Debug)]
pub struct Tun {
    file: File,
    waker: Waker,
    /// Whether the last read found nothing more.
    drained: bool,
    /// Which super-packets pass; `None` when each packet passes alone.
    offload: Option<MergeRule>,
}

impl Tun {
    /// Makes the interface.
    ///
    /// # Errors
    /// `NotFound` without `/dev/net/tun`, `PermissionDenied` without CAP_NET_ADMIN, `ResourceBusy` when somebody has
    /// the interface, `InvalidInput` for an impossible name.
    pub fn open(config: &TunConfig) -> io::Result<Self> {
        let name = config.name.as_bytes();
        if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains(&0) || name.contains(&b'/') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "an interface's name has 1 to 15 bytes"));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/net/tun")?;
        let waker = Waker::new()?;
        let probed = match config.offload {
            TunOffload::Probe => Some(MergeRule::TcpAndUdp),
            TunOffload::ProbeTcp => Some(MergeRule::Tcp),
            TunOffload::Off => None,
        };
        if let Some(most) = probed
            && attach(&file, name, libc::IFF_VNET_HDR).is_ok()
        {
            let offload = probe_offload(&file, most);
            return Ok(Self { file, waker, drained: false, offload: Some(offload) });
        }
        attach(&file, name, 0)?;
        Ok(Self { file, waker, drained: false, offload: None })
    }

    /// Another handle to the same interface, with the same waker.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, waker: self.waker.clone(), drained: false, offload: self.offload })
    }

    /// Which super-packets the device takes; `None` when each packet must be written alone, with a whole checksum.
    pub const fn merge_rule(&self) -> Option<MergeRule> {
        self.offload
    }

    /// What ends a blocked read.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits for packets and reads until none is left or the batch is full (drain, do not wait).
    ///
    /// # Errors
    /// `Interrupted` after [`Waker::wake`]; otherwise the device's error.
    pub fn read_batch(&mut self, batch: &mut PacketBatch) -> io::Result<()> {
        batch.clear();
        while batch.is_empty() {
            if std::mem::take(&mut self.drained) {
                self.wait()?;
            }
            self.drain(batch)?;
        }
        Ok(())
    }

    fn drain(&mut self, batch: &mut PacketBatch) -> io::Result<()> {
        while let Some(room) = batch.room() {
            match self.file.read(room) {
                Ok(0) => return Ok(()),
                Ok(length) => match self.offload.and(room.first_chunk::<{ VnetHeader::LEN }>()) {
                    // A read that ends in the header holds no packet.
                    Some(_) if length <= VnetHeader::LEN => {}
                    Some(vnet) => {
                        let vnet = VnetHeader::from_bytes(vnet);
                        batch.commit(vnet, VnetHeader::LEN, length);
                    }
                    None => batch.commit(VnetHeader::default(), 0, length),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.drained = true;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return if batch.is_empty() { Err(error) } else { Ok(()) },
            }
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<()> {
        drop(wait_readable([self.file.as_fd(), self.waker.as_fd()].into_iter(), None)?);
        if self.waker.is_woken() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }

    /// Hands one packet with a whole checksum to the host.
    ///
    /// # Errors
    /// `WouldBlock` when the host takes none now, otherwise the device's refusal; the packet is lost then.
    pub fn write(&mut self, packet: &[u8]) -> io::Result<()> {
        if self.offload.is_none() {
            return self.file.write(packet).map(drop);
        }
        let header = VnetHeader::default().to_bytes();
        self.file.write_vectored(&[IoSlice::new(&header), IoSlice::new(packet)]).map(drop)
    }

    /// Hands over what a merger made of packets in `arena`; only for devices with a [`Self::merge_rule`].
    ///
    /// # Errors
    /// As [`Self::write`]; all its packets are lost then.
    pub fn write_merged(&mut self, merged: Merged<'_>, arena: &[u8]) -> io::Result<()> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        slices[0] = IoSlice::new(merged.head);
        for (slice, part) in slices[1..].iter_mut().zip(merged.payload) {
            *slice = IoSlice::new(&arena[part.clone()]);
        }
        let used = (1 + merged.payload.len()).min(MAX_SLICES);
        self.file.write_vectored(&slices[..used]).map(drop)
    }
}

/// Makes or takes the interface `name`.
fn attach(file: &File, name: &[u8], flags: libc::c_int) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, &from) in request.ifr_name.iter_mut().zip(name) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | flags) as libc::c_short;
    // SAFETY: TUNSETIFF takes a pointer to an `ifreq`, which lives through the call.
    unsafe { set_interface(file.as_raw_fd(), (&raw const request) as libc::c_ulong) }?;
    Ok(())
}

/// Switches on what the kernel can: UDP segmentation since 6.2, TCP segmentation long before.
fn probe_offload(file: &File, most: MergeRule) -> MergeRule {
    const TCP: libc::c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
    const UDP: libc::c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    let set = |features: libc::c_uint| {
        // SAFETY: TUNSETOFFLOAD takes its flags by value.
        unsafe { set_offload(file.as_raw_fd(), libc::c_ulong::from(features)) }.is_ok()
    };
    if most == MergeRule::TcpAndUdp && set(TCP | UDP) {
        return MergeRule::TcpAndUdp;
    }
    // A kernel that refuses this as well hands out plain packets and still takes super-packets of TCP.
    set(TCP);
    MergeRule::Tcp
}
