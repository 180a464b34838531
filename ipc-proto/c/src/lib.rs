//! The C border of `ipc-proto`: the same frames and packet batches for the Swift extension, so that no second codec
//! exists. `include/cryprq_ipc.h` is made from this crate.
//!
//! Every function works on memory of the caller and answers with a status; nothing is allocated for the caller, kept
//! or called back, and no panic passes the border. Control frames cross it as JSON, in the form that `docs/ipc.md`
//! gives each body; packet frames are read and written in place.

#![warn(missing_docs)]

mod control;
mod memory;
mod names;
mod packets;
mod status;

pub use control::{cryprq_frame_read, cryprq_frame_write, cryprq_hello_write};
pub use names::{cryprq_error_name, cryprq_status_text};
pub use packets::{CryprqHeader, cryprq_frame_header, cryprq_packets_add, cryprq_packets_count, cryprq_packets_next};
pub use status::{
    CRYPRQ_ARGUMENT, CRYPRQ_HEADER, CRYPRQ_INTERNAL, CRYPRQ_KIND, CRYPRQ_KIND_PACKETS, CRYPRQ_MAGIC, CRYPRQ_MALFORMED,
    CRYPRQ_MAX_FRAME, CRYPRQ_NO_ROOM, CRYPRQ_NOT_CANONICAL, CRYPRQ_OK, CRYPRQ_PACKET_LENGTH, CRYPRQ_RESERVED,
    CRYPRQ_ROLE_EXTENSION, CRYPRQ_TOO_LONG, CRYPRQ_TRAILING, CRYPRQ_TRUNCATED, CRYPRQ_VERSION,
};
