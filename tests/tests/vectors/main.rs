//! The protocol's values: Appendix B of protocol.md, the published vectors, and their independent check.

mod appendix_b;
mod cases;
mod flipped;
mod pairing;
mod published;

use cryprq_tests::reference::Inputs;
use data_encoding::HEXLOWER;

/// `pat(a)` of Appendix B.
fn pat(start: u8) -> [u8; 32] {
    std::array::from_fn(|at| start.wrapping_add(at as u8))
}

fn unhex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).expect("hex")
}

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// The inputs "fresh" of Appendix B.
fn fresh() -> Inputs {
    let params = [0x8c, 5, 0x2c, 1, 0, 0, 0, 0];
    Inputs {
        initiator_seed: pat(0x10),
        responder_seed: pat(0x40),
        psk: Some(pat(0x77)),
        chain_in: None,
        ei: pat(1),
        er: pat(2),
        kem_seed: [pat(0x80), pat(0xa0)].concat().try_into().expect("64 bytes"),
        kem_m: pat(3),
        idx_i: 0x1122_3344,
        idx_r: 0x5566_7788,
        params_i: params,
        params_r: params,
        tlv_i: Vec::new(),
        tlv_r: Vec::new(),
        max_version_i: 1,
        ek_prefix: Vec::new(),
        sign_seed_i: pat(0x10),
        sign_seed_r: pat(0x40),
    }
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
