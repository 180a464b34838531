//! The protocol's values: Appendix B of protocol.md, the published vectors, and their independent check.

mod appendix_b;
mod cases;
mod flipped;
mod pairing;
mod published;

use cryprq_tests::reference::{Inputs, pat};
use data_encoding::HEXLOWER;

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
