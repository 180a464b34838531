//! `vectors/`: one frame of every message, and frames that must be refused, each with its meaning in JSON beside it.
//!
//! Swift and a reader in Python (`tests/vectors/check_frames.py`) read the same files.

mod samples;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use cryprq_ipc_proto::error::ErrorCode;
use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::header::{FrameError, HEADER, Header, Kind};
use cryprq_ipc_proto::message::Request;
use cryprq_ipc_proto::verb::VERBS;
use serde_json::{Value, json};

use samples::{Sample, refused, samples};

fn read(frame: &[u8]) -> Result<(Header, Frame<'_>), FrameError> {
    let (header, body) = frame.split_first_chunk::<HEADER>().ok_or(FrameError::Truncated)?;
    let header = Header::read(header)?;
    Ok((header, Frame::read(&header, body)?))
}

fn name_of(error: &FrameError) -> &'static str {
    match error {
        FrameError::Magic => "magic",
        FrameError::Version(_) => "version",
        FrameError::Reserved => "reserved",
        FrameError::Kind(_) => "kind",
        FrameError::TooLong { .. } => "too_long",
        FrameError::Truncated => "truncated",
        FrameError::Trailing(_) => "trailing",
        FrameError::NotCanonical => "not_canonical",
        FrameError::Malformed(_) => "malformed",
        FrameError::PacketLength(_) => "packet_length",
    }
}

/// All files by name, as they must be.
fn files() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut add = |name: &str, bytes: Vec<u8>, meaning: &Value| {
        let mut text = serde_json::to_string_pretty(meaning).expect("JSON");
        text.push('\n');
        files.insert(format!("{name}.json"), text.into_bytes());
        assert!(files.insert(format!("{name}.bin"), bytes).is_none(), "{name} is there twice");
    };
    for Sample { name, id, frame, body } in samples() {
        let bytes = frame.write(id).expect("it fits");
        let kind = name.split_once("__").map_or(name.as_str(), |(kind, _)| kind);
        add(&name, bytes, &json!({ "kind": kind, "id": id, "body": body }));
    }
    for (name, bytes, why) in refused() {
        add(&format!("refuse__{name}"), bytes, &json!({ "refused": why }));
    }
    files
}

/// With `UPDATE_VECTORS=1` it writes them instead. Vectors of a released version never change.
#[test]
fn the_vectors_are_what_this_crate_writes() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let made = files();
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        for (name, bytes) in &made {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
    let there = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(there.collect::<BTreeSet<_>>(), made.keys().cloned().collect(), "see UPDATE_VECTORS");
    for (name, bytes) in &made {
        let published = std::fs::read(folder.join(name)).unwrap();
        assert!(published == *bytes, "{name} is written differently: see UPDATE_VECTORS, and ipc.md on versions");
    }
}

#[test]
fn every_frame_reads_back_as_it_was_written() {
    for Sample { name, id, frame, .. } in samples() {
        let bytes = frame.write(id).unwrap();
        let (header, back) = read(&bytes).unwrap();
        assert_eq!((header.id, &back), (id, &frame), "{name}");
        assert_eq!(back.write(header.id).unwrap(), bytes, "{name}");
    }
}

#[test]
fn attack_08_what_must_be_refused_is_refused_by_name() {
    for (name, bytes, why) in refused() {
        let error = read(&bytes).expect_err(name);
        assert_eq!(name_of(&error), why, "{name}: {error}");
    }
}

#[test]
fn attack_08_no_changed_byte_and_no_cut_makes_a_second_reading() {
    for Sample { name, id, frame, .. } in samples() {
        let bytes = frame.write(id).unwrap();
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err(), "{name} cut off after {end}");
        }
        for at in 0..bytes.len() {
            for mask in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= mask;
                if let Ok((header, other)) = read(&changed) {
                    assert_eq!(other.write(header.id).unwrap(), changed, "{name}: byte {at} is read loosely");
                }
            }
        }
    }
}

#[test]
fn every_kind_verb_and_error_code_has_a_vector() {
    let samples = samples();
    let kinds: BTreeSet<u8> = samples.iter().map(|sample| sample.frame.write(0).unwrap()[3]).collect();
    assert_eq!(kinds, Kind::ALL.iter().map(|kind| *kind as u8).collect());
    let verbs = samples.iter().filter_map(|sample| {
        let Frame::Request(request) = &sample.frame else { return None };
        Some(Request::name(request))
    });
    assert_eq!(verbs.collect::<BTreeSet<_>>(), VERBS.iter().map(|verb| verb.name).collect());
    let codes = samples.iter().filter_map(|sample| {
        let Frame::Error(error) = &sample.frame else { return None };
        Some(error.code.number())
    });
    assert_eq!(codes.collect::<BTreeSet<_>>(), ErrorCode::ALL.iter().map(|code| code.number()).collect());
}
