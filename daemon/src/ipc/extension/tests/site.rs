//! The daemon's side with the test in the place of the control task, and an extension that is played by hand.

use std::io::Write;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::time::Duration;

use cryprq_ipc_proto::error::ErrorCode;
use cryprq_ipc_proto::extension::{StopReason, TunnelSettings};
use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::header::{HEADER, Header};
use cryprq_ipc_proto::hello::{Hello, Role, Side};
use cryprq_ipc_proto::packets::PacketWriter;
use net::plane::{Device, PacketSink, PacketSource};
use node::drops::{DropCounters, DropReason};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

use super::super::{Event, Extensions, Timing, door, serve_extensions};

pub(super) const LIMIT: Duration = Duration::from_secs(10);
pub(super) const MOMENT: Duration = Duration::from_millis(300);

/// The daemon's side.
pub(super) struct Site {
    _folder: tempfile::TempDir,
    path: std::path::PathBuf,
    pub(super) extensions: Extensions,
    pub(super) drops: Arc<DropCounters>,
}

/// One that waits for an extension longer than any is held up by a busy machine.
pub(super) fn site() -> Site {
    site_with(Timing { hello: LIMIT, ready: LIMIT * 2, farewell: LIMIT })
}

/// One that waits for something for [`MOMENT`] only, so that a test sees it waited for in vain. What shall be in time there
/// is said before it is waited for.
pub(super) fn site_with(timing: Timing) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tun.sock");
    let drops = Arc::new(DropCounters::default());
    let (mut door, extensions) = door(Arc::clone(&drops));
    door.timing = timing;
    extensions.orders.send_modify(|orders| orders.settings = settings(1420));
    tokio::spawn(serve_extensions(UnixListener::bind(&path).unwrap(), door));
    Site { _folder: folder, path, extensions, drops }
}

pub(super) fn hello() -> Vec<u8> {
    Frame::Hello(Hello::new("test", Role::Extension)).write(0).unwrap()
}

pub(super) fn settings(mtu: u16) -> TunnelSettings {
    TunnelSettings { addresses: vec![], included: vec![], excluded: vec![], dns: vec![], mtu }
}

/// The extension's side.
pub(super) struct Player(pub(super) UnixStream);

impl Site {
    pub(super) async fn connect(&self) -> Player {
        Player(UnixStream::connect(&self.path).await.unwrap())
    }

    /// A player that said this before anybody could wait for it.
    pub(super) fn connect_saying(&self, bytes: &[u8]) -> Player {
        let mut stream = StdStream::connect(&self.path).unwrap();
        stream.write_all(bytes).unwrap();
        stream.set_nonblocking(true).unwrap();
        Player(UnixStream::from_std(stream).unwrap())
    }

    pub(super) async fn event(&mut self) -> Event {
        tokio::time::timeout(LIMIT, self.extensions.events.recv()).await.unwrap().unwrap()
    }

    pub(super) async fn attached(&mut self) -> Device {
        let Event::Attached(device, _) = self.event().await else { panic!("none attached") };
        device
    }

    pub(super) async fn in_force(&mut self) -> TunnelSettings {
        let Event::InForce(settings) = self.event().await else { panic!("no settings are in force") };
        settings
    }

    pub(super) async fn detached(&mut self) {
        let Event::Detached(done) = self.event().await else { panic!("it did not leave") };
        done.send(()).unwrap();
    }

    /// A player that is ready, and the packet loops' end of it.
    pub(super) async fn play(&mut self) -> (Player, Device) {
        let mut player = self.connect().await;
        player.greet().await;
        player.settle().await;
        (player, self.attached().await)
    }

    /// One that was ready before anybody could wait for it.
    pub(super) async fn play_in_advance(&mut self) -> (Player, Device) {
        let mut player = self.connect_saying(&[hello(), Frame::Ready.write(1).unwrap()].concat());
        assert_eq!(player.hear().await, Heard::Ack);
        assert_eq!(player.hear().await, Heard::Settings(1, 1420));
        (player, self.attached().await)
    }
}

/// A frame's kind and what a test looks at of it.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    Ack,
    Refused(ErrorCode, Option<Side>),
    Settings(u32, u16),
    Packets(Vec<Vec<u8>>),
    Error(ErrorCode),
    Stop(StopReason),
    End,
}

impl Player {
    pub(super) async fn say(&mut self, id: u32, frame: Frame<'_>) {
        self.send(&frame.write(id).unwrap()).await;
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        use tokio::io::AsyncWriteExt;
        self.0.write_all(bytes).await.unwrap();
    }

    pub(super) async fn greet(&mut self) {
        self.send(&hello()).await;
        assert_eq!(self.hear().await, Heard::Ack);
    }

    pub(super) async fn settle(&mut self) {
        assert_eq!(self.hear().await, Heard::Settings(1, 1420));
        self.say(1, Frame::Ready).await;
    }

    /// What is heard but for packets.
    pub(super) async fn hear_order(&mut self) -> Heard {
        loop {
            let heard = self.hear().await;
            if !matches!(heard, Heard::Packets(_)) {
                return heard;
            }
        }
    }

    pub(super) async fn hear(&mut self) -> Heard {
        use tokio::io::AsyncReadExt;
        let stream = &mut self.0;
        let frame = async {
            let mut header = [0; HEADER];
            stream.read_exact(&mut header).await.ok()?;
            let header = Header::read(&header).unwrap();
            let mut body = vec![0; header.length];
            stream.read_exact(&mut body).await.ok()?;
            Some((header, body))
        };
        let Some((header, body)) = tokio::time::timeout(LIMIT, frame).await.unwrap() else { return Heard::End };
        match Frame::read(&header, &body).unwrap() {
            Frame::HelloAck(_) => Heard::Ack,
            Frame::Refused(refused) => Heard::Refused(refused.error.code, refused.older),
            Frame::TunnelSettings(settings) => Heard::Settings(header.id, settings.mtu),
            Frame::Packets(packets) => Heard::Packets(packets.iter().map(<[u8]>::to_vec).collect()),
            Frame::Error(error) => Heard::Error(error.code),
            Frame::Stop(reason) => Heard::Stop(reason),
            other @ (Frame::Hello(_)
            | Frame::Request(_)
            | Frame::Reply(_)
            | Frame::Event(_)
            | Frame::Ready
            | Frame::Pause
            | Frame::Resume) => panic!("a daemon does not say {other:?}"),
        }
    }
}

pub(super) fn packets(packets: &[&[u8]]) -> Vec<u8> {
    let mut memory = vec![0; 100_000];
    let mut writer = PacketWriter::new(&mut memory).unwrap();
    packets.iter().for_each(|packet| writer.slot(packet.len()).unwrap().copy_from_slice(packet));
    writer.finish().to_vec()
}

/// What the sending loop reads, on a thread of its own as there; the test does not wait for one that reads on.
pub(super) async fn read(mut source: Box<dyn PacketSource>) -> (Box<dyn PacketSource>, std::io::Result<Vec<Vec<u8>>>) {
    let (done, end) = oneshot::channel();
    std::thread::spawn(move || {
        let read = source.read_batch().map(|mut batch| batch.iter_mut().map(|(_, packet)| packet.to_vec()).collect());
        let _ = done.send((source, read));
    });
    end.await.unwrap()
}

/// Writes until packets are dropped because the extension is paused.
pub(super) fn write_in_vain(sink: &mut dyn PacketSink) {
    let end = std::time::Instant::now() + LIMIT;
    while write(sink, &[b"lost"]).get(DropReason::ExtensionAway) == 0 {
        assert!(std::time::Instant::now() < end, "packets are still sent");
    }
}

pub(super) fn write(sink: &mut dyn PacketSink, packets: &[&[u8]]) -> DropCounters {
    let (arena, mut end, drops) = (packets.concat(), 0, DropCounters::default());
    let ranges: Vec<_> = packets
        .iter()
        .map(|packet| {
            end += packet.len();
            end - packet.len()..end
        })
        .collect();
    ranges.chunks(sink.takes()).for_each(|ranges| sink.write_many(ranges, &arena, &drops));
    drops
}
