//! An extension played by hand, at a door behind which the test is the control task.

mod site;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;

use cryprq_ipc_proto::error::ErrorCode;
use cryprq_ipc_proto::extension::StopReason;
use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::header::HEADER;
use cryprq_ipc_proto::hello::{Hello, Role, Side};
use node::drops::{DropCounters, DropReason};
use tokio::net::UnixStream;

use super::conversation::catch_up;
use super::listener::MAX_CONNECTIONS;
use super::outlet::{MAX_WAITING, Outlet, Sink};
use super::*;
use site::{Heard, LIMIT, MOMENT, Player, Site, hello, packets, read, settings, site, site_with, write, write_in_vain};

#[tokio::test(flavor = "multi_thread")]
async fn packets_pass_both_ways_between_hello_and_farewell() {
    let mut site = site();
    let (mut player, Device { source, mut sink, .. }) = site.play().await;
    player.send(&[packets(&[b"one", b"two"]), packets(&[]), packets(&[b"three"])].concat()).await;
    let (mut source, mut seen) = (source, Vec::new());
    while seen.len() < 3 {
        let (back, read) = read(source).await;
        (source, seen) = (back, [seen, read.unwrap()].concat());
    }
    assert_eq!(seen, [&b"one"[..], b"two", b"three"]);
    assert_eq!(write(&mut *sink, &[b"four", b"five"]).total(), 0);
    assert_eq!(player.hear().await, Heard::Packets(vec![b"four".to_vec(), b"five".to_vec()]));
    player.say(0, Frame::Stop(StopReason::System)).await;
    let reader = tokio::spawn(read(source));
    site.detached().await;
    assert_eq!(player.hear().await, Heard::End);
    drop((reader, sink));
    site.play().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_whose_extension_is_gone_waits_until_it_is_woken() {
    let mut site = site();
    let (player, Device { source, wake, .. }) = site.play().await;
    drop(player);
    let reader = tokio::spawn(read(source));
    site.detached().await;
    assert!(!reader.is_finished());
    wake();
    let (source, end) = reader.await.unwrap();
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::Interrupted);
    assert_eq!(read(source).await.1.unwrap_err().kind(), std::io::ErrorKind::Interrupted);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_settings_are_pushed_and_are_in_force_once_that_is_said() {
    let mut site = site();
    let (mut player, Device { source, .. }) = site.play().await;
    let _reader = tokio::spawn(read(source));
    for (number, mtu) in [(2, 1300), (3, 1280)] {
        site.extensions.orders.send_modify(|orders| orders.settings.mtu = mtu);
        assert_eq!(player.hear().await, Heard::Settings(number, mtu));
        // Said twice, it is heard once.
        player.say(number, Frame::Ready).await;
        player.say(number, Frame::Ready).await;
        assert_eq!(site.in_force().await, settings(mtu));
    }
}

#[tokio::test]
async fn changed_settings_have_to_be_in_force_in_time() {
    let mut site = site_with(Timing { ready: MOMENT, ..Timing::default() });
    let (mut player, Device { source, .. }) = site.play_in_advance().await;
    // An answer to what is no longer wanted is none.
    player.say(1, Frame::Ready).await;
    let _reader = tokio::spawn(read(source));
    site.extensions.orders.send_modify(|orders| orders.settings.mtu = 1300);
    assert_eq!(player.hear().await, Heard::Settings(2, 1300));
    assert_eq!(player.hear().await, Heard::Error(ErrorCode::TimedOut));
    site.detached().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_is_told_that_no_daemon_follows_and_nothing_when_one_may() {
    let mut first = site();
    let (mut player, _device) = first.play().await;
    first.extensions.orders.send_modify(|orders| orders.stop = Some(StopReason::DaemonStopping));
    assert_eq!(player.hear().await, Heard::Stop(StopReason::DaemonStopping));
    assert_eq!(player.hear().await, Heard::End);
    let mut second = site();
    let (mut player, _device) = second.play().await;
    drop(second.extensions);
    assert_eq!(player.hear().await, Heard::End);
}

/// A daemon that ends takes no device any more.
#[tokio::test]
async fn an_extension_that_comes_while_the_daemon_ends_is_told_that_none_follows() {
    // Which of two things that happened at once is seen first is chance.
    for _ in 0..16 {
        let mut site = site();
        let (mut player, device) = site.play().await;
        site.extensions.orders.send_modify(|orders| orders.stop = Some(StopReason::DaemonStopping));
        drop(device);
        assert_eq!(player.hear().await, Heard::Stop(StopReason::DaemonStopping));
    }
}

#[tokio::test]
async fn an_extension_that_is_not_ready_yet_is_told_that_none_follows_before_the_daemon_goes_on() {
    let mut site = site();
    let mut player = site.connect().await;
    player.greet().await;
    assert_eq!(player.hear().await, Heard::Settings(1, 1420));
    site.extensions.orders.send_modify(|orders| orders.stop = Some(StopReason::DaemonStopping));
    site.detached().await;
    assert_eq!(player.hear().await, Heard::Stop(StopReason::DaemonStopping));
    assert_eq!(player.hear().await, Heard::End);
    // One that comes after that, too.
    let mut late = site.connect().await;
    late.greet().await;
    assert_eq!(late.hear().await, Heard::Settings(1, 1420));
    assert_eq!(late.hear().await, Heard::Stop(StopReason::DaemonStopping));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_extension_gets_nothing_until_it_resumes() {
    let mut site = site();
    let (mut player, Device { mut source, mut sink, .. }) = site.play().await;
    // The loop passes on what is no packet, so something has to follow.
    player.say(0, Frame::Pause).await;
    player.send(&packets(&[b"asleep"])).await;
    (source, _) = read(source).await;
    write_in_vain(&mut *sink);
    player.say(0, Frame::Resume).await;
    player.send(&packets(&[b"awake"])).await;
    let (_source, _) = read(source).await;
    let end = std::time::Instant::now() + LIMIT;
    while write(&mut *sink, &[b"seen"]).get(DropReason::ExtensionAway) == 1 {
        assert!(std::time::Instant::now() < end, "packets are still lost");
    }
    let mut heard = player.hear().await;
    while heard == Heard::Packets(vec![b"lost".to_vec()]) {
        heard = player.hear().await;
    }
    assert_eq!(heard, Heard::Packets(vec![b"seen".to_vec()]));
    assert_eq!(write(&mut *absent().sink, &[b"a", b"b"]).get(DropReason::ExtensionAway), 2, "without any");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_extension_puts_settings_in_force_in_time_once_it_has_resumed() {
    let mut site = site_with(Timing { ready: MOMENT, ..Timing::default() });
    let (mut player, Device { source, mut sink, .. }) = site.play_in_advance().await;
    let _reader = tokio::spawn(read(source));
    player.say(0, Frame::Pause).await;
    write_in_vain(&mut *sink);
    site.extensions.orders.send_modify(|orders| orders.settings.mtu = 1300);
    assert_eq!(player.hear_order().await, Heard::Settings(2, 1300));
    tokio::time::sleep(3 * MOMENT).await;
    player.say(2, Frame::Ready).await;
    assert_eq!(site.in_force().await, settings(1300), "it had all the time of its sleep");
    site.extensions.orders.send_modify(|orders| orders.settings.mtu = 1280);
    assert_eq!(player.hear_order().await, Heard::Settings(3, 1280));
    player.say(0, Frame::Resume).await;
    assert_eq!(player.hear_order().await, Heard::Error(ErrorCode::TimedOut), "and no more than others after it");
    site.detached().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_15_a_second_extension_is_refused_and_a_dead_one_gives_way() {
    let mut site = site();
    let (first, device) = site.play().await;
    let mut second = site.connect().await;
    second.send(&hello()).await;
    assert_eq!(second.hear().await, Heard::Refused(ErrorCode::ExtensionAttached, None));
    assert_eq!(second.hear().await, Heard::End);
    // The successor of one that dies is there before anybody noticed the death.
    drop(first);
    let mut third = site.connect().await;
    third.send(&hello()).await;
    let _reader = tokio::spawn(read(device.source));
    site.detached().await;
    assert_eq!(third.hear().await, Heard::Ack);
    third.settle().await;
    site.attached().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_08_whoever_does_not_begin_as_an_extension_is_refused_with_the_reason() {
    let mut site = site();
    let hello = |min_version, max_version| Hello { min_version, max_version, ..Hello::new("test", Role::Extension) };
    let future = {
        let mut bytes = Frame::Ready.write(0).unwrap();
        bytes[2] = 9;
        bytes
    };
    let beginnings = [
        (Frame::Hello(hello(2, 9)).write(0).unwrap(), ErrorCode::VersionMismatch, Some(Side::Daemon)),
        (Frame::Hello(hello(0, 0)).write(0).unwrap(), ErrorCode::VersionMismatch, Some(Side::Client)),
        (future, ErrorCode::VersionMismatch, Some(Side::Daemon)),
        (Frame::Hello(Hello::new("test", Role::App)).write(0).unwrap(), ErrorCode::Unsupported, None),
        (Frame::Ready.write(1).unwrap(), ErrorCode::BadRequest, None),
        (b"{\"v\":1,\"cmd\":\"status\"}\n".to_vec(), ErrorCode::BadRequest, None),
        (vec![0xc9, 0x52, 1, 18, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], ErrorCode::TooLarge, None),
    ];
    for (bytes, code, older) in beginnings {
        let mut player = site.connect().await;
        player.send(&bytes).await;
        assert_eq!(player.hear().await, Heard::Refused(code, older), "{bytes:02x?}");
        assert_eq!(player.hear().await, Heard::End);
    }
    // Byte by byte, slower than anybody waits; and nothing at all.
    let hasty = site_with(Timing { hello: MOMENT, ..Timing::default() });
    assert_eq!(hasty.connect_saying(&[0xc9]).hear().await, Heard::End);
    assert_eq!(hasty.connect_saying(&[]).hear().await, Heard::End);
    // Who greets and is never ready has no packet loops.
    let mut hasty = site_with(Timing { ready: MOMENT, ..Timing::default() });
    let mut player = hasty.connect().await;
    player.greet().await;
    assert_eq!(player.hear().await, Heard::Settings(1, 1420));
    assert_eq!(player.hear().await, Heard::Error(ErrorCode::TimedOut));
    assert!(hasty.extensions.events.try_recv().is_err(), "it was not attached");
    let mut early = site.connect().await;
    early.greet().await;
    assert_eq!(early.hear().await, Heard::Settings(1, 1420));
    early.send(&packets(&[b"early"])).await;
    assert_eq!(early.hear().await, Heard::Error(ErrorCode::BadRequest));
    assert_eq!(early.hear().await, Heard::End);
    assert!(site.extensions.events.try_recv().is_err(), "none of them was attached");
    site.play().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_08_garbage_amid_packets_ends_the_connection_with_the_reason() {
    let mut lie = packets(&[&[0x45; 20]]);
    lie[HEADER + 8] = 21;
    let garbage = [
        (vec![0; HEADER], ErrorCode::BadRequest),
        (lie, ErrorCode::BadRequest),
        (Frame::Hello(Hello::new("test", Role::Extension)).write(0).unwrap(), ErrorCode::BadRequest),
        (vec![0xc9, 0x52, 1, 18, 0, 0, 0, 0, 1, 0, 4, 0, 0, 0, 0, 0], ErrorCode::TooLarge),
        (vec![0xc9, 0x52, 2, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], ErrorCode::VersionMismatch),
    ];
    for (bytes, code) in garbage {
        let mut site = site();
        let (mut player, Device { source, .. }) = site.play().await;
        player.send(&[packets(&[b"good"]), bytes].concat()).await;
        let (source, good) = read(source).await;
        assert_eq!(good.unwrap(), [b"good"], "what came before it is good");
        let _reader = tokio::spawn(read(source));
        assert_eq!(player.hear().await, Heard::Error(code));
        assert_eq!(player.hear().await, Heard::End);
        site.detached().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_13_an_extension_that_does_not_read_costs_bounded_memory_and_its_oldest_packets() {
    let mut site = site();
    let (mut player, Device { source, mut sink, .. }) = site.play().await;
    let _reader = tokio::spawn(read(source));
    let (large, mut sent) = ([0x45; 1400], 0);
    // Until every buffer is full, and four times what may wait.
    while site.drops.get(DropReason::ExtensionBehind) * 1400 < 4 * MAX_WAITING as u64 {
        assert_eq!(write(&mut *sink, &[&large[..]; 64]).total(), 0, "what is dropped is the oldest");
        sent += 64;
        assert!(sent < 1_000_000, "nothing is dropped");
    }
    assert_eq!(write(&mut *sink, &[b"newest"]).total(), 0);
    let mut received = 0;
    loop {
        match player.hear().await {
            Heard::Packets(packets) if packets == [b"newest"] => break,
            Heard::Packets(packets) => received += packets.len() as u64,
            other @ (Heard::Ack
            | Heard::Refused(..)
            | Heard::Settings(..)
            | Heard::Error(_)
            | Heard::Stop(_)
            | Heard::End) => panic!("{other:?}"),
        }
    }
    assert_eq!(received + site.drops.get(DropReason::ExtensionBehind), sent, "each packet came or was counted");
}

#[tokio::test]
async fn orders_overtake_packets_that_wait() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (socket, drops) = (Arc::new(ours.into_std().unwrap()), Arc::new(DropCounters::default()));
    let outlet = Arc::new(Outlet::new(Arc::clone(&socket), Arc::clone(&drops)));
    let (mut sink, mut sent) = (Sink::new(Arc::clone(&outlet)), 0);
    while drops.get(DropReason::ExtensionBehind) == 0 {
        assert_eq!(write(&mut sink, &[&[0x45; 1400][..]; 64]).total(), 0);
        sent += 64;
    }
    assert!(outlet.order(2, &Frame::TunnelSettings(settings(1300))));
    tokio::spawn(async move { catch_up(&outlet, &socket).await });
    let (mut player, mut received, mut before_order) = (Player(theirs), 0, None);
    while received + drops.get(DropReason::ExtensionBehind) < sent {
        match player.hear().await {
            Heard::Packets(packets) => received += packets.len() as u64,
            Heard::Settings(2, 1300) => before_order = Some(received),
            other @ (Heard::Ack
            | Heard::Refused(..)
            | Heard::Settings(..)
            | Heard::Error(_)
            | Heard::Stop(_)
            | Heard::End) => panic!("{other:?}"),
        }
    }
    assert!(before_order.is_some_and(|before| before < received), "the settings waited behind packets");
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_13_an_extension_that_takes_no_orders_is_cut_off() {
    let mut site = site();
    let (mut player, Device { source, mut sink, .. }) = site.play().await;
    let _reader = tokio::spawn(read(source));
    while site.drops.get(DropReason::ExtensionBehind) == 0 {
        write(&mut *sink, &[&[0x45; 1400][..]; 64]);
    }
    let orders = site.extensions.orders.clone();
    let pushing = tokio::spawn(async move {
        for mtu in (1280..1500).cycle() {
            orders.send_modify(|orders| orders.settings.mtu = mtu);
            tokio::task::yield_now().await;
        }
    });
    site.detached().await;
    pushing.abort();
    let _ = pushing.await;
    while player.hear().await != Heard::End {}
    let last = site.extensions.orders.borrow().settings.mtu;
    site.play_at(last).await;
}

impl Site {
    /// Another player, whose settings have this MTU.
    async fn play_at(&mut self, mtu: u16) {
        let mut player = self.connect().await;
        player.greet().await;
        assert_eq!(player.hear().await, Heard::Settings(1, mtu));
        player.say(1, Frame::Ready).await;
        self.attached().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_13_an_extension_that_talks_without_end_is_cut_off() {
    let mut site = site();
    let (mut player, Device { source, .. }) = site.play().await;
    let _reader = tokio::spawn(read(source));
    let flood = Frame::Pause.write(0).unwrap().repeat(100_000);
    let (mut half, flooded) = (player.0.into_std().unwrap(), flood.len());
    half.set_nonblocking(false).unwrap();
    let writer = half.try_clone().unwrap();
    let flooding = tokio::task::spawn_blocking(move || {
        let mut writer: StdStream = writer;
        writer.write_all(&flood)
    });
    site.detached().await;
    assert!(flooding.await.unwrap().is_err(), "all of {flooded} bytes were taken");
    let mut told = Vec::new();
    let _ = half.read_to_end(&mut told);
    player = site.connect().await;
    player.greet().await;
}

/// One thread: everybody is there before the first is waited for.
#[tokio::test]
async fn attack_13_silent_connections_do_not_keep_out_an_extension_for_long() {
    let site = site_with(Timing { hello: MOMENT, ..Timing::default() });
    let silent: Vec<_> = (0..MAX_CONNECTIONS).map(|_| site.connect_saying(&[])).collect();
    let mut one_more = site.connect_saying(&[]);
    assert_eq!(one_more.hear().await, Heard::Refused(ErrorCode::TooManyClients, None));
    for mut player in silent {
        assert_eq!(player.hear().await, Heard::End);
    }
    assert_eq!(site.connect_saying(&hello()).hear().await, Heard::Ack);
}
