//! Text that must not show up in logs: tickets and PSKs on their way through the socket.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::codec::{Decode, Encode};

/// A secret as text. It is wiped when dropped, and `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, Zeroize, ZeroizeOnDrop)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// Takes `text` over.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_travels_as_plain_text_and_is_not_printed() {
        let secret: SecretText = serde_json::from_str("\"abc\"").unwrap();
        assert_eq!(secret.expose(), "abc");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"abc\"");
        assert_eq!(format!("{secret:?}"), "SecretText(…)");
    }
}
