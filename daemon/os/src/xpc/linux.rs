//! Linux has no Mach services.

use std::convert::Infallible;
use std::os::fd::OwnedFd;

use super::XpcError;

/// Never open.
#[derive(Debug)]
pub struct Door {
    _never: Infallible,
}

/// Nothing to listen on.
///
/// # Errors
/// Always [`XpcError::Unsupported`].
pub fn listen(
    _service: &str,
    _requirement: &str,
    _key: &str,
    _take: impl Fn(OwnedFd) + Send + Sync + 'static,
) -> Result<Door, XpcError> {
    Err(XpcError::Unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_mach_service_here() {
        assert!(matches!(listen("service", "anchor apple", "socket", drop), Err(XpcError::Unsupported)));
    }
}
