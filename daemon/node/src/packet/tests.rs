use proptest::prelude::*;

use super::layer4::{UDP, add_words, fold};
use super::*;

fn ipv4(total: u16, ihl: u8, size: usize) -> Vec<u8> {
    let mut packet = vec![0; size];
    packet[0] = 0x40 | ihl;
    if size > 3 {
        packet[2..4].copy_from_slice(&total.to_be_bytes());
    }
    packet
}

fn udp4(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(28 + payload.len()).unwrap();
    let mut packet = ipv4(length, 5, usize::from(length));
    packet[9] = UDP;
    packet[12..16].copy_from_slice(&[10, 86, 0, 1]);
    packet[16..20].copy_from_slice(&[10, 86, 0, 2]);
    packet[20..24].copy_from_slice(&[0x30, 0x39, 0, 53]);
    packet[24..26].copy_from_slice(&(length - 20).to_be_bytes());
    packet[28..].copy_from_slice(payload);
    packet
}

fn with_partial_sum(mut packet: Vec<u8>) -> Vec<u8> {
    let found = Layer4::find(&packet).unwrap();
    let sum = found.pseudo_sum(&packet, packet.len());
    packet[found.field()..found.field() + 2].copy_from_slice(&sum.to_be_bytes());
    packet
}

#[test]
fn the_true_length_comes_from_the_header() {
    assert_eq!(true_length(&ipv4(40, 5, 48)), Ok(40));
    assert_eq!(true_length(&ipv4(40, 5, 40)), Ok(40));
    assert_eq!(true_length(&ipv4(41, 5, 40)), Err(DropReason::InnerLength));
    assert_eq!(true_length(&ipv4(19, 5, 40)), Err(DropReason::InnerHeader));
    assert_eq!(true_length(&ipv4(40, 4, 40)), Err(DropReason::InnerHeader));
    assert_eq!(true_length(&ipv4(20, 6, 40)), Err(DropReason::InnerHeader));
    assert_eq!(true_length(&ipv4(20, 15, 40)), Err(DropReason::InnerHeader));
    let mut v6 = vec![0; 48];
    v6[0] = 0x60;
    v6[5] = 8;
    assert_eq!(true_length(&v6), Ok(48));
    v6[5] = 9;
    assert_eq!(true_length(&v6), Err(DropReason::InnerLength));
    assert_eq!(true_length(&v6[..39]), Err(DropReason::InnerHeader));
    assert_eq!(true_length(&[0x50; 40]), Err(DropReason::InnerVersion));
    assert_eq!(true_length(&[]), Err(DropReason::InnerHeader));
}

#[test]
fn padding_never_goes_over_the_mtu() {
    let cases = [
        (PaddingMode::Multiple16, 1, 16),
        (PaddingMode::Multiple16, 16, 16),
        (PaddingMode::Multiple16, 17, 32),
        (PaddingMode::Multiple16, 1419, 1420),
        (PaddingMode::Buckets, 20, 128),
        (PaddingMode::Buckets, 129, 256),
        (PaddingMode::Buckets, 1024, 1024),
        (PaddingMode::Buckets, 1025, 1420),
        (PaddingMode::Full, 20, 1420),
        (PaddingMode::Full, 1420, 1420),
    ];
    for (mode, length, padded) in cases {
        assert_eq!(padded_length(length, mode, 1420), padded, "{mode:?} {length}");
    }
    assert_eq!(padded_length(1000, PaddingMode::Buckets, 576), 1000);
}

#[test]
fn a_partial_checksum_is_completed_as_the_field_defines_it() {
    let mut packet = with_partial_sum(udp4(b"dns query!!"));
    assert!(partial_checksum_fits(&packet));
    complete_checksum(&mut packet).unwrap();
    // The sum over pseudo-header and datagram, checksum included, is all ones (RFC 1071).
    let whole = add_words(u64::from(UDP) + (packet.len() as u64 - 20), &packet[12..20]);
    assert_eq!(fold(add_words(whole, &packet[20..])), 0xffff);
}

#[test]
fn what_may_not_be_partial_is_refused() {
    let good = with_partial_sum(udp4(b"x"));
    let broken = |at: usize, to: u8| {
        let mut packet = good.clone();
        packet[at] = to;
        partial_checksum_fits(&packet)
    };
    assert!(!broken(26, good[26] ^ 1), "another value in the field");
    assert!(!broken(6, 0x20), "more fragments follow");
    assert!(!broken(7, 1), "a later fragment");
    assert!(!broken(9, 1), "ICMP");
    assert!(!partial_checksum_fits(&good[..27]), "the header is cut off");
    let mut v6 = vec![0; 48];
    v6[0] = 0x60;
    v6[6] = 44;
    assert!(!partial_checksum_fits(&v6), "an extension header");
}

proptest! {
    /// By the definition of RFC 1071: word by word, the carry added each time, an odd byte at the end with a zero behind it.
    #[test]
    fn a_sum_is_that_of_its_words(start: u16, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut sum = start;
        for word in bytes.chunks(2) {
            let word = u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)]);
            let (added, carry) = sum.overflowing_add(word);
            sum = added + u16::from(carry);
        }
        prop_assert_eq!(fold(add_words(start.into(), &bytes)), sum);
    }

    #[test]
    fn no_bytes_make_the_parsers_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(length) = true_length(&bytes) {
            prop_assert!(length <= bytes.len() && addresses(&bytes).is_some());
        }
        let _ = (partial_checksum_fits(&bytes), addresses(&bytes), complete_checksum(&mut bytes));
    }
}
