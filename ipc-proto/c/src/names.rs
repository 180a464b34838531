//! Names of errors, for logs and for scripts.

use std::ffi::{CStr, c_char};

use cryprq_ipc_proto::error::ErrorCode;

use crate::memory;
use crate::status::{
    CRYPRQ_ARGUMENT, CRYPRQ_INTERNAL, CRYPRQ_KIND, CRYPRQ_MAGIC, CRYPRQ_MALFORMED, CRYPRQ_NO_ROOM,
    CRYPRQ_NOT_CANONICAL, CRYPRQ_OK, CRYPRQ_PACKET_LENGTH, CRYPRQ_RESERVED, CRYPRQ_TOO_LONG, CRYPRQ_TRAILING,
    CRYPRQ_TRUNCATED, CRYPRQ_VERSION, Failure, border,
};

/// What a status means, in words for a log. The text lives as long as the program.
#[unsafe(no_mangle)]
pub extern "C" fn cryprq_status_text(status: i32) -> *const c_char {
    let text: &'static CStr = match status {
        CRYPRQ_OK => c"done",
        CRYPRQ_MAGIC => c"a frame begins with other bytes",
        CRYPRQ_VERSION => c"the frame has another version",
        CRYPRQ_RESERVED => c"flags and reserved bytes of a frame are zero",
        CRYPRQ_KIND => c"no frame of that kind is expected here",
        CRYPRQ_TOO_LONG => c"the body is longer than its limit",
        CRYPRQ_TRUNCATED => c"the frame is cut off",
        CRYPRQ_TRAILING => c"bytes follow after the frame's end",
        CRYPRQ_NOT_CANONICAL => c"the body is not in its one right form",
        CRYPRQ_MALFORMED => c"the body is malformed",
        CRYPRQ_PACKET_LENGTH => c"an inner packet has 1 to 65535 bytes",
        CRYPRQ_NO_ROOM => c"the memory is too small",
        CRYPRQ_ARGUMENT => c"a pointer or a position is wrong",
        CRYPRQ_INTERNAL => c"a fault of the library",
        _ => c"no such status",
    };
    text.as_ptr()
}

/// The name of an error code, as it stands in JSON, without a final NUL. `CRYPRQ_ARGUMENT` when no error has that
/// number. `*written` is the name's length, also with `CRYPRQ_NO_ROOM`; nothing is written then.
///
/// # Safety
/// `name` points at `capacity` bytes, `written` at a size; they do not overlap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cryprq_error_name(number: u16, name: *mut u8, capacity: usize, written: *mut usize) -> i32 {
    border(|| {
        // SAFETY: the caller's promise is theirs.
        let (name, written) = unsafe { (memory::write(name, capacity)?, memory::value(written)?) };
        let code = ErrorCode::ALL.iter().find(|code| code.number() == number).ok_or(Failure::Argument)?;
        memory::copy(code.name().as_bytes(), name, written)
    })
}
