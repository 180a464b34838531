//! What `docs/vectors/cryprq-v1.json` holds: inputs, and how messages are spoilt.

use std::net::SocketAddr;

use cryprq_tests::reference::Inputs;
use node::handshake::{Forwarding, Tlv};

use crate::{chained, fresh, pat};

/// A published handshake that completes.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) inputs: Inputs,
    /// The extensions of [`Inputs`] in their typed form, I's and R's.
    pub(crate) tlvs: [Vec<Tlv>; 2],
    /// Bytes of inner packets, sealed in this order in each direction.
    pub(crate) frames: &'static [usize],
    /// Whether packets carry a partial checksum.
    pub(crate) partial: bool,
    pub(crate) negative: &'static [Negative],
}

/// A message with `mask` xored in at `offset`, and the fault that its reader names.
pub(crate) struct Negative {
    pub(crate) message: usize,
    pub(crate) offset: usize,
    pub(crate) mask: &'static str,
    pub(crate) expect: &'static str,
}

/// A handshake whose sender breaks a rule inside what is encrypted.
pub(crate) struct Malformed {
    pub(crate) name: &'static str,
    pub(crate) inputs: Inputs,
    /// The last message that is sent: 0 is M1.
    pub(crate) last: usize,
    pub(crate) expect: &'static str,
}

/// Initiators that the product is not, but answers.
pub(crate) const LATER_VERSION: &str = "initiator speaks version 2 too";
pub(crate) const UNKNOWN_TLV: &str = "unknown optional tlv";

const SIZES: &[usize] = &[0, 1, 15, 16, 17, 64, 512, 1419, 1420];

pub(crate) fn cases(chain: [u8; 32]) -> Vec<Case> {
    let plain = |name, inputs| Case {
        name,
        inputs,
        tlvs: [Vec::new(), Vec::new()],
        frames: &[],
        partial: false,
        negative: &[],
    };
    let with_params = |at: usize, value: u8| {
        let mut inputs = fresh();
        (inputs.params_i[at], inputs.params_r[at]) = (value, value);
        inputs
    };
    let endpoint: SocketAddr = "203.0.113.9:41820".parse().expect("an address");
    let endpoint6: SocketAddr = "[2001:db8::9]:41821".parse().expect("an address");
    let forwarding = Forwarding { ipv4: true, ipv6: true };
    let tlvs = Inputs {
        tlv_i: [&[0x80, 7, 4, 0x5c, 0xa3, 203, 0, 113, 9][..], &[0x81, 1, 3]].concat(),
        tlv_r: [&[0x80, 19, 6, 0x5d, 0xa3, 0x20, 1, 0xd, 0xb8][..], &[0; 11], &[9]].concat(),
        ..fresh()
    };
    vec![
        Case { frames: SIZES, negative: NEGATIVE, ..plain("fresh+psk", fresh()) },
        Case { negative: NO_PSK, ..plain("fresh", Inputs { psk: None, ..fresh() }) },
        Case { negative: CHAINED, ..plain("chained+psk", chained(chain)) },
        plain("chained", Inputs { psk: None, ..chained(chain) }),
        Case {
            tlvs: [vec![Tlv::UdpEndpoint(endpoint), Tlv::Forwarding(forwarding)], vec![Tlv::UdpEndpoint(endpoint6)]],
            ..plain("two tlvs", tlvs)
        },
        Case { frames: SIZES, ..plain("aes", with_params(5, 1)) },
        Case { frames: &[40, 1420], partial: true, ..plain("csum_partial", with_params(5, 2)) },
        Case { frames: SIZES, ..plain("padding 1", with_params(4, 1)) },
        Case { frames: SIZES, ..plain("padding 2", with_params(4, 2)) },
        plain(LATER_VERSION, Inputs { max_version_i: 2, ..fresh() }),
        plain(UNKNOWN_TLV, Inputs { tlv_i: vec![0xfe, 2, 7, 7], ..fresh() }),
    ]
}

pub(crate) fn malformed() -> Vec<Malformed> {
    let mut all = Vec::new();
    let params: [(&str, usize, &[u8]); 7] = [
        ("mtu 575", 0, &[0x3f, 0x02]),
        ("mtu 9217", 0, &[0x01, 0x24]),
        ("rotation 59", 2, &[59, 0]),
        ("rotation 3601", 2, &[0x11, 0x0e]),
        ("padding mode 3", 4, &[3]),
        ("first reserved byte of params", 6, &[1]),
        ("last reserved byte of params", 7, &[1]),
    ];
    for (name, at, bytes) in params {
        for last in [0, 1] {
            let mut inputs = fresh();
            let side = if last == 0 { &mut inputs.params_i } else { &mut inputs.params_r };
            side[at..at + bytes.len()].copy_from_slice(bytes);
            all.push(Malformed { name, inputs, last, expect: "params" });
        }
    }
    let nine = [0x80, 7, 4, 1, 0, 203, 0, 113, 9].repeat(9);
    let tlvs: [(&str, &[u8]); 7] = [
        ("critical tlv", &[0x01, 0]),
        ("tlv without length", &[0x81]),
        ("tlv cut off", &[0x81, 2, 0]),
        ("forwarding twice", &[0x81, 1, 0, 0x81, 1, 0]),
        ("forwarding without value", &[0x81, 0]),
        ("endpoint of family 5", &[0x80, 7, 5, 0, 0, 1, 2, 3, 4]),
        ("nine endpoints", &nine),
    ];
    for (name, tlv) in tlvs {
        let (i, r) = (Inputs { tlv_i: tlv.to_vec(), ..fresh() }, Inputs { tlv_r: tlv.to_vec(), ..fresh() });
        all.push(Malformed { name, inputs: i, last: 0, expect: "tlv" });
        all.push(Malformed { name, inputs: r, last: 1, expect: "tlv" });
    }
    // The first coefficient is 4095, above q = 3329.
    let inputs = Inputs { ek_prefix: vec![0xff, 0x0f], ..fresh() };
    all.push(Malformed { name: "encapsulation key above the modulus", inputs, last: 0, expect: "kem" });
    let inputs = Inputs { sign_seed_r: pat(0x99), ..fresh() };
    all.push(Malformed { name: "another responder signs", inputs, last: 1, expect: "signature" });
    all
}

const fn negative(message: usize, offset: usize, mask: &'static str, expect: &'static str) -> Negative {
    Negative { message, offset, mask, expect }
}

const NEGATIVE: &[Negative] = &[
    negative(1, 0, "06", "type"),
    negative(1, 1, "03", "version"),
    negative(1, 2, "03", "suite"),
    negative(1, 4, "44332211", "index"),
    negative(1, 4, "01", "decrypt"),
    negative(1, 8, "01", "psk_mismatch"),
    negative(1, 8, "02", "reserved"),
    negative(1, 8, "04", "reserved"),
    negative(1, 9, "01", "downgrade"),
    negative(1, 10, "01", "reserved"),
    negative(1, 16, "01", "reserved"),
    negative(1, 32, "01", "decrypt"),
    negative(1, 64, "01", "decrypt"),
    negative(1, 1271, "80", "decrypt"),
    negative(2, 0, "06", "type"),
    negative(2, 1, "03", "version"),
    negative(2, 2, "03", "echo"),
    negative(2, 4, "88776655", "index"),
    negative(2, 4, "01", "decrypt"),
    negative(2, 8, "01", "echo"),
    negative(2, 12, "01", "downgrade"),
    negative(2, 13, "01", "reserved"),
    negative(2, 16, "01", "decrypt"),
    negative(2, 1104, "01", "decrypt"),
    negative(2, 1136, "01", "decrypt"),
    negative(2, 1160, "01", "decrypt"),
    negative(2, 1239, "80", "decrypt"),
    negative(3, 0, "06", "type"),
    negative(3, 1, "03", "version"),
    negative(3, 2, "01", "reserved"),
    negative(3, 4, "01", "echo"),
    negative(3, 8, "01", "decrypt"),
    negative(3, 87, "80", "decrypt"),
    negative(4, 0, "06", "type"),
    negative(4, 1, "03", "version"),
    negative(4, 3, "01", "reserved"),
    negative(4, 4, "01", "echo"),
    negative(4, 8, "01", "decrypt"),
];

const NO_PSK: &[Negative] = &[negative(1, 8, "01", "psk_mismatch")];

const CHAINED: &[Negative] = &[negative(1, 16, "01", "chain_unknown"), negative(1, 8, "02", "reserved")];
