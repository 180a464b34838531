//! libxpc by hand: the dozen functions that a listener for one kind of message needs (decision 0010).
//!
//! Names and types are those of Apple's `xpc/connection.h` and `xpc/xpc.h`; beside each stands the macOS that it needs.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;
use std::sync::Arc;

use block2::{Block, RcBlock};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::XpcError;

/// `xpc_object_t`, and what is one: `xpc_connection_t`.
type Object = *mut c_void;
/// `xpc_handler_t`.
type Handler = Block<dyn Fn(Object)>;

/// `XPC_CONNECTION_MACH_SERVICE_LISTENER`.
const LISTENER: u64 = 1 << 0;

/// `struct _xpc_type_s`, of which only addresses matter.
#[repr(C)]
struct Type {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    /// 10.7
    static _xpc_type_connection: Type;
    /// 10.7
    static _xpc_type_dictionary: Type;
    /// 10.7; `queue` is a `dispatch_queue_t`, or null for the default one.
    fn xpc_connection_create_mach_service(name: *const c_char, queue: *mut c_void, flags: u64) -> Object;
    /// 12.0
    fn xpc_connection_set_peer_code_signing_requirement(connection: Object, requirement: *const c_char) -> c_int;
    /// 10.7; the block is copied.
    fn xpc_connection_set_event_handler(connection: Object, handler: &Handler);
    /// 10.12
    fn xpc_connection_activate(connection: Object);
    /// 10.7
    fn xpc_connection_cancel(connection: Object);
    /// 10.7
    fn xpc_get_type(object: Object) -> *const Type;
    /// 10.7; −1 without such a descriptor.
    fn xpc_dictionary_dup_fd(dictionary: Object, key: *const c_char) -> c_int;
    /// 10.7
    fn xpc_release(object: Object);
}

/// A listener. Nobody is let in any more when it is dropped.
#[derive(Debug)]
pub struct Door {
    listener: Object,
}

// SAFETY: libxpc's objects may be used from any thread; the pointer is ours alone and used only to cancel and release.
unsafe impl Send for Door {}

impl Drop for Door {
    fn drop(&mut self) {
        // SAFETY: `listener` is the activated connection that `listen` made and nobody else releases. Its handler may
        // still run for a moment; libxpc holds the block until it has.
        unsafe {
            xpc_connection_cancel(self.listener);
            xpc_release(self.listener);
        }
    }
}

/// Listens on the Mach service that launchd keeps for this process. `take` gets the socket under `key` of each message
/// whose sender fulfils the code-signing `requirement`; from any thread.
///
/// # Errors
/// [`XpcError`]; nobody is let in then.
pub fn listen(
    service: &str,
    requirement: &str,
    key: &str,
    take: impl Fn(OwnedFd) + Send + Sync + 'static,
) -> Result<Door, XpcError> {
    let text = |text: &str| CString::new(text).map_err(|_| XpcError::Name);
    let (service, requirement, key) = (text(service)?, text(requirement)?, text(key)?);
    let (take, key): (Arc<dyn Fn(OwnedFd) + Send + Sync>, Arc<CStr>) = (Arc::new(take), key.into());
    // SAFETY: the name ends with a zero and is copied; a null queue is the default one.
    let listener = unsafe { xpc_connection_create_mach_service(service.as_ptr(), ptr::null_mut(), LISTENER) };
    let accept = RcBlock::new(move |peer: Object| {
        // SAFETY: libxpc calls a handler with a live object.
        if unsafe { is(peer, &raw const _xpc_type_connection) } {
            welcome(peer, Arc::clone(&take), Arc::clone(&key));
        }
    });
    // SAFETY: `listener` is a new connection. A handler is set before it is activated or, as libxpc demands, before it
    // is cancelled; what the handler holds may be used from any thread. The requirement is set once, before the first
    // message can come.
    let refused = unsafe {
        xpc_connection_set_event_handler(listener, &accept);
        xpc_connection_set_peer_code_signing_requirement(listener, requirement.as_ptr())
    };
    let door = Door { listener };
    // SAFETY: as above. One that is released has to be active, so that one without a requirement, which is dropped right
    // here, is cancelled first: it then never hears of anybody.
    unsafe {
        if refused != 0 {
            xpc_connection_cancel(listener);
        }
        xpc_connection_activate(listener);
    }
    if refused == 0 { Ok(door) } else { Err(XpcError::Requirement(refused)) }
}

/// Takes the one message of a peer. libxpc releases the peer when it is cancelled, by either side.
fn welcome(peer: Object, take: Arc<dyn Fn(OwnedFd) + Send + Sync>, key: Arc<CStr>) {
    let hear = RcBlock::new(move |message: Object| {
        // SAFETY: libxpc calls a handler with a live object; errors, the last event of each connection, are no plain
        // dictionaries to `xpc_get_type`.
        if !unsafe { is(message, &raw const _xpc_type_dictionary) } {
            return;
        }
        // SAFETY: `message` is a live dictionary and the key ends with a zero.
        let descriptor = unsafe { xpc_dictionary_dup_fd(message, key.as_ptr()) };
        if descriptor >= 0 {
            // SAFETY: the descriptor is new, open and ours to close.
            let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
            // One that stays open in a child is no danger to this process: it starts none.
            let _ = fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
            take(socket);
        }
        // SAFETY: a connection is alive while its handler runs.
        unsafe { xpc_connection_cancel(peer) };
    });
    // SAFETY: `peer` is a new connection that its listener's handler was given, which has to set a handler and activate.
    unsafe {
        xpc_connection_set_event_handler(peer, &hear);
        xpc_connection_activate(peer);
    }
}

/// Whether an object is of a type.
///
/// # Safety
/// `object` is alive.
unsafe fn is(object: Object, kind: *const Type) -> bool {
    // SAFETY: the caller's promise.
    ptr::eq(unsafe { xpc_get_type(object) }, kind)
}
