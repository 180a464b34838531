//! The protocol's values: Appendix B of protocol.md, the published vectors, the frames of the local protocol, and their
//! independent check.

mod appendix_b;
mod candidates;
mod cases;
mod flipped;
mod frames;
mod pairing;
mod published;

use std::path::{Path, PathBuf};
use std::process::Command;

use cryprq_tests::reference::{Inputs, pat};
use data_encoding::HEXLOWER;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// How many things a script of `tests/vectors` looked at and agreed with; `None` after a line that says why it was
/// not run.
fn independently(script: &str, arguments: &[PathBuf]) -> Option<u32> {
    let Some(python) = std::env::var_os("CRYPRQ_VECTORS_PYTHON") else {
        println!("skipped: the independent check of the vectors: tests/run prepares its Python");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(script);
    let out = Command::new(python).arg("-B").arg(script).args(arguments).output().expect("Python starts");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    println!("{text}");
    Some(text.split(' ').next().and_then(|count| count.parse().ok()).expect("a count"))
}

fn unhex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).expect("hex")
}

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// The inputs "fresh" of Appendix B.
fn fresh() -> Inputs {
    Inputs::fresh()
}

/// The inputs "chained", on the chain key that "fresh" left.
fn chained(chain: [u8; 32]) -> Inputs {
    let mut kem_seed = fresh().kem_seed;
    kem_seed[0] ^= 0xff;
    Inputs {
        chain_in: Some(chain),
        ei: pat(5),
        er: pat(6),
        kem_seed,
        kem_m: pat(7),
        idx_i: 0x0102_0304,
        idx_r: 0x0506_0708,
        ..fresh()
    }
}
