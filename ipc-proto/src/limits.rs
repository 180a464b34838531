//! Sizes that both sides keep to.

/// The longest request line, in bytes, its line break included.
pub const MAX_LINE: usize = 64 * 1024;
/// How deep a request's JSON may nest; requests are flat, so anything deeper is abuse.
pub const MAX_DEPTH: usize = 8;
/// The version of requests, `"v":1`.
pub const VERSION: u32 = 1;
/// The version of replies, `"schema":1`.
pub const SCHEMA: u32 = 1;
