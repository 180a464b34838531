//! Sizes and versions that both sides keep to.

/// The longest request line, in bytes, its line break included; as long as the body of a control frame.
pub const MAX_LINE: usize = MAX_CONTROL;
/// How deep a request's JSON may nest; requests are flat, so anything deeper is abuse.
pub const MAX_DEPTH: usize = 8;
/// The version of requests, `"v":1`.
pub const VERSION: u32 = 1;
/// The version of replies, `"schema":1`.
pub const SCHEMA: u32 = 1;
/// The longest body of a control frame, in bytes.
pub const MAX_CONTROL: usize = 64 * 1024;
/// The longest body of a packet frame, in bytes.
pub const MAX_PACKETS: usize = 256 * 1024;
/// The longest inner packet, in bytes.
pub const MAX_PACKET: usize = 65_535;
/// The version of binary frames.
pub const FRAME_VERSION: u8 = 1;
