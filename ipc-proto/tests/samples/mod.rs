//! What the vectors hold.

mod messages;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::extension::{StopReason, TunnelSettings};
use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::header::HEADER;
use cryprq_ipc_proto::hello::{Hello, HelloAck, Refused, Role, Side};
use cryprq_ipc_proto::limits::{MAX_CONTROL, MAX_PACKETS};
use cryprq_ipc_proto::packets::Packets;
use serde_json::{Value, json};

/// A frame and its meaning.
pub(crate) struct Sample {
    /// The kind, and after two underscores which one of it.
    pub(crate) name: String,
    pub(crate) id: u32,
    pub(crate) frame: Frame<'static>,
    pub(crate) body: Value,
}

fn sample(name: impl Into<String>, id: u32, frame: Frame<'static>, body: Value) -> Sample {
    Sample { name: name.into(), id, frame, body }
}

/// One of every message.
pub(crate) fn samples() -> Vec<Sample> {
    let mut all = hellos();
    all.extend(messages::requests());
    all.extend(messages::replies());
    all.extend(messages::events());
    for &code in ErrorCode::ALL {
        let error = ErrorBody::new(code, "what and why").hint("what to do");
        let body = json!({ "code": code.name(), "message": "what and why", "hint": "what to do" });
        all.push(sample(format!("error__{}", code.name()), 7, Frame::Error(error), body));
    }
    all.extend(extension());
    all
}

fn hellos() -> Vec<Sample> {
    let roles = [(Role::Cli, "cli"), (Role::App, "app"), (Role::Script, "script"), (Role::Extension, "extension")];
    let mut all: Vec<_> = roles
        .into_iter()
        .map(|(role, name)| {
            let hello = Hello { min_version: 1, max_version: 1, build: "0.1.0".into(), features: 0, role };
            let body = json!({ "min_version": 1, "max_version": 1, "build": "0.1.0", "features": 0, "role": name });
            sample(format!("hello__{name}"), 1, Frame::Hello(hello), body)
        })
        .collect();
    let ack = HelloAck { version: 1, build: "0.1.0".into(), features: 0 };
    all.push(sample("hello_ack", 1, Frame::HelloAck(ack), json!({ "version": 1, "build": "0.1.0", "features": 0 })));
    for (older, name) in [(Side::Daemon, "daemon"), (Side::Client, "client")] {
        let error = ErrorBody::new(ErrorCode::VersionMismatch, "too old").hint("update");
        let body = json!({
            "error": { "code": "version_mismatch", "message": "too old", "hint": "update" }, "older": name,
        });
        let refused = Refused { error, older: Some(older) };
        all.push(sample(format!("refused__older_{name}"), 1, Frame::Refused(refused), body));
    }
    let refused = Refused { error: ErrorBody::new(ErrorCode::ExtensionAttached, "one is attached"), older: None };
    let body = json!({ "error": { "code": "extension_attached", "message": "one is attached" }, "older": null });
    all.push(sample("refused__other", 1, Frame::Refused(refused), body));
    all
}

fn extension() -> Vec<Sample> {
    let settings = TunnelSettings {
        addresses: vec![
            "10.86.70.153/32".parse().expect("well written"),
            "fd63:7279:7072:d139::1/128".parse().expect("well written"),
        ],
        included: vec!["10.86.0.0/16".parse().expect("well written"), "::/0".parse().expect("well written")],
        excluded: vec!["192.0.2.0/24".parse().expect("well written")],
        dns: vec![IpAddr::V4(Ipv4Addr::new(10, 86, 0, 1)), IpAddr::V6(Ipv6Addr::LOCALHOST)],
        mtu: 1420,
    };
    let meaning = json!({
        "addresses": ["10.86.70.153/32", "fd63:7279:7072:d139::1/128"], "included": ["10.86.0.0/16", "::/0"],
        "excluded": ["192.0.2.0/24"], "dns": ["10.86.0.1", "::1"], "mtu": 1420,
    });
    let none = TunnelSettings { addresses: vec![], included: vec![], excluded: vec![], dns: vec![], mtu: 1280 };
    let nothing = json!({ "addresses": [], "included": [], "excluded": [], "dns": [], "mtu": 1280 });
    let mut all = vec![
        sample("tunnel_settings__full", 3, Frame::TunnelSettings(settings), meaning),
        sample("tunnel_settings__empty", 4, Frame::TunnelSettings(none), nothing),
        sample("ready", 3, Frame::Ready, json!({})),
        sample("packets__none", 0, packets(NO_PACKETS), json!({ "packets": [] })),
        sample("packets__three", 0, packets(THREE_PACKETS), json!({ "packets": ["45000001", "60", "4500"] })),
        sample("pause", 0, Frame::Pause, json!({})),
        sample("resume", 0, Frame::Resume, json!({})),
    ];
    let reasons = [
        (StopReason::SwitchedOff, "switched_off"),
        (StopReason::DaemonStopping, "daemon_stopping"),
        (StopReason::System, "system"),
        (StopReason::SettingsRefused, "settings_refused"),
    ];
    all.extend(
        reasons
            .map(|(reason, name)| sample(format!("stop__{name}"), 0, Frame::Stop(reason), json!({ "reason": name }))),
    );
    all
}

const NO_PACKETS: &[u8] = &[0; 8];
const THREE_PACKETS: &[u8] = &[
    3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0x45, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0x60, 2, 0, 0, 0, 0, 0, 0,
    0, 0x45, 0,
];

fn packets(body: &'static [u8]) -> Frame<'static> {
    Frame::Packets(Packets::read(body).expect("it fits"))
}

/// Frames that must be refused, and how the refusal is called.
pub(crate) fn refused() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let hello = samples().swap_remove(0).frame.write(1).expect("it fits");
    let up = messages::up().write(2).expect("it fits");
    let batch = packets(THREE_PACKETS).write(0).expect("it fits");
    let status = messages::status_reply().write(2).expect("it fits");
    let settings = extension().swap_remove(0).frame.write(3).expect("it fits");
    let at = |frame: &[u8], at: usize, bytes: &[u8]| {
        let mut changed = frame.to_vec();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    // Says of itself to be as long as it is.
    let resized = |mut frame: Vec<u8>| {
        let length = u32::try_from(frame.len() - HEADER).expect("it fits");
        frame[8..12].copy_from_slice(&length.to_le_bytes());
        frame
    };
    let longer = |frame: &[u8]| [frame, &[0]].concat();
    let shorter = |frame: &[u8]| frame[..frame.len() - 1].to_vec();
    let beyond = |limit: usize| u32::try_from(limit + 1).expect("it fits").to_le_bytes();
    let role = hello.len() - 4;
    vec![
        ("bad_magic", at(&hello, 1, b"Q"), "magic"),
        ("json_line", b"{\"cmd\":\"status\"}".to_vec(), "magic"),
        ("version_0", at(&up, 2, &[0]), "version"),
        ("future_version", at(&up, 2, &[2]), "version"),
        ("flag", at(&up, 4, &[1]), "reserved"),
        ("reserved", at(&up, 7, &[1]), "reserved"),
        ("unknown_kind", at(&up, 3, &[8]), "kind"),
        ("kind_0", at(&up, 3, &[0]), "kind"),
        ("control_over_long", at(&up, 8, &beyond(MAX_CONTROL)), "too_long"),
        ("packets_over_long", at(&batch, 8, &beyond(MAX_PACKETS)), "too_long"),
        ("header_truncated", hello[..HEADER - 1].to_vec(), "truncated"),
        ("body_truncated", shorter(&hello), "truncated"),
        ("message_truncated", resized(shorter(&hello)), "truncated"),
        ("body_trailing", longer(&hello), "trailing"),
        ("message_trailing", resized(longer(&hello)), "trailing"),
        (
            "empty_kind_trailing",
            resized([&extension()[2].frame.write(0).expect("it fits")[..], &[0]].concat()),
            "trailing",
        ),
        ("keys_in_another_order", swapped_keys(&status), "not_canonical"),
        ("unknown_role", at(&hello, role, &[9]), "malformed"),
        ("unknown_verb", at(&up, HEADER, &[0xff]), "malformed"),
        ("option_neither_0_nor_1", at(&up, HEADER + 4, &[2]), "malformed"),
        ("text_not_utf8", at(&up, up.len() - 1, &[0xff]), "malformed"),
        ("text_longer_than_body", at(&up, HEADER + 5, &[200]), "truncated"),
        ("text_of_2_to_the_63", at(&up, HEADER + 12, &[0x80]), "malformed"),
        ("prefix_beyond_its_bits", at(&settings, HEADER + 8 + 8, &[33]), "malformed"),
        ("packet_of_0", at(&batch, HEADER + 8, &[0]), "packet_length"),
        ("packet_of_65536", at(&batch, HEADER + 8, &[0, 0, 1]), "packet_length"),
        ("more_packets_than_bytes", at(&batch, HEADER, &[4]), "truncated"),
        ("fewer_packets_than_bytes", at(&batch, HEADER, &[2]), "trailing"),
        ("last_packet_too_long", at(&batch, batch.len() - 10, &[3]), "truncated"),
    ]
}

/// A status whose map of drops has its two keys the wrong way round.
fn swapped_keys(status: &[u8]) -> Vec<u8> {
    let (first, second) = ("frame_forged", "out_no_peer");
    let find =
        |name: &str| status.windows(name.len()).position(|window| window == name.as_bytes()).expect("it is in there");
    // Each entry is a length, the key, and a count.
    let (first_at, second_at) = (find(first) - 8, find(second) - 8);
    let end = second_at + 8 + second.len() + 8;
    [&status[..first_at], &status[second_at..end], &status[first_at..second_at], &status[end..]].concat()
}
