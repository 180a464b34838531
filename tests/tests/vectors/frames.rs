//! `ipc-proto/vectors`, read by the description in `docs/ipc.md` alone.

use std::path::Path;

use crate::{docs, independently};

#[test]
fn an_independent_reader_understands_every_frame_by_the_document() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ipc-proto/vectors");
    let Some(count) = independently("check_frames.py", &[docs(), vectors]) else { return };
    assert!(count > 100, "it looked at too little: {count} frames");
}
