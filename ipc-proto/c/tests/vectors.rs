//! `ipc-proto/vectors` through the C functions, and what a caller can do wrong.

use std::path::{Path, PathBuf};

use cryprq_ipc::*;
use cryprq_ipc_proto::error::ErrorCode;
use serde_json::{Value, json};

fn vectors() -> Vec<(String, Vec<u8>, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors");
    let files = std::fs::read_dir(folder)
        .expect("a vector is two files")
        .map(|entry| entry.expect("a vector is two files").path());
    let frames: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|ending| ending == "bin")).collect();
    let read = |path: PathBuf| {
        let meaning =
            serde_json::from_slice(&std::fs::read(path.with_extension("json")).expect("a vector is two files"))
                .expect("a vector is two files");
        (
            path.file_stem().expect("a vector is two files").to_str().expect("a vector is two files").to_owned(),
            std::fs::read(path).expect("a vector is two files"),
            meaning,
        )
    };
    frames.into_iter().map(read).collect()
}

fn frame_read(frame: &[u8]) -> Result<Value, i32> {
    let (mut json, mut written) = (vec![0; CRYPRQ_MAX_FRAME], 0);
    // SAFETY: pointers and lengths are those of slices.
    let status =
        unsafe { cryprq_frame_read(frame.as_ptr(), frame.len(), json.as_mut_ptr(), json.len(), &raw mut written) };
    if status == CRYPRQ_OK {
        Ok(serde_json::from_slice(&json[..written]).expect("a vector is two files"))
    } else {
        Err(status)
    }
}

fn frame_write(json: &str) -> Result<Vec<u8>, i32> {
    let (mut frame, mut written) = (vec![0; CRYPRQ_MAX_FRAME], 0);
    // SAFETY: pointers and lengths are those of slices.
    let status =
        unsafe { cryprq_frame_write(json.as_ptr(), json.len(), frame.as_mut_ptr(), frame.len(), &raw mut written) };
    frame.truncate(written);
    if status == CRYPRQ_OK { Ok(frame) } else { Err(status) }
}

/// Whether the frames of this kind are read and written as JSON.
fn is_control(kind: &str) -> bool {
    !["request", "reply", "event", "packets"].contains(&kind)
}

#[test]
fn control_frames_have_the_json_of_the_document_in_both_directions() {
    let mut kinds = std::collections::BTreeSet::new();
    for (name, frame, meaning) in vectors() {
        let Some(kind) = meaning["kind"].as_str() else { continue };
        if is_control(kind) {
            assert_eq!(frame_read(&frame), Ok(meaning.clone()), "{name}");
            assert_eq!(frame_write(&meaning.to_string()), Ok(frame), "{name}");
            kinds.insert(kind.to_owned());
        } else {
            assert_eq!(frame_read(&frame), Err(CRYPRQ_KIND), "{name}");
        }
    }
    assert_eq!(kinds.len(), 9, "{kinds:?}");
}

#[test]
fn attack_08_json_that_is_no_frame_is_refused() {
    for wrong in [
        "",
        "{}",
        "[]",
        r#"{"id":1,"kind":"ready"}"#,
        r#"{"id":1,"kind":"request","body":{"cmd":"status"}}"#,
        r#"{"id":4294967296,"kind":"ready","body":{}}"#,
        r#"{"id":0,"kind":"stop","body":{"reason":"boredom"}}"#,
        r#"{"id":0,"kind":"stop","body":{"reason":"system"},"more":1}"#,
        r#"{"id":0,"kind":"tunnel_settings","body":{"addresses":["10.0.0.1/33"],"included":[],"excluded":[],"dns":[],"mtu":1280}}"#,
    ] {
        assert_eq!(frame_write(wrong), Err(CRYPRQ_MALFORMED), "{wrong}");
    }
    assert_eq!(frame_write(&" ".repeat(400_000)), Err(CRYPRQ_TOO_LONG));
    let long = json!({ "id": 0, "kind": "error", "body": { "code": "busy", "message": "a".repeat(70_000) } });
    assert_eq!(frame_write(&long.to_string()), Err(CRYPRQ_TOO_LONG));
}

#[test]
fn hello_says_what_this_version_speaks() {
    let (build, mut frame, mut written) = ("0.1.0", [0; 64], 0);
    let mut hello = |role, capacity| {
        // SAFETY: pointers and lengths are those of slices.
        let status = unsafe {
            let frame = frame.as_mut_ptr();
            cryprq_hello_write(role, build.as_ptr(), build.len(), 1, frame, capacity, &raw mut written)
        };
        (status, frame[..written.min(64)].to_vec())
    };
    let vector = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/hello__extension.bin")).unwrap();
    assert_eq!(hello(CRYPRQ_ROLE_EXTENSION, 64), (CRYPRQ_OK, vector));
    assert_eq!(hello(9, 64).0, CRYPRQ_MALFORMED);
    assert_eq!(hello(CRYPRQ_ROLE_EXTENSION, 3).0, CRYPRQ_NO_ROOM);
}

fn add(frame: &mut [u8], end: &mut usize, packet: &[u8]) -> i32 {
    // SAFETY: pointers and lengths are those of slices.
    unsafe { cryprq_packets_add(frame.as_mut_ptr(), frame.len(), end, packet.as_ptr(), packet.len()) }
}

fn packets(frame: &[u8]) -> Result<Vec<Vec<u8>>, i32> {
    let (mut count, mut at, mut packet, mut length) = (0, 0, 0, 0);
    // SAFETY: pointers and lengths are those of slices.
    match unsafe { cryprq_packets_count(frame.as_ptr(), frame.len(), &raw mut count) } {
        CRYPRQ_OK => {}
        status => return Err(status),
    }
    let mut found = Vec::new();
    loop {
        // SAFETY: as before.
        let status = unsafe {
            let (frame, len) = (frame.as_ptr(), frame.len());
            cryprq_packets_next(frame, len, &raw mut at, &raw mut packet, &raw mut length)
        };
        assert_eq!(status, CRYPRQ_OK);
        if length == 0 {
            assert_eq!(found.len(), count);
            return Ok(found);
        }
        found.push(frame[packet..packet + length].to_vec());
    }
}

#[test]
fn packets_are_written_and_read_in_place() {
    for (name, frame, meaning) in vectors().into_iter().filter(|(.., meaning)| meaning["kind"] == "packets") {
        let hex = |packet: &Vec<u8>| packet.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let found = packets(&frame).unwrap();
        assert_eq!(json!(found.iter().map(hex).collect::<Vec<_>>()), meaning["body"]["packets"], "{name}");
        let (mut again, mut end) = (vec![0; frame.len()], 0);
        for packet in &found {
            assert_eq!(add(&mut again, &mut end, packet), CRYPRQ_OK);
        }
        assert!(found.is_empty() || again == frame, "{name}");
    }
    let other = vectors().into_iter().find(|(name, ..)| name == "ready").unwrap().1;
    assert_eq!(packets(&other), Err(CRYPRQ_KIND));
}

#[test]
fn attack_08_a_position_or_length_that_cannot_be_is_refused() {
    let (mut frame, mut end) = ([0; 64], 0);
    assert_eq!(add(&mut frame, &mut end, &[]), CRYPRQ_PACKET_LENGTH);
    assert_eq!(add(&mut frame, &mut end, &[0x45; 41]), CRYPRQ_NO_ROOM);
    assert_eq!((add(&mut frame, &mut end, &[0x45; 20]), end), (CRYPRQ_OK, 52));
    assert_eq!((add(&mut frame, &mut end, &[0x45; 5]), end), (CRYPRQ_NO_ROOM, 52));
    assert_eq!(packets(&frame[..52]), Ok(vec![vec![0x45; 20]]));
    for wrong in [1, 23, 65, usize::MAX] {
        assert_eq!(add(&mut frame, &mut { wrong }, &[0x45; 1]), CRYPRQ_ARGUMENT, "{wrong}");
    }
    let (mut packet, mut length) = (0, 0);
    for (wrong, status) in [(53, CRYPRQ_ARGUMENT), (usize::MAX, CRYPRQ_ARGUMENT), (50, CRYPRQ_TRUNCATED)] {
        // SAFETY: pointers and lengths are those of slices.
        let told = unsafe { cryprq_packets_next(frame.as_ptr(), 52, &mut { wrong }, &raw mut packet, &raw mut length) };
        assert_eq!((told, length), (status, 0), "{wrong}");
    }
}

#[test]
fn errors_and_statuses_have_names() {
    let name = |number| {
        let (mut name, mut written) = ([0; 64], 0);
        // SAFETY: pointers and lengths are those of slices.
        let status = unsafe { cryprq_error_name(number, name.as_mut_ptr(), name.len(), &raw mut written) };
        (status == CRYPRQ_OK).then(|| String::from_utf8(name[..written].to_vec()).unwrap())
    };
    for code in ErrorCode::ALL {
        assert_eq!(name(code.number()).as_deref(), Some(code.name()));
    }
    assert_eq!((name(0), name(999)), (None, None));
    let text = |status| {
        // SAFETY: the function gives texts that end and stay.
        unsafe { std::ffi::CStr::from_ptr(cryprq_status_text(status)) }.to_str().unwrap().to_owned()
    };
    let texts: std::collections::BTreeSet<String> = (CRYPRQ_OK..=CRYPRQ_INTERNAL + 1).map(text).collect();
    assert_eq!(texts.len(), 15, "each status has its own text");
    assert_eq!((text(-1), text(14)), ("no such status".to_owned(), "no such status".to_owned()));
}
