//! A Mach service that takes sockets: macOS authenticates who sends one by its code signature, and everything else is
//! said on the socket.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;

pub use platform::{Door, listen};

/// Why there is no Mach service.
#[derive(Debug, thiserror::Error)]
pub enum XpcError {
    /// There are none on this system.
    #[error("only macOS has Mach services")]
    Unsupported,
    /// A name or a requirement that C cannot take.
    #[error("a name with a zero byte")]
    Name,
    /// The requirement is none, or the system cannot check it. Nobody is let in then.
    #[error("the system does not take the code-signing requirement: error {0}")]
    Requirement(i32),
}
