//! How two hosts come to know each other (protocol.md 10): the inner addresses that follow from their keys.

mod addresses;

pub use addresses::{default_ipv4, inner_ipv6, overlay};
