//! What the administrator writes.

use cryprqd::config::Config;

use super::Outcome;

/// A configuration file.
pub(super) fn config(bytes: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(bytes) else { return Outcome::Refused };
    match Config::parse(text) {
        Ok(config) => {
            let mut keys: Vec<_> = config.peers.iter().map(|peer| *peer.key.as_bytes()).collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), config.peers.len(), "a peer stands there twice");
            Outcome::Accepted
        }
        Err(errors) => {
            let told = errors.to_string();
            assert!(!told.is_empty() && told.lines().all(|line| !line.trim().is_empty()), "a refusal says why");
            Outcome::Refused
        }
    }
}
