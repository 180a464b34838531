//! There is no resolved on macOS.

use std::net::IpAddr;

use super::ResolvedError;

fn absent() -> ResolvedError {
    ResolvedError::Absent("this is macOS".into())
}

/// Nobody answers.
///
/// # Errors
/// Always [`ResolvedError::Absent`].
pub async fn ping() -> Result<(), ResolvedError> {
    Err(absent())
}

/// Nobody is told.
///
/// # Errors
/// Always [`ResolvedError::Absent`].
pub async fn ask_at(_interface: u32, _servers: &[IpAddr]) -> Result<(), ResolvedError> {
    Err(absent())
}

/// Nobody was told.
///
/// # Errors
/// Never.
pub async fn revert(_name: &str, _interface: u32) -> Result<(), ResolvedError> {
    Ok(())
}
