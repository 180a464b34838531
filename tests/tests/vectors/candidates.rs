//! Messages of `/cryprq/path/1` (protocol.md 7.7).

use std::net::SocketAddr;

use node::path::candidates::Candidates;
use serde_json::{Value, json};

use crate::hex;

/// Messages, and malformed ones, which have no addresses.
pub(crate) fn entries() -> Vec<Value> {
    let four: SocketAddr = "203.0.113.9:41820".parse().expect("an address");
    let six: SocketAddr = "[2001:db8::9]:1".parse().expect("an address");
    let good = [(vec![], None), (vec![four], None), (vec![four, six], Some(six)), (vec![four; 8], Some(four))];
    let good = good.map(|(addresses, observed)| {
        let candidates = Candidates { addresses, observed };
        let message = candidates.to_bytes();
        assert_eq!(Candidates::from_bytes(&message).as_ref(), Ok(&candidates));
        entry(&message, &candidates)
    });
    let named = Candidates { addresses: vec![four], observed: None };
    let bytes = named.to_bytes();
    let passed_over = [&[0xfe, 1, 7][..], &bytes].concat();
    assert_eq!(Candidates::from_bytes(&passed_over).as_ref(), Ok(&named));
    let observed_twice = Candidates { addresses: vec![], observed: Some(four) }.to_bytes().repeat(2);
    let bad = [bytes[..8].to_vec(), bytes.repeat(9), observed_twice, vec![0x80, 7, 5, 0, 0, 1, 2, 3, 4], vec![1, 0]];
    let bad = bad.map(|message| {
        assert!(Candidates::from_bytes(&message).is_err(), "{message:02x?}");
        json!({ "message": hex(&message), "addresses": null, "observed": null })
    });
    good.into_iter().chain([entry(&passed_over, &named)]).chain(bad).collect()
}

fn entry(message: &[u8], candidates: &Candidates) -> Value {
    let addresses: Vec<_> = candidates.addresses.iter().map(ToString::to_string).collect();
    json!({ "message": hex(message), "addresses": addresses, "observed": candidates.observed.map(|at| at.to_string()) })
}
